"""The asynchronous client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from . import _native
from ._credential import source_of
from ._feed import seconds_of
from ._ids import length_of, refuse_lookalikes
from ._journal import setup_of
from ._options import checked
from ._pickling import carried_credential, carried_options, rebuild
from ._secret import hide

if TYPE_CHECKING:
    import os
    from uuid import UUID

    from ._credential import AnyCredential
    from ._feed import Deadline, OnOutcome
    from ._ids import AsyncIds
    from ._journal import Path, Retry
    from ._listed import AccessPackage, Assignment
    from ._options import ApiVersion, Cloud
    from ._outcome import Outcome
    from ._progress import Progress
    from ._report import Report


class AsyncClient:
    """The verbs of `Client` as coroutines and asynchronous iterators.

    It works with and without `async with`, and one may serve several event loops. Cancelling a call drops its request.

    Args:
        credential: As for `Client`; also an asynchronous azure-core credential or a coroutine function. None takes
            the synchronous DefaultAzureCredential, in a thread.
        cloud, api_version, base_url, concurrency, batch_size, rate, max_retries, max_wait, timeout, proxy, ca_bundle:
            As for `Client`.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: An option has a value that is out of its range.
        ImportError: No credential was given and azure-identity is not installed.

    Example:
        >>> import asyncio
        >>> from entra_reprocess import AsyncClient
        >>> from entra_reprocess.emulator import Emulator
        >>> async def main(graph):
        ...     async with AsyncClient(graph.credential, base_url=graph.url) as client:
        ...         return await client.reprocess(graph.ids[0])
        >>> with Emulator(assignments=1) as graph:
        ...     asyncio.run(main(graph)).status
        'accepted'

    See https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess
    """

    __module__ = "entra_reprocess"  # the public place, for tracebacks and pickles

    def __init__(
        self,
        credential: AnyCredential = None,
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
        self._source = source_of(credential, for_async=True)
        self._native = _native.NativeClient(options, self._source)
        self._carried = carried_credential(credential), carried_options(options, self._native)
        self._last_report: Report | None = None

    @property
    def last_report(self) -> Report | None:
        """The report of the last run that ended on this client: see `Client.last_report`.

        Example:
            >>> import asyncio
            >>> from entra_reprocess import AsyncClient
            >>> from entra_reprocess.emulator import Emulator
            >>> async def main(graph):
            ...     client = AsyncClient(graph.credential, base_url=graph.url)
            ...     try:
            ...         async with asyncio.timeout(0.5):
            ...             await client.reprocess_many(graph.ids)
            ...     except TimeoutError:
            ...         return client.last_report
            >>> with Emulator(assignments=100, latency=20.0) as graph:
            ...     len(asyncio.run(main(graph)))
            100
        """
        return self._last_report

    def _keep(self, report: Report) -> None:
        self._last_report = report

    async def reprocess(self, assignment_id: str | UUID, /) -> Outcome:
        """Reprocess one assignment: see `Client.reprocess`."""
        return await self._native.reprocess_async(assignment_id)

    async def reprocess_many(
        self,
        ids: AsyncIds,
        *,
        journal: Path | None = None,
        retry: Retry = (),
        progress: Progress = None,
        on_outcome: OnOutcome | None = None,
        deadline: Deadline = None,
    ) -> Report:
        """Reprocess many assignments: see `Client.reprocess_many`. `ids` may be an asynchronous iterable.

        Raises:
            asyncio.CancelledError: The task was cancelled. `last_report` has every outcome, and a note names it; the
                journal has, and `on_outcome` was told, what was known.
        """
        # Imported here and below: asyncio takes longer than all the rest of the package.
        from . import _drive_async

        refuse_lookalikes(ids)
        setup = setup_of(journal, retry, is_sized=length_of(ids) is not None)
        limit = seconds_of(deadline)
        return await _drive_async.collect(
            lambda: self._native.run_async(True, on_outcome is not None, limit, setup),
            ids,
            progress,
            on_outcome,
            setup,
            deadline=limit,
            keep=self._keep,
        )

    async def resume(
        self,
        journal: Path,
        *,
        retry: Retry = (),
        progress: Progress = None,
        on_outcome: OnOutcome | None = None,
        deadline: Deadline = None,
    ) -> Report:
        """Go on with a run that ended early, without its ids: see `Client.resume`."""
        from . import _drive_async

        setup = setup_of(journal, retry, resume=True)
        limit = seconds_of(deadline)
        return await _drive_async.collect(
            lambda: self._native.run_async(True, on_outcome is not None, limit, setup),
            None,
            progress,
            on_outcome,
            setup,
            deadline=limit,
            keep=self._keep,
        )

    def iter_reprocess(
        self, ids: AsyncIds, *, journal: Path | None = None, retry: Retry = (), deadline: Deadline = None
    ) -> AsyncIterator[Outcome]:
        """Reprocess many assignments, with `async for`: see `Client.iter_reprocess`.

        `deadline` counts from the first outcome that is asked for. No report is kept: where the task is cancelled, a
        note on the CancelledError has the counts.
        """
        from . import _drive_async

        refuse_lookalikes(ids)
        setup = setup_of(journal, retry, is_sized=length_of(ids) is not None)
        limit = seconds_of(deadline)
        return _drive_async.stream(
            lambda: self._native.run_async(setup is not None, True, limit, setup), ids, setup, deadline=limit
        )

    def assignments(
        self,
        *,
        access_package: str | UUID | AccessPackage | None = None,
        target: str | UUID | None = None,
        policy: str | UUID | None = None,
        state: str | None = None,
        filter: str | None = None,
    ) -> AsyncIterator[Assignment]:
        """List access package assignments, with `async for`: see `Client.assignments`."""
        from ._list import pages_async
        from ._listed import assignment

        listing = self._native.assignments(access_package, target, policy, state, filter)
        return pages_async(listing, assignment, filtered=access_package is not None)

    def access_packages(self, *, name: str | None = None) -> AsyncIterator[AccessPackage]:
        """List access packages, with `async for`: see `Client.access_packages`."""
        from ._list import pages_async
        from ._listed import access_package

        return pages_async(self._native.access_packages(name), access_package, filtered=True)

    async def states(self, ids: AsyncIds) -> dict[str, str]:
        """Read the state of many assignments: see `Client.states`. `ids` may be an asynchronous iterable."""
        from . import _drive_async
        from ._list import states_of

        refuse_lookalikes(ids)
        return states_of(await _drive_async.collect(self._native.read_states_async, ids, False, None))

    async def close(self) -> None:
        """Close the connections and end running calls. A credential that was given stays open."""
        self._native.close()
        if self._source.owned is not None:
            self._source.owned.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
