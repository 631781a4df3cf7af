"""The clients of the module functions: shared as long as everything is the same that a client is made of."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from entra_reprocess import Outcome, ReprocessError, _default, reprocess, reprocess_many
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator

from .faults import assignment_ids
from .held import CANARY
from .proxies import Proxy
from .secure import Secure

ID = assignment_ids(1)[0]
PROXIES = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
CALLS: dict[str, Callable[..., Outcome]] = {
    "reprocess": lambda **options: reprocess(ID, **options),
    "reprocess_many": lambda **options: reprocess_many([ID], **options)[0],
}


@pytest.fixture(autouse=True)
def no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    _default._clients.clear()
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Secure]:
    with Secure(authority.issue_cert("localhost")) as server:
        yield server


def fails(call: Callable[[], Outcome]) -> bool:
    try:
        return not call().ok
    except ReprocessError:
        return True


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("call", CALLS)
def test_another_proxy_is_gone_through(
    call: str, name: str, secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"base_url": secure.url, "credential": "t", "ca_bundle": tmp_path / "ca.pem"}
    with Proxy() as first, Proxy() as second:
        assert CALLS[call](**options).ok
        monkeypatch.setenv(name, first.url)
        assert CALLS[call](**options).ok
        assert (first.tunnels, second.tunnels) == (1, 0)
        monkeypatch.setenv(name, second.url)
        assert CALLS[call](**options).ok
        assert (first.tunnels, second.tunnels) == (1, 1)
        monkeypatch.setenv("NO_PROXY" if name.isupper() else "no_proxy", "localhost")
        assert CALLS[call](**options).ok
        assert (first.tunnels, second.tunnels) == (1, 1)
    assert len(_default._clients) == 4


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("call", CALLS)
def test_other_certificates_are_trusted(
    call: str, variable: str, secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(pem: bytes, name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "0a1b2c3d.0").write_bytes(pem)
        return str(folder / "0a1b2c3d.0" if variable == "SSL_CERT_FILE" else folder)

    options: dict[str, Any] = {"base_url": secure.url, "credential": "t", "max_retries": 0}
    good, bad = named((tmp_path / "ca.pem").read_bytes(), "good"), named(trustme.CA().cert_pem.bytes(), "bad")
    monkeypatch.setenv(variable, bad)
    assert fails(lambda: CALLS[call](**options))
    monkeypatch.setenv(variable, good)
    assert CALLS[call](**options).ok
    monkeypatch.setenv(variable, bad)
    assert fails(lambda: CALLS[call](**options))


@pytest.mark.parametrize("variable", ["ca_bundle", "SSL_CERT_FILE"])
def test_a_file_of_certificates_that_was_replaced_is_read_anew(
    variable: str, secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trusted.pem"
    options: dict[str, Any] = {"base_url": secure.url, "credential": "t", "max_retries": 0}
    if variable == "ca_bundle":
        options["ca_bundle"] = str(path)
    else:
        monkeypatch.setenv(variable, str(path))
    for is_good in (False, True, False):
        new = tmp_path / "new.pem"
        new.write_bytes((tmp_path / "ca.pem").read_bytes() if is_good else trustme.CA().cert_pem.bytes())
        new.replace(path)
        assert fails(lambda: reprocess(ID, **options)) is not is_good


def test_a_name_that_leads_elsewhere_from_another_folder(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pem in (("good", (tmp_path / "ca.pem").read_bytes()), ("bad", trustme.CA().cert_pem.bytes())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.pem").write_bytes(pem)
    options: dict[str, Any] = {"base_url": secure.url, "credential": "t", "max_retries": 0, "ca_bundle": "ca.pem"}
    monkeypatch.chdir(tmp_path / "good")
    assert reprocess(ID, **options).ok
    monkeypatch.chdir(tmp_path / "bad")
    assert fails(lambda: reprocess(ID, **options))


@pytest.mark.parametrize(
    "name", ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT"]
)
def test_another_sign_in_is_another_client(name: str, graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity

    made: list[str | None] = []

    class Default:
        def __init__(self) -> None:
            made.append(os.environ.get(name))

        def get_token(self, *_scopes: str, **_options: object) -> Any:
            return graph.credential.get_token()

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Default)
    monkeypatch.delenv(name, raising=False)
    for value in ("one", "one", "two", "two", "one"):
        monkeypatch.setenv(name, value)
        assert reprocess(graph.ids[0], base_url=graph.url).ok
    assert made == ["one", "two"]
    # Who brings a credential along does not sign in by them.
    _default._clients.clear()
    for value in ("one", "two"):
        monkeypatch.setenv(name, value)
        assert reprocess(graph.ids[0], base_url=graph.url, credential=EMULATOR_TOKEN).ok
    assert len(_default._clients) == 1


def test_what_stays_the_same_shares_one(graph: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    for each in graph.ids[:5]:
        assert reprocess(each, base_url=graph.url, credential=EMULATOR_TOKEN, ca_bundle=str(path)).ok
    assert len(_default._clients) == 1
    assert graph.counters["connections"] == 1


@pytest.mark.parametrize("ca_bundle", ["missing.pem", "", "a\0b", 5, ["x"]], ids=repr)
def test_what_is_no_file_is_named_by_the_client(ca_bundle: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="ca_bundle"):
        reprocess(ID, credential="t", ca_bundle=ca_bundle)


@pytest.mark.parametrize("name", [*PROXIES, "ENTRA_REPROCESS_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_PASSWORD"])
def test_no_secret_of_the_environment_is_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"http://user:{CANARY}@127.0.0.1:9" if name in PROXIES else CANARY)

    class Owner:
        """A default credential that needs no service."""

        def get_token(self, *_scopes: str, **_options: object) -> Any:
            raise ValueError("no")

        def close(self) -> None:
            """Nothing is open."""

    import azure.identity

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Owner)
    with pytest.raises(ReprocessError) as failed:
        reprocess(ID, base_url="https://127.0.0.1:9", max_retries=0)
    shown = traceback.TracebackException.from_exception(failed.value, capture_locals=True)
    assert CANARY not in "".join(shown.format()) + repr(list(_default._clients.items()))
