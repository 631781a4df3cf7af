"""All outcomes of a run, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from ._native import NativeReport

if TYPE_CHECKING:
    import os

    from ._outcome import Outcome, Status

_CHUNK = 1_000
_MOST_ERRORS = 100


class Report(Sequence["Outcome"]):
    """Every outcome of a run, in the order of the input: a sequence of `Outcome`.

    It keeps columns, about 65 bytes for each id, and makes an `Outcome` when one is asked for.

    Example:
        >>> from entra_reprocess import reprocess_many
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=3) as graph:
        ...     report = reprocess_many([*graph.ids, "x"], base_url=graph.url, credential=graph.credential)
        >>> len(report), report.counts["accepted"], report[-1].status
        (4, 3, 'rejected')
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
    def __getitem__(self, place: int) -> Outcome: ...
    @overload
    def __getitem__(self, place: slice) -> Report: ...
    def __getitem__(self, place: int | slice) -> Outcome | Report:
        if isinstance(place, slice):
            places = range(len(self))[place]
            return Report(self._native.slice(places.start, places.step, len(places)))
        return self._native.at(range(len(self))[place])

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
        counts = ", ".join(f"{number:,} {what}" for number, what in [*parts, (self.under_way, "under way")] if number)
        past = f", {earlier:,} from earlier runs" if earlier else ""
        return f"<Report of {len(self):,}: {counts or 'nothing'} in {self.elapsed:.1f} s{past}>"

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
        """Seconds that the run took."""
        return self._native.figures()[0]

    @property
    def http_requests(self) -> int:
        """HTTP requests made for the whole run."""
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

        Args:
            path: The file to write; an existing one is replaced.

        Raises:
            OSError: The file cannot be written.
        """
        self._native.write_csv(path)


def _unpickle(packed: bytes) -> Report:
    return Report(NativeReport.from_bytes(packed))
