"""What of a client a pickle carries to another process: its configuration, and never a secret."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ._errors import CredentialError
from ._native import reveal
from ._options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from . import _native

T = TypeVar("T")


class LeftBehind:
    """Stands for a credential that stayed in the process that made it."""

    def get_token(self, *_scopes: str, **_options: object) -> NoReturn:
        """Say so."""
        raise CredentialError(
            "this client came out of a pickle, which carries its configuration and no credential; make a client in"
            " this process, or make the first one with credential=None or with a function of a module, which can be"
            " found here by its name"
        )


def carried_credential(credential: Any) -> object:
    """The credential, hidden or None, as far as a pickle may carry it: the default one, or a function by its name."""
    if credential is None:
        return None
    function = reveal(credential)
    return function if isinstance(function, FunctionType) and "<" not in function.__qualname__ else LeftBehind()


def carried_options(options: Mapping[str, object], native: _native.NativeClient) -> dict[str, object]:
    """The options without the user and password of a proxy, as the client that uses it understands its URL."""
    own = {name: value for name, value in options.items() if name in Options.__annotations__}
    return own | {"proxy": native.carried_proxy(), "base_url": native.carried_base_url()}


def rebuild(kind: Callable[..., T], credential: object, options: dict[str, object]) -> T:
    """The client again."""
    return kind(credential, **options)
