"""Reading lists and states: what the synchronous and the asynchronous client have in common, and the loops of both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from ._errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ._native import NativeListing
    from ._report import Report

T = TypeVar("T")

_FILTER_IT = (
    "\nA caller who has roles on some catalogs only may list the assignments of one access package at a time:"
    " pass access_package=."
)


def pages(listing: NativeListing, make: Callable[[dict[str, Any]], T], *, filtered: bool) -> Iterator[T]:
    """Each object of the list, page by page, as they are asked for."""
    while True:
        try:
            page = listing.next()
        except PermissionDeniedError as error:
            raise _explained(error, filtered=filtered) from None
        if page is None:
            return
        yield from map(make, json.loads(page)["value"])


async def pages_async(
    listing: NativeListing, make: Callable[[dict[str, Any]], T], *, filtered: bool
) -> AsyncIterator[T]:
    """The same on an event loop."""
    while True:
        try:
            page = await listing.next_async()
        except PermissionDeniedError as error:
            raise _explained(error, filtered=filtered) from None
        if page is None:
            return
        for raw in json.loads(page)["value"]:
            yield make(raw)


def _explained(error: PermissionDeniedError, *, filtered: bool) -> PermissionDeniedError:
    """The list's own reason for a 403, beside the usual ones.

    See https://learn.microsoft.com/graph/api/entitlementmanagement-list-assignments
    """
    if not filtered:
        error.args = (f"{error}{_FILTER_IT}",)
    return error


def states_of(report: Report) -> dict[str, str]:
    """The state of each id, or how its reading ended."""
    states: dict[str, str] = {}
    for outcome in report:
        was_refused_here = outcome.status == "rejected" and outcome.http_status is None
        if was_refused_here and outcome.id in states:
            # An object that is no id may show as one.
            continue
        # The message of an outcome that was accepted is what was read.
        states[outcome.id] = (outcome.message or "") if outcome.ok else outcome.status
    return states
