"""Proxies of loopback: one that tunnels, with or without a password, and one that answers whatever a test wants."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress

from .listening import Listening
from .secure import read_head


class Proxy(Listening):
    """Tunnels CONNECT and SOCKS 5 to loopback during a `with` block.

    With `password`, CONNECT needs Basic authentication by `user`; with `answer`, those bytes are all that comes.
    """

    def __init__(self, *, user: str = "user", password: str | None = None, answer: bytes | None = None) -> None:
        self._expected = None if password is None else base64.b64encode(f"{user}:{password}".encode())
        self._answer = answer
        super().__init__()
        self.heads: list[bytes] = []
        self.tunnels = 0
        self.url = f"http://127.0.0.1:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        # What hangs up midway is the client's affair.
        with suppress(OSError), connection:
            if connection.recv(1, socket.MSG_PEEK) == b"\x05":
                self._socks(connection)
            else:
                self._connect(connection)

    def _connect(self, connection: socket.socket) -> None:
        with connection.makefile("rb", buffering=0) as file:
            head = read_head(file.readline)
        self.heads.append(head)
        if self._answer is not None:
            connection.sendall(self._answer)
            return
        if self._expected is not None and b"Basic " + self._expected not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
            return
        target = head.split(b" ")[1].decode()
        self._tunnel(connection, int(target.rpartition(":")[2]), b"HTTP/1.1 200 Connection established\r\n\r\n")

    def _socks(self, connection: socket.socket) -> None:
        """RFC 1928, without authentication, for the address forms name and IPv4."""
        methods = connection.recv(2)[1]
        connection.recv(methods)
        connection.sendall(b"\x05\x00")
        kind = connection.recv(4)[3]
        connection.recv(connection.recv(1)[0] if kind == 3 else 4 if kind == 1 else 16)
        port = int.from_bytes(connection.recv(2))
        self._tunnel(connection, port, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")

    def _tunnel(self, connection: socket.socket, port: int, established: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as target:
            self.tunnels += 1
            connection.sendall(established)
            back = threading.Thread(target=pump, args=(target, connection), daemon=True)
            back.start()
            pump(connection, target)
            back.join(10)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until it ends."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
