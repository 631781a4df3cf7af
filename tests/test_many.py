"""Many assignments: each has the outcome that the server gave it, in batches as Graph wants them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from entra_reprocess import (
    AsyncClient,
    Client,
    ConflictError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    Report,
    RunStoppedError,
    TransportError,
)
from entra_reprocess.emulator import Emulator

from .foreign import Answer, Foreign, Request, error

STATUSES = {202: "accepted", 400: "rejected", 404: "not_found", 403: "forbidden", 409: "failed"}


def mixed(count: int) -> tuple[list[str], dict[str, int]]:
    """Random ids, and how the server answers each; most are accepted."""
    chance = random.Random(count)
    ids = [str(UUID(int=chance.getrandbits(128))) for _ in range(count)]
    choices = [202] * 6 + list(STATUSES)
    return ids, {item: chance.choice(choices) for item in ids}


def in_sync(graph: Foreign, ids: Any, **options: Any) -> Report:
    with Client("token", base_url=graph.url, **options) as client:
        return client.reprocess_many(ids)


def in_async(graph: Foreign, ids: Any, **options: Any) -> Report:
    async def main() -> Report:
        async with AsyncClient("token", base_url=graph.url, **options) as client:
            return await client.reprocess_many(ids)

    return asyncio.run(main())


def streamed(graph: Foreign, ids: Any, **options: Any) -> list[Outcome]:
    with Client("token", base_url=graph.url, **options) as client:
        return sorted(client.iter_reprocess(ids), key=lambda outcome: outcome.index)


def streamed_async(graph: Foreign, ids: Any, **options: Any) -> list[Outcome]:
    async def main() -> list[Outcome]:
        async with AsyncClient("token", base_url=graph.url, **options) as client:
            return [outcome async for outcome in client.iter_reprocess(ids)]

    return sorted(asyncio.run(main()), key=lambda outcome: outcome.index)


every_way = pytest.mark.parametrize("call", [in_sync, in_async, streamed, streamed_async])


@every_way
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_ten_thousand_mixed_ids(call: Any, version: str) -> None:
    ids, answers = mixed(10_000)
    with Foreign(lambda item: Answer(202) if answers[item] == 202 else error(answers[item])) as graph:
        outcomes = call(graph, ids, api_version=version)
    assert [outcome.id for outcome in outcomes] == ids
    assert [outcome.index for outcome in outcomes] == list(range(10_000))
    assert [outcome.http_status for outcome in outcomes] == [answers[item] for item in ids]
    assert [outcome.status for outcome in outcomes] == [STATUSES[answers[item]] for item in ids]
    assert all(outcome.attempts == 1 for outcome in outcomes)
    refused = next(outcome for outcome in outcomes if outcome.http_status == 409)
    assert (refused.code, refused.message, refused.request_id) == ("SomeCode", "Some message.", "r-1")
    # On the wire: batches of 20, each id once, no malformed part.
    assert graph.malformed == []
    assert Counter(graph.ids) == Counter(ids)
    assert [request.path for request in graph.requests] == [f"/{version}/$batch"] * 500
    assert all(len(json.loads(request.body)["requests"]) == 20 for request in graph.requests)
    assert all(request.header("content-type") == ["application/json"] for request in graph.requests)
    assert all(request.header("authorization") == ["Bearer token"] for request in graph.requests)
    sent = {request.header("client-request-id")[0] for request in graph.requests}
    assert len(sent) == 500
    assert {outcome.client_request_id for outcome in outcomes} == sent


@every_way
def test_plain_posts(call: Any) -> None:
    ids, answers = mixed(300)
    with Foreign(lambda item: Answer(202) if answers[item] == 202 else error(answers[item])) as graph:
        outcomes = call(graph, ids, batch_size=1)
    assert [outcome.status for outcome in outcomes] == [STATUSES[answers[item]] for item in ids]
    assert graph.malformed == []
    assert len(graph.requests) == 300
    assert all(request.path.endswith("/reprocess") for request in graph.requests)


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(45, 20, [5, 20, 20]), (7, 3, [1, 3, 3]), (1, 20, [1])])
def test_the_last_batch_may_be_smaller(count: int, batch_size: int, sizes: list[int]) -> None:
    ids, _ = mixed(count)
    with Foreign(lambda _: Answer(202)) as graph:
        report = in_sync(graph, ids, batch_size=batch_size)
    assert report.counts["accepted"] == count
    assert sorted(len(json.loads(request.body)["requests"]) for request in graph.requests) == sizes


def test_the_exceptions_that_outcomes_stand_for() -> None:
    ids, _ = mixed(4)
    answers = dict(zip(ids, [403, 404, 409, 202], strict=True))
    with Foreign(lambda item: error(answers[item]) if answers[item] != 202 else Answer(202)) as graph:
        report = in_sync(graph, ids)
    assert [type(outcome.error) for outcome in report] == [
        PermissionDeniedError,
        NotFoundError,
        ConflictError,
        type(None),
    ]


@pytest.mark.parametrize("batch_size", [20, 1])
def test_throttled_items_are_sent_again_after_the_wait_and_no_others(batch_size: int) -> None:
    ids, _ = mixed(100)
    throttled = set(ids[10:70:3])
    seen: Counter[str] = Counter()

    def answer(item: str) -> Answer:
        seen[item] += 1
        if item in throttled and seen[item] == 1:
            return Answer(429, error(429).body, {"retry-after": "1"})
        return Answer(202)

    with Foreign(answer) as graph:
        report = in_sync(graph, ids, batch_size=batch_size)
    assert report.counts["accepted"] == 100
    assert seen == {item: 2 if item in throttled else 1 for item in ids}
    assert [outcome.attempts for outcome in report] == [2 if item in throttled else 1 for item in ids]
    assert report.retries == len(throttled)
    assert 0.9 <= report.paused_seconds <= report.elapsed


def test_throttled_to_the_end() -> None:
    ids, _ = mixed(30)
    with Foreign(lambda _: error(429)) as graph:
        report = in_sync(graph, ids, max_retries=1)
    assert report.counts["failed"] == 30
    outcome = report[0]
    assert (outcome.http_status, outcome.attempts) == (429, 2)
    assert "Some message. (gave up after 2 attempts: max_retries=1)" in (outcome.message or "")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_whole_batch_that_meets_trouble_is_sent_again(status: int) -> None:
    ids, _ = mixed(100)
    troubles = [Answer(status, error(status).body, {"Retry-After": "0.2"}) for _ in range(3)]
    with Foreign(lambda _: Answer(202), lambda _: troubles.pop() if troubles else None) as graph:
        report = in_sync(graph, ids)
    assert report.counts["accepted"] == 100
    assert Counter(graph.ids) == Counter(ids)


def spoilt(request: Request, spoil: Any) -> Answer:
    parts = json.loads(request.body)["requests"]
    good = [{"id": part["id"], "status": 202} for part in parts]
    return Answer(200, spoil(good), {"Content-Type": "application/json"})


SPOILT: dict[str, Any] = {
    "left out": lambda good: {"responses": good[1:]},
    "contradicting": lambda good: {"responses": [*good, {"id": good[0]["id"], "status": 404}]},
    "no status": lambda good: {"responses": [{"id": good[0]["id"]}, *good[1:]]},
    "a redirect": lambda good: {"responses": [{"id": good[0]["id"], "status": 302}, *good[1:]]},
    "no list": lambda _: {"answers": []},
    "a string": lambda _: "<html>",
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_batch_answer_is_asked_anew(kind: str) -> None:
    ids, _ = mixed(20)
    first = [True]

    def outer(request: Request) -> Answer | None:
        return spoilt(request, SPOILT[kind]) if first and first.pop() else None

    with Foreign(lambda _: Answer(202), outer) as graph:
        report = in_sync(graph, ids)
    assert report.counts["accepted"] == 20
    assert report[0].attempts == 2
    assert len(graph.requests) == 2


@pytest.mark.parametrize("kind", SPOILT)
def test_what_nothing_settles_is_unknown(kind: str) -> None:
    ids, _ = mixed(20)
    later = [error(429), error(503)]

    def outer(request: Request) -> Answer:
        return spoilt(request, SPOILT[kind]) if len(graph.requests) == 1 else later.pop(0)

    with Foreign(lambda _: Answer(202), outer) as graph:
        report = in_sync(graph, ids, max_retries=2)
    outcome = report[0]
    assert outcome.status == "unknown"
    assert outcome.http_status is None
    assert "gave up after 3 attempts" in (outcome.message or "")
    assert isinstance(outcome.error, TransportError)
    assert report.counts["unknown"] + report.counts["accepted"] == 20


def test_a_stranger_in_the_answer_is_warned_of_once_and_changes_nothing() -> None:
    ids, _ = mixed(20)

    def outer(request: Request) -> Answer:
        return spoilt(
            request, lambda good: {"responses": [{"id": "99", "status": 404}, *good, {"id": "x", "status": 1}]}
        )

    with Foreign(lambda _: Answer(202), outer) as graph, pytest.warns(RuntimeWarning, match="not asked") as heard:
        assert in_sync(graph, ids * 2).counts["accepted"] == 40
    assert len(heard) == 1


def test_nobody_listens(free_port: int) -> None:
    ids, _ = mixed(50)
    client = Client("token", base_url=f"http://127.0.0.1:{free_port}", max_retries=1)
    with pytest.raises(RunStoppedError, match="cannot connect") as stopped:
        client.reprocess_many(ids)
    assert isinstance(stopped.value.__cause__, TransportError)
    report = stopped.value.report
    assert report is not None
    assert report.counts["not_attempted"] == 50
    assert report[0].http_status is None


def test_the_server_goes_away_and_comes_back() -> None:
    with Emulator(400, latency=0.1) as graph:
        port = int(graph.url.rpartition(":")[2])
        client = Client(graph.credential, base_url=graph.url, concurrency=2)
        heard = []
        outcomes = client.iter_reprocess(graph.ids)
        heard.append(next(outcomes))
        graph.stop()
        with Emulator(400, port=port):
            heard += outcomes
    assert {outcome.status for outcome in heard} == {"accepted"}
    assert len(heard) == 400


def test_concurrency_is_a_ceiling_and_is_used() -> None:
    with Emulator(8000, latency=0.05) as graph:
        for concurrency, ids in ((1, graph.ids[:400]), (3, graph.ids[:1000]), (50, graph.ids)):
            before = graph.counters["http_requests"]
            Client(graph.credential, base_url=graph.url, concurrency=concurrency).reprocess_many(ids)
            assert graph.counters["http_requests"] - before == len(ids) / 20
            assert graph.counters["in_flight_peak"] <= concurrency
        assert graph.counters["in_flight_peak"] > 20


@pytest.mark.parametrize("batch_size", [20, 1])
def test_rate_is_a_ceiling_from_the_first_request_on(batch_size: int) -> None:
    heard: list[float] = []
    with Emulator(100) as graph:
        client = Client(graph.credential, base_url=graph.url, rate=50, batch_size=batch_size)
        report = client.reprocess_many(graph.ids, on_outcome=lambda _: heard.append(time.monotonic()))
    assert report.counts["accepted"] == 100
    assert 1.7 <= report.elapsed < 4
    # No half second has more than its share and one request's worth.
    assert all(later - earlier >= 0.4 for earlier, later in zip(heard, heard[30:], strict=False))


def test_a_quota_is_kept_without_much_waste() -> None:
    with Emulator(1000, latency=0.05, write_quota=(200, 1.0)) as graph:
        report = Client(graph.credential, base_url=graph.url).reprocess_many(graph.ids)
        throttled = graph.counters["throttled_parts"]
    assert report.counts["accepted"] == 1000
    # Without learning, a third to a half of what is sent is throttled here.
    assert throttled <= 160
    assert report.elapsed < 3 * (1000 - 200) / 200


def test_single_calls_share_the_pause() -> None:
    with Emulator(40, write_quota=(10, 0.5)) as graph:
        client = Client(graph.credential, base_url=graph.url)
        assert all(client.reprocess(item).ok for item in graph.ids)
        # Whoever comes after a 429 waits with the others, so that few are thrown away.
        assert graph.counters["throttled_requests"] <= 10
