"""Connections that are gone when they are wanted again: by HTTP/1.1 without a word, by HTTP/2 with GOAWAY."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest

from entra_reprocess import Client

from .faults import Fault, FaultServer, assignment_ids, broken_invariants
from .h2_server import UNDONE, Ending, Http2Server
from .held import CANARY, WAYS, hold, leaks

pytestmark = pytest.mark.usefixtures("nothing_leaks")


@pytest.mark.parametrize("keep_alive", ["off", "silent", "stale"])
@pytest.mark.parametrize("way", WAYS)
def test_connections_that_go_stale(
    faulty: FaultServer, keep_alive: Literal["off", "silent", "stale"], way: str
) -> None:
    faulty.set(keep_alive=keep_alive)
    held = hold(faulty, assignment_ids(200), way=way, max_wait=0.02, max_retries=30)
    assert held.counts == {"accepted": 200}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("idle", [0.0, 0.3])
def test_idle_connections_that_are_ended(faulty: FaultServer, end: Literal["close", "reset"], idle: float) -> None:
    """The answer is whole, and the connection goes while nobody uses it."""
    first, *rest = assignment_ids(41)
    with Client(CANARY, base_url=faulty.url, max_wait=0.05) as client:
        faulty.script(requests=[Fault(end=end)])
        assert client.reprocess(first).attempts == 1
        time.sleep(idle)
        report = client.reprocess_many(rest, progress=False)
    record = faulty.record(settle=2)
    assert report.counts["accepted"] == 40
    assert broken_invariants(record, [first, *rest], dict.fromkeys([first, *rest], "accepted")) == []
    # An end that was seen in time costs nothing at all.
    if idle:
        assert {outcome.attempts for outcome in report} == {1}


ENDINGS: list[Ending] = [
    "answered, then GOAWAY",
    "answered, then closed",
    "GOAWAY, then answered",
    "GOAWAY, then closed",
    "GOAWAY that leaves it out",
    "GOAWAY for too many requests",
    "refused stream",
    "failed stream",
    "closed",
]


def run(server: Http2Server, ids: list[str], **options: Any) -> Any:
    with Client(CANARY, base_url=server.url, ca_bundle=server.ca_bundle, **options) as client:
        report = client.reprocess_many(ids, progress=False)
    outcomes = {outcome.id: outcome.status for outcome in report}
    assert report.ids == ids
    assert broken_invariants(server.record, ids, outcomes) == []
    assert leaks(report, *report) == []
    return report


@pytest.mark.parametrize("ending", ENDINGS)
def test_http2_connections_that_end(tmp_path: Path, ending: Ending) -> None:
    # One at a time, since others under way on the same connection are cut off with it, unseen by the server.
    with Http2Server(tmp_path / "ca.pem", ["answered", ending]) as server:
        report = run(server, assignment_ids(100), max_wait=0.05, concurrency=1)
    assert report.counts["accepted"] == 100
    again = Counter(outcome.attempts for outcome in report)
    sent = server.record.request_count
    if ending.startswith("answered, then"):
        # The next request may have left before the end was seen.
        assert sent == 5
        assert again in ({1: 100}, {1: 80, 2: 20})
        return
    # Nothing is repeated behind our back: what was sent again is counted, and what was answered is not sent again.
    assert report.http_requests == sent
    assert (again, sent) == (({1: 100}, 5) if "answered" in ending else ({1: 80, 2: 20}, 6))


@pytest.mark.parametrize("ending", ENDINGS)
def test_http2_connections_that_end_under_many(tmp_path: Path, ending: Ending) -> None:
    endings: list[Ending] = ["answered", "answered", ending]
    with Http2Server(tmp_path / "ca.pem", endings * 5) as server:
        report = run(server, assignment_ids(600), max_wait=0.05, max_retries=30)
    assert report.counts["accepted"] == 600


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if "answered" not in ending])
def test_http2_connections_that_keep_ending(tmp_path: Path, ending: Ending) -> None:
    with Http2Server(tmp_path / "ca.pem", [ending] * 100) as server:
        report = run(server, assignment_ids(20), max_wait=0.01, max_retries=2)
    assert {outcome.attempts for outcome in report} == {3}
    assert report.counts["unknown"] == 20
    assert server.record.request_count == 3
    assert all(not outcome.ok for outcome in report)
    assert len(server.record.executions) == (0 if ending in UNDONE else 20)
