"""The lock of a journal ends with the process that runs, also where that has forked."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from entra_reprocess import Client, Report

from . import scripts
from .faults import FaultServer
from .held_journal import held_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

IDS = 40
HEAD = """
    import ctypes, multiprocessing, os, sys, threading, time, warnings
    from pathlib import Path
    from entra_reprocess import Client
    from tests.faults import assignment_ids
    warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
    url, journal, count = sys.argv[1:]
    ids = assignment_ids(int(count))
    client = Client("token", base_url=url, batch_size=1, concurrency=4)
    def sleep(seconds=60):
        Path(journal).with_suffix(".child").write_text(str(os.getpid()))
        time.sleep(seconds)
        os._exit(0)
    def wait():
        while not Path(journal).with_suffix(".child").exists():
            time.sleep(0.01)
    def run():
        client.reprocess_many(ids, journal=journal, progress=False)
    def start():
        thread = threading.Thread(target=run)
        thread.start()
        while not (Path(journal).exists() and Path(journal).stat().st_size):
            time.sleep(0.01)
        time.sleep(0.05)
        return thread
"""
FORKS = {
    "os.fork": """
    thread = start()
    if not os.fork():
        sleep()
    thread.join()
    """,
    "multiprocessing": """
    thread = start()
    multiprocessing.get_context("fork").Process(target=sleep, daemon=True).start()
    thread.join()
    """,
    "C": """
    thread = start()
    if not ctypes.CDLL(None).fork():
        sleep()
    thread.join()
    """,
    "grandchild": """
    thread = start()
    if not os.fork():
        if os.fork():
            os._exit(0)
        sleep()
    thread.join()
    """,
    "callback": """
    def fork(outcome):
        if outcome.index == 0 and not os.fork():
            sleep()
    client.reprocess_many(ids, journal=journal, on_outcome=fork, progress=False)
    """,
    "iterator": """
    for outcome in client.iter_reprocess(ids, journal=journal):
        if not Path(journal).with_suffix(".child").exists():
            if not os.fork():
                sleep()
            wait()
    """,
}


@pytest.mark.parametrize("way", FORKS)
def test_a_child_lets_go_of_the_lock(way: str, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    child = 0
    with FaultServer(latency=0.1) as server:
        try:
            with held_run(server, journal, IDS, HEAD + FORKS[way]) as process:
                while not (told := journal.with_suffix(".child")).exists() or not told.read_text():
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.01)
                child = int(told.read_text())
                # In the pipes, the child would be waited for.
                process.kill()
                process.wait()
                os.kill(child, 0)
                server.reset()
                with Client("token", base_url=server.url) as client:
                    assert client.resume(journal).counts["accepted"] == IDS
                os.kill(child, signal.SIGKILL)  # it was there all the time, and it holds the pipes of its parent
        finally:
            if child:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    assert Report.from_journal(journal).counts["accepted"] == IDS
    assert not journal.with_name("june.db-lock").exists()


def test_a_child_that_ends_does_not_unlock_its_parents_journal(tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = (
        HEAD
        + """
    thread = start()
    if not os.fork():
        sleep(0.0)
    os.wait()
    thread.join()
    """
    )
    with FaultServer(latency=0.2) as server, held_run(server, journal, IDS, code) as process:
        while not journal.with_suffix(".child").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.1)
        second = Client("token", base_url=server.url)
        with pytest.raises(Exception, match=f"process {process.pid} on .* is writing it"):
            second.resume(journal)


def test_forks_while_journals_come_and_go(tmp_path: Path) -> None:
    """No fork may catch the list of locks in the middle of a change: the child would wait for ever."""
    code = """
        import os, sys, threading, warnings
        from entra_reprocess import Client
        from tests.faults import assignment_ids
        warnings.simplefilter("ignore")
        url, folder = sys.argv[1:]
        client = Client("token", base_url=url)
        ids = assignment_ids(5)
        done = threading.Event()
        def work(name):
            number = 0
            while not done.is_set():
                client.reprocess_many(ids, journal=f"{folder}/{name}{number}.db", progress=False)
                number += 1
        threads = [threading.Thread(target=work, args=[name]) for name in "ab"]
        for thread in threads:
            thread.start()
        for number in range(40):
            child = os.fork()
            if not child:
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        child = os.fork()
        if not child:
            try:
                done = client.reprocess_many(ids, journal=f"{folder}/child.db", progress=False)
                os._exit(done.counts["accepted"] != 5)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads:
            thread.join()
        print("done")
    """
    with FaultServer() as server:
        done = scripts.run(code, server.url, str(tmp_path))
    assert done.stdout == "done\n", done.stderr
