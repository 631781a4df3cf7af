"""The options of a client: their defaults, what the environment adds, and their types."""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from ._native import Secret
from ._secret import hide

Cloud = Literal["global", "usgov", "usgov-dod", "china"]
"""Which Graph: global (and US Government GCC), US Government L4, US Government L5, China."""
ApiVersion = Literal["beta", "v1.0"]
"""Which version of the API; Microsoft supports only v1.0 in production."""


class Options(TypedDict, total=False):
    """All options but the credential, as `Client` takes them."""

    cloud: Cloud | None
    api_version: ApiVersion | None
    base_url: str | None
    concurrency: int
    batch_size: int
    rate: float | None
    max_retries: int
    max_wait: float
    timeout: float
    proxy: str | None
    ca_bundle: str | os.PathLike[str] | None


def checked(options: Options) -> dict[str, object]:
    """The options as the native client reads them, with what the environment says where none was given.

    Raises:
        TypeError: A value is of the wrong type.
    """
    _expect(options, "a str", str, "cloud", "api_version", "base_url", "proxy")
    _expect(options, "an int", int, "concurrency", "batch_size", "max_retries")
    _expect(options, "a number of seconds", (int, float), "max_wait", "timeout")
    _expect(options, "a number of items a second", (int, float), "rate")
    _expect(options, "a path", (str, os.PathLike), "ca_bundle")
    result: dict[str, object] = {"rate": None, **options}
    result["cloud"] = options.get("cloud") or os.environ.get("ENTRA_REPROCESS_CLOUD") or "global"
    result["api_version"] = options.get("api_version") or os.environ.get("ENTRA_REPROCESS_API_VERSION") or "beta"
    from_environment = None if options.get("base_url") else hide(os.environ.get("ENTRA_REPROCESS_BASE_URL"))
    # Any file that sets an environment variable could otherwise send a token elsewhere. Whose host it is tells the same
    # parser that the requests go by: another one may read another host in the same text.
    result["base_url_must_be_loopback"] = bool(from_environment)
    result["base_url"] = options.get("base_url") or from_environment or None
    return result


def refuse_unknown(function: str, given: Options, *own: str) -> None:
    """Refuse what is no option, in the name of the function that was called, which has these keywords of its own.

    Raises:
        TypeError: As Python would raise it for that function.
    """
    known = [*Options.__annotations__, "credential", *own]
    for name in given:
        if name not in known:
            from difflib import get_close_matches

            close = get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{meant}")


_NEVER_NONE = {"concurrency", "batch_size", "max_retries", "max_wait", "timeout"}


def _expect(options: Options, kind: str, types: type | tuple[type, ...], *names: str) -> None:
    for name in names:
        value = options.get(name)
        if value is None and name not in _NEVER_NONE:
            continue
        hidden = value if isinstance(value, Secret) else None
        # A bool is an int to Python, and never what was meant here.
        fits = hidden.is_text if hidden is not None else isinstance(value, types) and not isinstance(value, bool)
        if not fits:
            given = type(value).__name__ if hidden is None else hidden.kind
            raise TypeError(f"{name} is of type {given}; give {kind}")
