"""Schedules of faults drawn at random: whatever happens in whatever order, the invariants hold.

A failure prints its seed; `ENTRA_REPROCESS_SEED=<seed> pytest tests/test_schedules.py` repeats the schedules.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from entra_reprocess import Client, Outcome, Report, RunStoppedError, Status

from .faults import Fault, FaultServer, Record
from .held import CANARY, WAYS, judge, leaks, run
from .kinds_of_faults import OF_ITEMS, OF_REQUESTS

pytestmark = [
    pytest.mark.usefixtures("nothing_leaks"),
    pytest.mark.filterwarnings("ignore:a batch answer held an answer:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:the service takes no batches:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:journal .* it is complete since:RuntimeWarning"),
]

SCHEDULES = 500
AT_A_TIME = 4
ENDS = ["by itself"] * 7 + ["deadline", "source raises", "callback raises", "left early", "resumed"]
"""How a run may end."""


class Schedule:
    """What is asked for and what happens, all of it from one random number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.chance = chance = Random(name)
        count = chance.choice([1, 2, 19, 20, 21, chance.randrange(1, 120)])
        # Ids of their own, so that a request that is still under way belongs to no other schedule.
        self.ids = list(dict.fromkeys(str(_guid(chance)) for _ in range(count)))
        self.way = chance.choice(WAYS)
        self.end = chance.choice(ENDS)
        self.options: dict[str, Any] = {
            "batch_size": chance.randrange(1, 21),
            "concurrency": chance.choice([1, 2, 8, 30]),
            "api_version": chance.choice(["beta", "v1.0"]),
            "max_retries": chance.choice([0, 1, 3, 8]),
            "max_wait": 0.03,
            "timeout": 0.3,
        }
        self.settings: dict[str, Any] = {
            "latency": chance.choice([0, 0, 0.002]),
            "keep_alive": chance.choice(["on", "on", "off", "silent", "stale"]),
            "clock_offset": chance.choice([0, -86_400, 86_400]),
            "seed": chance.getrandbits(32),
        }
        if chance.random() < 0.2:
            self.settings |= {"quota": chance.choice(["bucket", "window"]), "quota_size": 20, "quota_seconds": 0.05}
        if chance.random() < 0.1:
            self.settings |= {"marked": chance.sample(self.ids, 1), "marked_status": chance.choice([400, 413, 424])}
        if chance.random() < 0.05:
            self.settings["refuse_batches"] = chance.choice(["whole", "parts"])
        # Few kinds at a time: with all of them at once, few runs would get far.
        often = chance.choice([0.0, 0.1, 0.4, 0.9])
        self.requests = [self._draw(OF_REQUESTS, often) for _ in range(chance.randrange(1, 40))]
        self.items = {
            item: [self._draw(OF_ITEMS, 0.7) for _ in range(chance.randrange(1, 4))]
            for item in self.ids
            if chance.random() < often / 2
        }

    def describe(self) -> str:
        """For people, without the faults, which follow from the seed."""
        return f"{len(self.ids)} ids, {self.way}, ends {self.end}: {self.options} {self.settings}"

    def _draw(self, kinds: Any, often: float) -> tuple[str, Fault] | None:
        if self.chance.random() >= often:
            return None
        kind = self.chance.choice(list(kinds))
        # What takes its time comes seldom, or the schedules would take long.
        if kind in ("too late", "dripping", "too large") and self.chance.random() < 0.7:
            return None
        return kind, kinds[kind](self.chance)

    def play(self, server: FaultServer) -> Record:
        """Run it and hold the invariants; gives what the server recorded."""
        server.reset(tokens=[CANARY], **self.settings)
        server.script(
            ids={item: [fault and fault[1] for fault in each] for item, each in self.items.items()},
            requests=[fault and fault[1] for fault in self.requests],
        )
        if self.end == "left early":
            return self._leave_early(server)
        if self.end == "resumed":
            return self._resume(server)
        ids: Any = self.ids
        # From throttling at random the pace may learn to be slow; no schedule has to be waited for to its end.
        call: dict[str, Any] = {"deadline": 1.0}
        if self.end == "deadline":
            call["deadline"] = self.chance.choice([0.02, 0.1, 0.3])
        elif self.end == "source raises":
            ids = self._raising()
        elif self.end == "callback raises" and self.way in ("sync", "async"):
            call[self.chance.choice(["on_outcome", "progress"])] = _raise
        outcomes, report, stopped = run(server, ids, way=self.way, call=call, **self.options)
        if self.end == "by itself" and stopped is not None:
            assert stopped.__cause__ is not None
        return judge(server, self.ids, outcomes, report, stopped, settle=0).record

    def _raising(self) -> Iterator[str]:
        yield from self.ids
        raise OSError("the file ended")

    def _leave_early(self, server: FaultServer) -> Record:
        outcomes: list[Outcome] = []
        wanted = self.chance.randrange(1, len(self.ids) + 1)
        with Client(CANARY, base_url=server.url, **self.options) as client:
            try:
                for outcome in client.iter_reprocess(self.ids):
                    outcomes.append(outcome)
                    if len(outcomes) == wanted:
                        break
            except RunStoppedError:
                assert len(outcomes) == len(self.ids)
        return judge(server, self.ids, outcomes, settle=0, interrupted=True).record

    def _resume(self, server: FaultServer) -> Record:
        """Stop early with a journal, and go on with that."""
        retry: tuple[Status, ...] = self.chance.choice([(), ("unknown",), ("unknown", "failed")])
        with TemporaryDirectory() as folder:
            journal = Path(folder) / "journal"
            call = {"journal": journal, "deadline": self.chance.choice([0.01, 0.05, 0.2])}
            run(server, self.ids, way=self.way, call=call, **self.options)
            report: Report | None
            with Client(CANARY, base_url=server.url, **self.options) as client:
                try:
                    again: dict[str, Any] = {"journal": journal, "retry": retry, "deadline": 1.0}
                    report = client.reprocess_many(self.ids, progress=False, **again)
                except RunStoppedError as stopped:
                    report = stopped.report
            assert report is not None
            assert leaks(*(file.read_bytes().decode("latin-1") for file in Path(folder).iterdir())) == []
        # The second run knows of no wait that was told to the first one, least of all in its last moment.
        return judge(server, self.ids, list(report), report, settle=0, allowed={"early"}).record

    def met(self, record: Record) -> Iterator[str]:
        """The kinds of faults that really occurred."""
        yield from (fault[0] for fault in self.requests[: record.request_count] if fault)
        for item, faults in self.items.items():
            yield from (fault[0] for fault in faults[: len(record.answers.get(item, ()))] if fault)


def _guid(chance: Random) -> Any:
    from uuid import UUID

    return UUID(int=chance.getrandbits(128))


def _raise(*_: object) -> None:
    raise LookupError("no")


def play(seed: str, numbers: range) -> tuple[Counter[str], Counter[str]]:
    """Play these schedules on a server of their own: how often each kind was met, and how the runs ended."""
    met: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    with FaultServer() as server:
        for number in numbers:
            schedule = Schedule(f"{seed}/{number}")
            try:
                met.update(schedule.met(schedule.play(server)))
            except BaseException as error:
                error.add_note(f"in schedule {number} of ENTRA_REPROCESS_SEED={seed}: {schedule.describe()}")
                raise
            ends[schedule.end] += 1
    return met, ends


def test_schedules_drawn_at_random() -> None:
    seed = os.environ.get("ENTRA_REPROCESS_SEED") or str(SystemRandom().getrandbits(32))
    print(f"repeat it with ENTRA_REPROCESS_SEED={seed}")
    met: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    # They mostly wait, so some are played at a time.
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        shares = [range(first, SCHEDULES, AT_A_TIME) for first in range(AT_A_TIME)]
        for share_met, share_ends in pool.map(play, [seed] * AT_A_TIME, shares):
            met.update(share_met)
            ends.update(share_ends)
    assert ends.total() == SCHEDULES
    assert {*OF_REQUESTS, *OF_ITEMS} - met.keys() == set(), "every kind occurs"
    assert set(ENDS) - ends.keys() == set(), "every end occurs"


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_schedules_for_long() -> None:
    for _ in range(20):
        test_schedules_drawn_at_random()
