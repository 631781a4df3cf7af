"""Reprocess Microsoft Entra access package assignments through Microsoft Graph, one or a million.

    >>> from entra_reprocess import reprocess, reprocess_many, Client, AsyncClient

The exceptions:

    ReprocessError
    ├── InvalidIdError             also ValueError; refused here, nothing sent
    ├── GraphError                 status_code, code, message, request_id, client_request_id, date, retry_after, id
    │   ├── BadRequestError        400
    │   ├── AuthenticationError    401
    │   ├── PermissionDeniedError  403; says which permission or role may be missing and where to grant it
    │   ├── NotFoundError          404; also LookupError
    │   ├── ConflictError          409
    │   ├── ThrottledError         429
    │   └── ServiceError           5xx and what else Graph answers
    ├── TransportError             no usable answer
    │   ├── TransportTimeoutError  also TimeoutError
    │   └── ProtocolError          an answer that cannot be trusted
    ├── CredentialError            the credential raised, hung, or gave nothing that can work
    ├── JournalError               locked, damaged, of something else, or its disk in trouble
    └── RunStoppedError            the whole run stopped; .report holds every outcome so far
    RunInterrupted                 a KeyboardInterrupt; .report likewise

The logger `entra_reprocess` is silent until an application listens to it: at DEBUG it tells of each HTTP exchange, at
WARNING of pauses and of runs that stop.

See https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._async_client import AsyncClient
    from ._client import Client
    from ._default import reprocess, reprocess_many
    from ._errors import (
        AuthenticationError,
        BadRequestError,
        ConflictError,
        CredentialError,
        GraphError,
        InvalidIdError,
        JournalError,
        NotFoundError,
        PermissionDeniedError,
        ProtocolError,
        ReprocessError,
        RunInterrupted,
        RunStoppedError,
        ServiceError,
        ThrottledError,
        TransportError,
        TransportTimeoutError,
    )
    from ._listed import AccessPackage, Assignment
    from ._native import __version__
    from ._outcome import Outcome, Status
    from ._report import Report

__all__ = [
    "AccessPackage",
    "Assignment",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "CredentialError",
    "GraphError",
    "InvalidIdError",
    "JournalError",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "ProtocolError",
    "Report",
    "ReprocessError",
    "RunInterrupted",
    "RunStoppedError",
    "ServiceError",
    "Status",
    "ThrottledError",
    "TransportError",
    "TransportTimeoutError",
    "__version__",
    "reprocess",
    "reprocess_many",
]

_HOMES = {
    "AccessPackage": "_listed",
    "Assignment": "_listed",
    "AsyncClient": "_async_client",
    "Client": "_client",
    "Outcome": "_outcome",
    "Report": "_report",
    "Status": "_outcome",
    "__version__": "_native",
    "reprocess": "_default",
    "reprocess_many": "_default",
}
"""Where each public name is defined; the exceptions are in `_errors`."""


def __getattr__(name: str) -> object:
    # Each name is imported when it is first used, so that a script pays for what it needs and for nothing else.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        value: object = getattr(import_module(f".{_HOMES.get(name, '_errors')}", __name__), name)
    except ImportError as error:
        if "subinterpreters" in str(error):
            # Python itself refuses where interpreters are isolated, and does not say what else to do.
            error.add_note("Call entra_reprocess from a thread or from another process in place of a sub-interpreter.")
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
