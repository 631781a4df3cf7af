"""Every kind of credential; how often it is asked; what it costs when it fails."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo

from entra_reprocess import AsyncClient, AuthenticationError, Client, CredentialError, RunStoppedError, reprocess
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator

CANARY = "canary-7f3a91"


class Credential:
    """An azure-core credential that counts."""

    def __init__(self, *tokens: str, life: float = 3600, refresh_in: float | None = None, delay: float = 0) -> None:
        self.tokens = list(tokens) or [EMULATOR_TOKEN]
        self.life = life
        self.refresh_in = refresh_in
        self.delay = delay
        self.scopes: list[tuple[str, ...]] = []
        self.closed = False

    def next(self, scopes: tuple[str, ...]) -> str:
        self.scopes.append(scopes)
        time.sleep(self.delay)
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]

    def close(self) -> None:
        self.closed = True


class OldCredential(Credential):
    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        return AccessToken(self.next(scopes), int(time.time() + self.life))


class NewCredential(Credential):
    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        raise AssertionError("get_token_info is preferred")

    def get_token_info(self, *scopes: str, options: object = None) -> AccessTokenInfo:
        now = time.time()
        refresh_on = None if self.refresh_in is None else int(now + self.refresh_in)
        return AccessTokenInfo(self.next(scopes), int(now + self.life), refresh_on=refresh_on)


class AsyncCredential(Credential):
    """Has what azure-core's protocol asks for in part only; duck typing has to do."""

    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        await asyncio.sleep(0.01)
        return AccessToken(self.next(scopes), int(time.time() + self.life))


class Provider:
    """A callable with a state, as azure-identity's token providers are."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return EMULATOR_TOKEN


def as_any(credential: object) -> Any:
    """For credentials that duck typing takes and the declared types do not."""
    return credential


def test_every_synchronous_kind(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for credential in (OldCredential(), NewCredential(), EMULATOR_TOKEN, lambda: EMULATOR_TOKEN, Provider()):
        with Client(credential, base_url=graph.url) as client:
            assert client.reprocess(graph.ids[0]).ok
    monkeypatch.setenv("ENTRA_REPROCESS_TOKEN", EMULATOR_TOKEN)
    assert reprocess(graph.ids[0], base_url=graph.url).ok


def test_every_asynchronous_kind(graph: Emulator) -> None:
    async def coroutine() -> str:
        return EMULATOR_TOKEN

    async def main(credential: Any) -> bool:
        async with AsyncClient(credential, base_url=graph.url) as client:
            many = await client.reprocess_many(graph.ids)
            return (await client.reprocess(graph.ids[0])).ok and many.counts["accepted"] == 1000

    for credential in (OldCredential(), NewCredential(), AsyncCredential(), EMULATOR_TOKEN, coroutine, Provider()):
        assert asyncio.run(main(credential))


def test_an_asynchronous_credential_serves_several_loops(graph: Emulator) -> None:
    credential = AsyncCredential(life=0)
    client = AsyncClient(as_any(credential), base_url=graph.url)
    for item in graph.ids[:3]:
        assert asyncio.run(client.reprocess(item)).ok
    assert len(credential.scopes) == 3
    asyncio.run(client.close())


def test_the_default_is_azure_identitys(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[OldCredential] = []

    def make() -> OldCredential:
        made.append(OldCredential())
        return made[-1]

    monkeypatch.setattr("azure.identity.DefaultAzureCredential", make)
    with Client(base_url=graph.url) as client:
        assert client.reprocess(graph.ids[0]).ok
    assert made[0].closed, "made here, closed here"

    given = OldCredential()
    with Client(given, base_url=graph.url) as client:
        client.reprocess(graph.ids[0])
    assert not given.closed


@pytest.mark.parametrize(
    ("cloud", "scope"),
    [
        ("global", "https://graph.microsoft.com/.default"),
        ("usgov", "https://graph.microsoft.us/.default"),
        ("usgov-dod", "https://dod-graph.microsoft.us/.default"),
        ("china", "https://microsoftgraph.chinacloudapi.cn/.default"),
    ],
)
def test_the_scope_follows_the_cloud(graph: Emulator, cloud: Any, scope: str) -> None:
    credential = OldCredential()
    Client(credential, base_url=graph.url, cloud=cloud).reprocess(graph.ids[0])
    assert credential.scopes == [(scope,)]


def test_one_refresh_for_all_callers(graph: Emulator) -> None:
    credential = OldCredential(delay=0.2)
    client = Client(credential, base_url=graph.url)
    threads = [threading.Thread(target=client.reprocess, args=[item]) for item in graph.ids[:32]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(credential.scopes) == 1
    assert len(graph.executions) == 32


class FailsSlowly:
    """Takes half a second to fail; the time is that of two callers who come one after the other."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        time.sleep(0.5)
        raise OSError("the login host is away")

    async def later(self) -> str:
        self.asked += 1
        await asyncio.sleep(0.5)
        raise OSError("the login host is away")


def test_a_failure_is_shared_by_the_threads_that_waited_for_it(graph: Emulator) -> None:
    credential = FailsSlowly()
    client = Client(credential, base_url=graph.url)
    causes: list[BaseException | None] = []

    def call(item: str) -> None:
        with pytest.raises(CredentialError) as raised:
            client.reprocess(item)
        causes.append(raised.value.__cause__)

    threads = [threading.Thread(target=call, args=[item]) for item in graph.ids[:12]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(cause) for cause in causes] == [OSError] * 12
    assert credential.asked == 1
    call(graph.ids[0])
    assert credential.asked == 2, "a later call asks anew"


def test_a_failure_is_shared_by_the_tasks_that_waited_for_it(graph: Emulator) -> None:
    credential = FailsSlowly()

    async def main() -> None:
        async with AsyncClient(credential.later, base_url=graph.url) as client:
            calls = [client.reprocess(item) for item in graph.ids[:12]]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [CredentialError] * 12
            assert credential.asked == 1
            with pytest.raises(CredentialError):
                await client.reprocess(graph.ids[0])
            assert credential.asked == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("credential", "asked"),
    [
        (NewCredential(life=3600), 1),
        (NewCredential(life=310), 1),
        (NewCredential(life=10), 1),
        (NewCredential(life=0), 3),
        (NewCredential(life=3600, refresh_in=-1), 1),
        (NewCredential(life=3600, refresh_in=100), 1),
        (OldCredential(life=3600), 1),
        (OldCredential(life=10), 1),
        (OldCredential(life=0), 3),
    ],
)
def test_a_token_is_kept_until_it_is_due(graph: Emulator, credential: Credential, asked: int) -> None:
    client = Client(as_any(credential), base_url=graph.url)
    for item in graph.ids[:3]:
        client.reprocess(item)
    assert len(credential.scopes) == asked


def test_a_refused_token_is_renewed_once_and_the_request_sent_again(graph: Emulator) -> None:
    credential = OldCredential("stale", EMULATOR_TOKEN)
    client = Client(credential, base_url=graph.url)
    assert client.reprocess(graph.ids[0]).ok
    assert len(credential.scopes) == 2
    assert graph.counters["unauthorized"] == 1

    credential = OldCredential("stale", EMULATOR_TOKEN)
    report = Client(credential, base_url=graph.url).reprocess_many(graph.ids)
    assert report.counts["accepted"] == 1000
    assert len(credential.scopes) == 2, "one refresh for all that were refused"


def test_a_token_that_stays_refused(graph: Emulator) -> None:
    with pytest.raises(AuthenticationError) as error:
        Client(OldCredential("stale"), base_url=graph.url).reprocess(graph.ids[0])
    assert error.value.status_code == 401
    assert error.value.code == "InvalidAuthenticationToken"
    assert "sign in again" in str(error.value)
    assert "the very same token again" in str(error.value)
    assert graph.counters["unauthorized"] == 2

    with pytest.raises(AuthenticationError) as error:
        Client("stale", base_url=graph.url).reprocess(graph.ids[0])
    assert "the very same token" not in str(error.value)
    assert graph.counters["unauthorized"] == 3, "a fixed token cannot be renewed"


def test_a_token_that_stays_refused_stops_a_run(graph: Emulator) -> None:
    client = Client(OldCredential("stale"), base_url=graph.url, concurrency=2)
    with pytest.raises(RunStoppedError) as stopped:
        client.reprocess_many(graph.ids)
    assert isinstance(stopped.value.__cause__, AuthenticationError)
    report = stopped.value.report
    assert report is not None
    assert report.counts["failed"] + report.counts["not_attempted"] == 1000
    assert 20 <= report.counts["failed"] <= 40
    with pytest.raises(RunStoppedError) as stopped:
        list(client.iter_reprocess(graph.ids))
    assert stopped.value.report is None


class Raises(Credential):
    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        raise OSError("the login host is away")


class Rubbish(NamedTuple):
    value: Any

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("credential", "cause"),
    [
        (Raises(), OSError),
        (Rubbish(None), TypeError),
        (Rubbish(AccessToken("", 0)), ValueError),
        (Rubbish(AccessToken(f"{CANARY}\r\nX: 1", 0)), ValueError),
        (Rubbish(AccessToken("x", "soon")), TypeError),  # type: ignore[arg-type]  # rubbish is the point
        (lambda: None, TypeError),
        (lambda: 1 / 0, ZeroDivisionError),
    ],
)
def test_a_credential_that_fails(graph: Emulator, credential: Any, cause: type[Exception]) -> None:
    client = Client(credential, base_url=graph.url)
    with pytest.raises(CredentialError) as error:
        client.reprocess(graph.ids[0])
    assert isinstance(error.value.__cause__, cause)
    with pytest.raises(RunStoppedError) as stopped:
        client.reprocess_many(graph.ids)
    assert isinstance(stopped.value.__cause__, CredentialError)
    assert isinstance(stopped.value.__cause__.__cause__, cause)
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 1000
    assert CANARY not in "".join(traceback.format_exception(stopped.value))
    assert graph.counters["http_requests"] == 0


class Times(NamedTuple):
    """A token whose times are what the credential's author made of them."""

    expires_on: Any
    refresh_on: Any = None
    token: str = EMULATOR_TOKEN


# The year 2096: the names of tests must not depend on the time.
LATER = 4_000_000_000


@pytest.mark.parametrize("name", ["expires_on", "refresh_on"])
@pytest.mark.parametrize(
    ("value", "cause", "named"),
    [
        (LATER * 1000, ValueError, f"={LATER * 1000}; "),
        (-5, ValueError, "=-5; "),
        (-0.5, ValueError, "=-0.5; "),
        (math.nan, ValueError, "=nan; "),
        (math.inf, ValueError, "=inf; "),
        (10**40, ValueError, "=1e+40; "),
        (False, TypeError, " of type bool; "),
        (True, TypeError, " of type bool; "),
        (str(LATER), TypeError, " of type str; "),
        ([LATER], TypeError, " of type list; "),
    ],
)
def test_a_time_that_is_none_is_named(
    graph: Emulator, name: str, value: Any, cause: type[Exception], named: str
) -> None:
    token = Times(LATER)._replace(**{name: value})
    with pytest.raises(CredentialError) as raised:
        Client(as_any(Rubbish(token)), base_url=graph.url).reprocess(graph.ids[0])
    assert type(raised.value.__cause__) is cause
    assert f"returned {name}{named}" in str(raised.value.__cause__)
    assert f"returned {name}{named}" in str(raised.value), "whoever sees no cause has to know as well"
    assert graph.counters["http_requests"] == 0


@pytest.mark.parametrize(
    "token",
    [
        Times(LATER),
        Times(LATER + 0.9),
        Times(LATER, LATER - 600.5),
        Times(LATER, 0),
        # Not known.
        Times(None),
        Times(0),
        # Never: as 32 bits have it, and as many nines as look like a lot.
        Times(2**31 - 1),
        Times(9_999_999_999),
    ],
)
def test_a_time_may_be_unusual(graph: Emulator, token: Times) -> None:
    assert Client(as_any(Rubbish(token)), base_url=graph.url).reprocess(graph.ids[0]).ok


@pytest.mark.parametrize("credential", [5, object(), ["token"], "", "two words", "line\nbreak", "ümlaut"])
def test_what_is_no_credential_is_refused_at_once(credential: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        Client(credential)
    assert not str(credential) or str(credential) not in str(error.value)


def test_an_asynchronous_credential_in_a_synchronous_client() -> None:
    with pytest.raises(TypeError, match="AsyncClient"):
        Client(AsyncCredential())  # type: ignore[arg-type]  # that is what must fail


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.NOTSET):
        yield caplog


def test_the_token_shows_nowhere(
    graph: Emulator, everything_logged: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client = Client(CANARY, base_url=graph.url, max_retries=0)
    texts = [repr(client), str(client.__dict__), repr(client._source)]
    for call in (lambda: client.reprocess(graph.ids[0]), lambda: client.reprocess_many(graph.ids)):
        try:
            call()
        except (AuthenticationError, RunStoppedError) as error:
            summary = traceback.TracebackException.from_exception(error, capture_locals=True)
            # The frame of this test holds the constant by itself.
            texts += [line for frame in summary.stack[1:] for line in [str(frame.locals), str(frame.line)]]
            texts += [str(error), repr(error), str(error.__dict__)]
    texts += everything_logged.messages
    texts += list(capfd.readouterr())
    assert len(texts) > 10
    assert not any(CANARY in text for text in texts)
