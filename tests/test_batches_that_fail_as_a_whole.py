"""A batch that fails as a whole and answers its parts all the same; headers of parts in every spelling."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Report

from .faults import assignment_ids
from .foreign import Answer, Foreign, Request

OUTER = [207, 400, 401, 403, 408, 413, 424, 429, 500, 503]
THROTTLED = {"error": {"code": "TooManyRequests", "message": "Please retry again later."}}


def run(url: str, ids: list[str], way: str = "sync", **options: Any) -> Report:
    options = {"base_url": url, **options}
    if way == "sync":
        with Client("token", **options) as client:
            return client.reprocess_many(ids, progress=False)

    async def main() -> Report:
        async with AsyncClient("token", **options) as client:
            return await client.reprocess_many(ids, progress=False)

    return asyncio.run(main())


def parts(request: Request) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(request.body)["requests"]
    return found


def once(status: int, tell: Any, headers: dict[str, str] | None = None) -> Any:
    """The first batch is answered so, its n-th part as `tell` says; all others are healthy."""
    first = [True]

    def outer(request: Request) -> Answer | None:
        if not first or not request.path.endswith("$batch"):
            return None
        first.pop()
        told = [{"id": part["id"], **response} for n, part in enumerate(parts(request)) if (response := tell(n))]
        return Answer(status, {"responses": told}, headers or {})

    return outer


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("status", OUTER)
def test_parts_are_told_what_they_are_told(status: int, way: str) -> None:
    ids = assignment_ids(20)

    def tell(n: int) -> dict[str, Any]:
        if n % 4:
            return {"status": 202}
        return {"status": 429, "headers": {"Retry-After": "0.4"}, "body": THROTTLED}

    with Foreign(lambda _: Answer(202), once(status, tell)) as graph:
        report = run(graph.url, ids, way)
    assert report.counts["accepted"] == 20
    assert [outcome.attempts for outcome in report] == [1 if n % 4 else 2 for n in range(20)]
    # Those that were throttled are sent again after their wait, and nobody else.
    assert sorted(graph.ids) == sorted(ids[::4])
    assert report.paused_seconds >= 0.39


@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_all_parts_are_throttled(version: str) -> None:
    ids = assignment_ids(40)
    with Foreign(
        lambda _: Answer(202),
        once(424, lambda _: {"status": 429, "headers": [{"name": "Retry-After", "value": "0.5"}]}),
    ) as graph:
        report = run(graph.url, ids, api_version=version)
    assert report.counts["accepted"] == 40
    assert report.paused_seconds >= 0.49


def test_the_batch_names_the_wait_once_for_all() -> None:
    with Foreign(lambda _: Answer(202), once(424, lambda _: {"status": 429}, {"Retry-After": "0.6"})) as graph:
        report = run(graph.url, assignment_ids(5))
    assert report.counts["accepted"] == 5
    assert report.paused_seconds >= 0.59


def test_a_part_that_asks_for_too_long_is_told_so() -> None:
    with Foreign(
        lambda _: Answer(202),
        once(424, lambda n: {"status": 429, "headers": {"Retry-After": ["86400"]}} if n == 2 else {"status": 202}),
    ) as graph:
        report = run(graph.url, assignment_ids(5))
    assert [outcome.status for outcome in report] == ["accepted"] * 2 + ["failed"] + ["accepted"] * 2
    assert "86400" in (report[2].message or "")


@pytest.mark.parametrize(("status", "attempts"), [(424, 2), (429, 2), (503, 2)])
def test_parts_that_are_left_out_are_told_what_the_batch_is_told(status: int, attempts: int) -> None:
    with Foreign(lambda _: Answer(202), once(status, lambda n: {"status": 202} if n < 15 else None)) as graph:
        report = run(graph.url, assignment_ids(20), max_wait=0.05)
    assert report.counts["accepted"] == 20
    assert [outcome.attempts for outcome in report] == [1] * 15 + [attempts] * 5


@pytest.mark.parametrize("body", [{"responses": []}, {"responses": [{"id": "x", "status": 202}]}, {"responses": 7}])
def test_what_answers_no_part_of_ours_is_a_refusal_of_the_batch(body: Any) -> None:
    ids = assignment_ids(20)
    first = [True]

    def outer(request: Request) -> Answer | None:
        return Answer(424, body) if request.path.endswith("$batch") and first and first.pop() else None

    with Foreign(lambda _: Answer(202), outer) as graph:
        assert run(graph.url, ids).counts["accepted"] == 20
    assert len(graph.requests) == 6, "it was taken apart"


# Headers of parts.

SPELLINGS: dict[str, Any] = {
    "an object": {"Retry-After": "0.4"},
    "lower case": {"retry-after": "0.4"},
    "a number": {"Retry-After": 0.4},
    "a value that is a list": {"Retry-After": ["0.4"]},
    "a list of numbers": {"Retry-After": [0.4]},
    "names and values": [{"name": "Content-Type", "value": "x"}, {"name": "Retry-After", "value": "0.4"}],
    "names and values, otherwise": [{"Name": "retry-after", "Value": 0.4}],
    "keys and values of .NET": [{"Key": "Date", "Value": ["x"]}, {"Key": "Retry-After", "Value": ["0.4"]}],
    "values": [{"name": "Retry-After", "values": ["0.4"]}],
    "pairs": [["Content-Type", "x"], ["Retry-After", "0.4"]],
    "objects of one": [{"Content-Type": "x"}, {"Retry-After": "0.4"}],
    "lines": ["Content-Type: x", "Retry-After: 0.4"],
    "mixed with rubbish": [
        7,
        None,
        [],
        {},
        [7, 8],
        {"name": 7, "value": 8},
        "x",
        {"name": "Retry-After", "value": "0.4"},
    ],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("status", [200, 424])
def test_headers_of_parts_are_read_in_every_spelling(spelling: str, status: int) -> None:
    with Foreign(
        lambda _: Answer(202), once(status, lambda _: {"status": 429, "headers": SPELLINGS[spelling]})
    ) as graph:
        report = run(graph.url, assignment_ids(3))
    assert report.counts["accepted"] == 3
    # Without a wait that could be read, the back-off would be drawn: a pause of just this length is no accident.
    assert 0.39 <= report.paused_seconds < 0.41


@pytest.mark.parametrize("headers", [None, 7, "Retry-After", [], {}, {"Retry-After": None}, {"Retry-After": [[]]}])
def test_headers_that_mean_nothing_are_none(headers: Any) -> None:
    with Foreign(lambda _: Answer(202), once(200, lambda _: {"status": 429, "headers": headers})) as graph:
        assert run(graph.url, assignment_ids(3), max_wait=0.02).counts["accepted"] == 3
