"""The thread in which a credential is asked for a token."""

from __future__ import annotations

from collections.abc import Callable


def ask(
    fetch: Callable[[str, str | None], object],
    scope: str,
    claims: str | None,
    tell: Callable[[object, BaseException | None], None],
) -> None:
    """Call `fetch` and tell what it gives, or what it raises."""
    # What it gives is never a local of ours, which a traceback could show.
    try:
        tell(fetch(scope, claims), None)
    except BaseException as error:
        tell(None, error)
