"""SIGKILL in the middle of a run, then resume: nothing is lost, nothing is guessed, little is done twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import Client, Report

from . import scripts
from .faults import (
    Fault,
    FaultServer,
    assignment_ids,
    broken_invariants,
    close,
    fail,
    html,
    reset,
    throttled,
    truncated,
)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

IDS = 2_000
CODE = """
    import sys
    from entra_reprocess import Client
    url, journal, count = sys.argv[1:]
    from tests.faults import assignment_ids
    client = Client("canary", base_url=url, max_wait=5.0)
    print("go", flush=True)
    client.reprocess_many(assignment_ids(int(count)), journal=journal, progress=False)
    print("done", flush=True)
"""


def faults(drawn: random.Random) -> dict[str, list[Fault | None]]:
    """Some ids that meet trouble of every kind on their way."""
    kinds: list[list[Fault | None]] = [
        [throttled("0.1")],
        [fail(500), fail(503)],
        [reset(executed=True)],
        [close(40, executed=True)],
        [truncated(10)],
        [html(200)],
        [Fault(drop=1, executed=True)],
        [Fault(twice=1, twice_status=404)],
        [fail(404)],
        [fail(403)],
        [fail(409)],
    ]
    return {item: drawn.choice(kinds) for item in drawn.sample(assignment_ids(IDS), 60)}


def kill_and_resume(server: FaultServer, folder: Path, seed: int) -> None:
    drawn = random.Random(seed)
    ids = assignment_ids(IDS)
    for attempt in range(20):
        server.reset(latency=0.01, seed=seed)
        script = faults(drawn)
        server.script(ids=script)
        journal = folder / f"{seed}-{attempt}.db"
        process = scripts.start(CODE, server.url, str(journal), str(IDS))
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(drawn.uniform(0.02, 0.8))
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=30)
        assert err == ""
        before = server.record(settle=2)
        if "done" in out or not before.executions:
            continue
        at_kill = Report.from_journal(journal)
        open_ids = {each.id for each in at_kill if each.status == "unknown"}
        if open_ids & before.executions.keys():
            break
    else:
        pytest.fail(f"seed {seed}: no kill left anything sent and unanswered")

    assert at_kill.ids == ids, f"seed {seed}"
    statuses: dict[str, str] = {each.id: each.status for each in at_kill}
    assert broken_invariants(before, ids, statuses) == [], f"seed {seed}"

    with Client("canary", base_url=server.url, max_wait=5.0) as client:
        report = client.resume(journal)
    assert report.ids == ids
    record = server.record(settle=2)
    after: dict[str, str] = {each.id: each.status for each in report}
    assert broken_invariants(record, ids, after) == [], f"seed {seed}"
    # A wait that the killed process was told is not known to the next one.
    assert [each for each in record.violations if each.kind != "early"] == [], f"seed {seed}"
    final = {item for item, script in script.items() if script[0] is not None and script[0].status in {403, 404, 409}}
    assert {item for item, status in after.items() if status != "accepted"} <= final, f"seed {seed}"
    # A fault of one part may spoil the answer of its whole batch.
    spoilt = {each for row in record.requests if any(script.get(item) for item in row.ids) for each in row.ids}
    twice = {item for item, requests in record.executions.items() if len(requests) > 1}
    assert twice <= open_ids | spoilt, f"seed {seed}"
    assert Report.from_journal(journal) == report
    assert b"canary" not in journal.read_bytes()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as started:
        yield started


def seeds(count: int) -> list[int]:
    first = int(os.environ.get("ENTRA_REPROCESS_SEED", random.randrange(1 << 30)))
    return [first + number for number in range(count)]


def test_ten_kills(server: FaultServer, tmp_path: Path) -> None:
    for seed in seeds(10):
        kill_and_resume(server, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.timeout(3_000)
def test_two_hundred_kills(server: FaultServer, tmp_path: Path) -> None:
    for seed in seeds(200):
        kill_and_resume(server, tmp_path, seed)


def test_kill_after_kill_of_one_run(server: FaultServer, tmp_path: Path) -> None:
    """Each resume is killed in turn, until one comes to the end."""
    ids = assignment_ids(IDS)
    journal = tmp_path / "june.db"
    server.reset(latency=0.02)
    accepted: set[str] = set()
    sent_twice: set[str] = set()
    drawn = random.Random(seed := random.randrange(1 << 30))
    for _ in range(50):
        process = scripts.start(CODE, server.url, str(journal), str(IDS))
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(drawn.uniform(0.1, 0.4))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=30)
        if "done" in out:
            break
        if not journal.exists():
            continue
        record = server.record(settle=2)
        report = Report.from_journal(journal)
        statuses: dict[str, str] = {each.id: each.status for each in report}
        assert broken_invariants(record, report.ids, statuses) == [], f"seed {seed}"
        assert accepted <= set(report.accepted.ids), f"seed {seed}: what was accepted stays so"
        accepted = set(report.accepted.ids)
        sent_twice |= {each.id for each in report if each.status == "unknown"}
    with Client("canary", base_url=server.url) as client:
        whole = client.reprocess_many(ids, journal=journal)
    assert whole.counts["accepted"] == IDS
    twice = {item for item, requests in server.record().executions.items() if len(requests) > 1}
    assert twice <= sent_twice


def test_a_torn_tail_is_dropped(server: FaultServer, tmp_path: Path) -> None:
    """The last commit may be half on the disk when the power goes."""
    journal = tmp_path / "june.db"
    server.reset(latency=0.02)
    process = scripts.start(CODE, server.url, str(journal), str(IDS))
    while True:
        time.sleep(0.05)
        if journal.exists() and len(server.record().executions) > 200:
            break
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    tail = journal.with_name("june.db-wal")
    whole = tail.read_bytes()
    executed = server.record(settle=2).executions
    known: list[int] = []
    for cut in (0, 1, 37, len(whole) // 2, 0):
        tail.write_bytes(whole[: len(whole) - cut])
        report = Report.from_journal(journal)
        known.append(report.counts["accepted"])
        assert set(report.accepted.ids) <= executed.keys()
    assert known[0] == known[-1] >= known[1] >= known[3]
    with Client("canary", base_url=server.url) as client:
        assert client.reprocess_many(assignment_ids(IDS), journal=journal).counts["accepted"] == IDS


def test_the_lock_of_a_killed_run_is_free(server: FaultServer, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    server.reset(latency=5)
    process: Any = scripts.start(CODE, server.url, str(journal), "40")
    while not server.record().in_flight:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    assert journal.with_name("june.db-lock").exists()
    server.reset()
    with Client("canary", base_url=server.url) as client:
        assert client.resume(journal).counts["accepted"] == 40
    assert not journal.with_name("june.db-lock").exists()
