"""Driving a run from synchronous code, in the thread of the caller.

A run sends nothing before it is fed. So all that can fail is made before, and the run itself inside the `try` that ends
it: whatever is raised, at whichever place, nothing goes on in the background.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ._feed import (
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
from ._teller import Teller

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import _native
    from ._feed import Keep, OnOutcome
    from ._journal import Setup
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report

    Start = Callable[[], _native.NativeRun]
    """Starts the run, once the ids are known to be some."""


def collect(
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
        RunInterrupted: Ctrl-C.
    """
    check(progress)
    resumes = journal is not None and journal.resume
    given = None if resumes else iterate(ids)
    total = None if resumes else length_of(ids)
    meter = meter_for(progress)
    feed = Feed(given, ids, sized=total is not None, has_deadline=deadline is not None)
    teller = Teller(on_outcome, deadline)
    has_callback = on_outcome is not None or callable(progress)
    run: _native.NativeRun | None = None
    try:
        run = start()
        with meter:
            meter.open(run.places() if resumes else total)
            feed.begin(run)
            for outcomes in _outcomes(run, feed, teller):
                with feed.blaming(has_callback):
                    teller.tell(outcomes)
                    meter.update(run)
            with feed.blaming(has_callback):
                teller.tell_rest(run, feed.push_more)
                meter.finish(run)
        feed.close()
        ending = ending_of(run, keep)
    except BaseException as error:
        if run is None or is_lost(run):
            raise
        raised = _end(run, feed, teller, error)
        ending, raised = ending_after(raised, run, keep)
        raise_interrupted(raised, ending.report, is_own=raised is feed.blamed, journal=journal)
    if ending.why is not None:
        raise_stopped(ending, ending.report, journal)
    return ending.report


def stream(start: Start, ids: Any, journal: Setup | None = None, *, deadline: float | None = None) -> Iterator[Outcome]:
    """Run all ids and give each outcome when it is known.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: The run stopped, by itself or on an exception of the ids.
        RunInterrupted: Ctrl-C while waiting here.
    """
    feed = Feed(iterate(ids), ids, sized=length_of(ids) is not None, has_deadline=deadline is not None)
    run: _native.NativeRun | None = None
    try:
        run = start()
        return _stream(run, feed, journal)
    except BaseException:
        if run is not None:
            end(run, "the run was interrupted before it began", 0.0)
        raise


def _stream(run: _native.NativeRun, feed: Feed, journal: Setup | None) -> Iterator[Outcome]:
    given: Iterator[Outcome] = iter(())
    is_outside = False
    try:
        feed.begin(run)
        for outcomes in _outcomes(run, feed):
            given = iter(outcomes)
            for outcome in given:
                is_outside = True
                yield outcome
                is_outside = False
        while feed.push_more():
            given = iter(run.take())
            for outcome in given:
                is_outside = True
                yield outcome
                is_outside = False
        feed.close()
        ending = ending_of(run, None)
    except BaseException as error:
        if is_lost(run):
            raise
        later = end(run, f"the run was ended: {type(error).__name__}")
        feed.close()
        # The caller has left the loop, by break or by an exception; what is under way was answered.
        if isinstance(error, GeneratorExit) or (is_outside and not isinstance(error, KeyboardInterrupt)):
            raise
        yield from given
        while rest := run.take():
            yield from rest
        so_far = tally(run)
        _, raised = ending_after(later or error, run, None)
        raise_interrupted(raised, None, is_own=raised is feed.blamed, journal=journal, so_far=so_far)
    if ending.why is not None:
        raise_stopped(ending, None, journal)


def _outcomes(run: _native.NativeRun, feed: Feed, teller: Teller | None = None) -> Iterator[list[Outcome]]:
    """Feed the run and give what can be taken, at least once a tick, until it is done."""
    warner = Warner(run)
    while True:
        feed.push()
        is_behind = teller is not None and teller.is_behind
        # Python looks for Ctrl-C between these waits; nothing of ours handles a signal.
        run.wait(True, feed.wants_room, 0.0 if is_behind else TICK)
        done = run.is_done()
        warner.update()
        # What a slow callback has not heard of yet waits in the run, which takes in less meanwhile.
        yield [] if is_behind else run.take()
        if done:
            # Those of earlier runs come a handful at a time; a callback is told of them at its own pace.
            while teller is None and (rest := run.take()):
                yield rest
            return


def _end(run: _native.NativeRun, feed: Feed, teller: Teller, error: BaseException) -> BaseException:
    """End a run on this exception, and take in the rest of a list; gives what counts from then on."""
    raised = error
    later = end(run, f"the run was ended: {type(error).__name__}")
    if later is not None:
        # An impatient second Ctrl-C.
        raised = later
    else:
        try:
            teller.tell_rest_after(error, run, feed.push_more)
        except BaseException as interruption:
            raised = interruption
    feed.push_rest(run)
    return raised
