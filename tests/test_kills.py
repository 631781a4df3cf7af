"""SIGKILL in the middle of a run, then resume: nothing is lost, nothing is guessed, little is done twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import Client, JournalError, Report, RunStoppedError

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
    import sys, warnings
    from entra_reprocess import Client
    warnings.filterwarnings("ignore", "journal .* it is complete since")  # a kill may come after all was done
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


def run_and_kill(server: FaultServer, journal: Path, seconds: float) -> bool:
    """Run for so long; gives whether it came to its end before."""
    process = scripts.start(CODE, server.url, str(journal), str(IDS))
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    assert err == ""
    return "done" in out


def kill_and_resume(server: FaultServer, folder: Path, seed: int) -> None:
    drawn = random.Random(seed)
    ids = assignment_ids(IDS)
    for attempt in range(20):
        server.reset(latency=0.01, seed=seed)
        script = faults(drawn)
        server.script(ids=script)
        journal = folder / f"{seed}-{attempt}.db"
        is_done = run_and_kill(server, journal, drawn.uniform(0.02, 0.8))
        before = server.record(settle=2)
        if is_done or not before.executions:
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


# The last of those that are killed may have come to its end.
@pytest.mark.filterwarnings("ignore:journal .* it is complete since:RuntimeWarning")
def test_kill_after_kill_of_one_run(server: FaultServer, tmp_path: Path) -> None:
    """Each resume is killed in turn, until one comes to the end."""
    ids = assignment_ids(IDS)
    journal = tmp_path / "june.db"
    server.reset(latency=0.02)
    accepted: set[str] = set()
    sent_twice: set[str] = set()
    drawn = random.Random(seed := random.randrange(1 << 30))
    for _ in range(50):
        if run_and_kill(server, journal, drawn.uniform(0.1, 0.4)):
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


def killed(server: FaultServer, journal: Path) -> Path:
    """A journal whose run was killed after some two hundred ids; gives the file that holds its last commits."""
    server.reset(latency=0.02)
    process = scripts.start(CODE, server.url, str(journal), str(IDS))
    while not journal.exists() or len(server.record().executions) <= 200:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    return journal.with_name(f"{journal.name}-wal")


def resume(server: FaultServer, journal: Path) -> int:
    """How many are accepted in the end."""
    with Client("canary", base_url=server.url) as client:
        return client.reprocess_many(assignment_ids(IDS), journal=journal).counts["accepted"]


def test_a_torn_tail_is_dropped(server: FaultServer, tmp_path: Path) -> None:
    """The last commit may be half on the disk when the power goes."""
    journal = tmp_path / "june.db"
    tail = killed(server, journal)
    whole = tail.read_bytes()
    record = server.record(settle=2)
    known: list[int] = []
    for number, cut in enumerate((0, 1, 37, len(whole) // 3, len(whole) // 2, len(whole) - 100)):
        tail.write_bytes(whole[: len(whole) - cut])
        torn = copy(tail, tmp_path / str(number))
        report = Report.from_journal(torn)
        known.append(report.counts["accepted"])
        statuses: dict[str, str] = {each.id: each.status for each in report}
        assert broken_invariants(record, report.ids, statuses) == [], cut
        assert Report.from_journal(torn).counts == report.counts, "reading changes nothing"
    assert known == sorted(known, reverse=True)
    assert known[0] > known[-1]
    # Nothing but the first commit is left, and a run that goes on and sends nothing does not forget what may have been.
    with Client("canary", base_url="http://127.0.0.1:9", max_retries=0) as client, pytest.raises(RunStoppedError):
        client.reprocess_many(assignment_ids(IDS), journal=journal)
    statuses = {each.id: each.status for each in Report.from_journal(journal)}
    assert broken_invariants(record, assignment_ids(IDS), statuses) == []
    assert resume(server, journal) == IDS


def test_a_flipped_bit_in_the_tail_is_seen(server: FaultServer, tmp_path: Path) -> None:
    """SQLite takes it for the end of what was written, and drops all that lies behind it."""
    tail = killed(server, tmp_path / "june.db")
    truth = Report.from_journal(copy(tail, tmp_path / "whole"))
    record = server.record(settle=2)
    whole = tail.read_bytes()
    drawn = random.Random(seed := random.randrange(1 << 30))
    told = 0
    for number in range(60):
        damaged = bytearray(whole)
        damaged[drawn.randrange(len(whole))] ^= 1 << drawn.randrange(8)
        tail.write_bytes(damaged)
        journal = copy(tail, tmp_path / str(number))
        for _ in range(2):
            try:
                report = Report.from_journal(journal)
            except JournalError:
                told += 1
                with pytest.raises(JournalError), Client("canary", base_url="http://127.0.0.1:9") as client:
                    client.resume(journal)
            else:
                # The kill may have come between the last commit and the note of it. Nobody has heard of that one, so
                # nothing is wrong without it.
                statuses: dict[str, str] = {each.id: each.status for each in report}
                assert broken_invariants(record, report.ids, statuses) == [], f"seed {seed}"
                assert set(report.accepted.ids) <= set(truth.accepted.ids), f"seed {seed}"
    assert told > 30


@pytest.mark.parametrize("lost", ["gone", "empty header"])
def test_without_its_tail_a_journal_is_refused_until_told_otherwise(
    server: FaultServer, tmp_path: Path, lost: str
) -> None:
    journal = tmp_path / "june.db"
    tail = killed(server, journal)
    if lost == "gone":
        tail.unlink()
    else:
        tail.write_bytes(bytes(32) + tail.read_bytes()[32:])
    for _ in range(2):
        with pytest.raises(JournalError, match=r"commits are missing.* remove the -lock file"):
            Report.from_journal(journal)
        with pytest.raises(JournalError, match=r"commits are missing.* remove the -lock file"):
            resume(server, journal)
    journal.with_name("june.db-lock").unlink()
    assert resume(server, journal) == IDS
    assert [each.name for each in tmp_path.iterdir()] == ["june.db"]


def copy(tail: Path, folder: Path) -> Path:
    """The journal of this tail with all that belongs to it, in another place."""
    folder.mkdir()
    for each in tail.parent.glob("june.db*"):
        shutil.copy(each, folder)
    return folder / "june.db"


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
