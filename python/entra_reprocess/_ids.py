"""Every kind of ids as one iterator; what cannot be one is refused with the way to mend it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from . import _native

if TYPE_CHECKING:
    from uuid import UUID
else:
    from ._hints import UUID

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


Id = str | UUID
"""What one id may be."""
Ids = Many[Id] | Iterator[Id] | ArrowStream
"""What the bulk verbs take: any iterable of str or uuid.UUID, or a one-column Arrow stream.

For checkers, what is declared as no more than an Iterable[str] may be a str; make it a list, or pass iter() of it.
"""
AsyncIds = Ids | AsyncIterable[Id]
"""What the bulk verbs of AsyncClient take: an asynchronous iterable too."""


def iterate(ids: Any) -> Iterator[object]:
    """The ids one by one, as lazily as their source allows.

    Raises:
        TypeError: It is a single id, a mapping, a table or nothing to iterate over; the text names the fix.
    """
    refuse_lookalikes(ids)
    # A Series iterates over its values; its Arrow stream would need pyarrow in pandas.
    is_series = any(base.__name__ == "Series" for base in type(ids).__mro__)
    if not is_series and (hasattr(ids, "__arrow_c_stream__") or hasattr(ids, "__arrow_c_array__")):
        return (text for chunk in _native.ArrowTexts(ids) for text in chunk)
    try:
        return iter(ids)
    except TypeError:
        raise TypeError(f"ids is of type {type(ids).__name__}; give an iterable of assignment ids") from None


def refuse_lookalikes(ids: Any) -> None:
    """Refuse what iterates, but not over ids.

    Raises:
        TypeError: It is a single id, a mapping or a table.
    """
    from uuid import UUID

    if isinstance(ids, str | UUID):
        raise TypeError("ids is a single id; wrap it in a list, or call reprocess()")
    if isinstance(ids, bytes | bytearray | memoryview):
        raise TypeError("ids is bytes; decode it and split it into a list of str")
    if isinstance(ids, dict):
        raise TypeError("ids is a dict; pass its keys() or values(), whichever are the ids")
    if any(base.__name__ in {"DataFrame", "LazyFrame"} for base in type(ids).__mro__):
        raise TypeError('ids is a DataFrame; pass the column that holds the ids, such as df["id"]')


def length_of(ids: Any) -> int | None:
    """How many ids there are, where that is known beforehand."""
    try:
        return len(ids)
    except (TypeError, OverflowError):
        # What is longer than a machine can count, such as a range, is read like what has no length.
        return None
