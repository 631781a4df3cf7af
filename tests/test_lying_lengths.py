"""An input that says that it has n items and gives another number is an error, never a shorter run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, RunStoppedError, reprocess_many

from .faults import FaultServer, assignment_ids, fail
from .held import CANARY, WAYS, judge, run

pytestmark = pytest.mark.usefixtures("nothing_leaks")


class Sized:
    """Iterates over these ids and says that they are so many."""

    def __init__(self, ids: Any, said: int) -> None:
        self._ids = ids
        self._said = said

    def __contains__(self, item: object) -> bool:
        return item in self._ids

    def __len__(self) -> int:
        return self._said

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)


class ByIndex:
    """A sequence without `__iter__`."""

    def __init__(self, ids: list[str], said: int) -> None:
        self._ids = ids
        self._said = said

    def __len__(self) -> int:
        return self._said

    def __getitem__(self, place: int) -> str:
        return self._ids[place]


class LyingList(list[str]):
    """A list whose length is made up."""

    said = 0

    def __len__(self) -> int:
        return self.said


class Array(np.ndarray[Any, Any]):
    """A numpy array whose length is made up."""

    said = 0

    def __len__(self) -> int:
        return self.said


def lying_list(ids: list[str], said: int) -> LyingList:
    made = LyingList(ids)
    made.said = said
    return made


def lying_array(ids: list[str], said: int) -> Array:
    made = np.array(ids).view(Array)
    made.said = said
    return made


KINDS: dict[str, Callable[[list[str], int], Any]] = {
    "iterable": Sized,
    "by index": ByIndex,
    "list": lying_list,
    "numpy": lying_array,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("given", "said"), [(3, 5), (5, 3), (0, 1), (1500, 1501), (1501, 1500)])
def test_both_numbers_are_named_and_every_outcome_is_known(
    faulty: FaultServer, way: str, kind: str, given: int, said: int
) -> None:
    ids = assignment_ids(given)
    outcomes, report, stopped = run(faulty, KINDS[kind](ids, said), way=way)
    assert stopped is not None
    assert f"has {said:,} items and gave {given:,};" in str(stopped)
    assert isinstance(stopped.__cause__, ValueError)
    # What is beyond what was said is neither sent nor reported.
    held = judge(faulty, ids[:said], outcomes, report, stopped)
    assert set(held.counts) <= {"accepted", "not_attempted"}


@pytest.mark.parametrize("version", ["beta", "v1.0"])
@pytest.mark.parametrize("batch_size", [1, 20])
def test_what_was_sent_is_answered_first(faulty: FaultServer, version: str, batch_size: int) -> None:
    ids = assignment_ids(3_000)
    faulty.set(latency=0.02)
    outcomes, report, stopped = run(
        faulty, Sized(ids, 3_001), batch_size=batch_size, api_version=version, concurrency=16
    )
    assert "3,001 items and gave 3,000" in str(stopped)
    held = judge(faulty, ids, outcomes, report, stopped)
    assert held.counts["accepted"] > 0
    assert held.counts["unknown"] == held.counts["failed"] == 0


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(("given", "said"), [(30, 31), (31, 30), (2_500, 2_499)])
def test_with_a_journal_nothing_is_sent(faulty: FaultServer, tmp_path: Path, way: str, given: int, said: int) -> None:
    journal = tmp_path / "june.db"
    ids = assignment_ids(given)
    _, report, stopped = run(faulty, Sized(ids, said), way=way, call={"journal": journal})
    assert stopped is not None
    assert f"has {said:,} items" in str(stopped)
    assert faulty.record().requests == []
    assert report is not None
    assert report.counts["not_attempted"] == len(report) == min(given, said)
    assert Report.from_journal(journal).ids == report.ids
    # The right input goes on in the same file.
    outcomes, _, stopped = run(faulty, ids, way=way, call={"journal": journal})
    assert stopped is None
    judge(faulty, ids, outcomes)
    assert {outcome.status for outcome in outcomes} == {"accepted"}


def test_an_endless_input_that_says_it_has_an_end(faulty: FaultServer) -> None:
    endless = (f"00000000-0000-4000-8000-{n:012x}" for n in count(1))
    outcomes, report, stopped = run(faulty, Sized(endless, 40))
    assert "40 items and gave at least 1,041" in str(stopped)
    judge(faulty, assignment_ids(40), outcomes, report, stopped)


class BrokenError(Exception):
    """Raised by an input."""


class Breaking(Sized):
    """Has a length, and raises midway."""

    def __iter__(self) -> Iterator[str]:
        yield from self._ids
        raise BrokenError("the source broke")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [0, 25, 1_200])
def test_a_sized_input_that_raises_midway_keeps_the_report(faulty: FaultServer, way: str, given: int) -> None:
    ids = assignment_ids(given)
    outcomes, report, stopped = run(faulty, Breaking(ids, 2_000), way=way)
    assert stopped is not None
    assert isinstance(stopped.__cause__, BrokenError)
    judge(faulty, ids, outcomes, report, stopped)


def test_a_list_that_the_callback_changes(faulty: FaultServer) -> None:
    ids = todo = assignment_ids(3_000)
    ids = list(ids)

    def done(outcome: Outcome) -> None:
        if outcome.id in todo:
            todo.remove(outcome.id)

    with Client(CANARY, base_url=faulty.url) as client, pytest.raises(RunStoppedError, match="3,000 items") as stopped:
        client.reprocess_many(todo, on_outcome=done)
    assert isinstance(stopped.value.__cause__, ValueError)
    assert stopped.value.report is not None
    assert set(stopped.value.report.ids) < set(ids)


@pytest.mark.parametrize("way", WAYS)
def test_found_after_the_deadline_it_is_an_error_all_the_same(faulty: FaultServer, way: str) -> None:
    faulty.set(latency=0.3)
    ids = assignment_ids(2_000)
    outcomes, report, stopped = run(
        faulty, Sized(ids, 2_001), way=way, call={"deadline": 0.2}, concurrency=1, batch_size=1
    )
    assert "2,001 items and gave 2,000" in str(stopped)
    judge(faulty, ids, outcomes, report, stopped)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_stops_by_itself_is_an_error_in_any_case(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(3_000)
    faulty.set(tokens=["another"])
    outcomes, report, stopped = run(faulty, Sized(ids, 3_001), way=way)
    assert stopped is not None
    # Whichever comes first.
    assert "401" in str(stopped) or "3,001 items" in str(stopped)
    assert len(outcomes) == 3_000
    assert (report is None) == ("iterator" in way)


def test_states(faulty: FaultServer) -> None:
    ids = assignment_ids(30)
    with Client(CANARY, base_url=faulty.url) as client, pytest.raises(RunStoppedError, match="31 items and gave 30"):
        client.states(Sized(ids, 31))

    async def main() -> None:
        async with AsyncClient(CANARY, base_url=faulty.url) as client:
            with pytest.raises(RunStoppedError, match="29 items and gave 30"):
                await client.states(Sized(ids, 29))

    asyncio.run(main())


def test_the_function_of_the_module(faulty: FaultServer) -> None:
    with pytest.raises(RunStoppedError, match="7 items and gave 6"):
        reprocess_many(Sized(assignment_ids(6), 7), base_url=faulty.url, credential=CANARY)


class SizedAsync:
    """Iterates asynchronously, and says that they are so many."""

    def __init__(self, ids: list[str], said: int) -> None:
        self._ids = ids
        self._said = said

    def __len__(self) -> int:
        return self._said

    async def __aiter__(self) -> AsyncIterator[str]:
        for item in self._ids:
            yield item


@pytest.mark.parametrize("way", ["async", "async iterator"])
@pytest.mark.parametrize(("given", "said"), [(40, 41), (41, 40), (40, 40)])
def test_an_asynchronous_input(faulty: FaultServer, way: str, given: int, said: int) -> None:
    ids = assignment_ids(given)
    outcomes, report, stopped = run(faulty, SizedAsync(ids, said), way=way)
    assert (stopped is None) == (given == said)
    assert stopped is None or f"has {said} items and gave" in str(stopped)
    judge(faulty, ids[:said], outcomes, report, stopped)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_is_no_error(faulty: FaultServer, way: str, kind: str) -> None:
    ids = assignment_ids(1_100)
    faulty.script(ids={ids[3]: [fail(404)]})
    outcomes, report, stopped = run(faulty, KINDS[kind](ids, 1_100), way=way)
    assert stopped is None
    judge(faulty, ids, outcomes, report)
