"""Telling `on_outcome` of each outcome, without holding up the run or its deadline."""

from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from ._warning import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import _native
    from ._feed import OnOutcome
    from ._outcome import Outcome

_AT_A_TIME = 0.05
"""Seconds of callbacks after which the run is fed again."""
LATE = 0.5
"""Seconds that the caller's code may take in all once a deadline is over or a Ctrl-C has come."""


class Teller:
    """Hands outcomes to `on_outcome`, each once; a callback that has raised is not called again."""

    def __init__(self, on_outcome: OnOutcome | None, deadline: float | None) -> None:
        self._on_outcome = on_outcome
        self._waiting: deque[Outcome] = deque()
        self._over = inf if deadline is None else monotonic() + deadline
        self._left = LATE
        self._untold = 0

    @property
    def is_behind(self) -> bool:
        """Whether outcomes wait for the callback."""
        return bool(self._waiting)

    def tell(self, outcomes: list[Outcome]) -> None:
        """Tell it of these, for a short time; those that are left come with the next call."""
        if self._on_outcome is not None:
            self._waiting.extend(outcomes)
            self._call(monotonic() + _AT_A_TIME)

    def tell_rest(self, run: _native.NativeRun, push_more: Callable[[], bool]) -> None:
        """After the end: take in what a list still holds, and tell of it, and of what was answered last.

        Warns:
            RuntimeWarning: The callback is slow and the run had to end, so it was not told of all.
        """
        self._tell_taken(run)
        while push_more():
            self._tell_taken(run)
        if self._untold:
            number, self._untold = self._untold, 0
            warn(f"on_outcome was not called for {number:,} outcomes, since no time was left; the report has them")

    def tell_rest_after(self, error: BaseException, run: _native.NativeRun, push_more: Callable[[], bool]) -> None:
        """The same where the run was ended by this exception, which counts for more than one of the callback."""
        if not isinstance(error, Exception):
            # Ctrl-C and the like are in a hurry; the report has what is left of the list.
            push_more = _nothing
            self._over = min(self._over, monotonic())
        try:
            self.tell_rest(run, push_more)
        except Exception as later:
            error.add_note(f"on_outcome raised as well: {later!r}")

    def _tell_taken(self, run: _native.NativeRun) -> None:
        # Those of earlier runs come a handful at a time.
        while True:
            self._tell_waiting()
            outcomes = run.take()
            if not outcomes:
                return
            if self._on_outcome is not None:
                self._waiting.extend(outcomes)

    def _tell_waiting(self) -> None:
        """Tell all that wait, or as many as there is time for."""
        if not self._waiting:
            return
        started = monotonic()
        self._call(max(self._over, started + self._left))
        self._left -= max(0.0, monotonic() - max(started, self._over))
        self._untold += len(self._waiting)
        self._waiting.clear()

    def _call(self, until: float) -> None:
        callback, self._on_outcome = self._on_outcome, None
        if callback is None:
            self._waiting.clear()
            return
        while self._waiting:
            callback(self._waiting.popleft())
            if monotonic() >= until:
                break
        self._on_outcome = callback


def _nothing() -> bool:
    return False
