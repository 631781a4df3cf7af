"""How one id ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ._errors import InvalidIdError, ReprocessError, TransportError, graph_error

Status = Literal["accepted", "rejected", "not_found", "forbidden", "failed", "unknown", "not_attempted"]
"""How an id can end; the README has the table of meanings."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one id ended (https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess).

    Attributes:
        id: The assignment id in lower case, or the shortened input where that was no id.
        index: First place in the input, from 0.
        status: One of `Status`.
        http_status: Status of the answer that settled it; None where there was none.
        code: Graph's error code; may be an empty string.
        message: Graph's message, or why no answer settled it. For people only.
        request_id: The service's id of the last request; support asks for it.
        client_request_id: Our id of the last request.
        attempts: How often it was sent, the first time included.
        elapsed: Seconds from the first attempt to the end.
        finished_at: When it ended, UTC.

    Example:
        >>> from datetime import UTC, datetime
        >>> from entra_reprocess import Outcome
        >>> done = Outcome("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b", 0, "accepted", 202, None, None,
        ...                None, None, 1, 0.1, datetime(2026, 1, 1, tzinfo=UTC))
        >>> done.ok, done.error
        (True, None)
    """

    __module__ = "entra_reprocess"  # the public place, for tracebacks and pickles
    _id_of = "assignment"  # see `assignment_id` of src/python/convert.rs

    id: str
    index: int
    status: Status
    http_status: int | None
    code: str | None
    message: str | None
    request_id: str | None
    client_request_id: str | None
    attempts: int
    elapsed: float
    finished_at: datetime

    if TYPE_CHECKING:
        # The one that a dataclass has anyway. Seeing it, mypy lets `"<id>" in report` be.
        def __eq__(self, other: object, /) -> bool: ...

    @property
    def ok(self) -> bool:
        """Whether Graph accepted it."""
        return self.status == "accepted"

    @property
    def error(self) -> ReprocessError | None:
        """The exception that it stands for, or None."""
        if self.ok:
            return None
        if self.status == "unknown":
            return TransportError(f"assignment {self.id}: {self.message}")
        if self.status == "not_attempted":
            return ReprocessError(f"assignment {self.id} was not attempted: {self.message}")
        if self.http_status is None:
            return InvalidIdError(self.message)
        return graph_error(
            self.http_status,
            code=self.code,
            message=self.message,
            request_id=self.request_id,
            client_request_id=self.client_request_id,
            id=self.id,
        )
