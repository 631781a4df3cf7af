"""A local Microsoft Graph for entitlement management, to try things out and to test automation without Azure.

What it does, and whether Microsoft documents that, it was seen in public, or it is assumed, stands in
docs/emulator.md of the source.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast
from weakref import finalize

from . import _native
from ._emulator_parts import (
    EMULATOR_SECRET,
    EMULATOR_TOKEN,
    FORBIDDEN,
    INVALID_ID,
    UNKNOWN_ID,
    WRONG_STATE,
    EmulatedPackage,
    EmulatedSignIn,
    EmulatedUser,
    EmulatorCredential,
    Refusal,
    State,
)

__all__ = [
    "EMULATOR_SECRET",
    "EMULATOR_TOKEN",
    "FORBIDDEN",
    "INVALID_ID",
    "UNKNOWN_ID",
    "WRONG_STATE",
    "EmulatedPackage",
    "EmulatedSignIn",
    "EmulatedUser",
    "Emulator",
    "EmulatorCredential",
    "Refusal",
    "State",
]


class Emulator:
    """A Graph on 127.0.0.1 that runs from the start of the `with` block, or `start()`, to its end, or `stop()`.

    With the defaults it answers at once and throttles nothing. What Microsoft does not document is a setting. Seconds
    are 0 or more and at most a year.

    Args:
        assignments: How many assignments it has, up to 10,000,000; their ids follow from the seed.
        states: How many of them are in which state, such as `{"Expired": 3}`; the others are Delivered.
        access_packages: Over how many packages they are spread, 1 to 10,000,000.
        users: How many users hold them, 1 to 10,000,000.
        seed: 0 to 2**64 - 1. Ids, names, request ids, latencies and the order of batch answers follow from it.

        port: TCP port; 0 takes a free one.
        tls: Whether it speaks TLS, as `https://localhost:port`, with a certificate of an authority of its own;
            see `ca_bundle`.
        http2: Whether it speaks HTTP/2 beside HTTP/1.1: by ALPN over TLS, by prior knowledge without.
        threads: How many threads serve, 1 to 64.
        token: The bearer token that it takes, besides those of its sign-in endpoint.
        tenant_id, client_id, client_secret: Who can sign in there: an application, and its tenant. None for ids of
            the emulator's own.
        client_certificate: The application's certificate as PEM; a private key beside it is passed over.
        token_life: Seconds for which a token from there is valid, 1 or more and at most a hundred years.
        roles: The permissions that its tokens name. They decide nothing; see `forbid`.
        clock_skew: Seconds by which its clock is ahead (or behind, if negative), at most a hundred years.
        latency: Seconds that each HTTP answer takes, or the least and the most of it. The work is done before.

        write_quota: `(calls, seconds)`: how many reprocess calls are granted in which time; None for no throttling.
        read_quota: The same for lists and single reads.
        quota_model: "bucket" refills evenly, "window" starts anew each period.
        burst: How many calls a full bucket grants at once; None for as many as one period grants.
        throttled_calls_count: Whether refused calls are counted too, so that immediate retries prolong the wait.
        wait: Seconds that a 429 names; None for as long as it takes until a call can be granted.
        retry_after: How a 429 says when to come back: "integer", "decimal", "date" or "absent".
        throttle_batches: Whether a $batch that meets an exhausted write quota is refused as a whole.
        limit_percentage: Whether answers above 80 % of a quota carry `x-ms-throttle-limit-percentage`.
        throttle_scope: `x-ms-throttle-scope` of each 429, such as "Tenant_Application/Write/app/tenant".
        throttle_information: `x-ms-throttle-information` of each 429, such as "WriteLimitExceeded".

        forbid: Whether the caller has no rights: every call answers 403.
        catalog_roles_only: Whether the caller has roles in catalogs only: lists of assignments answer 403 unless they
            are filtered on one access package.
        unknown_id, invalid_id, wrong_state: The answers whose code and message Microsoft does not document.
        reprocessable: States in which an assignment may be reprocessed.
        delivering: Seconds for which a reprocessed assignment is Delivering; None: it stays Delivered.
        ends: The state in which that ends.
        bare_targets: Whether the target of a Delivering assignment shows a mail address, but no name and no id.
        accept_body: Whether reprocess takes a body such as `{}`; otherwise it answers 400.
        require_length: Whether an HTTP/1.1 POST without Content-Length answers 411.
        inner_host: Host that a `Location` on errors names, as was seen; None for no such header.

        shuffle: Whether the parts of a batch are answered in another order than they were sent.
        lowercase_part_headers: Whether header names of batch parts are written in lower case.
        page_size: Entities in one page of a list, 1 to 10,000,000.
        empty_first_page: Whether each list starts with a page that holds nothing but a link to the next one.
        next_link_base: Scheme and host of `@odata.nextLink`; None: as the caller addressed it.

    Raises:
        TypeError: A setting is of the wrong type.
        ValueError: A setting is out of its range.
        OSError: The port is taken.

    Example:
        >>> from entra_reprocess import Client
        >>> from entra_reprocess.emulator import Emulator
        >>> with Emulator(assignments=50, write_quota=(30, 0.2)) as graph:
        ...     report = Client(graph.credential, base_url=graph.url).reprocess_many(graph.ids)
        ...     report.counts["accepted"], sum(graph.executions.values())
        (50, 50)
    """

    def __init__(
        self,
        assignments: int = 100,
        *,
        states: Mapping[State, int] | None = None,
        access_packages: int = 4,
        users: int = 50,
        seed: int = 0,
        port: int = 0,
        tls: bool = False,
        http2: bool = True,
        threads: int = 2,
        token: str = EMULATOR_TOKEN,
        tenant_id: str | None = None,
        client_id: str | None = None,
        client_secret: str = EMULATOR_SECRET,
        client_certificate: str | None = None,
        token_life: int = 3599,
        roles: Sequence[str] = ("EntitlementManagement.ReadWrite.All",),
        clock_skew: int = 0,
        latency: float | tuple[float, float] = 0.0,
        write_quota: tuple[int, float] | None = None,
        read_quota: tuple[int, float] | None = None,
        quota_model: Literal["bucket", "window"] = "bucket",
        burst: int | None = None,
        throttled_calls_count: bool = False,
        wait: float | None = None,
        retry_after: Literal["integer", "decimal", "date", "absent"] = "integer",
        throttle_batches: bool = False,
        limit_percentage: bool = False,
        throttle_scope: str | None = None,
        throttle_information: str | None = None,
        forbid: bool = False,
        catalog_roles_only: bool = False,
        unknown_id: Refusal = UNKNOWN_ID,
        invalid_id: Refusal = INVALID_ID,
        wrong_state: Refusal = WRONG_STATE,
        reprocessable: Sequence[State] = ("Delivered",),
        delivering: float | None = None,
        ends: State = "Delivered",
        bare_targets: bool = False,
        accept_body: bool = True,
        require_length: bool = True,
        inner_host: str | None = None,
        shuffle: bool = True,
        lowercase_part_headers: bool = False,
        page_size: int = 100,
        empty_first_page: bool = False,
        next_link_base: str | None = None,
    ) -> None:
        self._settings: dict[str, object] = {
            "assignments": assignments,
            "states": dict(states or {}),
            "access_packages": access_packages,
            "users": users,
            "seed": seed,
            "port": port,
            "tls": tls,
            "http2": http2,
            "threads": threads,
            "token": token,
            "tenant_id": tenant_id,
            "client_id": client_id,
            "client_secret": client_secret,
            "client_certificate": client_certificate,
            "token_life": token_life,
            "roles": list(roles),
            "clock_skew": clock_skew,
            "latency": latency if isinstance(latency, tuple) else (latency, latency),
            "write_quota": write_quota,
            "read_quota": read_quota,
            "quota_model": quota_model,
            "burst": burst,
            "throttled_calls_count": throttled_calls_count,
            "wait": wait,
            "retry_after": retry_after,
            "throttle_batches": throttle_batches,
            "limit_percentage": limit_percentage,
            "throttle_scope": throttle_scope,
            "throttle_information": throttle_information,
            "forbid": forbid,
            "catalog_roles_only": catalog_roles_only,
            "unknown_id": tuple(unknown_id),
            "invalid_id": tuple(invalid_id),
            "wrong_state": tuple(wrong_state),
            "reprocessable": list(reprocessable),
            "delivering": delivering,
            "ends": ends,
            "bare_targets": bare_targets,
            "accept_body": accept_body,
            "require_length": require_length,
            "inner_host": inner_host,
            "shuffle": shuffle,
            "lowercase_part_headers": lowercase_part_headers,
            "page_size": page_size,
            "empty_first_page": empty_first_page,
            "next_link_base": next_link_base,
        }
        _native.NativeEmulator.check(self._settings)
        self._native: _native.NativeEmulator | None = None
        self._ca_bundle: Path | None = None

    def start(self) -> Self:
        """Start it; needed only without `with`. One that was stopped does not start again."""
        if self._native is None:
            self._native = _native.NativeEmulator(self._settings)
        return self

    def stop(self) -> None:
        """Stop it and close its connections. What it has counted can still be read."""
        if self._native is not None:
            self._native.stop()
        if self._ca_bundle is not None:
            self._ca_bundle.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        """Its origin, for `base_url=`."""
        return self._running.url

    @property
    def ca_pem(self) -> str | None:
        """With `tls`, the certificate of its authority, as PEM."""
        return self._running.ca_pem

    @property
    def ca_bundle(self) -> Path | None:
        """With `tls`, a file with that certificate, for `ca_bundle=`; it is removed when the emulator stops."""
        pem = self.ca_pem
        if self._ca_bundle is None and pem is not None:
            handle, name = tempfile.mkstemp(prefix="graph-emulator-", suffix=".pem")
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(pem)
            self._ca_bundle = Path(name)
            finalize(self, _remove, self._ca_bundle, os.getpid())
        return self._ca_bundle

    @property
    def credential(self) -> EmulatorCredential:
        """A credential that it takes, also after `token` was set anew."""
        native = self._running
        return EmulatorCredential(lambda: native.token)

    @property
    def tenant_id(self) -> str:
        """The tenant of its sign-in endpoint, whose authority is `url`."""
        return self._running.application()[0]

    @property
    def client_id(self) -> str:
        """The application that can sign in there."""
        return self._running.application()[1]

    @property
    def client_secret(self) -> str:
        """The secret of that application."""
        return str(self._settings["client_secret"])

    @property
    def sign_ins(self) -> list[EmulatedSignIn]:
        """The tokens that were given there, the first 10,000 of them."""
        return [EmulatedSignIn(*sign_in) for sign_in in self._running.sign_ins()]

    def revoke_tokens(self, *, challenge: bool = False) -> None:
        """Refuse, from now on, all tokens that were given there so far.

        Args:
            challenge: Whether clients that said that they can answer a claims challenge get one
                (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
        """
        self._running.revoke_tokens(challenge)

    @property
    def token(self) -> str:
        """The bearer token that it takes. Set another one, and it refuses the old one as if that had expired."""
        return self._running.token

    @token.setter
    def token(self, token: str) -> None:
        self._running.set_token(token)

    @property
    def ids(self) -> list[str]:
        """The ids of its assignments."""
        return self._running.ids()

    @property
    def request_ids(self) -> list[str]:
        """The ids of the requests that made the assignments, in the same order."""
        return self._running.request_ids()

    @property
    def access_packages(self) -> list[EmulatedPackage]:
        """Its access packages."""
        return [EmulatedPackage(*package) for package in self._running.access_packages()]

    @property
    def users(self) -> list[EmulatedUser]:
        """The users who can hold assignments."""
        return [EmulatedUser(*user) for user in self._running.users()]

    @property
    def states(self) -> dict[str, State]:
        """The present state of each assignment, by its id."""
        native = self._running
        return dict(zip(native.ids(), cast("list[State]", native.states()), strict=True))

    def state(self, assignment_id: str, /) -> State | None:
        """The present state of one assignment; None if there is none of that id.

        Raises:
            ValueError: It is no GUID.
        """
        return cast("State | None", self._running.state(assignment_id))

    @property
    def executions(self) -> dict[str, int]:
        """How often each assignment was really reprocessed; what never was is left out."""
        return self._running.executions()

    @property
    def request_executions(self) -> dict[str, int]:
        """How often each request was really reprocessed; what never was is left out."""
        return self._running.request_executions()

    @property
    def counters(self) -> dict[str, int]:
        """What it has counted.

        connections, tls_failures, http_requests, http2_requests, in_flight_peak, batches, batches_refused, parts,
        executed (reprocess calls of assignments and requests), throttled_requests, throttled_parts,
        writes_during_pause (sent before an announced wait was over), unauthorized, tokens_issued, sign_ins_refused,
        reads.
        """
        return self._running.counters()

    @property
    def _running(self) -> _native.NativeEmulator:
        if self._native is None:
            raise RuntimeError("the emulator is not running; use it in a with block, or call start()")
        return self._native

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _remove(path: Path, owner: int) -> None:
    # A forked child has its copy of the emulator, but not the file.
    if os.getpid() == owner:
        path.unlink(missing_ok=True)
