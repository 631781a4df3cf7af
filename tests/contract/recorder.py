"""A proxy on loopback that keeps what passes through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

# They belong to one connection, and the recorder has two.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer_headers: dict[str, str]
    answer: bytes


class Recorder:
    """Where it listens, and what it has seen, in the order of the answers."""

    def __init__(self, url: str, exchanges: list[Exchange]) -> None:
        self.url = url
        self.exchanges = exchanges


@contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    """A recorder in front of an http origin."""
    exchanges: list[Exchange] = []
    lock = Lock()
    host = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            connection = HTTPConnection(host, timeout=30)
            # The caller's own Host goes on, so that links to further pages lead here again.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            payload = answer.read()
            connection.close()
            with lock:
                exchanges.append(
                    Exchange(
                        self.command,
                        self.path,
                        dict(self.headers.items()),
                        body,
                        answer.status,
                        dict(answer.headers.items()),
                        payload,
                    )
                )
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_any  # noqa: N815 - http.server looks for these names

        def log_message(self, format: str, *args: object) -> None:
            """The exchanges are the log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Recorder(f"http://127.0.0.1:{server.server_address[1]}", exchanges)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
