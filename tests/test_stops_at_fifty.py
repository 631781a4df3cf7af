"""Fifty refusals in a row before anything was accepted stop a run, also one that has nothing left to spare."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, PermissionDeniedError, RunStoppedError, ThrottledError
from entra_reprocess.emulator import Emulator

from .faults import assignment_ids
from .foreign import Answer, Foreign, error

REMEDY = "The caller needs the Graph permission EntitlementManagement.ReadWrite.All with admin consent"


def collected(url: str, ids: list[str], **options: Any) -> list[Outcome]:
    return list(Client("token", base_url=url, **options).reprocess_many(ids))


def streamed(url: str, ids: list[str], **options: Any) -> list[Outcome]:
    return list(Client("token", base_url=url, **options).iter_reprocess(ids))


def from_a_generator(url: str, ids: list[str], **options: Any) -> list[Outcome]:
    return list(Client("token", base_url=url, **options).reprocess_many(iter(ids)))


def collected_on_a_loop(url: str, ids: list[str], **options: Any) -> list[Outcome]:
    async def main() -> list[Outcome]:
        async with AsyncClient("token", base_url=url, **options) as client:
            return list(await client.reprocess_many(ids))

    return asyncio.run(main())


def streamed_on_a_loop(url: str, ids: list[str], **options: Any) -> list[Outcome]:
    async def main() -> list[Outcome]:
        async with AsyncClient("token", base_url=url, **options) as client:
            return [outcome async for outcome in client.iter_reprocess(ids)]

    return asyncio.run(main())


Way = Callable[..., list[Outcome]]
WAYS: list[Way] = [collected, streamed, from_a_generator, collected_on_a_loop, streamed_on_a_loop]


def forbidding() -> Foreign:
    return Foreign(lambda _: error(403))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [50, 60])
def test_fifty_forbidden_ids_stop_it(way: Way, count: int) -> None:
    with forbidding() as graph, pytest.raises(RunStoppedError, match=r"everything is forbidden \(403\)") as caught:
        way(graph.url, assignment_ids(count))
    assert isinstance(caught.value.__cause__, PermissionDeniedError)
    # The remedy of the single call, and last.
    assert REMEDY in str(caught.value).splitlines()[-1]


@pytest.mark.parametrize("way", WAYS)
def test_fewer_do_not(way: Way) -> None:
    with forbidding() as graph:
        assert len(way(graph.url, assignment_ids(49))) == 49


@pytest.mark.parametrize("is_async", [False, True])
def test_states_likewise(is_async: bool) -> None:
    with Emulator(60, forbid=True) as graph:

        def states(count: int) -> dict[str, str]:
            if not is_async:
                return Client(graph.credential, base_url=graph.url).states(graph.ids[:count])

            async def main() -> dict[str, str]:
                async with AsyncClient(graph.credential, base_url=graph.url) as client:
                    return await client.states(graph.ids[:count])

            return asyncio.run(main())

        assert list(states(49).values()) == ["forbidden"] * 49
        with pytest.raises(RunStoppedError) as caught:
            states(50)
    assert REMEDY in str(caught.value)


@pytest.mark.parametrize("count", [50, 51, 60, 100])
@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("api_version", ["beta", "v1.0"])
def test_however_they_are_sent(count: int, batch_size: int, concurrency: int, api_version: str) -> None:
    ids = assignment_ids(count)
    options: dict[str, Any] = {"batch_size": batch_size, "concurrency": concurrency, "api_version": api_version}
    with forbidding() as graph, pytest.raises(RunStoppedError) as caught:
        collected(graph.url, ids, **options)
    report = caught.value.report
    assert report is not None
    assert report.ids == ids
    assert 50 <= report.counts["forbidden"] <= 60
    assert report.counts["forbidden"] + report.counts["not_attempted"] == count
    assert len(graph.ids) == report.counts["forbidden"]


def test_one_accepted_id_among_them_is_enough_to_go_on() -> None:
    ids = assignment_ids(60)
    with Foreign(lambda item: Answer(202) if item == ids[0] else error(403)) as graph:
        assert [outcome.ok for outcome in collected(graph.url, ids)] == [True] + [False] * 59


def test_told_to_wait_too_long_says_how_long_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Foreign(lambda _: Answer(429, error(429).body, {"Retry-After": "86400"})) as graph,
        caplog.at_level(logging.WARNING),
        pytest.raises(RunStoppedError) as caught,
    ):
        collected(graph.url, assignment_ids(60))
    assert isinstance(caught.value.__cause__, ThrottledError)
    for text in (str(caught.value), caplog.messages[-1]):
        assert "Retry-After asks for 86400 s, more than max_wait=600 s" in text
        assert "max_wait=" in text.splitlines()[-1]


def test_a_refused_token_says_what_to_do() -> None:
    with Foreign(lambda _: error(401)) as graph, pytest.raises(RunStoppedError) as caught:
        collected(graph.url, assignment_ids(2))
    assert "sign in again" in str(caught.value).splitlines()[-1]


@pytest.mark.parametrize("count", [100, 120])
def test_everything_rejected_says_what_to_do(count: int) -> None:
    with Foreign(lambda _: error(400)) as graph, pytest.raises(RunStoppedError) as caught:
        collected(graph.url, assignment_ids(count))
    assert "delivered" in str(caught.value).splitlines()[-1]
