"""The bar, the callbacks, and what happens when they raise."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from entra_reprocess import Client, Outcome, RunStoppedError, Status
from entra_reprocess.emulator import Emulator

from . import scripts

Call = tuple[int, int | None, dict[Status, int]]


def test_a_callback_hears_of_the_progress(graph: Emulator) -> None:
    calls: list[tuple[float, Call]] = []
    with Emulator(1000, latency=0.1) as slow:
        client = Client(slow.credential, base_url=slow.url, concurrency=2)
        client.reprocess_many(
            slow.ids, progress=lambda done, total, counts: calls.append((time.monotonic(), (done, total, counts)))
        )
    times = [at for at, _ in calls]
    dones = [done for _, (done, _, _) in calls]
    assert len(calls) >= 5
    assert dones == sorted(dones)
    assert all(total == 1000 and sum(counts.values()) == done for _, (done, total, counts) in calls)
    assert calls[-1][1][0] == 1000
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(times[:-1]))


def test_the_total_of_a_generator_is_not_known(graph: Emulator, client: Client) -> None:
    calls: list[Call] = []
    client.reprocess_many(iter(graph.ids), progress=lambda *call: calls.append(call))
    assert calls[-1][:2] == (1000, None)


def test_on_outcome_is_called_once_for_each_different_id(graph: Emulator, client: Client) -> None:
    heard: list[Outcome] = []
    first = graph.ids[0]
    report = client.reprocess_many([*graph.ids, first, first.upper(), "x"], on_outcome=heard.append)
    assert sorted(outcome.id for outcome in heard) == sorted([*graph.ids, "x"])
    assert {outcome.id: outcome for outcome in heard} == {outcome.id: outcome for outcome in report}


def test_an_exception_of_a_callback_stops_the_run_with_its_report(graph: Emulator, client: Client) -> None:
    def fail(*_: object) -> None:
        raise LookupError("no")

    callbacks: list[dict[str, Any]] = [{"on_outcome": fail}, {"progress": fail}]
    for stopped_by in callbacks:
        with pytest.raises(RunStoppedError, match="LookupError") as stopped:
            client.reprocess_many(graph.ids, **stopped_by)
        assert isinstance(stopped.value.__cause__, LookupError)
        assert stopped.value.report is not None
        assert stopped.value.report.ids == graph.ids


def test_an_exception_of_the_ids_stops_the_run_with_its_report(graph: Emulator, client: Client) -> None:
    def ids(fail_at: int) -> Iterator[str]:
        yield from graph.ids[:fail_at]
        raise OSError("the file ended")

    for fail_at in (0, 1, 19, 20, 21, 777):
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(ids(fail_at))
        assert isinstance(stopped.value.__cause__, OSError)
        report = stopped.value.report
        assert report is not None
        assert report.ids == graph.ids[:fail_at]
        assert report.counts["unknown"] == report.counts["failed"] == 0
        streamed: list[str] = []
        with pytest.raises(RunStoppedError) as stopped:
            streamed.extend(outcome.id for outcome in client.iter_reprocess(ids(fail_at)))
        assert isinstance(stopped.value.__cause__, OSError)
        assert sorted(streamed) == sorted(graph.ids[:fail_at])


def test_progress_of_another_type_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="progress"):
        client.reprocess_many([], progress="yes")  # type: ignore[arg-type]  # that is what must fail


BAR = """
    import sys
    from entra_reprocess import Client
    from entra_reprocess.emulator import Emulator
    progress = {"None": None, "True": True, "False": False}[sys.argv[1]]
    with Emulator(60, latency=float(sys.argv[2])) as graph:
        client = Client(graph.credential, base_url=graph.url, concurrency=1)
        report = client.reprocess_many(graph.ids, progress=progress)
    print(report.counts["accepted"], "tqdm" in sys.modules)
"""


def on_terminal(*arguments: str) -> str:
    """Run the script with a terminal for its standard error; gives what the terminal shows."""
    import pty
    import subprocess
    import termios
    import textwrap

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BAR), *arguments], stderr=theirs, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty there")
class TestBar:
    """The bar on a terminal."""

    def test_it_shows_when_the_work_lasts(self) -> None:
        assert "60/60" in on_terminal("None", "0.5")

    def test_it_does_not_show_for_a_moment(self) -> None:
        assert on_terminal("None", "0") == ""

    def test_it_shows_when_asked_for(self) -> None:
        shown = on_terminal("True", "0")
        assert "60/60" in shown
        assert "reprocess" in shown

    def test_it_never_shows_when_told_so(self) -> None:
        assert on_terminal("False", "0.5") == ""


def test_without_a_terminal_there_is_no_bar() -> None:
    done = scripts.run(BAR, "None", "0.5")
    assert done.stdout == "60 False\n"
    assert done.stderr == ""
