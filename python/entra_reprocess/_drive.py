"""Driving a run from synchronous code, in the thread of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ._feed import GRACE, TICK, Feed, Teller, Warner, ending_of, raise_interrupted, raise_stopped
from ._ids import iterate, length_of

if TYPE_CHECKING:
    from . import _native
    from ._feed import OnOutcome
    from ._outcome import Outcome
    from ._progress import Meter
    from ._report import Report


def collect(run: _native.NativeRun, ids: Any, meter: Meter, on_outcome: OnOutcome | None) -> Report:
    """Run all ids and give the report.

    Raises:
        RunStoppedError: The run stopped, by itself or on an exception of the ids or a callback.
        RunInterrupted: Ctrl-C.
    """
    feed = Feed(run, iterate(ids), sized=length_of(ids) is not None)
    teller = Teller(run, on_outcome)
    try:
        with meter:
            for outcomes in _outcomes(run, feed):
                teller.tell(outcomes)
                meter.update(run)
        teller.tell_rest(feed.push_more)
    except BaseException as error:
        _drain(run, type(error).__name__)
        teller.tell_rest_after(error, feed.push_more)
        feed.push_rest()
        raise_interrupted(error, ending_of(run).report)
    ending = ending_of(run)
    if ending.why is not None:
        raise_stopped(ending, ending.report)
    return ending.report


def stream(run: _native.NativeRun, ids: Any) -> Iterator[Outcome]:
    """Run all ids and give each outcome when it is known.

    Raises:
        RunStoppedError: The run stopped, by itself or on an exception of the ids.
        RunInterrupted: Ctrl-C while waiting here.
    """
    feed = Feed(run, iterate(ids), sized=length_of(ids) is not None)
    return _stream(run, feed)


def _stream(run: _native.NativeRun, feed: Feed) -> Iterator[Outcome]:
    batches = _outcomes(run, feed)
    while True:
        # Only what is raised while waiting belongs to the run; the caller's own exceptions come in at the yield.
        try:
            outcomes = next(batches, None)
        except BaseException as error:
            _drain(run, type(error).__name__)
            yield from run.take()
            raise_interrupted(error, None)
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
    ending = ending_of(run)
    if ending.why is not None:
        raise_stopped(ending, None)


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
