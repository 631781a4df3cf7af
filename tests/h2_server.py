"""A small HTTP/2 server over TLS that ends streams and connections in the ways that HTTP/2 has for it.

It serves `$batch` with 202 for each part, and records what it executed and answered in the fault server's terms.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal, Self

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from hyperframe.frame import GoAwayFrame

from .fault_server.record import AnswerRow, Record

Ending = Literal[
    "answered",
    "answered, then GOAWAY",  # the usual end of a connection that the service wants to be rid of
    "answered, then closed",
    "GOAWAY, then answered",
    "GOAWAY, then closed",  # it names the request as one that was processed
    "GOAWAY that leaves it out",  # so it was not processed
    "GOAWAY for too many requests",
    "refused stream",
    "failed stream",  # after the work was done
    "closed",  # likewise
]
"""How one request ends."""

UNDONE: set[str] = {"GOAWAY that leaves it out", "GOAWAY for too many requests", "refused stream"}
"""Those that HTTP/2 says were not processed."""
# They log the headers that they read, and with them the token, on the server's side.
logging.getLogger("hpack").setLevel(logging.WARNING)

GUID = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/reprocess$")


@dataclass
class Http2Server:
    """Listens during a `with` block; `endings` says how the first requests end, the later ones are answered."""

    ca_bundle: Path
    endings: Sequence[Ending] = ()
    record: Record = field(default_factory=Record)
    url: str = ""

    def __enter__(self) -> Self:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_bundle))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._context.set_alpn_protocols(["h2"])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.url = f"https://localhost:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _listen(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                plain, _ = self._socket.accept()
                self.record.connection_count += 1
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        # A client that goes away is no error of this server.
        with suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
            Connection(self, connection).serve()

    def begin(self, body: bytes) -> tuple[int, Ending, list[tuple[str, str]]]:
        """A whole request has come: its number, how it is to end, and its parts as id and assignment."""
        parts = [(part["id"], GUID.search(part["url"])) for part in json.loads(body)["requests"]]
        named = [(name, match[1]) for name, match in parts if match]
        assert len(named) == len(parts)
        with self._lock:
            number = self.record.request_count
            self.record.request_count += 1
            ending = self.endings[number] if number < len(self.endings) else "answered"
            for _, assignment in named:
                if ending not in UNDONE:
                    self.record.executions.setdefault(assignment, []).append(number)
                if ending.startswith("answered") or ending.endswith("answered"):
                    self.record.answers.setdefault(assignment, []).append(AnswerRow(number, 0.0, 202, "part", True))
        return number, ending, named


class Connection:
    """One connection, in a thread of its own."""

    def __init__(self, server: Http2Server, raw: ssl.SSLSocket) -> None:
        self.server = server
        self.raw = raw
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.bodies: dict[int, bytes] = {}
        self.open = True
        self.last: float = inf  # streams after that one are not served

    def serve(self) -> None:
        """Until it ends."""
        self.h2.initiate_connection()
        self.flush()
        while self.open and (data := self.raw.recv(1 << 16)):
            for event in self.h2.receive_data(data):
                if self.open:
                    self.handle(event)
            self.flush()

    def flush(self) -> None:
        """Send what is due."""
        if data := self.h2.data_to_send():
            self.raw.sendall(data)

    def handle(self, event: Event) -> None:
        """One thing that came."""
        if isinstance(event, RequestReceived):
            self.bodies[event.stream_id] = b""
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded) and event.stream_id <= self.last:
            self.finish(event.stream_id, *self.server.begin(self.bodies.pop(event.stream_id))[1:])

    def finish(self, stream: int, ending: Ending, parts: list[tuple[str, str]]) -> None:
        """End one request."""
        match ending:
            case "answered":
                self.answer(stream, parts)
            case "answered, then GOAWAY":
                self.answer(stream, parts)
                self.go_away(stream)
            case "answered, then closed":
                self.answer(stream, parts)
                self.close()
            case "GOAWAY, then answered":
                self.go_away(stream)
                self.answer(stream, parts)
            case "GOAWAY, then closed":
                self.go_away(stream)
                self.close()
            case "GOAWAY that leaves it out":
                self.go_away(stream - 2)
                self.close()
            case "GOAWAY for too many requests":
                self.go_away(stream - 2, ErrorCodes.ENHANCE_YOUR_CALM)
                self.close()
            case "refused stream":
                self.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            case "failed stream":
                self.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            case "closed":
                self.close()

    def answer(self, stream: int, parts: list[tuple[str, str]]) -> None:
        """202 for each part."""
        body = json.dumps({"responses": [{"id": name, "status": 202} for name, _ in parts]}).encode()
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/json")])
        self.h2.send_data(stream, body, end_stream=True)
        self.flush()

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Say that no stream after the last one is served; written by hand, since h2 lets nothing follow it."""
        self.flush()
        self.last = last
        self.raw.sendall(GoAwayFrame(0, last_stream_id=max(last, 0), error_code=code).serialize())

    def close(self) -> None:
        """End the connection."""
        self.flush()
        self.open = False
