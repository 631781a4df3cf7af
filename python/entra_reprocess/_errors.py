"""The exceptions, in one tree. They are defined in Python so that they pickle and can be caught by two bases.

The tree is printed in the docstring of the package.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._report import Report
else:
    from ._hints import Report


_REMEDIES = {
    401: (
        "The token has expired or was revoked, or it is of another tenant or cloud: sign in again, and check the tenant"
        " of the credential and cloud=."
    ),
    403: (
        "The caller needs the Graph permission EntitlementManagement.ReadWrite.All with admin consent (Entra admin"
        " center, App registrations, API permissions) and, signed in as a person, the role Access package assignment"
        " manager or higher (Identity Governance, Catalogs, Roles and administrators); an app may hold such a role"
        " instead. The tenant needs Entra ID P2 or Governance. An id that does not exist was seen to answer 403 too."
    ),
    429: (
        "The service is asked for more than it grants, by this or another program: try again later, or raise max_wait="
        " or max_retries=, or set rate= lower."
    ),
}
# Of one assignment (https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess); a list has other reasons.
_REMEDIES_OF_ONE = {
    400: ("Graph reprocesses an assignment that is delivered: client.states([...]) tells whether it is."),
    404: (
        "No assignment of this tenant has that id. It may be the id of a person, an access package or a request: use"
        " the id of an assignment, as client.assignments(target=...) and client.assignments(access_package=...) list"
        " those of a person and of a package. An assignment that was removed is gone as well; then the person has to be"
        " assigned anew."
    ),
}
_WRONG_ROUTE = "The code is empty: Graph has no such route, so look at base_url and api_version, not at the assignment."


class ReprocessError(Exception):
    """Base of all exceptions of this package, except `RunInterrupted`."""


class InvalidIdError(ReprocessError, ValueError):
    """The id is no GUID. It was refused here and nothing was sent."""


class GraphError(ReprocessError):
    """Graph answered, and not with acceptance (https://learn.microsoft.com/graph/errors).

    Attributes:
        status_code: HTTP status.
        code: Graph's error code; may be an empty string.
        message: Graph's message. It is for people and may change: never branch on it.
        request_id: The service's id of the request; support asks for it.
        client_request_id: Our id of the request.
        date: When it happened, as the service wrote it.
        retry_after: Seconds that the service asked to wait.
        id: The assignment id.
    """

    status_code: int | None
    code: str | None
    message: str | None
    request_id: str | None
    client_request_id: str | None
    date: str | None
    retry_after: float | None
    id: str | None

    def __init__(
        self,
        text: str = "",
        *,
        status_code: int | None = None,
        code: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
        client_request_id: str | None = None,
        date: str | None = None,
        retry_after: float | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.code = code
        self.message = message
        self.request_id = request_id
        self.client_request_id = client_request_id
        self.date = date
        self.retry_after = retry_after
        self.id = id


class BadRequestError(GraphError):
    """400: Graph holds the id, or the state of the assignment, for invalid."""


class AuthenticationError(GraphError):
    """401: Graph does not take the token."""


class PermissionDeniedError(GraphError):
    """403: a permission, role or licence is missing, or Conditional Access asks for more; the text says what to do."""


class NotFoundError(GraphError, LookupError):
    """404: there is no such assignment; the id may be that of a person, an access package or a request."""


class ConflictError(GraphError):
    """409: the assignment is in use by something else."""


class ThrottledError(GraphError):
    """429, and the retries did not suffice."""


class ServiceError(GraphError):
    """5xx, and what else Graph answers."""


class TransportError(ReprocessError):
    """There is no usable answer. Where the request left, the assignment may have been reprocessed all the same."""


class TransportTimeoutError(TransportError, TimeoutError):
    """No answer within the time allowed."""


class ProtocolError(TransportError):
    """An answer that cannot be trusted: a redirect, a web page, the wrong shape, too large."""


class CredentialError(ReprocessError):
    """The credential raised, hung, or gave no token that Graph would take; the text says why and what to do.

    What it raised is the `__cause__`, or the `__context__` where its text is so long that it would hide ours in a
    traceback. Graph was not asked: a token that has expired, or is for another service or cloud, is seen before it is
    sent.
    """


class JournalError(ReprocessError):
    """The journal cannot be used: locked, damaged, of something else, or its disk in trouble; the text says what to do.

    Before anything was sent it is raised by itself, later as the cause of a `RunStoppedError`.
    """


class RunStoppedError(ReprocessError):
    """The whole run stopped; the text ends in the reason, with what to do, and the cause is its exception.

    Attributes:
        report: Every outcome, also of what was not attempted. None from an iterator, which has given them out.
    """

    report: Report | None

    def __init__(self, text: str = "", *, report: Report | None = None) -> None:
        super().__init__(text)
        self.report = report


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C, or the kernel's interrupt, ended the run.

    Attributes:
        report: Every outcome, also of what was not attempted. None from an iterator, which has given them out.
    """

    report: Report | None

    def __init__(self, text: str = "", *, report: Report | None = None) -> None:
        super().__init__(text)
        self.report = report


_BY_STATUS: dict[int, type[GraphError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: ThrottledError,
}


def graph_error(
    status_code: int,
    *,
    code: str | None = None,
    message: str | None = None,
    request_id: str | None = None,
    client_request_id: str | None = None,
    date: str | None = None,
    retry_after: float | None = None,
    id: str | None = None,
    advice: str | None = None,
    given_up: str | None = None,
    is_challenged: bool = False,
    is_of_assignment: bool = True,
) -> GraphError:
    """The exception that an answer stands for; the status alone decides the class."""
    subject = f"assignment {id}: " if id else ""
    text = f"{subject}Graph answered {status_code}"
    if code:
        text += f" {code}"
    if message:
        text += f": {message}"
    if given_up:
        text += f" ({given_up})"
    if request_id:
        text += f"\nrequest-id {request_id}"
    remedies = _REMEDIES | _REMEDIES_OF_ONE if is_of_assignment else _REMEDIES
    remedy = _WRONG_ROUTE if status_code == 404 and code == "" else remedies.get(status_code)
    if remedy and not (is_challenged and status_code == 403):
        text += f"\n{remedy}"
    if advice:
        # What the client saw in the token that it sent; a report does not keep it for each outcome.
        text += f"\n{advice}"
    return _BY_STATUS.get(status_code, ServiceError)(
        text,
        status_code=status_code,
        code=code,
        message=message,
        request_id=request_id,
        client_request_id=client_request_id,
        date=date,
        retry_after=retry_after,
        id=id,
    )


for _class in [kind for kind in globals().values() if isinstance(kind, type)]:
    # Tracebacks and pickles name the public place, not the file in which it happens to be defined.
    _class.__module__ = "entra_reprocess"
del _class
