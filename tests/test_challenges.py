"""Claims challenges in every place where they can come: different ones at a time, one after the other, in a 403."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.credentials import AccessTokenInfo

from entra_reprocess import AuthenticationError, Client, PermissionDeniedError, RunStoppedError

from .foreign import Answer, Foreign, Request, error

A = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
B = '{"access_token":{"xms_rp_ipaddr":{"value":"192.0.2.7"}}}'
IDS = [f"d82eb508-acc4-43cc-bcf1-{number:012x}" for number in range(100)]


class Credential:
    """Gives each time another token: its number, and `A` or `B` if it was asked for these claims."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> AccessTokenInfo:
        claims = (options or {}).get("claims")
        self.asked.append(claims)
        name = {None: "plain", A: "A", B: "B"}[claims]
        return AccessTokenInfo(f"token-{len(self.asked)}-{name}", int(time.time()) + 3600)


def challenge(claims: str, status: int = 401, **parameters: str) -> Answer:
    refused = error(status, "InvalidAuthenticationToken" if status == 401 else "UnAuthorized")
    given = {**parameters, "error": "insufficient_claims", "claims": base64.b64encode(claims.encode()).decode()}
    refused.headers["WWW-Authenticate"] = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in given.items())
    return refused


class ByToken(Foreign):
    """Answers each id as a function of the token and the id says."""

    def __init__(self, judge: Callable[[str, str], Answer]) -> None:
        token = threading.local()

        def outer(request: Request) -> Answer | None:
            token.value = request.header("authorization")[0].removeprefix("Bearer ")
            return None

        # One thread serves a connection, and so a request from its head to its answer.
        super().__init__(lambda id: judge(token.value, id), outer)


def client(graph: Foreign, credential: Any, **options: Any) -> Client:
    return Client(credential, base_url=graph.url, **options)


# --- Different claims ---


def test_requests_under_way_that_are_challenged_for_different_claims() -> None:
    both = threading.Barrier(2)
    first_is_answered = threading.Event()

    def judge(token: str, id: str) -> Answer:
        wanted, name = (A, "A") if id == IDS[0] else (B, "B")
        if token.endswith(name):
            first_is_answered.set()
            return Answer(202)
        if token.startswith("token-1-"):
            both.wait(10)
            if id == IDS[1]:
                first_is_answered.wait(10)
        return challenge(wanted)

    with ByToken(judge) as graph:
        credential = Credential()
        both_ways = client(graph, credential)
        results: dict[str, bool] = {}

        def call(id: str) -> None:
            results[id] = both_ways.reprocess(id).ok

        threads = [threading.Thread(target=call, args=[id]) for id in IDS[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert results == {IDS[0]: True, IDS[1]: True}
    assert credential.asked == [None, A, B]


def test_parts_of_a_batch_that_are_challenged_for_different_claims() -> None:
    met: dict[str, str] = {}

    def judge(token: str, id: str) -> Answer:
        wanted, name = (A, "A") if int(id[-2:], 16) % 2 else (B, "B")
        if token.endswith(name):
            met[id] = name
            return Answer(202)
        return challenge(wanted)

    with ByToken(judge) as graph:
        credential = Credential()
        assert client(graph, credential).reprocess_many(IDS[:20]).counts["accepted"] == 20
        assert len(graph.ids) <= 60, "what was accepted is not sent again"
    assert credential.asked[0] is None
    assert {A, B} <= set(credential.asked)
    assert len(met) == 20


def test_a_service_that_thinks_of_new_claims_for_ever_is_given_up() -> None:
    class Willing(Credential):
        def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> AccessTokenInfo:
            self.asked.append((options or {}).get("claims"))
            return AccessTokenInfo(f"token-{len(self.asked)}", int(time.time()) + 3600)

    with ByToken(lambda token, _: challenge(f'{{"access_token":{{"x":"{token}"}}}}')) as graph:
        credential = Willing()
        with pytest.raises(AuthenticationError, match="of a token that the credential gave for such a challenge"):
            client(graph, credential).reprocess(IDS[0])
        assert len(graph.requests) == 4
    assert credential.asked == [None, *(f'{{"access_token":{{"x":"token-{number}"}}}}' for number in (1, 2, 3))]


# --- One after the other ---


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([challenge(A), error(401)], [None, A, None]),
        ([error(401), challenge(A)], [None, None, A]),
        ([challenge(A), error(401), challenge(B)], [None, A, None, B]),
    ],
)
def test_a_challenge_and_an_ordinary_refusal_are_good_for_one_more_attempt_each(
    answers: list[Answer], asked: list[str | None], many: bool
) -> None:
    def judge(token: str, _: str) -> Answer:
        number = int(token.split("-")[1])
        return answers[number - 1] if number <= len(answers) else Answer(202)

    with ByToken(judge) as graph:
        credential = Credential()
        if many:
            assert client(graph, credential, concurrency=1).reprocess_many(IDS).counts["accepted"] == 100
        else:
            assert client(graph, credential).reprocess(IDS[0]).ok
    assert credential.asked == asked


# --- In odd forms ---


@pytest.mark.parametrize("many", [False, True])
def test_a_challenge_may_hold_other_letters_than_ascii(many: bool) -> None:
    def judge(token: str, _: str) -> Answer:
        return Answer(202) if token.endswith("A") else challenge(A, errorDescription="Réauthentification")

    with ByToken(judge) as graph:
        credential = Credential()
        if many:
            assert client(graph, credential).reprocess_many(IDS).counts["accepted"] == 100
        else:
            assert client(graph, credential).reprocess(IDS[0]).ok
    assert credential.asked == [None, A]


# --- In a 403 (https://learn.microsoft.com/graph/errors) ---


def stepped_up(token: str, _: str) -> Answer:
    return Answer(202) if token.endswith("A") else challenge(A, 403)


def test_a_403_can_be_a_challenge() -> None:
    with ByToken(stepped_up) as graph:
        credential = Credential()
        assert client(graph, credential).reprocess(IDS[0]).ok
        assert credential.asked == [None, A]
        credential = Credential()
        assert client(graph, credential).reprocess_many(IDS).counts["accepted"] == 100
        assert credential.asked == [None, A]


def test_a_part_of_a_batch_can_be_challenged_by_a_403() -> None:
    special = set(IDS[3:6])

    def judge(token: str, id: str) -> Answer:
        return stepped_up(token, id) if id in special else Answer(202)

    with ByToken(judge) as graph:
        credential = Credential()
        assert client(graph, credential).reprocess_many(IDS).counts["accepted"] == 100
        assert set(credential.asked) == {None, A}
        assert len(graph.ids) == 103, "only what was challenged is sent again"


def test_a_403_can_challenge_a_list() -> None:
    def outer(request: Request) -> Answer:
        met = request.header("authorization")[0].endswith("A")
        return Answer(200, {"value": []}) if met else challenge(A, 403)

    with Foreign(lambda _: Answer(404), outer) as graph:
        credential = Credential()
        assert list(client(graph, credential).access_packages()) == []
        assert credential.asked == [None, A]


def test_a_challenge_that_no_token_meets_is_forbidden_and_says_what_is_asked() -> None:
    def judge(_: str, id: str) -> Answer:
        return challenge(A, 403) if id == IDS[0] else Answer(202)

    with ByToken(judge) as graph:
        credential = Credential()
        with pytest.raises(PermissionDeniedError) as raised:
            client(graph, credential).reprocess(IDS[0])
        assert credential.asked == [None, A], "once"
        report = client(graph, credential).reprocess_many(IDS)
    assert (report.counts["forbidden"], report.counts["accepted"]) == (1, 99)
    [outcome] = report.not_accepted
    for said in (str(raised.value), outcome.message or ""):
        assert "Conditional Access" in said
        assert '"acrs"' in said
        assert "EntitlementManagement" not in said, "no permission would help"


def test_a_challenge_of_what_cannot_ask_for_claims_is_forbidden() -> None:
    with ByToken(stepped_up) as graph:
        with pytest.raises(PermissionDeniedError, match="pass an azure-core credential") as raised:
            client(graph, "token-1").reprocess(IDS[0])
        assert "EntitlementManagement" not in str(raised.value)
        with pytest.raises(RunStoppedError) as stopped:
            client(graph, "token-1").reprocess_many(IDS)
        assert "pass an azure-core credential" in str(stopped.value.__cause__)
        report = stopped.value.report
        assert report is not None
        assert report.counts["forbidden"] >= 50
        assert isinstance(report[0].error, PermissionDeniedError)
        assert "pass an azure-core credential" in str(report[0].error)


def test_an_ordinary_403_asks_the_credential_for_nothing() -> None:
    with Foreign(lambda _: error(403, "UnAuthorized")) as graph:
        credential = Credential()
        with pytest.raises(PermissionDeniedError, match=r"EntitlementManagement\.ReadWrite\.All"):
            client(graph, credential).reprocess(IDS[0])
        assert credential.asked == [None]
