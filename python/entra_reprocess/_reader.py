"""Where ids are read: at once, in the thread of the caller, or, so that a deadline holds, in a thread of their own."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from ._threads import allocate_lock, start_new_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import _native

_CONTAINERS = {list, tuple, set, frozenset, range, deque, type({}.keys()), type({}.values())}
_LIBRARIES = {"entra_reprocess", "numpy", "pandas", "polars", "pyarrow"}
_WAIT = 0.1
"""Seconds between looks at the run while there is no room."""


def is_at_hand(ids: Any) -> bool:
    """Whether the ids are all there already, so that reading one of them never waits."""
    kind = type(ids)
    return kind in _CONTAINERS or (hasattr(kind, "__len__") and kind.__module__.partition(".")[0] in _LIBRARIES)


def is_bound_to_thread(ids: Any) -> bool:
    """Whether it is a generator over what may be used in the thread that made it only, as far as one can see.

    See https://docs.python.org/3/library/sqlite3.html#sqlite3.connect (check_same_thread).
    """
    sqlite3, frame = sys.modules.get("sqlite3"), getattr(ids, "gi_frame", None)
    if sqlite3 is None or frame is None:
        return False
    return any(isinstance(value, sqlite3.Cursor | sqlite3.Connection) for value in frame.f_locals.values())


class Reader:
    """Reads ids in a thread of its own, with a copy of the caller's context variables.

    A thread that waits for an id when the run has ended is left alone: it ends with its next id, which is dropped, or
    with the process.
    """

    def __init__(self, run: _native.NativeRun, ids: Iterator[object], *, sized: bool) -> None:
        from contextvars import copy_context

        self.error: BaseException | None = None
        self.exhausted = False
        self._run = run
        self._ids = ids
        self._sized = sized
        self._is_closed = False
        self._lock = allocate_lock()
        self._over = allocate_lock()
        self._over.acquire()
        start_new_thread(copy_context().run, (self._read,))

    def _read(self) -> None:
        try:
            self._read_all()
        except BaseException as error:
            error.add_note(
                "The ids were read in a thread of their own, since there is a deadline; give a list where they may be"
                " read in the caller's thread only."
            )
            self.error = error
        finally:
            self._over.release()

    def _read_all(self) -> None:
        for item in self._ids:
            with self._lock:
                if self._is_closed:
                    return
                self._run.push([item])
            while not self._run.room() and not self._run.is_done():
                self._run.wait(False, True, _WAIT)
            # What says how many it has is read on, so that each has its outcome, as long as there is time.
            if self._run.is_done() and not self._sized:
                return
        with self._lock:
            self.exhausted = True
            if not self._is_closed:
                self._run.close_input()

    def wait(self, seconds: float) -> bool:
        """Wait until it has read all; whether it still reads."""
        if not self._over.acquire(timeout=seconds):
            return True
        self._over.release()
        return False

    def close(self) -> None:
        """Take in nothing more."""
        with self._lock:
            self._is_closed = True
