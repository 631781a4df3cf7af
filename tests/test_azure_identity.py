"""azure-identity's own credentials, unpatched, against the emulator's sign-in endpoint over TLS."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.identity
import azure.identity.aio
import jwt
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from entra_reprocess import (
    AsyncClient,
    AuthenticationError,
    Client,
    CredentialError,
    PermissionDeniedError,
    RunStoppedError,
    Status,
)
from entra_reprocess.emulator import EMULATOR_SECRET, Emulator

CANARY = "canary-5b0c2e"


def self_signed() -> tuple[str, bytes]:
    """A certificate as PEM, and the same with its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an application")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.decode(), certificate + private


@pytest.fixture(scope="module")
def certificate() -> tuple[str, bytes]:
    return self_signed()


@pytest.fixture
def tenant(certificate: tuple[str, bytes]) -> Iterator[Callable[..., Emulator]]:
    """Starts a tenant: an emulator with TLS, a certificate registered."""
    running: list[AbstractContextManager[Emulator]] = []

    def start(assignments: int = 100, **settings: Any) -> Emulator:
        emulator = Emulator(assignments, tls=True, client_certificate=certificate[0], **settings)
        running.append(emulator)
        return emulator.start()

    yield start
    for emulator in running:
        emulator.__exit__(None, None, None)


def at(graph: Emulator) -> dict[str, Any]:
    """How a credential finds the tenant."""
    return {"authority": graph.url, "disable_instance_discovery": True, "connection_verify": str(graph.ca_bundle)}


def secret(graph: Emulator, kind: Any = azure.identity, *, given: str = EMULATOR_SECRET) -> Any:
    return kind.ClientSecretCredential(graph.tenant_id, graph.client_id, given, **at(graph))


def by_certificate(graph: Emulator, pem: bytes, kind: Any = azure.identity) -> Any:
    return kind.CertificateCredential(graph.tenant_id, graph.client_id, certificate_data=pem, **at(graph))


def reprocess_all(graph: Emulator, credential: Any, **options: Any) -> dict[Status, int]:
    with credential, Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle, **options) as client:
        assert client.reprocess(graph.ids[0]).ok
        return client.reprocess_many(graph.ids).counts


async def reprocess_all_async(graph: Emulator, credential: Any, **options: Any) -> dict[Status, int]:
    async with (
        credential,
        AsyncClient(credential, base_url=graph.url, ca_bundle=graph.ca_bundle, **options) as client,
    ):
        assert (await client.reprocess(graph.ids[0])).ok
        return (await client.reprocess_many(graph.ids)).counts


def test_a_secret_and_a_certificate(tenant: Callable[..., Emulator], certificate: tuple[str, bytes]) -> None:
    graph = tenant()
    for credential in (secret(graph), by_certificate(graph, certificate[1])):
        assert reprocess_all(graph, credential)["accepted"] == 100
    first, second = graph.sign_ins
    assert (first.by_certificate, second.by_certificate) == (False, True)
    assert first.scope == second.scope == "https://graph.microsoft.com/.default"
    assert json.loads(first.claims or "") == {"access_token": {"xms_cc": {"values": ["CP1"]}}}


def test_their_asynchronous_twins(tenant: Callable[..., Emulator], certificate: tuple[str, bytes]) -> None:
    graph = tenant()

    async def main() -> None:
        for credential in (
            secret(graph, azure.identity.aio),
            by_certificate(graph, certificate[1], azure.identity.aio),
        ):
            assert (await reprocess_all_async(graph, credential))["accepted"] == 100

    asyncio.run(main())
    assert [sign_in.by_certificate for sign_in in graph.sign_ins] == [False, True]
    assert "CP1" in (graph.sign_ins[0].claims or "")


@pytest.mark.parametrize("cloud", ["usgov", "usgov-dod", "china"])
def test_other_clouds_have_other_scopes(tenant: Callable[..., Emulator], cloud: Any) -> None:
    graph = tenant()
    assert reprocess_all(graph, secret(graph), cloud=cloud)["accepted"] == 100
    host = {"usgov": "graph.microsoft.us", "usgov-dod": "dod-graph.microsoft.us"}
    assert graph.sign_ins[0].scope == f"https://{host.get(cloud, 'microsoftgraph.chinacloudapi.cn')}/.default"


def test_who_cannot_sign_in_sends_nothing(tenant: Callable[..., Emulator]) -> None:
    graph = tenant()
    stranger = self_signed()[1]
    elsewhere = azure.identity.ClientSecretCredential(
        "11111111-1111-4111-8111-111111111111", graph.client_id, EMULATOR_SECRET, **at(graph)
    )
    for credential, expected in [
        (secret(graph, given=CANARY), "AADSTS7000215"),
        (by_certificate(graph, stranger), "AADSTS700027"),
        (elsewhere, "double check your tenant"),
    ]:
        client = Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle)
        with pytest.raises(CredentialError) as error:
            client.reprocess(graph.ids[0])
        assert expected in str(error.value.__cause__)
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(graph.ids)
        assert stopped.value.report is not None
        assert stopped.value.report.counts["not_attempted"] == 100
        assert CANARY not in "".join(traceback.format_exception(stopped.value))
    assert isinstance(error.value.__cause__, (ValueError, ClientAuthenticationError))
    assert graph.counters["http_requests"] == 0
    assert graph.counters["sign_ins_refused"] >= 4
    assert graph.sign_ins == []


def assertion(graph: Emulator, pem: bytes, *, thumbprint: str = "x5t#S256", alg: str = "PS256", **claims: Any) -> str:
    """What a client shows instead of a secret; right unless told otherwise."""
    read = x509.load_pem_x509_certificate(pem)
    print_of = read.fingerprint(hashes.SHA256() if thumbprint == "x5t#S256" else hashes.SHA1())
    right = {
        "aud": f"{graph.url}/{graph.tenant_id}/oauth2/v2.0/token",
        "iss": graph.client_id,
        "sub": graph.client_id,
        "exp": time.time() + 600,
        "nbf": time.time(),
    }
    headers = {thumbprint: base64.urlsafe_b64encode(print_of).decode().rstrip("=")}
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return jwt.encode({**right, **claims}, key, alg, headers=headers)


@pytest.mark.parametrize(
    ("wrong", "number"),
    [
        ({}, None),
        ({"alg": "RS256", "thumbprint": "x5t"}, None),
        ({"alg": "PS384"}, 700027),
        ({"thumbprint": "kid"}, 700027),
        ({"aud": "https://login.microsoftonline.com/common/oauth2/v2.0/token"}, 50027),
        ({"iss": "somebody"}, 50027),
        ({"sub": "somebody"}, 50027),
        ({"exp": 1_000_000_000}, 700024),
        ({"nbf": 4_000_000_000}, 700024),
    ],
)
def test_assertions_are_checked(
    tenant: Callable[..., Emulator], certificate: tuple[str, bytes], wrong: dict[str, Any], number: int | None
) -> None:
    graph = tenant()
    form = {
        "grant_type": "client_credentials",
        "client_id": graph.client_id,
        "scope": "https://graph.microsoft.com/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion(graph, certificate[1], **wrong),
    }
    answer = requests.post(
        f"{graph.url}/{graph.tenant_id}/oauth2/v2.0/token", form, verify=str(graph.ca_bundle), timeout=10
    )
    if number is None:
        assert answer.json()["token_type"] == "Bearer"
        claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
        assert claims["appidacr"] == "2"
    else:
        assert answer.status_code == 401
        assert answer.json()["error_codes"] == [number]


def test_tokens_look_like_those_of_graph_and_are_signed(tenant: Callable[..., Emulator]) -> None:
    graph = tenant(roles=["a", "b"])
    token = secret(graph).get_token("https://graph.microsoft.com/.default", enable_cae=True).token
    keys = requests.get(f"{graph.url}/{graph.tenant_id}/discovery/v2.0/keys", verify=str(graph.ca_bundle), timeout=10)
    key = jwt.PyJWK(keys.json()["keys"][0])
    claims = jwt.decode(token, key, ["RS256"], audience="https://graph.microsoft.com")
    assert (claims["tid"], claims["appid"], claims["roles"]) == (graph.tenant_id, graph.client_id, ["a", "b"])
    assert (claims["ver"], claims["idtyp"], claims["appidacr"]) == ("1.0", "app", "1")
    assert claims["exp"] - claims["iat"] == 3599
    assert claims["nbf"] == claims["iat"] <= time.time()
    assert claims["iss"] == f"https://sts.windows.net/{graph.tenant_id}/"
    assert claims["xms_cc"] == ["CP1"]


def test_a_sign_in_host_that_is_not_trusted(tenant: Callable[..., Emulator]) -> None:
    graph = tenant()
    credential = azure.identity.ClientSecretCredential(
        graph.tenant_id,
        graph.client_id,
        EMULATOR_SECRET,
        authority=graph.url,
        disable_instance_discovery=True,
        retry_total=0,
    )
    client = Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle)
    with pytest.raises(RunStoppedError) as stopped:
        client.reprocess_many(graph.ids)
    assert isinstance(stopped.value.__cause__, CredentialError)
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 100
    assert graph.counters["tls_failures"] > 0
    assert graph.counters["http_requests"] == graph.counters["tokens_issued"] == 0


def test_a_challenge_is_answered_by_a_token_with_its_claims(tenant: Callable[..., Emulator]) -> None:
    graph = tenant(1000)
    credential = secret(graph)
    with credential, Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle) as client:
        client.reprocess(graph.ids[0])
        graph.revoke_tokens(challenge=True)
        assert client.reprocess_many(graph.ids).counts["accepted"] == 1000
        assert client.reprocess(graph.ids[0]).ok
        assert graph.counters["tokens_issued"] == 2, "one answer for all that were challenged"
        graph.revoke_tokens(challenge=True)
        assert client.reprocess(graph.ids[0]).ok
        assert client.states(graph.ids[:3])
        assert next(client.assignments()).id in graph.ids
    wanted = json.loads(graph.sign_ins[1].claims or "")["access_token"]
    assert wanted["xms_cc"] == {"values": ["CP1"]}
    assert wanted["nbf"]["essential"] is True
    assert len(graph.sign_ins) == 3


def test_a_challenge_in_the_asynchronous_client(tenant: Callable[..., Emulator]) -> None:
    graph = tenant(1000)

    async def main() -> dict[Status, int]:
        credential = secret(graph, azure.identity.aio)
        async with credential, AsyncClient(credential, base_url=graph.url, ca_bundle=graph.ca_bundle) as client:
            await client.reprocess(graph.ids[0])
            graph.revoke_tokens(challenge=True)
            return (await client.reprocess_many(graph.ids)).counts

    assert asyncio.run(main())["accepted"] == 1000
    assert "nbf" in json.loads(graph.sign_ins[1].claims or "")["access_token"]
    assert len(graph.sign_ins) == 2


def test_revoked_without_a_challenge_says_whose_token_it_was(tenant: Callable[..., Emulator]) -> None:
    graph = tenant()
    credential = secret(graph)
    with credential, Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle) as client:
        client.reprocess(graph.ids[0])
        graph.revoke_tokens()
        with pytest.raises(AuthenticationError) as error:
            client.reprocess(graph.ids[0])
        assert graph.tenant_id in str(error.value)
        assert graph.client_id in str(error.value)
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(graph.ids)
    assert graph.tenant_id in str(stopped.value.__cause__)


def outlives_its_tokens(graph: Emulator, seconds: int, credential: Any) -> None:
    """A run of so many seconds, with tokens that live 5 s."""
    started = time.monotonic()
    with credential, Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle, rate=40) as client:
        report = client.reprocess_many(graph.ids)
    elapsed = time.monotonic() - started
    assert report.counts["accepted"] == len(graph.ids) == len(graph.executions)
    assert elapsed > seconds - 1
    # Whole seconds leave 4 to 5 s of each token, three quarters of which are used.
    assert elapsed / 5 - 1 <= len(graph.sign_ins) <= elapsed / 3 + 2


def test_a_run_outlives_its_tokens(tenant: Callable[..., Emulator]) -> None:
    graph = tenant(600, token_life=5)
    outlives_its_tokens(graph, 15, secret(graph))


def test_a_run_outlives_its_tokens_in_the_asynchronous_client(tenant: Callable[..., Emulator]) -> None:
    graph = tenant(600, token_life=5)

    async def main() -> dict[Status, int]:
        return await reprocess_all_async(graph, secret(graph, azure.identity.aio), rate=40)

    assert asyncio.run(main())["accepted"] == 600
    assert 3 <= len(graph.sign_ins) <= 8, "that credential keeps a token to its end"


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_a_long_run_outlives_its_tokens(
    tenant: Callable[..., Emulator], certificate: tuple[str, bytes], kind: str
) -> None:
    graph = tenant(2400, token_life=5)
    credential = secret(graph) if kind == "secret" else by_certificate(graph, certificate[1])
    outlives_its_tokens(graph, 60, credential)


def test_a_missing_permission_is_a_hint_and_no_error(tenant: Callable[..., Emulator]) -> None:
    graph = tenant(roles=["User.Read.All"])
    assert reprocess_all(graph, secret(graph))["accepted"] == 100
    graph = tenant(roles=["User.Read.All"], forbid=True)
    with Client(secret(graph), base_url=graph.url, ca_bundle=graph.ca_bundle) as client:
        with pytest.raises(
            PermissionDeniedError, match=r"no EntitlementManagement.ReadWrite.All; its permissions: User.Read.All"
        ):
            client.reprocess(graph.ids[0])
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(graph.ids)
    assert "its permissions: User.Read.All" in str(stopped.value.__cause__)
    graph = tenant(forbid=True)
    with Client(secret(graph), base_url=graph.url, ca_bundle=graph.ca_bundle) as client:
        with pytest.raises(PermissionDeniedError, match="with admin consent") as error:
            client.reprocess(graph.ids[0])
        assert "its permissions" not in str(error.value)


def test_neither_secret_nor_token_shows_anywhere(
    tenant: Callable[..., Emulator], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = tenant(client_secret=CANARY, forbid=True)
    credential = secret(graph, given=CANARY)
    token = credential.get_token("https://graph.microsoft.com/.default", enable_cae=True).token
    texts: list[str] = []
    with caplog.at_level(logging.NOTSET):
        client = Client(credential, base_url=graph.url, ca_bundle=graph.ca_bundle)
        texts += [repr(client), str(client.__dict__), repr(client._source), str(client._source.__dict__)]
        for call in (lambda: client.reprocess(graph.ids[0]), lambda: client.reprocess_many(graph.ids)):
            try:
                call()
            except Exception as error:
                summary = traceback.TracebackException.from_exception(error, capture_locals=True)
                texts += [str(frame.locals) for frame in summary.stack[1:]]
                texts += [str(error), repr(error), str(error.__dict__), "".join(traceback.format_exception(error))]
        graph.revoke_tokens()
        with pytest.raises(AuthenticationError) as refused:
            client.reprocess(graph.ids[0])
    texts += [str(refused.value), *caplog.messages, *capfd.readouterr()]
    assert len(texts) > 10
    signature = token.rpartition(".")[2]
    assert not any(CANARY in text or token in text or signature in text for text in texts)
