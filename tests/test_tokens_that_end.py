"""Tokens that end in the middle of a batch, and what is known of its other parts then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, CredentialError, Report, RunStoppedError

from .faults import Fault, FaultServer, assignment_ids, broken_invariants, fail
from .held import CANARY, leaks

pytestmark = pytest.mark.usefixtures("nothing_leaks")


class Ending:
    """Gives a token so many times and then raises."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked > self.times:
            raise LookupError("the session is over")
        return CANARY


def collect(faulty: FaultServer, way: str, ids: list[str], credential: Ending) -> Report:
    if way == "sync":
        with Client(credential, base_url=faulty.url) as client:
            return client.reprocess_many(ids, progress=False)

    async def fetch() -> str:
        return credential()

    async def main() -> Report:
        async with AsyncClient(fetch, base_url=faulty.url) as client:
            return await client.reprocess_many(ids, progress=False)

    return asyncio.run(main())


both = pytest.mark.parametrize("way", ["sync", "async"])


@both
def test_parts_that_are_refused_are_sent_again_with_a_new_token(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(40)
    refused = ids[3:9]
    faulty.script(ids={item: [fail(401)] for item in refused})
    credential = Ending(2)
    report = collect(faulty, way, ids, credential)
    record = faulty.record()
    assert report.counts["accepted"] == 40
    assert credential.asked == 2
    assert {item: len(record.answers[item]) for item in ids} == {item: 2 if item in refused else 1 for item in ids}


@both
@pytest.mark.parametrize("lost", [False, True])
def test_what_else_the_batch_was_told_is_not_forgotten_when_no_new_token_comes(
    faulty: FaultServer, way: str, lost: bool
) -> None:
    ids = assignment_ids(40)
    # One part of twenty is refused for its token; the others were executed, accepted or lost, and refused for good.
    faults: dict[str, list[Fault | None]] = {ids[3]: [fail(401)], ids[5]: [fail(404)]}
    if lost:
        faults[ids[7]] = [Fault(drop=1)]
    faulty.script(ids=faults)
    with pytest.raises(RunStoppedError) as stopped:
        collect(faulty, way, ids, Ending(1))
    report = stopped.value.report
    # First of all: this frame belongs to the traceback, and what the server recorded holds the token.
    assert leaks(stopped.value, report) == []
    assert isinstance(stopped.value.__cause__, CredentialError)
    assert report is not None
    outcomes: dict[str, Any] = {outcome.id: outcome.status for outcome in report}
    record = faulty.record(settle=2)
    assert broken_invariants(record, ids, outcomes) == []
    first = [item for item in ids if record.executed(item)]
    assert outcomes[ids[5]] == "not_found"
    assert outcomes[ids[7]] == ("unknown" if lost else "accepted")
    assert {outcomes[item] for item in first if item != ids[7]} == {"accepted"}
    assert outcomes[ids[3]] in ("failed", "not_attempted")
