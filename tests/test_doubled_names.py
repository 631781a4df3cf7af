"""Answers that say one thing twice: every reader of JSON takes another of the two, so neither is taken.

See https://www.rfc-editor.org/rfc/rfc8259#section-4.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, ProtocolError

from .faults import assignment_ids
from .foreign import Answer, Foreign, Request

IDS = assignment_ids(3)


def batch(text: str) -> Callable[[Request], Answer]:
    """A batch answer with $1, $2 and $3 for the ids of its parts."""

    def outer(request: Request) -> Answer:
        answer = text
        for place, part in enumerate(json.loads(request.body)["requests"], 1):
            answer = answer.replace(f"${place}", json.dumps(part["id"]))
        return Answer(200, answer.encode())

    return outer


GOOD = '{"id": $2, "status": 202}, {"id": $3, "status": 202}'
ONE_UNKNOWN = ["unknown", "accepted", "accepted"]
ALL_UNKNOWN = ["unknown", "unknown", "unknown"]
BATCHES: dict[str, tuple[str, list[str]]] = {
    "two statuses": (f'{{"responses": [{{"id": $1, "status": 404, "status": 202}}, {GOOD}]}}', ONE_UNKNOWN),
    "the same status": (f'{{"responses": [{{"id": $1, "status": 202, "status": 202}}, {GOOD}]}}', ONE_UNKNOWN),
    "an escaped status": (f'{{"responses": [{{"id": $1, "status": 404, "st\\u0061tus": 202}}, {GOOD}]}}', ONE_UNKNOWN),
    "two bodies": (f'{{"responses": [{{"id": $1, "status": 202, "body": "x", "body": {{}}}}, {GOOD}]}}', ONE_UNKNOWN),
    "two headers": (
        f'{{"responses": [{{"id": $1, "status": 202, "headers": {{}}, "headers": {{}}}}, {GOOD}]}}',
        ONE_UNKNOWN,
    ),
    "two ids": (
        '{"responses": [{"id": $1, "id": $2, "status": 202}, {"id": $3, "status": 202}]}',
        ["unknown", "unknown", "accepted"],
    ),
    "two ids, one of them good": (f'{{"responses": [{{"id": $1, "id": "x", "status": 202}}, {GOOD}]}}', ONE_UNKNOWN),
    "two lists": (f'{{"responses": [{{"id": $1, "status": 202}}], "responses": [{GOOD}]}}', ALL_UNKNOWN),
    "two lists, one empty": (f'{{"responses": [{{"id": $1, "status": 202}}, {GOOD}], "responses": []}}', ALL_UNKNOWN),
    "two lists, one null": (f'{{"responses": null, "responses": [{{"id": $1, "status": 202}}, {GOOD}]}}', ALL_UNKNOWN),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_answer(kind: str) -> None:
    text, expected = BATCHES[kind]

    async def main() -> list[str]:
        async with AsyncClient("token", base_url=graph.url, max_retries=0, api_version="v1.0") as client:
            return [outcome.status for outcome in await client.reprocess_many(IDS, progress=False)]

    with Foreign(lambda _: Answer(202), batch(text)) as graph:
        with Client("token", base_url=graph.url, max_retries=0) as client:
            report = client.reprocess_many(IDS, progress=False)
        assert asyncio.run(main()) == [outcome.status for outcome in report] == expected
    assert "two " in (report[0].message or "")


def test_texts_for_people_may_come_twice() -> None:
    error = '{"error": {"code": "a", "code": "b", "message": "c", "message": "d"}}'
    with (
        Foreign(
            lambda _: Answer(202), batch(f'{{"responses": [{{"id": $1, "status": 404, "body": {error}}}, {GOOD}]}}')
        ) as graph,
        Client("token", base_url=graph.url, max_retries=0) as client,
    ):
        report = client.reprocess_many(IDS, progress=False)
    assert [outcome.status for outcome in report] == ["not_found", "accepted", "accepted"]
    assert (report[0].code, report[0].message) == ("b", "d")


STATES = {
    "two states": '{"state": "delivered", "state": "expired"}',
    "two of beta": '{"assignmentState": "Delivered", "assignmentState": "Expired"}',
    "an escaped state": '{"state": "delivered", "\\u0073tate": "expired"}',
}


@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("kind", STATES)
def test_a_state(kind: str, batch_size: int) -> None:
    def outer(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(200, STATES[kind].encode())
        good = '{"id": $2, "status": 200, "body": {"state": "delivered"}}'
        return batch(f'{{"responses": [{{"id": $1, "status": 200, "body": {STATES[kind]}}}, {good}]}}')(request)

    with (
        Foreign(lambda _: Answer(202), outer) as graph,
        Client("token", base_url=graph.url, max_retries=0, batch_size=batch_size) as client,
    ):
        states = client.states(IDS[:2])
    assert states == dict(zip(IDS, ["unknown", "unknown" if batch_size == 1 else "delivered"], strict=False))


PAGES = {
    "two lists": '{"value": [{"id": "a"}], "value": []}',
    "two ids": '{"value": [{"id": "good"}, {"id": "a", "id": "b"}]}',
    "an escaped id": '{"value": [{"id": "a", "i\\u0064": "b"}]}',
    "two targets": '{"value": [{"id": "a", "target": {"objectId": "x", "objectId": "y"}}]}',
    "two states": '{"value": [{"id": "a", "state": "delivered", "state": "expired"}]}',
}


@pytest.mark.parametrize("listed", ["assignments", "access_packages"])
@pytest.mark.parametrize("kind", PAGES)
def test_a_page(kind: str, listed: str) -> None:
    async def main() -> list[Any]:
        async with AsyncClient("token", base_url=graph.url) as client:
            return [item async for item in getattr(client, listed)()]

    with Foreign(lambda _: Answer(202), lambda _: Answer(200, PAGES[kind].encode())) as graph:
        with pytest.raises(ProtocolError, match="two members of the same name"):
            list(getattr(Client("token", base_url=graph.url), listed)())
        with pytest.raises(ProtocolError, match="two members of the same name"):
            asyncio.run(main())


@pytest.mark.parametrize("batch_size", [1, 20])
def test_a_token_that_comes_back_does_not_hide_it(batch_size: int) -> None:
    """What is written anew without the token must not lose the contradiction."""
    token = "canary-0d5ab64e-eyJ0eXAi"

    def outer(request: Request) -> Answer:
        if batch_size == 1:
            return Answer(202, f'{{"error": "{token}", "error": 1, "a": 1, "a": 2}}'.encode())
        text = f'{{"you sent": "{token}", "responses": [{{"id": $1, "status": 404, "status": 202}}]}}'
        return batch(text)(request)

    with (
        Foreign(lambda _: Answer(202), outer) as graph,
        Client(token, base_url=graph.url, max_retries=0, batch_size=batch_size) as client,
    ):
        report = client.reprocess_many(IDS[:1], progress=False)
    assert report[0].status == "unknown"
    assert token not in repr(report[0])
