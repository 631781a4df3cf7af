"""What is not shown: credentials, and URLs, which may hold a password."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._native import Secret


def hide(value: Any) -> Any:
    """The value in a holder that shows nothing of it, so that a local of ours may hold it; None stays None."""
    return None if value is None else Secret(value)


def hide_urls(options: Any, known: Iterable[str]) -> None:
    """Hide the URLs in a dict of options, and what is none of the known options: it may be a misspelt one."""
    for name in options.keys() - (set(known) - {"proxy", "base_url"}):
        options[name] = hide(options[name])
