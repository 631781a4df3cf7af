"""Tokens that end in the middle of a batch, and what is known of its other parts then."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import (
    AsyncClient,
    Client,
    CredentialError,
    Outcome,
    Report,
    RunInterrupted,
    RunStoppedError,
    TransportError,
)

from .faults import Fault, FaultServer, assignment_ids, broken_invariants, fail, reset, throttled
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


class Waiting:
    """Gives a token at once, and the next one when somebody has signed in."""

    def __init__(self) -> None:
        self.asked = 0
        self.waits = threading.Event()
        self.signed_in = threading.Event()

    def __call__(self) -> str:
        self.asked += 1
        if self.asked > 1:
            self.waits.set()
            self.signed_in.wait(30)
        return CANARY

    def then(self, act: Callable[[], object]) -> threading.Thread:
        """Do this as soon as the next token is waited for."""

        def when_it_waits() -> None:
            assert self.waits.wait(20)
            act()

        thread = threading.Thread(target=when_it_waits)
        thread.start()
        return thread


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    credential = Waiting()
    yield credential
    credential.signed_in.set()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def ended(faulty: FaultServer, ids: list[str], credential: Waiting, end: str, journal: Path) -> list[Outcome]:
    """Run these and end the run in this way while the next token is waited for; gives what was reported."""
    if end == "cancel":
        return cancelled(faulty, ids, credential, journal)
    client = Client(credential, base_url=faulty.url)
    if end == "close":
        credential.then(client.close)
    elif end == "ctrl-c":
        credential.then(interrupt)
    deadline = 2 if end == "deadline" else None
    try:
        report: Report | None = client.reprocess_many(ids, progress=False, deadline=deadline, journal=journal)
    except (RunStoppedError, RunInterrupted) as error:
        report = error.report
    assert credential.waits.is_set()
    assert report is not None
    return list(report)


def cancelled(faulty: FaultServer, ids: list[str], credential: Waiting, journal: Path) -> list[Outcome]:
    heard: list[Outcome] = []

    async def main() -> None:
        async with AsyncClient(credential, base_url=faulty.url) as client:
            run = client.reprocess_many(ids, progress=False, on_outcome=heard.append, journal=journal)
            task = asyncio.create_task(run)
            await asyncio.to_thread(credential.waits.wait, 20)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())
    return heard


ENDS = [
    "deadline",
    "close",
    "cancel",
    pytest.param("ctrl-c", marks=pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to this process")),
]


@pytest.mark.parametrize("refused", ["one part", "some parts", "every part", "the batch"])
@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_ends_while_the_next_token_is_waited_for_knows_what_was_answered(
    faulty: FaultServer, waiting: Waiting, tmp_path: Path, end: str, refused: str
) -> None:
    ids = assignment_ids(20)
    told = {"one part": ids[7:8], "some parts": ids[::3]}.get(refused, ids)
    if refused == "the batch":
        faulty.script(requests=[fail(401)])
    else:
        faulty.script(ids={item: [fail(401)] for item in told})
    journal = tmp_path / "june.db"
    started = time.monotonic()
    outcomes = ended(faulty, ids, waiting, end, journal)
    assert time.monotonic() - started < 15, "nobody waits for the token any more"
    expected = {item: "not_attempted" if item in told else "accepted" for item in ids}
    assert {outcome.id: outcome.status for outcome in outcomes} == expected
    # Nothing of those that were refused is in doubt, and it is said why they were not sent again.
    messages = {outcome.message for outcome in outcomes if outcome.id in told}
    assert all(message is not None and "(401)" in message for message in messages), messages
    assert {each.id: each.status for each in Report.from_journal(journal)} == expected
    # So a resume sends nothing twice.
    with Client(CANARY, base_url=faulty.url) as client:
        assert client.resume(journal, progress=False).counts["accepted"] == 20
    assert {faulty.record().executed(item) for item in ids} == {1}


def test_parts_that_are_refused_wait_out_the_pause_that_others_are_told(faulty: FaultServer) -> None:
    ids = assignment_ids(20)
    # Graph lets nobody send before a Retry-After is over (https://learn.microsoft.com/graph/throttling).
    faulty.script(ids={item: [fail(401) if item < ids[5] else throttled("1")] for item in ids})
    report = collect(faulty, "sync", ids, Ending(2))
    assert report.counts["accepted"] == 20
    first, *later = faulty.record().requests
    assert first.done_at is not None
    # The two clocks may differ a little in how they round.
    assert min(request.at for request in later) - first.done_at > 0.99


def test_of_a_single_call_that_is_closed_it_is_known_whether_it_is_in_doubt(
    faulty: FaultServer, waiting: Waiting
) -> None:
    item, other = assignment_ids(2)
    faulty.script(ids={item: [fail(401)], other: [Fault(delay=3)]})
    client = Client(waiting, base_url=faulty.url)
    waiting.then(client.close)
    with pytest.raises(TransportError, match="nothing that was sent is unanswered"):
        client.reprocess(item)
    client = Client(CANARY, base_url=faulty.url)
    timer = threading.Timer(0.5, client.close)
    timer.start()
    with pytest.raises(TransportError, match="what was sent was not answered"):
        client.reprocess(other)


def test_a_single_call_that_finds_no_token_says_that_an_attempt_before_was_lost(faulty: FaultServer) -> None:
    item, other = assignment_ids(2)
    faulty.script(ids={item: [reset(executed=True), fail(401)], other: [fail(401)]})
    with (
        Client(Ending(1), base_url=faulty.url) as client,
        pytest.raises(CredentialError, match="sent and lost") as lost,
    ):
        client.reprocess(item)
    assert isinstance(lost.value.__cause__, LookupError)
    assert faulty.record().executed(item) == 1
    with Client(Ending(1), base_url=faulty.url) as client, pytest.raises(CredentialError) as refused:
        client.reprocess(other)
    assert "lost" not in str(refused.value)


def test_a_cancelled_task_has_told_of_all_that_was_answered(faulty: FaultServer) -> None:
    ids = assignment_ids(60)
    heard: list[Outcome] = []
    cancel: Callable[[], object] = list

    def hear(outcome: Outcome) -> None:
        if not heard:
            # The other batches are answered meanwhile.
            until = time.monotonic() + 10
            while len(faulty.record().executions) < 60 and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(0.5)
            cancel()
        heard.append(outcome)

    async def main() -> None:
        nonlocal cancel
        async with AsyncClient(CANARY, base_url=faulty.url) as client:
            task = asyncio.create_task(client.reprocess_many(ids, progress=False, on_outcome=hear))
            cancel = task.cancel
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()

    asyncio.run(main())
    executed = [item for item in ids if faulty.record().executed(item)]
    assert [outcome.id for outcome in heard if outcome.status == "accepted"] != []
    assert {outcome.id for outcome in heard if outcome.status == "accepted"} == set(executed)
