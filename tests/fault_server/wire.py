"""HTTP/1.1 on asyncio streams, by hand, so that it can be broken at any byte."""

import asyncio
import contextlib
import functools
import http
import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .script import Fault

MIB = 1 << 20
SPACES = b" " * MIB


@dataclass
class Head:
    """A request up to the empty line."""

    method: str
    path: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class MalformedError(Exception):
    """What came is not HTTP."""


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next request, or None at the end of the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as e:
        if e.partial:
            raise MalformedError("the connection ended inside a head") from e
        return None
    except asyncio.LimitOverrunError as e:
        raise MalformedError("a head without end") from e
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1":
        raise MalformedError(first)
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedError(line)
        headers.append((name, value.strip()))
    return Head(words[0], words[1], headers)


def body_length(head: Head) -> int:
    """Bytes of body that follow, as far as the head tells."""
    text = head.header("content-length") or "0"
    if not (text.isascii() and text.isdigit()):
        raise MalformedError(f"Content-Length: {text}")
    return int(text)


@dataclass
class Reply:
    """An answer before it is broken."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    fault: Fault  # only the fields of the wire are read here

    def head(self, length: int) -> bytes:
        """The status line and headers, for a body of that many bytes."""
        names = {name.lower() for name, _ in self.headers}
        lines = list(self.headers)
        if self.fault.gzip:
            lines.append(("Content-Encoding", "gzip"))
        if self.fault.huge_header:
            lines.append(("X-Padding", "a" * self.fault.huge_header))
        if self.fault.framing == "chunked":
            lines.append(("Transfer-Encoding", "chunked"))
        elif self.fault.framing == "eof":
            lines.append(("Connection", "close"))
        elif "content-length" not in names:
            lines.append(("Content-Length", str(length + self.fault.missing)))
        try:
            phrase = http.HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Scripted"
        text = f"HTTP/1.1 {self.status} {phrase}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines) + "\r\n"
        return text.encode("latin-1")

    def pieces(self) -> Iterator[bytes]:
        """Head and body, in pieces of at most about a MiB."""
        body = [bomb(self.fault.pad_mib, self.body)] if self.fault.gzip else None
        length = len(body[0]) if body else self.fault.pad_mib * MIB + len(self.body)
        yield self.head(length)
        half = len(self.body) // 2
        plain = [self.body[:half], self.body[half:]]  # two chunks, so that a cut can fall between them
        chunked = self.fault.framing == "chunked"
        for piece in body or (*(SPACES for _ in range(self.fault.pad_mib)), *plain):
            if piece:
                yield b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
        if chunked:
            yield b"0\r\n\r\n"


@functools.lru_cache(maxsize=1)
def spaces_compressed() -> bytes:
    """A MiB of spaces that depends on nothing before it, so that it can be repeated."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(SPACES) + deflate.flush(zlib.Z_FULL_FLUSH)


def bomb(mib: int, tail: bytes) -> bytes:
    """A gzip member of so many MiB of spaces and then the tail, made without compressing them all."""
    checksum = 0
    for _ in range(mib):
        checksum = zlib.crc32(SPACES, checksum)
    checksum = zlib.crc32(tail, checksum)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    end = deflate.compress(tail) + deflate.flush()
    size = (mib * MIB + len(tail)) & 0xFFFFFFFF
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + spaces_compressed() * mib + end + struct.pack("<II", checksum, size)


@dataclass
class Sent:
    """How far an answer came."""

    size: int = 0
    whole: bool = False


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply, sent: Sent) -> None:
    """Write the answer as far as its fault lets it; `sent` is kept true even when the client leaves midway."""
    fault = reply.fault
    limit = fault.cut
    gone = False
    for piece in reply.pieces():
        if limit is None and fault.cut_body is not None:
            limit = len(piece) + fault.cut_body  # the first piece is the head
        rest = piece if limit is None else piece[: max(0, limit - sent.size)]
        for step in steps(rest, fault, sent.size):
            if fault.drip and sent.size >= fault.drip_after:
                await asyncio.sleep(fault.drip)
            # An end of file here means that nobody reads any more, though the kernel would still take the bytes.
            gone = gone or reader.at_eof()
            writer.write(step)
            await writer.drain()
            sent.size += len(step)
        if len(rest) < len(piece):
            return
    sent.whole = not gone and not reader.at_eof() and not fault.missing


def steps(piece: bytes, fault: Fault, offset: int) -> Iterator[bytes]:
    """The piece in the portions in which it goes out."""
    if not fault.drip:
        if piece:
            yield piece
        return
    fast = max(0, fault.drip_after - offset)
    if fast and piece:
        yield piece[:fast]
    for place in range(fast, len(piece)):
        yield piece[place : place + 1]


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        # A linger of zero seconds turns the close into a reset.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection with FIN, which the kernel makes RST if unread bytes are left: so read them first."""
    with contextlib.suppress(OSError, TimeoutError):
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(1):
            while await reader.read(MIB):
                pass
    writer.close()
