"""`reprocess` and `reprocess_many` without a client of one's own."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Unpack

from ._client import Client
from ._options import Options
from ._secret import hide, hide_urls

if TYPE_CHECKING:
    from ._credential import Credential
    from ._feed import Deadline, OnOutcome
    from ._ids import Id, Ids
    from ._journal import Path, Retry
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report

_MOST_CLIENTS = 16
_clients: OrderedDict[Any, tuple[Client, object]] = OrderedDict()
"""The clients used last by their options, each with its credential, so that its `id` stays taken.

Every access is one operation on the dict, which needs no lock; a lock could be held by another thread at a fork.
"""


def reprocess(assignment_id: Id, /, *, credential: Credential = None, **options: Unpack[Options]) -> Outcome:
    """Reprocess one assignment with a shared client: see `Client.reprocess`.

    Args:
        assignment_id: As for `Client.reprocess`.
        credential: As for `Client`.
        **options: The options of `Client`. Calls with the same options share one client.

    Example:
        >>> from entra_reprocess import reprocess
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=1) as graph:
        ...     reprocess(graph.ids[0], base_url=graph.url, credential=graph.credential).status
        'accepted'
    """
    credential = hide(credential)
    hide_urls(options)
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
        **options: The options of `Client`. Calls with the same options share one client.
    """
    credential = hide(credential)
    hide_urls(options)
    client = _client(credential, options)
    return client.reprocess_many(
        ids, journal=journal, retry=retry, progress=progress, on_outcome=on_outcome, deadline=deadline
    )


def _client(credential: Credential, options: Options) -> Client:
    # The environment decides what is left out, so it is part of what tells two sets of options apart.
    import os

    environment = tuple(hide(os.environ.get(f"ENTRA_REPROCESS_{name}")) for name in _ENVIRONMENT)
    key = (
        credential if isinstance(credential, str) else id(credential),
        tuple(sorted(options.items())),
        environment,
    )
    try:
        found = _clients.get(key)
    except TypeError:
        # An option of a wrong, unhashable type: the client says which.
        return Client(credential, **options)
    if found is not None:
        return found[0]
    made = Client(credential, **options)
    kept = _clients.setdefault(key, (made, credential))[0]
    if kept is not made:
        made.close()
    if len(_clients) > _MOST_CLIENTS:
        # Not closed: another thread may be using it. It goes with its last user.
        _clients.popitem(last=False)
    return kept


_ENVIRONMENT = ("CLOUD", "API_VERSION", "BASE_URL", "TOKEN")
