"""Ids that come slowly, and callbacks that take their time: what was given goes out, and a deadline holds."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, RunStoppedError

from . import scripts
from .faults import FaultServer, assignment_ids
from .held import CANARY, WAYS, judge, run

IDS = assignment_ids(60)
LONG = 30.0
"""Seconds that a source waits, unless it is let go."""


class Source:
    """Gives the first ids, then waits until it is let go, in one of many ways."""

    def __init__(self, given: int = 1) -> None:
        self.given = given
        self.go_on = threading.Event()

    def generator(self) -> Iterator[str]:
        yield from IDS[: self.given]
        self.go_on.wait(LONG)
        yield from IDS[self.given :]

    def sleeper(self) -> Iterator[str]:
        for place, item in enumerate(IDS):
            while place == self.given and not self.go_on.is_set():
                time.sleep(0.01)
            yield item

    def of_a_queue(self) -> Iterator[str]:
        ids: queue.Queue[str] = queue.Queue()
        for item in IDS[: self.given]:
            ids.put(item)

        def end() -> None:
            self.go_on.wait(LONG)
            ids.put("")

        threading.Thread(target=end).start()
        return iter(ids.get, "")

    def of_a_map(self) -> Iterator[str]:
        return map(str.upper, self.generator())

    def sequence(self) -> Any:
        source = self

        class Lazy:
            def __len__(self) -> int:
                return len(IDS)

            def __getitem__(self, place: int) -> str:
                if place >= source.given:
                    source.go_on.wait(LONG)
                return IDS[place]

        return Lazy()

    async def asynchronous(self) -> AsyncIterator[str]:
        for item in IDS[: self.given]:
            yield item
        while not self.go_on.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.01)
        for item in IDS[self.given :]:
            yield item

    async def stubborn(self) -> AsyncIterator[str]:
        try:
            async for item in self.asynchronous():
                yield item
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            raise


SYNC = ["generator", "sleeper", "of_a_queue", "of_a_map", "sequence"]


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.005)
    return time.monotonic() - started


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*SYNC, "asynchronous"])
@pytest.mark.parametrize(("given", "batch_size"), [(1, 20), (3, 20), (21, 20), (2, 1)])
def test_what_was_given_does_not_wait_for_the_next(
    faulty: FaultServer, way: str, kind: str, given: int, batch_size: int
) -> None:
    if kind == "asynchronous" and "async" not in way:
        pytest.skip("only AsyncClient takes it")
    source = Source(given)
    done: list[Any] = []
    thread = threading.Thread(
        target=lambda: done.append(run(faulty, getattr(source, kind)(), way=way, batch_size=batch_size))
    )
    started = time.monotonic()
    thread.start()
    try:
        wait_for(lambda: len(faulty.record().executions) == given)
        # 50 ms, and what a busy machine takes for the rest.
        assert time.monotonic() - started < 5
    finally:
        source.go_on.set()
        thread.join(20)
    outcomes, _, stopped = done[0]
    assert stopped is None
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    assert kind == "of_a_queue" or [outcome.id for outcome in outcomes] == IDS


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*SYNC, "asynchronous", "stubborn"])
@pytest.mark.parametrize("given", [0, 5])
def test_a_deadline_holds_while_the_ids_are_waited_for(faulty: FaultServer, way: str, kind: str, given: int) -> None:
    if kind in ("asynchronous", "stubborn") and "async" not in way:
        pytest.skip("only AsyncClient takes it")
    source = Source(given)
    started = time.monotonic()
    try:
        outcomes, report, stopped = run(faulty, getattr(source, kind)(), way=way, call={"deadline": 0.7})
        assert 0.6 < time.monotonic() - started < 2.5
    finally:
        source.go_on.set()
    assert stopped is None
    judge(faulty, IDS[:given], outcomes, report)
    assert [outcome.status for outcome in outcomes] == ["accepted"] * given
    time.sleep(0.1)
    assert len(faulty.record().executions) == given, "what comes later is dropped"


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_sequence_that_is_quick_enough_is_read_to_its_end(faulty: FaultServer, way: str) -> None:
    class Quick:
        def __len__(self) -> int:
            return 5_000

        def __getitem__(self, place: int) -> str:
            return assignment_ids(1, place + 1)[0] if place < 5_000 else [][place]

    faulty.set(latency=0.2)
    _, report, _ = run(faulty, Quick(), way=way, call={"deadline": 0.6}, concurrency=1)
    assert report is not None
    assert report.ids == assignment_ids(5_000)
    assert report.counts["not_attempted"] > 4_000


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_journal_has_what_was_read_until_the_deadline(faulty: FaultServer, way: str, tmp_path: Path) -> None:
    source = Source(5)
    call = {"deadline": 0.5, "journal": tmp_path / "june.db"}
    try:
        run(faulty, source.generator(), way=way, call=call)
    finally:
        source.go_on.set()
    assert Report.from_journal(tmp_path / "june.db").counts["accepted"] == 5
    outcomes, _, _ = run(faulty, IDS, way=way, call={"journal": tmp_path / "june.db"})
    assert len(outcomes) == 60
    assert max(map(len, faulty.record().executions.values())) == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_the_ids_raise_is_the_cause_under_a_deadline_too(faulty: FaultServer, way: str) -> None:
    def source() -> Iterator[str]:
        yield from IDS[:5]
        raise LookupError("the source broke")

    outcomes, report, stopped = run(faulty, source(), way=way, call={"deadline": 10})
    assert stopped is not None
    assert isinstance(stopped.__cause__, LookupError)
    judge(faulty, IDS[:5], outcomes, report, stopped)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_it_under_a_deadline_too(faulty: FaultServer, kind: type[BaseException]) -> None:
    def source() -> Iterator[str]:
        yield from IDS[:5]
        raise kind

    with Client(CANARY, base_url=faulty.url) as client:
        with pytest.raises(kind):
            client.reprocess_many(source(), deadline=10)
        assert client.last_report is not None
        assert client.last_report.ids == IDS[:5]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_context_of_the_caller_is_that_of_the_ids(faulty: FaultServer, way: str) -> None:
    tenant = contextvars.ContextVar("tenant", default="none")
    seen = []

    def source() -> Iterator[str]:
        for item in IDS:
            seen.append(tenant.get())
            yield item

    token = tenant.set("contoso")
    try:
        run(faulty, source(), way=way, call={"deadline": 10})
    finally:
        tenant.reset(token)
    assert set(seen) == {"contoso"}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A table of the ids, which only the thread of the test may read."""
    opened = sqlite3.connect(":memory:")
    opened.execute("create table ids (id text)")
    opened.executemany("insert into ids values (?)", [(item,) for item in IDS])
    yield opened
    opened.close()


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kind", ["expression", "function", "list"])
def test_rows_of_sqlite_are_read_where_they_may_be(
    faulty: FaultServer, connection: sqlite3.Connection, way: str, kind: str
) -> None:
    def rows(source: sqlite3.Connection) -> Iterator[str]:
        for row in source.execute("select id from ids"):
            yield row[0]

    ids: Any = (row[0] for row in connection.execute("select id from ids"))
    ids = rows(connection) if kind == "function" else list(ids) if kind == "list" else ids
    outcomes, _, stopped = run(faulty, ids, way=way, call={"deadline": 20})
    assert stopped is None
    assert [outcome.id for outcome in outcomes] == IDS


def test_ids_that_are_bound_to_the_thread_of_the_caller_are_told_of(
    faulty: FaultServer, connection: sqlite3.Connection
) -> None:
    _, _, stopped = run(faulty, map("".join, connection.execute("select id from ids")), call={"deadline": 20})
    assert stopped is not None
    assert isinstance(stopped.__cause__, sqlite3.ProgrammingError)
    assert "read in a thread of their own, since there is a deadline; give a list" in str(stopped.__cause__.__notes__)
    outcomes, _, _ = run(faulty, map("".join, connection.execute("select id from ids")))
    assert len(outcomes) == 60, "without a deadline they are read in this thread"


def test_without_a_deadline_the_ids_are_read_in_the_thread_of_the_caller(faulty: FaultServer) -> None:
    threads = set()

    def source() -> Iterator[str]:
        for item in IDS:
            threads.add(threading.get_ident())
            yield item

    run(faulty, source())
    assert threads == {threading.get_ident()}


# Callbacks.


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_ids_are_read_between_two_slow_calls(faulty: FaultServer, way: str) -> None:
    events: list[str] = []

    def source() -> Iterator[str]:
        for item in IDS:
            events.append("read")
            yield item
            time.sleep(0.01)
        events.append("end")

    def slow(_: Outcome) -> None:
        events.append("told")
        time.sleep(0.06 if "end" not in events else 0)

    _, report, _ = run(faulty, source(), way=way, call={"on_outcome": slow})
    assert report is not None
    assert report.counts["accepted"] == events.count("told") == 60
    assert "told told" not in " ".join(events[: events.index("end")])


@pytest.mark.parametrize("way", WAYS)
def test_more_ids_than_are_taken_in_ahead_with_slow_calls(faulty: FaultServer, way: str) -> None:
    """What the callback has not heard of waits in the run, and makes room when it is taken out."""
    heard: list[Outcome] = []

    def slow(outcome: Outcome) -> None:
        heard.append(outcome)
        if len(heard) % 500 == 1:
            time.sleep(0.3)

    ids = assignment_ids(3_000)
    outcomes, _, _ = run(faulty, ids, way=way, call={} if "iterator" in way else {"on_outcome": slow})
    assert [outcome.id for outcome in outcomes] == ids
    assert "iterator" in way or {outcome.id for outcome in heard} == set(ids)


@pytest.mark.filterwarnings("ignore:on_outcome was not called")
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_deadline_holds_with_a_slow_callback(faulty: FaultServer, way: str) -> None:
    heard: list[str] = []

    def slow(outcome: Outcome) -> None:
        heard.append(outcome.id)
        time.sleep(0.1)

    started = time.monotonic()
    with pytest.warns(RuntimeWarning, match=r"on_outcome was not called for \d+ outcomes.*the report has them"):
        _, report, stopped = run(faulty, IDS, way=way, call={"on_outcome": slow, "deadline": 1.0})
    assert 0.9 < time.monotonic() - started < 2.5
    assert stopped is None
    assert report is not None
    assert report.counts["accepted"] == 60
    assert 5 < len(heard) == len(set(heard)) < 60


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("deadline", ["None", "60"])
@pytest.mark.parametrize("verb", ["reprocess_many", "iter_reprocess"])
def test_ctrl_c_while_the_ids_are_waited_for(faulty: FaultServer, deadline: str, verb: str) -> None:
    code = """
        import sys, time
        from entra_reprocess import Client, RunInterrupted
        from tests.faults import assignment_ids
        url, deadline, verb = sys.argv[1:]
        def ids():
            yield from assignment_ids(5)
            print("waiting", flush=True)
            time.sleep(30)
        try:
            outcomes = getattr(Client("token", base_url=url), verb)(ids(), deadline=eval(deadline))
            list(outcomes)
        except RunInterrupted as error:
            print(len(error.report) if error.report else error)
    """
    faulty.reset()
    process = scripts.start(code, faulty.url, deadline, verb)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    wait_for(lambda: len(faulty.record().executions) == 5)
    time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - sent < 2.5
    assert out in ("5\n", "interrupted: 5 accepted\n"), (out, err)
    assert process.returncode == 0, err


@pytest.mark.parametrize("way", ["sync", "async"])
def test_states_do_not_wait_for_the_next_id_either(faulty: FaultServer, way: str) -> None:
    source = Source(3)
    states: list[dict[str, str]] = []

    def read() -> None:
        if way == "sync":
            states.append(Client(CANARY, base_url=faulty.url).states(source.generator()))
        else:
            states.append(asyncio.run(AsyncClient(CANARY, base_url=faulty.url).states(source.generator())))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        wait_for(lambda: faulty.record().request_count > 0)
    finally:
        source.go_on.set()
        thread.join(20)
    assert len(states[0]) == 60


def test_a_stop_is_the_cause_while_the_ids_are_waited_for(faulty: FaultServer) -> None:
    """A client that is closed ends the run, though its source would go on."""
    source = Source(3)
    client = Client(CANARY, base_url=faulty.url)
    timer = threading.Timer(0.3, client.close)
    timer.start()
    try:
        with pytest.raises(RunStoppedError, match="closed"):
            client.reprocess_many(source.generator(), deadline=20)
    finally:
        source.go_on.set()
        timer.join()
