"""A journal that is not what was written: flipped bits, cut files, trouble of the disk."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from entra_reprocess import Client, JournalError, Report, RunStoppedError
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import FaultServer, assignment_ids, broken_invariants, fail
from .foreign import Answer, Foreign, error


def make(folder: Path) -> tuple[Path, Report]:
    """A journal with every status, repeated places, refused ids, and two runs, one of which was cut off."""
    journal = folder / "june.db"
    ids = assignment_ids(300)
    answers = {item: [202, 202, 202, 404, 403, 400, 409, 500][place % 8] for place, item in enumerate(ids)}
    with Foreign(lambda item: Answer(202) if answers[item] == 202 else error(answers[item])) as graph:
        client = Client("token", base_url=graph.url, max_retries=0)
        client.reprocess_many([*ids, ids[3], "x", ids[0]], journal=journal, deadline=10)
        answers.update(dict.fromkeys(ids[:150], 202))
        report = client.resume(journal, retry=("forbidden",))
    assert len(set(report.counts.values()) - {0}) >= 5
    return journal, report


def flips(count: int, seed: int, folder: Path) -> None:
    journal, report = make(folder)
    whole = journal.read_bytes()
    truth = list(report)
    drawn = random.Random(seed)
    wrong, told = [], 0
    for _ in range(count):
        place, bit = drawn.randrange(len(whole)), drawn.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        journal.write_bytes(damaged)
        try:
            read = Report.from_journal(journal)
        except JournalError as why:
            told += str(journal) in str(why)
        else:
            if list(read) != truth:
                wrong.append((place, bit))
    assert not wrong, f"seed {seed}: these flips (byte, bit) made a wrong report: {wrong}"
    # Nearly every byte of a page that is full means something.
    assert told > count / 2


def test_a_flipped_bit_makes_an_error_or_the_right_report(tmp_path: Path) -> None:
    flips(150, random.randrange(1 << 32), tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_thousand_flipped_bits(tmp_path: Path) -> None:
    flips(1_000, random.randrange(1 << 32), tmp_path)


@pytest.mark.filterwarnings("ignore:journal .* it is complete since:RuntimeWarning")
def test_a_flipped_bit_stops_a_resume_or_changes_nothing(tmp_path: Path) -> None:
    journal, report = make(tmp_path)
    whole = journal.read_bytes()
    drawn = random.Random(seed := random.randrange(1 << 32))
    refused = 0
    with Foreign(lambda _: error(409)) as graph, Client("token", base_url=graph.url) as client:
        for _ in range(40):
            damaged = bytearray(whole)
            damaged[drawn.randrange(len(whole))] ^= 1 << drawn.randrange(8)
            for beside in tmp_path.glob("june.db-*"):
                beside.unlink()
            journal.write_bytes(damaged)
            graph.ids.clear()
            cause: BaseException | None = None
            try:
                again = client.resume(journal)
            except JournalError:
                refused += 1
                assert graph.ids == [], f"seed {seed}"
                continue
            except RunStoppedError as stopped:
                # A page that is only written to is not looked at before the first answers come.
                again, cause = stopped.report or report[:0], stopped.__cause__
            assert cause is None or isinstance(cause, JournalError), f"seed {seed}"
            kept = [each for each in report if each.http_status in {202, 400, 403, 404, 409}]
            assert [again[each.index] for each in kept] == kept, f"seed {seed}"
    assert refused


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999, 0.99999])
def test_a_file_that_was_cut(keep: float, tmp_path: Path) -> None:
    journal, _ = make(tmp_path)
    whole = journal.read_bytes()
    journal.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(JournalError):
        Report.from_journal(journal)
    with pytest.raises(JournalError), Client("token", base_url="http://127.0.0.1:9") as client:
        client.resume(journal)


def test_pages_of_an_older_state(tmp_path: Path) -> None:
    """A backup that caught the file in the middle of being written has pages of two states."""
    journal, _ = make(tmp_path)
    older = journal.read_bytes()
    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url) as client:
        client.resume(journal, retry=("failed", "rejected", "not_found"))
        truth = list(Report.from_journal(journal))
    newer = journal.read_bytes()
    size = 4096
    differing = [
        at for at in range(0, min(len(older), len(newer)), size) if older[at : at + size] != newer[at : at + size]
    ]
    assert len(differing) > 3
    for at in differing:
        journal.write_bytes(newer[:at] + older[at : at + size] + newer[at + size :])
        try:
            assert list(Report.from_journal(journal)) == truth, at
        except JournalError:
            continue


def test_what_a_killed_run_left_half_done_is_taken_back(tmp_path: Path) -> None:
    """A rollback journal beside the file, which a reader has to play back before it reads."""
    journal, report = make(tmp_path)
    code = """
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("UPDATE assignment SET status = 'accepted', message = hex(randomblob(500))")
        os._exit(0)
    """
    assert scripts.run(code, str(journal)).returncode == 0
    assert journal.with_name("june.db-journal").stat().st_size > 0
    assert list(Report.from_journal(journal)) == list(report)


# Trouble while it is written.


def interrupted_by(journal: Path, trouble: object) -> tuple[RunStoppedError, Report, list[str], set[str]]:
    """Run against a slow emulator, make trouble, and give what came of it."""
    with Emulator(2_000, latency=0.02) as graph, Client(graph.credential, base_url=graph.url, concurrency=2) as client:
        assert callable(trouble)
        done = threading.Event()

        def when_under_way() -> None:
            while graph.counters["executed"] < 200:
                time.sleep(0.005)
            trouble()
            done.set()

        thread = threading.Thread(target=when_under_way)
        thread.start()
        with pytest.raises(RunStoppedError) as caught:
            client.reprocess_many(graph.ids, journal=journal)
        thread.join()
        assert done.is_set()
        report = caught.value.report
        assert report is not None
        return caught.value, report, graph.ids, set(graph.executions)


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
@pytest.mark.parametrize("way", ["deleted", "replaced"])
def test_a_journal_that_goes_away_stops_the_run(way: str, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"

    def trouble() -> None:
        if way == "replaced":
            shutil.copy(journal, tmp_path / "copy")
            (tmp_path / "copy").replace(journal)
        else:
            journal.unlink()

    why, report, ids, executed = interrupted_by(journal, trouble)
    assert isinstance(why.__cause__, JournalError)
    assert "deleted or replaced" in str(why.__cause__)
    assert report.ids == ids
    assert set(report.accepted.ids) == executed, "what is known is in the report all the same"
    assert 200 <= report.counts["accepted"] < 1_000
    assert report.counts["not_attempted"] == 2_000 - report.counts["accepted"]


def limited(journal: Path, url: str, ids: list[str], setting: str) -> subprocess.CompletedProcess[str]:
    code = f"""
        import os, sys
        from entra_reprocess import Client, JournalError, RunStoppedError
        {setting}
        client = Client("token", base_url=sys.argv[1])
        try:
            report = client.reprocess_many(sys.stdin.read().split(), journal=sys.argv[2])
        except RunStoppedError as error:
            assert isinstance(error.__cause__, JournalError)
            print("stopped", *(item.id for item in error.report.accepted))
            print(error.__cause__, file=sys.stderr)
        except JournalError as error:
            print("refused")
            print(error, file=sys.stderr)
        else:
            print("done")
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), url, str(journal)],
        input="\n".join(ids),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and os.name == "posix"
    done = mounted and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not done or done.returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_the_run_and_making_room_lets_it_go_on(small_disk: Path) -> None:
    ids = assignment_ids(2_000)
    journal = small_disk / "june.db"
    with FaultServer(latency=0.01) as server, Client("token", base_url=server.url, concurrency=2) as client:
        with pytest.raises(RunStoppedError, match="resume") as caught:
            client.reprocess_many(iter(ids), journal=journal)
        why = caught.value
        assert isinstance(why.__cause__, JournalError)
        assert "full; make room, then resume" in str(why.__cause__)
        report = why.report
        assert report is not None
        record = server.record(settle=2)
        assert broken_invariants(record, report.ids, {each.id: each.status for each in report}) == []
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        before = set(Report.from_journal(journal).accepted.ids)
        assert before <= set(report.accepted.ids)
        again = client.reprocess_many(iter(ids), journal=journal)
        assert again.counts["accepted"] == 2_000
        record = server.record()
    twice = {item for item, requests in record.executions.items() if len(requests) > 1}
    assert not twice & before, "what the journal held is not sent again"


def test_a_read_only_disk_is_refused_at_the_start(small_disk: Path) -> None:
    ids = assignment_ids(20)
    with FaultServer() as server, Client("token", base_url=server.url) as client:
        client.reprocess_many(ids, journal=small_disk / "june.db")
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        for name in ("june.db", "july.db"):
            with pytest.raises(JournalError, match="writable"):
                client.reprocess_many(ids, journal=small_disk / name)
        assert Report.from_journal(small_disk / "june.db").counts["accepted"] == 20, "it can still be read"
        assert len(server.record().executions) == 20


@pytest.mark.skipif(os.name == "nt", reason="there are no limits of that kind")
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    ids = assignment_ids(3_000)
    setting = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))"
    with FaultServer(latency=0.01) as server:
        done = limited(tmp_path / "june.db", server.url, ids, setting)
        assert done.returncode == 0, done.stderr
        how, *accepted = done.stdout.split()
        assert how in {"stopped", "refused"}, done.stderr
        assert "june.db" in done.stderr
        record = server.record(settle=2)
        assert set(accepted) == set(record.executions)
        with Client("token", base_url=server.url) as client:
            assert client.reprocess_many(ids, journal=tmp_path / "june.db").counts["accepted"] == 3_000


SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
static int calls;
static int fails(const char *name, int after) {
    const char *what = getenv("SHIM");
    return what && !strcmp(what, name) && calls++ >= after;
}
int fsync(int fd) { (void)fd; if (fails("fsync", 12)) { errno = EIO; return -1; } return 0; }
int fdatasync(int fd) { return fsync(fd); }
int flock(int fd, int how) { (void)fd; (void)how; if (fails("flock", 0)) { errno = ENOLCK; return -1; } return 0; }
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes the calls of the system fail."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler, or no way to put a library before others")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=True)
    return folder / "shim.so"


@pytest.mark.parametrize(("call", "how", "told"), [("fsync", "stopped", "disk"), ("flock", "refused", "local disk")])
def test_a_disk_that_fails(call: str, how: str, told: str, shim: Path, tmp_path: Path) -> None:
    ids = assignment_ids(1_000)
    setting = "pass"
    with FaultServer(latency=0.02) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(shim))
        patch.setenv("SHIM", call)
        done = limited(tmp_path / "june.db", server.url, ids, setting)
        patch.undo()
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[0] == how, done.stderr
        assert told in done.stderr
        record = server.record(settle=2)
        assert set(done.stdout.split()[1:]) == set(record.executions)
        with Client("token", base_url=server.url) as client:
            assert client.reprocess_many(ids, journal=tmp_path / "june.db").counts["accepted"] == 1_000


def test_the_journal_of_a_failing_service_is_sound(tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    ids = assignment_ids(100)
    with FaultServer(default=fail(500)) as server, Client("token", base_url=server.url, max_retries=1) as client:
        report = client.reprocess_many(ids, journal=journal)
        assert report == Report.from_journal(journal)
        server.reset()
        assert client.resume(journal).counts["accepted"] == 100


def test_scripts_are_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a journal")
    done = scripts.run(
        "import sys; from entra_reprocess import Report; Report.from_journal(sys.argv[1])", str(tmp_path / "text")
    )
    assert "entra_reprocess.JournalError: journal" in done.stderr
    assert "give the path of a journal" in done.stderr
