"""A journal whose run is complete and that is given again: nothing is sent, and that is said."""

from __future__ import annotations

import asyncio
import pickle
import re
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, JournalError, Outcome, Report, reprocess_many
from entra_reprocess.emulator import Emulator

from .faults import assignment_ids
from .foreign import Answer, Foreign, error

COMPLETE = r"journal .*june\.db: it is complete since {date}.* UTC.*another journal.*delete.*retry="

Call = Callable[[Emulator, Any, Path], "Report | list[Outcome]"]


def sync_of(graph: Emulator, ids: Any, journal: Path) -> Report:
    with Client(graph.credential, base_url=graph.url) as client:
        return client.reprocess_many(ids, journal=journal)


def module_of(graph: Emulator, ids: Any, journal: Path) -> Report:
    return reprocess_many(ids, journal=journal, base_url=graph.url, credential=graph.credential)


def generator_of(graph: Emulator, ids: Any, journal: Path) -> Report:
    return sync_of(graph, (each for each in ids), journal)


def iterator_of(graph: Emulator, ids: Any, journal: Path) -> list[Outcome]:
    with Client(graph.credential, base_url=graph.url) as client:
        return list(client.iter_reprocess(ids, journal=journal))


def resumed_of(graph: Emulator, _: Any, journal: Path) -> Report:
    with Client(graph.credential, base_url=graph.url) as client:
        return client.resume(journal)


def asynchronous(work: Callable[[AsyncClient, Any, Path], Any]) -> Call:
    def call(graph: Emulator, ids: Any, journal: Path) -> Any:
        async def main() -> Any:
            async with AsyncClient(graph.credential, base_url=graph.url) as client:
                return await work(client, ids, journal)

        return asyncio.run(main())

    return call


async def _many(client: AsyncClient, ids: Any, journal: Path) -> Report:
    return await client.reprocess_many(ids, journal=journal)


async def _async_iterable(client: AsyncClient, ids: Any, journal: Path) -> Report:
    async def source() -> Any:
        for each in ids:
            yield each

    return await client.reprocess_many(source(), journal=journal)


async def _iterator(client: AsyncClient, ids: Any, journal: Path) -> list[Outcome]:
    return [each async for each in client.iter_reprocess(ids, journal=journal)]


async def _resumed(client: AsyncClient, _: Any, journal: Path) -> Report:
    return await client.resume(journal)


CALLS: dict[str, Call] = {
    "sync": sync_of,
    "module": module_of,
    "generator": generator_of,
    "iterator": iterator_of,
    "resume": resumed_of,
    "async": asynchronous(_many),
    "async iterable": asynchronous(_async_iterable),
    "async iterator": asynchronous(_iterator),
    "async resume": asynchronous(_resumed),
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "june.db"


@pytest.mark.parametrize("way", CALLS)
def test_a_complete_journal_sends_nothing_and_says_so(way: str, journal: Path) -> None:
    today = datetime.now(UTC)
    with Emulator(30) as graph:
        ids = [*graph.ids, "no id", graph.ids[0]]
        first = sync_of(graph, ids, journal)
        assert first.from_earlier_runs == 0
        requests = graph.counters["http_requests"]
        # Thirty nights are like two: the date stays that of the run that did the work.
        with closing(sqlite3.connect(journal)) as connection:
            [[ended]] = connection.execute("SELECT ended FROM run").fetchall()
        for _ in range(2):
            with pytest.warns(RuntimeWarning, match=COMPLETE.format(date=f"{today:%Y-%m}")) as caught:
                again = CALLS[way](graph, ids, journal)
            assert [str(each.message) for each in caught if "complete" in str(each.message)][1:] == [], "said once"
            told = str(caught[0].message)
            assert "all 32 places" in told
            [date] = re.findall(r"since (\S+ \S+) UTC", told)
            gap = datetime.fromisoformat(ended) - datetime.fromisoformat(f"{date}+00:00")
            assert abs(gap.total_seconds()) < 2
            if isinstance(again, Report):
                assert again == first
                assert again.from_earlier_runs == 32
                assert "32 from earlier runs" in repr(again)
        assert graph.counters["http_requests"] == requests


def test_only_a_part_from_earlier_runs_is_counted_and_not_warned_of(journal: Path) -> None:
    ids = assignment_ids(10)
    answers = dict.fromkeys(ids, 202) | {ids[3]: 500, ids[4]: 409}
    with Foreign(lambda item: Answer(202) if answers[item] == 202 else error(answers[item])) as graph:
        client = Client("token", base_url=graph.url, max_retries=0)
        first = client.reprocess_many([*ids, ids[0]], journal=journal)
        assert (first.from_earlier_runs, "earlier" in repr(first)) == (0, False)
        answers.update(dict.fromkeys(ids, 202))
        second = client.resume(journal)
        assert second.from_earlier_runs == 10, "all but the one that was sent again"
        assert "10 from earlier runs" in repr(second)
        assert second[3:4].from_earlier_runs == 0
        assert second[:3].from_earlier_runs == 3
        assert second.not_accepted.from_earlier_runs == 1
        assert pickle.loads(pickle.dumps(second)).from_earlier_runs == 10
        third = client.reprocess_many([*ids, ids[0]], journal=journal, retry=("failed",))
        assert third.from_earlier_runs == 10
        assert third.counts["accepted"] == 11
        with pytest.warns(RuntimeWarning, match="complete since"):
            last = client.resume(journal, retry=("failed", "forbidden"))
        assert last.from_earlier_runs == 11
    told = Report.from_journal(journal)
    assert (told.from_earlier_runs, told.counts["accepted"]) == (0, 11), "reading is no run"


def test_an_outcome_that_this_run_did_not_come_to_is_from_an_earlier_one(journal: Path) -> None:
    ids = assignment_ids(60)
    with Foreign(lambda _: error(409)) as graph, Client("token", base_url=graph.url, rate=100, batch_size=1) as client:
        fast = Client("token", base_url=graph.url)
        fast.reprocess_many(ids, journal=journal)
        report = client.resume(journal, retry=("failed",), deadline=0.3)
        sent = len(graph.ids) - 60
    assert 0 < sent < 60
    assert report.from_earlier_runs == 60 - sent
    assert [each.attempts for each in report] == [2] * sent + [1] * (60 - sent)


def test_a_journal_that_is_not_complete_is_not_warned_of(graph: Emulator, client: Client, journal: Path) -> None:
    def source(breaks: bool) -> Any:
        for each in graph.ids[:50]:
            time.sleep(0.004)
            yield each
        if breaks:
            raise OSError("away")

    with pytest.raises(Exception, match="OSError"):
        client.reprocess_many(source(True), journal=journal)
    # The input had not ended, and now it does: that is news.
    known = Report.from_journal(journal).counts["accepted"]
    report = client.reprocess_many(source(False), journal=journal)
    assert report.from_earlier_runs == known > 0
    with pytest.warns(RuntimeWarning, match="complete since"):
        client.reprocess_many(source(False), journal=journal)


def test_other_ids_are_an_error_and_no_warning(graph: Emulator, client: Client, journal: Path) -> None:
    client.reprocess_many(graph.ids[:20], journal=journal)
    for ids in (graph.ids[:19], graph.ids[:21], [*graph.ids[:19], graph.ids[30]]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(JournalError, match="same ids"):
                client.reprocess_many(ids, journal=journal)


def test_a_journal_of_no_ids_says_nothing(client: Client, journal: Path) -> None:
    client.reprocess_many([], journal=journal)
    assert client.reprocess_many([], journal=journal).from_earlier_runs == 0


def test_without_a_journal_nothing_is_from_earlier_runs(graph: Emulator, client: Client) -> None:
    report = client.reprocess_many(graph.ids[:5])
    assert report.from_earlier_runs == 0
    assert "earlier" not in repr(report)
