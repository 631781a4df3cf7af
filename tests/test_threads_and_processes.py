"""Many threads on one client, use after fork, and what happens when the interpreter goes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from entra_reprocess import Client, RunStoppedError, TransportError
from entra_reprocess.emulator import Emulator

from . import scripts

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def test_many_threads_on_one_client(graph: Emulator, client: Client) -> None:
    def work(number: int) -> bool:
        mine = graph.ids[number * 30 : number * 30 + 30]
        alone = [client.reprocess(item).id for item in mine]
        return alone == mine and client.reprocess_many(mine).ids == mine

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(32)))
    assert graph.executions == dict.fromkeys(graph.ids[: 32 * 30], 2)
    assert graph.counters["in_flight_peak"] <= 8


def test_close_ends_calls_of_other_threads() -> None:
    with Emulator(1000, latency=20.0) as graph:
        client = Client(graph.credential, base_url=graph.url)
        ended: list[BaseException] = []

        def call(verb: Callable[[], object]) -> None:
            try:
                verb()
            except (TransportError, RunStoppedError) as error:
                ended.append(error)

        threads = [
            threading.Thread(target=call, args=[lambda: client.reprocess(graph.ids[0])]),
            threading.Thread(target=call, args=[lambda: client.reprocess_many(graph.ids)]),
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        client.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert len(ended) == 2
    report = next(error.report for error in ended if isinstance(error, RunStoppedError))
    assert report is not None
    assert len(report) == 1000
    assert report.counts["unknown"] + report.counts["not_attempted"] == 1000
    with pytest.raises(RuntimeError, match="closed"):
        client.reprocess(graph.ids[0])


def in_child(work: Callable[[], bool]) -> None:
    """Fork, do it in the child, and see that it came out well in time."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_use_after_fork(graph: Emulator, client: Client) -> None:
    assert client.reprocess(graph.ids[0]).ok

    def work() -> bool:
        return client.reprocess(graph.ids[1]).ok and client.reprocess_many(graph.ids).counts["accepted"] == 1000

    in_child(work)
    assert client.reprocess(graph.ids[2]).ok, "the parent's connections are its own"


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_run_stays_with_its_process(graph: Emulator, client: Client) -> None:
    outcomes = client.iter_reprocess(graph.ids)
    next(outcomes)

    def work() -> bool:
        try:
            list(outcomes)
        except RuntimeError as error:
            return "forked" in str(error)
        return False

    in_child(work)
    assert len(list(outcomes)) == 999


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_while_other_threads_are_calling(graph: Emulator, client: Client) -> None:
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            client.reprocess_many(graph.ids)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_child(lambda: client.reprocess_many(graph.ids).counts["accepted"] == 1000)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _in_worker(url: str, item: str) -> str:
    from entra_reprocess import reprocess

    return reprocess(item, base_url=url, credential="emulator-token").status


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_multiprocessing(graph: Emulator, client: Client, method: str) -> None:
    client.reprocess(graph.ids[0])
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(_in_worker, [(graph.url, item) for item in graph.ids[:10]]) == ["accepted"] * 10


EXIT = """
    import asyncio, random, sys, threading
    from entra_reprocess import AsyncClient, Client
    from entra_reprocess.emulator import Emulator

    way, seed = sys.argv[1], int(sys.argv[2])
    random.seed(seed)
    graph = Emulator(400, latency=(0.0, 0.1)).start()
    client = AsyncClient(graph.credential, base_url=graph.url, concurrency=400)

    async def main():
        tasks = [asyncio.ensure_future(client.reprocess(item)) for item in graph.ids]
        await asyncio.sleep(random.uniform(0, 0.12))
        if way == "exit":
            sys.exit(0)
        if way == "loop":
            asyncio.get_running_loop().stop()

    if way == "thread":
        run = Client(graph.credential, base_url=graph.url).reprocess_many
        threading.Thread(target=run, args=[graph.ids * 50], daemon=True).start()
    if way == "iterator":
        outcomes = Client(graph.credential, base_url=graph.url).iter_reprocess(graph.ids * 50)
        next(outcomes)
    if way == "loop":
        loop = asyncio.new_event_loop()
        loop.create_task(main())
        loop.run_forever()
    else:
        asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["exit", "return", "loop", "thread", "iterator"])
@pytest.mark.parametrize("seed", range(4))
def test_exit_with_calls_in_flight(way: str, seed: int) -> None:
    done = scripts.run(EXIT, way, str(seed))
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_exit_with_calls_in_flight_120_times() -> None:
    for seed in range(120):
        done = scripts.run(EXIT, "exit", str(seed))
        assert done.returncode == 0, f"seed {seed}: {done.stderr}"


def test_calls_after_the_shutdown_are_refused() -> None:
    code = """
        import atexit
        from entra_reprocess.emulator import Emulator
        graph = Emulator(1).start()

        @atexit.register
        def late():
            try:
                client.reprocess(graph.ids[0])
            except RuntimeError as error:
                print(error)

        from entra_reprocess import Client, _native
        client = Client(graph.credential, base_url=graph.url)
        client.reprocess(graph.ids[0])
        _native.shut_down()
    """
    done = scripts.run(code)
    assert done.stdout == "the interpreter is shutting down\n", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
class TestInterrupt:
    """Ctrl-C, sent as a signal to a process of its own."""

    CODE = """
        import sys, time
        from entra_reprocess import Client, RunInterrupted
        from entra_reprocess.emulator import Emulator

        verb, latency = sys.argv[1], float(sys.argv[2])
        with Emulator(400, latency=latency) as graph:
            client = Client(graph.credential, base_url=graph.url, concurrency=2)
            print("ready", flush=True)
            try:
                if verb == "one":
                    client.reprocess(graph.ids[0])
                elif verb == "many":
                    client.reprocess_many(graph.ids * 100)
                else:
                    for outcome in client.iter_reprocess(graph.ids * 100):
                        pass
            except KeyboardInterrupt as error:
                back = time.monotonic()
                report = getattr(error, "report", None)
                counts = report and {key: value for key, value in report.counts.items() if value}
                executed = graph.counters["executed"]
                time.sleep(0.3)
                print(repr([type(error).__name__, back, counts, executed, graph.counters["executed"]]))
    """

    def interrupt(self, verb: str, latency: float, again: bool = False) -> tuple[list[object], float]:
        process = scripts.start(self.CODE, verb, str(latency))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        if again:
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        result: list[object] = eval(out)
        assert isinstance(result[1], float)
        return result, result[1] - sent

    def test_one(self) -> None:
        (kind, *_), seconds = self.interrupt("one", 20)
        assert kind == "KeyboardInterrupt"
        assert seconds < 1

    def test_many(self) -> None:
        (kind, _, counts, before, after), seconds = self.interrupt("many", 0.1)
        assert kind == "RunInterrupted"
        assert seconds < 2.5
        assert isinstance(counts, dict)
        assert sum(counts.values()) == 40_000
        assert counts["accepted"] == 40_000 - counts.get("not_attempted", 0) > 0
        assert before == after, "nothing is sent afterwards"

    def test_iterator(self) -> None:
        (kind, _, _, before, after), seconds = self.interrupt("iterator", 0.1)
        assert kind == "RunInterrupted"
        assert seconds < 2.5
        assert before == after

    def test_what_is_not_answered_in_two_seconds_is_unknown(self) -> None:
        (kind, _, counts, *_), seconds = self.interrupt("many", 20)
        assert kind == "RunInterrupted"
        assert 1.5 < seconds < 2.7
        assert isinstance(counts, dict)
        assert counts.keys() == {"unknown", "not_attempted"}
        assert sum(counts.values()) == 40_000
        # Each id stands there a hundred times, and batches have twenty.
        assert counts["unknown"] in {2_000, 4_000}

    def test_a_second_one_leaves_at_once(self) -> None:
        (kind, *_), seconds = self.interrupt("many", 20, again=True)
        assert kind in {"RunInterrupted", "KeyboardInterrupt"}
        assert seconds < 1
