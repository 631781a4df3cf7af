"""Runs the client against the fault server, in each of its ways, and holds the four invariants against what came of it.

I1: each id has one outcome. I2: what is reported accepted was executed. I3: what was executed and is not reported
accepted is reported unknown. I4: the token shows nowhere. The record also notes what must never be on the wire:
malformed batches, early retries, a foreign token, other paths.
"""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from entra_reprocess import AsyncClient, Client, Outcome, Report, RunStoppedError

from .faults import FaultServer, Record, broken_invariants

CANARY = "canary-0d5ab64e-eyJ0eXAi"
"""The token of every run here; wherever this text shows, a token would have shown."""

WAYS = ("sync", "async", "iterator", "async iterator")
"""How many ids are given at once."""


@dataclass(frozen=True)
class Held:
    """A run whose invariants hold."""

    outcomes: list[Outcome]  # in input order; of the iterators one for each different id
    report: Report | None  # of the iterators none
    record: Record
    stopped: RunStoppedError | None

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each id."""
        return {outcome.id: outcome.status for outcome in self.outcomes}

    @property
    def counts(self) -> Counter[str]:
        """How many places ended in each way."""
        return Counter(outcome.status for outcome in self.outcomes)

    def outcome(self, item: str) -> Outcome:
        """The outcome of this id."""
        return next(outcome for outcome in self.outcomes if outcome.id == item)

    def sent(self, item: str) -> int:
        """In how many requests this id was."""
        return sum(item in row.ids for row in self.record.requests)


def hold(
    server: FaultServer,
    ids: Sequence[str],
    *,
    way: str = "sync",
    call: Any = None,
    settle: float = 5.0,
    **options: Any,
) -> Held:
    """Run these ids, well-formed and in lower case, and hold the invariants against the run.

    `call` has the keywords of the verb, `options` those of the client; `settle` is how many seconds the server may
    take to end answers that nobody waits for any more.
    """
    outcomes, report, stopped = run(server, ids, way=way, call=call, **options)
    return judge(server, ids, outcomes, report, stopped, settle=settle)


def judge(
    server: FaultServer,
    ids: Sequence[str],
    outcomes: list[Outcome],
    report: Report | None = None,
    stopped: RunStoppedError | None = None,
    *,
    settle: float = 5.0,
    interrupted: bool = False,
    allowed: Collection[str] = (),
) -> Held:
    """Hold the invariants against a run that is over.

    `interrupted` is as in `broken_invariants`; `allowed` has the kinds of violations that the caller has asked for.
    """
    unique = list(dict.fromkeys(ids))
    if report is not None:
        assert report.ids == list(ids)
        assert sum(report.counts.values()) == len(ids)
    elif not interrupted:
        assert sorted(outcome.id for outcome in outcomes) == sorted(unique)
    record = server.record(settle)
    held = Held(outcomes, report, record, stopped)
    assert broken_invariants(record, unique, held.statuses, interrupted=interrupted) == []
    untold = [each for each in outcomes if each.http_status not in (None, *record.statuses(each.id))]
    assert untold == [], "a status that the server never gave"
    assert [each for each in record.violations if each.kind not in allowed] == []
    assert leaks(report, outcomes, *(outcome.error for outcome in outcomes[:100]), stopped) == []
    return held


def run(
    server: FaultServer, ids: Any, *, way: str = "sync", call: Any = None, **options: Any
) -> tuple[list[Outcome], Report | None, RunStoppedError | None]:
    """Run these ids in this way: the outcomes, the report where there is one, and why it stopped if it did."""
    outcomes: list[Outcome] = []
    options = {"base_url": server.url, **options}
    call = dict(call or {})
    collects = way in ("sync", "async")
    if collects:
        call.setdefault("progress", False)
    try:
        report = (
            _asynchronous(way, ids, call, options, outcomes)
            if "async" in way
            else _synchronous(way, ids, call, options, outcomes)
        )
    except RunStoppedError as error:
        if error.report is not None:
            outcomes = list(error.report)
        return sorted(outcomes, key=_index), error.report, error
    return sorted(outcomes, key=_index) if report is None else list(report), report, None


def _index(outcome: Outcome) -> int:
    return outcome.index


def _synchronous(way: str, ids: Any, call: Any, options: Any, outcomes: list[Outcome]) -> Report | None:
    with Client(CANARY, **options) as client:
        assert leaks(client, vars(client)) == []
        if way == "sync":
            return client.reprocess_many(ids, **call)
        outcomes.extend(client.iter_reprocess(ids, **call))  # which keeps those before an exception
    return None


def _asynchronous(way: str, ids: Any, call: Any, options: Any, outcomes: list[Outcome]) -> Report | None:
    async def main() -> Report | None:
        async with AsyncClient(CANARY, **options) as client:
            assert leaks(client, vars(client)) == []
            if way == "async":
                return await client.reprocess_many(ids, **call)
            async for outcome in client.iter_reprocess(ids, **call):
                outcomes.append(outcome)  # noqa: PERF401 - a comprehension would lose those before an exception
        return None

    return asyncio.run(main())


def leaks(*things: object) -> list[str]:
    """Where the token shows in these: their texts, pickles, and tracebacks with all local variables."""
    return [place for thing in things for place, text in _texts(thing) if CANARY in text]


def _texts(thing: object) -> Iterable[tuple[str, str]]:
    if isinstance(thing, str):
        yield "text", thing
        return
    name = type(thing).__name__
    yield f"repr of {name}", repr(thing)
    yield f"str of {name}", str(thing)
    with suppress(TypeError, pickle.PicklingError, AttributeError):
        yield f"pickle of {name}", pickle.dumps(thing).decode("latin-1")
    if isinstance(thing, BaseException):
        yield f"attributes of {name}", str(vars(thing))
        summary = traceback.TracebackException.from_exception(thing, capture_locals=True)
        yield f"traceback of {name}", "".join(summary.format())
