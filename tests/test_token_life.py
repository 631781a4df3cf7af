"""A token's life: how it is asked for, refreshed, refused and challenged, and what is said of one that cannot work."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo

from entra_reprocess import (
    AsyncClient,
    AuthenticationError,
    Client,
    CredentialError,
    NotFoundError,
    PermissionDeniedError,
    ReprocessError,
    RunStoppedError,
)
from entra_reprocess._credential import source_of
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator

from .foreign import Answer, Foreign, Request, error

CANARY = "canary-91d2fe"
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1502185177"}}}'
IDS = [f"d82eb508-acc4-43cc-bcf1-{number:012x}" for number in range(100)]


def jwt(**claims: Any) -> str:
    """A token with these claims, signed by nobody."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.{CANARY}"


def now() -> int:
    return int(time.time())


# --- How it is asked for ---


class Kwargs:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        self.asked.append(kwargs)
        return AccessToken(EMULATOR_TOKEN, now() + 3600)


class Keywords(Kwargs):
    def get_token(  # type: ignore[override]  # as azure-core has it, without the rest
        self, *scopes: str, claims: str | None = None, enable_cae: bool = False
    ) -> AccessToken:
        return super().get_token(claims=claims, enable_cae=enable_cae)


class ClaimsOnly(Kwargs):
    def get_token(self, *scopes: str, claims: str | None = None) -> AccessToken:  # type: ignore[override]  # of old
        return super().get_token(claims=claims)


class Bare(Kwargs):
    def get_token(self, *scopes: str) -> AccessToken:  # type: ignore[override]  # of long ago
        return super().get_token()


class Options(Kwargs):
    def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> AccessTokenInfo:
        self.asked.append({"options": options})
        return AccessTokenInfo(EMULATOR_TOKEN, now() + 3600)


class NoOptions(Kwargs):
    def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        self.asked.append({})
        return AccessTokenInfo(EMULATOR_TOKEN, now() + 3600)


@pytest.mark.parametrize(
    ("kind", "asked", "takes_claims", "with_claims"),
    [
        (Kwargs, {"enable_cae": True}, True, {"claims": CLAIMS, "enable_cae": True}),
        (Keywords, {"claims": None, "enable_cae": True}, True, {"claims": CLAIMS, "enable_cae": True}),
        (ClaimsOnly, {"claims": None}, True, {"claims": CLAIMS}),
        (Bare, {}, False, None),
        (Options, {"options": {"enable_cae": True}}, True, {"options": {"enable_cae": True, "claims": CLAIMS}}),
        (NoOptions, {}, False, None),
    ],
)
def test_the_signature_decides_what_a_credential_is_asked(
    graph: Emulator, kind: type[Kwargs], asked: Any, takes_claims: bool, with_claims: Any
) -> None:
    credential: Any = kind()
    assert Client(credential, base_url=graph.url).reprocess(graph.ids[0]).ok
    assert credential.asked == [asked]
    source = source_of(credential, for_async=False)
    assert source.takes_claims is takes_claims
    if takes_claims:
        source.fetch("scope", CLAIMS)
        assert credential.asked[-1] == with_claims


def test_a_type_error_of_the_credential_is_its_own(graph: Emulator) -> None:
    class Broken:
        asked = 0

        def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
            self.asked += 1
            raise TypeError("get_token() got an unexpected keyword argument 'enable_cae'")

    credential: Any = Broken()
    with pytest.raises(CredentialError) as raised:
        Client(credential, base_url=graph.url).reprocess(graph.ids[0])
    assert isinstance(raised.value.__cause__, TypeError)
    assert credential.asked == 1


# --- How it is refreshed ---


class Slow:
    """Takes its time from the second token on, and may fail there."""

    def __init__(self, *, life: int, takes: float, fails: bool = False) -> None:
        self.life, self.takes, self.fails = life, takes, fails
        self.asked = 0
        self.given = 0

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        self.asked += 1
        if self.asked > 1:
            time.sleep(self.takes)
            if self.fails:
                raise OSError("the login host is away")
        self.given += 1
        return AccessToken(EMULATOR_TOKEN, now() + self.life)


def test_no_request_waits_for_a_refresh(graph: Emulator) -> None:
    credential: Any = Slow(life=8, takes=0.8)
    client = Client(credential, base_url=graph.url)
    client.reprocess(graph.ids[0])
    longest = 0.0
    end = time.monotonic() + 8.5
    while credential.given < 2 and time.monotonic() < end:
        before = time.monotonic()
        assert client.reprocess(graph.ids[0]).ok
        longest = max(longest, time.monotonic() - before)
        time.sleep(0.02)
    assert credential.asked == credential.given == 2
    assert longest < 0.7


def test_a_refresh_that_fails_ends_nothing_while_the_token_lives(graph: Emulator) -> None:
    credential: Any = Slow(life=4, takes=0.0, fails=True)
    client = Client(credential, base_url=graph.url)
    started = time.monotonic()

    def go_on() -> None:
        while time.monotonic() < started + 30:
            assert client.reprocess(graph.ids[0]).ok
            time.sleep(0.02)

    with pytest.raises(CredentialError) as raised:
        go_on()
    assert time.monotonic() - started > 2.9, "it worked to the end of the token"
    assert isinstance(raised.value.__cause__, OSError)
    assert 2 <= credential.asked <= 12, "not with each request"
    credential.fails = False
    assert client.reprocess(graph.ids[0]).ok


def test_a_credential_that_fails_stops_a_run_with_every_outcome(graph: Emulator) -> None:
    credential: Any = Slow(life=2, takes=0.0, fails=True)
    client = Client(credential, base_url=graph.url, rate=100)
    with pytest.raises(RunStoppedError) as stopped:
        client.reprocess_many(graph.ids)
    assert isinstance(stopped.value.__cause__, CredentialError)
    report = stopped.value.report
    assert report is not None
    assert report.counts["accepted"] == len(graph.executions) > 0
    assert report.counts["accepted"] + report.counts["not_attempted"] == 1000
    credential.fails = False
    rest = client.reprocess_many(report.not_accepted.ids)
    assert rest.counts["accepted"] == len(rest)
    assert set(graph.executions) == set(graph.ids)


class SlowAsync:
    """From the second token on slower than its caller lives."""

    def __init__(self) -> None:
        self.asked = 0

    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        self.asked += 1
        if self.asked == 2:
            await asyncio.sleep(30)
        return AccessToken(EMULATOR_TOKEN, now() + 3)


def test_a_refresh_goes_with_the_event_loop_of_its_caller(graph: Emulator) -> None:
    credential: Any = SlowAsync()
    client = AsyncClient(credential, base_url=graph.url)

    async def until_it_is_refreshed() -> None:
        while credential.asked < 2:
            assert (await client.reprocess(graph.ids[0])).ok
            await asyncio.sleep(0.02)

    asyncio.run(until_it_is_refreshed())
    time.sleep(1)
    started = time.monotonic()
    assert asyncio.run(client.reprocess(graph.ids[0])).ok
    assert time.monotonic() - started < 5
    assert credential.asked == 3
    asyncio.run(client.close())


# --- One that hangs ---


class Hangs:
    def __init__(self) -> None:
        self.released = threading.Event()

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        self.released.wait(30)
        return AccessToken(EMULATOR_TOKEN, now() + 3600)


class HangsAsync:
    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        await asyncio.sleep(30)
        raise AssertionError("nobody waits so long")


def test_a_credential_that_hangs(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entra_reprocess._credential._Credential.patience", 0.3)
    credential: Any = Hangs()
    client = Client(credential, base_url=graph.url)
    with pytest.raises(CredentialError, match=r"gave no token within 0\.3 s"):
        client.reprocess(graph.ids[0])
    with pytest.raises(RunStoppedError, match=r"gave no token within 0\.3 s") as stopped:
        client.reprocess_many(graph.ids)
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 1000
    assert graph.counters["http_requests"] == 0
    credential.released.set()
    assert client.reprocess_many(graph.ids).counts["accepted"] == 1000


def test_an_asynchronous_credential_that_hangs(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entra_reprocess._credential._Credential.patience", 0.3)

    async def main() -> None:
        credential: Any = HangsAsync()
        async with AsyncClient(credential, base_url=graph.url) as client:
            with pytest.raises(CredentialError, match="gave no token within"):
                await client.reprocess(graph.ids[0])
            with pytest.raises(RunStoppedError) as stopped:
                await client.reprocess_many(graph.ids)
        assert stopped.value.report is not None
        assert stopped.value.report.counts["not_attempted"] == 1000

    asyncio.run(main())
    assert graph.counters["http_requests"] == 0


# --- One that is challenged ---


class Answers:
    """A credential that meets claims, each time with another token."""

    def __init__(self) -> None:
        self.claims: list[str] = []

    def get_token(self, *scopes: str, claims: str | None = None, **kwargs: Any) -> AccessToken:
        if claims is not None:
            self.claims.append(claims)
        return AccessToken(f"{CANARY}-{len(self.claims)}", now() + 3600)


def challenged(header: str, *, until: str = f"{CANARY}-1") -> Callable[[Request], Answer | None]:
    """Refuses all tokens but one, with this challenge."""

    def outer(request: Request) -> Answer | None:
        if request.header("authorization") == [f"Bearer {until}"]:
            return None
        refused = error(401, "InvalidAuthenticationToken", "Continuous access evaluation resulted in challenge.")
        refused.headers["WWW-Authenticate"] = header
        return refused

    return outer


PLAIN = base64.b64encode(CLAIMS.encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        f'Bearer realm="", authorization_uri="https://login.example/a", error="insufficient_claims", claims="{PLAIN}"',
        f'Bearer claims="{PLAIN.rstrip("=")}", realm="a, b", error="insufficient_claims"',
        f'Negotiate, Bearer error="insufficient_claims", claims="{PLAIN}", PoP nonce="x"',
    ],
)
def test_the_credential_gets_the_claims_decoded(header: str) -> None:
    with Foreign(lambda _: Answer(202), challenged(header)) as graph:
        credential: Any = Answers()
        client = Client(credential, base_url=graph.url)
        assert client.reprocess(IDS[0]).ok
        assert credential.claims == [CLAIMS]
        assert client.reprocess_many(IDS).counts["accepted"] == 100
        assert credential.claims == [CLAIMS]


def test_a_run_is_challenged_once_for_all() -> None:
    with Foreign(lambda _: Answer(202), challenged(f'Bearer error="insufficient_claims", claims="{PLAIN}"')) as graph:
        credential: Any = Answers()
        assert Client(credential, base_url=graph.url).reprocess_many(IDS).counts["accepted"] == 100
        assert credential.claims == [CLAIMS]
        assert sorted(graph.ids) == IDS


def test_parts_of_a_batch_can_be_challenged_too() -> None:
    seen: set[str] = set()

    def answer(id: str) -> Answer:
        if id in IDS[:5] and id not in seen:
            seen.add(id)
            refused = error(401, "InvalidAuthenticationToken")
            refused.headers["www-authenticate"] = f'Bearer error="insufficient_claims", claims="{PLAIN}"'
            return refused
        return Answer(202)

    with Foreign(answer) as graph:
        credential: Any = Answers()
        assert Client(credential, base_url=graph.url).reprocess_many(IDS).counts["accepted"] == 100
        assert set(credential.claims) == {CLAIMS}
        assert len(graph.ids) == 105, "only what was refused is sent again"


def test_a_second_challenge_says_what_to_do() -> None:
    header = f'Bearer error="insufficient_claims", claims="{PLAIN}"'
    with Foreign(lambda _: Answer(202), challenged(header, until="nothing")) as graph:
        credential: Any = Answers()
        client = Client(credential, base_url=graph.url)
        with pytest.raises(AuthenticationError, match="Conditional Access"):
            client.reprocess(IDS[0])
        assert credential.claims == [CLAIMS], "once per request"
        with pytest.raises(AuthenticationError, match="Conditional Access"):
            next(client.assignments())
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(IDS)
        assert "Conditional Access" in str(stopped.value.__cause__)
        assert graph.ids == []
        assert CANARY not in "".join(traceback.format_exception(stopped.value))


@pytest.mark.parametrize("kind", ["token", "callable", "old"])
def test_what_cannot_ask_for_claims_says_so(kind: str) -> None:
    given: Any = {"token": CANARY, "callable": lambda: CANARY, "old": Bare()}[kind]
    header = f'Bearer error="insufficient_claims", claims="{PLAIN}"'
    with Foreign(lambda _: Answer(202), challenged(header)) as graph:
        client = Client(given, base_url=graph.url)
        with pytest.raises(AuthenticationError, match="pass an azure-core credential") as raised:
            client.reprocess(IDS[0])
        assert len(graph.requests) == 1
        assert CANARY not in str(raised.value)


@pytest.mark.parametrize(("life", "looks"), [(0, 4), (600, 2)])
def test_a_credential_that_keeps_a_token_a_little_too_long(life: int, looks: int) -> None:
    """Its clock began when the sign-in had answered; a token with time left is refused for another reason."""
    old, asked = jwt(exp=now() + life), 0

    class Keeps:
        def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
            nonlocal asked
            asked += 1
            return AccessToken(old if asked < 4 else "fresh", now() + 600)

    def gate(request: Request) -> Answer | None:
        return None if request.header("authorization") == ["Bearer fresh"] else Answer(401)

    with Foreign(lambda _: Answer(202), gate) as graph:
        credential: Any = Keeps()
        client = Client(credential, base_url=graph.url)
        if life:
            with pytest.raises(AuthenticationError, match="the very same token"):
                client.reprocess(IDS[0])
        else:
            assert client.reprocess(IDS[0]).ok
    assert (asked, len(graph.requests)) == (looks, 2)


def test_a_credential_that_cannot_meet_the_claims() -> None:
    refused: list[str] = []

    class Refuses(Answers):
        def get_token(self, *scopes: str, claims: str | None = None, **kwargs: Any) -> AccessToken:
            if claims is not None:
                refused.append(claims)
                raise OSError("interaction is required")
            return super().get_token(*scopes)

    with Foreign(lambda _: Answer(202), challenged(f'Bearer claims="{PLAIN}"')) as graph:
        credential: Any = Refuses()
        client = Client(credential, base_url=graph.url)
        with pytest.raises(CredentialError) as raised:
            client.reprocess(IDS[0])
        assert isinstance(raised.value.__cause__, OSError)
        assert refused == [CLAIMS]
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(IDS)
        assert stopped.value.report is not None
        assert stopped.value.report.counts["not_attempted"] == 100
        assert refused == [CLAIMS] * 2, "once for all requests of the run"


def test_what_was_executed_stays_so_where_the_next_token_fails() -> None:
    """Some parts of a batch are accepted, others refused, and there is no other token: nothing is forgotten."""

    class Once:
        asked = 0

        def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
            self.asked += 1
            if self.asked > 1:
                raise OSError("the login host is away")
            return AccessToken("token", now() + 3600)

    refused = set(IDS[:20:4])
    with Foreign(lambda id: error(401) if id in refused else Answer(202)) as graph:
        credential: Any = Once()
        with pytest.raises(RunStoppedError) as stopped:
            Client(credential, base_url=graph.url, concurrency=1).reprocess_many(IDS)
        report = stopped.value.report
        assert report is not None
        assert {outcome.id for outcome in report.accepted} == set(graph.ids) - refused
        assert isinstance(stopped.value.__cause__, CredentialError)
        assert isinstance(stopped.value.__cause__.__cause__, OSError)


# --- One that cannot work ---


@pytest.mark.parametrize(
    ("token", "options", "expected"),
    [
        (
            jwt(aud="https://management.azure.com/"),
            {},
            r"for https://management\.azure\.com/.*graph\.microsoft\.com/\.def",
        ),
        (jwt(aud="https://graph.microsoft.us"), {}, 'cloud="usgov"'),
        (jwt(aud="https://graph.microsoft.com/"), {"cloud": "china"}, 'cloud="global".*chinacloudapi'),
        (jwt(aud="https://graph.microsoft.com"), {"base_url": "https://graph.microsoft.us"}, 'cloud="global"'),
        (jwt(aud="https://graph.microsoft.com", exp=now() - 3600), {}, "expired at .* clock"),
    ],
)
@pytest.mark.parametrize("is_callable", [False, True])
def test_it_is_named_before_anything_is_sent(
    token: str, options: dict[str, Any], expected: str, is_callable: bool
) -> None:
    # Graph itself is named here: anything sent would fail in another way, since it cannot be reached from a test.
    client = Client((lambda: token) if is_callable else token, max_retries=0, proxy="http://127.0.0.1:9", **options)
    with pytest.raises(CredentialError, match=expected) as raised:
        client.reprocess(IDS[0])
    with pytest.raises(RunStoppedError, match=expected) as stopped:
        client.reprocess_many(IDS)
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 100
    with pytest.raises(CredentialError, match=expected):
        next(client.assignments())
    for shown in (raised.value, stopped.value):
        assert CANARY not in "".join(traceback.format_exception(shown))


@pytest.mark.parametrize(
    "token",
    [
        lambda: "opaque",
        lambda: jwt(aud="https://management.azure.com/"),
        lambda: jwt(aud="https://graph.microsoft.com/", exp=now() + 3600),
        lambda: jwt(aud="00000003-0000-0000-c000-000000000000", exp=now() - 60),
        lambda: jwt(aud=5, exp="soon", roles={}, scp=[], tid=1),
    ],
)
def test_what_may_work_is_sent(token: Callable[[], str]) -> None:
    """A host that is not Graph's may take any audience, and two clocks may be apart."""
    with Foreign(lambda _: Answer(202)) as graph:
        assert Client(token(), base_url=graph.url).reprocess(IDS[0]).ok


def test_a_credential_whose_own_word_is_good_is_trusted_over_its_token() -> None:
    """This machine's clock may be wrong by hours; then only the credential's reckoning fits it."""

    class Reckons:
        def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
            return AccessToken(jwt(exp=now() - 7200), now() + 3600)

    with Foreign(lambda _: Answer(202)) as graph:
        credential: Any = Reckons()
        assert Client(credential, base_url=graph.url).reprocess(IDS[0]).ok


# --- What is said of refusals ---


def test_a_401_describes_the_token() -> None:
    token = jwt(aud="https://graph.microsoft.com", tid="9b9f-tenant", appid="4c11-app", exp=now() + 60)
    with Foreign(lambda _: error(401, "InvalidAuthenticationToken")) as graph:
        client = Client(token, base_url=graph.url)
        with pytest.raises(AuthenticationError) as raised:
            client.reprocess(IDS[0])
        for part in ("9b9f-tenant", "4c11-app", "https://graph.microsoft.com", "UTC", "check the tenant"):
            assert part in str(raised.value)
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(IDS)
        assert "9b9f-tenant" in str(stopped.value.__cause__)


@pytest.mark.parametrize(
    ("claims", "hint"),
    [
        ({"roles": ["Directory.Read.All"]}, "its permissions: Directory.Read.All."),
        ({"scp": "User.Read openid"}, "its permissions: User.Read, openid."),
        ({"roles": []}, "its permissions: none."),
        ({"roles": ["EntitlementManagement.ReadWrite.All"]}, None),
        ({"scp": "openid EntitlementManagement.ReadWrite.All"}, None),
        ({}, None),
    ],
)
def test_a_403_explains_permission_role_licence_and_unknown_ids(claims: dict[str, Any], hint: str | None) -> None:
    with Foreign(lambda _: error(403, "UnAuthorized")) as graph, pytest.raises(PermissionDeniedError) as raised:
        Client(jwt(**claims), base_url=graph.url).reprocess(IDS[0])
    said = str(raised.value)
    for part in ("EntitlementManagement.ReadWrite.All", "Access package assignment manager", "P2", "does not exist"):
        assert part in said
    assert (hint is None and "its permissions" not in said) or (hint or "") in said


def test_a_404_with_an_empty_code_is_a_wrong_route() -> None:
    with Foreign(lambda id: error(404, "" if id == IDS[0] else "ResourceNotFound")) as graph:
        client = Client("token", base_url=graph.url)
        with pytest.raises(NotFoundError, match="api_version"):
            client.reprocess(IDS[0])
        report = client.reprocess_many(IDS[:2])
    shown: list[ReprocessError | None] = [outcome.error for outcome in report]
    assert "look at base_url and api_version" in str(shown[0])
    assert "base_url" not in str(shown[1])


# --- Where it goes ---


@pytest.mark.parametrize("status", [201, 202, 301, 302, 303, 307, 308, 401, 403, 404, 503])
def test_no_location_is_followed(status: int) -> None:
    with Foreign(lambda _: Answer(202)) as elsewhere:

        def answer(_: str) -> Answer:
            return Answer(status, None, {"Location": f"{elsewhere.url}/v1.0/x", "Retry-After": "0"})

        with Foreign(answer) as graph, Client(lambda: CANARY, base_url=graph.url, max_retries=1) as client:
            with suppress(ReprocessError):
                client.reprocess(IDS[0])
            with suppress(ReprocessError):
                client.reprocess_many(IDS)
            assert len(graph.requests) >= 2
        assert elsewhere.requests == []
