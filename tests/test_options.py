"""Options are checked by the constructor, before any I/O, and some come from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from entra_reprocess import AsyncClient, Client, TransportError, reprocess, reprocess_many
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator

BAD: list[tuple[dict[str, Any], type[Exception] | tuple[type[Exception], ...], str]] = [
    ({"cloud": "gcc"}, ValueError, '"usgov-dod"'),
    ({"cloud": 5}, TypeError, "cloud is of type int"),
    ({"api_version": "v2"}, ValueError, '"v1.0"'),
    ({"base_url": "http://graph.microsoft.com"}, ValueError, "unencrypted"),
    ({"base_url": "https://user:canary@graph.example"}, ValueError, "user name"),
    ({"base_url": "graph.microsoft.com"}, ValueError, "not a URL"),
    ({"base_url": "https://graph.microsoft.com/v1.0"}, ValueError, "origin"),
    ({"base_url": "ftp://127.0.0.1"}, ValueError, "https"),
    ({"batch_size": 0}, ValueError, "from 1 to 20"),
    ({"batch_size": 21}, ValueError, "from 1 to 20"),
    ({"batch_size": 2.5}, TypeError, "batch_size"),
    ({"batch_size": True}, TypeError, "bool"),
    ({"concurrency": 0}, ValueError, "concurrency"),
    ({"concurrency": "8"}, TypeError, "concurrency"),
    ({"concurrency": -1}, ValueError, "concurrency is -1; give a whole number, from 1 to 1000"),
    ({"concurrency": 1001}, ValueError, "from 1 to 1000"),
    ({"concurrency": 10**6}, ValueError, "from 1 to 1000"),
    ({"concurrency": 10**30}, ValueError, "concurrency is far out of range; give a whole number, from 1 to 1000"),
    ({"concurrency": 1 << 100_000}, ValueError, "from 1 to 1000"),
    ({"concurrency": float("nan")}, TypeError, "concurrency"),
    ({"batch_size": -(10**30)}, ValueError, "from 1 to 20"),
    ({"rate": 0}, ValueError, "items a second, from 0.00001 to 1000000"),
    ({"rate": -1}, ValueError, "items a second"),
    ({"rate": 1e-300}, ValueError, "items a second"),
    ({"rate": 1e7}, ValueError, "items a second"),
    ({"rate": 10**400}, ValueError, "rate is far out of range; give items a second"),
    ({"rate": True}, TypeError, "rate is of type bool"),
    ({"rate": float("nan")}, ValueError, "items a second"),
    ({"rate": float("inf")}, ValueError, "items a second"),
    ({"rate": "5"}, TypeError, "items a second"),
    ({"max_retries": -1}, ValueError, "0 or more and at most 1000"),
    ({"max_retries": 10**9}, ValueError, "at most 1000"),
    ({"max_retries": 10**30}, ValueError, "at most 1000"),
    ({"max_wait": -1}, ValueError, "max_wait"),
    ({"max_wait": float("nan")}, ValueError, "max_wait"),
    ({"max_wait": float("inf")}, ValueError, "max_wait is inf; give seconds, 0 and at most a year"),
    ({"max_wait": 1e18}, ValueError, "at most a year"),
    ({"max_wait": 10**400}, ValueError, "max_wait is far out of range; give seconds, 0 and at most a year"),
    ({"max_wait": False}, TypeError, "max_wait is of type bool"),
    ({"timeout": 0}, ValueError, "more than 0"),
    ({"timeout": -0.5}, ValueError, "more than 0"),
    ({"timeout": 1e-300}, ValueError, "more than 0"),
    ({"timeout": 1e18}, ValueError, "at most a year"),
    ({"timeout": 10**400}, ValueError, "at most a year"),
    ({"timeout": float("nan")}, ValueError, "timeout"),
    ({"timeout": float("inf")}, ValueError, "timeout"),
    ({"timeout": None}, TypeError, "timeout"),
    ({"proxy": "http://user:canary@[bad"}, ValueError, "proxy"),
    ({"proxy": 5}, TypeError, "proxy"),
    ({"ca_bundle": "missing.pem"}, ValueError, "missing.pem"),
    ({"ca_bundle": 5}, TypeError, "ca_bundle"),
    ({"colour": "red"}, TypeError, "colour"),
]


@pytest.mark.parametrize(
    ("options", "kind", "text"), BAD, ids=[f"{next(iter(row[0]))}-{place}" for place, row in enumerate(BAD)]
)
@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_bad_options_are_refused(make: Any, options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as error:
        make("token", **options)
    assert "canary" not in str(error.value)


def test_the_limits_themselves_are_good() -> None:
    limits: dict[str, tuple[float, ...]] = {
        "batch_size": (1, 20),
        "concurrency": (1, 1000),
        "max_retries": (0, 1000),
        "max_wait": (0, 366 * 24 * 3600),
        "timeout": (1e-9, 366 * 24 * 3600),
        "rate": (1e-5, 1e6),
    }
    for name, values in limits.items():
        for value in values:
            options: dict[str, Any] = {name: value}
            Client("token", **options).close()


OWN = {"progres": "progress", "on_outcom": "on_outcome", "dead_line": "deadline", "jurnal": "journal"}
SHARED = {"concurency": "concurrency", "batchsize": "batch_size", "time_out": "timeout", "credentials": "credential"}


@pytest.mark.parametrize("name", [*SHARED, *OWN, "zzz"])
def test_a_misspelt_keyword_names_the_function_that_was_called(name: str) -> None:
    given: dict[str, Any] = {name: 4, "credential": "token"}
    with pytest.raises(TypeError) as many:
        reprocess_many([], **given)
    meant = (SHARED | OWN).get(name)
    text = f"reprocess_many() got an unexpected keyword argument {name!r}"
    assert str(many.value) == (f"{text}; did you mean {meant!r}?" if meant else text)
    with pytest.raises(TypeError) as one:
        reprocess("x", **given)
    assert str(one.value).startswith(f"reprocess() got an unexpected keyword argument {name!r}")
    assert ("did you mean" in str(one.value)) == (name in SHARED)
    for make in (Client, AsyncClient):
        with pytest.raises(TypeError, match=rf"{make.__name__}.*unexpected keyword argument '{name}'"):
            make(**given)


def test_a_keyword_of_the_other_function_is_none_of_this_one() -> None:
    given: dict[str, Any] = {"progress": False}
    with pytest.raises(TypeError, match=r"^reprocess\(\) got an unexpected keyword argument 'progress'"):
        reprocess("x", **given)


def test_no_certificate_in_the_bundle(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ValueError, match="empty\\.pem"):
        Client("token", ca_bundle=empty)
    good = tmp_path / "good.pem"
    trustme.CA().cert_pem.write_to_path(str(good))
    Client("token", ca_bundle=good).close()
    Client("token", ca_bundle=str(good)).close()


def test_the_repr_tells_clients_apart() -> None:
    assert repr(Client("token", cloud="china", api_version="v1.0", batch_size=5)) == (
        "<Client https://microsoftgraph.chinacloudapi.cn/v1.0 concurrency=8 batch_size=5>"
    )
    assert repr(AsyncClient("token")) == "<AsyncClient https://graph.microsoft.com/beta concurrency=8 batch_size=20>"


def test_the_environment_fills_in_what_is_not_given(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTRA_REPROCESS_BASE_URL", graph.url)
    monkeypatch.setenv("ENTRA_REPROCESS_TOKEN", EMULATOR_TOKEN)
    monkeypatch.setenv("ENTRA_REPROCESS_API_VERSION", "v1.0")
    assert "/v1.0 " in repr(Client())
    assert "/beta " in repr(Client(api_version="beta"))
    assert reprocess(graph.ids[0]).ok
    monkeypatch.delenv("ENTRA_REPROCESS_BASE_URL")
    monkeypatch.setenv("ENTRA_REPROCESS_CLOUD", "usgov")
    assert "graph.microsoft.us/" in repr(Client())
    assert "chinacloudapi" in repr(Client(cloud="china"))
    monkeypatch.setenv("ENTRA_REPROCESS_CLOUD", "moon")
    with pytest.raises(ValueError, match="moon"):
        Client()


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example",
        "http://127.0.0.1.evil.example",
        "https://127.evil.example",
        # Python's urlsplit reads the host of these as this machine, a browser and the client do not.
        r"https://evil.example\@127.0.0.1/..",
        r"https://evil.example\@localhost/.",
        r"https://evil.example:8443\@[::1]/%2e%2e",
    ],
)
def test_the_environment_cannot_send_a_token_elsewhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTRA_REPROCESS_BASE_URL", url)
    with pytest.raises(ValueError, match=r"this machine|backslash|unencrypted"):
        Client("token")


def test_calls_with_the_same_options_share_a_client(graph: Emulator) -> None:
    from entra_reprocess import _default

    _default._clients.clear()
    for item in graph.ids[:5]:
        reprocess(item, base_url=graph.url, credential=EMULATOR_TOKEN)
    assert len(_default._clients) == 1
    for number in range(1, 41):
        reprocess(graph.ids[0], base_url=graph.url, credential=EMULATOR_TOKEN, concurrency=number)
    assert len(_default._clients) == _default._MOST_CLIENTS


def test_nobody_listens(free_port: int) -> None:
    client = Client("token", base_url=f"http://127.0.0.1:{free_port}", max_retries=1)
    with pytest.raises(TransportError, match=r"cannot connect to 127\.0\.0\.1.*2 attempts"):
        client.reprocess("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b")
