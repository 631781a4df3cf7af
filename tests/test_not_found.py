"""404: the id may be of another kind of object, and the text says which, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, NotFoundError
from entra_reprocess.emulator import Emulator

from .foreign import Answer, Foreign

KINDS = ("a person", "an access package", "a request", "client.assignments(target=...)")


def told(error: object) -> None:
    assert isinstance(error, NotFoundError)
    assert all(kind in str(error).splitlines()[-1] for kind in KINDS), str(error)


def one(client: Client, item: str) -> BaseException | None:
    with pytest.raises(NotFoundError) as caught:
        client.reprocess(item)
    return caught.value


def of_a_report(client: Client, item: str) -> BaseException | None:
    return client.reprocess_many([item])[0].error


def of_an_iterator(client: Client, item: str) -> BaseException | None:
    return next(client.iter_reprocess([item])).error


def of_a_group(client: Client, item: str) -> BaseException | None:
    with pytest.raises(ExceptionGroup) as caught:
        client.reprocess_many([item]).raise_for_failures()
    error = caught.value.exceptions[0]
    assert isinstance(error, Exception)
    return error


WAYS: list[Callable[[Client, str], BaseException | None]] = [one, of_a_report, of_an_iterator, of_a_group]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api_version", ["beta", "v1.0"])
def test_the_id_of_a_person_a_package_or_a_request(way: Any, api_version: Any) -> None:
    with Emulator(5) as graph:
        client = Client(graph.credential, base_url=graph.url, api_version=api_version)
        for item in (graph.users[0].id, graph.access_packages[0].id, graph.request_ids[0]):
            told(way(client, item))


def test_the_asynchronous_client_says_it_too() -> None:
    async def main(graph: Emulator) -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            told((await client.reprocess_many([graph.request_ids[0]]))[0].error)
            await client.reprocess(graph.request_ids[0])

    with Emulator(1) as graph, pytest.raises(NotFoundError) as caught:
        asyncio.run(main(graph))
    told(caught.value)


def test_an_answer_without_a_body_says_it_too() -> None:
    with Foreign(lambda _: Answer(404)) as graph:
        told(one(Client("token", base_url=graph.url), "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"))


def test_a_wrong_route_and_a_list_say_something_else() -> None:
    no_route = Answer(404, {"error": {"code": "", "message": "No HTTP resource was found"}})
    with Foreign(lambda _: no_route, lambda _: no_route) as graph:
        error = one(Client("token", base_url=graph.url), "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b")
    assert "no such route" in str(error)
    assert "a person" not in str(error)
    with Foreign(lambda _: Answer(404), lambda _: Answer(404)) as graph, pytest.raises(NotFoundError) as caught:
        next(iter(Client("token", base_url=graph.url).assignments()))
    assert "a person" not in str(caught.value)
