"""A local Microsoft Graph for entitlement management, to try things out and to test automation without Azure.

What it does, and whether Microsoft documents that, it was seen in public, or it is assumed, stands in
docs/emulator.md of the source.
"""

from __future__ import annotations

from time import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from . import _native

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

EMULATOR_TOKEN = "emulator-token"  # noqa: S105 - it opens nothing but the emulator
"""The bearer token that it takes unless told otherwise. No secret."""
_NEVER = 10 * 365 * 24 * 3_600


class Refusal(NamedTuple):
    """An error answer that Microsoft does not document, and that can therefore be set."""

    status: int
    code: str
    message: str


UNKNOWN_ID = Refusal(404, "ResourceNotFound", "The resource was not found.")
"""The documented 404 for an id that no assignment has, with an assumed code."""
INVALID_ID = Refusal(400, "BadRequest", "The id is not valid.")
"""The documented 400 for an id that is no GUID, with an assumed code."""
WRONG_STATE = Refusal(400, "InvalidAssignmentState", "The assignment is not in a state that allows this.")
"""An assumed answer for an assignment that is not Delivered."""
FORBIDDEN = Refusal(
    403,
    "UnAuthorized",
    "User is not authorized to perform the operation. Reason: The caller is not authorized.",
)
"""The 403 that entitlement management was seen to give, to unknown ids too."""


class EmulatorCredential:
    """An azure-core TokenCredential that the emulator takes."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """The emulator's token, whatever the scopes."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time()) + _NEVER)

    def __repr__(self) -> str:
        return "<EmulatorCredential>"


class Emulator:
    """A Graph on 127.0.0.1 that runs from the start of the `with` block, or `start()`, to its end, or `stop()`.

    Args:
        assignments: How many delivered assignments it has; their ids follow from the seed.
        port: TCP port; 0 takes a free one.
        seed: Ids, the order of batch answers and latencies follow from it.
        latency: Seconds that each HTTP answer takes, or the least and the most of it.
        write_quota: `(calls, seconds)`: how many reprocess calls are granted in which time; None for no throttling.
        quota_model: "bucket" refills evenly, "window" starts anew each period.
        burst: How many calls a full bucket grants at once; None for as many as one period grants.
        retry_after: How a 429 says when to come back: "integer", "decimal", "date" or "absent".
        forbid: Whether the caller has no rights: every call answers 403.
        unknown_id, invalid_id, wrong_state: The answers whose code and message Microsoft does not document.
        token: The bearer token that it takes.

    Raises:
        ValueError: A setting is out of its range.
        OSError: The port is taken.

    Example:
        >>> from entra_reprocess import Client
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=50, write_quota=(30, 0.2)) as graph:
        ...     report = Client(graph.credential, base_url=graph.url).reprocess_many(graph.ids)
        ...     report.counts["accepted"], sum(graph.executions.values())
        (50, 50)
    """

    def __init__(
        self,
        assignments: int = 100,
        *,
        port: int = 0,
        seed: int = 0,
        latency: float | tuple[float, float] = 0.0,
        write_quota: tuple[int, float] | None = None,
        quota_model: Literal["bucket", "window"] = "bucket",
        burst: int | None = None,
        retry_after: Literal["integer", "decimal", "date", "absent"] = "integer",
        forbid: bool = False,
        unknown_id: Refusal = UNKNOWN_ID,
        invalid_id: Refusal = INVALID_ID,
        wrong_state: Refusal = WRONG_STATE,
        token: str = EMULATOR_TOKEN,
    ) -> None:
        self._settings: dict[str, object] = {
            "assignments": assignments,
            "port": port,
            "seed": seed,
            "latency": latency if isinstance(latency, tuple) else (latency, latency),
            "write_quota": write_quota,
            "quota_model": quota_model,
            "burst": burst,
            "retry_after": retry_after,
            "forbid": forbid,
            "unknown_id": tuple(unknown_id),
            "invalid_id": tuple(invalid_id),
            "wrong_state": tuple(wrong_state),
            "token": token,
        }
        self._native: _native.NativeEmulator | None = None

    def start(self) -> Self:
        """Start it; needed only without `with`."""
        if self._native is None:
            self._native = _native.NativeEmulator(self._settings)
        return self

    def stop(self) -> None:
        """Stop it and close its connections. What it has counted can still be read."""
        if self._native is not None:
            self._native.stop()

    @property
    def url(self) -> str:
        """Its origin, for `base_url=`."""
        return self._running.url

    @property
    def credential(self) -> EmulatorCredential:
        """A credential that it takes."""
        return EmulatorCredential(self._running.token)

    @property
    def token(self) -> str:
        """The bearer token that it takes."""
        return self._running.token

    @property
    def ids(self) -> list[str]:
        """The ids of its assignments."""
        return self._running.ids()

    @property
    def executions(self) -> dict[str, int]:
        """How often each assignment was really reprocessed; what never was is left out."""
        return self._running.executions()

    @property
    def counters(self) -> dict[str, int]:
        """What it has counted: http_requests, in_flight_peak, batches, parts, executed, throttled_parts and others."""
        return self._running.counters()

    @property
    def _running(self) -> _native.NativeEmulator:
        if self._native is None:
            raise RuntimeError("the emulator is not running; use it in a with block, or call start()")
        return self._native

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
