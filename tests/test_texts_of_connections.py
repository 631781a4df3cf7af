"""What is said of proxies with other ways to sign in, of backslashes in URLs, and of an authority used as a server."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import ssl
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from entra_reprocess import AsyncClient, Client, RunStoppedError, TransportError

from .faults import assignment_ids
from .proxies import Proxy
from .secure import Secure, SelfSigned, trusted

CANARY = "canary4711word"
ID = assignment_ids(1)[0]
FORWARDER = "not supported; a local forwarder such as px or cntlm can do it"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def graph(authority: trustme.CA) -> Iterator[Secure]:
    with Secure(authority.issue_cert("localhost")) as server:
        yield server


def one(client: Client) -> None:
    client.reprocess(ID)


def many(client: Client) -> None:
    client.reprocess_many([ID])


def listed(client: Client) -> None:
    next(iter(client.assignments()))


def on_a_loop(client: Any) -> None:
    async def main() -> None:
        await client.reprocess(ID)

    asyncio.run(main())


WAYS: list[tuple[Any, Callable[[Any], None]]] = [
    (Client, one),
    (Client, many),
    (Client, listed),
    (AsyncClient, on_a_loop),
]


def told_by(make: Any, way: Callable[[Any], None], **options: Any) -> str:
    with pytest.raises((TransportError, RunStoppedError)) as caught:
        way(make("token", max_retries=0, **options))
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown
    return str(caught.value)


def wanting(*offers: str) -> bytes:
    headers = "".join(f"Proxy-Authenticate: {offer}\r\n" for offer in offers)
    return f"HTTP/1.1 407 Proxy Authentication Required\r\n{headers}Content-Length: 0\r\n\r\n".encode()


OFFERS: dict[str, tuple[bytes, str]] = {
    "NTLM": (wanting("NTLM"), "offers NTLM only (407)"),
    "Negotiate": (wanting("Negotiate"), "offers Negotiate only (407)"),
    "both": (wanting("Negotiate", "NTLM"), "offers Negotiate and NTLM only (407)"),
    "in one header": (wanting("negotiate, ntlm"), "offers negotiate and ntlm only (407)"),
    "Kerberos and Digest": (wanting("Kerberos", 'Digest realm="Basic, x", nonce="y"'), "Kerberos and Digest only"),
}


@pytest.mark.parametrize("kind", OFFERS)
@pytest.mark.parametrize("inside", ["", f"DOMAIN%5Cuser:{CANARY}@"])
@pytest.mark.parametrize(("make", "way"), WAYS)
def test_a_proxy_that_offers_no_password(
    kind: str, inside: str, make: Any, way: Any, graph: Secure, authority: trustme.CA, tmp_path: Path
) -> None:
    answer, offers = OFFERS[kind]
    with Proxy(answer=answer) as proxy:
        url = proxy.url.replace("//", f"//{inside}")
        text = told_by(make, way, base_url=graph.url, ca_bundle=trusted(tmp_path, authority), proxy=url)
        with_password = [head for head in proxy.heads if b"authorization:" in head.lower()]
        assert len(with_password) == bool(inside)
    assert offers in text
    assert FORWARDER in text
    assert "proxy=" in text.splitlines()[-1]


@pytest.mark.parametrize(
    "answer", [wanting("Basic"), wanting("NTLM", 'Basic realm="x"'), wanting('NTLM, basic realm="x, y"'), wanting()]
)
def test_a_proxy_that_takes_a_password_or_does_not_say(answer: bytes, graph: Secure, tmp_path: Path) -> None:
    with Proxy(answer=answer) as proxy:
        text = told_by(Client, many, base_url=graph.url, proxy=proxy.url)
    assert "wants a user and a password (407); give them in proxy=" in text
    assert "forwarder" not in text


def test_the_variable_is_named_where_it_gave_the_proxy(graph: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(answer=wanting("NTLM")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        text = told_by(Client, one, base_url=graph.url)
    assert FORWARDER in text
    assert "give it in HTTPS_PROXY" in text


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url",
    [
        f"http://DOMAIN\\user:{CANARY}@proxy.example:8080",
        f"DOMAIN\\user:{CANARY}@proxy.example:8080",
        f"https://DOMAIN\\user:{CANARY}@proxy.example",
        f"http://user:{CANARY}\\x@proxy.example:8080",
    ],
)
def test_a_backslash_is_named(make: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^proxy is not .*a backslash .*write %5C for") as caught:
        make("token", proxy=url)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    for name in ("HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, url)
        with pytest.raises(ValueError, match=rf"^{name} is not .*write %5C for") as caught:
            make("token")
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        monkeypatch.delenv(name)


def test_what_it_says_to_write_is_taken(graph: Secure, authority: trustme.CA, tmp_path: Path) -> None:
    with Proxy(user="DOMAIN\\user", password=CANARY) as proxy:
        url = proxy.url.replace("//", f"//DOMAIN%5Cuser:{CANARY}@")
        client = Client("token", base_url=graph.url, ca_bundle=trusted(tmp_path, authority), proxy=url)
        assert client.reprocess(ID).ok


@pytest.mark.parametrize(("make", "way"), WAYS)
def test_an_authority_that_a_server_uses_as_its_own(make: Any, way: Any, tmp_path: Path) -> None:
    made = SelfSigned(tmp_path, of_authority=True)
    with Secure(made) as server:
        text = told_by(make, way, base_url=server.url, ca_bundle=made.pem)
    assert "is that of an authority (CA:TRUE)" in text
    assert "basicConstraints=critical,CA:FALSE" in text.splitlines()[-1]


@pytest.mark.parametrize("of_authority", [None, False])
def test_one_that_was_reissued_is_trusted(of_authority: bool | None, tmp_path: Path) -> None:
    made = SelfSigned(tmp_path, of_authority=of_authority)
    with Secure(made) as server:
        assert Client("token", base_url=server.url, ca_bundle=made.pem).reprocess(ID).ok


class Made:
    """What the command of the text makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def configure_cert(self, context: ssl.SSLContext, /) -> None:
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command of the text is not there")
def test_the_command_of_the_text_makes_one_that_is_trusted(tmp_path: Path) -> None:
    made = SelfSigned(tmp_path, of_authority=True)
    with Secure(made) as server:
        text = told_by(Client, one, base_url=server.url, ca_bundle=made.pem)
    command = text.split("`")[1].replace("HOST", "localhost")
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    with Secure(Made(tmp_path)) as server:
        assert Client("token", base_url=server.url, ca_bundle=tmp_path / "cert.pem").reprocess(ID).ok
