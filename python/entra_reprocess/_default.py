"""`reprocess` and `reprocess_many` without a client of one's own."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Unpack

from ._client import Client
from ._credential import Credential
from ._feed import Deadline, OnOutcome
from ._ids import Id, Ids
from ._journal import Path, Retry
from ._options import Options, refuse_unknown
from ._progress import Progress
from ._report import Report
from ._secret import hide, hide_urls

if TYPE_CHECKING:
    from ._outcome import Outcome
else:
    from ._hints import Outcome

_MOST_CLIENTS = 16
_clients: OrderedDict[Any, Client] = OrderedDict()
"""The clients used last by their options and credential.

Every access is one operation on the dict, which needs no lock; a lock could be held by another thread at a fork.
"""


def reprocess(assignment_id: Id, /, *, credential: Credential = None, **options: Unpack[Options]) -> Outcome:
    """Reprocess one assignment with a shared client: see `Client.reprocess`.

    Args:
        assignment_id: As for `Client.reprocess`.
        credential: As for `Client`.
        **options: The options of `Client`. Calls with the same options, environment and certificates share one client.

    Example:
        >>> from entra_reprocess import reprocess
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=1) as graph:
        ...     reprocess(graph.ids[0], base_url=graph.url, credential=graph.credential).status
        'accepted'
    """
    credential = hide(credential)
    hide_urls(options, Options.__annotations__)
    refuse_unknown("reprocess", options)
    return _client(credential, options).reprocess(assignment_id)


def reprocess_many(
    ids: Ids,
    *,
    journal: Path | None = None,
    retry: Retry = (),
    progress: Progress = None,
    on_outcome: OnOutcome | None = None,
    deadline: Deadline = None,
    credential: Credential = None,
    **options: Unpack[Options],
) -> Report:
    """Reprocess many assignments with a shared client: see `Client.reprocess_many`.

    Args:
        ids: As for `Client.reprocess_many`.
        journal: As for `Client.reprocess_many`.
        retry: As for `Client.reprocess_many`.
        progress: As for `Client.reprocess_many`.
        on_outcome: As for `Client.reprocess_many`.
        deadline: As for `Client.reprocess_many`.
        credential: As for `Client`.
        **options: The options of `Client`. Calls with the same options, environment and certificates share one client.
    """
    credential = hide(credential)
    hide_urls(options, Options.__annotations__)
    refuse_unknown("reprocess_many", options, "journal", "retry", "progress", "on_outcome", "deadline")
    client = _client(credential, options)
    return client.reprocess_many(
        ids, journal=journal, retry=retry, progress=progress, on_outcome=on_outcome, deadline=deadline
    )


def _client(credential: Credential, options: Options) -> Client:
    key = (
        credential,
        tuple(sorted(options.items())),
        _environment(credential),
        _files(options),
    )
    try:
        found = _clients.get(key)
    except TypeError:
        # An option of a wrong, unhashable type: the client says which.
        return Client(credential, **options)
    if found is not None:
        return found
    made = Client(credential, **options)
    kept = _clients.setdefault(key, made)
    if kept is not made:
        made.close()
    if len(_clients) > _MOST_CLIENTS:
        # Not closed: another thread may be using it. It goes with its last user.
        _clients.popitem(last=False)
    return kept


_ENVIRONMENT = (
    *(f"ENTRA_REPROCESS_{name}" for name in ("CLOUD", "API_VERSION", "BASE_URL", "TOKEN")),
    *("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""What a client reads once, when it is made: it decides what is left out, so it tells two sets of options apart."""
_OF_SIGN_IN = ("AZURE_", "IDENTITY_", "IMDS_", "MSI_")
"""How the names begin that DefaultAzureCredential reads when it is made.

https://learn.microsoft.com/python/api/overview/azure/identity-readme#environment-variables
"""


def _environment(credential: Credential) -> tuple[object, ...]:
    # Tokens, secrets and the password of a proxy are among them.
    given: tuple[object, ...] = tuple(hide(os.environ.get(name)) for name in _ENVIRONMENT)
    if credential is None and not os.environ.get("ENTRA_REPROCESS_TOKEN"):
        # Another tenant or application is another sign-in.
        given += tuple((name, hide(os.environ[name])) for name in sorted(os.environ) if name.startswith(_OF_SIGN_IN))
    return given


def _files(options: Options) -> tuple[object, ...]:
    """What tells a file of certificates from one that has taken its place."""
    folders = os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)
    return tuple(map(_stamp, (options.get("ca_bundle"), os.environ.get("SSL_CERT_FILE"), *folders)))


def _stamp(path: object) -> tuple[int, ...] | None:
    if not path or not isinstance(path, str | os.PathLike):
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib takes longer to import than all of this
    except (OSError, ValueError):
        # The client says what is wrong with it.
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
