"""What is logged, where, and that a handler can do as it likes."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, RunInterrupted, RunStoppedError, _logging, _native
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import Fault, FaultServer, assignment_ids
from .foreign import Answer, Foreign, error

LOGGER = logging.getLogger("entra_reprocess")
ROUTE = "/beta/identityGovernance/entitlementManagement/accessPackageAssignments"


class Heard(logging.Handler):
    """Keeps the records, and the thread in which each came; `then` is done with each."""

    def __init__(self, then: Callable[[logging.LogRecord], object] = lambda _: None) -> None:
        super().__init__()
        self.then = then
        self.records: list[Any] = []  # the fields of ours are unknown to the type of a record
        self.threads: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.threads.add(threading.get_ident())
        self.then(record)

    def of(self, level: int) -> list[Any]:
        return [record for record in self.records if record.levelno == level]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A handler at DEBUG."""
    handler = Heard()
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield handler
    LOGGER.setLevel(logging.NOTSET)
    LOGGER.removeHandler(handler)


def test_each_exchange_has_a_line(heard: Heard, graph: Emulator, client: Client) -> None:
    outcome = client.reprocess(graph.ids[0])
    (record,) = heard.records
    assert (record.name, record.levelno) == ("entra_reprocess", logging.DEBUG)
    assert (record.method, record.route, record.status, record.items) == ("POST", f"{ROUTE}/{{id}}/reprocess", 202, 1)
    assert (record.request_id, record.client_request_id) == (outcome.request_id, outcome.client_request_id)
    assert record.error is None
    assert 0 < record.duration <= outcome.elapsed
    assert re.fullmatch(
        rf"POST {re.escape(record.route)}: 202 in \d\.\d{{3}} s, items 1, request-id {record.request_id},"
        rf" client-request-id {record.client_request_id}",
        record.getMessage(),
    )


def test_no_line_holds_an_id_or_a_query(heard: Heard, graph: Emulator, client: Client) -> None:
    assert len(list(client.assignments(state="delivered"))) == 1000
    client.reprocess_many(graph.ids[:50])
    client.states(graph.ids[:50])
    lines = [record.getMessage() for record in heard.of(logging.DEBUG)]
    assert {record.route for record in heard.of(logging.DEBUG)} == {ROUTE, "/beta/$batch"}
    assert len(lines) == graph.counters["http_requests"] == 10 + 3 + 3
    assert not any("?" in line or "filter" in line or "skiptoken" in line for line in lines)
    assert not any(each in line for line in lines for each in graph.ids[:50])
    assert sum(record.items for record in heard.of(logging.DEBUG)) == 100


def test_the_asynchronous_client_logs_on_its_loop(heard: Heard, graph: Emulator) -> None:
    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            await client.reprocess(graph.ids[0])
            # Told before whoever awaits it goes on.
            assert len(heard.records) == 1
            await client.reprocess_many(graph.ids[:40])
            assert len(heard.records) == 3
            assert len([each async for each in client.access_packages()]) > 0
            assert len(heard.records) == 4
            assert len([each async for each in client.iter_reprocess(graph.ids[:20])]) == 20

    asyncio.run(main())
    assert len(heard.of(logging.DEBUG)) == graph.counters["http_requests"] == 5
    assert heard.threads == {threading.get_ident()}


def test_an_exchange_without_an_answer_has_a_line(heard: Heard, free_port: int) -> None:
    client = Client("token", base_url=f"http://127.0.0.1:{free_port}", max_retries=0)
    with pytest.raises(Exception, match="cannot connect"):
        client.reprocess(assignment_ids(1)[0])
    (record,) = heard.of(logging.DEBUG)
    assert record.status is None
    assert "cannot connect to 127.0.0.1" in record.error
    assert "no usable answer (cannot connect" in record.getMessage()


def test_an_id_of_the_service_cannot_spoil_a_line(heard: Heard) -> None:
    answer = Answer(202, None, {"request-id": "x" * 10_000})
    with Foreign(lambda _: answer) as server:
        Client("token", base_url=server.url).reprocess(assignment_ids(1)[0])
    (record,) = heard.records
    assert len(record.getMessage()) < 500


def test_a_pause_is_told_once_for_all(heard: Heard) -> None:
    ids = assignment_ids(100)
    throttled = Fault(status=429, headers=(("Retry-After", "0.3"),))
    with FaultServer() as server:
        server.script(ids={each: [throttled] for each in ids[:20]})
        report = Client("token", base_url=server.url, concurrency=1).reprocess_many(ids)
    assert report.counts["accepted"] == 100
    warnings = heard.of(logging.WARNING)
    assert warnings
    assert all(re.fullmatch(r"Graph throttles: nothing is sent for \d\.\d s", each.getMessage()) for each in warnings)
    assert all(each.throttled and 0.2 < each.pause < 10 for each in warnings)
    # One pause or two for twenty items, not one for each.
    assert len(warnings) <= 3


def test_a_service_in_trouble_is_told(heard: Heard) -> None:
    with FaultServer() as server:
        server.script(requests=[Fault(status=503, headers=(("Retry-After", "0.3"),))])
        assert Client("token", base_url=server.url).reprocess(assignment_ids(1)[0]).ok
    (warning,) = heard.of(logging.WARNING)
    assert warning.getMessage() == "Graph is in trouble: nothing is sent for 0.3 s"


def test_a_run_that_stops_is_told_once(heard: Heard) -> None:
    with Foreign(lambda _: error(403)) as server, pytest.raises(RunStoppedError) as stopped:
        Client("token", base_url=server.url).reprocess_many(assignment_ids(100))
    assert [record.getMessage() for record in heard.of(logging.WARNING)] == [str(stopped.value)]


def test_it_is_logged_by_the_thread_that_calls(heard: Heard, graph: Emulator, client: Client) -> None:
    def work(part: int) -> None:
        client.reprocess_many(graph.ids[part * 100 : part * 100 + 100])
        client.reprocess(graph.ids[part])

    threads = [threading.Thread(target=work, args=(part,), name=f"caller {part}") for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    lines = heard.of(logging.DEBUG)
    assert len(lines) == graph.counters["http_requests"]
    # Each thread heard of its own items and of no others.
    for part in range(8):
        assert sum(record.items for record in lines if record.threadName == f"caller {part}") == 101


def test_a_handler_may_use_the_client(heard: Heard, graph: Emulator, client: Client) -> None:
    used: list[bool] = []

    def use(_: logging.LogRecord) -> None:
        used.append(client.reprocess(graph.ids[0]).ok)
        used.append(client.reprocess_many(graph.ids[:20]).counts["accepted"] == 20)

    heard.then = use
    client.reprocess(graph.ids[1])
    client.reprocess_many(graph.ids[:40])

    async def main() -> None:
        await AsyncClient(graph.credential, base_url=graph.url).reprocess(graph.ids[2])

    asyncio.run(main())
    # What a handler calls is not logged in its turn.
    assert used == [True] * 8
    assert len(heard.records) == 4


def test_a_handler_that_raises_ends_no_call(
    heard: Heard, graph: Emulator, client: Client, unraisable: list[str]
) -> None:
    heard.then = raising(OSError("the log is full"))
    assert client.reprocess(graph.ids[0]).ok
    assert client.reprocess_many(graph.ids[:40]).counts["accepted"] == 40
    assert set(unraisable) == {"the log is full"}


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was raised where nobody could catch it."""
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(str(args.exc_value)))
    return told


def raising(error: BaseException) -> Callable[[logging.LogRecord], object]:
    def fail(_: logging.LogRecord) -> None:
        raise error

    return fail


def until(error: BaseException, count: int) -> Iterator[str]:
    """Some ids, and then this."""
    yield from assignment_ids(count)
    raise error


def collected(client: Client, ids: Any) -> object:
    return client.reprocess_many(ids)


def streamed(client: Client, ids: Any) -> object:
    return list(client.iter_reprocess(ids))


def on_a_loop(client: Client) -> AsyncClient:
    """A client of the other kind for the same service."""
    return AsyncClient("token", base_url=str(client._carried[1]["base_url"]))


def collected_on_a_loop(client: Client, ids: Any) -> object:
    return asyncio.run(on_a_loop(client).reprocess_many(ids))


def streamed_on_a_loop(client: Client, ids: Any) -> object:
    async def main() -> object:
        return [each async for each in on_a_loop(client).iter_reprocess(ids)]

    return asyncio.run(main())


WAYS = [collected, streamed, collected_on_a_loop, streamed_on_a_loop]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_raises_costs_no_report(
    way: Callable[[Client, Any], object], level: int, heard: Heard, unraisable: list[str]
) -> None:
    LOGGER.setLevel(level)
    heard.then = raising(OSError("the log is full"))
    with Foreign(lambda _: error(401)) as server, pytest.raises(RunStoppedError, match="401") as stopped:
        way(Client("token", base_url=server.url), assignment_ids(50))
    assert (stopped.value.report is None) == (way in {streamed, streamed_on_a_loop})
    assert stopped.value.report is None or len(stopped.value.report) == 50
    assert str(stopped.value) in [record.getMessage() for record in heard.of(logging.WARNING)]
    assert set(unraisable) == {"the log is full"}


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
@pytest.mark.parametrize("way", [collected, collected_on_a_loop])
def test_nor_where_the_ids_raise(
    way: Callable[[Client, Any], object], level: int, heard: Heard, graph: Emulator, unraisable: list[str]
) -> None:
    LOGGER.setLevel(level)
    heard.then = raising(OSError("the log is full"))
    client = Client("token", base_url=graph.url)
    with pytest.raises(RunStoppedError, match="ValueError") as stopped:
        way(client, until(ValueError("odd"), 30))
    assert stopped.value.report is not None
    assert len(stopped.value.report) == 30
    assert isinstance(stopped.value.__cause__, ValueError)
    assert set(unraisable) == {"the log is full"}


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
def test_nor_ctrl_c(level: int, heard: Heard, client: Client, unraisable: list[str]) -> None:
    LOGGER.setLevel(level)
    heard.then = raising(OSError("the log is full"))
    with pytest.raises(RunInterrupted) as stopped:
        client.reprocess_many(until(KeyboardInterrupt(), 30))
    assert stopped.value.report is not None
    assert len(stopped.value.report) == 30
    assert set(unraisable) == {"the log is full"}


def interrupting(record: logging.LogRecord) -> None:
    if record.levelno == logging.WARNING:
        raise KeyboardInterrupt


@pytest.mark.parametrize("raised", [None, ValueError("odd"), KeyboardInterrupt()])
def test_ctrl_c_in_a_handler_costs_no_report(raised: BaseException | None, heard: Heard, unraisable: list[str]) -> None:
    """While it is logged that a run stops, by itself or for its ids."""
    heard.then = interrupting
    ids = assignment_ids(50) if raised is None else until(raised, 50)
    with Foreign(lambda _: error(401 if raised is None else 202)) as server, pytest.raises(RunInterrupted) as stopped:
        Client("token", base_url=server.url).reprocess_many(ids)
    assert stopped.value.report is not None
    assert len(stopped.value.report) == 50
    assert not unraisable


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_meant_to_end_the_program_is_passed_on(way: Callable[[Client, Any], object], heard: Heard) -> None:
    def leave(record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            raise SystemExit(3)

    heard.then = leave
    with Foreign(lambda _: error(401)) as server, pytest.raises(SystemExit) as left:
        way(Client("token", base_url=server.url), assignment_ids(50))
    (note,) = left.value.__notes__
    assert note.startswith("It ended a run")


def test_ctrl_c_in_the_last_lines_costs_no_report(heard: Heard, graph: Emulator) -> None:
    def fail(_: object) -> None:
        # What is under way now is answered and logged after the run was stopped for this.
        heard.then = raising(KeyboardInterrupt())
        raise ValueError("odd")

    client = Client(graph.credential, base_url=graph.url)
    with pytest.raises(RunInterrupted) as stopped:
        client.reprocess_many(graph.ids, on_outcome=fail)
    assert stopped.value.report is not None
    assert len(stopped.value.report) == 1000


def test_one_line_that_fails_costs_no_other(
    heard: Heard, graph: Emulator, client: Client, unraisable: list[str]
) -> None:
    def fail(_: logging.LogRecord) -> None:
        if len(heard.records) % 2:
            raise OSError("a hiccup")

    heard.then = fail
    assert client.reprocess_many(graph.ids[:400]).counts["accepted"] == 400
    assert len(heard.of(logging.DEBUG)) == graph.counters["http_requests"]
    assert len(unraisable) == (len(heard.records) + 1) // 2


def test_lines_after_ctrl_c_are_logged_all_the_same(heard: Heard, graph: Emulator, client: Client) -> None:
    def interrupt(_: logging.LogRecord) -> None:
        heard.then = lambda _: None
        raise KeyboardInterrupt

    heard.then = interrupt
    with pytest.raises(RunInterrupted) as stopped:
        client.reprocess_many(graph.ids)
    assert stopped.value.report is not None
    assert len(heard.of(logging.DEBUG)) == graph.counters["http_requests"] == stopped.value.report.http_requests


def test_a_record_factory_that_uses_our_names_costs_no_line(heard: Heard, graph: Emulator, client: Client) -> None:
    before = logging.getLogRecordFactory()

    def make(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = before(*arguments, **options)
        record.status = "of the application"
        record.message = "likewise"
        return record

    logging.setLogRecordFactory(make)
    try:
        client.reprocess(graph.ids[0])
    finally:
        logging.setLogRecordFactory(before)
    (record,) = heard.records
    assert (record.method, record.status, record.items) == ("POST", "of the application", 1)
    assert "/reprocess: 202 in" in record.getMessage()


def test_a_line_names_the_file_that_logs_it(heard: Heard, graph: Emulator, client: Client) -> None:
    client.reprocess(graph.ids[0])
    (record,) = heard.records
    assert (record.module, record.funcName, record.args) == ("_logging", "emit", (record.getMessage(),))


def test_a_handler_may_end_the_call(heard: Heard, client: Client, graph: Emulator) -> None:
    def interrupt(_: logging.LogRecord) -> None:
        raise KeyboardInterrupt

    heard.then = interrupt
    with pytest.raises(KeyboardInterrupt):
        client.reprocess(graph.ids[0])
    heard.then = lambda _: None
    assert client.reprocess(graph.ids[0]).ok


def test_nothing_is_logged_that_nobody_wants(heard: Heard, graph: Emulator, client: Client) -> None:
    LOGGER.setLevel(logging.INFO)
    client.reprocess(graph.ids[0])
    client.reprocess_many(graph.ids[:40])
    assert heard.records == []


def test_the_level_may_change_during_a_run(heard: Heard) -> None:
    LOGGER.setLevel(logging.WARNING)
    # Slow enough that the run does not come to its end before the level changes.
    with (
        Emulator(1_000, latency=0.02) as graph,
        Client(graph.credential, base_url=graph.url, concurrency=1) as client,
    ):
        outcomes = client.iter_reprocess(graph.ids)
        for _ in range(100):
            next(outcomes)
        assert heard.records == []
        LOGGER.setLevel(logging.DEBUG)
        for _ in outcomes:
            pass
        requests = graph.counters["http_requests"]
    assert 0 < len(heard.records) < requests


_SILENT = """
import sys
{before}
from entra_reprocess import Client, RunStoppedError
try:
    Client("token", base_url="http://127.0.0.1:" + sys.argv[1], max_retries=0).reprocess_many(["{id}"])
except RunStoppedError:
    print("stopped", "logging" in sys.modules)
"""


@pytest.mark.parametrize("before", ["", "import logging"])
def test_it_is_silent_by_default(before: str, free_port: int) -> None:
    done = scripts.run(_SILENT.format(before=before, id=assignment_ids(1)[0]), str(free_port))
    assert done.stdout.startswith("stopped")
    assert done.stderr == ""


def test_a_logging_that_another_thread_is_importing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("logging")
    monkeypatch.setitem(sys.modules, "logging", half)
    monkeypatch.setattr(_logging, "_known", [])
    assert _logging.level() == _logging.OFF
    half.getLogger = logging.getLogger  # type: ignore[attr-defined]  # defined before the rest
    assert _logging.level() == _logging.OFF
    _native.warn("nobody listens")
    monkeypatch.setitem(sys.modules, "logging", logging)
    assert _logging.level() == _logging.WARNING


_EXIT = """
import logging, sys, threading
from entra_reprocess import Client
from entra_reprocess.emulator import Emulator

logging.basicConfig(level=logging.DEBUG)
graph = Emulator(1000, latency=0.02).start()
client = Client(graph.credential, base_url=graph.url)
threading.Thread(target=client.reprocess_many, args=(graph.ids,), daemon=True).start()
outcomes = client.iter_reprocess(graph.ids)
next(outcomes)
client.reprocess(graph.ids[0])
print("bye")
"""


def test_exit_with_lines_that_wait() -> None:
    done = scripts.run(_EXIT)
    assert (done.returncode, done.stdout) == (0, "bye\n"), done.stderr
    assert "DEBUG:entra_reprocess:POST /beta/$batch: 200 in" in done.stderr
    assert "Fatal" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_logs_its_own_calls(heard: Heard, graph: Emulator, client: Client) -> None:
    client.reprocess(graph.ids[0])
    read, write = os.pipe()
    child = os.fork()
    if not child:
        # Whatever happens, the child must not go on as a second pytest.
        try:
            before = len(heard.records)
            client.reprocess_many(graph.ids[:40])
            client.reprocess(graph.ids[0])
            os.write(write, str(len(heard.records) - before).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read() == "3"
    os.waitpid(child, 0)
    assert len(heard.records) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_other_threads_log() -> None:
    done = scripts.run(_FORKS, timeout=90)
    assert (done.returncode, done.stdout) == (0, "20\n"), done.stderr[-2000:]


_FORKS = """
import logging, os, threading, warnings
from entra_reprocess import Client
from entra_reprocess.emulator import Emulator

warnings.simplefilter("ignore")
logging.getLogger("entra_reprocess").setLevel("DEBUG")


class Plain(logging.Handler):
    # Not a stream: Python's own buffers cannot be used in a child that was forked during a write.
    def emit(self, record):
        os.write(devnull, self.format(record).encode())


devnull = os.open(os.devnull, os.O_WRONLY)
logging.getLogger("entra_reprocess").addHandler(Plain())
graph = Emulator(200).start()
client = Client(graph.credential, base_url=graph.url)
client.reprocess_many(graph.ids)  # Python's locks of modules that are being imported do not survive a fork either
over = threading.Event()

def work():
    while not over.is_set():
        client.reprocess_many(graph.ids)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
good = 0
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(0 if client.reprocess_many(graph.ids[:40]).counts["accepted"] == 40 else 1)
    good += os.waitpid(child, 0)[1] == 0
over.set()
for thread in threads:
    thread.join()
print(good)
"""
