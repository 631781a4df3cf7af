"""A success with a body where Graph sends none: a captive portal, a proxy, an error with the status of a success.

The action has no return type (https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, ProtocolError, Report, Status

from .faults import assignment_ids
from .foreign import Answer, Foreign, Request, error

ID = assignment_ids(1)[0]
PAGE = "<!DOCTYPE html>\n<html><body>Please sign in to the guest network</body></html>"
ERROR = error(401, "InvalidAuthenticationToken").body
FOREIGN_BODIES: dict[str, tuple[bytes, str | None]] = {
    "a page": (PAGE.encode(), "text/html"),
    "a page in capitals": (PAGE.upper().encode(), "TEXT/HTML"),
    "a page with parameters": (PAGE.encode(), 'Text/Html; charset="utf-8"'),
    "XHTML": (b'<?xml version="1.0"?>' + PAGE.encode(), "application/xhtml+xml"),
    "a plain text": (b"Please sign in", "text/plain"),
    "a page without a type": (PAGE.encode(), None),
    "a page that says it is JSON": (PAGE.encode(), "application/json"),
    "a page behind a mark": (b"\xef\xbb\xbf\r\n" + PAGE.encode(), "text/html"),
    "a page that is a JSON text": (json.dumps(PAGE).encode(), "application/json"),
    "an error": (json.dumps(ERROR).encode(), "application/json"),
    "an error without content": (b'{"error": null}', "application/json"),
    "an assignment": (json.dumps({"id": ID, "state": "delivered"}).encode(), "application/json"),
    "an annotation and more": (b'{"@odata.context": "x", "value": true}', "application/json"),
    "a list": (b"[]", "application/json"),
    "a number": (b"0", "application/json"),
    "true": (b"true", "application/json"),
    "a text": (b'"PGh0bWw+"', "application/json"),
    "torn JSON": (b'{"a"', "application/json"),
    "more than JSON": (b"{} {}", "application/json"),
    "bytes": (b"\x00\xff", "application/octet-stream"),
}
EMPTY: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", None),
    "nothing of a page": (b"", "text/html; charset=utf-8"),
    "an object": (b"{}", "application/json"),
    "null": (b"null", "application/json"),
    "an empty text": (b'""', "application/json"),
    "white space": (b"\r\n", "text/plain"),
    "annotations": (b'{"@odata.context": "https://graph.microsoft.com/beta/$metadata#x"}', "application/json"),
}


def single(url: str, **options: Any) -> Outcome:
    with Client("token", base_url=url, max_retries=0, **options) as client:
        return client.reprocess(ID)


def awaited(url: str, **options: Any) -> Outcome:
    async def main() -> Outcome:
        async with AsyncClient("token", base_url=url, max_retries=0, **options) as client:
            return await client.reprocess(ID)

    return asyncio.run(main())


WAYS: dict[str, Callable[..., Outcome]] = {"single": single, "awaited": awaited}


def answered(body: bytes, kind: str | None, status: int = 200) -> Answer:
    return Answer(status, body, {} if kind is None else {"Content-Type": kind})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FOREIGN_BODIES)
def test_a_plain_post_that_is_answered_with_a_body(way: str, kind: str) -> None:
    for version, status in (("beta", 200), ("v1.0", 202)):
        answer = answered(*FOREIGN_BODIES[kind], status)
        with Foreign(lambda _, answer=answer: answer) as graph, pytest.raises(ProtocolError) as caught:  # type: ignore[misc]  # mypy cannot infer it
            WAYS[way](graph.url, api_version=version)
        text = str(caught.value)
        assert f"the answer ({status}) is " in text
        assert "check base_url and proxy" in text
        assert ("a web page" in text) == ("page" in kind or kind == "XHTML")
        assert "guest network" not in text, "nothing of a page is kept"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", EMPTY)
def test_a_plain_post_that_is_answered_with_nothing(way: str, kind: str) -> None:
    for status in (200, 202, 204):
        answer = answered(*(EMPTY[kind] if status != 204 else (b"", None)), status)
        with Foreign(lambda _, answer=answer: answer) as graph:  # type: ignore[misc]  # mypy cannot infer it
            outcome = WAYS[way](graph.url)
        assert (outcome.status, outcome.http_status) == ("accepted", status)


def test_many_plain_posts_are_unknown_and_sent_again() -> None:
    """A portal that lets through whoever asks a second time."""
    ids = assignment_ids(2 * len(FOREIGN_BODIES))
    bodies = dict(zip(ids, [*FOREIGN_BODIES.values()] * 2, strict=True))

    def answer(item: str) -> Answer:
        return answered(*bodies[item]) if graph.ids.count(item) == 1 else Answer(202)

    ends: list[tuple[int, Status]] = [(0, "unknown"), (1, "accepted")]
    for retries, status in ends:
        with Foreign(answer) as graph, Client("token", base_url=graph.url, batch_size=1, max_retries=retries) as client:
            report = client.reprocess_many(ids, progress=False)
        assert report.counts[status] == len(ids)


PARTS: dict[str, Any] = {
    "a page": PAGE,
    "base64": "PGh0bWw+",
    "an error": ERROR,
    "an assignment": {"id": ID, "state": "delivered"},
    "a list": [],
    "a number": 7,
    "false": False,
}
EMPTY_PARTS: dict[str, Any] = {
    "an object": {},
    "null": None,
    "an empty text": "",
    "an annotation": {"@odata.context": "x"},
}


def batch(body: Any) -> Callable[[Request], Answer]:
    """The first part is answered with this body, the others with none."""

    def outer(request: Request) -> Answer:
        first, *others = json.loads(request.body)["requests"]
        responses = [{"id": part["id"], "status": 202} for part in others]
        return Answer(200, {"responses": [*responses, {"id": first["id"], "body": body, "status": 200}]})

    return outer


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_that_is_answered_with_a_body(kind: str) -> None:
    ids = assignment_ids(3)
    with (
        Foreign(lambda _: Answer(202), batch(PARTS[kind])) as graph,
        Client("token", base_url=graph.url, max_retries=0, api_version="v1.0") as client,
    ):
        report = client.reprocess_many(ids, progress=False)
    assert [outcome.status for outcome in report] == ["unknown", "accepted", "accepted"]
    assert "answered 200 with another body than no body or an empty JSON one" in (report[0].message or "")


@pytest.mark.parametrize("kind", EMPTY_PARTS)
def test_a_part_that_is_answered_with_nothing(kind: str) -> None:
    async def main(url: str) -> Report:
        async with AsyncClient("token", base_url=url, max_retries=0) as client:
            return await client.reprocess_many(assignment_ids(3), progress=False)

    with Foreign(lambda _: Answer(202), batch(EMPTY_PARTS[kind])) as graph:
        assert asyncio.run(main(graph.url)).counts["accepted"] == 3


@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("body", [PAGE, ERROR, {}, None, {**ERROR, "state": "delivered"}, {"state": ""}])
def test_a_read_of_states(body: Any, batch_size: int) -> None:
    def outer(request: Request) -> Answer:
        return batch(body)(request) if request.method == "POST" else Answer(200, body, {"Content-Type": "text/html"})

    with (
        Foreign(lambda _: Answer(202), outer) as graph,
        Client("token", base_url=graph.url, max_retries=0, batch_size=batch_size) as client,
    ):
        states = client.states([ID])
    assert states == {ID: "unknown" if body != {"state": ""} else ""}


@pytest.mark.parametrize("body", [PAGE.encode(), json.dumps(ERROR).encode(), b"", b"{}", b"Please sign in"])
def test_a_list(body: bytes) -> None:
    with (
        Foreign(lambda _: Answer(202), lambda _: Answer(200, body, {"Content-Type": "TEXT/HTML"})) as graph,
        Client("token", base_url=graph.url) as client,
        pytest.raises(ProtocolError, match="check base_url and proxy") as caught,
    ):
        list(client.assignments())
    assert ("a web page" in str(caught.value)) == (body == PAGE.encode())
