"""Showing how far a run has come: a bar, a callback, or nothing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ._warning import warn

if TYPE_CHECKING:
    from . import _native
    from ._outcome import Status

    OnProgress = Callable[[int, int | None, dict[Status, int]], object]
    """Called with how many are done, how many there are where that is known, and the counts by status."""
    Progress = bool | OnProgress | None
    """None: a bar on a terminal or in a notebook when the work lasts; True: always; False: never; or a callback."""

_INTERVAL = 0.05
"""Seconds between two updates at the least."""
_LASTS = 1.0
"""Seconds after which work lasts long enough for a bar that nobody asked for."""


class Meter:
    """Tells how far a run is, at most 20 times a second, and once more at the end; this one tells nobody."""

    def __init__(self) -> None:
        self._last = monotonic()

    def open(self, total: int | None) -> None:
        """Begin, with so many ids where that is known."""

    def update(self, run: _native.NativeRun) -> None:
        """Tell it if it is time."""
        now = monotonic()
        if now - self._last >= _INTERVAL:
            self._last = now
            self.finish(run)

    def finish(self, run: _native.NativeRun) -> None:
        """Tell it, whatever the time."""

    def close(self) -> None:
        """No more is told."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Callback(Meter):
    """Tells a callback of the caller, whose exceptions end the run."""

    def __init__(self, callback: OnProgress) -> None:
        super().__init__()
        self._callback = callback
        self._total: int | None = None

    def open(self, total: int | None) -> None:
        self._total = total

    def finish(self, run: _native.NativeRun) -> None:
        done, counts, *_ = run.progress()
        self._callback(done, self._total, counts)


class _Bar(Meter):
    """Draws a bar. One that cannot be drawn, as where stderr is closed, is left out; it must not cost the run."""

    def __init__(self, make: Any, delay: float) -> None:
        super().__init__()
        self._make = make
        self._delay = delay
        self._started = monotonic()
        self._bar: Any = None

    def open(self, total: int | None) -> None:
        # With any delay it is not drawn before there is an object that can be told not to draw any more.
        delay = self._delay or 1e-9
        with self._drawing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._bar = self._make(total=total, delay=delay, unit=" ids", desc="reprocess", dynamic_ncols=True)
            if not self._delay:
                self._bar.refresh()

    def finish(self, run: _native.NativeRun) -> None:
        if self._bar is None:
            return
        done, counts, _requests, _retries, _paused, pause_left = run.progress()
        notes = [f"{number} {status}" for status, number in counts.items() if number and status != "accepted"]
        if pause_left > 0:
            notes.append(f"throttled, {pause_left:.0f} s")
        with self._drawing():
            self._bar.set_postfix_str(", ".join(notes), refresh=False)
            self._bar.update(done - self._bar.n)
            # Also without progress: the seconds of a pause count down.
            if monotonic() - self._started >= self._delay:
                self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            with self._drawing():
                self._bar.close()

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            bar, self._bar = self._bar, None
            if bar is not None:
                # Or it would try to draw its end when it goes.
                bar.disable = True
            with suppress(Exception):
                # `refresh` keeps tqdm's lock where drawing raises, and bars of other threads would wait for ever.
                self._make.get_lock().release()
            if not isinstance(error, Exception):
                raise
            warn(f"the progress bar is left out, since it cannot be drawn ({type(error).__name__}: {error})")


def check(progress: Progress) -> None:
    """Refuse what is no way to show progress.

    Raises:
        TypeError: It is neither a bool, None nor callable.
    """
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress is of type {type(progress).__name__}; give None, a bool or a callable")


def meter_for(progress: Progress) -> Meter:
    """The meter that `progress`, which was checked, asks for.

    Raises:
        ImportError: A bar was asked for, and tqdm cannot be imported.
    """
    if callable(progress):
        return _Callback(progress)
    if progress is False or not (_is_notebook() or (sys.stderr is not None and (progress or _is_terminal()))):
        return Meter()
    try:
        with warnings.catch_warnings():
            # Without ipywidgets a notebook gets the text bar; that needs no warning.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except Exception as error:
        if progress is None:
            return Meter()
        raise ImportError(
            "progress=True needs tqdm, which cannot be imported; pip install tqdm, or pass progress=False"
            f" ({type(error).__name__}: {error})"
        ) from error
    return _Bar(tqdm, delay=0.0 if progress else _LASTS)


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules and "IPython" in sys.modules


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except Exception:
        # It is closed, or something that an application has put in its place.
        return False
