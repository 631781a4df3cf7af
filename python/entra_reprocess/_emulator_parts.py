"""What goes into an emulator and comes out of it: refusals, its credential, packages and users."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
else:
    from ._hints import AccessToken

State = Literal["Delivering", "PartiallyDelivered", "Delivered", "Expired", "DeliveryFailed"]
"""The states of an assignment, by the names that beta writes; v1.0 begins them with a small letter."""
EMULATOR_TOKEN = "emulator-token"  # noqa: S105 - it opens nothing but the emulator
"""The bearer token that it takes unless told otherwise. No secret."""
EMULATOR_SECRET = "emulator-secret"  # noqa: S105 - likewise
"""The secret of the application that can sign in, unless told otherwise. No secret."""
_NEVER = 10 * 365 * 24 * 3_600


class Refusal(NamedTuple):
    """An error answer that Microsoft does not document, and that can therefore be set."""

    status: int
    code: str
    message: str


UNKNOWN_ID = Refusal(404, "ResourceNotFound", "The resource was not found.")
"""The documented 404 for an id that no assignment has, with an assumed code."""
INVALID_ID = Refusal(400, "BadRequest", "The id is not valid.")
"""The documented 400 for an id that is no GUID, with an assumed code."""
WRONG_STATE = Refusal(400, "InvalidAssignmentState", "The assignment is not in a state that allows this.")
"""An assumed answer for an assignment that is not Delivered."""
FORBIDDEN = Refusal(
    403,
    "UnAuthorized",
    "User is not authorized to perform the operation. Reason: The caller is not authorized.",
)
"""The 403 that entitlement management was seen to give, to unknown ids too."""


class EmulatedPackage(NamedTuple):
    """An access package of the emulator."""

    id: str
    name: str


class EmulatedUser(NamedTuple):
    """A user of the emulator who may hold assignments: object id and mail address."""

    id: str
    email: str


class EmulatedSignIn(NamedTuple):
    """A token that the sign-in endpoint has given."""

    by_certificate: bool
    """Whether it was given for the certificate, not for the secret."""
    scope: str
    claims: str | None
    """The claims that were asked for, as JSON: what the client is capable of, and the answer to a challenge."""


class EmulatorCredential:
    """An azure-core TokenCredential that the emulator takes.

    Args:
        token: The token, or what returns the one that is valid at present.
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """The emulator's token, whatever the scopes."""
        from azure.core.credentials import AccessToken

        token = self._token if isinstance(self._token, str) else self._token()
        return AccessToken(token, int(time()) + _NEVER)

    def __repr__(self) -> str:
        return "<EmulatorCredential>"
