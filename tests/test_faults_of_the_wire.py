"""Answers that break on the way: cut at every byte, too slow, too large, or never begun."""

from __future__ import annotations

import gc
import time
from typing import Literal

import pytest

from .faults import Fault, FaultServer, assignment_ids, close, reset, truncated
from .held import CANARY, WAYS, hold

pytestmark = pytest.mark.usefixtures("nothing_leaks")

Framing = Literal["length", "chunked", "eof"]


def size_of_answer(faulty: FaultServer, fault: Fault, batch_size: int) -> int:
    """How many bytes the whole answer to a request of that size has."""
    faulty.script(requests=[fault])
    hold(faulty, assignment_ids(batch_size), batch_size=batch_size)
    size = faulty.record().requests[0].sent
    faulty.reset(tokens=[CANARY])
    return size


CUTS = [
    pytest.param("length", "close", 2, id="length"),
    pytest.param("length", "reset", 2, id="length, reset"),
    pytest.param("chunked", "close", 2, id="chunked"),
    pytest.param("eof", "close", 2, id="until the end"),
    pytest.param("length", "close", 1, id="plain"),
    pytest.param("length", "reset", 1, id="plain, reset"),
]


@pytest.mark.parametrize(("framing", "end", "batch_size"), CUTS)
def test_an_answer_cut_at_any_byte_settles_nothing(
    faulty: FaultServer, framing: Framing, end: Literal["close", "reset"], batch_size: int
) -> None:
    size = size_of_answer(faulty, Fault(framing=framing), batch_size)
    # What is cut was not executed, so whoever believed any of it would report something that never happened. After
    # each cut comes a whole answer: a row of failures would be taken for a service in trouble.
    cuts = [Fault(cut=place, end=end, framing=framing, executed=False) for place in range(size)]
    faulty.script(requests=[each for cut in cuts for each in (cut, None)])
    # Enough ids for all cuts, so that none meets a smaller batch at the end, whose answer would be shorter.
    ids = assignment_ids(2 * (size + 20) * batch_size)
    # With one retry, nobody is set apart from the others: the answer to a smaller batch would be shorter, too.
    held = hold(faulty, ids, batch_size=batch_size, max_retries=1, max_wait=0.01)
    assert held.counts["accepted"] + held.counts["unknown"] == len(ids)
    assert held.counts["accepted"] > len(ids) / 2
    met = [row for row in held.record.requests[: 2 * size : 2] if not row.whole]
    assert [row.sent for row in met] == list(range(size)), "every place was met"


@pytest.mark.parametrize("framing", ["length", "chunked", "eof"])
def test_an_answer_whose_end_never_comes_is_unknown(faulty: FaultServer, framing: Framing) -> None:
    faulty.script(requests=[truncated(40, framing)])
    held = hold(faulty, assignment_ids(20), max_retries=0)
    assert held.counts == {"unknown": 20}
    assert held.sent(held.outcomes[0].id) == 1


def test_bytes_that_were_promised_and_do_not_come(faulty: FaultServer) -> None:
    faulty.script(requests=[Fault(missing=7), None, Fault(missing=1)])
    assert hold(faulty, assignment_ids(80), max_wait=0.05).counts == {"accepted": 80}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [20, 1])
@pytest.mark.parametrize("executed", [False, True])
def test_connections_that_break_without_an_answer(
    faulty: FaultServer, way: str, batch_size: int, executed: bool
) -> None:
    broken = [reset(0, executed=executed), close(0, executed=executed)]
    if not executed:
        broken.append(reset(0, executed=False, before_body=True))
    faulty.script(requests=[each for fault in broken for each in (fault, None)])
    held = hold(faulty, assignment_ids(100), way=way, batch_size=batch_size, max_wait=0.05)
    assert held.counts == {"accepted": 100}


@pytest.mark.parametrize("batch_size", [20, 1])
def test_connections_that_keep_breaking_leave_it_unknown(faulty: FaultServer, batch_size: int) -> None:
    faulty.set(every=[reset(0, executed=True)] * 3)
    held = hold(faulty, assignment_ids(10), batch_size=batch_size, max_retries=2, max_wait=0.01)
    assert held.counts == {"unknown": 10}
    assert {outcome.http_status for outcome in held.outcomes} == {None}
    assert all("max_retries=2" in (outcome.message or "") for outcome in held.outcomes)


# Slow.

DRIPS: dict[str, Fault] = {
    "1 byte a second": Fault(drip=1.0),
    "steadily, so that no single wait is long": Fault(drip=0.03),
    "the head at once and then 1 byte a second": Fault(drip=1.0, drip_after=200),
    "the head at once and then steadily": Fault(drip=0.03, drip_after=200),
    "nothing at all": Fault(delay=30, executed=True),
}


@pytest.mark.parametrize("kind", DRIPS)
def test_an_answer_that_takes_too_long_is_unknown_in_time(faulty: FaultServer, kind: str) -> None:
    faulty.script(requests=[DRIPS[kind]])
    started = time.monotonic()
    # The server may still be at it; what counts here is when we stop waiting.
    held = hold(faulty, assignment_ids(20), timeout=0.5, max_retries=0, settle=0)
    assert time.monotonic() - started < 5
    assert held.counts == {"unknown": 20}
    assert 0.4 < max(outcome.elapsed for outcome in held.outcomes) < 2
    assert "no answer in time" in (held.outcomes[0].message or "")


@pytest.mark.parametrize("way", WAYS)
def test_slow_answers_are_asked_anew(faulty: FaultServer, way: str) -> None:
    faulty.script(requests=[DRIPS["1 byte a second"], None, DRIPS["nothing at all"]])
    held = hold(faulty, assignment_ids(100), way=way, timeout=0.3, max_wait=0.05, settle=0)
    assert held.counts == {"accepted": 100}


# Large. How much memory that takes is measured in test_memory.py.


@pytest.mark.parametrize("framing", ["length", "chunked", "eof"])
@pytest.mark.parametrize("status", [None, 500, 404])
def test_an_answer_above_8_mib_settles_nothing(faulty: FaultServer, framing: Framing, status: int | None) -> None:
    body = None if status is None else '{"error": {"code": "x", "message": "y"}}'
    faulty.script(requests=[Fault(pad_mib=9, framing=framing, status=status, body=body, executed=True)])
    held = hold(faulty, assignment_ids(20), max_retries=0)
    assert held.counts == {"unknown": 20}
    # What is no success may have less.
    assert f"larger than {1 if status else 8} MiB" in (held.outcomes[0].message or "")


def test_an_answer_below_8_mib_is_read(faulty: FaultServer) -> None:
    faulty.script(requests=[Fault(pad_mib=7), Fault(pad_mib=7, framing="chunked")])
    assert hold(faulty, assignment_ids(40), max_retries=0).counts == {"accepted": 40}


@pytest.mark.parametrize("size", [20_000, 200_000, 900_000])
def test_a_huge_header_is_no_trouble_that_stays(faulty: FaultServer, size: int) -> None:
    faulty.script(requests=[Fault(huge_header=size), None])
    assert hold(faulty, assignment_ids(60), max_wait=0.05).counts == {"accepted": 60}


def test_nothing_is_left_open(faulty: FaultServer) -> None:
    faulty.script(requests=[Fault(cut=5, executed=True), None, Fault(pad_mib=9), None, reset(0, executed=True), None])
    hold(faulty, assignment_ids(120), max_wait=0.05)
    gc.collect()
    assert faulty.record(settle=5).in_flight == 0
