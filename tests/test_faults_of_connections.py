"""Connections that are gone when they are wanted again: by HTTP/1.1 without a word, by HTTP/2 with GOAWAY."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

import pytest

from entra_reprocess import Client, TransportError

from .faults import Fault, FaultServer, assignment_ids, broken_invariants
from .h2_server import UNDONE, Ending, Http2Server
from .held import CANARY, WAYS, hold, judge, leaks
from .held import run as run_ids

pytestmark = pytest.mark.usefixtures("nothing_leaks")


class Forwarder:
    """A port in front of the fault server that goes away with all its connections after so many answers."""

    def __init__(self, port: int, answers: int) -> None:
        self._port = port
        self._left = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open = [self._socket]
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                client, _ = self._socket.accept()
                self._open.append(client)
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open.append(server)
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(one, other, one is server), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                # The fault server sends head and body each at once; the head alone has no answer in it yet.
                if answers and b"responses" in data:
                    self._left -= 1
                    if not self._left:
                        self.close()
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Go away: connections end, new ones are refused."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for each in self._open:
            each.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answers", [1, 4])
def test_a_host_that_nobody_can_connect_to_any_more(faulty: FaultServer, way: str, answers: int) -> None:
    ids = assignment_ids(400)
    faulty.set(latency=0.02)
    options = {"max_retries": 2, "max_wait": 0.05, "concurrency": 2}
    with Forwarder(faulty.port, answers) as forwarder:
        outcomes, report, stopped = run_ids(faulty, ids, way=way, base_url=forwarder.url, **options)
    held = judge(faulty, ids, outcomes, report, stopped)
    assert stopped is not None
    assert "cannot connect" in str(stopped)
    assert isinstance(stopped.__cause__, TransportError)
    assert held.counts["accepted"] >= 20 * (answers - 1)
    # What was on the way when it went is unknown, and what never left was not attempted.
    assert held.counts["accepted"] + held.counts["unknown"] <= 20 * (answers + 2)
    assert held.counts["accepted"] + held.counts["unknown"] + held.counts["not_attempted"] == 400


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
