"""Reads a request as Graph would, and says what is wrong with it."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from .record import RequestRow

GUID = r"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
BASE = "identityGovernance/entitlementManagement"
ACTIONS = {
    "beta": re.compile(rf"/?{BASE}/accessPackageAssignments/{GUID}/reprocess"),
    "v1.0": re.compile(rf"/?{BASE}/assignments/{GUID}/reprocess"),
}
MAX_PARTS = 20


@dataclass
class Call:
    """What a request asks for; `status` is set when it is not to be served."""

    batch: bool = False
    parts: list[tuple[str, str]] = field(default_factory=list)  # id of the part, id of the assignment
    status: int | None = None
    message: str = ""
    problems: list[tuple[str, str]] = field(default_factory=list)  # kind of the violation, detail

    def refuse(self, status: int, kind: str, message: str) -> "Call":
        """Note a violation; the first one decides the answer."""
        self.problems.append((kind, message))
        if self.status is None:
            self.status, self.message = status, message
        return self

    @property
    def ids(self) -> list[str]:
        """The assignments concerned."""
        return [assignment for _, assignment in self.parts]


def read_target(row: RequestRow) -> Call:
    """What the request line alone tells."""
    call = Call()
    version, _, rest = row.path.removeprefix("/").partition("/")
    action = ACTIONS.get(version) if row.path.startswith("/") else None
    if action is not None and rest == "$batch":
        call.batch = True
    elif action is not None and (match := action.fullmatch(rest)) and not rest.startswith("/"):
        call.parts = [("", match["id"])]
    else:
        return call.refuse(404, "path", f"No HTTP resource was found that matches the request URI '{row.path}'")
    if row.method != "POST":
        return call.refuse(405, "method", f"{row.method} is not served here")
    if row.header("content-length") is None:
        return call.refuse(411, "length", "a POST without Content-Length")
    return call


def read_call(row: RequestRow) -> Call:
    """What the whole request tells."""
    call = read_target(row)
    if call.status is not None:
        return call
    if not call.batch:
        if row.body:
            # Graph might take it, so it is only noted.
            call.problems.append(("body", "the action takes no body"))
        return call
    if not (row.header("content-type") or "").lower().startswith("application/json"):
        call.refuse(400, "batch", "the batch is not sent as application/json")
    try:
        raw = json.loads(row.content)
    except ValueError:
        return call.refuse(400, "batch", "the batch is not JSON")
    parts = raw.get("requests") if isinstance(raw, dict) else None
    if not isinstance(parts, list) or not parts:
        return call.refuse(400, "batch", "Invalid batch payload format.")
    if len(parts) > MAX_PARTS:
        call.refuse(400, "batch", "Number of requests inside batch exceeds the limit.")
    version = row.path.split("/")[1]
    seen: set[str] = set()
    for part in parts:
        read_part(call, part, version, seen)
    if len(set(call.ids)) < len(call.ids):
        call.problems.append(("batch", "an assignment twice in one batch"))
    return call


def read_part(call: Call, part: Any, version: str, seen: set[str]) -> None:
    """Check one part, and add it to the call."""
    name = part.get("id") if isinstance(part, dict) else None
    if not isinstance(name, str) or not name:
        call.refuse(400, "batch", "a part without an id of type string")
        return
    if name.lower() in seen:
        call.refuse(400, "batch", f"Request Id {name} has to be unique in a batch.")
    seen.add(name.lower())
    headers = part.get("headers")
    if not isinstance(headers, dict) or "Content-Type" not in headers or not isinstance(part.get("body"), dict):
        call.refuse(400, "batch", f"Write request id : {name} does not contain Content-Type header or body.")
    if part.get("method") != "POST":
        call.refuse(400, "batch", f"part {name} has the method {part.get('method')}")
    url = part.get("url")
    match = ACTIONS[version].fullmatch(url) if isinstance(url, str) else None
    if match is None:
        call.refuse(400, "batch", f"part {name} has the url {url}")
        return
    call.parts.append((name, match["id"]))
