"""Driving a run from synchronous code, in the thread of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ._feed import GRACE, TICK, Feed, Teller, Warner, ending_of, raise_interrupted, raise_stopped
from ._ids import iterate
from ._progress import check, meter_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import _native
    from ._feed import OnOutcome
    from ._journal import Setup
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report

    Start = Callable[[], _native.NativeRun]
    """Starts the run, once the ids are known to be some."""


def collect(
    start: Start, ids: Any, progress: Progress, on_outcome: OnOutcome | None, journal: Setup | None = None
) -> Report:
    """Run all ids, those of the journal where it is resumed, and give the report.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids or a callback.
        RunInterrupted: Ctrl-C.
    """
    check(progress)
    resumes = journal is not None and journal.resume
    given = None if resumes else iterate(ids)
    run = start()
    total = run.places() if given is None else given.length
    feed = Feed(run, given)
    meter = meter_for(progress, total)
    teller = Teller(run, on_outcome)
    has_callback = on_outcome is not None or callable(progress)
    try:
        with meter:
            for outcomes in _outcomes(run, feed):
                with feed.blaming(has_callback):
                    teller.tell(outcomes)
                    meter.update(run)
            with feed.blaming(has_callback):
                teller.tell_rest(feed.push_more)
                meter.finish(run)
    except BaseException as error:
        _drain(run, type(error).__name__)
        teller.tell_rest_after(error, feed.push_more)
        feed.push_rest()
        report = ending_of(run, journal).report
        raise_interrupted(error, report, run, is_own=error is feed.blamed, journal=journal)
    ending = ending_of(run, journal)
    if ending.why is not None:
        raise_stopped(ending, ending.report, run, journal)
    if feed.late is not None:
        raise_interrupted(feed.late, ending.report, run, is_own=True, journal=journal)
    return ending.report


def stream(start: Start, ids: Any, journal: Setup | None = None) -> Iterator[Outcome]:
    """Run all ids and give each outcome when it is known.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids.
        RunInterrupted: Ctrl-C while waiting here.
    """
    given = iterate(ids)
    run = start()
    feed = Feed(run, given)
    return _stream(run, feed, journal)


def _stream(run: _native.NativeRun, feed: Feed, journal: Setup | None) -> Iterator[Outcome]:
    batches = _outcomes(run, feed)
    while True:
        # Only what is raised while waiting belongs to the run; the caller's own exceptions come in at the yield.
        try:
            outcomes = next(batches, None)
        except BaseException as error:
            _drain(run, type(error).__name__)
            yield from run.take()
            raise_interrupted(error, None, run, is_own=error is feed.blamed, journal=journal)
        if outcomes is None:
            break
        try:
            yield from outcomes
        except BaseException:
            # The caller has left the loop, by break or by an exception: let what is under way be answered.
            _drain(run, "the iteration was left")
            raise
    while feed.push_more():
        yield from run.take()
    ending = ending_of(run, journal, has_report=False)
    if ending.why is not None:
        raise_stopped(ending, None, run, journal)
    if feed.late is not None:
        raise_interrupted(feed.late, None, run, is_own=True, journal=journal)


def _outcomes(run: _native.NativeRun, feed: Feed) -> Iterator[list[Outcome]]:
    """Feed the run and give what can be taken, at least once a tick, until it is done."""
    warner = Warner(run)
    while True:
        if not feed.exhausted and run.room():
            feed.push()
        # Python looks for Ctrl-C between these waits; nothing of ours handles a signal.
        run.wait(True, not feed.exhausted, TICK)
        done = run.is_done()
        warner.update()
        yield run.take()
        if done:
            # Those of earlier runs come a handful at a time.
            while rest := run.take():
                yield rest
            return


def _drain(run: _native.NativeRun, why: str) -> None:
    """End the sending at once and wait for what is under way; an impatient second Ctrl-C ends that too."""
    try:
        run.stop(f"the run was ended: {why}", GRACE)
        while not run.is_done():
            run.wait(False, False, TICK)
    except BaseException:
        run.stop("the run was cut off", 0.0)
        while not run.is_done():
            run.wait(False, False, TICK)
        raise
