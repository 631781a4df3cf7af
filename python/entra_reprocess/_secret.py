"""Texts that are not shown: tokens, and URLs, which may hold a password."""

from __future__ import annotations

from typing import Any

HIDDEN = "<hidden>"


class Secret(str):
    """A text like any other, except that a traceback with locals, a debugger or a repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


class _SecretBytes(bytes):
    """The same for what is refused, since it is no text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


# Errors name the type of what was given.
_SecretBytes.__name__ = "bytes"


def hide(value: Any) -> Any:
    """The same value, not shown if it is a text; anything else has a repr of its own to answer for."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, bytes):
        return _SecretBytes(value)
    return value


def hide_urls(options: Any) -> None:
    """Hide the URLs in a dict of options."""
    for name in {"proxy", "base_url"} & options.keys():
        options[name] = hide(options[name])
