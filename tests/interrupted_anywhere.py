"""A program that runs the client again and again, and raises KeyboardInterrupt at each line of the drivers in turn."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from entra_reprocess import AsyncClient, Client, Outcome, RunInterrupted

from .faults import FaultServer, assignment_ids, broken_invariants

OURS = ("_drive.py", "_drive_async.py", "_feed.py", "_teller.py", "_progress.py")
IDS = assignment_ids(5)


def interrupted_at(number: int, work: Callable[[], object]) -> tuple[BaseException | None, bool]:
    """Do it, and raise at the numbered line of ours; what came of it, and whether it came so far."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(OURS):
            return None
        if event == "line":
            count += 1
            if count == number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except BaseException as error:
        return error, count >= number
    finally:
        sys.settrace(None)
    return None, count >= number


def check(server: FaultServer, way: str, number: int, journal: Path) -> bool:
    """One run; whether it came as far as the numbered line."""
    server.reset()
    heard: list[Outcome] = []
    client: Any = (Client if way == "sync" else AsyncClient)("token", base_url=server.url)
    options: Any = {"journal": journal, "on_outcome": heard.append, "progress": lambda *_: None}

    def work() -> None:
        if way == "sync":
            client.reprocess_many(IDS, **options)
        else:
            asyncio.run(client.reprocess_many(IDS, **options))

    error, came = interrupted_at(number, work)
    assert isinstance(error, KeyboardInterrupt) or not came, f"line {number}: {error!r}"
    record, report = server.record(settle=2), client.last_report
    assert report is not None or not record.request_count, f"line {number}: the report of what was sent is gone"
    assert not isinstance(error, RunInterrupted) or error.report is report
    if report is not None:
        assert report.ids == IDS, f"line {number}: {report!r}"
        statuses: dict[str, str] = {each.id: each.status for each in report}
        assert broken_invariants(record, IDS, statuses) == []
        assert len({outcome.id for outcome in heard}) == len(heard)
    # The traceback, and with it every frame of ours, is still held here; and yet the journal is free.
    if journal.exists():
        with Client("token", base_url=server.url) as again:
            assert again.reprocess_many(IDS, journal=journal).counts["accepted"] == 5, f"line {number}"
    assert max(map(len, server.record().executions.values()), default=0) <= (2 if report is None else 1), (
        f"line {number}"
    )
    return came


def main(control: str, port: str, way: str, folder: str, step: str) -> None:
    """Every line, or each so many; prints how many lines there were."""
    server = FaultServer()
    server.port, server._control_port = int(port), int(control)
    number = 1
    while check(server, way, number, Path(folder) / f"{number}.db"):
        # Later on it is the same lines again and again.
        number += int(step) if number < 150 else 29
    print(number)
