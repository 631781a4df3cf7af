"""Feeding a run and hearing from it: what the synchronous and the asynchronous drivers have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, runtime_checkable

from . import _native
from ._errors import GraphError, JournalError, RunInterrupted, RunStoppedError
from ._ids import LengthError
from ._journal import explained, hint
from ._report import Report

if TYPE_CHECKING:
    from ._ids import Given
    from ._journal import Setup
    from ._outcome import Outcome
else:
    from ._hints import Outcome


@runtime_checkable
class OnOutcome(Protocol):
    """Called once for each different id, in the thread of the caller, also where the run ends early."""

    def __call__(self, outcome: Outcome, /) -> object: ...


Deadline = float | timedelta | None
"""Seconds, or a timedelta, from the call."""

GRACE = 2.0
"""Seconds that requests under way may still take once the sending has ended."""
TICK = 0.1
"""Seconds between looks at Ctrl-C and at the progress."""
_SLOW_INPUT = 0.05
"""Seconds after which a slow source of ids has to hand over what it has given so far."""
_GLANCE = 64
"""Ids between two looks at the clock."""


def seconds_of(deadline: Deadline) -> float | None:
    """A deadline in seconds.

    Raises:
        TypeError: It is neither a number nor a timedelta; a point in time is no length of time.
    """
    if deadline is None:
        return None
    if isinstance(deadline, timedelta):
        return deadline.total_seconds()
    if isinstance(deadline, bool) or not isinstance(deadline, (int, float)):
        raise TypeError(f"deadline is of type {type(deadline).__name__}; give seconds or a timedelta from now")
    try:
        return float(deadline)
    except OverflowError:
        # An int beyond all floats; like any other that is out of range it is refused with the range.
        return inf if deadline > 0 else -inf


class Warner:
    """Passes on what a run warns of, each text once, and what it logs."""

    def __init__(self, run: _native.NativeRun) -> None:
        self._run = run
        self._told = 0

    def update(self) -> None:
        """Warn of what is new, and log it."""
        self._run.log()
        texts = self._run.warnings()
        new, self._told = texts[self._told :], len(texts)
        for text in new:
            # Level 2 and more would name a file of ours, too; the caller's own line is not known to a generator.
            warnings.warn(text, RuntimeWarning, stacklevel=2)


class Teller:
    """Hands outcomes to `on_outcome`, each once; a callback that has raised is not called again."""

    def __init__(self, run: _native.NativeRun, on_outcome: OnOutcome | None) -> None:
        self._run = run
        self._on_outcome = on_outcome

    def tell(self, outcomes: list[Outcome]) -> None:
        """Tell it of these."""
        callback, self._on_outcome = self._on_outcome, None
        if callback is not None:
            for outcome in outcomes:
                callback(outcome)
            self._on_outcome = callback

    def tell_rest(self, push_more: Callable[[], bool]) -> None:
        """After the end: take in what a list still holds, and tell of it, and of what was answered last."""
        self._tell_taken()
        while push_more():
            self._tell_taken()

    def _tell_taken(self) -> None:
        # Those of earlier runs come a handful at a time.
        while outcomes := self._run.take():
            self.tell(outcomes)

    def tell_rest_after(self, error: BaseException, push_more: Callable[[], bool]) -> None:
        """The same where the run was ended by this exception, which counts for more than one of the callback."""
        if not isinstance(error, Exception):
            # Ctrl-C and the like are in a hurry; the report has what is left of the list.
            push_more = _nothing
        try:
            self.tell_rest(push_more)
        except Exception as later:
            error.add_note(f"on_outcome raised as well: {later!r}")


def _nothing() -> bool:
    return False


class Feed:
    """The input of a run: an iterator that is read only as far ahead as the run has room."""

    def __init__(self, run: _native.NativeRun, given: Given | None) -> None:
        self._run = run
        self._ids: Any = iter(()) if given is None else given.ids
        self._sized = given is not None and given.length is not None
        self._is_plain = given is not None and given.is_plain
        # Without ids, a journal has them all.
        self.exhausted = given is None
        self.blamed: BaseException | None = None
        """The exception that the caller's own code has raised: the ids, or a callback."""
        self.late: Exception | None = None
        """What the ids have raised after the run had ended."""

    def push(self) -> None:
        """Read as many ids as there is room for, or as come in a short time."""
        deadline = monotonic() + _SLOW_INPUT
        chunk: list[object] = []
        room = self._run.room()
        try:
            while len(chunk) < room and monotonic() < deadline:
                wanted = min(_GLANCE, room - len(chunk))
                before = len(chunk)
                for item in islice(self._ids, wanted):
                    chunk.append(item)
                    # A generator may take its time for each id; those that are there must not wait for it.
                    if monotonic() > deadline:
                        break
                else:
                    if len(chunk) - before < wanted:
                        self.exhausted = True
                        break
        except BaseException as error:
            # What it gave before it raised counts all the same.
            self.exhausted = True
            self._run.push(chunk)
            if not self._is_plain or isinstance(error, LengthError):
                self.blamed = error
            raise
        self._run.push(chunk)
        if self.exhausted:
            self._run.close_input()

    @contextmanager
    def blaming(self, has_callback: bool) -> Iterator[None]:
        """What is raised in here is of a callback, if there is one."""
        try:
            yield
        except BaseException as error:
            self.blamed = error if has_callback else None
            raise

    def push_more(self) -> bool:
        """After the end: take in some of the ids that a list still holds, so that each gets its outcome.

        A generator is left alone; it may be endless.
        """
        if not self._sized or self.exhausted:
            return False
        chunk: list[object] = []
        try:
            chunk.extend(islice(self._ids, 10_000))
            self.exhausted = not chunk
        except Exception as error:
            # What has ended the run counts for more, if anything but its own end did.
            self.exhausted, self.late = True, error
        self._run.push(chunk)
        return bool(chunk)

    def push_rest(self) -> None:
        """After the end: take in all of them."""
        while self.push_more():
            pass


class Ending(NamedTuple):
    """What a finished run says."""

    report: Report
    why: str | None
    cause: BaseException | None


def ending_of(run: _native.NativeRun, journal: Setup | None, *, has_report: bool = True) -> Ending:
    """The ending of a run that is done; may be called once.

    Raises:
        RunInterrupted: Ctrl-C while the last lines were logged; other interruptions likewise.
    """
    interruption = None
    try:
        run.log()
    except BaseException as error:
        # Of what handlers raise only this comes here; the report must not be lost for it.
        interruption = error
    native, why, cause = run.finish()
    report = Report(native)
    if interruption is not None:
        _raise(interruption, report if has_report else None, run, is_own=False, journal=journal)
    return Ending(report, why, cause)


def raise_interrupted(
    error: BaseException, report: Report | None, run: _native.NativeRun, *, is_own: bool, journal: Setup | None
) -> NoReturn:
    """Raise what an interruption by `error` looks like from outside; `is_own` for one of the ids or a callback.

    Raises:
        RunInterrupted: For Ctrl-C.
        RunStoppedError: For an exception of the ids or of a callback.
        BaseException: `error` itself, with a note, where a signal handler of the application has raised it.
    """
    try:
        _native.warn(f"the run stopped on {type(error).__name__}{_known(report)}")
    except BaseException as interruption:
        # It came while the line was logged, and is not to cost the report either.
        _raise(interruption, report, run, is_own=False, journal=journal)
    _raise(error, report, run, is_own=is_own, journal=journal)


def _raise(
    error: BaseException, report: Report | None, run: _native.NativeRun, *, is_own: bool, journal: Setup | None
) -> NoReturn:
    known = f"{_known(report)}{hint(journal, run)}"
    if isinstance(error, KeyboardInterrupt):
        raise RunInterrupted(f"interrupted{known}", report=report) from None
    if isinstance(error, LengthError):
        raise RunStoppedError(f"the run stopped{known}\n{error}", report=report) from error
    if is_own and isinstance(error, Exception):
        raise RunStoppedError(f"the run stopped on {type(error).__name__}{known}", report=report) from error
    error.add_note(f"It ended a run{known}")
    raise error


def _known(report: Report | None) -> str:
    return f": {report!r}" if report is not None else ""


def raise_stopped(ending: Ending, report: Report | None, run: _native.NativeRun, journal: Setup | None) -> NoReturn:
    """Raise for a run that stopped by itself.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: For all else; its cause is what stopped the run.
        RunInterrupted: Ctrl-C while the stop was logged.
    """
    if isinstance(ending.cause, JournalError) and not ending.report.http_requests:
        raise explained(ending.cause, journal, run)
    head, reason = f"the run stopped{_known(report)}", f"\nThe reason: {_reason_of(ending)}"
    try:
        _native.warn(head + reason)
    except BaseException as interruption:
        _raise(interruption, report, run, is_own=False, journal=journal)
    raise RunStoppedError(f"{head}{hint(journal, run)}{reason}", report=report) from ending.cause


def _reason_of(ending: Ending) -> str:
    """Why a run stopped, with the remedy that the exception of a single call has."""
    if isinstance(ending.cause, GraphError):
        # The answer is that of one item, and what stopped the run is that others had it too.
        return f"{ending.why}\n{ending.cause}"
    return str(ending.cause or ending.why)
