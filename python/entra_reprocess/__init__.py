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
    ├── CredentialError            the credential raised, or gave nothing
    └── RunStoppedError            the whole run stopped; .report holds every outcome so far
    RunInterrupted                 a KeyboardInterrupt; .report likewise

See https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess
"""

import atexit as _atexit

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
from ._native import __version__
from ._native import shut_down as _shut_down
from ._outcome import Outcome, Status
from ._report import Report

# Futures that are still running when the interpreter goes would crash it.
_atexit.register(_shut_down)

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "CredentialError",
    "GraphError",
    "InvalidIdError",
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

for _name in __all__:
    # Tracebacks and pickles name the public place, not the file in which it happens to be defined.
    if hasattr(_item := globals()[_name], "__module__") and _name != "Status":
        _item.__module__ = __name__
del _item, _name
