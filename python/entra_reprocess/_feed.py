"""Feeding a run and hearing from it: what the synchronous and the asynchronous drivers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from . import _native
from ._errors import JournalError, RunInterrupted, RunStoppedError
from ._journal import hint
from ._reader import Reader, is_at_hand, is_bound_to_thread
from ._report import Report
from ._teller import LATE
from ._warning import warn

if TYPE_CHECKING:
    from ._journal import Setup
    from ._outcome import Outcome

    OnOutcome = Callable[[Outcome], object]
    """Called once for each different id, in the thread of the caller, also where the run ends early."""
    Deadline = float | timedelta | None
    """Seconds, or a timedelta, from the call."""
    Keep = Callable[[Report], None] | None
    """Takes the report of a run, however it ended."""

GRACE = 2.0
"""Seconds that requests under way may still take once the sending has ended."""
TICK = 0.1
"""Seconds between looks at Ctrl-C and at the progress."""
_SLOW_INPUT = 0.05
"""Seconds after which a slow source of ids is left for a look at what else there is to do."""


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
    return float(deadline)


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
            warn(text)


class Feed:
    """The input of a run: an iterator that is read only as far ahead as the run has room.

    Args:
        ids: The iterator; None where a journal has all ids.
        source: What it was made of.
        sized: Whether that says how many there are.
        has_deadline: Whether reading must not hold up the end.
    """

    def __init__(self, ids: Iterator[object] | None, source: Any, *, sized: bool, has_deadline: bool) -> None:
        self._ids = iter(()) if ids is None else ids
        self._sized = sized
        self._at_hand = ids is None or is_at_hand(source)
        self._apart = has_deadline and not self._at_hand and not is_bound_to_thread(source)
        self._resumes = ids is None
        self._pending: list[object] = []
        """Read, and not given to the run yet."""
        self._reader: Reader | None = None
        self._rest_ends = 0.0
        self._run: _native.NativeRun | None = None
        self.exhausted = ids is None
        self.blamed: BaseException | None = None
        """The exception that the caller's own code has raised: the ids, or a callback."""

    def begin(self, run: _native.NativeRun) -> None:
        """Give this run what there is; until then it sends nothing."""
        self._run = run
        if self._resumes:
            run.resume()
        elif self._apart:
            self._reader = Reader(run, self._ids, sized=self._sized)

    @property
    def wants_room(self) -> bool:
        """Whether `push` has something to do once there is room."""
        return not self.exhausted and self._reader is None

    def push(self) -> None:
        """Read as many ids as there is room for, or as come in a short time; raise what reading them has raised."""
        run = self._run
        if run is None or self.exhausted:
            return
        if self._reader is not None:
            self.exhausted = self._reader.exhausted
            if self._reader.error is not None:
                self._fail(self._reader.error)
                raise self._reader.error
        elif room := run.room():
            self._read(run, room)

    def _read(self, run: _native.NativeRun, room: int) -> None:
        try:
            if self._at_hand:
                self._pending.extend(islice(self._ids, room))
                self.exhausted = len(self._pending) < room
            else:
                self.exhausted = self._read_slowly(run, room)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            # What it gave before it raised counts all the same.
            run.push(self._pending)
        if self.exhausted:
            run.close_input()

    def _read_slowly(self, run: _native.NativeRun, room: int) -> bool:
        """Read what may take its time for each id, so that none waits for the next; whether that was all."""
        deadline = monotonic() + _SLOW_INPUT
        for _ in range(room):
            self._pending.extend(islice(self._ids, 1))
            if not self._pending:
                return True
            run.push(self._pending)
            if monotonic() > deadline:
                break
        return False

    def _fail(self, error: BaseException) -> None:
        # What a list still holds is taken in once the run has ended, and what was raised was not of the list.
        if not self._at_hand:
            self.exhausted = True
            self.blamed = error

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

        A generator is left alone; it may be endless. So is what says how many it has and takes too long to give them.
        """
        run = self._run
        if run is None:
            return False
        if self._pending:
            run.push(self._pending)
            return True
        if not self._sized or self.exhausted:
            return False
        if self._at_hand:
            self._pending.extend(islice(self._ids, 10_000))
            self.exhausted = not self._pending
            run.push(self._pending)
            return not self.exhausted
        now = monotonic()
        self._rest_ends = self._rest_ends or now + LATE
        if now >= self._rest_ends:
            return False
        if self._reader is not None:
            self.exhausted = not self._reader.wait(_SLOW_INPUT)
        else:
            self.exhausted = self._read_slowly(run, 10_000)
        return True

    def close(self) -> None:
        """Take in nothing more, also where a thread still waits for an id."""
        if self._reader is not None:
            self._reader.close()

    def push_rest(self, run: _native.NativeRun) -> None:
        """After the end: take in all of them, whatever is raised meanwhile, and nothing afterwards."""
        self._run = run
        while True:
            try:
                while self.push_more():
                    pass
                self.close()
                return
            except BaseException:  # noqa: S112 - the run has ended on an exception already, which counts for more
                continue


class Ending(NamedTuple):
    """What a finished run says."""

    report: Report
    why: str | None
    cause: BaseException | None


def ending_of(run: _native.NativeRun, keep: Keep) -> Ending:
    """The ending of a run that is done; may be asked for again where an exception came in between.

    Raises:
        KeyboardInterrupt: Ctrl-C while the last lines were logged; other interruptions likewise.
    """
    run.log()
    native, why, cause = run.finish()
    report = Report(native)
    if keep is not None:
        keep(report)
    return Ending(report, why, cause)


def ending_after(error: BaseException, run: _native.NativeRun, keep: Keep) -> tuple[Ending, BaseException]:
    """The same after `error`; with what counts from then on, if there is another interruption meanwhile."""
    while True:
        try:
            return ending_of(run, keep), error
        except BaseException as later:
            # Of what log handlers raise only this comes here; the report must not be lost for it.
            error = later


def end(run: _native.NativeRun, why: str, grace: float = GRACE, limit: float = inf) -> BaseException | None:
    """End the sending at once and wait, not on an event loop, for what is under way.

    Gives the Ctrl-C that came meanwhile, if one did; it ends what is under way, too. `limit`: how long to wait at most.
    """
    later = None
    until = monotonic() + limit
    while True:
        try:
            run.stop(why, grace)
            while not run.is_done() and monotonic() < until:
                run.wait(False, False, TICK)
            return later
        except BaseException as error:
            later, grace, why = error, 0.0, "the run was cut off"


def is_lost(run: _native.NativeRun) -> bool:
    """Whether it belongs to the process that was forked, and cannot be ended here."""
    try:
        run.is_done()
    except RuntimeError:
        return True
    return False


def tally(run: _native.NativeRun) -> str:
    """How the ids have ended so far, for a run that keeps no report."""
    counts = ", ".join(f"{number:,} {status}" for status, number in run.progress()[1].items() if number)
    return f": {counts or 'nothing was answered'}"


def raise_interrupted(
    error: BaseException, report: Report | None, *, is_own: bool, journal: Setup | None, so_far: str = ""
) -> NoReturn:
    """Raise what an interruption by `error` looks like from outside; `is_own` for one of the ids or a callback.

    `so_far` is what is known of a run that has no report.

    Raises:
        RunInterrupted: For Ctrl-C.
        RunStoppedError: For an exception of the ids or of a callback.
        BaseException: `error` itself, with a note, where a signal handler of the application has raised it.
    """
    try:
        _native.warn(f"the run stopped on {type(error).__name__}{_known(report) or so_far}")
    except BaseException as interruption:
        # It came while the line was logged, and is not to cost the report either.
        _raise(interruption, report, is_own=False, journal=journal, so_far=so_far)
    _raise(error, report, is_own=is_own, journal=journal, so_far=so_far)


def _raise(
    error: BaseException, report: Report | None, *, is_own: bool, journal: Setup | None, so_far: str = ""
) -> NoReturn:
    known = f"{_known(report) or so_far}{hint(journal)}"
    if isinstance(error, KeyboardInterrupt):
        raise RunInterrupted(f"interrupted{known}", report=report) from None
    if is_own and isinstance(error, Exception):
        raise RunStoppedError(f"the run stopped on {type(error).__name__}{known}", report=report) from error
    where = "; client.last_report has it" if report is not None else ""
    error.add_note(f"It ended a run{_known(report) or so_far}{where}{hint(journal)}")
    raise error


def _known(report: Report | None) -> str:
    return f": {report!r}" if report is not None else ""


def raise_stopped(ending: Ending, report: Report | None, journal: Setup | None) -> NoReturn:
    """Raise for a run that stopped by itself.

    Raises:
        JournalError: The journal cannot be used, and nothing was sent.
        RunStoppedError: For all else; its cause is what stopped the run.
        RunInterrupted: Ctrl-C while the stop was logged.
    """
    if isinstance(ending.cause, JournalError) and not ending.report.http_requests:
        raise ending.cause
    text = f"the run stopped, {ending.why}{_known(report)}"
    try:
        _native.warn(text)
    except BaseException as interruption:
        _raise(interruption, report, is_own=False, journal=journal)
    raise RunStoppedError(f"{text}{hint(journal)}", report=report) from ending.cause
