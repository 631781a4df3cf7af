"""How a journal is asked for, and what is said about one when a run ends early."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._errors import JournalError
    from ._native import NativeRun
    from ._outcome import Status
else:
    from ._hints import Status

Path = str | os.PathLike[str]
"""Where a journal is."""
# mypy takes the strings of a tuple for statuses only where a tuple of them is named.
Retry = tuple[Status, ...] | Collection[Status]
"""Statuses that a resumed run tries anew, besides those that no answer has settled."""


class Setup(NamedTuple):
    """A journal, as the native client takes it."""

    path: str
    retry: list[str]
    resume: bool
    is_sized: bool
    machine: str


def setup_of(journal: Path | None, retry: Retry, *, resume: bool = False, is_sized: bool = True) -> Setup | None:
    """The journal that is asked for, None where there is none.

    Raises:
        TypeError: `journal` is no path, or `retry` is a single status.
        ValueError: `retry` is given without a journal.
    """
    if isinstance(retry, str):
        raise TypeError(f'retry is a str; give a tuple, like ("{retry}",)')
    if journal is None:
        if retry:
            raise ValueError("retry says what to try anew of an earlier run; give the journal of that run, too")
        return None
    path = os.fspath(journal) if isinstance(journal, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"journal is of type {type(journal).__name__}; give a path as str or pathlib.Path")
    if not path:
        raise ValueError('journal is an empty path; give one such as "june.db"')
    # Imported here: nobody else needs it.
    from socket import gethostname

    return Setup(path, list(retry), resume, is_sized, gethostname())


def hint(journal: Setup | None, run: NativeRun) -> str:
    """A line that says how to go on with this run, which is done; empty without a journal."""
    known = run.journaled()
    if journal is None or known is None:
        return ""
    resume = f"client.resume({journal.path!r})"
    places, is_whole, _ = known
    if is_whole:
        return f"\nTo go on where it ended: {resume}, or the same call again."
    if not places:
        return "\nTo go on: the same call again, with all ids; the journal has none of the ids."
    return (
        f"\nTo go on: the same call again, with all ids; the journal has only the first {places:,} ids of its input, "
        f"and {resume} goes on with those alone."
    )


def explained(error: JournalError, journal: Setup | None, run: NativeRun) -> JournalError:
    """The error of a journal with which nothing was sent, with how to go on where its disk was the trouble."""
    known = run.journaled()
    return type(error)(f"{error}{hint(journal, run)}") if known is not None and known[2] else error
