"""Throttling, in every form that Retry-After has: never early, never hung, and nobody else is sent again."""

from __future__ import annotations

from typing import Any

import pytest

from .faults import Fault, FaultServer, assignment_ids, fail, throttled
from .held import CANARY, WAYS, hold

pytestmark = pytest.mark.usefixtures("nothing_leaks")

# Of the whole request or of its parts.


@pytest.mark.parametrize("way", WAYS)
def test_a_throttled_batch_pauses_all(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(90)
    faulty.set(shared_pause=True, latency=0.02)
    faulty.script(requests=[None, throttled("0.4"), throttled("0.2")])
    held = hold(faulty, ids, way=way)
    assert held.counts == {"accepted": 90}
    # The longest wait counts for all, which the record has checked; then the two batches are sent once more.
    assert sorted(held.sent(item) for item in ids) == [1] * 50 + [2] * 40
    if held.report is not None:
        assert 0.3 <= held.report.paused_seconds <= 2


@pytest.mark.parametrize("way", WAYS[::3])
def test_throttled_parts_pause_all_and_are_sent_again_without_the_others(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(100)
    told = {item: throttled("0.3" if n % 2 else "0.1") for n, item in enumerate(ids[4:90:9])}
    faulty.set(shared_pause=True, latency=0.02)
    faulty.script(ids={item: [fault] for item, fault in told.items()})
    held = hold(faulty, ids, way=way)
    assert held.counts == {"accepted": 100}
    assert {item: held.sent(item) for item in ids} == {item: 2 if item in told else 1 for item in ids}
    # What is sent again is packed as far as the pace allows, which may take so many refusals for a small quota.
    assert held.record.request_count < 5 + len(told)


def test_a_service_that_throttles_each_id_once_has_no_quota(faulty: FaultServer) -> None:
    """What was refused before is granted beside others that are refused, which no quota does."""
    ids = assignment_ids(300)
    faulty.set(shared_pause=True, latency=0.02)
    faulty.script(ids={item: [throttled("0.5")] for item in ids})
    held = hold(faulty, ids)
    assert held.counts == {"accepted": 300}
    assert {held.sent(item) for item in ids} == {2}
    # Paced like a quota it would pause a hundred times.
    assert held.report is not None
    assert held.report.paused_seconds <= 20 * 0.5


def test_a_storm_of_throttling(faulty: FaultServer) -> None:
    faulty.set(quota="bucket", quota_size=40, quota_seconds=0.1, latency=0.005)
    held = hold(faulty, assignment_ids(400), max_retries=30)
    assert held.counts == {"accepted": 400}
    assert any(429 in held.record.statuses(item) for item in held.statuses)


@pytest.mark.parametrize("kind", ["bucket", "window"])
def test_a_quota_that_names_no_wait(faulty: FaultServer, kind: str) -> None:
    faulty.set(quota=kind, quota_size=60, quota_seconds=0.2, quota_retry_after=None, latency=0.005)
    held = hold(faulty, assignment_ids(240), max_retries=30, max_wait=0.3)
    assert held.counts == {"accepted": 240}


@pytest.mark.parametrize(
    ("how", "offset"),
    [("batch", -86_400), ("batch", 86_400), ("part", -86_400), ("part", 86_400), ("plain", 86_400)],
)
def test_a_date_counts_from_the_date_of_its_answer(faulty: FaultServer, offset: int, how: str) -> None:
    ids = assignment_ids(3)
    faulty.set(clock_offset=offset)
    fault = throttled("{date+1}")
    faulty.script(ids={ids[1]: [fault]}) if how == "part" else faulty.script(requests=[fault])
    held = hold(faulty, ids, batch_size=1 if how == "plain" else 20)
    assert held.counts == {"accepted": 3}
    assert max(outcome.elapsed for outcome in held.outcomes) < 10


VALUES: dict[str, float | None] = {
    "0": 0.0,
    "-1": None,
    "0.249": 0.249,
    "NaN": None,
    "soon": None,
    "5,5": None,
    "": None,
    "0.4": 0.4,
    "0.401": 0.401,
    "86400": 86_400.0,
    "1e30": 1e30,
}
MAX_WAIT = 0.4


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("batch_size", [20, 1])
def test_every_value_is_waited_for_or_told(faulty: FaultServer, status: int, batch_size: int) -> None:
    ids = assignment_ids(len(VALUES))
    values = dict(zip(ids, VALUES.items(), strict=True))
    faulty.script(ids={item: [throttled(text, status)] for item, (text, _) in values.items()})
    held = hold(faulty, ids, batch_size=batch_size, max_wait=MAX_WAIT)
    for item, (text, wait) in values.items():
        outcome = held.outcome(item)
        if wait is not None and wait > MAX_WAIT:
            assert (outcome.status, outcome.http_status, outcome.attempts) == ("failed", status, 1), text
            reason = f"(gave up after 1 attempt: Retry-After asks for {wait:.0f} s, more than max_wait="
            assert reason in (outcome.message or "") or text == "1e30", text
            assert "Retry-After asks for" in (outcome.message or ""), text
        else:
            assert (outcome.status, outcome.attempts) == ("accepted", 2), text
    # A wait that is not waited for pauses nobody.
    assert max(outcome.elapsed for outcome in held.outcomes) < 5


@pytest.mark.parametrize("status", [429, 503])
def test_a_whole_batch_that_is_told_to_wait_too_long(faulty: FaultServer, status: int) -> None:
    ids = assignment_ids(60)
    faulty.script(requests=[None, throttled("86400", status)])
    held = hold(faulty, ids, max_wait=1)
    assert held.counts == {"accepted": 40, "failed": 20}
    assert held.record.request_count == 3


# Trouble of the service.

TROUBLES = (500, 502, 503, 504)


@pytest.mark.parametrize("retry_after", [None, "0.3", "{date+1}"])
def test_items_in_trouble_are_sent_again_without_the_others(faulty: FaultServer, retry_after: str | None) -> None:
    ids = assignment_ids(60)
    troubled = {ids[7 * n]: throttled(retry_after, status) for n, status in enumerate(TROUBLES)}
    faulty.script(ids={item: [fault] for item, fault in troubled.items()})
    held = hold(faulty, ids, max_wait=2)
    assert held.counts == {"accepted": 60}
    assert {item: held.sent(item) for item in ids} == {item: 2 if item in troubled else 1 for item in ids}


@pytest.mark.parametrize("way", WAYS)
def test_trouble_of_whole_requests_passes(faulty: FaultServer, way: str) -> None:
    faulty.script(requests=[each for status in TROUBLES for each in (fail(status), None)])
    held = hold(faulty, assignment_ids(120), way=way, max_wait=0.1)
    assert held.counts == {"accepted": 120}
    assert held.record.request_count == 10


@pytest.mark.parametrize("status", [429, *TROUBLES])
def test_what_was_executed_and_denied_by_a_lost_answer_is_not_forgotten(faulty: FaultServer, status: int) -> None:
    # The first attempt is executed and its answer cut; what follows settles nothing about it.
    later: list[Fault | None] = [fail(status)] * 2
    for requests, wanted in ((later, "unknown"), ([None], "accepted")):
        faulty.reset(tokens=[CANARY])
        faulty.script(requests=[Fault(cut=0, executed=True), *requests])
        held = hold(faulty, assignment_ids(5), max_retries=2, max_wait=0.05)
        assert held.counts == {wanted: 5}


# The limits.


@pytest.mark.parametrize("max_retries", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [20, 1])
def test_max_retries_is_kept_to_the_letter(faulty: FaultServer, max_retries: int, batch_size: int) -> None:
    ids = assignment_ids(4)
    faults: dict[str, list[Fault | None]] = {
        ids[0]: [throttled("0.01")] * 9,
        ids[1]: [fail(500)] * 9,
        ids[2]: [fail(503)] * max_retries,  # then it is accepted
    }
    faulty.script(ids=faults)
    held = hold(faulty, ids, batch_size=batch_size, max_retries=max_retries, max_wait=0.02)
    assert [outcome.status for outcome in held.outcomes] == ["failed", "failed", "accepted", "accepted"]
    assert [outcome.attempts for outcome in held.outcomes] == [max_retries + 1] * 3 + [1]
    assert [held.sent(item) for item in ids] == [max_retries + 1] * 3 + [1]
    attempts = "1 attempt" if max_retries == 0 else f"{max_retries + 1} attempts"
    for outcome in held.outcomes[:2]:
        assert f"(gave up after {attempts}: max_retries={max_retries})" in (outcome.message or "")


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize(("asked", "attempts"), [("0.5", 2), ("0.501", 1)])
def test_max_wait_is_kept_to_the_letter(faulty: FaultServer, status: int, asked: str, attempts: int) -> None:
    ids = assignment_ids(3)
    faulty.script(ids={ids[1]: [throttled(asked, status)]})
    held = hold(faulty, ids, max_wait=0.5)
    assert held.outcome(ids[1]).attempts == held.sent(ids[1]) == attempts
    assert held.outcome(ids[1]).status == ("accepted" if attempts == 2 else "failed")


@pytest.mark.parametrize("how", ["throttled", "silent"])
def test_the_message_says_which_limit_ended_an_item(faulty: FaultServer, how: str) -> None:
    ids = assignment_ids(4)
    # It comes last, since it makes all others wait.
    last: Any = throttled("30", delay=0.5) if how == "throttled" else Fault(delay=30)
    faulty.script(ids={ids[0]: [throttled("0.01")] * 9, ids[1]: [throttled("99")], ids[2]: [last], ids[3]: [fail(404)]})
    held = hold(faulty, ids, call={"deadline": 1.5}, batch_size=1, max_retries=1, max_wait=60, settle=0)
    messages = [outcome.message or "" for outcome in held.outcomes]
    assert "max_retries=1" in messages[0]
    assert "Retry-After asks for 99 s, more than max_wait=60 s" in messages[1]
    assert "the deadline of 1.5 s came first" in messages[2]
    assert messages[3] == "Scripted."
    assert held.outcome(ids[2]).status == ("not_attempted" if how == "throttled" else "unknown")
