"""A client in another process: its configuration travels, a secret never does."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, CredentialError, Report
from entra_reprocess.emulator import Emulator

CANARY = "canary-eyJhbGciOi"


class Holder:
    """A credential that holds a secret, and that pickle would take along."""

    def __init__(self) -> None:
        self.secret = CANARY

    def get_token(self, *_scopes: str, **_options: object) -> Any:
        raise AssertionError("it was carried")


def from_a_vault() -> str:
    """A function that can be found by its name in every process."""
    return "emulator-token"


# All that a client takes for the URL of a proxy, with a user in it.
PROXIES = [
    f"http://user:{CANARY}@127.0.0.1:1",
    f"user:{CANARY}@127.0.0.1:1",
    f" http://user:{CANARY}@127.0.0.1:1 ",
    f"http:user:{CANARY}@127.0.0.1:1",
    f"http:///user:{CANARY}@127.0.0.1:1",
    f"ht\ttp://us\ner:{CANARY}@127.0.0.1:1",
    f"{CANARY}@127.0.0.1:1",
    f"socks5h://user:{CANARY}@127.0.0.1:1",
]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("proxy", PROXIES)
def test_no_user_of_a_proxy_is_carried(kind: Any, proxy: str) -> None:
    client = kind("token", proxy=proxy)
    for shown in (repr(client), str(vars(client)), str(client.__reduce__()), str(pickle.dumps(client))):
        assert "canary" not in shown
        assert "user" not in shown
    # It leads to the same place.
    assert pickle.loads(pickle.dumps(client))._native.carried_proxy().strip("/").endswith("://127.0.0.1:1")


def test_what_cannot_be_understood_is_carried_nowhere() -> None:
    with pytest.raises(ValueError, match="proxy is not the URL of a proxy") as caught:
        Client("token", proxy=f"http:\\\\user:{CANARY}@127.0.0.1:1")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("credential", [CANARY, Holder(), lambda: CANARY], ids=["token", "object", "lambda"])
def test_a_pickle_holds_no_secret(kind: Any, credential: Any) -> None:
    client = kind(
        credential, cloud="usgov", api_version="v1.0", batch_size=7, rate=5.0, proxy=f"http://user:{CANARY}@127.0.0.1:1"
    )
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        packed = pickle.dumps(client, protocol)
        assert b"canary" not in packed
        assert b"user" not in packed
        again = pickle.loads(packed)
        assert repr(again) == repr(client)
    if kind is Client:
        with pytest.raises(CredentialError) as caught:
            again.reprocess("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b")
        text = "".join(traceback.format_exception(caught.value))
        assert "carries its configuration and no credential" in text
        assert CANARY not in text


def test_options_come_out_as_they_went_in() -> None:
    client = Client("token", base_url="https://graph.example", concurrency=3, batch_size=5, max_wait=7.5, timeout=9)
    assert repr(pickle.loads(pickle.dumps(client))) == repr(client)
    assert pickle.loads(pickle.dumps(client))._carried[1] == client._carried[1]


def test_a_copy_is_the_client_itself() -> None:
    client = Client("token")
    assert copy.copy(client) is copy.deepcopy([client])[0] is client


def accepted(call: tuple[Client, list[str], str]) -> int:
    client, ids, journal = call
    return client.reprocess_many(ids, journal=journal).counts["accepted"]


def methods() -> list[str]:
    return [each for each in ("fork", "spawn", "forkserver") if each in multiprocessing.get_all_start_methods()]


@pytest.mark.parametrize("method", methods())
def test_a_client_goes_to_worker_processes(method: str, tmp_path: Any, graph: Emulator) -> None:
    client = Client(from_a_vault, base_url=graph.url)
    client.reprocess(graph.ids[-1])
    calls = [(client, graph.ids[n * 100 : n * 100 + 100], str(tmp_path / f"{n}.db")) for n in range(4)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(accepted, calls)) == [100] * 4
    for _, ids, journal in calls:
        assert Report.from_journal(journal).ids == ids


def test_the_default_credential_is_made_anew(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTRA_REPROCESS_TOKEN", from_a_vault())
    packed = pickle.dumps(Client(base_url=graph.url))
    assert from_a_vault().encode() not in packed
    call: Callable[[str], Any] = pickle.loads(packed).reprocess
    assert call(graph.ids[0]).ok
