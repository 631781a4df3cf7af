"""Connections on which an answer comes that is for another request: nobody is told what became of somebody else.

HTTP/1.1 knows answers by their order alone, so a server or proxy that answers once too often shifts all later ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, ProtocolError
from entra_reprocess.emulator import Emulator

from .faults import assignment_ids
from .listening import Listening

GUID = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/reprocess)?$")
THEIRS = "00000000-1111-4111-8111-000000000000"
FAST: dict[str, Any] = {"max_wait": 0.02, "concurrency": 1}
Version = Literal["beta", "v1.0"]


@dataclass
class Seen:
    """A request as it came."""

    place: int  # on its connection, from 0
    method: str
    path: str
    name: str  # its client-request-id
    body: bytes

    def parts(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.body)["requests"] if self.body else []
        return found

    def ids(self) -> list[str]:
        found = [GUID.search(url) for url in [self.path, *(part["url"] for part in self.parts())]]
        return [match[1] for match in found if match]


def reply(status: int, body: Any = None, **headers: str) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} Scripted", *lines, f"Content-Length: {len(content)}", "", ""])
    return head.encode() + content


def error(code: str = "UnAuthorized", **inner: str) -> Any:
    return {"error": {"code": code, "message": "m", "innerError": {k.replace("_", "-"): v for k, v in inner.items()}}}


class Scripted(Listening):
    """Does what it is asked and says so, unless `instead` has another answer; what that one is for is not done."""

    def __init__(self, instead: Callable[[Seen], bytes | None] = lambda _: None, *, echoes: bool = True) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"
        self.instead, self.echoes = instead, echoes
        self.executed: list[str] = []
        self.last: socket.socket | None = None

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            place = 0
            while line := lines.readline().decode():
                headers = {}
                while pair := lines.readline().strip().decode():
                    name, _, value = pair.partition(":")
                    headers[name.lower()] = value.strip()
                body = lines.read(int(headers.get("content-length", "0")))
                method, path, _ = line.split(" ")
                seen = Seen(place, method, path, headers["client-request-id"], body)
                place += 1
                self.last = connection
                connection.sendall(self.instead(seen) or self.good(seen))

    def good(self, seen: Seen) -> bytes:
        self.executed += seen.ids()
        echo = {"client_request_id": seen.name, "request_id": str(uuid4())} if self.echoes else {}
        if seen.body:
            read = {"status": 200, "body": {"state": "delivered"}}
            done = [
                {"id": part["id"], **(read if part["method"] == "GET" else {"status": 202})} for part in seen.parts()
            ]
            return reply(200, {"responses": done}, **echo)
        if seen.method == "POST":
            return reply(202, **echo)
        if GUID.search(seen.path):
            return reply(200, {"state": "delivered"}, **echo)
        more = {} if "skip" in seen.path else {"@odata.nextLink": f"{self.url}{seen.path.partition('?')[0]}?$skip=1"}
        return reply(200, {"value": [{"id": f"item-{bool(more)}"}], **more}, **echo)


STRAYS: dict[str, Callable[[Seen], bytes]] = {
    "accepted": lambda _: reply(202, client_request_id=THEIRS),
    "accepted, with an id of its own": lambda _: reply(202, client_request_id=THEIRS, request_id=str(uuid4())),
    "accepted, named by no GUID": lambda _: reply(202, client_request_id="somebody-else"),
    "done": lambda _: reply(200, {}, client_request_id=THEIRS.upper()),
    "a batch": lambda seen: reply(
        200, {"responses": [{"id": part["id"], "status": 202} for part in seen.parts()]}, client_request_id=THEIRS
    ),
    "forbidden": lambda _: reply(403, error(), client_request_id=THEIRS),
    "forbidden, named in the error": lambda _: reply(403, error(client_request_id=THEIRS, request_id="r")),
    "forbidden, named in both": lambda seen: reply(403, error(client_request_id=THEIRS), client_request_id=seen.name),
    "not found": lambda _: reply(404, error(client_request_id=THEIRS)),
    "rejected": lambda _: reply(400, error(client_request_id=THEIRS)),
    "a bad token": lambda _: reply(401, error("InvalidAuthenticationToken", client_request_id=THEIRS)),
    "throttled": lambda _: reply(429, error(client_request_id=THEIRS), Retry_After="600"),
    "trouble": lambda _: reply(503, None, client_request_id=THEIRS),
    "a redirect": lambda _: reply(302, None, client_request_id=THEIRS, Location="/"),
}
every_stray = pytest.mark.parametrize("kind", STRAYS)


def second(kind: str) -> Callable[[Seen], bytes | None]:
    """Each second request on a connection is told what is for another one."""
    return lambda seen: STRAYS[kind](seen) if seen.place % 2 else None


@every_stray
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_a_single_call(kind: str, version: Version) -> None:
    one, two, three, four = assignment_ids(4)
    with Scripted(second(kind)) as server:
        with Client("token", base_url=server.url, api_version=version, max_retries=0) as client:
            assert client.reprocess(one).ok
            with pytest.raises(ProtocolError, match="the answer to another request") as caught:
                client.reprocess(two)
            assert ("no GUID" if "no GUID" in kind else THEIRS) in str(caught.value)
            # The connection is not used again.
            assert client.reprocess(three).ok
            assert server.connections == 2
        with Client("token", base_url=server.url, api_version=version, max_retries=1, max_wait=0.02) as client:
            assert [client.reprocess(each).attempts for each in (one, four)] == [1, 2]
    assert server.executed == [one, three, one, four]


@every_stray
def test_an_awaited_call(kind: str) -> None:
    one, two = assignment_ids(2)

    async def main() -> list[Outcome]:
        async with AsyncClient("token", base_url=server.url, **FAST) as client:
            return [await client.reprocess(one), await client.reprocess(two)]

    with Scripted(second(kind)) as server:
        outcomes = asyncio.run(main())
    assert [outcome.attempts for outcome in outcomes] == [1, 2]
    assert server.executed == [one, two]


@every_stray
@pytest.mark.parametrize("batch_size", [1, 2])
def test_many(kind: str, batch_size: int) -> None:
    ids = assignment_ids(8)
    with (
        Scripted(second(kind)) as server,
        Client("token", base_url=server.url, batch_size=batch_size, **FAST) as client,
    ):
        report = client.reprocess_many(ids, progress=False)
        assert report.counts["accepted"] == 8
        assert sorted(server.executed) == ids, "and each of them once"
    with (
        Scripted(second(kind)) as server,
        Client("token", base_url=server.url, batch_size=batch_size, max_retries=0, concurrency=1) as client,
    ):
        report = client.reprocess_many(ids, progress=False)
    assert {outcome.id for outcome in report if outcome.status == "accepted"} == set(server.executed)
    assert report.counts["accepted"] + report.counts["unknown"] == 8
    assert report.counts["unknown"] >= batch_size


@every_stray
@pytest.mark.parametrize("batch_size", [1, 20])
def test_reads(kind: str, batch_size: int) -> None:
    ids = assignment_ids(4)
    with (
        Scripted(second(kind)) as server,
        Client("token", base_url=server.url, batch_size=batch_size, **FAST) as client,
    ):
        for _ in range(2):
            assert client.states(ids) == dict.fromkeys(ids, "delivered")
            assert [item.id for item in client.assignments()] == ["item-True", "item-False"]


OURS: dict[str, Callable[[Seen], bytes]] = {
    "in capitals": lambda seen: reply(202, client_request_id=seen.name.upper()),
    "in braces": lambda seen: reply(202, Client_Request_ID=f"{{{seen.name}}}"),
    "among others": lambda seen: reply(202, client_request_id=f"{THEIRS}, {seen.name}"),
    "no id": lambda _: reply(202),
    "an empty id": lambda _: reply(202, client_request_id=""),
    # Behind a gateway that drops ours (microsoftgraph/msgraph-metadata#327).
    "the service's own id": lambda _: reply(202, client_request_id=THEIRS, request_id=THEIRS),
}


@pytest.mark.parametrize("kind", OURS)
def test_an_answer_that_names_no_other_request(kind: str) -> None:
    ids = assignment_ids(4)
    with Scripted(OURS[kind]) as server, Client("token", base_url=server.url, max_retries=0) as client:
        for each in ids:
            assert client.reprocess(each).ok
        assert server.connections == 1


def test_an_error_that_names_no_other_request() -> None:
    for inner in ({}, {"client_request_id": "c-1"}, {"client_request_id": THEIRS, "request_id": THEIRS}):
        answer = reply(404, error(**inner))
        with Scripted(lambda _, answer=answer: answer) as server:  # type: ignore[misc]  # mypy cannot infer it
            for batch_size in (1, 20):
                with Client("token", base_url=server.url, max_retries=0, batch_size=batch_size) as client:
                    for each in assignment_ids(2):
                        assert client.reprocess_many([each], progress=False)[0].status != "unknown"
            assert server.connections == 2


def test_the_parts_of_a_batch_have_ids_of_their_own() -> None:
    """Each is a request of its own to Graph, so only what the whole answer says counts."""

    def answer(seen: Seen) -> bytes:
        parts = [
            {
                "id": part["id"],
                "status": 404,
                "headers": {"client-request-id": THEIRS},
                "body": error(client_request_id=THEIRS),
            }
            for part in seen.parts()
        ]
        return reply(200, {"responses": parts}, client_request_id=seen.name)

    with Scripted(answer) as server, Client("token", base_url=server.url, max_retries=0) as client:
        assert client.reprocess_many(assignment_ids(3), progress=False).counts["not_found"] == 3


# Without an echo.


@contextmanager
def busy() -> Iterator[None]:
    """The runtime has much else to do, so that it may have yet to notice what has come."""
    over = threading.Event()
    with Emulator(500) as emulator, Client(emulator.credential, base_url=emulator.url, batch_size=1) as client:

        def work() -> None:
            while not over.is_set():
                client.reprocess_many(emulator.ids, progress=False)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def told_twice(stray: bytes, ask: Callable[[Client, str], Outcome], count: int) -> None:
    """After each answer another one comes while nobody asks; whoever asks next is not told that one."""
    ids = assignment_ids(count)
    with Scripted(echoes=False) as server, Client("token", base_url=server.url, max_wait=0.02) as client, busy():
        for each in ids:
            assert (ask(client, each).status, server.executed[-1]) == ("accepted", each)
            assert server.last is not None
            with suppress(OSError):  # it may have ended already
                server.last.sendall(stray)
    assert server.executed == ids
    assert server.connections == count, "such a connection is not used again"


@pytest.mark.parametrize("stray", [reply(202), reply(404, error()), reply(503)], ids=["202", "404", "503"])
def test_bytes_that_are_there_before_a_plain_post_is_sent(stray: bytes) -> None:
    told_twice(stray, lambda client, each: client.reprocess(each), 80)


@pytest.mark.parametrize(
    "stray", [reply(403, error()), reply(400), reply(200, {"responses": []})], ids=["403", "400", "200"]
)
def test_bytes_that_are_there_before_a_batch_is_sent(stray: bytes) -> None:
    told_twice(stray, lambda client, each: client.reprocess_many([each], progress=False)[0], 80)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_two_answers_in_one_write(concurrency: int) -> None:
    """The second one is there as soon as the first one is read."""

    def twice(seen: Seen) -> bytes | None:
        return None if seen.place else server.good(seen) + reply(202)

    ids = assignment_ids(100)
    with (
        Scripted(twice, echoes=False) as server,
        Client("token", base_url=server.url, batch_size=1, concurrency=concurrency, max_wait=0.02) as client,
    ):
        report = client.reprocess_many(ids, progress=False)
    assert report.counts["accepted"] == 100
    assert set(server.executed) == set(ids)
