"""One assignment on the wire, and every answer as its exception; sync and async, both versions."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from entra_reprocess import (
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    Client,
    ConflictError,
    GraphError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProtocolError,
    ServiceError,
    ThrottledError,
    TransportError,
    TransportTimeoutError,
    __version__,
    reprocess,
)

from .foreign import PATHS, Answer, Foreign, error

ID = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
Call = Callable[..., Outcome]


def in_sync(url: str, **options: Any) -> Outcome:
    with Client("secret-token", base_url=url, **options) as client:
        return client.reprocess(ID)


def in_async(url: str, **options: Any) -> Outcome:
    async def main() -> Outcome:
        async with AsyncClient("secret-token", base_url=url, **options) as client:
            return await client.reprocess(ID)

    return asyncio.run(main())


def by_function(url: str, **options: Any) -> Outcome:
    return reprocess(ID, credential="secret-token", base_url=url, **options)


every_way = pytest.mark.parametrize("call", [in_sync, in_async, by_function])
every_version = pytest.mark.parametrize("version", ["beta", "v1.0"])


@every_way
@every_version
def test_the_request(call: Call, version: str) -> None:
    with Foreign(lambda _: Answer(202)) as graph:
        outcomes = [call(graph.url, api_version=version) for _ in range(2)]
    assert graph.malformed == []
    assert [request.path for request in graph.requests] == [f"/{version}{PATHS[version]}{ID}/reprocess"] * 2
    for request in graph.requests:
        assert request.method == "POST"
        assert request.body == b""
        assert request.header("content-length") == ["0"]
        assert request.header("content-type") == []
        assert request.header("transfer-encoding") == []
        assert request.header("authorization") == ["Bearer secret-token"]
        assert request.header("accept") == ["application/json"]
        assert request.header("user-agent") == [f"entra-reprocess/{__version__}"]
    sent = [request.header("client-request-id")[0] for request in graph.requests]
    assert len({UUID(item) for item in sent}) == 2
    assert [outcome.client_request_id for outcome in outcomes] == sent
    outcome = outcomes[0]
    assert (outcome.id, outcome.index, outcome.status, outcome.http_status) == (ID, 0, "accepted", 202)
    assert outcome.attempts == 1
    assert outcome.ok
    assert 0 < outcome.elapsed < 60
    assert outcome.finished_at.utcoffset() is not None


@every_way
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_accepted(call: Call, status: int) -> None:
    with Foreign(lambda _: Answer(status)) as graph:
        outcome = call(graph.url)
    assert (outcome.status, outcome.http_status) == ("accepted", status)


ERRORS = [
    (400, BadRequestError),
    (401, AuthenticationError),
    (403, PermissionDeniedError),
    (404, NotFoundError),
    (405, ServiceError),
    (409, ConflictError),
    (410, ServiceError),
    (429, ThrottledError),
    (500, ServiceError),
    (501, ServiceError),
    (503, ServiceError),
    (504, ServiceError),
]


@every_way
@every_version
@pytest.mark.parametrize(("status", "kind"), ERRORS)
def test_each_status_has_its_exception(call: Call, version: str, status: int, kind: type[GraphError]) -> None:
    with Foreign(lambda _: error(status)) as graph, pytest.raises(GraphError) as raised:
        call(graph.url, api_version=version, max_retries=0)
    found = raised.value
    assert type(found) is kind
    assert (found.status_code, found.code, found.message) == (status, "SomeCode", "Some message.")
    assert (found.request_id, found.date, found.id) == ("r-1", "2026-01-01T00:00:00", ID)
    assert found.client_request_id == graph.requests[0].header("client-request-id")[0]
    assert "Some message." in str(found)
    assert "r-1" in str(found)
    assert "secret-token" not in repr(found) + str(found) + str(vars(found))
    copy = pickle.loads(pickle.dumps(found))
    assert type(copy) is kind
    assert vars(copy) == vars(found)
    assert str(copy) == str(found)


def test_the_bases_that_python_knows() -> None:
    assert issubclass(NotFoundError, LookupError)
    assert issubclass(TransportTimeoutError, TimeoutError)


BODIES: list[tuple[Any, str | None, str | None]] = [
    ({"error": {"code": "", "message": "m", "innerError": {}}}, "", None),
    ({"error": {"code": "a", "message": "m", "innererror": {"request-id": "deep"}}}, "a", "deep"),
    ({"error": {"code": "a", "message": "m", "innerError": {"innerError": {"request-id": "deeper"}}}}, "a", "deeper"),
    ({"error": {"message": "m", "innerError": {"code": "b"}}}, "b", None),
    ({"error": "flat"}, None, None),
    ([1, 2], None, None),
    (None, None, None),
]


@pytest.mark.parametrize(("body", "code", "request_id"), BODIES)
def test_error_bodies_of_every_shape(body: Any, code: str | None, request_id: str | None) -> None:
    with Foreign(lambda _: Answer(409, body)) as graph, pytest.raises(ConflictError) as raised:
        in_sync(graph.url)
    assert raised.value.code == code
    assert raised.value.request_id == request_id


def test_the_header_names_the_request_before_the_body_does() -> None:
    def answer(_: str) -> Answer:
        return Answer(409, error(409).body, {"request-id": "from-header"})

    with Foreign(answer) as graph, pytest.raises(ConflictError) as raised:
        in_sync(graph.url)
    assert raised.value.request_id == "from-header"


def test_remedies_are_told() -> None:
    for status, remedy in ((403, "EntitlementManagement.ReadWrite.All"), (401, "sign in again")):
        with Foreign(lambda _, status=status: error(status)) as graph, pytest.raises(GraphError, match=remedy):  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            in_sync(graph.url)
    with Foreign(lambda _: error(404, code="")) as graph, pytest.raises(NotFoundError, match="no such route"):
        in_sync(graph.url)


@every_way
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(call: Call, status: int) -> None:
    answers = [error(status), Answer(status, None, {"Retry-After": "1"}), Answer(202)]
    with Foreign(lambda _: answers.pop(0)) as graph:
        outcome = call(graph.url)
    assert (outcome.status, outcome.attempts, len(graph.requests)) == ("accepted", 3, 3)
    assert outcome.elapsed >= 1
    assert len({request.header("client-request-id")[0] for request in graph.requests}) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 412, 415, 501])
def test_what_does_not_pass_is_not_tried_again(status: int) -> None:
    with Foreign(lambda _: error(status)) as graph, pytest.raises(GraphError):
        in_sync(graph.url)
    assert len(graph.requests) == 1


def test_a_wait_beyond_patience_is_not_waited_for() -> None:
    with (
        Foreign(lambda _: Answer(429, None, {"Retry-After": "31"})) as graph,
        pytest.raises(ThrottledError, match="max_wait=30 s") as raised,
    ):
        in_sync(graph.url, max_wait=30)
    assert raised.value.retry_after == 31
    assert len(graph.requests) == 1


@every_way
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(call: Call, status: int) -> None:
    with Foreign(lambda _: Answer(202)) as other:
        answer = Answer(status, None, {"Location": f"{other.url}/beta{PATHS['beta']}{ID}/reprocess"})
        with Foreign(lambda _: answer) as graph, pytest.raises(ProtocolError, match="redirect"):
            call(graph.url, max_retries=0)
    assert other.requests == []


def test_a_web_page_is_no_acceptance() -> None:
    page = Answer(200, "<html>Please sign in to the guest network</html>", {"Content-Type": "text/html"})
    with Foreign(lambda _: page) as graph, pytest.raises(ProtocolError, match="web page"):
        in_sync(graph.url, max_retries=0)
    empty = Answer(202, None, {"Content-Type": "text/html; charset=utf-8"})
    with Foreign(lambda _: empty) as graph:
        assert in_sync(graph.url).ok


@every_way
def test_no_answer_in_time(call: Call) -> None:
    from threading import Event

    hang = Event()

    def answer(_: str) -> Answer:
        hang.wait(20)
        return Answer(202)

    with Foreign(answer) as graph, pytest.raises(TransportTimeoutError, match="in time") as raised:
        call(graph.url, timeout=0.2, max_retries=0)
    hang.set()
    assert isinstance(raised.value, TransportError)


def test_an_answer_too_large_is_not_read() -> None:
    with (
        Foreign(lambda _: Answer(202, "x" * (9 * 1024 * 1024))) as graph,
        pytest.raises(ProtocolError, match="larger than 8 MiB"),
    ):
        in_sync(graph.url, max_retries=0)
