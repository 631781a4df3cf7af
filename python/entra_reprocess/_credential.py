"""Every kind of credential as one shape: a source whose `fetch(scope)` gives token, expiry and refresh time."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

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
    """Whether `fetch` gives coroutines and does nothing else."""
    may_await: bool
    """Whether `fetch` may give coroutines: in an asynchronous client what a credential returns decides."""
    is_fixed: bool
    """Whether `fetch` always gives the same, so that it is asked once, without a thread."""
    renewable: bool
    takes_claims: bool
    """Whether it can ask for claims, as an answer to a challenge of the service."""
    patience: float | None
    """Seconds after which it counts as hung; None for the default of the native client."""
    owned: Any
    """A credential that was made here and has to be closed with the client, or None."""

    def fetch(self, scope: str, claims: str | None, /) -> Fetched | Awaitable[Fetched]:
        """A token, or a coroutine for one where `may_await`; claims only where `takes_claims`."""
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
    get_token_info = getattr(credential, "get_token_info", None)
    get_token = get_token_info or getattr(credential, "get_token", None)
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
    if get_token is None:
        return _Asked(given, is_async=is_async, may_await=for_async)
    return _Credential(given, is_async=is_async, may_await=for_async, by_options=get_token_info is not None)


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
    may_await = False
    is_fixed = True
    renewable = False
    takes_claims = False
    patience: float | None = None

    def __init__(self, token: str) -> None:
        _check(token, "credential")
        self.owned: Any = None
        self._token = token

    def fetch(self, scope: str, claims: str | None, /) -> Fetched:
        return self._token, None, None

    def __repr__(self) -> str:
        return "<a token>"


class _Asked:
    """A callable, called for each token."""

    is_fixed = False
    renewable = True
    takes_claims = False
    patience: float | None = None

    def __init__(self, call: Callable[..., Any], *, is_async: bool, may_await: bool) -> None:
        self._call = call
        self.is_async = is_async
        self.may_await = may_await
        self.owned: Any = None

    def fetch(self, scope: str, claims: str | None, /) -> Fetched | Awaitable[Fetched]:
        # What it gives is never a local of ours, which a traceback could show.
        return _taken(self._ask(scope, claims), may_await=self.may_await)

    def _ask(self, scope: str, claims: str | None) -> Any:
        return self._call()


class _Credential(_Asked):
    """A credential's `get_token_info`, which takes options, or `get_token`, which takes keywords.

    Continuous access evaluation is asked for, since the client answers its challenges
    (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
    """

    def __init__(self, call: Callable[..., Any], *, is_async: bool, may_await: bool, by_options: bool) -> None:
        super().__init__(call, is_async=is_async, may_await=may_await)
        takes = _keywords_of(call)
        self._by_options = by_options and takes("options")
        self._takes_cae = not by_options and takes("enable_cae")
        self.takes_claims = self._by_options or (not by_options and takes("claims"))

    def _ask(self, scope: str, claims: str | None) -> Any:
        wanted: dict[str, Any] = {} if claims is None else {"claims": claims}
        if self._by_options:
            return self._call(scope, options={"enable_cae": True, **wanted})
        if self._takes_cae:
            wanted["enable_cae"] = True
        return self._call(scope, **wanted)


def _keywords_of(call: Callable[..., Any]) -> Callable[[str], bool]:
    """Whether a call takes a keyword, by its signature: trying would hide a TypeError from within."""
    import inspect

    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):  # not every built-in has a signature; then the least is asked of it
        return lambda _: False
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    by_name = {
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }
    return lambda name: takes_any or name in by_name


async def _awaited(given: Awaitable[object]) -> Fetched:
    return _read(await given)


def _unusable(kind: type[TypeError | ValueError], text: str) -> TypeError | ValueError:
    """An error whose text is ours, so that it may be repeated; what a credential raises itself may hold a secret."""
    error = kind(text)
    error.__dict__["is_ours"] = True
    return error


def _taken(given: object, *, may_await: bool) -> Fetched | Awaitable[Fetched]:
    """What a credential returned, or a coroutine for what it will return."""
    if isinstance(given, Awaitable):
        if may_await:
            return _awaited(given)
        # What is not going to run is closed, or Python warns that nobody awaited it.
        if close := getattr(given, "close", None):
            close()
        raise _unusable(
            TypeError,
            f"the credential returned an awaitable ({type(given).__name__}); use AsyncClient, or its synchronous twin"
            " (azure.identity in place of azure.identity.aio)",
        )
    # The repr of an AccessToken shows it, so it is no local of a frame that a traceback could reach.
    held = [given]
    del given
    return _read(held.pop())


def _read(given: object) -> Fetched:
    """An AccessToken, an AccessTokenInfo or a str, as far as it is one."""
    kind = type(given).__name__
    token = hide(given if isinstance(given, str) else getattr(given, "token", None))
    times = getattr(given, "expires_on", None), getattr(given, "refresh_on", None)
    # The repr of an AccessToken shows it; from here on a traceback has none.
    del given
    if not isinstance(token, str):
        raise _unusable(TypeError, f"the credential returned {kind}; expected a str or an azure-core AccessToken")
    _check(token, "what the credential returned")
    return token, _seconds(times[0], "expires_on"), _seconds(times[1], "refresh_on")


def _seconds(value: object, name: str) -> int | None:
    """Seconds since 1970, whole ones as azure-core has it or not; None, and 0 as well, where it is not known."""
    from numbers import Real

    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        # Its type alone: a text in the wrong place may be the token.
        kind = type(value).__name__
        raise _unusable(
            TypeError, f"the credential returned {name} of type {kind}; expected seconds since 1970 as a number"
        )
    seconds = float(value)
    # False for what is no number at all (NaN), too.
    if not 0 <= seconds < _NEVER:
        raise _unusable(
            ValueError,
            f"the credential returned {name}={seconds:.15g}; expected seconds since 1970, and not milliseconds",
        )
    return int(seconds)


_NEVER = 1e11
"""The year 5138. Some write a far end for a token that never ends; what is meant as milliseconds is farther still."""


def _check(token: str, what: str) -> None:
    # The token is not part of any text: it would end up in a log.
    if not token:
        raise _unusable(ValueError, f"{what} is an empty string; give an access token")
    if not all("!" <= character <= "~" for character in token):
        raise _unusable(ValueError, f"{what} holds spaces or other characters that no access token has; strip it")
