"""Runs with a journal that are interrupted: by Ctrl-C, by a signal handler, by a kernel, by cancellation, at exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Report
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import FaultServer, assignment_ids, broken_invariants

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to one process there")

IDS = 5_000
HEAD = """
    import asyncio, os, signal, sys, time
    from entra_reprocess import AsyncClient, Client, RunInterrupted
    from tests.faults import assignment_ids
    url, journal = sys.argv[1:]
    ids = assignment_ids(5_000)
    client = Client("token", base_url=url, concurrency=2)
    def now():
        return time.monotonic()
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(latency=0.1) as started:
        yield started


def interrupted(server: FaultServer, journal: Path, code: str, number: int, again: float | None = None) -> Any:
    """Send a signal to a run under way; gives what the script printed, and the seconds that it took."""
    process = scripts.start(HEAD + code, server.url, str(journal))
    while len(server.record().executions) < 100:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    sent = time.monotonic()
    process.send_signal(number)
    if again is not None:
        time.sleep(again)
        process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return out, err, process.returncode, time.monotonic() - sent


def check(server: FaultServer, journal: Path, accepted: set[str] | None = None) -> None:
    """The journal is closed and sound, and what it says is true; resume does the rest and nothing twice."""
    assert not journal.with_name("june.db-lock").exists()
    assert not journal.with_name("june.db-wal").exists()
    record = server.record(settle=3)
    report = Report.from_journal(journal)
    assert report.ids == assignment_ids(IDS)
    statuses: dict[str, str] = {each.id: each.status for each in report}
    assert broken_invariants(record, report.ids, statuses) == []
    assert accepted is None or set(report.accepted.ids) == accepted
    server.set(latency=0.0)
    with Client("token", base_url=server.url) as client:
        assert client.resume(journal).counts["accepted"] == IDS
    doubtful = {each.id for each in report if each.status == "unknown"}
    assert {item for item, times in server.record().executions.items() if len(times) > 1} <= doubtful


def test_ctrl_c_says_how_to_resume(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = """
    try:
        client.reprocess_many(ids, journal=journal)
    except RunInterrupted as error:
        print(error.report.counts["accepted"], len(error.report))
        raise
    """
    out, err, status, seconds = interrupted(server, journal, code, signal.SIGINT)
    assert seconds < 2.5
    assert status in {1, -signal.SIGINT}
    assert f"client.resume({str(journal)!r})" in err
    accepted, total = map(int, out.split())
    assert total == IDS
    assert 100 <= accepted < IDS
    assert Report.from_journal(journal).counts["accepted"] == accepted
    check(server, journal)


def test_sending_stops_at_once(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = """
    try:
        client.reprocess_many(ids, journal=journal)
    except RunInterrupted:
        time.sleep(0.5)
    """
    sent = time.monotonic()
    _, err, status, _ = interrupted(server, journal, code, signal.SIGINT)
    assert status == 0, err
    record = server.record(settle=2)
    last = max(row.at for row in record.requests)
    first = min(row.at for row in record.requests)
    assert last - first < time.monotonic() - sent - 0.3
    check(server, journal)


def test_a_second_ctrl_c_leaves_at_once(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    server.script(requests=[None] * 10)
    code = """
    try:
        client.reprocess_many(ids, journal=journal)
    except KeyboardInterrupt:
        print("left")
    """
    process = scripts.start(HEAD + code, server.url, str(journal))
    while len(server.record().executions) < 100:
        time.sleep(0.01)
    server.set(latency=20)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert out == "left\n", err
    assert time.monotonic() - sent < 1.5
    server.reset()
    assert {each.status for each in Report.from_journal(journal)} == {"accepted", "unknown", "not_attempted"}
    with Client("token", base_url=server.url) as client:
        assert client.resume(journal).counts["accepted"] == IDS


@pytest.mark.parametrize("kind", ["SystemExit", "Odd"])
def test_what_a_signal_handler_raises_is_passed_on_with_a_note(kind: str, server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = f"""
    class Odd(Exception):
        pass
    def handler(number, frame):
        raise {kind}(7)
    signal.signal(signal.SIGTERM, handler)
    try:
        client.reprocess_many(ids, journal=journal)
    except BaseException as error:
        print(type(error).__name__, "|", "".join(error.__notes__))
        raise
    """
    out, err, status, seconds = interrupted(server, journal, code, signal.SIGTERM)
    assert seconds < 2.5
    assert status == (7 if kind == "SystemExit" else 1), err
    assert out.startswith(f"{kind} | It ended a run: <Report of 5,000: ")
    assert f"client.resume({str(journal)!r})" in out
    check(server, journal)


def test_an_iterator_that_is_interrupted(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = """
    seen = set()
    try:
        for outcome in client.iter_reprocess(ids, journal=journal):
            if outcome.ok:
                seen.add(outcome.id)
    except RunInterrupted as error:
        assert error.report is None and "resume" in str(error)
        print(*seen)
    """
    out, err, status, seconds = interrupted(server, journal, code, signal.SIGINT)
    assert status == 0, err
    assert seconds < 2.5
    check(server, journal, set(out.split()))


def test_ctrl_c_in_an_event_loop(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = """
    async def main():
        async with AsyncClient("token", base_url=url, concurrency=2) as client:
            await client.reprocess_many(ids, journal=journal)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
    """
    out, err, status, seconds = interrupted(server, journal, code, signal.SIGINT)
    assert (out, status) == ("interrupted\n", 0), err
    assert seconds < 2.5
    check(server, journal)


def test_the_next_run_can_have_the_journal_of_a_cancelled_one(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    ids = assignment_ids(IDS)

    async def main() -> Report:
        async with AsyncClient("token", base_url=server.url, concurrency=2) as client:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.reprocess_many(ids, journal=journal), 0.4)
            server.set(latency=0.0)
            return await client.resume(journal)

    assert asyncio.run(main()).counts["accepted"] == IDS


def test_leaving_a_loop_closes_the_journal(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    with Client("token", base_url=server.url) as client:
        for outcome in client.iter_reprocess(assignment_ids(IDS), journal=journal):
            assert outcome.ok
            break
    check(server, journal)


@pytest.mark.parametrize("way", ["exit", "thread", "sys.exit in a callback", "del"])
def test_the_interpreter_goes_during_a_run(way: str, server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    code = {
        "exit": """
    import threading
    threading.Thread(target=lambda: client.reprocess_many(ids, journal=journal), daemon=True).start()
    time.sleep(0.5)
    """,
        "thread": """
    import threading
    def work():
        for outcome in client.iter_reprocess(ids, journal=journal):
            pass
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)
    sys.exit(0)
    """,
        "sys.exit in a callback": """
    def leave(outcome):
        sys.exit(0)
    client.reprocess_many(ids, journal=journal, on_outcome=leave)
    """,
        "del": """
    outcomes = client.iter_reprocess(ids, journal=journal)
    next(outcomes)
    del outcomes, client
    """,
    }[way]
    process = scripts.start(HEAD + code, server.url, str(journal))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert "panicked" not in err
    record = server.record(settle=3)
    report = Report.from_journal(journal)
    statuses: dict[str, str] = {each.id: each.status for each in report}
    assert broken_invariants(record, report.ids, statuses) == []
    server.set(latency=0.0)
    with Client("token", base_url=server.url) as client:
        assert client.reprocess_many(assignment_ids(IDS), journal=journal).counts["accepted"] == IDS


def test_a_fork_during_a_run_leaves_the_journal_to_its_owner(tmp_path: Path) -> None:
    with Emulator(1_000, latency=0.05) as graph:
        client = Client(graph.credential, base_url=graph.url, concurrency=2)
        reports: list[Report] = []
        thread = threading.Thread(
            target=lambda: reports.append(client.reprocess_many(graph.ids, journal=tmp_path / "parent.db"))
        )
        thread.start()
        while graph.counters["executed"] < 100:
            time.sleep(0.01)
        pid = os.fork()
        if pid == 0:
            try:
                mine = client.reprocess_many(graph.ids[:10], journal=tmp_path / "child.db")
                os._exit(0 if mine.counts["accepted"] == 10 else 1)
            except BaseException:
                os._exit(2)
        thread.join()
        assert os.waitpid(pid, 0)[1] == 0
    assert reports[0].counts["accepted"] == 1_000
    assert Report.from_journal(tmp_path / "parent.db") == reports[0]
    assert Report.from_journal(tmp_path / "child.db").counts["accepted"] == 10


KERNEL = """
    import sys, threading, time
    from jupyter_client.manager import start_new_kernel
    from tests.faults import FaultServer

    url, journal = sys.argv[1:]
    manager, client = start_new_kernel(kernel_name="python3")

    def run(code):
        printed = []
        def hear(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])
        reply = client.execute_interactive(code, timeout=60, output_hook=hear)["content"]
        print(repr(["".join(printed), reply.get("ename"), reply.get("evalue")]), flush=True)

    try:
        run(
            "from entra_reprocess import AsyncClient, Client, Report, RunInterrupted\\n"
            "from tests.faults import assignment_ids\\n"
            f"ids, journal, url = assignment_ids(5_000), {journal!r}, {url!r}\\n"
            "client = Client('token', base_url=url, concurrency=2)"
        )
        threading.Thread(target=lambda: (sys.stdin.readline(), manager.interrupt_kernel())).start()
        run("client.reprocess_many(ids, journal=journal, progress=False)")
        sys.stdin.readline()
        run("print(client.resume(journal, progress=False).counts['accepted'])")
        run(
            "async with AsyncClient('token', base_url=url) as other:\\n"
            "    print((await other.reprocess_many(ids[:10], progress=False)).counts['accepted'])"
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
"""


def test_a_kernel_is_interrupted_and_goes_on(server: FaultServer, tmp_path: Path) -> None:
    """A real Jupyter kernel: the cell is interrupted in the middle of a run, the next one resumes it."""
    journal = tmp_path / "june.db"
    process = scripts.start(KERNEL, server.url, str(journal), stdin=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert eval(process.stdout.readline()) == ["", None, None]
    while len(server.record().executions) < 100:
        assert process.poll() is None
        time.sleep(0.01)
    sent = time.monotonic()
    process.stdin.write("interrupt\n")
    process.stdin.flush()
    _, kind, text = eval(process.stdout.readline())
    assert time.monotonic() - sent < 3
    assert kind == "RunInterrupted"
    assert text.startswith("interrupted: <Report of 5,000: ")
    assert f"client.resume({str(journal)!r})" in text
    server.set(latency=0.0)
    out, err = process.communicate("go on\n", timeout=60)
    assert [eval(line) for line in out.splitlines()] == [[f"{IDS}\n", None, None], ["10\n", None, None]], err
