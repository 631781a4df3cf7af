"""A journal that is read while its run is healthy: under way, not lost."""

from __future__ import annotations

import pickle
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from entra_reprocess import Client, Report, RunStoppedError
from entra_reprocess.emulator import Emulator

from .faults import FaultServer, assignment_ids
from .foreign import Answer, Foreign, error
from .held_journal import held_run

IDS = 40


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "june.db"


def shown(report: Report) -> str:
    return re.sub(r" in [0-9.]+ s", " in 0 s", repr(report))


def test_a_run_of_another_process_is_under_way_until_it_dies(journal: Path) -> None:
    with FaultServer(latency=0.05) as server:
        with held_run(server, journal, IDS) as process:
            while not (report := Report.from_journal(journal)).counts["accepted"]:
                assert process.poll() is None
            server.set(latency=30)
            accepted = -1
            while accepted < report.counts["accepted"]:
                accepted = report.counts["accepted"]
                time.sleep(0.3)
                report = Report.from_journal(journal)
            assert process.poll() is None
            assert report.ids == assignment_ids(IDS)
            assert report.under_way == IDS - accepted
            assert shown(report) == f"<Report of 40: {accepted} accepted, {IDS - accepted} under way in 0 s>"
            assert report.elapsed > 0
            who = f"the run of process {process.pid} on {socket.gethostname()}"
            for each in report.not_accepted:
                assert (each.message or "").startswith("under way: ")
                assert who in (each.message or "")
                assert each.status in {"unknown", "not_attempted"}
            assert "under way" in str(report.not_accepted[0].error)
            assert shown(report[:accepted]) == f"<Report of {accepted}: {accepted} accepted>"
            assert report.not_accepted.under_way == report.under_way
            copy = pickle.loads(pickle.dumps(report))
            assert (copy.under_way, repr(copy)) == (report.under_way, repr(report))
        dead = Report.from_journal(journal)
        assert dead.under_way == 0
        assert "under way" not in repr(dead)
        assert dead.counts["unknown"] > 0
        assert "run ended before an answer was written down" in (dead.not_accepted[0].message or "")
        server.reset()
        with Client("token", base_url=server.url) as client:
            last = client.resume(journal)
        assert (last.under_way, Report.from_journal(journal).under_way) == (0, 0)


@pytest.mark.parametrize("sized", [True, False])
def test_a_run_of_this_process_is_under_way(sized: bool, journal: Path) -> None:
    released = threading.Event()
    ids = assignment_ids(60)

    def answer(item: str) -> Answer:
        if item in ids[20:]:
            released.wait(20)
        return Answer(202)

    with Foreign(answer) as graph, Client("token", base_url=graph.url, concurrency=1) as client:
        heard: list[str] = []

        def work() -> None:
            client.reprocess_many(
                ids if sized else iter(ids), journal=journal, on_outcome=lambda each: heard.append(each.id)
            )

        thread = threading.Thread(target=work)
        thread.start()
        try:
            while len(heard) < 20:
                assert thread.is_alive()
                time.sleep(0.01)
            report = Report.from_journal(journal)
            assert report.under_way == len(report) - report.counts["accepted"] == 40
            assert "40 under way" in repr(report)
            assert "unknown" not in repr(report)
            assert "not_attempted" not in repr(report)
        finally:
            released.set()
            thread.join()
        assert Report.from_journal(journal).under_way == 0


def test_what_a_live_run_has_settled_is_not_under_way(journal: Path) -> None:
    """Its own unknown outcomes are what they are, and so are those of an earlier run that it leaves alone."""
    ids = assignment_ids(6)
    released = threading.Event()
    wait = False

    def answer(item: str) -> Answer:
        if wait and item == ids[5]:
            released.wait(20)
        return error(409) if item == ids[0] else error(500) if item == ids[5] else Answer(202)

    with (
        Foreign(answer) as graph,
        Client("token", base_url=graph.url, max_retries=0, batch_size=1, concurrency=1) as client,
    ):
        client.reprocess_many(ids, journal=journal)
        wait = True
        thread = threading.Thread(target=lambda: client.resume(journal))
        thread.start()
        try:
            while len(graph.ids) < 7:
                assert thread.is_alive()
                time.sleep(0.01)
            report = Report.from_journal(journal)
            assert shown(report) == "<Report of 6: 4 accepted, 1 failed, 1 under way in 0 s>"
            assert report[5].attempts == 2
            assert "under way" in (report[5].message or "")
        finally:
            released.set()
            thread.join()


def test_a_run_that_was_stopped_is_not_under_way(journal: Path) -> None:
    with Foreign(lambda _: error(401)) as graph, Client("token", base_url=graph.url) as client:
        with pytest.raises(RunStoppedError):
            client.reprocess_many(assignment_ids(50), journal=journal)
        report = Report.from_journal(journal)
    assert report.under_way == 0
    assert "under way" not in repr(report)


def test_reports_of_runs_have_nothing_under_way(graph: Emulator, client: Client) -> None:
    assert client.reprocess_many(graph.ids[:5]).under_way == 0
