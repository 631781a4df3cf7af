"""Driving a run from a coroutine, on its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ._feed import GRACE, TICK, Feed, Teller, Warner, ending_of, raise_interrupted, raise_stopped
from ._ids import iterate_async
from ._progress import check, meter_for

if TYPE_CHECKING:
    from . import _native
    from ._feed import OnOutcome
    from ._ids import Given
    from ._journal import Setup
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report

    Start = Callable[[], Awaitable[_native.NativeRun]]
    """Starts the run, once the ids are known to be some."""


async def collect(
    start: Start, ids: Any, progress: Progress, on_outcome: OnOutcome | None, journal: Setup | None = None
) -> Report:
    """Run all ids, those of the journal where it is resumed, and give the report.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids or a callback.
        asyncio.CancelledError: The task was cancelled; requests under way are dropped.
    """
    check(progress)
    resumes = journal is not None and journal.resume
    given = None if resumes else iterate_async(ids)
    run = await start()
    total = run.places() if given is None else given.length
    meter = meter_for(progress, total)
    pump = _Pump(run, given)
    teller = Teller(run, on_outcome)
    try:
        with meter:
            async for outcomes in _outcomes(run, pump):
                teller.tell(outcomes)
                meter.update(run)
            await pump.end()
            teller.tell_rest(pump.push_more)
            meter.finish(run)
    except asyncio.CancelledError as error:
        await pump.cut_off()
        # There is no report, so this is how the caller hears of what was answered last.
        teller.tell_rest_after(error, pump.push_more)
        raise
    except BaseException as error:
        await pump.drain()
        teller.tell_rest_after(error, pump.push_more)
        pump.push_rest()
        report = ending_of(run, journal).report
        raise_interrupted(error, report, run, is_own=True, journal=journal)
    ending = ending_of(run, journal)
    if ending.why is not None:
        raise_stopped(ending, ending.report, run, journal)
    if pump.late is not None:
        raise_interrupted(pump.late, ending.report, run, is_own=True, journal=journal)
    return ending.report


async def stream(start: Start, ids: Any, journal: Setup | None = None) -> AsyncIterator[Outcome]:
    """Run all ids and give each outcome when it is known.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids.
        asyncio.CancelledError: The task was cancelled; requests under way are dropped.
    """
    # Started with the first item that is asked for, on the loop that asks.
    given = iterate_async(ids)
    run = await start()
    pump = _Pump(run, given)
    batches = _outcomes(run, pump)
    while True:
        try:
            outcomes = await anext(batches, None)
        except asyncio.CancelledError:
            await pump.cut_off()
            raise
        except BaseException as error:
            await pump.drain()
            for outcome in run.take():
                yield outcome
            raise_interrupted(error, None, run, is_own=True, journal=journal)
        if outcomes is None:
            break
        try:
            for outcome in outcomes:
                yield outcome
        except asyncio.CancelledError:
            await pump.cut_off()
            raise
        except BaseException:
            # The caller has left the loop and closed us: let what is under way be answered.
            await pump.drain()
            raise
    await pump.end()
    while pump.push_more():
        for outcome in run.take():
            yield outcome
    ending = ending_of(run, journal, has_report=False)
    if ending.why is not None:
        raise_stopped(ending, None, run, journal)
    if pump.late is not None:
        raise_interrupted(pump.late, None, run, is_own=True, journal=journal)


async def _outcomes(run: _native.NativeRun, pump: _Pump) -> AsyncIterator[list[Outcome]]:
    """Give what can be taken, at least once a tick, until the run is done."""
    warner = Warner(run)
    while True:
        await pump.watch(run)
        done = run.is_done()
        warner.update()
        yield run.take()
        if done:
            # Those of earlier runs come a handful at a time.
            while rest := run.take():
                yield rest
            return


class _Pump:
    """A task that reads the ids while outcomes are waited for, so that a slow source holds nothing up."""

    def __init__(self, run: _native.NativeRun, given: Given | None) -> None:
        self._run = run
        self._feed: Feed | None = None
        if given is not None and isinstance(given.ids, AsyncIterable):
            work = self._from_async(given.ids)
        else:
            self._feed = Feed(run, given)
            work = self._from_sync(self._feed)
        self._task = asyncio.create_task(work)

    async def _from_sync(self, feed: Feed) -> None:
        while not feed.exhausted and not self._run.is_done():
            if self._run.room():
                feed.push()
                await asyncio.sleep(0)
            else:
                await self._run.wait_async(False, True)

    async def _from_async(self, ids: AsyncIterable[object]) -> None:
        async for item in ids:
            while not self._run.room() and not self._run.is_done():
                await self._run.wait_async(False, True)
            if self._run.is_done():
                return
            self._run.push([item])
        self._run.close_input()

    async def watch(self, run: _native.NativeRun) -> None:
        """Wait a tick at the most; raise what the source of ids has raised."""
        news = asyncio.ensure_future(run.wait_async(True, False))
        watched = {news} if self._task.done() else {news, self._task}
        try:
            await asyncio.wait(watched, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def end(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            # Seen by `watch` already where it matters; asked for here so that asyncio does not complain.
            self._task.exception()

    async def drain(self) -> None:
        """End the sending at once and wait for what is under way."""
        try:
            self._run.stop("the run was ended", GRACE)
            await self.end()
            while not self._run.is_done():
                await self._run.wait_async(False, False)
        except BaseException:
            self._run.stop("the run was cut off", 0.0)
            raise

    async def cut_off(self) -> None:
        """End everything now. Only the journal is waited for: the next run may want it at once."""
        self._run.stop("the task was cancelled", 0.0)
        self._task.cancel()
        while not self._run.is_done():
            await self._run.wait_async(False, False)

    @property
    def late(self) -> Exception | None:
        """See `Feed.late`."""
        return self._feed.late if self._feed is not None else None

    def push_more(self) -> bool:
        """After the end: see `Feed.push_more`."""
        return self._feed is not None and self._feed.push_more()

    def push_rest(self) -> None:
        """After the end: see `Feed.push_rest`."""
        while self.push_more():
            pass
