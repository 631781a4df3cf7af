"""Showing how far a run has come: a bar, a callback, or nothing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from . import _native

# Any, so that a callback may name the keys of its dict `Status` or `str`: to checkers no dict is both.
OnProgress = Callable[[int, int | None, dict[Any, int]], object]
"""Called with how many are done, how many there are where that is known, and the counts by status."""
Progress = bool | OnProgress | None
"""None: a bar on a terminal or in a notebook when the work lasts; True: always; False: never; or a callback."""

_INTERVAL = 0.05
"""Seconds between two updates at the least."""
_LASTS = 1.0
"""Seconds after which work lasts long enough for a bar that nobody asked for."""


class Meter:
    """Tells how far a run is, at most 20 times a second, and once more at the end."""

    def __init__(self, tell: Callable[[int, Any], object] | None, close: Callable[[], object]) -> None:
        self._tell = tell
        self._close = close
        self._last = monotonic()

    def update(self, run: _native.NativeRun) -> None:
        """Tell it if it is time."""
        now = monotonic()
        if now - self._last >= _INTERVAL:
            self._last = now
            self.finish(run)

    def finish(self, run: _native.NativeRun) -> None:
        """Tell it, whatever the time."""
        if self._tell is not None:
            done, *rest = run.progress()
            self._tell(done, rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def check(progress: Progress) -> None:
    """Refuse what is no way to show progress.

    Raises:
        TypeError: It is neither a bool, None nor callable.
    """
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress is of type {type(progress).__name__}; give None, a bool or a callable")


def meter_for(progress: Progress, total: int | None) -> Meter:
    """The meter that `progress`, which was checked, asks for."""
    if progress is None or isinstance(progress, bool):
        if progress or (progress is None and _is_watched()):
            return _bar(total, delay=0.0 if progress else _LASTS)
        return Meter(None, lambda: None)
    callback = progress
    return Meter(lambda done, rest: callback(done, total, rest[0]), lambda: None)


def _is_watched() -> bool:
    """Whether a person looks on: at a terminal or in a notebook."""
    if "ipykernel" in sys.modules and "IPython" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


def _bar(total: int | None, delay: float) -> Meter:
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets the text bar; that needs no warning.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

        bar = tqdm(total=total, delay=delay, unit=" ids", desc="reprocess", dynamic_ncols=True)

    started = monotonic()

    def tell(done: int, rest: Any) -> None:
        counts, _requests, _retries, _paused, pause_left = rest
        notes = [f"{number} {status}" for status, number in counts.items() if number and status != "accepted"]
        if pause_left > 0:
            notes.append(f"throttled, {pause_left:.0f} s")
        bar.set_postfix_str(", ".join(notes), refresh=False)
        bar.update(done - bar.n)
        # Also without progress: the seconds of a pause count down.
        if monotonic() - started >= delay:
            bar.refresh()

    return Meter(tell, bar.close)
