"""What is not shown: credentials, and URLs, which may hold a password."""

from __future__ import annotations

from typing import Any

from ._native import Secret


def hide(value: Any) -> Any:
    """The value in a holder that shows nothing of it, so that a local of ours may hold it; None stays None."""
    return None if value is None else Secret(value)


def hide_urls(options: Any) -> None:
    """Hide the URLs in a dict of options."""
    for name in {"proxy", "base_url"} & options.keys():
        options[name] = hide(options[name])
