"""Every kind of ids as one iterator; what cannot be one is refused with the way to mend it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from . import _native

if TYPE_CHECKING:
    from uuid import UUID

    from ._listed import Assignment
    from ._outcome import Outcome
else:
    from ._hints import UUID, Assignment, Outcome

T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Many(Protocol[T_co]):
    """A list, set, Series, array or other collection.

    To checkers a str is an iterable of str. Only its `in` tells one id from many: it takes nothing but a str.
    """

    def __iter__(self) -> Iterator[T_co]: ...

    def __contains__(self, item: object, /) -> bool: ...


@runtime_checkable
class ArrowStream(Protocol):
    """Anything with a one-column Arrow stream, such as a pyarrow ChunkedArray or a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A PyCapsule of the stream."""
        ...

    # A frame has a stream, too, of all its columns. Checkers tell it by what its == gives: another frame.
    def __eq__(self, other: object, /) -> bool: ...

    def __hash__(self) -> int: ...


Id = str | UUID | Assignment | Outcome
"""What stands for an assignment."""
Ids = Many[Id] | Iterator[Id] | ArrowStream
"""What the bulk verbs take: a collection or an iterator of these, or a one-column Arrow stream.

For checkers, what is declared as no more than an Iterable[str] may be a str; make it a list, or pass iter() of it.
"""
AsyncIds = Ids | AsyncIterable[Id]
"""What the bulk verbs of AsyncClient take: an asynchronous iterable too."""


class LengthError(ValueError):
    """An input said that it has n items and gave another number."""


class Given(NamedTuple):
    """Ids as they were given."""

    ids: Iterator[object] | AsyncIterator[object]
    """The ids one by one. They raise a LengthError where they are not as many as was said."""
    length: int | None
    """How many there are, where that is known beforehand."""
    is_plain: bool
    """Whether reading them runs no code of the caller, so that what is raised meanwhile is of a signal handler."""


def iterate(ids: Any) -> Given:
    """The ids one by one, as lazily as their source allows.

    Raises:
        TypeError: It is a single id, a mapping, a table or nothing to iterate over; the text names the fix.
        ValueError: Arrow data that cannot be read.
    """
    refuse_lookalikes(ids)
    if _is_arrow(ids):
        # Never asked for its length: a DuckDB relation runs another query for that, which ends the stream. What has a
        # length is finite, and is read to the end here, before its connection can be used for anything else.
        texts = _native.ArrowTexts(ids, whole=_has_length(ids))
        # An array that turns out to be damaged is found then, too.
        return Given((text for chunk in texts for text in chunk), texts.length, is_plain=texts.length is not None)
    length = length_of(ids)
    try:
        given = iter(ids)
    except TypeError:
        raise TypeError(f"ids is of type {type(ids).__name__}; give an iterable of assignment ids") from None
    counted = given if length is None else _counted(given, length)
    return Given(counted, length, is_plain=type(ids) in (list, tuple))


def iterate_async(ids: Any) -> Given:
    """The same of ids that may also come asynchronously."""
    if not isinstance(ids, AsyncIterable):
        return iterate(ids)
    length = length_of(ids)
    return Given(aiter(ids) if length is None else _counted_async(ids, length), length, is_plain=False)


def has_length(ids: Any) -> bool:
    """Whether it is known beforehand how many ids there are."""
    return _has_length(ids) if _is_arrow(ids) else length_of(ids) is not None


def length_of(ids: Any) -> int | None:
    """How many ids there are, where that is known beforehand; not for Arrow data."""
    try:
        return len(ids)
    except (TypeError, OverflowError):
        # What is longer than a machine can count, such as a range, is read like what has no length.
        return None


def _has_length(ids: Any) -> bool:
    # Of Arrow data; a single array is at hand as a whole.
    return hasattr(type(ids), "__len__") or not hasattr(ids, "__arrow_c_stream__")


def _is_series(ids: Any) -> bool:
    return any(base.__name__ == "Series" for base in type(ids).__mro__)


def _is_arrow(ids: Any) -> bool:
    # A Series iterates over its values; its Arrow stream would need pyarrow in pandas.
    return not _is_series(ids) and (hasattr(ids, "__arrow_c_stream__") or hasattr(ids, "__arrow_c_array__"))


_BEYOND = 1_000
"""How many ids beyond the length that was said are counted, to be named in the error; an input may be endless."""


def _counted(ids: Iterator[object], length: int) -> Iterator[object]:
    given = 0
    for item in ids:
        given += 1
        if given <= length:
            yield item
        elif given > length + _BEYOND:
            break
    if given != length:
        raise _mismatch(length, given)


async def _counted_async(ids: AsyncIterable[object], length: int) -> AsyncIterator[object]:
    given = 0
    async for item in ids:
        given += 1
        if given <= length:
            yield item
        elif given > length + _BEYOND:
            break
    if given != length:
        raise _mismatch(length, given)


def _mismatch(length: int, given: int) -> LengthError:
    more = "at least " if given > length + _BEYOND else ""
    return LengthError(
        f"ids says that it has {length:,} items and gave {more}{given:,}; nothing more is sent. Give a list of them,"
        " and do not change it during the run"
    )


def refuse_lookalikes(ids: Any) -> None:
    """Refuse what iterates, but not over ids.

    Raises:
        TypeError: It is a single id, a mapping or a table.
    """
    from uuid import UUID

    if isinstance(ids, str | UUID):
        raise TypeError("ids is a single id; wrap it in a list, or call reprocess()")
    if own := getattr(type(ids), "_id_of", None):
        kind = type(ids).__name__
        if own == "assignment":
            raise TypeError(f"ids is a single {kind}; wrap it in a list, or call reprocess()")
        raise TypeError(f"ids is of type {kind}; give assignments, such as client.assignments(access_package=...)")
    if isinstance(ids, bytes | bytearray | memoryview):
        raise TypeError("ids is bytes; decode it and split it into a list of str")
    if isinstance(ids, dict):
        raise TypeError("ids is a dict; pass its keys() or values(), whichever are the ids")
    if any(base.__name__ in {"DataFrame", "LazyFrame"} for base in type(ids).__mro__):
        raise TypeError('ids is a DataFrame; pass the column that holds the ids, such as df["id"]')
