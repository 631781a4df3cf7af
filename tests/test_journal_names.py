"""Two runs on one journal by two names: the second fails at once, whatever the names are."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from entra_reprocess import Client, JournalError, Report
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import FaultServer, assignment_ids
from .foreign import Answer, Foreign
from .held_journal import held_run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need privileges there")

IDS = 40
CODE = """
    import sys
    from entra_reprocess import Client
    Client("token", base_url=sys.argv[1]).resume(sys.argv[2])
"""


def symbolic(journal: Path, folder: Path) -> Path:
    (folder / "link.db").symlink_to(journal)
    return folder / "link.db"


def symbolic_twice(journal: Path, folder: Path) -> Path:
    (folder / "first.db").symlink_to(journal)
    (folder / "link.db").symlink_to("first.db")
    return folder / "link.db"


def symbolic_folder(journal: Path, folder: Path) -> Path:
    (folder / "elsewhere").symlink_to(journal.parent)
    return folder / "elsewhere" / journal.name


def roundabout(journal: Path, folder: Path) -> Path:
    (folder / "x").mkdir()
    return folder / "x" / ".." / journal.parent.name / "." / journal.name


def hard(journal: Path, folder: Path) -> Path:
    os.link(journal, folder / "link.db")
    return folder / "link.db"


def hard_beside(journal: Path, _: Path) -> Path:
    os.link(journal, journal.with_name("link.db"))
    return journal.with_name("link.db")


def without_its_lock(journal: Path, _: Path) -> Path:
    journal.with_name(f"{journal.name}-lock").unlink()
    return journal


NAMES: dict[str, Callable[[Path, Path], Path]] = {
    each.__name__: each
    for each in (symbolic, symbolic_twice, symbolic_folder, roundabout, hard, hard_beside, without_its_lock)
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs" / "june.db"


@pytest.mark.parametrize("name", NAMES)
def test_a_second_process_by_another_name(name: str, journal: Path, tmp_path: Path) -> None:
    ids = assignment_ids(IDS)
    with FaultServer(latency=0.15) as server, held_run(server, journal, IDS) as process:
        other = NAMES[name](journal, tmp_path)
        with Client("token", base_url=server.url) as client:
            calls: list[Callable[[], Report]] = [
                lambda: client.reprocess_many(ids, journal=other),
                lambda: client.resume(other),
            ]
            for call in calls:
                with pytest.raises(JournalError, match=f"process {process.pid} on .* is writing it"):
                    call()
        out, err = process.communicate(timeout=30)
        assert err == ""
        assert json.loads(out)["accepted"] == IDS, "the first run is unharmed"
        record = server.record()
        assert all(len(requests) == 1 for requests in record.executions.values())
        for each in (journal, other):
            assert Report.from_journal(each).counts["accepted"] == IDS, "and its journal is good under both names"
        with Client("token", base_url=server.url) as client, pytest.warns(RuntimeWarning, match="complete since"):
            client.resume(other)
        left = sorted(path.name for path in tmp_path.rglob("*.db*"))
        assert [path for path in left if not path.endswith(".db")] == [], "nothing stays beside it"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "without_its_lock"])
@pytest.mark.parametrize("made", ["before", "during"])
def test_a_second_thread_by_another_name(name: str, made: str, journal: Path, tmp_path: Path) -> None:
    reports: list[Report] = []
    ids = assignment_ids(IDS)
    held, released = threading.Event(), threading.Event()

    def answer(_: str) -> Answer:
        held.set()
        released.wait(20)
        return Answer(202)

    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url) as client:
        if made == "before":
            client.reprocess_many(ids, journal=journal)
            other = NAMES[name](journal, tmp_path)
        graph.answer = answer
        thread = threading.Thread(
            target=lambda: reports.append(client.reprocess_many(ids, journal=journal, retry=("accepted",)))
        )
        thread.start()
        try:
            assert held.wait(10)
            if made == "during":
                other = NAMES[name](journal, tmp_path)
            with pytest.raises(JournalError, match=f"process {os.getpid()} on .* is writing it"):
                client.resume(other)
            assert Report.from_journal(journal).ids == ids
        finally:
            released.set()
            thread.join()
        assert reports[0].counts["accepted"] == IDS
        assert list(Report.from_journal(other)) == list(Report.from_journal(journal)) == list(reports[0])


@pytest.mark.parametrize("attempt", range(5))
def test_both_start_at_once_by_two_hard_links(attempt: int, journal: Path, tmp_path: Path) -> None:
    """One of them runs, the other is refused, and never both or neither."""
    journal.touch()
    other = hard(journal, tmp_path)
    ends: list[str] = []
    with Emulator(40, latency=0.2) as graph:

        def work(path: Path) -> None:
            with Client(graph.credential, base_url=graph.url) as client:
                try:
                    ends.append(str(client.reprocess_many(graph.ids, journal=path).counts["accepted"]))
                except JournalError as error:
                    ends.append("writing it" if "is writing it" in str(error) else str(error))

        threads = [threading.Thread(target=work, args=[path]) for path in (journal, other)[:: 1 - 2 * (attempt % 2)]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ends) == ["40", "writing it"]
        assert set(graph.executions.values()) == {1}
    assert Report.from_journal(journal).counts["accepted"] == 40


def test_the_other_name_of_a_journal_whose_run_was_killed(journal: Path, tmp_path: Path) -> None:
    """Its last commits stand beside the name that the run was given, and the other name does not know of them."""
    ids = assignment_ids(IDS)
    with FaultServer(latency=0.1) as server:
        with held_run(server, journal, IDS) as process:
            other = hard(journal, tmp_path)
            while not Report.from_journal(journal).counts["accepted"]:
                assert process.poll() is None
        with Client("token", base_url=server.url) as client:
            calls: list[Callable[[], Report]] = [lambda: client.resume(other), lambda: Report.from_journal(other)]
            for call in calls:
                with pytest.raises(JournalError, match=r"another name.*hard link.*use the name"):
                    call()
            assert not any(path.name.startswith("link.db-") for path in tmp_path.iterdir())
            server.reset()
            assert client.reprocess_many(ids, journal=journal).counts["accepted"] == IDS
        assert Report.from_journal(other).counts["accepted"] == IDS


def test_a_link_to_a_journal_that_is_not_there_yet(graph: Emulator, client: Client, journal: Path) -> None:
    link = journal.with_name("link.db")
    link.symlink_to("june.db")
    assert client.reprocess_many(graph.ids[:5], journal=link).counts["accepted"] == 5
    assert journal.is_file()
    assert Report.from_journal(journal).counts["accepted"] == 5
    link.unlink()
    link.symlink_to("link.db")
    with pytest.raises(JournalError, match=r"link\.db"):
        client.reprocess_many(graph.ids[:5], journal=link)


def test_a_folder_that_is_renamed_during_the_run(journal: Path, tmp_path: Path) -> None:
    with FaultServer(latency=0.2) as server, held_run(server, journal, IDS) as process:
        journal.parent.rename(tmp_path / "renamed")
        with (
            Client("token", base_url=server.url) as client,
            pytest.raises(JournalError, match=f"process {process.pid} .* is writing it"),
        ):
            client.resume(tmp_path / "renamed" / "june.db")


def test_a_copy_is_a_journal_of_its_own(graph: Emulator, client: Client, journal: Path, tmp_path: Path) -> None:
    client.reprocess_many(graph.ids[:5], journal=journal)
    shutil.copy(journal, tmp_path / "copy.db")
    assert client.resume(tmp_path / "copy.db", retry=("accepted",)).counts["accepted"] == 5
    assert client.resume(journal, retry=("accepted",)).counts["accepted"] == 5


def test_reading_does_not_let_a_second_run_in(journal: Path, tmp_path: Path) -> None:
    """Closing a file gives its locks back (POSIX), also those that others of the process have put on it."""
    held, released = threading.Event(), threading.Event()

    def answer(_: str) -> Answer:
        held.set()
        released.wait(60)
        return Answer(202)

    with Foreign(answer) as graph, Client("token", base_url=graph.url) as client:
        thread = threading.Thread(target=lambda: client.reprocess_many(assignment_ids(5), journal=journal))
        thread.start()
        try:
            assert held.wait(10)
            other = hard(journal, tmp_path)
            for _ in range(3):
                Report.from_journal(journal)
                with pytest.raises(JournalError, match="is writing it"):
                    client.resume(other)
                with pytest.raises(JournalError, match="hard link"):
                    Report.from_journal(other)
            assert f"process {os.getpid()} on" in scripts.run(CODE, graph.url, str(other)).stderr
        finally:
            released.set()
            thread.join()
