"""The report of a run that was interrupted: on the client and named by a note, where the exception cannot hold it."""

from __future__ import annotations

import asyncio
import pickle
import re
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, Report, RunInterrupted, RunStoppedError

from . import scripts
from .faults import FaultServer, assignment_ids, fail
from .held import CANARY, judge, leaks

IDS = assignment_ids(300)
SOME = 0.6
"""Seconds in which some of them are accepted, also on a busy machine, and never all: that takes 1.5 s at the least."""


def notes(error: BaseException | None) -> str:
    """The notes of an exception and of what it came from."""
    found: list[str] = []
    while error is not None:
        found += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    return "\n".join(found)


async def cancelled(client: AsyncClient, **call: Any) -> asyncio.CancelledError:
    task = asyncio.create_task(client.reprocess_many(IDS, **call))
    await asyncio.sleep(SOME)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    return raised.value


async def timed_out(client: AsyncClient, **call: Any) -> TimeoutError:
    try:
        async with asyncio.timeout(SOME):
            await client.reprocess_many(IDS, **call)
    except TimeoutError as error:
        return error
    raise AssertionError("it did not time out")


async def waited_for(client: AsyncClient, **call: Any) -> TimeoutError:
    with pytest.raises(TimeoutError) as raised:
        await asyncio.wait_for(client.reprocess_many(IDS, **call), SOME)
    return raised.value


async def resumed(client: AsyncClient, **call: Any) -> TimeoutError:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reprocess_many(IDS, **call), SOME)
    with pytest.raises(TimeoutError) as raised:
        await asyncio.wait_for(client.resume(call["journal"]), SOME)
    return raised.value


async def grouped(client: AsyncClient, **call: Any) -> BaseException:
    async def other() -> None:
        await asyncio.sleep(SOME)
        raise LookupError("the other task")

    with pytest.raises(BaseExceptionGroup):  # noqa: PT012 - the group is one statement
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.reprocess_many(IDS, **call))
            group.create_task(other())
    try:
        await task
    except asyncio.CancelledError as error:
        return error
    raise AssertionError("it was not cancelled")


Way = Callable[..., Coroutine[Any, Any, BaseException]]


@pytest.mark.parametrize("way", [cancelled, timed_out, waited_for, grouped, resumed])
@pytest.mark.parametrize("with_journal", [False, True])
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_the_report_of_an_awaited_run_that_is_cut_off(
    faulty: FaultServer, tmp_path: Path, way: Way, with_journal: bool, version: Any
) -> None:
    if way is resumed and not with_journal:
        pytest.skip("there is nothing to resume")
    journal = tmp_path / "june.db"
    faulty.set(latency=0.1)

    async def main() -> tuple[BaseException, Report | None]:
        async with AsyncClient(CANARY, base_url=faulty.url, api_version=version, concurrency=1) as client:
            assert client.last_report is None
            error = await way(client, **({"journal": journal} if with_journal else {}))
            return error, client.last_report

    error, report = asyncio.run(main())
    assert report is not None
    judge(faulty, IDS, list(report), report)
    assert report.counts["accepted"] > 0
    assert report.counts["not_attempted"] > 0
    assert f"It ended a run: {report!r}; client.last_report has it" in notes(error)
    assert (f"client.resume({str(journal)!r})" in notes(error)) == with_journal
    assert leaks(error) == []


def test_it_is_cancelled_again_while_it_ends(faulty: FaultServer) -> None:
    faulty.set(latency=0.1)

    async def main() -> Report | None:
        async with AsyncClient(CANARY, base_url=faulty.url, concurrency=1) as client:
            task = asyncio.create_task(client.reprocess_many(IDS))
            await asyncio.sleep(0.25)
            for _ in range(5):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            return client.last_report

    report = asyncio.run(main())
    assert report is not None
    judge(faulty, IDS, list(report), report)


def test_a_coroutine_that_is_closed_in_the_middle(faulty: FaultServer) -> None:
    faulty.set(latency=0.1)

    async def main() -> Report | None:
        client = AsyncClient(CANARY, base_url=faulty.url, concurrency=1)
        call = client.reprocess_many(IDS)
        future = call.send(None)
        while not faulty.record().executions:
            # What a loop does: wait for what the coroutine waits for, and go on.
            if not future.done():
                await asyncio.sleep(0.01)
                continue
            future = call.send(None)
        call.close()
        return client.last_report

    report = asyncio.run(main())
    assert report is not None
    assert report.ids == IDS
    assert faulty.record(settle=3).in_flight == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_in_an_event_loop(tmp_path: Path) -> None:
    code = """
        import asyncio, sys
        from entra_reprocess import AsyncClient
        from tests.faults import assignment_ids
        url, journal = sys.argv[1:]
        client = AsyncClient("token", base_url=url, concurrency=1)
        print("ready", flush=True)
        try:
            asyncio.run(client.reprocess_many(assignment_ids(300), journal=journal))
        except KeyboardInterrupt:
            print(client.last_report.counts["accepted"], len(client.last_report))
            raise
    """
    with FaultServer(latency=0.1) as server:
        process = scripts.start(code, server.url, str(tmp_path / "june.db"))
        while len(server.record().executions) < 41:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    accepted, places = map(int, out.split()[1:])
    assert places == 300
    assert 0 < accepted < 300
    assert "It ended a run: <Report of 300: " in err
    assert "client.last_report has it" in err
    assert "client.resume(" in err


def test_an_iterator_that_is_cut_off_says_how_far_it_came(faulty: FaultServer, tmp_path: Path) -> None:
    faulty.set(latency=0.1)

    async def main() -> tuple[BaseException, int]:
        seen = 0
        client = AsyncClient(CANARY, base_url=faulty.url, concurrency=1)
        try:
            async with asyncio.timeout(SOME):
                async for outcome in client.iter_reprocess(IDS, journal=tmp_path / "june.db"):
                    seen += outcome.ok
        except TimeoutError as error:
            assert client.last_report is None
            return error, seen
        raise AssertionError("it did not time out")

    error, seen = asyncio.run(main())
    assert seen > 0
    told = re.search(r"It ended a run: (\d+) accepted, .*not_attempted", notes(error))
    assert told is not None
    assert int(told[1]) >= seen
    assert "client.resume(" in notes(error)


# A synchronous client has it as well, however the run ended.


def test_it_is_there_however_a_run_ends(faulty: FaultServer) -> None:
    with Client(CANARY, base_url=faulty.url) as client:
        assert not client.last_report
        whole = client.reprocess_many(IDS)
        assert client.last_report is whole
        client.states(IDS[:3])
        client.reprocess(IDS[0])
        list(client.iter_reprocess(IDS[:3]))
        assert client.last_report is whole, "none of these has a report"

        def fails(_: object) -> None:
            raise LookupError("no")

        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(IDS[:50], on_outcome=fails)
        assert client.last_report is stopped.value.report
        faulty.set(default=fail(403))
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(IDS)
        assert client.last_report is stopped.value.report

        def interrupts(_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(RunInterrupted) as interrupted:
            client.reprocess_many(IDS[:30], on_outcome=interrupts)
        assert client.last_report is interrupted.value.report
        limited = client.reprocess_many(IDS[:20], deadline=5)
        assert client.last_report is limited


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_pickle_does_not_carry_it(faulty: FaultServer, kind: Any) -> None:
    client = kind(None if kind is None else _token, base_url=faulty.url)
    if kind is Client:
        client.reprocess_many(IDS[:5])
    else:
        asyncio.run(client.reprocess_many(IDS[:5]))
    assert len(client.last_report) == 5
    assert pickle.loads(pickle.dumps(client)).last_report is None


def _token() -> str:
    return CANARY


def test_many_threads_see_a_whole_report_each(faulty: FaultServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Client(CANARY, base_url=faulty.url) as client, ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda n: client.reprocess_many(IDS[n : n + 7]), range(40)))
        assert any(client.last_report is report for report in reports)
