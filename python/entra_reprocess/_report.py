"""All outcomes of a run, in columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from ._native import NativeReport

if TYPE_CHECKING:
    from uuid import UUID

    from ._listed import Assignment
    from ._outcome import Outcome, Status
else:
    from ._hints import UUID, Assignment, Outcome, Status

_CHUNK = 1_000
_MOST_ERRORS = 100
_SHOWN = 3
"""Outcomes that the repr of a part shows."""
_MOST_SHOWN = 160
"""Characters of what is said of one of them."""


class Report(Sequence["Outcome"]):
    """Every outcome of a run, in the order of the input: a sequence of `Outcome`.

    It keeps columns, about 65 bytes for each id, and makes an `Outcome` when one is asked for: by its place, or by its
    id in any form that is taken as input, of which it gives the first place. `in`, `index` and `count` take ids, too.

    Raises:
        IndexError: There is no such place.
        KeyError: There is no such id.

    Example:
        >>> from entra_reprocess import reprocess_many
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=3) as graph:
        ...     report = reprocess_many([*graph.ids, "x"], base_url=graph.url, credential=graph.credential)
        >>> len(report), report.counts["accepted"], report[-1].status
        (4, 3, 'rejected')
        >>> report[graph.ids[1]].status, report.index(graph.ids[1]), graph.ids[1].upper() in report
        ('accepted', 1, True)
        >>> report.not_accepted
        <Report of 1: 1 rejected
          x rejected (assignment id "x" is no GUID of the form 8-4-4-4-12, like d82eb508-acc4-43cc-bcf1-7c1c4a2c073b)>
    """

    __module__ = "entra_reprocess"  # the public place, for tracebacks and pickles

    __slots__ = ("_native",)

    def __init__(self, native: NativeReport) -> None:
        self._native = native

    @classmethod
    def from_journal(cls, path: str | os.PathLike[str]) -> Report:
        """What a journal says, also while a run is writing it.

        Args:
            path: The journal.

        Returns:
            One outcome for each place of the input. Ids that may have been sent and have no outcome are "unknown",
            those that no run has come to "not_attempted". While a run is writing the journal, these are `under_way`:
            nothing is lost, and their messages say so. Elapsed time is that of all runs, requests and pauses are those
            of the runs that have ended.

        Raises:
            JournalError: There is none, it is damaged, or it is of another version.
        """
        return cls(NativeReport.from_journal(path))

    def __len__(self) -> int:
        return len(self._native)

    @overload
    def __getitem__(self, place: SupportsIndex | str | UUID | Outcome | Assignment) -> Outcome: ...
    @overload
    def __getitem__(self, place: slice) -> Report: ...
    def __getitem__(self, place: SupportsIndex | slice | str | UUID | Outcome | Assignment) -> Outcome | Report:
        if isinstance(place, slice):
            places = range(len(self))[place]
            # The step between fewer than two is never taken, and may be any number.
            step = places.step if len(places) > 1 else 1
            return Report(self._native.slice(places.start, step, len(places)))
        if hasattr(place, "__index__"):
            try:
                return self._native.at(range(len(self))[place])
            except IndexError:
                raise IndexError(f"the report has {len(self):,} places, from 0") from None
        wanted = _id_of(place)
        if wanted is None:
            raise TypeError(f"a report has places, slices and ids (str or uuid.UUID), not {type(place).__name__}")
        found = self._native.find(wanted, 0, len(self))
        if found is None:
            raise KeyError(_missing(wanted))
        return self._native.at(found)

    def __contains__(self, value: object) -> bool:
        return self._place_of(value, 0, len(self)) is not None

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The first place of an id, or of an outcome.

        Args:
            value: An id in any form that is taken as input, something listed that has one, or an outcome.
            start: The first place to look at.
            stop: The place before which to stop looking.

        Raises:
            ValueError: It is not there.
        """
        start, stop, _ = slice(start, stop).indices(len(self))
        place = self._place_of(value, start, stop)
        if place is None:
            raise ValueError(_missing(_id_of(value) or type(value).__name__))
        return place

    def count(self, value: Any) -> int:
        """How many places are of an id, or have an outcome that equals this one."""
        wanted = _id_of(value)
        if wanted is None or _is_outcome(value):
            return super().count(value)
        return self._native.count_of(wanted)

    def _place_of(self, value: object, start: int, stop: int) -> int | None:
        wanted = _id_of(value)
        if wanted is None:
            return None
        place = self._native.find(wanted, start, stop)
        # An outcome is there where an equal one is, as in any sequence: in another run the same id may end otherwise.
        while place is not None and _is_outcome(value) and self._native.at(place) != value:
            place = self._native.find(wanted, place + 1, stop)
        return place

    def __iter__(self) -> Iterator[Outcome]:
        for start in range(0, len(self), _CHUNK):
            yield from self._native.chunk(start, _CHUNK)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Report):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal by content like a list, so not hashable; typeshed says Callable

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (self._native.to_bytes(),)

    def __repr__(self) -> str:
        under_way, earlier = self._native.under_way(), self.from_earlier_runs
        parts = [(number - under_way[status], status) for status, number in self.counts.items()]
        told = ", ".join(f"{number:,} {what}" for number, what in [*parts, (self.under_way, "under way")] if number)
        head = f"<Report of {len(self):,}: {told or 'nothing'}"
        past = f", {earlier:,} from earlier runs" if earlier else ""
        if not self._native.is_part():
            return f"{head} in {self.elapsed:.1f} s{past}>"
        failures = self.not_accepted
        lines = [f"{head}{past}", *(_shown(outcome) for outcome in failures[:_SHOWN])]
        if len(failures) > _SHOWN:
            lines.append(f"and {len(failures) - _SHOWN:,} more")
        return "\n  ".join(lines) + ">"

    @property
    def counts(self) -> dict[Status, int]:
        """How many places of the input ended in each way; the values add up to `len(report)`."""
        return self._native.counts()

    @property
    def from_earlier_runs(self) -> int:
        """How many of these places have an outcome that an earlier run has left in the journal.

        0 without a journal, and for `from_journal`, which is no run.
        """
        return self._native.earlier()

    @property
    def under_way(self) -> int:
        """How many of these places a run had still to settle when its journal was read.

        In `counts` they are "unknown" where they may have been sent, and "not_attempted" where they were not. 0 in the
        report of a run, and where no run is writing the journal.
        """
        return sum(self._native.under_way().values())

    @property
    def accepted(self) -> Report:
        """The outcomes that Graph accepted."""
        return Report(self._native.select(accepted=True))

    @property
    def not_accepted(self) -> Report:
        """All others: what is left to look at."""
        return Report(self._native.select(accepted=False))

    @property
    def ids(self) -> list[str]:
        """The id of each place, to be used as input again."""
        return self._native.ids()

    @property
    def elapsed(self) -> float:
        """Seconds that the whole run took, also in a part of its report."""
        return self._native.figures()[0]

    @property
    def http_requests(self) -> int:
        """HTTP requests made for the whole run, also in a part of its report."""
        return self._native.figures()[1]

    @property
    def retries(self) -> int:
        """Attempts beyond the first, added up over all items of the whole run."""
        return self._native.figures()[2]

    @property
    def paused_seconds(self) -> float:
        """Seconds in which nothing was sent because the service had asked for it."""
        return self._native.figures()[3]

    def raise_for_failures(self) -> None:
        """Raise if anything was not accepted.

        Raises:
            ExceptionGroup: The errors of the first 100 places that were not accepted; its message has all counts.
        """
        failures = self.not_accepted
        if not failures:
            return
        counts = ", ".join(f"{number} {status}" for status, number in self.counts.items() if number)
        errors = [outcome.error for outcome in failures[:_MOST_ERRORS]]
        raise ExceptionGroup(
            f"{len(failures)} of {len(self)} not accepted: {counts}",
            [error for error in errors if error is not None],
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file: UTF-8, a header line, one line for each place.

        What others wrote and what begins like a formula (with = + - or @) gets a single quote before it, so that no
        spreadsheet runs it (https://owasp.org/www-community/attacks/CSV_Injection). Ids that are GUIDs never do; to
        read another value back as it was given, take off the quote.

        Args:
            path: The file to write; an existing one is replaced.

        Raises:
            OSError: The file cannot be written.
        """
        self._native.write_csv(path)


def _unpickle(packed: bytes) -> Report:
    return Report(NativeReport.from_bytes(packed))


def _id_of(value: object) -> str | UUID | None:
    """The id that it is, or has, as what lists give has one; None for anything else."""
    from uuid import UUID

    found = getattr(value, "id", value)
    return found if isinstance(found, str | UUID) else None


def _missing(wanted: object) -> str:
    return f"{str(wanted)[:64]!r} is not in this report"


def _is_outcome(value: object) -> bool:
    from ._outcome import Outcome

    return isinstance(value, Outcome)


def _shown(outcome: Outcome) -> str:
    """One that was not accepted, in a line: which, and why."""
    from textwrap import shorten

    answer = " ".join(str(part) for part in (outcome.http_status, outcome.code) if part)
    why = shorten(": ".join(part for part in (answer, outcome.message) if part), _MOST_SHOWN, placeholder=" …")
    return f"{outcome.id} {outcome.status}" + (f" ({why})" if why else "")
