"""Exceptions of an id's own code: ordinary ones make it no id, those that end a program end the run with its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, InvalidIdError, Report, RunInterrupted

from .faults import FaultServer, assignment_ids
from .held import CANARY, judge, run

GOOD = assignment_ids(30)


class LeaveError(BaseException):
    """Like GeneratorExit or trio.Cancelled: no Exception."""


ENDING = [KeyboardInterrupt, SystemExit, LeaveError]


def odd(place: str, kind: type[BaseException]) -> Any:
    """An object whose own code raises at this place."""

    def raises(self: object, *_: object) -> Any:
        raise kind("from an id")

    names = {"repr": "__repr__", "class": "__class__"}
    return type("Odd", (), {names[place]: property(raises) if place == "class" else raises})()


class OddUuid:
    """Says that it is a UUID, and has no number."""

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind

    @property  # type: ignore[misc]  # that is what an odd object may do
    def __class__(self) -> Any:
        from uuid import UUID

        return UUID

    @property
    def int(self) -> int:
        raise self._kind("from an id")


MAKERS: dict[str, Callable[[type[BaseException]], Any]] = {
    "repr": lambda kind: odd("repr", kind),
    "class": lambda kind: odd("class", kind),
    "number of a UUID": OddUuid,
}
places = pytest.mark.parametrize("place", MAKERS)
ways = pytest.mark.parametrize("way", ["sync", "async"])


def collected(faulty: FaultServer, way: str, ids: Any, **call: Any) -> tuple[BaseException | None, Report | None]:
    """What it raised, and the report that the client has of it."""
    client: Any = (Client if way == "sync" else AsyncClient)(CANARY, base_url=faulty.url)
    try:
        if way == "sync":
            client.reprocess_many(ids, **call)
        else:
            asyncio.run(client.reprocess_many(ids, **call))
    except BaseException as error:
        return error, client.last_report
    return None, client.last_report


@ways
@places
@pytest.mark.parametrize("kind", ENDING)
@pytest.mark.parametrize("lazily", [False, True])
def test_what_ends_a_program_ends_the_run(
    faulty: FaultServer, way: str, place: str, kind: type[BaseException], lazily: bool
) -> None:
    ids = [*GOOD[:20], MAKERS[place](kind), *GOOD[20:]]
    error, report = collected(faulty, way, (each for each in ids) if lazily else ids)
    assert type(error) is (RunInterrupted if kind is KeyboardInterrupt else kind)
    assert report is not None
    if isinstance(error, RunInterrupted):
        assert error.report is report
    else:
        assert "It ended a run: <Report of " in str(getattr(error, "__notes__", None))
    # Each place that was read has its outcome, the odd one included; a list is all there.
    assert [each.status for each in report].count("rejected") == 1
    assert report[20].status == "rejected"
    assert len(report) == (21 if lazily else 31)
    good = [each for each in report if each.status != "rejected"]
    judge(faulty, GOOD[: len(good)], good, interrupted=True)


@ways
def test_several_in_one_list(faulty: FaultServer, way: str) -> None:
    ids = [MAKERS["repr"](KeyboardInterrupt) if place % 3 == 0 else GOOD[place] for place in range(30)]
    error, report = collected(faulty, way, ids)
    assert isinstance(error, RunInterrupted)
    assert report is not None
    assert len(report) == 30
    assert report.counts["rejected"] == 10


@ways
def test_with_a_deadline(faulty: FaultServer, way: str) -> None:
    def source() -> Iterator[Any]:
        yield from GOOD[:5]
        yield MAKERS["repr"](KeyboardInterrupt)
        yield from GOOD[5:]

    error, report = collected(faulty, way, source(), deadline=20)
    assert isinstance(error, RunInterrupted)
    assert report is not None
    assert len(report) == 6


@ways
@places
@pytest.mark.parametrize("kind", [ValueError, RecursionError, RuntimeError])
def test_ordinary_exceptions_make_it_no_id(
    faulty: FaultServer, way: str, place: str, kind: type[BaseException]
) -> None:
    outcomes, _, stopped = run(faulty, [*GOOD[:3], MAKERS[place](kind), *GOOD[3:]], way=way)
    assert stopped is None
    assert [outcome.status for outcome in outcomes] == ["accepted"] * 3 + ["rejected"] + ["accepted"] * 27
    assert place != "repr" or outcomes[3].id == "<no repr>"


@pytest.mark.parametrize("way", ["iterator", "async iterator"])
@pytest.mark.parametrize("kind", ENDING)
def test_an_iterator_ends_as_well(faulty: FaultServer, way: str, kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        run(faulty, [*GOOD, MAKERS["repr"](kind)], way=way)
    assert faulty.record(settle=3).in_flight == 0


@places
@pytest.mark.parametrize("kind", [*ENDING, ValueError])
def test_one_id_that_stands_by_itself(faulty: FaultServer, place: str, kind: type[BaseException]) -> None:
    expected = InvalidIdError if kind is ValueError else kind
    client = Client(CANARY, base_url=faulty.url)
    with pytest.raises(expected):
        client.reprocess(MAKERS[place](kind))

    async def main() -> None:
        with pytest.raises(expected):
            await AsyncClient(CANARY, base_url=faulty.url).reprocess(MAKERS[place](kind))

    asyncio.run(main())
    with pytest.raises(TypeError if kind is ValueError else kind):
        client.assignments(policy=MAKERS[place](kind))
    with pytest.raises(kind) if kind is not ValueError else nullcontext():
        client.states([MAKERS[place](kind)])
    assert faulty.record().request_count == 0
