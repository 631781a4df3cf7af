"""The synchronous client."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from . import _drive, _native
from ._credential import source_of
from ._feed import seconds_of
from ._ids import length_of
from ._journal import setup_of
from ._options import checked
from ._pickling import carried_credential, carried_options, rebuild
from ._secret import hide

if TYPE_CHECKING:
    import os
    from uuid import UUID

    from ._credential import Credential
    from ._feed import Deadline, OnOutcome
    from ._ids import Ids
    from ._journal import Path, Retry, Setup
    from ._listed import AccessPackage, Assignment
    from ._options import ApiVersion, Cloud
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report


class Client:
    """Reprocesses access package assignments through Microsoft Graph.

    It works with and without `with`, from many threads at once, inside a running event loop, and in the child of a
    fork. Calls on one client share connections and the token. A pickle of it carries its configuration; of the
    credential only None or a function of a module, by its name.

    Args:
        credential: Any azure-core TokenCredential; a token; a callable that returns one; None for
            `ENTRA_REPROCESS_TOKEN`, else azure-identity's DefaultAzureCredential.
        cloud: "global", "usgov", "usgov-dod" or "china"; None for `ENTRA_REPROCESS_CLOUD`, else "global".
        api_version: "beta" or "v1.0"; None for `ENTRA_REPROCESS_API_VERSION`, else "beta".
            Microsoft supports only v1.0 in production.
        base_url: Origin in place of the cloud's Graph host; https, or http on loopback only. None for
            `ENTRA_REPROCESS_BASE_URL`, which may name this machine only.
        concurrency: HTTP requests in flight at the most, 1 or more.
        batch_size: Items in one $batch, 1 to 20; 1 sends plain POSTs.
        rate: Items a second at the most, from the first request on; None adapts to the service.
        max_retries: Retries for each item after its first attempt, 0 or more.
        max_wait: Seconds; an item that is told to wait longer fails with that reason.
        timeout: Seconds for one HTTP exchange, above 0.
        proxy: URL of a proxy; None takes it from the environment (HTTPS_PROXY, ALL_PROXY, NO_PROXY).
        ca_bundle: PEM file in place of the system's trust store.

    Raises:
        TypeError: An option is of the wrong type, or the credential is asynchronous.
        ValueError: An option has a value that is out of its range.
        ImportError: No credential was given and azure-identity is not installed.

    Example:
        >>> from entra_reprocess import Client
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=1) as graph:
        ...     with Client(graph.credential, base_url=graph.url) as client:
        ...         client.reprocess(graph.ids[0]).status
        'accepted'

    See https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess
    """

    __module__ = "entra_reprocess"  # the public place, for tracebacks and pickles

    def __init__(
        self,
        credential: Credential = None,
        *,
        cloud: Cloud | None = None,
        api_version: ApiVersion | None = None,
        base_url: str | None = None,
        concurrency: int = 8,
        batch_size: int = 20,
        rate: float | None = None,
        max_retries: int = 8,
        max_wait: float = 600.0,
        timeout: float = 30.0,
        proxy: str | None = None,
        ca_bundle: str | os.PathLike[str] | None = None,
    ) -> None:
        # From here on no traceback shows them.
        credential, proxy, base_url = hide(credential), hide(proxy), hide(base_url)
        options = checked(
            {
                "cloud": cloud,
                "api_version": api_version,
                "base_url": base_url,
                "concurrency": concurrency,
                "batch_size": batch_size,
                "rate": rate,
                "max_retries": max_retries,
                "max_wait": max_wait,
                "timeout": timeout,
                "proxy": proxy,
                "ca_bundle": ca_bundle,
            }
        )
        self._source = source_of(credential, for_async=False)
        self._native = _native.NativeClient(options, self._source)
        self._carried = carried_credential(credential), carried_options(options, self._native)
        self._last_report: Report | None = None

    @property
    def last_report(self) -> Report | None:
        """The report of the last run that ended on this client, however it ended; None before the first.

        It is there also where an exception has none, such as a CancelledError. Only `reprocess_many` and `resume` have
        reports. It is of whichever run ended last, in any thread or task; a pickle of the client does not carry it.

        Example:
            >>> from entra_reprocess import Client
            >>> from entra_reprocess.emulator import Emulator
            >>> with Emulator(assignments=20) as graph, Client(graph.credential, base_url=graph.url) as client:
            ...     report = client.reprocess_many(graph.ids)
            ...     client.last_report is report
            True
        """
        return self._last_report

    def _keep(self, report: Report) -> None:
        self._last_report = report

    def reprocess(self, assignment_id: str | UUID, /) -> Outcome:
        """Reprocess one assignment.

        Args:
            assignment_id: Its GUID, as str (any case, in braces or as urn:uuid:) or uuid.UUID.

        Returns:
            The outcome, always with status "accepted": Graph will re-evaluate and enforce it. Not yet done.

        Raises:
            InvalidIdError: It is no GUID; nothing was sent.
            BadRequestError: 400. NotFoundError: 404. PermissionDeniedError: 403. ConflictError: 409.
            AuthenticationError: 401. ThrottledError: 429 after all retries. ServiceError: any other answer.
            TransportError: No usable answer; it may have been reprocessed all the same.
            CredentialError: The credential gave no token, or one that has expired or is for another service or cloud;
                nothing was sent.

        See https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess
        """
        return self._native.reprocess(assignment_id)

    def reprocess_many(
        self,
        ids: Ids,
        *,
        journal: Path | None = None,
        retry: Retry = (),
        progress: Progress = None,
        on_outcome: OnOutcome | None = None,
        deadline: Deadline = None,
    ) -> Report:
        """Reprocess many assignments; no single item raises.

        Args:
            ids: Any iterable of str or uuid.UUID, or a one-column Arrow stream. Repeated ids are sent once.
            journal: Path of a file that the run is written down in, made where there is none, so that it survives its
                process: the same call again, or `resume`, goes on where it ended. What an answer has settled is not
                sent again. Ids that have a length, like a list, are all written down before the first is sent.
            retry: With a journal: statuses of earlier outcomes to try anew, such as ("forbidden", "failed").
            progress: None shows a bar on a terminal or in a notebook when the work lasts, True always, False never;
                or a callable `(done, total, counts)`, called at most 20 times a second.
            on_outcome: Called once for each different id, in this thread; those of earlier runs included.
            deadline: Seconds or a timedelta from now, after which the report comes back, whatever is left. The last
                request leaves early enough to be answered by then; what is not sent is "not_attempted". With one, ids
                that are not all there yet, such as those of a generator, are read in a thread of their own (with the
                caller's context variables), and one that is waited for at the end is dropped. A callback is not cut off
                in the middle of a call; half a second later `on_outcome` is called no more.

        Returns:
            One outcome for each place of the input, in its order, those of earlier runs included.

        Raises:
            TypeError: `ids` is a single id, a mapping or a table; or `deadline` is no length of time.
            ValueError: `deadline` is not more than 0, or `retry` has something that is no status.
            JournalError: The journal is in use by another run, damaged, of other ids, of another tenant, cloud or
                version, or its disk cannot be written. Nothing was sent.
            RunStoppedError: The whole run stopped, and `report` has every outcome: no token, a host that is unknown,
                unreachable or not to be trusted, a journal that cannot be written any more, an exception of `ids` or a
                callback; or, before anything was accepted, 50 ids in a row that were forbidden (403) or were told to
                wait longer than `max_wait`, or a hundred that were all rejected (400).
            RunInterrupted: Ctrl-C; its `report` likewise. An exception that a signal handler raises is passed on, with
                a note; `last_report` has its report.
            ImportError: `progress` is True and tqdm is not installed. Nothing was sent.

        Warns:
            RuntimeWarning: Graph takes no batches of this action, so each id goes in a request of its own; a batch
                answer held an answer that nobody had asked for; the progress bar cannot be drawn; or `on_outcome` is
                too slow for the deadline.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from entra_reprocess import Client
            >>> from entra_reprocess.emulator import Emulator
            >>> with Emulator(assignments=100) as graph, TemporaryDirectory() as folder:
            ...     client = Client(graph.credential, base_url=graph.url)
            ...     first = client.reprocess_many(graph.ids, journal=f"{folder}/june.db")
            ...     again = client.reprocess_many(graph.ids, journal=f"{folder}/june.db")
            ...     again == first, sum(graph.executions.values())
            (True, 100)

        See https://learn.microsoft.com/graph/json-batching
        """
        setup = setup_of(journal, retry, is_sized=length_of(ids) is not None)
        return self._collect(ids, progress, on_outcome, deadline, setup)

    def resume(
        self,
        journal: Path,
        *,
        retry: Retry = (),
        progress: Progress = None,
        on_outcome: OnOutcome | None = None,
        deadline: Deadline = None,
    ) -> Report:
        """Go on with a run that ended early, without its ids: the journal has them.

        What is accepted, rejected, forbidden or not found stays so, as does a failure that Graph's answer has settled
        (409). All else is sent: what no run came to, what was given up, and what was sent without an answer, which
        may then be executed twice; that does no harm.

        Args:
            journal: Path of the journal.
            retry: Statuses to try anew all the same, such as ("forbidden", "failed").
            progress: As for `reprocess_many`.
            on_outcome: As for `reprocess_many`.
            deadline: As for `reprocess_many`.

        Returns:
            One outcome for each place of the input of the first run, in its order.

        Raises:
            JournalError: There is no such journal; and as for `reprocess_many`.
            TypeError, ValueError, RunStoppedError, RunInterrupted: As for `reprocess_many`.

        Warns:
            RuntimeWarning: The run ended before its input was read to the end, so the journal does not have all of it.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from entra_reprocess import Client
            >>> from entra_reprocess.emulator import Emulator
            >>> with Emulator(assignments=100, latency=0.05) as graph, TemporaryDirectory() as folder:
            ...     client = Client(graph.credential, base_url=graph.url, batch_size=1)
            ...     first = client.reprocess_many(graph.ids, journal=f"{folder}/june.db", deadline=0.2)
            ...     whole = client.resume(f"{folder}/june.db")
            >>> first.counts["accepted"] < 100, whole.counts["accepted"]
            (True, 100)
        """
        return self._collect(None, progress, on_outcome, deadline, setup_of(journal, retry, resume=True))

    def _collect(
        self, ids: Ids | None, progress: Progress, on_outcome: OnOutcome | None, deadline: Deadline, setup: Setup | None
    ) -> Report:
        limit = seconds_of(deadline)
        run = (True, on_outcome is not None, limit, setup)
        return _drive.collect(
            lambda: self._native.run(*run), ids, progress, on_outcome, setup, deadline=limit, keep=self._keep
        )

    def iter_reprocess(
        self, ids: Ids, *, journal: Path | None = None, retry: Retry = (), deadline: Deadline = None
    ) -> Iterator[Outcome]:
        """Reprocess many assignments and give each outcome when it is known, in bounded memory.

        The ids are read as the outcomes are taken. Each different id gives one outcome; one that comes again is left
        out as long as it is among the last 65,536 different ones. Leaving the loop ends the sending and waits up to
        2 s for what is under way.

        Args:
            ids: As for `reprocess_many`; may be endless.
            journal: As for `reprocess_many`. With one, about 65 bytes are kept for each id, and outcomes of earlier
                runs are given, too.
            retry: As for `reprocess_many`.
            deadline: As for `reprocess_many`, counted from this call. Ids of a list that are left then are given as
                "not_attempted"; an iterator is not read any further.

        Raises:
            TypeError, ValueError, JournalError: As for `reprocess_many`.
            RunStoppedError: The whole run stopped, as for `reprocess_many`; every outcome was given before.
            RunInterrupted: Ctrl-C while waiting for an outcome. No report is kept; its text has the counts. With a
                journal, `Report.from_journal` has it.
        """
        setup = setup_of(journal, retry, is_sized=length_of(ids) is not None)
        limit = seconds_of(deadline)
        return _drive.stream(
            lambda: self._native.run(setup is not None, True, limit, setup), ids, setup, deadline=limit
        )

    def assignments(
        self,
        *,
        access_package: str | UUID | AccessPackage | None = None,
        target: str | UUID | None = None,
        policy: str | UUID | None = None,
        state: str | None = None,
        filter: str | None = None,
    ) -> Iterator[Assignment]:
        """List access package assignments, expired ones included, page by page as they are asked for.

        Args:
            access_package: Only those of this access package: its GUID, or an `AccessPackage`.
            target: Only those of the person, or other subject, with this object id.
            policy: Only those by the assignment policy with this id.
            state: Only those in this state: "delivering", "partiallyDelivered", "delivered", "expired" or
                "deliveryFailed", in any case.
            filter: Any other OData expression, such as "accessPackage/catalog/id eq '...'"; has to hold as well.

        Raises:
            ValueError: An id that is no GUID, or an unknown state; nothing was sent.
            PermissionDeniedError: 403. A caller with catalog roles only has to name one access package.
            ProtocolError: A page of another shape, or a link to another origin or version, which is not followed.
            GraphError, TransportError, CredentialError: As for `reprocess`.

        Example:
            >>> from entra_reprocess import Client
            >>> from entra_reprocess.emulator import Emulator
            >>> with Emulator(assignments=250) as graph:
            ...     client = Client(graph.credential, base_url=graph.url)
            ...     package = next(client.access_packages())
            ...     found = [item.id for item in client.assignments(access_package=package, state="delivered")]
            >>> 0 < len(found) < 250
            True

        See https://learn.microsoft.com/graph/api/entitlementmanagement-list-assignments
        """
        from ._list import pages
        from ._listed import assignment

        listing = self._native.assignments(access_package, target, policy, state, filter)
        return pages(listing, assignment, filtered=access_package is not None)

    def access_packages(self, *, name: str | None = None) -> Iterator[AccessPackage]:
        """List access packages, page by page as they are asked for.

        Args:
            name: Only those with exactly this display name.

        Raises:
            ProtocolError: As for `assignments`.
            GraphError, TransportError, CredentialError: As for `reprocess`.

        See https://learn.microsoft.com/graph/api/entitlementmanagement-list-accesspackages
        """
        from ._list import pages
        from ._listed import access_package

        return pages(self._native.access_packages(name), access_package, filtered=True)

    def states(self, ids: Ids) -> dict[str, str]:
        """Read the state of many assignments, in batches; changes nothing.

        Args:
            ids: As for `reprocess_many`.

        Returns:
            For each different id its state, as `Assignment.state` has it. Where it could not be read, the status with
            which the reading ended: "not_found", "forbidden", "rejected", "failed" or "unknown".

        Raises:
            TypeError: `ids` is a single id, a mapping or a table.
            RunStoppedError: The whole reading stopped (no token, host unreachable).
            RunInterrupted: Ctrl-C.

        See https://learn.microsoft.com/graph/api/accesspackageassignment-get
        """
        from ._list import states_of

        return states_of(_drive.collect(self._native.read_states, ids, False, None))

    def close(self) -> None:
        """Close the connections and end running calls of other threads. A credential that was given stays open."""
        self._native.close()
        if self._source.owned is not None:
            self._source.owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # A traceback with locals asks for it also where the constructor has failed.
        native: _native.NativeClient | None = getattr(self, "_native", None)
        return f"<{type(self).__name__} {native.describe() if native is not None else 'that was not made'}>"

    def __reduce__(self) -> tuple[object, ...]:
        # Configuration travels, secrets do not: see `_pickling`.
        return rebuild, (type(self), *self._carried)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
