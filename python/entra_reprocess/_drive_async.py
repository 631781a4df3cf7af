"""Driving a run from a coroutine, on its event loop; see `_drive` on why nothing goes on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._feed import (
    GRACE,
    TICK,
    Feed,
    Warner,
    end,
    ending_after,
    ending_of,
    is_lost,
    raise_interrupted,
    raise_stopped,
    tally,
)
from ._ids import iterate, length_of
from ._progress import check, meter_for
from ._teller import LATE, Teller

if TYPE_CHECKING:
    from . import _native
    from ._feed import Keep, OnOutcome
    from ._journal import Setup
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report

    Start = Callable[[], Awaitable[_native.NativeRun]]
    """Starts the run, once the ids are known to be some."""


async def collect(
    start: Start,
    ids: Any,
    progress: Progress,
    on_outcome: OnOutcome | None,
    journal: Setup | None = None,
    *,
    deadline: float | None = None,
    keep: Keep = None,
) -> Report:
    """Run all ids, those of the journal where it is resumed, and give the report.

    Raises:
        ImportError: A bar was asked for, and tqdm is not installed; nothing was sent.
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids or a callback.
        asyncio.CancelledError: The task was cancelled; requests under way are dropped.
    """
    check(progress)
    resumes = journal is not None and journal.resume
    total = None if resumes else length_of(ids)
    meter = meter_for(progress)
    pump = _Pump(None if resumes else ids, ids, sized=total is not None, has_deadline=deadline is not None)
    teller = Teller(on_outcome, deadline)
    run: _native.NativeRun | None = None
    try:
        run = await _started(start)
        with meter:
            meter.open(run.places() if resumes else total)
            pump.begin(run)
            async for outcomes in _outcomes(run, pump, teller):
                teller.tell(outcomes)
                meter.update(run)
            await pump.end()
            teller.tell_rest(run, pump.feed.push_more)
            meter.finish(run)
        pump.feed.close()
        ending = ending_of(run, keep)
    except BaseException as error:
        if run is None or is_lost(run):
            raise
        if isinstance(error, GeneratorExit):
            # The coroutine was closed, and can await nothing more.
            end(run, "the coroutine was closed", 0.0, LATE)
            raised: BaseException = error
        else:
            raised = await _end(run, pump, error)
        try:
            teller.tell_rest_after(raised, run, pump.feed.push_more)
        except BaseException as later:
            raised = later
        pump.feed.push_rest(run)
        if not run.is_done():
            # Its journal hangs.
            raise
        ending, raised = ending_after(raised, run, keep)
        raise_interrupted(raised, ending.report, is_own=True, journal=journal)
    if ending.why is not None:
        raise_stopped(ending, ending.report, journal)
    return ending.report


async def stream(
    start: Start, ids: Any, journal: Setup | None = None, *, deadline: float | None = None
) -> AsyncIterator[Outcome]:
    """Run all ids and give each outcome when it is known.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids.
        asyncio.CancelledError: The task was cancelled; requests under way are dropped.
    """
    # Started with the first item that is asked for, on the loop that asks.
    pump = _Pump(ids, ids, sized=length_of(ids) is not None, has_deadline=deadline is not None)
    given: Iterator[Outcome] = iter(())
    is_outside = False
    run: _native.NativeRun | None = None
    try:
        run = await _started(start)
        pump.begin(run)
        async for outcomes in _outcomes(run, pump):
            given = iter(outcomes)
            for outcome in given:
                is_outside = True
                yield outcome
                is_outside = False
        await pump.end()
        while pump.feed.push_more():
            given = iter(run.take())
            for outcome in given:
                is_outside = True
                yield outcome
                is_outside = False
        pump.feed.close()
        ending = ending_of(run, None)
    except BaseException as error:
        if run is None or is_lost(run):
            raise
        raised = await _end(run, pump, error)
        pump.feed.close()
        # The caller has left the loop and closed us, or has raised at the yield; what is under way was answered.
        if isinstance(error, GeneratorExit) or (is_outside and not isinstance(error, KeyboardInterrupt)):
            raise
        if not isinstance(raised, asyncio.CancelledError):
            for outcome in given:
                yield outcome
            for outcome in run.take():
                yield outcome
        so_far = tally(run)
        if run.is_done():
            _, raised = ending_after(raised, run, None)
        raise_interrupted(raised, None, is_own=True, journal=journal, so_far=so_far)
    if ending.why is not None:
        raise_stopped(ending, None, journal)


async def _started(start: Start) -> _native.NativeRun:
    """Start the run. Where that is interrupted, the run has let go of its journal when the interruption is raised."""
    starting: asyncio.Future[_native.NativeRun] | None = None
    try:
        starting = asyncio.ensure_future(start())
        return await asyncio.shield(starting)
    except GeneratorExit:
        # The coroutine was closed, and can await nothing more.
        raise
    except BaseException:
        if starting is not None:
            with suppress(Exception):
                run = await starting
                run.stop("the run was interrupted before it began", 0.0)
                while not run.is_done():
                    await run.wait_async(False, False)
        raise


async def _outcomes(run: _native.NativeRun, pump: _Pump, teller: Teller | None = None) -> AsyncIterator[list[Outcome]]:
    """Give what can be taken, at least once a tick, until the run is done."""
    warner = Warner(run)
    while True:
        is_behind = teller is not None and teller.is_behind
        await pump.watch(run, 0.0 if is_behind else TICK)
        done = run.is_done()
        warner.update()
        # What a slow callback has not heard of yet waits in the run, which takes in less meanwhile.
        yield [] if is_behind else run.take()
        if done:
            # Those of earlier runs come a handful at a time; a callback is told of them at its own pace.
            while teller is None and (rest := run.take()):
                yield rest
            return


async def _end(run: _native.NativeRun, pump: _Pump, error: BaseException) -> BaseException:
    """End a run on this exception; gives what counts from then on."""
    try:
        if isinstance(error, asyncio.CancelledError):
            await pump.cut_off(run)
        else:
            await pump.drain(run)
    except BaseException as later:
        end(run, "the run was cut off", 0.0, LATE)
        return later
    return error


class _Pump:
    """A task that reads the ids while outcomes are waited for, so that a slow source holds nothing up."""

    def __init__(self, ids: Any, source: Any, *, sized: bool, has_deadline: bool) -> None:
        self._async_ids = ids if isinstance(ids, AsyncIterable) else None
        given = iter(()) if self._async_ids is not None else None if ids is None else iterate(ids)
        self.feed = Feed(given, source, sized=sized, has_deadline=has_deadline and self._async_ids is None)
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    def begin(self, run: _native.NativeRun) -> None:
        """Give this run what there is; until then it sends nothing."""
        if self._async_ids is not None:
            work = self._from_async(run, self._async_ids)
        else:
            self.feed.begin(run)
            work = self._from_sync(run)
        self._task = asyncio.create_task(self._pumping(work))

    async def _pumping(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # A KeyboardInterrupt that leaves a task ends the event loop, and nobody would be left to end the run.
            self._error = error

    async def _from_sync(self, run: _native.NativeRun) -> None:
        while not self.feed.exhausted and not run.is_done():
            self.feed.push()
            if not self.feed.wants_room:
                # A thread reads them; what it raises is looked for.
                await asyncio.sleep(TICK)
            elif run.room():
                await asyncio.sleep(0)
            else:
                await run.wait_async(False, True)

    async def _from_async(self, run: _native.NativeRun, ids: AsyncIterable[object]) -> None:
        async for item in ids:
            while not run.room() and not run.is_done():
                await run.wait_async(False, True)
            if run.is_done():
                return
            run.push([item])
        run.close_input()

    async def watch(self, run: _native.NativeRun, seconds: float) -> None:
        """Wait for news, so long at the most; raise what the source of ids has raised."""
        news = asyncio.ensure_future(run.wait_async(True, False))
        watched = {each for each in (news, self._task) if each is not None and not each.done()}
        try:
            await asyncio.wait(watched or {news}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if self._error is not None:
            raise self._error

    async def end(self) -> None:
        """Stop reading; a source that takes its time to stop is left alone."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        _ending.add(task)
        task.add_done_callback(_ending.discard)
        await asyncio.wait({task}, timeout=LATE)

    async def drain(self, run: _native.NativeRun) -> None:
        """End the sending at once and wait for what is under way."""
        run.stop("the run was ended", GRACE)
        await self.end()
        while not run.is_done():
            await run.wait_async(False, False)

    async def cut_off(self, run: _native.NativeRun) -> None:
        """End everything now. Only the journal is waited for: the next run may want it at once."""
        run.stop("the task was cancelled", 0.0)
        if self._task is not None:
            self._task.cancel()
        while not run.is_done():
            await run.wait_async(False, False)


_ending: set[asyncio.Task[None]] = set()
"""Tasks that were cancelled and have not ended yet; an event loop holds none that nobody else holds."""
