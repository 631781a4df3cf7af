"""What the client reports against what the fault server executed, after every kind of fault.

I1: each id has one outcome. I2: what is reported accepted was executed. I3: what was executed and is not reported
accepted is reported unknown. The record also notes what must never be on the wire: malformed batches, early retries,
a foreign token, other paths.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from entra_reprocess import Client

from .faults import (
    Fault,
    FaultServer,
    assignment_ids,
    broken_invariants,
    close,
    fail,
    html,
    reset,
    throttled,
    truncated,
)

TOKEN = "canary"

FAULTS: dict[str, Callable[[], list[Fault | None]]] = {
    "throttled parts": lambda: [throttled("0.2")],
    "cut before it is executed": lambda: [reset(0, executed=False)],
    "cut after it was executed": lambda: [reset(0, executed=True)],
    "cut in the middle": lambda: [close(60, executed=True)],
    "too short for its length": lambda: [truncated(30, "length")],
    "a cut chunk": lambda: [truncated(30, "chunked")],
    "ended early": lambda: [truncated(30, "eof")],
    "a web page": lambda: [html(200, executed=True)],
    "parts left out": lambda: [Fault(drop=5)],
    "parts answered twice": lambda: [Fault(twice=3, twice_status=404)],
    "a stranger": lambda: [Fault(stranger=True)],
    "trouble of the service": lambda: [fail(500), fail(502), fail(503), fail(504), fail(408)],
    "trouble after the work was done": lambda: [fail(500, executed=True), fail(408, executed=True)],
}


def run(server: FaultServer, ids: list[str], **options: Any) -> dict[str, str]:
    with Client(TOKEN, base_url=server.url, **options) as client:
        report = client.reprocess_many(ids, progress=False)
    assert report.ids == ids
    assert sum(report.counts.values()) == len(ids)
    record = server.record(settle=2)
    outcomes: dict[str, str] = {outcome.id: outcome.status for outcome in report}
    assert broken_invariants(record, ids, outcomes) == []
    assert record.violations == []
    return outcomes


@pytest.mark.filterwarnings("ignore:a batch answer held an answer:RuntimeWarning")
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_passes_costs_nothing(kind: str) -> None:
    ids = assignment_ids(200)
    with FaultServer(tokens=[TOKEN]) as server:
        server.script(requests=FAULTS[kind]())
        outcomes = run(server, ids)
    assert set(outcomes.values()) == {"accepted"}


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != "a stranger"])
def test_a_fault_that_stays_is_told(kind: str) -> None:
    ids = assignment_ids(40)
    with FaultServer(tokens=[TOKEN]) as server:
        server.script(requests=FAULTS[kind]() * 40)
        outcomes = run(server, ids, max_retries=1)
    assert set(outcomes.values()) <= {"accepted", "unknown", "failed"}
    assert set(outcomes.values()) != {"accepted"}


@pytest.mark.parametrize("spoil", ["\xff", "\x00", "\n", '"'])
def test_one_part_that_spoils_the_answer_is_told(spoil: str) -> None:
    ids = assignment_ids(100)
    with FaultServer(tokens=[TOKEN]) as server:
        server.script(ids={item: [Fault(spoil=spoil)] * 12 for item in ids[::40]})
        outcomes = run(server, ids, max_wait=0.1)
    assert {item for item, status in outcomes.items() if status != "accepted"} == set(ids[::40])
    assert {outcomes[item] for item in ids[::40]} == {"unknown"}


@pytest.mark.filterwarnings("ignore:a batch answer held an answer:RuntimeWarning")
def test_all_kinds_mixed() -> None:
    chance = random.Random(7)
    ids = assignment_ids(1_000)
    final = {item: chance.choice([fail(400), fail(403), fail(404), fail(409)]) for item in chance.sample(ids, 100)}
    wanted = {400: "rejected", 403: "forbidden", 404: "not_found", 409: "failed"}
    requests = [chance.choice([None, None, None, *make()]) for make in list(FAULTS.values()) * 3]
    with FaultServer(tokens=[TOKEN]) as server:
        server.script(ids={item: [fault] for item, fault in final.items()}, requests=requests)
        outcomes = run(server, ids)
    accepted = [item for item in ids if item not in final]
    assert {outcomes[item] for item in accepted} == {"accepted"}
    # An answer that was cut used the script up, and then the id is accepted like any other; and after an answer that
    # tells of trouble of the service some refusals settle nothing.
    assert all(outcomes[item] in {wanted[fault.status or 0], "accepted", "unknown"} for item, fault in final.items())
    refused = sum(outcomes[item] == wanted[fault.status or 0] for item, fault in final.items())
    assert refused > 50, "most were told what they were to be told"
