"""A Graph behind TLS of the standard library, and certificates to choose from."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .listening import Listening

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class Certificate(Protocol):
    """What a server shows."""

    def configure_cert(self, context: ssl.SSLContext, /) -> None:
        """Put it and its key into the context."""
        ...


def batch_answer(body: bytes) -> bytes:
    """202 for each part of a batch."""
    parts = [{"id": part["id"], "status": 202} for part in json.loads(body)["requests"]]
    content = json.dumps({"responses": parts}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(content),
        content,
    )


class Secure(Listening):
    """Listens on a port of loopback during a `with` block; `answer` gives the bytes for each request's head and body.

    With `clients`, only those who show a certificate of that authority are let in.
    `received` has each head that came through TLS, `handshakes` how often TLS was agreed on, `failures` how often not.
    """

    def __init__(
        self,
        certificate: Certificate,
        *,
        answer: Callable[[bytes, bytes], bytes] = lambda _head, body: batch_answer(body) if body else ACCEPTED,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
        clients: trustme.CA | None = None,
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        if clients is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            clients.configure_trust(self._context)
        if newest in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            self._context.minimum_version = newest
            # OpenSSL 3 signs the old handshakes, by SHA-1, at this level alone.
            self._context.set_ciphers("DEFAULT:@SECLEVEL=0")
        self._context.maximum_version = newest
        self._answer = answer
        super().__init__()
        self.received: list[bytes] = []
        self.handshakes = self.failures = 0
        self.url = f"https://localhost:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            stream = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            self.failures += 1
            connection.close()
            return
        self.handshakes += 1
        with suppress(OSError), stream, stream.makefile("rb") as file:
            while head := read_head(file.readline):
                self.received.append(head)
                length = next(
                    (line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b":0"
                )
                body = file.read(int(length.partition(b":")[2]))
                stream.sendall(self._answer(head, body))


def read_head(line: Callable[[], bytes]) -> bytes:
    """The lines of a request up to the empty one; nothing at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        read = line()
        if not read:
            return b""
        head += read
    return head


def trusted(folder: Path, authority: trustme.CA) -> Path:
    """A file that makes a client trust this authority."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


class SelfSigned:
    """A certificate for localhost that no authority stands for; with `of_authority` it says that it is one itself."""

    def __init__(self, folder: Path, *, of_authority: bool | None = None) -> None:
        self._file = self.pem = folder / "self-signed.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        builder = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        if of_authority is not None:
            builder = builder.add_extension(x509.BasicConstraints(of_authority, None), critical=True)
        made = builder.sign(key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))

    def configure_cert(self, context: ssl.SSLContext, /) -> None:
        """Put it and its key into the context."""
        context.load_cert_chain(self._file)


def certificate(kind: str, authority: trustme.CA, folder: Path) -> Certificate:
    """A certificate for localhost that is good, or bad in one way."""
    match kind:
        case "good":
            return authority.issue_cert("localhost")
        case "expired":
            return authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
        case "not yet valid":
            return authority.issue_cert("localhost", not_before=datetime.now(UTC) + timedelta(days=1))
        case "of another name":
            return authority.issue_cert("graph.example")
        case "of a stranger":
            return trustme.CA().issue_cert("localhost")
        case "self-signed":
            return SelfSigned(folder)
        case other:
            raise ValueError(other)
