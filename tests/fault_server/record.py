"""What happened, in a form that travels as JSON and that tests can ask."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RequestRow:
    """One HTTP request; `status` is None while or when no byte of an answer went out."""

    number: int
    connection: int
    at: float  # s, this server's monotonic clock
    method: str
    path: str
    headers: list[tuple[str, str]]  # as received
    body: str = ""  # latin-1, which keeps every byte
    ids: list[str] = field(default_factory=list)
    did: str = ""  # why it was answered so
    status: int | None = None
    sent: int = 0  # bytes of the answer that went out
    whole: bool = False  # all of it, while the client was still there
    done_at: float | None = None

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self.body.encode("latin-1")

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class AnswerRow:
    """What one assignment id was told by one request."""

    request: int
    at: float
    status: int
    how: str  # plain: by a POST of its own; part: inside a batch; batch: by the status of the whole batch
    whole: bool = False


@dataclass
class Violation:
    """Something that no client may do."""

    request: int
    kind: str  # http, method, path, length, body, batch, token, early
    detail: str


@dataclass
class Record:
    """Everything since the last reset."""

    requests: list[RequestRow] = field(default_factory=list)
    executions: dict[str, list[int]] = field(default_factory=dict)  # id to the numbers of the requests that did it
    answers: dict[str, list[AnswerRow]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    request_count: int = 0
    connection_count: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0

    def executed(self, assignment: str) -> int:
        """How often the work was done."""
        return len(self.executions.get(assignment, ()))

    def statuses(self, assignment: str) -> list[int]:
        """What this id was told, in order."""
        return [answer.status for answer in self.answers.get(assignment, ())]

    def kinds(self) -> list[str]:
        """The kinds of the violations, in order."""
        return [violation.kind for violation in self.violations]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self, default=vars)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Record":
        """The reverse."""
        values = dict(raw)
        values["requests"] = [
            RequestRow(**{**row, "headers": [(name, value) for name, value in row["headers"]]})
            for row in raw["requests"]
        ]
        values["answers"] = {key: [AnswerRow(**row) for row in rows] for key, rows in raw["answers"].items()}
        values["violations"] = [Violation(**row) for row in raw["violations"]]
        return cls(**values)
