"""Input that raises, repeats itself, or is no id, checked against what reached the wire."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any
from uuid import UUID

import pytest

from entra_reprocess import AsyncClient, Outcome, RunStoppedError

from .faults import Fault, FaultServer, assignment_ids, fail, throttled
from .held import CANARY, WAYS, Held, hold, judge, run

pytestmark = pytest.mark.usefixtures("nothing_leaks")


# The source raises midway.


class BrokenError(Exception):
    """Raised by a source of ids."""


def breaking(ids: list[str]) -> Iterator[str]:
    yield from ids
    raise BrokenError("the source broke")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [0, 1, 20, 333])
def test_a_source_that_raises_leaves_every_outcome_known(faulty: FaultServer, way: str, count: int) -> None:
    ids = assignment_ids(count)
    faulty.set(latency=0.01)
    # Some of it is throttled, lost or refused when the source raises.
    faulty.script(requests=[None, throttled("0.2"), Fault(cut=0, executed=True), fail(500), None])
    held = told(faulty, breaking(ids), ids, way)
    assert held.counts["rejected"] == held.counts["forbidden"] == 0
    assert held.stopped is not None
    assert "BrokenError" in str(held.stopped)


def test_an_asynchronous_source_that_raises(faulty: FaultServer) -> None:
    ids = assignment_ids(150)

    async def source() -> AsyncIterator[str]:
        for item in ids:
            yield item
        raise BrokenError("the source broke")

    for way in ("async", "async iterator"):
        faulty.reset(tokens=[CANARY])
        told(faulty, source(), ids, way)


def told(faulty: FaultServer, source: Any, ids: list[str], way: str) -> Held:
    outcomes, report, stopped = run(faulty, source, way=way)
    held = judge(faulty, ids, outcomes, report, stopped)
    assert stopped is not None
    assert isinstance(stopped.__cause__, BrokenError)
    assert (report is None) == ("iterator" in way)
    return held


@pytest.mark.parametrize("way", WAYS)
def test_what_is_under_way_when_the_source_raises_is_answered_first(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(41)
    faulty.set(latency=0.5)

    def source() -> Iterator[str]:
        yield from ids[:40]
        time.sleep(0.1)  # so slow that those before must not wait for it
        yield ids[40]
        time.sleep(0.2)
        raise BrokenError("the source broke")

    held = told(faulty, source(), ids, way)
    assert held.counts["accepted"] >= 40
    assert held.counts["unknown"] == 0


# Repeated ids.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [20, 1])
def test_a_repeated_id_is_sent_once_and_has_one_outcome(faulty: FaultServer, way: str, batch_size: int) -> None:
    unique = assignment_ids(60)
    refused = {item: [fail(404)] * 2 for item in unique[::7]}  # the first answer may be cut
    faulty.set(latency=0.003)
    faulty.script(ids=refused, requests=[None, Fault(cut=0, executed=False)])
    chance = Random(3)
    ids = unique + chance.choices(unique, k=400)
    held = hold(faulty, ids, way=way, batch_size=batch_size, max_wait=0.05)
    assert held.statuses == {item: "not_found" if item in refused else "accepted" for item in unique}
    if held.report is None:
        assert len(held.outcomes) == 60
    else:
        assert [outcome.index for outcome in held.outcomes] == [ids.index(item) for item in ids]
        assert held.report.counts["not_found"] == sum(item in refused for item in ids)
    lost = {item for row in held.record.requests if not row.whole for item in row.ids}
    assert {item: held.sent(item) for item in unique} == {item: 2 if item in lost else 1 for item in unique}


# What is no id never reaches the wire, and every spelling of an id arrives in one.

GUID_PATH = re.compile(
    r"/beta/(\$batch|identityGovernance/entitlementManagement/accessPackageAssignments"
    r"/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/reprocess)"
)
PARTS = [
    "../",
    "..\\",
    "%2e%2e%2f",
    "%00",
    "\0",
    "\r\n",
    "\n",
    "?a=b",
    "#",
    "/",
    ";",
    "{",
    "}",
    "é",
    "\u202e",
    " ",
    "'",
]


def nonsense(chance: Random) -> Any:
    """Something that is no id, most of the time one with something put in."""
    good = str(UUID(int=chance.getrandbits(128)))
    place = chance.randrange(len(good) + 1)
    part = chance.choice(PARTS)
    # Around an id, white space and marks without width are no fault.
    blank = not part.strip() or part == "\u202e"
    return chance.choice(
        [
            good[:place] + part + good[place:] if 0 < place < len(good) or not blank else part,
            part if blank else part + good,
            part if blank else good + part,
            good[:-1],
            good + "0",
            good.replace("-", "", 1),
            good.replace("-", "_"),
            f"{{{good}",
            f"urn:guid:{good}",
            f"{good}/reprocess",
            f"https://graph.microsoft.com/{good}",
            good[:8] + "g" + good[9:],
            part * chance.randrange(1, 50),
            None,
            chance.getrandbits(64),
            chance.random(),
            good.encode(),
            [good],
            {"id": good},
            object(),
        ]
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [20, 1])
def test_nonsense_is_rejected_here(faulty: FaultServer, way: str, batch_size: int) -> None:
    chance = Random(11)
    good = assignment_ids(50)
    bad = [nonsense(chance) for _ in range(500)]
    bad += ["x" * 1_000_000, "../" * 300_000, UUID]
    ids: list[Any] = [*good, *bad]
    chance.shuffle(ids)
    outcomes, _, stopped = run(faulty, ids, way=way, batch_size=batch_size)
    record = faulty.record()
    assert stopped is None
    assert [outcome.index for outcome in outcomes] == list(range(len(ids)))
    for item, outcome in zip(ids, outcomes, strict=True):
        assert (outcome.status, outcome.http_status) == (("accepted", 202) if item in good else ("rejected", None))
        assert len(outcome.id) <= 100
        assert len(outcome.message or "") < 500
    assert record.violations == []
    assert all(GUID_PATH.fullmatch(row.path) for row in record.requests)
    assert Counter(item for row in record.requests for item in row.ids) == Counter(good)


SPELLINGS: list[Any] = [
    str,
    str.upper,
    lambda item: f"{{{item}}}",
    lambda item: f"{{{item.upper()}}}",
    lambda item: f"urn:uuid:{item}",
    lambda item: f"URN:UUID:{item.upper()}",
    UUID,
    lambda item: item[:18].upper() + item[18:],
    lambda item: item.replace("-", ""),
    lambda item: f"\ufeff {item}\u200b\r\n",
]


@pytest.mark.parametrize("way", WAYS)
def test_every_spelling_arrives_as_one(faulty: FaultServer, way: str) -> None:
    ids = [f"abcdefab-cdef-4abc-8def-{n:012x}" for n in range(len(SPELLINGS))]
    spelt = [spell(item) for spell, item in zip(SPELLINGS, ids, strict=True)]
    outcomes, _, _ = run(faulty, spelt, way=way)
    held = judge(faulty, ids, outcomes)
    assert [(outcome.id, outcome.index) for outcome in held.outcomes] == [(item, n) for n, item in enumerate(ids)]
    # All spellings of one id are one id.
    faulty.reset(tokens=[CANARY])
    outcomes, _, _ = run(faulty, [spell(ids[0]) for spell in SPELLINGS], way=way)
    assert {(outcome.id, outcome.index, outcome.status) for outcome in outcomes} == {(ids[0], 0, "accepted")}
    assert faulty.record().executed(ids[0]) == 1


# A task that is cancelled.


@pytest.mark.parametrize("after", [0.0, 0.05, 0.15, 0.3])
def test_a_cancelled_task_has_told_what_it_knows(faulty: FaultServer, after: float) -> None:
    ids = assignment_ids(300)
    heard: list[Outcome] = []
    faulty.set(latency=0.1)

    async def main() -> None:
        async with AsyncClient(CANARY, base_url=faulty.url, concurrency=2) as client:
            task = asyncio.create_task(client.reprocess_many(ids, on_outcome=heard.append))
            await asyncio.sleep(after)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert len({outcome.id for outcome in heard}) == len(heard)
    held = judge(faulty, ids, heard, interrupted=True)
    # What left after the cancelling would be sent into the void.
    assert held.record.request_count <= len(heard) / 20 + 2
    assert RunStoppedError not in {type(outcome.error) for outcome in heard}
