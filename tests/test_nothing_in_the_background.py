"""Whatever is raised around a run, and whenever: it ends, its report is kept, and its journal is let go of.

The exceptions come at any line of ours, from the bar, from a stderr that is closed or missing, and as Ctrl-C.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, RunInterrupted, RunStoppedError

from . import scripts
from .faults import FaultServer, assignment_ids
from .held import CANARY, judge

IDS = assignment_ids(60)
ways = pytest.mark.parametrize("way", ["sync", "async"])


def call(faulty: FaultServer, way: str, ids: Any = IDS, *, verb: str = "reprocess_many", **options: Any) -> Report:
    if way == "sync":
        with Client(CANARY, base_url=faulty.url, concurrency=1) as client:
            result: Report = getattr(client, verb)(ids, **options)
            return result

    async def main() -> Report:
        async with AsyncClient(CANARY, base_url=faulty.url, concurrency=1) as client:
            result: Report = await getattr(client, verb)(ids, **options)
            return result

    return asyncio.run(main())


# The bar.


class Bar:
    """Stands for tqdm's; raises where it is told to."""

    raises: dict[str, BaseException]
    n = 0
    disable = False

    def __init__(self, **_: object) -> None:
        self._do("make")

    def _do(self, what: str) -> None:
        if what in self.raises:
            raise self.raises[what]

    def set_postfix_str(self, *_: object, **__: object) -> None:
        self._do("postfix")

    def update(self, n: int) -> None:
        self.n += n
        self._do("update")

    def refresh(self) -> None:
        self._do("refresh")

    def close(self) -> None:
        self._do("close")


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> type[Bar]:
    import tqdm.auto

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    Bar.raises = {}
    return Bar


MOMENTS = ["make", "postfix", "update", "refresh", "close"]


@ways
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", [ValueError, BrokenPipeError, RuntimeError])
def test_a_bar_that_cannot_be_drawn_costs_nothing(
    faulty: FaultServer, bar: type[Bar], way: str, moment: str, kind: type[Exception]
) -> None:
    bar.raises = {moment: kind("no place to draw")}
    with pytest.warns(RuntimeWarning, match=f"the progress bar is left out.*{kind.__name__}: no place") as heard:
        report = call(faulty, way, progress=True)
    assert len(heard) == 1
    assert report.counts["accepted"] == 60


@ways
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_the_bar_is_drawn(
    faulty: FaultServer, bar: type[Bar], way: str, moment: str, tmp_path: Path
) -> None:
    bar.raises = {moment: KeyboardInterrupt()}
    with pytest.raises(RunInterrupted) as interrupted:
        call(faulty, way, progress=True, journal=tmp_path / "june.db")
    report = interrupted.value.report
    assert report is not None
    judge(faulty, IDS, list(report), report)
    if moment == "make":
        assert faulty.record().request_count == 0
    bar.raises = {}
    assert call(faulty, way, journal=tmp_path / "june.db").counts["accepted"] == 60


@ways
@pytest.mark.parametrize("verb", ["reprocess_many", "resume"])
def test_without_tqdm_a_bar_is_refused_before_anything_is_sent(
    faulty: FaultServer, monkeypatch: pytest.MonkeyPatch, way: str, verb: str, tmp_path: Path
) -> None:
    journal = tmp_path / "june.db"
    if verb == "resume":
        faulty.set(latency=0.2)
        assert 0 < call(faulty, way, journal=journal, deadline=0.5).counts["not_attempted"] < 60
        faulty.reset(tokens=[CANARY])
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"progress=True needs tqdm.*pip install tqdm, or pass progress=False"):
        call(faulty, way, journal if verb == "resume" else IDS, verb=verb, progress=True)
    assert faulty.record().request_count == 0
    # Where nobody has asked for one, there is none.
    monkeypatch.setattr("entra_reprocess._progress._is_terminal", lambda: True)
    assert call(faulty, way, journal if verb == "resume" else IDS, verb=verb).counts["accepted"] == 60


STDERR = """
    import asyncio, sys
    from entra_reprocess import AsyncClient, Client
    from entra_reprocess.emulator import Emulator
    from tests.foreign import Answer
    way, state, progress = sys.argv[1:]
    if state == "closed":
        sys.stderr.close()
    elif state == "none":
        sys.stderr = None
    elif state == "a broken pipe":
        import os
        reader, writer = os.pipe()
        os.close(reader)
        sys.stderr = open(writer, "w", buffering=1)
        sys.stderr.isatty = lambda: True
    else:
        class Odd:
            def __getattr__(self, name):
                raise RuntimeError("not this one")
        sys.stderr = Odd()
    with Emulator(40, latency=0.6) as graph:
        options = {"progress": {"True": True, "None": None}[progress]}
        if way == "sync":
            report = Client(graph.credential, base_url=graph.url, concurrency=1).reprocess_many(graph.ids, **options)
        else:
            report = asyncio.run(
                AsyncClient(graph.credential, base_url=graph.url, concurrency=1).reprocess_many(graph.ids, **options)
            )
        print(report.counts["accepted"], flush=True)
    import os
    os._exit(0)  # what Python itself does with such a stderr at its end is no matter of ours
"""


@ways
@pytest.mark.parametrize("state", ["closed", "none", "a broken pipe", "odd"])
@pytest.mark.parametrize("progress", ["True", "None"])
def test_a_stderr_that_nobody_can_write_to(way: str, state: str, progress: str) -> None:
    done = scripts.run(STDERR, way, state, progress)
    assert (done.returncode, done.stdout) == (0, "40\n"), done.stderr


@ways
@pytest.mark.parametrize("kind", [ValueError, BrokenPipeError, KeyboardInterrupt])
def test_a_bar_that_cannot_be_drawn_holds_up_no_other_bar(
    faulty: FaultServer, monkeypatch: pytest.MonkeyPatch, way: str, kind: type[BaseException]
) -> None:
    """tqdm keeps its lock where drawing raises."""
    from tqdm.auto import tqdm

    def fails(_: str) -> None:
        raise kind("no place to draw")

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=fails, flush=lambda: None, isatty=lambda: True))
    if kind is KeyboardInterrupt:
        with pytest.raises(RunInterrupted):
            call(faulty, way, progress=True)
    else:
        with pytest.warns(RuntimeWarning, match="the progress bar is left out"):
            assert call(faulty, way, progress=True).counts["accepted"] == 60
    monkeypatch.undo()
    lock: Any = getattr(tqdm, "get_lock")()  # noqa: B009 - it has no types
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    assert taken.wait(5)


SLOW_IMPORT = """
    import asyncio, importlib.abc, signal, sys, time
    url, way, journal = sys.argv[1:]

    class Slow(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "tqdm":
                print("importing", flush=True)
                until = time.monotonic() + 10
                while time.monotonic() < until:
                    time.sleep(0.01)

    sys.meta_path.insert(0, Slow())
    from entra_reprocess import AsyncClient, Client
    from tests.faults import assignment_ids
    try:
        if way == "sync":
            Client("token", base_url=url).reprocess_many(assignment_ids(60), progress=True, journal=journal)
        else:
            asyncio.run(
                AsyncClient("token", base_url=url).reprocess_many(assignment_ids(60), progress=True, journal=journal)
            )
    except KeyboardInterrupt as error:
        time.sleep(0.5)  # in which nothing may go on
        print("interrupted")
        sys.exit()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@ways
def test_ctrl_c_while_the_bar_is_imported(faulty: FaultServer, way: str, tmp_path: Path) -> None:
    faulty.reset()
    process = scripts.start(SLOW_IMPORT, faulty.url, way, str(tmp_path / "june.db"))
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    if way == "async":
        # The first one only asks the task to end, as soon as it waits for something.
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert out == "interrupted\n", err
    assert faulty.record(settle=2).request_count == 0
    # Nobody holds the journal, if there is one.
    assert not (tmp_path / "june.db-lock").exists()


# Any moment.


def interrupt(faulty: FaultServer, way: str, folder: Path, step: int, timeout: float) -> None:
    """In a process of its own, since a trace function that raises leaves traces in the interpreter."""
    code = """
        import sys
        from tests.interrupted_anywhere import main
        main(*sys.argv[1:])
    """
    faulty.reset()
    ports = str(faulty._control_port), str(faulty.port)
    done = scripts.run(code, *ports, way, str(folder), str(step), timeout=timeout)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 120


@ways
def test_ctrl_c_at_some_lines_of_ours(faulty: FaultServer, way: str, tmp_path: Path) -> None:
    interrupt(faulty, way, tmp_path, 11, 100)


@pytest.mark.soak
@pytest.mark.timeout(600)
@ways
def test_ctrl_c_at_any_line_of_ours(faulty: FaultServer, way: str, tmp_path: Path) -> None:
    interrupt(faulty, way, tmp_path, 1, 500)


# Iterators and states.


@ways
def test_an_iterator_that_is_interrupted_sends_nothing_more(faulty: FaultServer, way: str) -> None:
    ids = assignment_ids(400)
    faulty.set(latency=0.05)
    seen: list[Outcome] = []

    def source() -> Iterator[str]:
        yield from ids[:100]
        raise KeyboardInterrupt

    async def iterate() -> None:
        client = AsyncClient(CANARY, base_url=faulty.url, concurrency=1)
        async for outcome in client.iter_reprocess(source()):
            seen.append(outcome)  # noqa: PERF401 - a comprehension would lose those before an exception

    with pytest.raises(KeyboardInterrupt) as raised:  # noqa: PT012 - one call either way
        if way == "sync":
            # Which keeps those before an exception.
            seen.extend(Client(CANARY, base_url=faulty.url, concurrency=1).iter_reprocess(source()))
        else:
            asyncio.run(iterate())
    count = faulty.record(settle=3).request_count
    time.sleep(0.2)
    assert faulty.record().request_count == count
    judge(faulty, ids[:100], seen, interrupted=True)
    if way == "sync":
        counts = Counter(outcome.status for outcome in seen)
        assert str(raised.value) == "interrupted: " + ", ".join(
            f"{counts[each]} {each}" for each in ("accepted", "not_attempted") if counts[each]
        )


@ways
def test_states_that_are_interrupted_read_nothing_more(faulty: FaultServer, way: str) -> None:
    faulty.set(latency=0.1)

    def source() -> Iterator[str]:
        yield from assignment_ids(100)
        raise LookupError("the source broke")

    with pytest.raises(RunStoppedError, match="LookupError"):
        call(faulty, way, source(), verb="states")
    count = faulty.record(settle=3).request_count
    time.sleep(0.2)
    assert faulty.record().request_count == count
