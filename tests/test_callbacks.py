"""Callbacks: each id once, in the thread of the caller, not too often, and what happens when one raises."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, RunStoppedError

from .faults import FaultServer, assignment_ids, fail, throttled
from .held import CANARY, judge, leaks

pytestmark = pytest.mark.usefixtures("nothing_leaks")

both = pytest.mark.parametrize("way", ["sync", "async"])


def collect(faulty: FaultServer, way: str, ids: Any, options: Any = None, **call: Any) -> Report:
    """Run it in a thread of its own, which is the thread of the caller."""
    options = {"base_url": faulty.url, **(options or {})}
    call.setdefault("progress", False)
    if way == "sync":
        with Client(CANARY, **options) as client:
            return client.reprocess_many(ids, **call)

    async def main() -> Report:
        async with AsyncClient(CANARY, **options) as client:
            return await client.reprocess_many(ids, **call)

    return asyncio.run(main())


@both
def test_progress_is_told_at_most_20_times_a_second_in_the_thread_of_the_caller(faulty: FaultServer, way: str) -> None:
    calls: list[tuple[float, int, int, int | None]] = []
    heard: list[int] = []
    faulty.set(latency=0.004)

    def progress(done: int, total: int | None, counts: Counter[str]) -> None:
        calls.append((time.monotonic(), threading.get_ident(), done, total))
        assert sum(counts.values()) == done

    def on_outcome(_: Outcome) -> None:
        heard.append(threading.get_ident())

    # One id in a request and a rate, so that there is far more news than may be told.
    options = {"batch_size": 1, "rate": 400}
    collect(faulty, way, assignment_ids(400), options, progress=progress, on_outcome=on_outcome)
    assert {thread for _, thread, _, _ in calls} == set(heard) == {threading.get_ident()}
    times = [at for at, _, _, _ in calls]
    # Once more at the end. A busy machine may hold one call up and not the next, so it is their number that counts.
    assert 4 <= len(times) <= 2 + 20 * (times[-1] - times[0])
    assert calls[-1][2:] == (400, 400)


@both
@pytest.mark.parametrize("callback", ["on_outcome", "progress"])
@pytest.mark.parametrize("after", [0, 3])
def test_a_callback_that_raises_stops_the_run_cleanly(faulty: FaultServer, way: str, callback: str, after: int) -> None:
    ids = assignment_ids(600)
    faulty.set(latency=0.03)
    faulty.script(requests=[None, throttled("0.1"), fail(500)], ids={ids[5]: [fail(404)]})
    calls = 0

    def fails(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise LookupError("the callback broke")

    options = {"concurrency": 2, "max_wait": 0.2}
    started = time.monotonic()
    with pytest.raises(RunStoppedError, match="LookupError") as stopped:
        collect(faulty, way, ids, options, **{callback: fails})
    assert time.monotonic() - started < 4
    assert isinstance(stopped.value.__cause__, LookupError)
    report = stopped.value.report
    assert report is not None
    held = judge(faulty, ids, list(report), report, stopped.value)
    assert calls == after + 1, "it is not called again"
    assert held.counts["unknown"] == 0, "what was under way was answered"
    assert held.counts["not_attempted"] > 0


@both
def test_what_the_callback_raises_may_be_no_exception(faulty: FaultServer, way: str) -> None:
    def leave(*_: object) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        collect(faulty, way, assignment_ids(100), on_outcome=leave)
    assert faulty.record(settle=2).in_flight == 0


@both
def test_a_progress_callback_may_raise_at_the_very_end(faulty: FaultServer, way: str) -> None:
    def progress(done: int, *_: object) -> None:
        if done == 20:
            raise LookupError("at the end")

    with pytest.raises(RunStoppedError, match="LookupError") as stopped:
        collect(faulty, way, assignment_ids(20), progress=progress)
    report = stopped.value.report
    assert report is not None
    assert report.counts["accepted"] == 20


# Every different id is heard of once, however the run ends.


@both
def test_each_id_is_heard_of_at_the_deadline(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(5_000)
    heard: list[Outcome] = []
    faulty.set(latency=0.05)
    report = collect(faulty, way, ids, {"rate": 400}, on_outcome=heard.append, deadline=0.4)
    assert report.counts["not_attempted"] > 2_000
    assert Counter(outcome.id for outcome in heard) == Counter(ids)
    assert {outcome.id: outcome for outcome in heard} == {outcome.id: outcome for outcome in report}


@both
def test_each_id_is_heard_of_when_the_run_stops(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(5_000)
    heard: list[Outcome] = []
    faulty.set(default=fail(403))
    with pytest.raises(RunStoppedError) as stopped:
        collect(faulty, way, ids, on_outcome=heard.append)
    report = stopped.value.report
    assert report is not None
    assert report.ids == ids
    assert Counter(outcome.id for outcome in heard) == Counter(ids)
    assert leaks(stopped.value) == []


@both
def test_each_id_is_heard_of_when_the_source_raises(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(300)
    heard: list[Outcome] = []
    faulty.set(latency=0.05)

    def source() -> Iterator[str]:
        yield from ids
        raise OSError("the file ended")

    with pytest.raises(RunStoppedError) as stopped:
        collect(faulty, way, source(), on_outcome=heard.append)
    report = stopped.value.report
    assert report is not None
    assert Counter(outcome.id for outcome in heard) == Counter(report.ids) == Counter(ids)


@both
def test_each_id_is_heard_of_when_progress_raises(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(400)
    heard: list[Outcome] = []
    faulty.set(latency=0.06)

    def progress(*_: object) -> None:
        raise LookupError("no")

    with pytest.raises(RunStoppedError):
        collect(faulty, way, ids, on_outcome=heard.append, progress=progress)
    assert Counter(outcome.id for outcome in heard) == Counter(ids)


# The bar.


def test_the_bar_says_that_it_is_throttled_and_for_how_long(
    faulty: FaultServer, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.script(requests=[throttled("2")], ids={assignment_ids(1)[0]: [fail(404)]})
    with Client(CANARY, base_url=faulty.url) as client:
        client.reprocess_many(assignment_ids(40), progress=True)
    shown = capfd.readouterr().err
    # It counts down, and says nothing of it when it is over.
    assert "throttled, 2 s" in shown
    assert "throttled, 1 s" in shown
    last = shown.split("\r")[-1]
    assert "40/40" in last
    assert "1 not_found" in last
    assert "throttled" not in last
