"""What lists give: assignments and access packages, both API versions in one shape."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ._errors import ProtocolError

_STATES = ("delivering", "partiallyDelivered", "delivered", "expired", "deliveryFailed")
State = Literal[
    "delivering",
    "partiallyDelivered",
    "delivered",
    "expired",
    "deliveryFailed",
    "Delivering",
    "PartiallyDelivered",
    "Delivered",
    "Expired",
    "DeliveryFailed",
]
"""The states as v1.0 and as beta write them, for checkers to find a misspelt one; at runtime any case will do."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """An access package assignment (https://learn.microsoft.com/graph/api/resources/accesspackageassignment).

    Attributes:
        id: Its GUID, for `reprocess`.
        state: "delivering", "partiallyDelivered", "delivered", "expired" or "deliveryFailed", on both versions; beta
            documents only some of them. A state that is new is passed through as it came.
        status: More about the state, in words that vary, such as "Delivered" or "ExpiredNotificationTriggered".
        target_id: Object id of the person or other subject who holds it.
        target_name: Display name of the subject.
        target_principal_name: User principal name of the subject.
        target_email: Mail address of the subject; on a fresh assignment sometimes all that is known.
        access_package_id: GUID of the access package.
        access_package_name: Display name of the access package.
        policy_id: GUID of the assignment policy.
        expired_at: When it ended; None while it lasts.
        raw: The JSON object as Graph sent it.
    """

    __module__ = "entra_reprocess"  # the public place, for tracebacks and pickles
    _id_of = "assignment"  # see `assignment_id` of src/python/convert.rs

    id: str
    state: str | None
    status: str | None
    target_id: str | None
    target_name: str | None
    target_principal_name: str | None
    target_email: str | None
    access_package_id: str | None
    access_package_name: str | None
    policy_id: str | None
    expired_at: datetime | None
    raw: dict[str, Any] = field(repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class AccessPackage:
    """An access package (https://learn.microsoft.com/graph/api/resources/accesspackage).

    Attributes:
        id: Its GUID, for `assignments(access_package=)`.
        name: Display name.
        description: What it is for.
        catalog_id: GUID of its catalog; on v1.0 it is not part of a list.
        hidden: Whether it is left out of what people can request.
        created_at: When it was made.
        modified_at: When it was last changed.
        raw: The JSON object as Graph sent it.
    """

    __module__ = "entra_reprocess"  # the public place, for tracebacks and pickles
    _id_of = "access package"  # see `assignment_id` of src/python/convert.rs

    id: str
    name: str | None
    description: str | None
    catalog_id: str | None
    hidden: bool | None
    created_at: datetime | None
    modified_at: datetime | None
    raw: dict[str, Any] = field(repr=False, hash=False)


def assignment(raw: dict[str, Any]) -> Assignment:
    """An assignment of either version."""
    target, package = _object(raw, "target"), _object(raw, "accessPackage")
    policy = _object(raw, "assignmentPolicy") or _object(raw, "accessPackageAssignmentPolicy")
    return Assignment(
        id=_id(raw),
        state=_state(_text(raw, "state") or _text(raw, "assignmentState")),
        status=_text(raw, "status") or _text(raw, "assignmentStatus"),
        # Beta's targetId may change without notice; objectId of the expanded target is the one to use.
        target_id=_text(target, "objectId"),
        target_name=_text(target, "displayName"),
        target_principal_name=_text(target, "principalName"),
        target_email=_text(target, "email"),
        access_package_id=_text(package, "id") or _text(raw, "accessPackageId"),
        access_package_name=_text(package, "displayName"),
        policy_id=_text(policy, "id") or _text(raw, "assignmentPolicyId"),
        expired_at=_time(raw, "expiredDateTime"),
        raw=raw,
    )


def access_package(raw: dict[str, Any]) -> AccessPackage:
    """An access package of either version."""
    hidden = raw.get("isHidden")
    return AccessPackage(
        id=_id(raw),
        name=_text(raw, "displayName"),
        description=_text(raw, "description"),
        catalog_id=_text(_object(raw, "catalog"), "id") or _text(raw, "catalogId"),
        hidden=hidden if isinstance(hidden, bool) else None,
        created_at=_time(raw, "createdDateTime"),
        modified_at=_time(raw, "modifiedDateTime"),
        raw=raw,
    )


def _id(raw: dict[str, Any]) -> str:
    value = _text(raw, "id")
    if not value:
        raise ProtocolError("a page holds an object without an id")
    return value


def _object(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _text(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) else None


def _state(text: str | None) -> str | None:
    return next((state for state in _STATES if text and state.lower() == text.lower()), text)


def _time(raw: dict[str, Any], key: str) -> datetime | None:
    text = _text(raw, key)
    try:
        # Graph writes up to seven digits of a second, of which Python reads six.
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
