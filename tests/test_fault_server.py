"""Checks the fault server itself, with raw sockets and http.client: what it breaks, and what it remembers."""

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, Self
from unittest.mock import ANY

import pytest

from .fault_server.pauses import wait_of
from .faults import (
    Fault,
    FaultServer,
    Listener,
    assignment_ids,
    broken_invariants,
    close,
    fail,
    html,
    redirect,
    reset,
    throttled,
    truncated,
)

A, B, C = assignment_ids(3)
UPPER = A.replace("4", "A")
Framing = Literal["length", "chunked", "eof"]
TOKEN = "canary"


@pytest.fixture(scope="module")
def process() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def server(process: FaultServer) -> FaultServer:
    process.reset()
    return process


def batch_of(ids: Sequence[str], version: str = "beta") -> list[dict[str, Any]]:
    return [
        {
            "id": str(n),
            "method": "POST",
            "url": FaultServer.path(each, version).removeprefix(f"/{version}"),
            "headers": {"Content-Type": "application/json"},
            "body": {},
        }
        for n, each in enumerate(ids, 1)
    ]


def message(path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"Authorization: Bearer {token}"] if token is not None else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def plain_message(assignment: str = A) -> bytes:
    return message(FaultServer.path(assignment))


def batch_message(ids: Sequence[str] = (A, B, C)) -> bytes:
    return message("/beta/$batch", json.dumps({"requests": batch_of(ids)}).encode(), Content_Type="application/json")


def raw(server: FaultServer, data: bytes, timeout: float = 5) -> tuple[bytes, bool]:
    """All that comes until the end, and whether that end was a reset."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(data)
        got = b""
        while True:
            try:
                piece = connection.recv(1 << 16)
            except ConnectionResetError:
                return got, True
            if not piece:
                return got, False
            got += piece


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> dict[str, Any]:
        return {part["id"]: part for part in self.json["responses"]}


class Browser:
    """One keep-alive connection."""

    def __init__(self, server: FaultServer, token: str | None = TOKEN) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        self.token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, path: str, body: bytes = b"", method: str = "POST", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            named["Authorization"] = f"Bearer {self.token}"
        self.connection.request(method, path, body=body, headers=named)
        return Answer(self.connection.getresponse())

    def plain(self, assignment: str = A) -> Answer:
        return self.send(FaultServer.path(assignment))

    def batch(self, ids: Sequence[str] = (A, B, C)) -> Answer:
        return self.requests(batch_of(ids))

    def requests(self, requests: object, **headers: str) -> Answer:
        return self.send(
            "/beta/$batch",
            json.dumps({"requests": requests}).encode(),
            **{"Content_Type": "application/json"} | headers,
        )


@pytest.fixture
def browser(server: FaultServer) -> Iterator[Browser]:
    with Browser(server) as browser:
        yield browser


# Health.


def test_a_plain_post_is_executed_and_recorded(server: FaultServer, browser: Browser) -> None:
    answer = browser.send(FaultServer.path(A, "v1.0"), client_request_id="mine")
    assert (answer.status, answer.body, answer.headers["client-request-id"]) == (202, b"", "mine")
    record = server.record()
    [row] = record.requests
    assert (row.method, row.path, row.ids, row.content) == ("POST", FaultServer.path(A, "v1.0"), [A], b"")
    assert ("Authorization", "Bearer canary") in row.headers
    assert (row.status, row.whole) == (202, True)
    assert (record.executed(A), record.statuses(A), record.violations) == (1, [202], [])
    assert row.done_at is not None
    assert row.at <= record.answers[A][0].at <= row.done_at


def test_a_batch_is_shuffled_and_keeps_the_connection(server: FaultServer, browser: Browser) -> None:
    ids = assignment_ids(20)
    orders = []
    for _ in range(3):
        answer = browser.batch(ids)
        assert answer.status == 200
        assert {part["status"] for part in answer.parts.values()} == {202}
        orders.append(list(answer.parts))
    assert len({tuple(order) for order in orders}) == 3
    server.set(shuffle=False)
    assert list(browser.batch(ids).parts) == [str(n) for n in range(1, 21)]
    record = server.record()
    assert record.connection_count == 1
    assert all(record.executed(each) == 4 for each in ids)
    assert json.loads(record.requests[0].content)["requests"][0]["id"] == "1"


# What clients do wrong.


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"headers": {}}, "Content-Type header or body"),
        ({"headers": {"content-type": "application/json"}}, "Content-Type header or body"),
        ({"body": None}, "Content-Type header or body"),
        ({"id": "2"}, "has to be unique"),
        ({"id": 7}, "id of type string"),
        ({"method": "GET"}, "has the method GET"),
        ({"url": "/users"}, "has the url /users"),
        ({"url": FaultServer.path(A, "v1.0").removeprefix("/v1.0")}, "has the url"),
        ({"url": FaultServer.path(UPPER)}, "has the url"),
    ],
)
def test_a_malformed_batch_is_refused_and_noted(
    server: FaultServer, browser: Browser, change: dict[str, Any], detail: str
) -> None:
    requests = batch_of([A, B])
    requests[0] |= change
    answer = browser.requests(requests)
    record = server.record()
    assert (answer.status, answer.json["error"]["code"]) == (400, "BadRequest")
    assert record.kinds() == ["batch"]
    assert detail in record.violations[0].detail
    assert record.executions == {}


@pytest.mark.parametrize("requests", [[], batch_of(assignment_ids(21)), None, "x"])
def test_a_batch_of_the_wrong_size_or_shape_is_noted(server: FaultServer, browser: Browser, requests: object) -> None:
    assert browser.requests(requests).status == 400
    assert server.record().kinds() == ["batch"]


def test_an_assignment_twice_in_a_batch_is_noted(server: FaultServer, browser: Browser) -> None:
    assert browser.batch([A, A]).status == 200
    assert server.record().kinds() == ["batch"]


@pytest.mark.parametrize(
    "path",
    [
        FaultServer.path("../" + A),
        FaultServer.path(A.replace("-", "")),
        FaultServer.path(UPPER),
        FaultServer.path(A) + "?x=1",
        FaultServer.path(A).replace("beta", "v1.0"),
        "/v2/$batch",
        "/beta//identityGovernance",
        "/",
    ],
)
def test_other_paths_are_noted(server: FaultServer, browser: Browser, path: str) -> None:
    assert browser.send(path).status == 404
    assert server.record().kinds() == ["path"]


def test_other_breaches_of_the_contract_are_noted(server: FaultServer) -> None:
    head = f"POST {FaultServer.path(A)} HTTP/1.1\r\nAuthorization: Bearer x\r\n"
    for rest in ("Connection: close\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        assert raw(server, f"{head}{rest}".encode())[0].startswith(b"HTTP/1.1 411 ")
    assert server.record().kinds() == ["length", "length"]
    with Browser(server) as browser:
        assert browser.send(FaultServer.path(A), method="GET", Content_Length="0").status == 405
        assert browser.send(FaultServer.path(A), b"{}").status == 202
    raw(server, b"NONSENSE\r\n\r\n")
    assert server.record().kinds()[2:] == ["method", "body", "http"]


def test_tokens(server: FaultServer) -> None:
    server.set(tokens=["one", "two"], revoke_after=[2], www_authenticate='Bearer claims="e30="')
    with Browser(server, "one") as browser:
        assert [browser.plain().status for _ in range(4)] == [202, 202, 401, 401]
        challenge = browser.batch()
        assert (challenge.status, challenge.headers["WWW-Authenticate"]) == (401, 'Bearer claims="e30="')
        browser.token = "two"
        assert [browser.plain().status for _ in range(4)] == [202] * 4
        assert server.record().violations == []
        browser.token = "three"
        assert browser.plain().status == 401
        browser.token = None
        assert browser.plain().status == 401
    record = server.record()
    assert record.kinds() == ["token", "token"]
    assert record.executed(A) == 6


def test_coming_too_early_is_noted(server: FaultServer, browser: Browser) -> None:
    server.script(ids={A: [throttled("0.3")]})
    assert browser.batch([A, B]).parts["1"]["headers"]["Retry-After"] == "0.3"
    browser.plain(B)
    assert server.record().kinds() == []
    browser.plain(A)
    assert server.record().kinds() == ["early"]
    time.sleep(0.3)
    browser.plain(A)
    assert server.record().kinds() == ["early"]


def test_a_pause_for_all_is_noted_after_its_grace(server: FaultServer, browser: Browser) -> None:
    server.set(shared_pause=True, pause_grace=0.1)
    server.script(requests=[throttled("0.4"), throttled("86400")])
    browser.plain(A)
    browser.plain(B)  # was under way; its long wait holds for B alone
    assert server.record().kinds() == []
    time.sleep(0.15)
    browser.plain(C)
    assert server.record().kinds() == ["early"]
    time.sleep(0.3)
    browser.plain(C)
    assert server.record().kinds() == ["early"]
    browser.plain(B)
    assert server.record().kinds() == ["early", "early"]


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("10", 10.0),
        ("0.249", 0.249),
        ("0", 0.0),
        ("Sun, 06 Nov 1994 08:49:40 GMT", 3.0),
        ("-1", None),
        ("1e30", None),
        ("NaN", None),
        ("soon", None),
        ("5,5", None),
    ],
)
def test_wait_of(text: str, wait: float | None) -> None:
    assert wait_of(text, DATE) == wait


# Answers for ids.


@pytest.mark.parametrize("in_batch", [False, True])
def test_an_id_meets_its_list_and_then_the_default(server: FaultServer, browser: Browser, in_batch: bool) -> None:
    server.script(ids={A: [fail(503), None, fail(409, executed=True)]})
    server.set(default=fail(404), every=[fail(403), fail(400)])

    def status(assignment: str) -> int:
        if not in_batch:
            return browser.plain(assignment).status
        part = browser.batch([assignment]).parts["1"]["status"]
        assert isinstance(part, int)
        return part

    assert [status(A) for _ in range(4)] == [503, 202, 409, 404]
    assert [status(B) for _ in range(3)] == [403, 400, 404]
    record = server.record()
    assert (record.executed(A), record.executed(B)) == (2, 0)
    assert record.statuses(A) == [503, 202, 409, 404]
    assert {answer.how for answer in record.answers[A]} == {"part" if in_batch else "plain"}


def test_errors_take_every_form(server: FaultServer, browser: Browser) -> None:
    faults = [
        fail(403, "", "No.", inner="innererror", nested=True),
        fail(429, inner=None, headers=(("retry-AFTER", "soon"), ("Date", "yesterday"))),
        html(503, executed=False),
    ]
    server.script(ids={A: faults, B: faults})
    answer = browser.plain()
    error = answer.json["error"]
    assert (error["code"], error["message"], error["innererror"]["status"]) == ("", "No.", "403")
    assert error["innererror"]["innererror"]["request-id"] == answer.headers["request-id"]
    answer = browser.plain()
    assert answer.json == {"error": {"code": "TooManyRequests", "message": "Scripted."}}
    assert (answer.headers["Retry-After"], answer.headers.get_all("Date")) == ("soon", ["yesterday"])
    assert browser.plain().headers["Content-Type"] == "text/html"
    assert browser.batch([B]).parts["1"]["body"]["error"] == error | {"innererror": ANY}
    assert browser.batch([B]).parts["1"]["headers"]["retry-AFTER"] == "soon"
    assert browser.batch([B]).parts["1"]["body"].startswith("<!DOCTYPE")


def test_dates_follow_the_clock_of_the_server(server: FaultServer, browser: Browser) -> None:
    server.set(clock_offset=86400)
    server.script(ids={A: [throttled("{date+3}")]}, requests=[None, throttled("{date+5}")])
    outer = browser.batch([A])
    date = parsedate_to_datetime(outer.headers["Date"])
    assert 86390 < date.timestamp() - time.time() < 86410
    part = parsedate_to_datetime(outer.parts["1"]["headers"]["Retry-After"])
    assert (part - date).total_seconds() == 3
    whole = browser.batch([B])
    headers = [parsedate_to_datetime(whole.headers[name]) for name in ("Retry-After", "Date")]
    assert (headers[0] - headers[1]).total_seconds() == 5


# Answers to batches.


@pytest.mark.parametrize("status", [400, 401, 403, 413, 424, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("executed", [False, True])
def test_a_batch_fails_as_a_whole(server: FaultServer, browser: Browser, status: int, executed: bool) -> None:
    server.script(ids={A: [fail(404)]}, requests=[throttled("0.001", status, executed=executed)])
    answer = browser.batch([A, B])
    assert (answer.status, answer.headers["Retry-After"]) == (status, "0.001")
    record = server.record()
    assert (record.executed(A), record.executed(B)) == (executed, executed)
    assert [(row.status, row.how) for row in record.answers[B]] == [(status, "batch")]
    time.sleep(0.002)
    assert browser.batch([A, B]).parts["1"]["status"] == 404  # the script of the id was not used up


def test_parts_are_left_out_doubled_and_invented(server: FaultServer, browser: Browser) -> None:
    ids = assignment_ids(10)
    server.script(
        ids={A: [None, None, None, Fault(drop=1), Fault(twice=1, twice_status=404)]},
        requests=[Fault(drop=3), Fault(twice=2, twice_status=500), Fault(twice=1, stranger=2)],
    )
    assert len(browser.batch(ids).parts) == 7
    record = server.record()
    assert sum(record.executed(each) for each in ids) == 10
    assert sum(len(record.statuses(each)) for each in ids) == 7
    found = browser.batch(ids).json["responses"]
    assert sorted(part["status"] for part in found) == [202] * 10 + [500] * 2
    found = browser.batch(ids).json["responses"]
    assert (len(found), len({part["id"] for part in found})) == (13, 12)
    assert set(browser.batch([A, B]).parts) == {"2"}
    assert [part["status"] for part in browser.batch([A]).json["responses"]] in ([202, 404], [404, 202])


def test_parts_are_spelt_differently(server: FaultServer, browser: Browser) -> None:
    server.script(
        ids={A: [throttled("0"), throttled("0"), throttled("0", header_case="upper")]},
        requests=[Fault(header_case="lower", part_ids="number"), Fault(part_ids="upper", shuffle=False)],
    )
    [part] = browser.batch([A]).json["responses"]
    assert (part["id"], sorted(part["headers"])) == (1, ["content-type", "retry-after"])
    named = [part | {"id": f"x{part['id']}"} for part in batch_of([A, B])]
    assert [part["id"] for part in browser.requests(named).json["responses"]] == ["X1", "X2"]
    assert "RETRY-AFTER" in browser.batch([A]).parts["1"]["headers"]


def test_marked_ids_and_refused_batches(server: FaultServer, browser: Browser) -> None:
    server.set(marked={B}, marked_status=424)
    assert browser.batch([A, B]).status == 424
    assert server.record().executions == {}
    assert (browser.batch([A]).status, browser.plain(B).status) == (200, 202)
    server.set(marked=(), refuse_batches="whole")
    assert (browser.batch([A]).status, browser.plain(A).status) == (400, 202)
    server.set(refuse_batches="parts")
    answer = browser.batch([A, B])
    assert (answer.status, {part["status"] for part in answer.parts.values()}) == (200, {400})
    assert (server.record().executed(A), server.record().executed(B)) == (2, 1)


@pytest.mark.parametrize("kind", ["bucket", "window"])
def test_quotas_refuse_single_parts_and_tell_the_truth(server: FaultServer, browser: Browser, kind: str) -> None:
    server.set(quota=kind, quota_size=5, quota_seconds=0.5)
    ids = assignment_ids(8)
    parts = browser.batch(ids).parts
    assert [parts[str(n)]["status"] for n in range(1, 9)] == [202] * 5 + [429] * 3
    wait = float(parts["8"]["headers"]["Retry-After"])
    assert wait <= 0.501
    time.sleep(wait)
    assert browser.plain(ids[7]).status == 202
    assert server.record().violations == []
    server.set(quota_retry_after="7", quota_size=0.5)
    refused = browser.plain(A)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "7")


# The wire.


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("by_id", [False, True])
def test_connections_end_at_byte_n(server: FaultServer, in_batch: bool, executed: bool, by_id: bool) -> None:
    data = batch_message([A]) if in_batch else plain_message()
    for make, expect_reset in ((reset, True), (close, False)):
        for after in (0, 1, 40):
            server.reset()
            fault = make(after, executed=executed)
            server.script(ids={A: [fault]} if by_id else {}, requests=[] if by_id else [fault])
            got, was_reset = raw(server, data)
            assert (len(got), was_reset) == (after, expect_reset)
            record = server.record()
            [row] = record.requests
            assert record.executed(A) == executed
            assert (row.sent, row.whole, row.status) == (after, False, (200 if in_batch else 202) if after else None)
            assert [answer.whole for answer in record.answers[A]] == [False]


def test_a_reset_can_come_before_the_body_is_read(server: FaultServer) -> None:
    server.script(requests=[reset(executed=False, before_body=True), reset(executed=True, before_body=True)])
    head = batch_message().partition(b"{")[0]
    assert raw(server, head) == (b"", True)  # it does not wait for the body that never comes
    assert raw(server, plain_message()) == (b"", True)
    record = server.record()
    assert [row.body for row in record.requests] == ["", ""]
    assert (record.executed(A), record.violations) == (1, [])


def test_a_client_that_leaves_while_sending_executes_nothing(server: FaultServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(batch_message()[:-5])
    with Browser(server) as browser:
        browser.plain(B)
    record = server.record()
    assert record.requests[0].did == "left while sending its body"
    assert list(record.executions) == [B]


@pytest.mark.parametrize("framing", ["length", "chunked", "eof"])
def test_json_is_truncated(server: FaultServer, framing: Framing) -> None:
    server.script(requests=[Fault(framing=framing, end="close"), *(truncated(n, framing) for n in range(0, 60, 7))])
    whole, _ = raw(server, batch_message())
    head, _, body = whole.partition(b"\r\n\r\n")
    assert (b"Content-Length: " in head, b"chunked" in head) == (framing == "length", framing == "chunked")
    assert body.endswith(b"\r\n0\r\n\r\n" if framing == "chunked" else b"]}")
    for n in range(0, 60, 7):
        got, was_reset = raw(server, batch_message())
        assert (len(got.partition(b"\r\n\r\n")[2]), was_reset) == (n, False)
    record = server.record()
    assert [row.whole for row in record.requests] == [True] + [False] * 9
    assert record.executed(A) == 10


def test_bytes_that_content_length_promises_never_come(server: FaultServer) -> None:
    server.script(requests=[Fault(missing=10)])
    got, _ = raw(server, plain_message())
    assert got.endswith(b"Content-Length: 10\r\n\r\n")
    assert not server.record().answers[A][0].whole


def test_bodies_of_the_wrong_kind(server: FaultServer, browser: Browser) -> None:
    wrong = [html(), Fault(status=200, body="[1]"), Fault(status=202, body=""), Fault(body="{}")]
    server.script(ids={A: wrong}, requests=[*(None for _ in wrong), *wrong])
    assert [browser.plain().status for _ in wrong] == [200, 200, 202, 202]
    bodies = [browser.batch([A]).body for _ in wrong]
    assert bodies[0].startswith(b"<!DOCTYPE")
    assert bodies[1:] == [b"[1]", b"", b"{}"]
    assert server.record().executed(A) == 8


@pytest.mark.parametrize("framing", ["length", "chunked", "eof"])
def test_huge_bodies_are_streamed(server: FaultServer, browser: Browser, framing: Framing) -> None:
    server.script(requests=[Fault(pad_mib=20, framing=framing)])
    answer = browser.batch()
    assert len(answer.body) > 20 << 20
    assert len(answer.parts) == 3


def test_gzip_bombs_and_huge_headers(server: FaultServer, browser: Browser) -> None:
    server.script(requests=[Fault(pad_mib=30, gzip=True), Fault(gzip=True), Fault(pad_mib=512, gzip=True)])
    answer = browser.batch()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.body) < 1 << 17
    content = gzip.decompress(answer.body)
    assert len(content) > 30 << 20
    assert len(json.loads(content)["responses"]) == 3
    assert len(json.loads(gzip.decompress(browser.batch().body))["responses"]) == 3
    assert len(browser.batch().body) < 1 << 20
    server.script(requests=[Fault(huge_header=100_000)])
    got, _ = raw(server, message(FaultServer.path(A), Connection="close"))
    assert b"X-Padding: " + b"a" * 100_000 + b"\r\n" in got


def test_answers_are_slow(server: FaultServer, browser: Browser) -> None:
    server.script(requests=[Fault(delay=0.2), Fault(drip=0.01, cut=20), None])
    started = time.monotonic()
    browser.plain()
    assert time.monotonic() - started >= 0.2
    started = time.monotonic()
    got, _ = raw(server, plain_message())
    assert len(got) == 20
    assert time.monotonic() - started >= 0.2
    server.set(latency=0.1)
    started = time.monotonic()
    browser.plain()
    assert time.monotonic() - started >= 0.1
    server.reset()
    server.script(ids={A: [Fault(drip=0.01, drip_after=10_000)], B: [fail(503, delay=0.3, executed=True)]})
    assert browser.plain().status == 202
    with pytest.raises(TimeoutError):
        raw(server, batch_message([B]), timeout=0.1)
    # An answer into the void is not one that the client got.
    assert [answer.whole for answer in server.record(settle=2).answers[B]] == [False]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_point_to_a_listener_that_counts(server: FaultServer, browser: Browser, status: int) -> None:
    with Listener() as listener:
        server.script(requests=[redirect(listener.url + "/x", status)])
        answer = browser.plain()
        assert (answer.status, answer.headers["Location"]) == (status, f"{listener.url}/x")
        if status == 307:
            with socket.create_connection(("127.0.0.1", listener.port)) as connection:
                connection.sendall(b"hello")
                assert connection.recv(1) == b""
    assert listener.received == ([b"hello"] if status == 307 else [])
    assert listener.connections == (status == 307)
    assert server.record().executions == {}


def test_keep_alive_goes_stale(server: FaultServer) -> None:
    server.set(keep_alive="silent")
    got, was_reset = raw(server, plain_message())
    assert b"Connection: close" not in got
    assert not was_reset
    server.set(keep_alive="off")
    assert b"Connection: close" in raw(server, plain_message())[0]
    server.set(keep_alive="stale")
    with Browser(server) as browser:
        browser.plain()
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            browser.plain(B)
        record = server.record()
        assert record.requests[-1].did == "stale"
        assert (record.executed(A), record.executed(B), record.request_count) == (3, 0, 3)


# The whole.


def test_the_invariants_are_checked(server: FaultServer, browser: Browser) -> None:
    server.script(ids={B: [fail(503, executed=True)], C: [html()]})
    for each in (A, B, C):
        browser.plain(each)
    record = server.record()
    good = {A: "accepted", B: "failed", C: "unknown"}
    assert broken_invariants(record, good, good) == []
    other = assignment_ids(1, 100)[0]
    bad = {A: "failed", C: "failed", other: "accepted"}
    assert [text[:2] for text in broken_invariants(record, [A, B, C], bad)] == ["I1", "I1", "I3", "I3", "I2"]
    assert broken_invariants(record, [A, B], {A: "not_attempted"}, interrupted=True) == []


def test_a_mistake_in_a_script_is_told_and_changes_nothing(server: FaultServer) -> None:
    with pytest.raises(TypeError, match="no such setting: speed"):
        server.set(speed=1)
    with pytest.raises(ValueError, match="no such command"):
        server._command({"do": "dance"})
    with pytest.raises(ValueError, match="TypeError"):
        server._command({"do": "script", "ids": {}, "requests": [{"colour": "red"}]})


def test_ten_thousand_ids_over_fifty_connections(server: FaultServer) -> None:
    ids = assignment_ids(10_000)
    server.set(latency=0.02)  # else one request may well be done before the next one comes
    server.script(ids={each: [throttled("0"), None] for each in ids[::2]})
    started = time.monotonic()

    def send(groups: Sequence[Sequence[str]]) -> int:
        with Browser(server) as browser:
            found = [part["status"] for group in groups for part in browser.batch(group).parts.values()]
        return found.count(202)

    batches = [ids[n : n + 20] for n in range(0, len(ids), 20)]
    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(send, [batches[n::50] for n in range(50)])) == 5_000
    record = server.record()
    assert time.monotonic() - started < 10
    assert (record.request_count, record.connection_count, record.in_flight) == (500, 50, 0)
    assert 5 < record.peak_in_flight <= 50
    assert all(record.executed(each) == n % 2 for n, each in enumerate(ids))
    assert record.violations == []


def test_a_reset_forgets_and_a_request_under_way_does_not_return(server: FaultServer) -> None:
    server.script(ids={A: [Fault(delay=0.3)]})
    thread = threading.Thread(target=raw, args=(server, message(FaultServer.path(A), Connection="close")))
    thread.start()
    while not server.record().executed(A):
        time.sleep(0.01)
    server.reset()
    thread.join()
    record = server.record()
    assert (record.requests, record.executions, record.answers, record.in_flight) == ([], {}, {}, 0)


def ends(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals and processes")
@pytest.mark.parametrize("fork", [False, True])
def test_the_server_dies_with_its_parent(fork: bool) -> None:
    # The forked child keeps the server's standard input open.
    text = f"""
import os, time
from tests.faults import FaultServer
server = FaultServer().start()
if {fork} and not os.fork():
    time.sleep(2)
    os._exit(0)
print(server.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", text], cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGINT)  # which it outlives
        os.kill(pid, 0)
        parent.kill()
    assert ends(pid)


def test_a_server_stops_when_asked() -> None:
    server = FaultServer(latency=0.0)
    with server:
        pid = server.pid
        raw(server, message(FaultServer.path(A), Connection="close"))
    server.stop()
    with pytest.raises(OSError):  # noqa: PT011 - each system words it differently
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
    assert not hasattr(os, "fork") or ends(pid)
    with pytest.raises(TypeError):
        FaultServer(nonsense=1).start()
