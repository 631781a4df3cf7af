"""A Graph that knows nothing of the project's own: Python's http.server, and a function that says how each id ends."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PATHS = {
    "beta": "/identityGovernance/entitlementManagement/accessPackageAssignments/",
    "v1.0": "/identityGovernance/entitlementManagement/assignments/",
}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Answer:
    """How one id is answered."""

    status: int
    body: Any = None  # JSON, or bytes as they are
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What came in, as it came in."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


class Foreign:
    """Runs in a thread during a `with` block.

    `answer` is called with each id and gives its answer; `outer`, if set, answers whole requests first.
    """

    def __init__(
        self, answer: Callable[[str], Answer], outer: Callable[[Request], Answer | None] = lambda _: None
    ) -> None:
        self.answer = answer
        self.outer = outer
        self.requests: list[Request] = []
        self.ids: list[str] = []
        self.malformed: list[str] = []
        foreign = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(Request("GET", self.path, self.headers.items(), b""))

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length")
                body = self.rfile.read(int(length or 0))
                if length is None:
                    foreign.malformed.append("no Content-Length")
                self.reply(Request("POST", self.path, self.headers.items(), body))

            def reply(self, request: Request) -> None:
                foreign.requests.append(request)
                answer = foreign.outer(request) or foreign.route(request)
                body = answer.body
                content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
                if "Date" in answer.headers:
                    # Without the header that the server itself would write.
                    self.send_response_only(answer.status)
                else:
                    self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                # A client that has gone away is no error of this server.
                with suppress(ConnectionError):
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def route(self, request: Request) -> Answer:
        version, _, rest = request.path.removeprefix("/").partition("/")
        if rest == "$batch":
            return self.batch(version, json.loads(request.body))
        if request.body:
            self.malformed.append("a plain POST with a body")
        return self.one(version, f"/{rest}")

    def one(self, version: str, path: str) -> Answer:
        found = path.removeprefix(PATHS[version]).removesuffix("/reprocess")
        if path != f"{PATHS[version]}{found}/reprocess" or not GUID.fullmatch(found):
            self.malformed.append(path)
            return Answer(404)
        self.ids.append(found)
        return self.answer(found)

    def batch(self, version: str, body: Any) -> Answer:
        parts = body["requests"]
        if not 1 <= len(parts) <= 20 or len({part["id"].lower() for part in parts}) != len(parts):
            self.malformed.append("batch")
        responses = []
        for part in parts:
            if (part["method"], part["headers"], part["body"]) != ("POST", {"Content-Type": "application/json"}, {}):
                self.malformed.append(str(part))
            answer = self.one(version, part["url"])
            response = {"id": part["id"].upper(), "status": answer.status, "headers": answer.headers}
            responses.append(response if answer.body is None else {**response, "body": answer.body})
        random.shuffle(responses)
        return Answer(200, {"responses": responses}, {"Content-Type": "application/json"})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def error(status: int, code: str = "SomeCode", message: str = "Some message.", **inner: Any) -> Answer:
    """An error answer as Graph words it."""
    body = {
        "error": {
            "code": code,
            "message": message,
            "innerError": {"date": "2026-01-01T00:00:00", "request-id": "r-1", "client-request-id": "c-1", **inner},
        }
    }
    return Answer(status, body)
