"""Every kind of credential as one shape: a source whose `fetch(scope)` gives token, expiry and refresh time."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from ._secret import hide

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.credentials_async import AsyncTokenCredential

    Credential = TokenCredential | str | Callable[[], str] | None
    """Any azure-core TokenCredential; a token; a callable that gives one; None for DefaultAzureCredential."""
    AnyCredential = Credential | AsyncTokenCredential | Callable[[], Awaitable[str]]
    """The same for AsyncClient, which takes asynchronous ones too."""

Fetched = tuple[str, int | None, int | None]
"""Token, `expires_on` and `refresh_on`, the times in Unix seconds."""


class Source(Protocol):
    """What the native client calls for a token."""

    is_async: bool
    renewable: bool
    owned: Any
    """A credential that was made here and has to be closed with the client, or None."""

    def fetch(self, scope: str, /) -> Fetched | Awaitable[Fetched]:
        """A token, or a coroutine for one where `is_async`."""
        ...


def source_of(credential: object, *, for_async: bool) -> Source:
    """The source that a credential is.

    Raises:
        TypeError: It is of no known kind, or asynchronous in a synchronous client.
        ValueError: A token that no HTTP header can carry.
        ImportError: None was given and azure-identity is not installed.
    """
    if credential is None:
        if token := hide(os.environ.get("ENTRA_REPROCESS_TOKEN")):
            return _Fixed(token)
        return _default()
    if isinstance(credential, str):
        return _Fixed(credential)
    get_token = getattr(credential, "get_token_info", None) or getattr(credential, "get_token", None)
    given = get_token or credential
    if not callable(given):
        raise TypeError(
            f"credential is of type {type(credential).__name__}; give an azure-core TokenCredential, a token as str,"
            " or a callable that returns one"
        )
    import inspect

    is_async = inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(type(given).__call__)
    if is_async and not for_async:
        raise TypeError(
            f"the credential {type(credential).__name__} is asynchronous; use AsyncClient, or its synchronous twin"
            " (azure.identity in place of azure.identity.aio)"
        )
    return _Asked(given, is_credential=get_token is not None, is_async=is_async)


def _default() -> Source:
    # Imported here: it takes longer than all the rest of the package.
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise ImportError(
            "no credential was given and azure-identity cannot be imported; pip install azure-identity,"
            " or pass credential="
        ) from error
    made = DefaultAzureCredential()
    source = source_of(made, for_async=False)
    source.owned = made
    return source


class _Fixed:
    """A token as it is. It cannot be renewed."""

    is_async = False
    renewable = False

    def __init__(self, token: str) -> None:
        _check(token, "credential")
        self.owned: Any = None
        self._token = token

    def fetch(self, scope: str, /) -> Fetched:
        return self._token, None, None

    def __repr__(self) -> str:
        return "<a token>"


class _Asked:
    """A credential's method, or a callable, asked for each token."""

    renewable = True

    def __init__(self, call: Callable[..., Any], *, is_credential: bool, is_async: bool) -> None:
        self._call = call
        self._is_credential = is_credential
        self.is_async = is_async
        self.owned: Any = None

    def fetch(self, scope: str, /) -> Fetched | Awaitable[Fetched]:
        # What it gives is never a local of ours, which a traceback could show.
        arguments = (scope,) if self._is_credential else ()
        return _awaited(self._call(*arguments)) if self.is_async else _read(self._call(*arguments))


async def _awaited(given: Awaitable[object]) -> Fetched:
    return _read(await given)


def _read(given: object) -> Fetched:
    """An AccessToken, an AccessTokenInfo or a str, as far as it is one."""
    kind = type(given).__name__
    token = hide(given if isinstance(given, str) else getattr(given, "token", None))
    times = getattr(given, "expires_on", None), getattr(given, "refresh_on", None)
    # The repr of an AccessToken shows it; from here on a traceback has none.
    del given
    if not isinstance(token, str):
        raise TypeError(f"the credential returned {kind}; expected a str or an azure-core AccessToken")
    _check(token, "what the credential returned")
    return token, _seconds(times[0]), _seconds(times[1])


def _seconds(value: object) -> int | None:
    return None if value is None else int(cast("int", value))


def _check(token: str, what: str) -> None:
    # The token is not part of any text: it would end up in a log.
    if not token:
        raise ValueError(f"{what} is an empty string; give an access token")
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(f"{what} holds spaces or other characters that no access token has; strip it")
