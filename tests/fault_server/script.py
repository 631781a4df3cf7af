"""The language of the faults: what one answer does wrong, and the settings of a whole run."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One answer, of one HTTP request or of one assignment id; the defaults make the healthy one.

    For an id inside a batch the first group of fields shapes its part, and the fields of the wire break the answer
    of the whole batch, since parts share one connection. For a request, a status or a body of its own answers it
    whole without using up the scripts of its ids; without both, its ids are served as usual and the rest applies.
    """

    # What is answered. None: what a healthy service would say (202, or 200 with the parts of a batch).
    status: int | None = None
    code: str | None = None  # of the Graph error body; None: one that fits the status; "" is sent as it is
    message: str = "Scripted."
    inner: str | None = "innerError"  # how that object is spelled; None leaves it out
    nested: bool = False  # an inner object inside the inner object
    headers: Headers = ()  # replace headers of the same name; `{date}`, `{date+3}` become HTTP dates of this server
    body: str | None = None  # sent in place of the proper body; inside a part parsed as JSON if it is JSON
    content_type: str = "application/json"

    # Whether the work is done first. None: only when the status is None or 2XX. For a request it overrules its ids.
    executed: bool | None = None

    # How the bytes go out.
    before_body: bool = False  # act without reading the request's body; for HTTP requests only
    delay: float = 0.0  # s before the answer
    drip: float = 0.0  # s between single bytes
    drip_after: int = 0  # bytes that go out at once before dripping starts
    framing: Literal["length", "chunked", "eof"] = "length"
    missing: int = 0  # bytes that Content-Length promises and that never come
    cut: int | None = None  # bytes of the whole answer that go out
    cut_body: int | None = None  # likewise, counted from the end of the head
    end: Literal["keep", "close", "reset"] = "keep"  # after a cut, keep means close
    pad_mib: int = 0  # MiB of spaces before the body: valid JSON for those who swallow it
    gzip: bool = False  # Content-Encoding: gzip; with pad_mib it is a bomb
    huge_header: int = 0  # bytes of one more header

    # What is wrong with a batch answer: counts for a request, 1 for the part of an id.
    drop: int = 0  # parts left out (their work is done)
    twice: int = 0  # parts answered twice
    twice_status: int | None = None  # status of the second answer; None: the same
    stranger: int = 0  # answers to ids that were not asked
    shuffle: bool | None = None  # None: as in the settings
    header_case: Literal["lower", "upper"] | None = None  # of header names inside parts
    part_ids: Literal["number", "upper"] | None = None
    spoil: str = ""  # bytes (latin-1) that stand raw in the part of an id, or make an odd page of its own answer

    @property
    def runs(self) -> bool:
        """Whether the work is done before the answer goes wrong."""
        return self.executed if self.executed is not None else self.status is None or 200 <= self.status < 300

    @property
    def breaks_wire(self) -> bool:
        """Whether more than the content of the answer is touched."""
        return any(getattr(self, name) != getattr(HEALTHY, name) for name in WIRE)


WIRE = ("delay", "drip", "framing", "missing", "cut", "cut_body", "end", "pad_mib", "gzip", "huge_header")
HEALTHY = Fault()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for the whole run."""

    default: Fault = HEALTHY  # for ids whose list is used up
    every: tuple[Fault, ...] = ()  # the list of ids that have none of their own
    latency: float = 0.0  # s, before every answer
    # off: says so and closes. silent: closes without a word. stale: resets at the next request on the connection.
    keep_alive: Literal["on", "off", "silent", "stale"] = "on"
    tokens: tuple[str, ...] | None = None  # accepted bearer tokens; None: any
    revoke_after: tuple[int, ...] = ()  # requests that the first, second, ... token seen is good for; later ones always
    www_authenticate: str = 'Bearer realm="", error="invalid_token"'
    marked: frozenset[str] = frozenset()  # a batch with one of these is refused whole
    marked_status: int = 400
    refuse_batches: Literal["whole", "parts"] | None = None  # with 400, while plain POSTs work
    quota: Literal["bucket", "window"] | None = None
    quota_size: float = 0.0  # most items at once (bucket), or in one window
    quota_seconds: float = 1.0  # in which an empty bucket fills, or the length of a window
    quota_retry_after: str | None = "auto"  # auto: what is true, in decimals; None: no header; else this text
    shuffle: bool = True
    seed: int = 0
    clock_offset: float = 0.0  # s by which Date is off
    shared_pause: bool = False  # whether a Retry-After for one is meant for all
    pause_grace: float = 0.25  # s in which requests under way may still arrive during a shared pause
    pause_ceiling: float = 600.0  # s; a longer Retry-After starts no shared pause
    keep_requests: bool = True  # whether to record each request; ids are always recorded


def fault_to_json(fault: Fault | None) -> dict[str, Any] | None:
    """Only what differs from a healthy answer, to keep scripts for thousands of ids small."""
    if fault is None:
        return None
    values = ((f.name, getattr(fault, f.name), f.default) for f in fields(fault))
    return {name: value for name, value, default in values if default is MISSING or value != default}


def fault_from_json(raw: Mapping[str, Any] | None) -> Fault | None:
    """The reverse; an unknown name is a TypeError."""
    if raw is None:
        return None
    values = dict(raw)
    if "headers" in values:
        values["headers"] = tuple((str(name), str(value)) for name, value in values["headers"])
    return Fault(**values)


def faults_from_json(raw: Iterable[Mapping[str, Any] | None]) -> list[Fault]:
    """A list of them, with None as the healthy one."""
    return [fault_from_json(each) or HEALTHY for each in raw]


def settings_to_json(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the control port takes them."""
    known = {f.name for f in fields(Settings)}
    if unknown := changes.keys() - known:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    values = dict(changes)
    if "default" in values:
        values["default"] = fault_to_json(values["default"])
    if "every" in values:
        values["every"] = [fault_to_json(fault) for fault in values["every"]]
    if "marked" in values:
        values["marked"] = sorted(values["marked"])
    return values


def settings_from_json(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse, as keywords of `Settings`."""
    values = dict(raw)
    if "default" in values:
        values["default"] = fault_from_json(values["default"]) or HEALTHY
    if "every" in values:
        values["every"] = tuple(faults_from_json(values["every"]))
    if "marked" in values:
        values["marked"] = frozenset(values["marked"])
    for name in ("tokens", "revoke_after"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    return values
