"""When a run ends before its end: nothing can be accepted, batches are not taken, the deadline comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from entra_reprocess import (
    AsyncClient,
    BadRequestError,
    Client,
    Outcome,
    PermissionDeniedError,
    Report,
    RunStoppedError,
    ThrottledError,
    TransportError,
)
from entra_reprocess.emulator import Emulator

from .faults import FaultServer, assignment_ids, broken_invariants, fail
from .foreign import Answer, Foreign, Request, error


def stopped(graph: Foreign | Emulator, ids: list[str], **options: Any) -> tuple[RunStoppedError, Report]:
    with Client("token", base_url=graph.url, **options) as client, pytest.raises(RunStoppedError) as caught:
        client.reprocess_many(ids)
    report = caught.value.report
    assert report is not None
    assert report.ids == ids
    return caught.value, report


# Nothing can be accepted.


@pytest.mark.parametrize("batch_size", [20, 1])
def test_everything_is_forbidden(batch_size: int) -> None:
    ids = assignment_ids(500)
    with Foreign(lambda _: error(403)) as graph:
        why, report = stopped(graph, ids, batch_size=batch_size)
    assert "everything is forbidden (403)" in str(why)
    assert isinstance(why.__cause__, PermissionDeniedError)
    assert "EntitlementManagement.ReadWrite.All" in str(why.__cause__)
    assert 50 <= report.counts["forbidden"] <= 60
    assert report.counts["not_attempted"] == 500 - report.counts["forbidden"]
    assert "forbidden (403)" in (report[-1].message or "")
    assert len(graph.ids) == report.counts["forbidden"]


def test_the_whole_batch_is_forbidden() -> None:
    with Foreign(lambda _: Answer(202), lambda _: error(403)) as graph:
        _, report = stopped(graph, assignment_ids(500))
    assert report.counts["forbidden"] == 60


@pytest.mark.parametrize("count", [1, 40, 49])
def test_fewer_than_fifty_forbidden_ids_stop_nothing(count: int) -> None:
    with Foreign(lambda _: error(403)) as graph, Client("token", base_url=graph.url) as client:
        assert client.reprocess_many(assignment_ids(count)).counts["forbidden"] == count


def test_one_accepted_id_is_enough_to_go_on() -> None:
    ids = assignment_ids(500)
    with Foreign(lambda item: Answer(202) if item == ids[10] else error(403)) as graph:
        report = Client("token", base_url=graph.url).reprocess_many(ids)
    assert (report.counts["accepted"], report.counts["forbidden"]) == (1, 499)


def test_everything_is_told_to_wait_too_long() -> None:
    ids = assignment_ids(500)
    with Foreign(lambda _: Answer(429, error(429).body, {"Retry-After": "86400"})) as graph:
        why, report = stopped(graph, ids)
    assert isinstance(why.__cause__, ThrottledError)
    assert "longer than max_wait" in str(why)
    assert report.counts["failed"] == 60
    assert "Retry-After asks for 86400 s, more than max_wait=600 s" in (report[0].message or "")
    assert report.paused_seconds == 0


def test_an_unknown_host_ends_it_soon() -> None:
    client = Client("token", base_url="https://no-such-host.invalid")
    started = time.monotonic()
    with pytest.raises(RunStoppedError, match="unknown host") as caught:
        client.reprocess_many(assignment_ids(200))
    assert time.monotonic() - started < 10
    assert isinstance(caught.value.__cause__, TransportError)
    assert "check cloud, base_url" in str(caught.value.__cause__)
    report = caught.value.report
    assert report is not None
    assert report.counts["not_attempted"] == 200


def test_a_host_that_is_not_to_be_trusted_ends_it_at_once() -> None:
    with Emulator(200, tls=True) as graph:
        why, report = stopped(graph, graph.ids)
        assert graph.counters["http_requests"] == 0
        assert graph.counters["tls_failures"] <= 3
    assert isinstance(why.__cause__, TransportError)
    assert "ca_bundle=" in str(why)
    assert report.counts["not_attempted"] == 200
    assert report.elapsed < 5


# Batches are not taken.


@pytest.mark.parametrize("status", [400, 413, 424])
@pytest.mark.parametrize("culprits", [[0], [59], [3, 4, 47], [10, 11, 12, 13, 14, 15]])
def test_a_refused_batch_is_split_until_the_culprit_stands_alone(status: int, culprits: list[int]) -> None:
    ids = assignment_ids(60)
    marked = {ids[place] for place in culprits}

    def outer(request: Request) -> Answer | None:
        return error(status) if request.path.endswith("$batch") and marked & named(request) else None

    with Foreign(lambda item: error(404) if item in marked else Answer(202), outer) as graph:
        report = Client("token", base_url=graph.url, max_retries=0).reprocess_many(ids)
    assert [outcome.status for outcome in report] == ["not_found" if item in marked else "accepted" for item in ids]
    assert Counter(graph.ids) == Counter(ids)
    plain = [request for request in graph.requests if not request.path.endswith("$batch")]
    assert len(plain) == len(culprits), "only the culprits go by themselves"


def named(request: Request) -> set[str]:
    return {part["url"].split("/")[-2] for part in json.loads(request.body)["requests"]}


@pytest.mark.parametrize("status", [400, 404, 405, 413, 424])
def test_no_batch_is_taken_and_no_single_id_accepted(status: int) -> None:
    ids = assignment_ids(60)

    def outer(request: Request) -> Answer | None:
        return error(status) if request.path.endswith("$batch") else None

    with Foreign(lambda _: error(409), outer) as graph, Client("token", base_url=graph.url, max_retries=0) as client:
        report = client.reprocess_many(ids)
    assert report.counts["failed"] == 60
    assert {outcome.code for outcome in report} == {"SomeCode"}
    assert Counter(graph.ids) == Counter(ids)


def test_batches_are_never_taken() -> None:
    ids = assignment_ids(400)
    with FaultServer(refuse_batches="whole") as server, Client("token", base_url=server.url) as client:
        with pytest.warns(RuntimeWarning, match="no batches") as heard:
            report = client.reprocess_many(ids)
        record = server.record()
    assert len(heard) == 1
    assert report.counts["accepted"] == 400
    assert record.violations == []
    assert max(Counter(each for row in record.requests for each in row.ids).values()) <= 12
    assert sum(not row.path.endswith("/reprocess") for row in record.requests) <= 20, "no batch after that"


@pytest.mark.parametrize("as_iterator", [False, True])
def test_every_part_is_rejected_but_plain_requests_are_not(as_iterator: bool) -> None:
    ids = assignment_ids(400)
    with FaultServer(refuse_batches="parts") as server, Client("token", base_url=server.url) as client:
        with pytest.warns(RuntimeWarning, match="no batches"):
            outcomes: list[Outcome] | Report = (
                list(client.iter_reprocess(ids)) if as_iterator else client.reprocess_many(ids)
            )
        record = server.record()
    assert Counter(outcome.status for outcome in outcomes) == {"accepted": 400}
    assert broken_invariants(record, ids, {outcome.id: outcome.status for outcome in outcomes}) == []
    assert sum(not row.path.endswith("/reprocess") for row in record.requests) <= 6


def test_everything_is_rejected_also_by_itself() -> None:
    ids = assignment_ids(400)
    with Foreign(lambda _: error(400)) as graph:
        why, report = stopped(graph, ids)
    assert isinstance(why.__cause__, BadRequestError)
    assert 100 <= report.counts["rejected"] <= 120
    assert report.counts["not_attempted"] == 400 - report.counts["rejected"]
    assert len(graph.ids) == report.counts["rejected"] + 1
    assert all(outcome.http_status == 400 for outcome in report if outcome.status == "rejected")


@pytest.mark.parametrize(("later", "status"), [(202, "accepted"), (404, "not_found")])
def test_many_rejected_ids_before_another_answer_are_rejected(later: int, status: str) -> None:
    ids = assignment_ids(90)
    with Foreign(lambda item: Answer(later) if item == ids[-1] else error(400)) as graph:
        report = Client("token", base_url=graph.url).reprocess_many(ids)
    assert [outcome.status for outcome in report] == ["rejected"] * 89 + [status]
    assert Counter(graph.ids) == Counter(ids)


def test_a_source_that_waits_for_the_outcome_of_a_rejected_id_gets_it() -> None:
    heard: list[str] = []

    async def main() -> None:
        outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

        async def source() -> Any:
            for item in assignment_ids(3):
                yield item
                heard.append((await asyncio.wait_for(outcomes.get(), 20)).status)

        with Foreign(lambda _: error(400)) as graph:
            async with AsyncClient("token", base_url=graph.url) as client:
                async for outcome in client.iter_reprocess(source()):
                    outcomes.put_nowait(outcome)

    asyncio.run(main())
    assert heard == ["rejected"] * 3


# The deadline comes.


@pytest.mark.parametrize("deadline", [1.0, timedelta(seconds=1)])
@pytest.mark.parametrize("way", ["sync", "async", "iterator", "async iterator"])
def test_the_report_comes_back_by_the_deadline(deadline: float | timedelta, way: str) -> None:
    with Emulator(2_000, latency=0.05, write_quota=(50, 1.0)) as graph:
        started = time.monotonic()
        outcomes = within(graph, way, deadline)
        took = time.monotonic() - started
        executed = {item for item, times in graph.executions.items() if times}
    assert 0.6 < took < 1.5
    assert len(outcomes) == 2_000
    assert {outcome.status for outcome in outcomes} == {"accepted", "not_attempted"}
    assert {outcome.id for outcome in outcomes if outcome.ok} == executed
    late = next(outcome for outcome in outcomes if outcome.status == "not_attempted")
    assert "the deadline of 1 s came first" in (late.message or "")


def within(graph: Emulator, way: str, deadline: Any) -> list[Outcome]:
    if way == "sync":
        return list(Client(graph.credential, base_url=graph.url).reprocess_many(graph.ids, deadline=deadline))
    if way == "iterator":
        return list(Client(graph.credential, base_url=graph.url).iter_reprocess(graph.ids, deadline=deadline))

    async def main() -> list[Outcome]:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            if way == "async":
                return list(await client.reprocess_many(graph.ids, deadline=deadline))
            return [outcome async for outcome in client.iter_reprocess(graph.ids, deadline=deadline)]

    return asyncio.run(main())


def test_at_the_deadline_what_is_not_answered_is_unknown() -> None:
    ids = assignment_ids(100)
    with FaultServer(latency=5) as server, Client("token", base_url=server.url) as client:
        report = client.reprocess_many(ids, deadline=0.5)
    assert 0.4 < report.elapsed < 1.5
    assert report.counts["unknown"] == 60
    assert report.counts["not_attempted"] == 40


def test_an_iterator_is_not_read_beyond_the_deadline() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield assignment_ids(1, first=read)[0]

    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url, rate=100) as client:
        report = client.reprocess_many(endless(), deadline=0.5)
    assert len(report) == read
    assert 0 < report.counts["accepted"] < 200


@pytest.mark.parametrize(
    ("deadline", "kind"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (float("nan"), ValueError),
        (timedelta(0), ValueError),
        ("soon", TypeError),
        (True, TypeError),
    ],
)
def test_a_deadline_that_makes_no_sense(deadline: Any, kind: type[Exception]) -> None:
    client = Client("token", base_url="http://127.0.0.1:9")
    with pytest.raises(kind, match="deadline is"):
        client.reprocess_many(assignment_ids(1), deadline=deadline)
    with pytest.raises(kind, match="deadline is"):
        client.iter_reprocess(assignment_ids(1), deadline=deadline)


# A service in trouble.


@pytest.mark.parametrize(("batch_size", "failures"), [(20, 10), (1, 13)])
def test_a_dying_service_is_asked_by_one_request_at_a_time(batch_size: int, failures: int) -> None:
    ids = assignment_ids(200)
    options: dict[str, Any] = {"batch_size": batch_size, "max_wait": 0.4, "max_retries": 20}
    with FaultServer(latency=0.02) as server, Client("token", base_url=server.url, **options) as client:
        server.script(requests=[fail(503 if n % 2 else 500) for n in range(failures)])
        report = client.reprocess_many(ids)
        record = server.record()
    assert report.counts["accepted"] == 200
    assert record.violations == []
    # What was under way at the fifth failure may be more than one; the last ones have waited for the one before.
    times = [row.at for row in record.requests[:failures]]
    assert [later - earlier >= 0.1 for earlier, later in zip(times[-3:], times[-2:], strict=False)] == [True, True]
    assert report.paused_seconds >= 0.2


def test_trouble_that_stays_uses_up_the_retries_of_each_item_and_no_more() -> None:
    ids = assignment_ids(60)
    with FaultServer(default=fail(500)) as server, Client("token", base_url=server.url, max_retries=2) as client:
        report = client.reprocess_many(ids)
    assert report.counts["failed"] == 60
    assert {outcome.attempts for outcome in report} == {3}
    assert all("max_retries=2" in (outcome.message or "") for outcome in report)
