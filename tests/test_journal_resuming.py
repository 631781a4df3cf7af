"""What a resume costs, and what it knows: the journal may not have all ids of a run that ended early."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, JournalError, Report, RunInterrupted, RunStoppedError
from entra_reprocess.emulator import Emulator

from .faults import assignment_ids
from .foreign import Answer, Foreign


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "june.db"


def commits(journal: Path) -> int:
    with closing(sqlite3.connect(journal)) as connection:
        [[number]] = connection.execute("SELECT commits FROM journal").fetchall()
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize("kind", ["accepted", "invalid", "repeated", "one open"])
def test_what_is_not_sent_needs_no_commit_of_its_own(kind: str, journal: Path) -> None:
    count = 500
    with Emulator(count) as graph, Client(graph.credential, base_url=graph.url) as client:
        ids = {
            "accepted": graph.ids,
            "invalid": [f"x{number}" for number in range(count)],
            "repeated": graph.ids[:10] * 50,
            "one open": [*graph.ids[:-1], assignment_ids(1)[0]],
        }[kind]
        slow = Client(graph.credential, base_url=graph.url, concurrency=1, batch_size=1)
        (slow if kind == "invalid" else client).reprocess_many(ids, journal=journal)
        first = commits(journal)
        assert first < 100
        requests = graph.counters["http_requests"]
        retry: tuple[Any, ...] = ("not_found",) if kind == "one open" else ()
        if kind == "one open":
            slow.resume(journal, retry=retry)
        else:
            with pytest.warns(RuntimeWarning, match="complete since"):
                slow.resume(journal, retry=retry)
            assert graph.counters["http_requests"] == requests
            with pytest.warns(RuntimeWarning, match="complete since"):
                slow.reprocess_many(iter(ids), journal=journal)
        assert commits(journal) - first < 30


def test_open_ids_among_settled_ones_are_all_sent(journal: Path) -> None:
    """The mark has to reach each of them, however far apart they are."""
    ids = assignment_ids(200)
    late = set(ids[::7])
    answers = {item: 500 if item in late else 202 for item in ids}
    with (
        Foreign(lambda item: Answer(answers[item])) as graph,
        Client("token", base_url=graph.url, concurrency=1, batch_size=1, max_retries=0) as client,
        Client("token", base_url=graph.url, max_retries=0) as wide,
    ):
        wide.reprocess_many(ids, journal=journal)
        answers.update(dict.fromkeys(ids, 202))
        graph.ids.clear()
        report = client.resume(journal)
        assert report.counts["accepted"] == 200
        assert graph.ids == ids[::7]
    assert list(Report.from_journal(journal)) == list(report)


# The hint.


def interrupted(call: Any, kind: Any) -> str:
    with pytest.raises(kind) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


class Breaks:
    """A list of ids that raises when it is read so far."""

    def __init__(self, ids: list[str], at: int, error: BaseException) -> None:
        self.ids, self.at, self.error = ids, at, error

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item: object) -> bool:
        return item in self.ids

    def __iter__(self) -> Iterator[str]:
        for place, each in enumerate(self.ids):
            if place == self.at:
                raise self.error
            yield each


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("source", ["generator", "list"])
@pytest.mark.parametrize(
    ("error", "kind"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError("x"), (RunStoppedError, OSError))]
)
def test_a_run_that_ends_before_all_ids_are_written_down(
    way: str, source: str, error: BaseException, kind: Any, journal: Path
) -> None:
    if way == "async" and kind is KeyboardInterrupt:
        pytest.skip("an event loop hands a Ctrl-C to whoever runs it")
    with Emulator(3_000) as graph:
        ids: Any = Breaks(graph.ids, 1_200, error)
        if source == "generator":
            ids = iter(ids)

        async def main() -> None:
            async with AsyncClient(graph.credential, base_url=graph.url) as client:
                await client.reprocess_many(ids, journal=journal)

        with Client(graph.credential, base_url=graph.url) as client:
            told = interrupted(
                (lambda: asyncio.run(main()))
                if way == "async"
                else lambda: client.reprocess_many(ids, journal=journal, progress=False),
                kind,
            )
        known = len(Report.from_journal(journal))
        assert known == 1_200
        assert "the journal has only the first 1,200 ids" in told
        assert "same call again" in told
        assert f"client.resume({str(journal)!r}) goes on with those alone" in told


def test_a_run_whose_ids_are_all_written_down_can_be_resumed(journal: Path) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with Emulator(200, latency=0.02) as graph, Client(graph.credential, base_url=graph.url, concurrency=1) as client:
        told = interrupted(
            lambda: client.reprocess_many(graph.ids, journal=journal, on_outcome=stop, progress=False), RunInterrupted
        )
        assert told.endswith(f"\nTo go on where it ended: client.resume({str(journal)!r}), or the same call again.")
        assert client.resume(journal).counts["accepted"] == 200


def test_an_iterator_says_it_too(journal: Path) -> None:
    with Emulator(3_000) as graph, Client(graph.credential, base_url=graph.url) as client:
        ids = iter(Breaks(graph.ids, 1_500, OSError("x")))
        told = interrupted(lambda: list(client.iter_reprocess(ids, journal=journal)), RunStoppedError)
        assert "the journal has only the first 1,500 ids" in told


def test_nothing_was_written_down_yet(journal: Path) -> None:
    with Emulator(10) as graph, Client(graph.credential, base_url=graph.url) as client:
        ids = Breaks(graph.ids, 0, KeyboardInterrupt())
        told = interrupted(lambda: client.reprocess_many(ids, journal=journal, progress=False), RunInterrupted)
        assert "the journal has none of the ids" in told
        assert "same call again" in told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("left", [0, 8, 40])
def test_a_disk_that_is_full_before_there_is_a_journal(left: int, small_disk: Path) -> None:
    """So many kilobytes are left; there is nothing to resume, and nobody is told to."""
    ids = assignment_ids(2_000)
    journal = small_disk / "june.db"
    (small_disk / "other").write_bytes(bytes((512 - left) * 1024))
    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url) as client:
        told = interrupted(lambda: client.reprocess_many(ids, journal=journal, progress=False), JournalError)
        assert "make room" in told
        assert "same call again" in told
        assert "resume" not in told
        assert graph.ids == []
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        assert client.reprocess_many(ids, journal=journal, progress=False).counts["accepted"] == 2_000


def test_a_disk_that_is_full_before_all_ids_are_written_down(small_disk: Path) -> None:
    """Nothing was sent, so the error is that of the journal; it says what is in there all the same."""
    ids = assignment_ids(20_000)
    journal = small_disk / "june.db"
    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url) as client:
        told = interrupted(lambda: client.reprocess_many(ids, journal=journal, progress=False), JournalError)
        assert "make room" in told
        assert "same call again" in told
        assert graph.ids == []
        known = len(Report.from_journal(journal))
        assert known < 20_000
        assert (f"the journal has only the first {known:,} ids" if known else "the journal has none") in told
        subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
        if known:
            with pytest.warns(RuntimeWarning, match="was not read to its end"):
                assert client.resume(journal).counts["accepted"] == known
        assert client.reprocess_many(ids, journal=journal, progress=False).counts["accepted"] == 20_000


def test_a_disk_that_fills_up_under_a_generator(small_disk: Path) -> None:
    journal = small_disk / "june.db"
    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url) as client:
        told = interrupted(
            lambda: client.reprocess_many(iter(assignment_ids(20_000)), journal=journal), RunStoppedError
        )
        known = len(Report.from_journal(journal))
        assert 0 < known < 20_000
        assert f"the journal has only the first {known:,} ids" in told
