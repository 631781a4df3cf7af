"""Answers that are whole and wrong: parts missing, doubled, strange or shuffled, pages, refusals of batch and item."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from entra_reprocess import Client, TransportError

from .faults import HTML, Fault, FaultServer, Listener, assignment_ids, fail, html, redirect, reset
from .foreign import Answer, Foreign, Request
from .held import CANARY, WAYS, hold

pytestmark = pytest.mark.usefixtures("nothing_leaks")

A_STRANGER = pytest.mark.filterwarnings("ignore:a batch answer held an answer:RuntimeWarning")


# What batch answers say about their parts.


@pytest.mark.parametrize("dropped", [1, 7, 19, 20])
def test_parts_that_are_left_out_are_asked_again(faulty: FaultServer, dropped: int) -> None:
    ids = assignment_ids(60)
    faulty.script(requests=[None, Fault(drop=dropped)])
    held = hold(faulty, ids, max_wait=0.1)
    assert held.counts == {"accepted": 60}
    assert Counter(held.sent(item) for item in ids) == Counter({1: 60 - dropped, 2: dropped})


@pytest.mark.parametrize("dropped", [1, 7, 20])
def test_parts_that_stay_left_out_are_unknown(faulty: FaultServer, dropped: int) -> None:
    faulty.script(requests=[Fault(drop=dropped)])
    held = hold(faulty, assignment_ids(20), max_retries=0)
    assert held.counts["unknown"] == dropped
    assert all("left it out" in (outcome.message or "") for outcome in held.outcomes if not outcome.ok)


@pytest.mark.parametrize("second", [None, 202, 204, 404, 429, 500])
def test_parts_that_are_answered_twice(faulty: FaultServer, second: int | None) -> None:
    # 204 is a success too, but another answer: two that differ contradict each other.
    faulty.script(requests=[Fault(twice=5, twice_status=second)])
    held = hold(faulty, assignment_ids(20), max_retries=0)
    assert held.counts["unknown"] == (0 if second in (None, 202) else 5)


@A_STRANGER
@pytest.mark.parametrize("way", WAYS)
def test_strangers_change_nothing(faulty: FaultServer, way: str) -> None:
    faulty.script(requests=[Fault(stranger=3), Fault(stranger=1, drop=2)])
    assert hold(faulty, assignment_ids(60), way=way, max_wait=0.1).counts == {"accepted": 60}


@A_STRANGER
def test_the_answer_to_the_batch_before_is_none_to_this_one() -> None:
    """As where something on the way answers twice, and each request finds the answer to the last one."""
    before: list[Any] = []

    def late(request: Request) -> Answer | None:
        ids = [part["id"] for part in json.loads(request.body)["requests"]]
        before.append({"responses": [{"id": each, "status": 202} for each in ids]})
        return Answer(200, before[-2]) if len(before) > 1 else None

    ids = assignment_ids(60)
    with Foreign(lambda _: Answer(202), late) as graph:
        client = Client("token", base_url=graph.url, concurrency=1, max_retries=0)
        counts = client.reprocess_many(ids).counts
    assert (counts["accepted"], counts["unknown"]) == (20, 40)


@pytest.mark.parametrize("part_ids", [None, "number", "upper"])
@pytest.mark.parametrize("header_case", [None, "lower", "upper"])
def test_answers_are_correlated_in_any_order_and_spelling(faulty: FaultServer, part_ids: Any, header_case: Any) -> None:
    ids = assignment_ids(100)
    told = dict(zip(ids, [202, 404, 409, 429, 400] * 20, strict=True))
    faulty.script(
        requests=[Fault(shuffle=True, part_ids=part_ids, header_case=header_case)] * 5,
        ids={
            item: [fail(status, headers=(("Retry-After", "0.2"),) if status == 429 else ())]
            for item, status in told.items()
            if status != 202
        },
    )
    held = hold(faulty, ids)
    wanted = {202: "accepted", 429: "accepted", 404: "not_found", 409: "failed", 400: "rejected"}
    assert held.statuses == {item: wanted[status] for item, status in told.items()}


# Batches refused as a whole.


@pytest.mark.parametrize("status", [400, 413, 424])
@pytest.mark.parametrize("way", WAYS)
def test_the_culprit_is_isolated_and_the_rest_goes_through(faulty: FaultServer, status: int, way: str) -> None:
    ids = assignment_ids(60)
    culprits = [ids[5], ids[44]]
    faulty.set(marked=culprits, marked_status=status)
    faulty.script(ids={item: [fail(400)] for item in culprits})
    held = hold(faulty, ids, way=way)
    assert held.counts == {"accepted": 58, "rejected": 2}
    assert {item for item, outcome in held.statuses.items() if outcome == "rejected"} == set(culprits)


# One item, or all, refused.


@pytest.mark.parametrize("batch_size", [20, 1])
@pytest.mark.parametrize("way", WAYS)
def test_refusals_are_kept_with_their_code_and_never_retried(faulty: FaultServer, batch_size: int, way: str) -> None:
    ids = assignment_ids(40)
    refused = {
        ids[3]: (404, "not_found", "ResourceNotFound"),
        ids[13]: (400, "rejected", "InvalidAssignmentState"),
        ids[23]: (403, "forbidden", "UnAuthorized"),
        ids[33]: (409, "failed", "DuplicateKey"),
        ids[34]: (410, "failed", ""),
        ids[35]: (501, "failed", "NotImplemented"),
    }
    faulty.script(ids={item: [fail(status, code)] for item, (status, _, code) in refused.items()})
    held = hold(faulty, ids, way=way, batch_size=batch_size)
    assert held.counts["accepted"] == 34
    assert {
        outcome.id: (outcome.http_status, outcome.status, outcome.code) for outcome in held.outcomes if not outcome.ok
    } == refused
    assert {held.sent(item) for item in ids} == {1}


@pytest.mark.parametrize("batch_size", [20, 1])
@pytest.mark.parametrize("status", [400, 409, 404, 403])
def test_a_refusal_that_a_lost_attempt_may_have_caused_is_unknown(
    faulty: FaultServer, status: int, batch_size: int
) -> None:
    # The first attempt is executed, so that the assignment is not Delivered any more when the second one comes.
    ids = assignment_ids(5)
    faulty.set(every=[reset(0, executed=True), fail(status, "NotNow")])
    held = hold(faulty, ids, batch_size=batch_size, max_wait=0.05)
    wanted = {404: "not_found", 403: "forbidden"}.get(status, "unknown")
    assert held.counts == {wanted: 5}
    if wanted == "unknown":
        assert f"after that it was answered {status}, NotNow, Scripted." in (held.outcomes[0].message or "")
        with Client(CANARY, base_url=faulty.url, max_wait=0.05) as client:
            faulty.reset(tokens=[CANARY], every=[reset(0, executed=True), fail(status)])
            with pytest.raises(TransportError, match=f"after that it was answered {status}"):
                client.reprocess(ids[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_forbidden_stops(faulty: FaultServer, way: str) -> None:
    faulty.set(default=fail(403))
    held = hold(faulty, assignment_ids(400), way=way)
    assert held.stopped is not None
    assert "everything is forbidden (403)" in str(held.stopped)
    assert held.counts["forbidden"] + held.counts["not_attempted"] == 400
    assert 50 <= held.counts["forbidden"] <= 60


# Bodies of the wrong kind.

ECHO = f"<html>You sent: Authorization: Bearer {CANARY}</html>"
WRONG: dict[str, Fault] = {
    "a page": html(executed=True),
    "a page that echoes the request": html(executed=True, headers=(("X-Echo", CANARY),)),
    "nothing": Fault(body=""),
    "no JSON": Fault(body="{'responses': []}"),
    "an echo": Fault(body=ECHO, content_type="text/html", executed=True),
    "a list": Fault(body="[]"),
    "null": Fault(body="null"),
    "a number": Fault(body="7"),
    "a text": Fault(body=json.dumps(HTML)),
    "no responses": Fault(body="{}"),
    "responses of another type": Fault(body='{"responses": {"1": {"status": 202}}}'),
    "a response of another type": Fault(body='{"responses": [7, null, "x", []]}'),
    "no status": Fault(body='{"responses": [{"id": "1"}, {"id": "2"}]}'),
    "a status that is a text": Fault(body='{"responses": [{"id": "1", "status": "202"}]}'),
    "a status that is none": Fault(body='{"responses": [{"id": "1", "status": 0}, {"id": "2", "status": 999}]}'),
    "a redirected part": Fault(body='{"responses": [{"id": "1", "status": 302}]}'),
    "a graph error": Fault(body='{"error": {"code": "x", "message": "y"}}'),
    "JSON and more": Fault(body='{"responses": []} {"responses": []}'),
    "deeply nested": Fault(body="[" * 100_000),
}


@A_STRANGER
@pytest.mark.parametrize("kind", WRONG)
def test_a_success_of_the_wrong_shape_is_no_success(faulty: FaultServer, kind: str) -> None:
    ids = assignment_ids(2)
    faulty.script(requests=[WRONG[kind]])
    held = hold(faulty, ids, max_retries=0)
    assert held.counts == {"unknown": 2}
    for outcome in held.outcomes:
        assert 0 < len(outcome.message or "") < 500
        assert "<" not in (outcome.message or ""), "nothing of a page is kept"
    faulty.reset(tokens=[CANARY])
    faulty.script(requests=[WRONG[kind]])
    assert hold(faulty, ids, max_wait=0.05).counts == {"accepted": 2}


@pytest.mark.parametrize("status", [400, 404, 409, 500])
@pytest.mark.parametrize("batch_size", [20, 1])
def test_an_error_that_echoes_the_token_does_not_keep_it(faulty: FaultServer, status: int, batch_size: int) -> None:
    ids = assignment_ids(2)
    echo = fail(status, f"Bad{CANARY}", f"The header was: Bearer {CANARY}, which is no good. " + "x" * 5_000)
    faulty.script(ids={item: [echo] for item in ids})
    held = hold(faulty, ids, batch_size=batch_size, max_retries=0)
    assert {outcome.http_status for outcome in held.outcomes} == {status}
    assert all("The header was: Bearer " in (outcome.message or "") for outcome in held.outcomes)


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("batch_size", [20, 1])
def test_a_redirect_is_never_followed(faulty: FaultServer, status: int, batch_size: int) -> None:
    with Listener() as elsewhere:
        faulty.script(requests=[redirect(f"{elsewhere.url}/beta/$batch", status), None] * 2)
        held = hold(faulty, assignment_ids(80), batch_size=batch_size, max_wait=0.05)
        assert held.counts == {"accepted": 80}
        faulty.reset(tokens=[CANARY])
        faulty.script(requests=[redirect(f"{elsewhere.url}/beta/$batch", status)] * 10)
        held = hold(faulty, assignment_ids(5), batch_size=batch_size, max_retries=0)
        assert held.counts == {"unknown": 5}
        assert "redirect" in (held.outcomes[0].message or "")
    assert elsewhere.connections == 0
