"""Our own objects as ids: assignments, outcomes and reports; those that are no assignments are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from entra_reprocess import Assignment, AsyncClient, Client, InvalidIdError, Report, reprocess, reprocess_many
from entra_reprocess.emulator import Emulator

KINDS: dict[str, Callable[[list[Assignment], Report], Any]] = {
    "list of assignments": lambda found, _: found,
    "iterator of assignments": lambda found, _: iter(found),
    "tuple of assignments": lambda found, _: tuple(found),
    "Series of assignments": lambda found, _: pd.Series(found),
    "report": lambda _, report: report,
    "slice of a report": lambda _, report: report[:],
    "accepted of a report": lambda _, report: report.accepted,
    "list of outcomes": lambda _, report: list(report),
    "iterator of outcomes": lambda _, report: iter(report),
    "mixed": lambda found, report: [found[0], report[1], *[each.id for each in found[2:]]],
}


@pytest.fixture(params=["beta", "v1.0"])
def client(graph: Emulator, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of each version."""
    with Client(graph.credential, base_url=graph.url, api_version=request.param) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_in_each_way(graph: Emulator, client: Client, kind: str, tmp_path: Path) -> None:
    found = list(client.assignments())[:40]
    ids = [each.id for each in found]
    report = client.reprocess_many(ids)
    make = KINDS[kind]
    assert client.reprocess_many(make(found, report)).ids == ids
    assert client.reprocess_many(make(found, report), journal=tmp_path / "june.db").ids == ids
    assert sorted(outcome.id for outcome in client.iter_reprocess(make(found, report))) == sorted(ids)
    assert list(client.states(make(found, report))) == ids
    again = reprocess_many(make(found, report), base_url=graph.url, credential=graph.credential)
    assert again.ids == ids
    assert graph.executions == dict.fromkeys(ids, 5)

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as other:
            assert (await other.reprocess_many(make(found, report))).ids == ids
            assert list(await other.states(make(found, report))) == ids

    asyncio.run(main())


def test_a_list_as_it_is_read(graph: Emulator, client: Client) -> None:
    report = client.reprocess_many(client.assignments())
    assert sorted(report.ids) == sorted(graph.ids)
    assert report.counts["accepted"] == 1000
    assert len(client.states(client.assignments(state="delivered"))) > 0


def test_an_asynchronous_list(graph: Emulator) -> None:
    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            report = await client.reprocess_many(client.assignments())
            assert report.counts["accepted"] == 1000
            states = await client.states(client.assignments())
            assert len(states) == 1000

            async def some() -> AsyncIterator[Assignment]:
                async for each in client.assignments():
                    yield each

            assert len([outcome async for outcome in client.iter_reprocess(some())]) == 1000

    asyncio.run(main())


def test_single_calls(graph: Emulator, client: Client) -> None:
    assignment = next(client.assignments())
    outcome = client.reprocess(assignment)
    assert outcome.id == assignment.id
    assert client.reprocess(outcome).id == assignment.id
    assert reprocess(outcome, base_url=graph.url, credential=graph.credential).id == assignment.id

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as other:
            assert (await other.reprocess(assignment)).id == assignment.id
            assert (await other.reprocess(outcome)).id == assignment.id

    asyncio.run(main())
    assert graph.executions == {assignment.id: 5}


def test_a_rejected_outcome_is_rejected_again(client: Client) -> None:
    report = client.reprocess_many(["x", "", "../groups"])
    again = client.reprocess_many(report)
    assert again.ids == report.ids == ["x", "", "../groups"]
    assert again.counts["rejected"] == 3


def test_what_is_of_something_else_is_refused(graph: Emulator, client: Client) -> None:
    package, assignment = next(client.access_packages()), next(client.assignments())
    sent = graph.counters["http_requests"]
    with pytest.raises(InvalidIdError, match="AccessPackage; its id is that of an access package") as error:
        client.reprocess(package)  # type: ignore[arg-type]  # refused by the types, too
    assert "client.assignments(access_package=...)" in str(error.value)
    (outcome,) = client.reprocess_many([package])  # type: ignore[list-item]  # refused by the types, too
    assert (outcome.status, outcome.http_status) == ("rejected", None)
    assert "access package" in (outcome.message or "")
    assert list(client.states([package]).values()) == ["rejected"]  # type: ignore[list-item]  # refused by the types, too
    for odd in (Report, client, client.reprocess_many(["x"]), object()):
        with pytest.raises(InvalidIdError, match="is of type"):
            client.reprocess(odd)  # type: ignore[arg-type]  # refused by the types, too
    assert graph.counters["http_requests"] == sent

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as other:
            with pytest.raises(InvalidIdError, match="access package"):
                await other.reprocess(package)  # type: ignore[arg-type]  # refused by the types, too
            with pytest.raises(TypeError, match="AccessPackage; give assignments"):
                await other.reprocess_many(package)  # type: ignore[arg-type]  # refused by the types, too
            with pytest.raises(TypeError, match="single Assignment"):
                await other.states(assignment)  # type: ignore[arg-type]  # refused by the types, too

    asyncio.run(main())


def test_one_instead_of_many_is_refused(graph: Emulator, client: Client) -> None:
    assignment, package = next(client.assignments()), next(client.access_packages())
    outcome = client.reprocess(assignment)
    sent = graph.counters["http_requests"]
    calls: list[Callable[[Any], object]] = [client.reprocess_many, client.states, client.iter_reprocess]
    for call in calls:
        with pytest.raises(TypeError, match="single Assignment; wrap it in a list"):
            call(assignment)
        with pytest.raises(TypeError, match="single Outcome; wrap it in a list"):
            call(outcome)
        with pytest.raises(TypeError, match="AccessPackage; give assignments"):
            call(package)
    assert graph.counters["http_requests"] == sent


def test_filters_take_the_package_and_nothing_of_another_kind(graph: Emulator, client: Client) -> None:
    assignment, package = next(client.assignments()), next(client.access_packages())
    assert list(client.assignments(access_package=package))
    sent = graph.counters["http_requests"]
    wrong: list[tuple[str, Any]] = [
        ("access_package", assignment),
        ("target", assignment),
        ("policy", assignment),
        ("target", package),
        ("policy", package),
    ]
    for name, value in wrong:
        with pytest.raises(TypeError, match=rf"{name} is of type {type(value).__name__}.*{name}_id"):
            client.assignments(**{name: value})
        other = AsyncClient(graph.credential, base_url=graph.url)
        with pytest.raises(TypeError, match=f"{name} is of type"):
            other.assignments(**{name: value})
    assert graph.counters["http_requests"] == sent
