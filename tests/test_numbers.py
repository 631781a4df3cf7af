"""Numbers of any size, where a range or an end is promised: never an OverflowError."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, CredentialError, Report
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator

DEADLINES: list[Any] = [
    0,
    -1,
    10**400,
    -(10**400),
    1e308,
    float("inf"),
    -float("inf"),
    float("nan"),
    timedelta.max,
    timedelta.min,
    timedelta(0),
    timedelta(days=367),
]
RANGE = "deadline is .*more than 0 and at most a year"


def named(value: object) -> str:
    return repr(value) if len(repr(value)) < 40 else "huge"


@pytest.mark.parametrize("deadline", DEADLINES, ids=named)
def test_a_deadline_out_of_range_is_refused_with_the_range(graph: Emulator, client: Client, deadline: Any) -> None:
    with pytest.raises(ValueError, match=RANGE):
        client.reprocess_many(graph.ids, deadline=deadline)
    with pytest.raises(ValueError, match=RANGE):
        list(client.iter_reprocess(graph.ids, deadline=deadline))

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as other:
            with pytest.raises(ValueError, match=RANGE):
                await other.reprocess_many(graph.ids, deadline=deadline)
            with pytest.raises(ValueError, match=RANGE):
                async for _ in other.iter_reprocess(graph.ids, deadline=deadline):
                    pass

    asyncio.run(main())
    assert graph.counters["http_requests"] == 0


def test_ids_that_are_more_than_can_be_counted(client: Client) -> None:
    endless: Any = range(10**20)
    outcomes = client.iter_reprocess(endless)
    assert [next(outcomes).id for _ in range(3)] == ["0", "1", "2"]
    outcomes.close()  # type: ignore[attr-defined]  # it is a generator, which its type does not promise
    report = client.reprocess_many(endless, deadline=0.05)
    assert report.counts["rejected"] == len(report) > 0


@pytest.fixture
def report(client: Client) -> Report:
    return client.reprocess_many(["a", "b", "c"])


@pytest.mark.parametrize("place", [3, -4, 2**31, 2**63, -(2**63) - 1, 10**400, -(10**400)], ids=named)
def test_a_place_that_is_not_there(report: Report, place: int) -> None:
    with pytest.raises(IndexError):
        report[place]


def test_slices_of_any_size_are_those_of_a_list(report: Report) -> None:
    ids = report.ids
    big = 10**400
    for start in (None, 0, 1, 2**63, big, -big):
        for stop in (None, 2, 2**63, big, -big):
            for step in (None, 1, -1, 2, 2**63, -(2**63), big, -big):
                assert report[start:stop:step].ids == ids[start:stop:step]


@pytest.mark.parametrize("expires_on", [10**400, -(10**400), 1e308, float("nan")], ids=named)
def test_a_credential_that_gives_any_number(graph: Emulator, expires_on: Any) -> None:
    class Odd:
        def get_token(self, *_scopes: str, **_options: object) -> Any:
            from azure.core.credentials import AccessToken

            return AccessToken(EMULATOR_TOKEN, expires_on)

    with Client(Odd(), base_url=graph.url) as odd, pytest.raises(CredentialError) as error:
        odd.reprocess(graph.ids[0])
    assert isinstance(error.value.__cause__, ValueError)
    assert "expected seconds since 1970" in str(error.value.__cause__)
