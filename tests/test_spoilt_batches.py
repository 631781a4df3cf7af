"""One part that spoils the answer to its whole batch, each time: it alone stays unknown, with few repeats."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client

from .faults import Fault, FaultServer, assignment_ids, close, html, reset, truncated
from .foreign import Answer, Foreign, Request
from .held import CANARY, WAYS, Held, hold

pytestmark = pytest.mark.usefixtures("nothing_leaks")

MOST_EXECUTED = 5
"""Twice in a full batch, in one of four, by itself; and once more for the trouble that others make."""

SPOILT: dict[str, Fault] = {
    "bytes that are no UTF-8": Fault(spoil="\xff\xfe"),
    "half a character": Fault(spoil="\xe2\x82"),
    "a raw control character": Fault(spoil="a\x01b"),
    "a raw line feed": Fault(spoil="a\nb"),
    "a quotation mark": Fault(spoil='a"b'),
    "the end of the list": Fault(spoil='"}]}'),
    "more than 8 MiB": Fault(pad_mib=9, executed=True),
    "a coding that nobody asked for": Fault(gzip=True, executed=True),
    "cut in the body": truncated(9),
    "a cut chunk": truncated(9, "chunked"),
    "cut without a length": truncated(9, "eof", missing=5),
    "a reset": reset(0, executed=True),
    "a reset in the head": reset(40, executed=True),
    "closed": close(0, executed=True),
    "too late": Fault(delay=1.0, executed=True),
}


def spoil(server: FaultServer, culprits: list[str], fault: Fault) -> None:
    server.script(ids={item: [fault] * 12 for item in culprits})


def only_the_culprits_are_lost(held: Held, culprits: set[str], most: int = MOST_EXECUTED) -> None:
    assert {item for item, status in held.statuses.items() if status != "accepted"} <= culprits
    assert set(held.statuses.values()) <= {"accepted", "unknown"}
    good = [item for item in held.statuses if item not in culprits]
    assert max(held.record.executed(item) for item in good) <= most


@pytest.mark.parametrize("kind", SPOILT)
def test_only_the_culprit_is_lost(faulty: FaultServer, kind: str) -> None:
    ids = assignment_ids(60)
    culprits = [ids[7], ids[33]]
    spoil(faulty, culprits, SPOILT[kind])
    held = hold(faulty, ids, max_wait=0.05, timeout=0.3 if kind == "too late" else 5)
    only_the_culprits_are_lost(held, set(culprits))
    assert {item for item, status in held.statuses.items() if status == "unknown"} == set(culprits)
    # As fast as a refused batch is taken apart: five of four and four of one, for each, and the culprit's own.
    assert held.record.request_count <= 60


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["beta", "v1.0"])
@pytest.mark.parametrize("batch_size", [2, 3, 7, 20])
def test_in_every_way_and_version(faulty: FaultServer, way: str, version: str, batch_size: int) -> None:
    ids = assignment_ids(45)
    culprits = [ids[0], ids[44]]
    spoil(faulty, culprits, SPOILT["bytes that are no UTF-8"])
    held = hold(faulty, ids, way=way, api_version=version, batch_size=batch_size, max_wait=0.05)
    only_the_culprits_are_lost(held, set(culprits))
    assert held.counts["unknown"] == 2


@pytest.mark.parametrize("kind", ["bytes that are no UTF-8", "a reset"])
def test_a_tenth_of_the_ids(faulty: FaultServer, kind: str) -> None:
    ids = assignment_ids(200)
    culprits = Random(5).sample(ids, 20)
    spoil(faulty, culprits, SPOILT[kind])
    started = time.monotonic()
    held = hold(faulty, ids, max_wait=0.2 if kind == "a reset" else 600)
    assert time.monotonic() - started < 20, "it is not one request at a time for minutes"
    only_the_culprits_are_lost(held, set(culprits))
    assert held.counts == {"accepted": 180, "unknown": 20}
    assert held.record.request_count < 350


def test_the_message_says_how_often_it_was_asked_alone(faulty: FaultServer) -> None:
    ids = assignment_ids(40)
    spoil(faulty, ids[:1], SPOILT["half a character"])
    outcome = hold(faulty, ids, max_wait=0.05).outcome(ids[0])
    assert outcome.status == "unknown"
    assert "by itself it was answered so 3 times, and others were answered well" in (outcome.message or "")
    assert outcome.attempts <= 9


@pytest.mark.parametrize("max_retries", [0, 1, 2, 3, 5])
def test_within_the_attempts_that_there_are(faulty: FaultServer, max_retries: int) -> None:
    ids = assignment_ids(40)
    spoil(faulty, [ids[25]], SPOILT["a raw control character"])
    held = hold(faulty, ids, max_retries=max_retries, max_wait=0.05)
    assert max(held.sent(item) for item in ids) <= max_retries + 1
    # It takes four attempts to stand alone: two of all, one of four, one of its own.
    assert held.counts["unknown"] == (1 if max_retries >= 3 else 20)


# What the whole batch is told.


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
@pytest.mark.parametrize("way", WAYS[:2])
def test_trouble_each_time_one_id_is_in_it(faulty: FaultServer, status: int, way: str) -> None:
    ids = assignment_ids(60)
    faulty.set(marked=[ids[11]], marked_status=status)
    held = hold(faulty, ids, way=way, max_wait=0.05)
    assert held.counts == {"accepted": 59, "failed": 1}
    assert (held.outcome(ids[11]).http_status, held.outcome(ids[11]).attempts) == (status, 9)
    assert max(held.sent(item) for item in ids if item != ids[11]) <= 7


SHAPES: dict[str, Any] = {
    "no list": {"value": []},
    "nothing": b"",
    "a page": b"<html>",
    "an empty list": {"responses": []},
    "null": None,
    "a Graph error": {"error": {"code": "x", "message": "y"}},
}


def named(request: Request) -> set[str]:
    return {part["url"].strip("/").split("/")[3] for part in json.loads(request.body)["requests"]}


@pytest.mark.parametrize("shape", SHAPES)
def test_another_shape_each_time_one_id_is_in_it(shape: str) -> None:
    ids = assignment_ids(60)

    def outer(request: Request) -> Answer | None:
        is_spoilt = request.path.endswith("$batch") and ids[5] in named(request)
        return Answer(200, SHAPES[shape]) if is_spoilt else None

    with Foreign(lambda _: Answer(202), outer) as graph, Client("token", base_url=graph.url, max_wait=0.05) as client:
        report = client.reprocess_many(ids, progress=False)
    assert [outcome.id for outcome in report.not_accepted] == [ids[5]]
    assert report[5].status == "unknown"
    sent = Counter(item for request in graph.requests for item in named(request))
    assert max(sent[item] for item in ids if item != ids[5]) <= MOST_EXECUTED
    assert sent[ids[5]] <= 9


def test_all_others_are_left_out_each_time_one_id_is_in_it() -> None:
    ids = assignment_ids(40)

    def outer(request: Request) -> Answer | None:
        if not request.path.endswith("$batch") or ids[5] not in named(request):
            return None
        parts = json.loads(request.body)["requests"]
        return Answer(
            200, {"responses": [{"id": part["id"], "status": 202} for part in parts if ids[5] in part["url"]]}
        )

    with Foreign(lambda _: Answer(202), outer) as graph, Client("token", base_url=graph.url, max_wait=0.05) as client:
        assert client.reprocess_many(ids, progress=False).counts["accepted"] == 40
    assert len(graph.requests) <= 4


# Reading states.


def states(url: str, ids: list[str], way: str, version: Any) -> dict[str, str]:
    if way == "sync":
        with Client("token", base_url=url, api_version=version) as client:
            return client.states(ids)

    async def main() -> dict[str, str]:
        async with AsyncClient("token", base_url=url, api_version=version) as client:
            return await client.states(ids)

    return asyncio.run(main())


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_states_of_all_but_the_culprit(way: str, version: str) -> None:
    ids = assignment_ids(60)
    culprits = {ids[3], ids[31]}

    def outer(request: Request) -> Answer:
        responses = [
            {"id": part["id"], "status": 200, "body": {"state": "delivered", "assignmentState": "Delivered"}}
            for part in json.loads(request.body)["requests"]
        ]
        content = json.dumps({"responses": responses}).encode()
        return Answer(200, content.replace(b"elivered", b"\xff") if culprits & named(request) else content)

    with Foreign(lambda _: Answer(202), outer) as graph:
        started = time.monotonic()
        read = states(graph.url, ids, way, version)
    assert time.monotonic() - started < 15, "three times by itself, and no more"
    assert {item for item, state in read.items() if state == "unknown"} == culprits
    assert {state for item, state in read.items() if item not in culprits} == {"delivered"}
    assert len(graph.requests) <= 40


# An outage is nobody's doing.


@pytest.mark.parametrize("kind", ["a reset", "a page", "trouble"])
def test_after_an_outage_batches_are_full_again(faulty: FaultServer, kind: str) -> None:
    ids = assignment_ids(600)
    gone = {
        "a reset": reset(0, executed=False),
        "a page": html(executed=False),
        "trouble": Fault(status=502),
    }[kind]
    faulty.script(requests=[None, *[gone] * 25])
    held = hold(faulty, ids, max_wait=0.03)
    assert held.counts == {"accepted": 600}
    during, after = held.record.requests[10:26], held.record.requests[28:]
    times = [(row.at, row.done_at or row.at) for row in during]
    assert all(done <= at for (_, done), (at, _) in pairwise(times)), "one at a time"
    assert {len(row.ids) for row in during} <= {1, 20}
    full = [row for row in after if len(row.ids) == 20]
    assert len(full) >= 20, "nothing was blown into pieces"
    assert len(after) <= 45


def test_a_single_cut_blows_nothing_into_pieces(faulty: FaultServer) -> None:
    faulty.script(requests=[None, reset(0, executed=True)])
    held = hold(faulty, assignment_ids(200), max_wait=0.05)
    assert held.counts == {"accepted": 200}
    assert held.record.request_count == 11
    assert CANARY not in str(held.outcomes)
