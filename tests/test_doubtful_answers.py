"""Trouble of the service (408, 5XX) does not say whether the work was done: what comes after it may be its doing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, ServiceError, ThrottledError, TransportError

from .faults import Fault, FaultServer, assignment_ids, fail, throttled
from .foreign import Answer, Foreign, Request, error
from .held import CANARY, WAYS, hold

pytestmark = pytest.mark.usefixtures("nothing_leaks")

TROUBLE = [500, 502, 503, 504, 408, 506, 520, 599]
AFTER = {400: "unknown", 409: "unknown", 410: "unknown", 413: "unknown", 501: "unknown", 403: "forbidden",
         404: "not_found", 202: "accepted"}  # fmt: skip


def then(trouble: int, status: int) -> list[Fault | None]:
    return [fail(trouble, executed=True), fail(status, "NotNow") if status >= 400 else None]


@pytest.mark.parametrize("batch_size", [20, 1])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_what_may_be_its_doing_settles_nothing(faulty: FaultServer, trouble: int, batch_size: int) -> None:
    ids = dict(zip(assignment_ids(len(AFTER)), AFTER, strict=True))
    faulty.script(ids={item: then(trouble, status) for item, status in ids.items()})
    held = hold(faulty, list(ids), batch_size=batch_size, max_wait=0.05)
    assert held.statuses == {item: AFTER[status] for item, status in ids.items()}
    for item, status in ids.items():
        if AFTER[status] == "unknown":
            outcome = held.outcome(item)
            assert f"answered {trouble}" in (outcome.message or "")
            assert "may have been executed all the same" in (outcome.message or "")
            assert f"after that it was answered {status}, NotNow" in (outcome.message or "")
            assert (outcome.http_status, outcome.attempts) == (None, 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_of_a_whole_batch_and_in_every_way(faulty: FaultServer, way: str, version: str) -> None:
    ids = assignment_ids(20)
    faulty.script(requests=[fail(502, executed=True)], ids={item: [fail(409)] for item in ids[:10]})
    held = hold(faulty, ids, way=way, api_version=version, max_wait=0.05)
    assert held.counts == {"unknown": 10, "accepted": 10}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("batch_size", [20, 1])
def test_trouble_to_the_end_has_failed(faulty: FaultServer, trouble: int, batch_size: int) -> None:
    faulty.set(default=fail(trouble))
    held = hold(faulty, assignment_ids(3), batch_size=batch_size, max_retries=2, max_wait=0.02)
    assert {(each.status, each.http_status, each.attempts) for each in held.outcomes} == {("failed", trouble, 3)}


@pytest.mark.parametrize("status", [501, 505, 507])
@pytest.mark.parametrize("batch_size", [20, 1])
def test_what_will_never_be_done_is_not_tried_again(faulty: FaultServer, status: int, batch_size: int) -> None:
    faulty.set(default=fail(status))
    held = hold(faulty, assignment_ids(3), batch_size=batch_size)
    assert {(each.status, each.http_status, each.attempts) for each in held.outcomes} == {("failed", status, 1)}


def test_a_429_leaves_no_doubt(faulty: FaultServer) -> None:
    faulty.set(every=[throttled("0.01"), fail(409)])
    assert hold(faulty, assignment_ids(3)).counts == {"failed": 3}


@pytest.mark.parametrize("status", [400, 409, 501])
@pytest.mark.parametrize("trouble", [408, 500, 503])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_single_call_says_that_it_may_have_been_executed(way: str, trouble: int, status: int) -> None:
    answers = [error(trouble), error(status)]
    with Foreign(lambda _: answers.pop(0)) as graph:
        with pytest.raises(TransportError, match=f"answered {trouble}.*may have been executed.*answered {status}"):
            call(graph.url, way)
        answers = [error(trouble), Answer(202)]
        assert call(graph.url, way).status == "accepted"
        answers = [error(trouble)] * 3
        with pytest.raises(ServiceError) as raised:
            call(graph.url, way, max_retries=2)
        assert raised.value.status_code == trouble
        answers = [error(trouble), error(429)]
        with pytest.raises(ThrottledError):
            call(graph.url, way, max_retries=1)


def call(url: str, way: str, **options: Any) -> Outcome:
    options = {"base_url": url, "max_wait": 0.05, **options}
    [item] = assignment_ids(1)
    if way == "sync":
        with Client("token", **options) as client:
            return client.reprocess(item)

    async def main() -> Outcome:
        async with AsyncClient("token", **options) as client:
            return await client.reprocess(item)

    return asyncio.run(main())


# Over several runs.


@pytest.mark.parametrize("first", [[502], [408, 502], [504, 429], [599]])
def test_the_doubt_outlives_the_run(faulty: FaultServer, tmp_path: Path, first: list[int]) -> None:
    ids = assignment_ids(6)
    journal = tmp_path / "journal"
    later = {ids[0]: 409, ids[1]: 400, ids[2]: 404, ids[3]: 403, ids[4]: 202, ids[5]: 429}
    executed = [fail(each, executed=True) for each in first]
    faulty.script(
        ids={item: executed + ([fail(status)] * 9 if status >= 400 else []) for item, status in later.items()}
    )
    with Client(CANARY, base_url=faulty.url, max_retries=len(first) - 1, max_wait=0.02) as client:
        report = client.reprocess_many(ids, journal=journal, progress=False)
        assert report.counts["failed"] == 6
        assert {outcome.http_status for outcome in report} == {[each for each in first if each != 429][-1]}
        assert Report.from_journal(journal).counts["failed"] == 6
        resumed = client.resume(journal, progress=False)
    wanted = ["unknown", "unknown", "not_found", "forbidden", "accepted", "failed"]
    assert [outcome.status for outcome in resumed] == wanted
    assert "may have been executed" in (resumed[0].message or "")
    # And once more: nothing has settled it since.
    with Client(CANARY, base_url=faulty.url, max_retries=0) as client:
        again = client.resume(journal, progress=False)
    assert [outcome.status for outcome in again] == wanted


def test_what_was_refused_without_doubt_is_not_sent_again(faulty: FaultServer, tmp_path: Path) -> None:
    faulty.set(every=[fail(409)])
    with Client(CANARY, base_url=faulty.url) as client:
        client.reprocess_many(assignment_ids(3), journal=tmp_path / "journal", progress=False)
        with pytest.warns(RuntimeWarning, match="nothing was sent"):
            assert client.resume(tmp_path / "journal", progress=False).counts["failed"] == 3
    assert faulty.record().request_count == 1


# Reads leave nothing in doubt, and 408 passes there as well.


@pytest.mark.parametrize("trouble", [408, 502, 503])
@pytest.mark.parametrize("whole", [False, True])
def test_a_state_that_is_refused_after_trouble_is_refused(trouble: int, whole: bool) -> None:
    ids = assignment_ids(3)
    answers: list[Answer] = []

    def outer(request: Request) -> Answer:
        if len(graph.requests) == 1 and whole:
            return error(trouble)
        status = trouble if len(graph.requests) == 1 else 400

        parts = json.loads(request.body)["requests"]
        return Answer(200, {"responses": [{"id": part["id"], "status": status} for part in parts]})

    with Foreign(lambda _: answers[0], outer) as graph, Client("token", base_url=graph.url, max_wait=0.05) as client:
        assert set(client.states(ids).values()) == {"rejected"}
    assert len(graph.requests) == 2


@pytest.mark.parametrize("trouble", [408, 500, 520])
def test_a_page_of_a_list_is_asked_for_again(trouble: int) -> None:
    answers = [error(trouble), Answer(200, {"value": []})]
    with (
        Foreign(lambda _: Answer(404), lambda _: answers.pop(0)) as graph,
        Client("token", base_url=graph.url, max_wait=0.05) as client,
    ):
        assert list(client.assignments()) == []
    assert answers == []
