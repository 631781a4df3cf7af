"""Who is let in: TLS, proxies, redirects, and answers that are too large or broken. Servers and proxies are foreign."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

from entra_reprocess import AsyncClient, Client, ProtocolError, RunStoppedError, TransportError

from . import scripts
from .faults import Fault, FaultServer, Listener, assignment_ids
from .foreign import Answer, Foreign, error
from .proxies import Proxy
from .secure import Secure, certificate, trusted

CANARY = "canary-of-the-transport"
IDS = assignment_ids(3)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    return trusted(tmp_path, authority)


@pytest.fixture
def graph(authority: trustme.CA) -> Iterator[Secure]:
    with Secure(authority.issue_cert("localhost")) as server:
        yield server


@pytest.fixture(autouse=True)
def no_trust_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def refused(call: Callable[[], object]) -> TransportError:
    """The error of a call, and that neither it nor its traceback, with all locals of ours, names the canary."""
    with pytest.raises(TransportError) as caught:
        call()
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [str(frame.locals) for frame in told.stack if "entra_reprocess" in frame.filename]
    assert CANARY not in "".join([str(caught.value), repr(caught.value), *ours])
    return caught.value


# Trust.


BAD = {
    "expired": "has to renew it, unless the clock of this machine is wrong",
    "not yet valid": "check the clock of this machine",
    "of another name": r"only valid for .*graph\.example.*; check base_url",
    "of a stranger": "name its CA with ca_bundle=",
    "self-signed": "name its CA with ca_bundle=",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_certificate_stops_the_run_at_once(
    kind: str, authority: trustme.CA, bundle: Path, tmp_path: Path
) -> None:
    with Secure(certificate(kind, authority, tmp_path)) as server:
        client = Client(CANARY, base_url=server.url, ca_bundle=bundle)
        started = time.monotonic()
        with pytest.raises(RunStoppedError, match="not to be trusted") as stopped:
            client.reprocess_many(assignment_ids(100))
        assert time.monotonic() - started < 5
        assert stopped.value.report is not None
        assert stopped.value.report.counts["not_attempted"] == 100
        # The remedy fits the cause: another authority helps against an unknown one and nothing else.
        assert re.search(BAD[kind], str(stopped.value))
        assert ("ca_bundle=" in str(stopped.value)) == ("ca_bundle=" in BAD[kind])
        alone = Client(CANARY, base_url=server.url, ca_bundle=bundle, max_retries=0)
        assert re.search(BAD[kind], str(refused(lambda: alone.reprocess(IDS[0]))))
    assert server.received == []
    assert server.handshakes == 0 or sys.platform != "linux"


def test_a_good_certificate_is_taken_and_its_connection_kept(graph: Secure, bundle: Path) -> None:
    with Client(CANARY, base_url=graph.url, ca_bundle=bundle) as client:
        for each in IDS:
            assert client.reprocess(each).ok
        assert client.reprocess_many(IDS).counts["accepted"] == 3
    assert graph.connections == 1
    assert all(f"authorization: Bearer {CANARY}".encode() in head for head in graph.received)
    assert all(b"accept-encoding: identity\r\n" in head for head in graph.received)
    assert not any(b"referer" in head.lower() for head in graph.received)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_from_1_2_on(newest: ssl.TLSVersion, authority: trustme.CA, bundle: Path) -> None:
    with Secure(authority.issue_cert("localhost"), newest=newest) as server:
        assert Client(CANARY, base_url=server.url, ca_bundle=bundle).reprocess(IDS[0]).ok


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("newest", ["TLSv1", "TLSv1_1"])
def test_older_tls_is_refused(newest: str, authority: trustme.CA, bundle: Path) -> None:
    version = ssl.TLSVersion[newest]
    with Secure(authority.issue_cert("localhost"), newest=version) as server:
        if not old_tls_works(server, version):
            pytest.skip("the OpenSSL of this machine offers no TLS below 1.2")
        # The server's side of that handshake may be counted a moment later.
        until = time.monotonic() + 5
        while not server.handshakes and time.monotonic() < until:
            time.sleep(0.01)
        client = Client(CANARY, base_url=server.url, ca_bundle=bundle, max_retries=0)
        assert "has TLS 1.1 or older" in str(refused(lambda: client.reprocess(IDS[0])))
        assert server.handshakes == 1


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_host_that_wants_a_client_certificate_stops_the_run_at_once(
    newest: ssl.TLSVersion, authority: trustme.CA, bundle: Path
) -> None:
    with Secure(authority.issue_cert("localhost"), newest=newest, clients=authority) as server:
        client = Client(CANARY, base_url=server.url, ca_bundle=bundle)
        started = time.monotonic()
        with pytest.raises(RunStoppedError, match="wants a client certificate, which is not supported") as stopped:
            client.reprocess_many(assignment_ids(1000))
        assert time.monotonic() - started < 5
        refused(lambda: client.reprocess(IDS[0]))
    assert stopped.value.report is not None
    counts = stopped.value.report.counts
    # Over TLS 1.3 the request leaves before the host says so, and then it is in doubt; the others stay here.
    assert counts["unknown"] + counts["not_attempted"] == 1000
    assert counts["not_attempted"] >= (1000 if newest == ssl.TLSVersion.TLSv1_2 else 800)
    assert server.received == []


def test_a_port_that_speaks_no_tls_stops_the_run_at_once(bundle: Path) -> None:
    with Foreign(lambda _: Answer(202)) as server:
        client = Client(CANARY, base_url=server.url.replace("http://", "https://"), ca_bundle=bundle)
        with pytest.raises(RunStoppedError, match="speak no TLS there; check the scheme and the port") as stopped:
            client.reprocess_many(assignment_ids(100))
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 100


def old_tls_works(server: Secure, version: ssl.TLSVersion) -> bool:
    """Whether a client that would take that version gets it, so that a refusal is ours."""
    import socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_environment_names_whom_to_trust(
    variable: str, graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distrusting = Client(CANARY, base_url=graph.url, max_retries=0)
    assert "not to be trusted" in str(refused(lambda: distrusting.reprocess(IDS[0])))
    monkeypatch.setenv(variable, str(bundle if variable == "SSL_CERT_FILE" else hashed(bundle)))
    assert Client(CANARY, base_url=graph.url).reprocess(IDS[0]).ok


def hashed(bundle: Path) -> Path:
    """A folder as OpenSSL looks into it, where a name is made of a hash."""
    folder = bundle.parent / "certificates"
    folder.mkdir()
    (folder / "0a1b2c3d.0").write_bytes(bundle.read_bytes())
    return folder


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_environment_that_names_nobody_is_refused(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "missing"))
    with pytest.raises(ValueError, match=f"{variable} of the environment leads to no certificate"):
        Client(CANARY)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_is_empty_is_not_set(
    variable: str, graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    # The system's authorities are trusted then, and the one of this test is none of them.
    distrusting = Client(CANARY, base_url=graph.url, max_retries=0)
    assert "not to be trusted" in str(refused(lambda: distrusting.reprocess(IDS[0])))
    other = {"SSL_CERT_FILE": "SSL_CERT_DIR", "SSL_CERT_DIR": "SSL_CERT_FILE"}[variable]
    monkeypatch.setenv(other, str(bundle if other == "SSL_CERT_FILE" else hashed(bundle)))
    assert Client(CANARY, base_url=graph.url).reprocess(IDS[0]).ok


def test_a_folder_among_several_is_enough(graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [str(bundle.parent / "missing"), "", str(hashed(bundle))]
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(folders))
    assert Client(CANARY, base_url=graph.url).reprocess(IDS[0]).ok


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"\xef\xbb\xbf", b""), (b"# an authority\r\n\xff\xfe\n", b""), (b"", b"\n# the end")],
    ids=["a byte order mark", "a comment", "a comment behind"],
)
def test_what_stands_around_a_certificate_does_not_matter(
    before: bytes, after: bytes, graph: Secure, bundle: Path
) -> None:
    bundle.write_bytes(before + bundle.read_bytes().replace(b"\n", b"\r\n") + after)
    assert Client(CANARY, base_url=graph.url, ca_bundle=bundle).reprocess(IDS[0]).ok


BROKEN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_a_broken_certificate_of_a_bundle_is_named_by_its_number(
    graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = bundle.read_bytes()
    bundle.write_bytes(good + BROKEN_CERTIFICATE)
    with pytest.raises(ValueError, match=r"ca_bundle .*ca\.pem holds a broken certificate, number 2"):
        Client(CANARY, base_url=graph.url, ca_bundle=bundle)
    # In what the environment names it is passed over, as OpenSSL does.
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert Client(CANARY, base_url=graph.url).reprocess(IDS[0]).ok
    bundle.write_bytes(good + good[:-30])
    with pytest.raises(ValueError, match=r"ca_bundle .*ca\.pem is no PEM file: .*number 2"):
        Client(CANARY, base_url=graph.url, ca_bundle=bundle)


def test_ca_bundle_comes_before_the_environment(
    graph: Secure, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
    assert Client(CANARY, base_url=graph.url, ca_bundle=bundle).reprocess(IDS[0]).ok


# Proxies.


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("name", ["proxy=", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_is_used(scheme: str, name: str, graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        if name == "proxy=":
            client = Client(CANARY, base_url=graph.url, ca_bundle=bundle, proxy=url)
        else:
            monkeypatch.setenv(name, url)
            client = Client(CANARY, base_url=graph.url, ca_bundle=bundle)
        assert client.reprocess_many(IDS).counts["accepted"] == 3
        assert (proxy.tunnels, graph.connections) == (1, 1)
        # What the proxy reads is where to, and never the token.
        assert not any(CANARY.encode() in head for head in proxy.heads)


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    "value",
    ["localhost", "*", "example.com, localhost", "example.com localhost", "localhost:{port}", ".localhost:{port}"],
)
def test_no_proxy_goes_around_it(
    name: str, value: str, graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv(name, value.replace("{port}", str(graph.port)))
        assert Client(CANARY, base_url=graph.url, ca_bundle=bundle).reprocess(IDS[0]).ok
        assert proxy.connections == 0
        # What does not go through it does not say so either.
        closed = Client(CANARY, base_url="https://localhost:1", max_retries=0)
        told = str(refused(lambda: closed.reprocess(IDS[0])))
        assert "localhost:1" in told
        assert ("through the proxy" in told) == ("{port}" in value)
        before = proxy.connections
        monkeypatch.setenv(name, f"example.com, localhost:{graph.port + 1}")
        assert Client(CANARY, base_url=graph.url, ca_bundle=bundle).reprocess(IDS[0]).ok
        assert proxy.connections == before + 1


def test_the_password_of_a_proxy_is_sent_to_it_and_shown_nowhere(graph: Secure, bundle: Path) -> None:
    with Proxy(password=CANARY) as proxy:
        inside = proxy.url.replace("//", f"//user:{CANARY}@")
        client = Client("token", base_url=graph.url, ca_bundle=bundle, proxy=inside)
        assert client.reprocess(IDS[0]).ok
        assert proxy.tunnels == 1
        assert CANARY not in repr(client) + str(client.__dict__)
        wrong = proxy.url.replace("//", f"//user:{CANARY}x@")
        client = Client("token", base_url=graph.url, ca_bundle=bundle, proxy=wrong, max_retries=0)
        told = str(refused(lambda: client.reprocess(IDS[0])))
        assert "through the proxy 127.0.0.1" in told
        assert "does not take the user and the password of proxy= (407)" in told
    assert len(graph.received) == 1


@pytest.mark.parametrize("name", ["proxy=", "HTTPS_PROXY"])
@pytest.mark.parametrize("inside", [f"user:{CANARY}x@", ""])
def test_a_password_that_a_proxy_refuses_is_tried_once(
    name: str, inside: str, graph: Secure, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try counts towards the lock-out of an account."""
    with Proxy(password=CANARY) as proxy:
        url = proxy.url.replace("//", f"//{inside}")
        if name == "HTTPS_PROXY":
            monkeypatch.setenv(name, url)
        client = Client("token", base_url=graph.url, ca_bundle=bundle, proxy=url if name == "proxy=" else None)
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(assignment_ids(1000))
        refused(lambda: client.reprocess(IDS[0]))
        # It is asked once more, without the password, which ways to sign in it offers.
        assert sum(b"authorization:" in head.lower() for head in proxy.heads) == bool(inside)
        assert len(proxy.heads) == 2
    told = str(stopped.value)
    wanted = (
        "not take the user and the password of {}" if inside else "wants a user and a password (407); give them in {}"
    )
    assert wanted.format(name) in told
    assert CANARY not in told
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 1000
    assert graph.connections == 0


@pytest.mark.parametrize("status", ["403 Forbidden", "502 Bad Gateway", "301 Moved Permanently"])
def test_the_status_of_a_proxy_that_opens_no_tunnel_is_told(status: str, graph: Secure, bundle: Path) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with Proxy(answer=answer) as proxy:
        url = proxy.url.replace("//", f"//user:{CANARY}@")
        client = Client("token", base_url=graph.url, ca_bundle=bundle, proxy=url, max_retries=0)
        told = str(refused(lambda: client.reprocess(IDS[0])))
        assert f"through the proxy 127.0.0.1:{proxy.port}" in told
        assert f"the proxy answers {status}" in told
        # It is asked once more for that, in the same words.
        first, second = (set(head.split(b"\r\n")) for head in proxy.heads)
        assert second <= first
        assert {line.partition(b":")[0].lower() for line in first - second} <= {b"user-agent"}


HOSTILE = {
    "asks for a password": b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
    "is out of order": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "redirects": b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
    "shows a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Please sign in</html>",
    "shows a page before": b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>No</html>",
    "speaks nonsense": b"\x00\x01\x02 nonsense\r\n\r\n",
    "answers for ever": b"HTTP/1.1 200 " + b"x" * (1 << 20),
    "hangs up": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_proxy_learns_nothing(kind: str, graph: Secure, bundle: Path) -> None:
    with Listener() as elsewhere:
        answer = HOSTILE[kind].replace(b"%s", elsewhere.url.encode())
        with Proxy(answer=answer) as proxy:
            inside = proxy.url.replace("//", f"//user:{CANARY}@")
            client = Client(CANARY, base_url=graph.url, ca_bundle=bundle, proxy=inside, max_retries=0, timeout=5)
            told = refused(lambda: client.reprocess(IDS[0]))
            assert "the proxy 127.0.0.1" in str(told)
            # Nothing has left, so nothing is in doubt.
            with pytest.raises(RunStoppedError) as stopped:
                client.reprocess_many(IDS)
        assert stopped.value.report is not None
        assert set(stopped.value.report.counts.items()) >= {("unknown", 0), ("accepted", 0)}
    assert graph.connections == 0
    assert elsewhere.connections == 0
    assert all(head.startswith(b"CONNECT localhost:") for head in proxy.heads)
    assert not any(f"Bearer {CANARY}".encode() in head for head in proxy.heads)


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(
    "value",
    [f"ftp://user:{CANARY}@127.0.0.1", f"http://user:{CANARY}@[bad", f"http://user:{CANARY}/x@127.0.0.1", "://"],
)
def test_a_proxy_that_cannot_be_understood_is_refused(make: Any, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="proxy is not the URL of a proxy") as caught:
        make("token", proxy=value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ValueError, match="HTTPS_PROXY is not the URL of a proxy") as caught:
        make("token")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_plain_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Foreign(lambda _: Answer(202)) as server, Proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        assert Client(CANARY, base_url=server.url).reprocess(IDS[0]).ok
        assert proxy.connections == 0
        with pytest.raises(ValueError, match="plain http"):
            Client(CANARY, base_url=server.url, proxy=proxy.url)


# Redirects and links.


@pytest.mark.parametrize("status", range(301, 309))
def test_a_redirect_reaches_nobody(status: int, authority: trustme.CA, bundle: Path) -> None:
    with Listener() as elsewhere:
        answer = b"HTTP/1.1 %d Moved\r\nLocation: %s/x\r\nContent-Length: 0\r\n\r\n" % (status, elsewhere.url.encode())
        with Secure(authority.issue_cert("localhost"), answer=lambda _head, _body: answer) as server:
            client = Client(CANARY, base_url=server.url, ca_bundle=bundle, max_retries=0)
            assert isinstance(refused(lambda: client.reprocess(IDS[0])), ProtocolError)
            # It may have been executed before it was redirected.
            assert client.reprocess_many(IDS).counts["unknown"] == 3
            with pytest.raises(ProtocolError):
                list(client.assignments())
    assert elsewhere.connections == 0


EVIL = [
    "{other}/beta/identityGovernance/entitlementManagement/accessPackageAssignments?$skiptoken=1",
    "//{host}/beta/identityGovernance",
    "{graph}@{host}/beta/identityGovernance",
    "{graph}.{host}/beta/identityGovernance",
    "{other}\\@{graph}/beta",
    " {other}/beta",
    "{other}/beta\r\nHost: 127.0.0.1",
]


@pytest.mark.parametrize("link", EVIL)
def test_an_evil_link_reaches_nobody(link: str) -> None:
    with Listener() as elsewhere:
        host = elsewhere.url.removeprefix("http://")

        def outer(_: object) -> Answer:
            where = link.format(other=elsewhere.url, host=host, graph=server.url)
            return Answer(200, {"value": [], "@odata.nextLink": where})

        with Foreign(lambda _: Answer(202), outer) as server, pytest.raises(ProtocolError):
            list(Client(CANARY, base_url=server.url, max_retries=0).assignments())
    assert elsewhere.connections == 0


# Answers that are too large or broken.


def unfit(head: bytes, body: bytes = b"") -> Callable[[bytes, bytes], bytes]:
    return lambda _head, _body: head + b"\r\n\r\n" + body


BROKEN = {
    "NUL in a header": (b"HTTP/1.1 202 Accepted\r\nX: a\x00b\r\nContent-Length: 0", b""),
    "a header folded by CR": (b"HTTP/1.1 202 Accepted\r\nX: a\rb: c\r\nContent-Length: 0", b""),
    "no status": (b"HTTP/1.1 OK\r\nContent-Length: 0", b""),
    "two lengths": (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nContent-Length: 5", b""),
    "a length that is none": (b"HTTP/1.1 202 Accepted\r\nContent-Length: -1", b""),
    "a huge length": (b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999999", b""),
    "ESC in a header": (b"HTTP/1.1 202 Accepted\r\nrequest-id: \x1b[31m\r\nContent-Length: 0", b""),
    "another protocol from the start": (b"SSH-2.0-OpenSSH_9", b""),
    "a thousand headers": (b"HTTP/1.1 202 Accepted" + b"\r\nX: a" * 1000 + b"\r\nContent-Length: 0", b""),
    "a huge header": (b"HTTP/1.1 202 Accepted\r\nX: " + b"a" * (1 << 20) + b"\r\nContent-Length: 0", b""),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x", b""),
    "an unknown status": (b"HTTP/1.1 799 Odd\r\nContent-Length: 0", b""),
    "a coding": (b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 3", b"abc"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_settles_nothing(kind: str, authority: trustme.CA, bundle: Path) -> None:
    with Secure(authority.issue_cert("localhost"), answer=unfit(*BROKEN[kind])) as server:
        client = Client(CANARY, base_url=server.url, ca_bundle=bundle, max_retries=1, timeout=5)
        told = refused(lambda: client.reprocess(IDS[0]))
        assert isinstance(told, ProtocolError)
        assert "was cut" not in str(told)
        report = client.reprocess_many(IDS)
        assert report.counts["unknown"] == 3
    assert f"localhost:{server.port}" in str(told)
    assert not any("\r" in (outcome.message or "") or "\n" in (outcome.message or "") for outcome in report)


HUGE = {
    "a bomb": Fault(gzip=True, pad_mib=512),
    "512 MiB by length": Fault(pad_mib=512),
    "512 MiB in chunks": Fault(pad_mib=512, framing="chunked"),
    "512 MiB to the end": Fault(pad_mib=512, framing="eof"),
    "a header of 64 MiB": Fault(huge_header=64 << 20),
}

_MEASURE = """
import re, sys
from pathlib import Path
from entra_reprocess import Client

def peak():
    # Not ru_maxrss, which a new process takes over from the one that started it.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

client = Client("token", base_url=sys.argv[1], max_retries=0, batch_size=int(sys.argv[2]))
client.reprocess(sys.argv[3])
before = peak()
report = client.reprocess_many([sys.argv[4]])
print(report[0].status, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is on Linux alone")
@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_answer_takes_little_memory(kind: str) -> None:
    with FaultServer() as server:
        # The healthy call before it has everything loaded that one needs.
        server.script(requests=[None, HUGE[kind]])
        done = scripts.run(_MEASURE, server.url, "1", *IDS[:2])
    assert done.returncode == 0, done.stderr
    status, mib = done.stdout.split()
    assert status == "unknown"
    assert float(mib) < 32


# Connections.


class Silent:
    """A port of loopback that takes connections and says nothing, or that does not even take them."""

    def __init__(self, *, takes: bool) -> None:
        # Backlog 0 holds one connection on Linux; a SYN after that stays unanswered.
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=128 if takes else 0)]
        self.port: int = self._sockets[0].getsockname()[1]
        for _ in range(0 if takes else 4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._sockets.append(filler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()


@pytest.mark.parametrize("kind", ["a SYN", "the handshake", "CONNECT"])
@pytest.mark.parametrize("timeout", [0.5, 1])
def test_where_nothing_was_ever_connected_nothing_was_sent(kind: str, timeout: float) -> None:
    """Whichever of the two clocks might run out first, that of connecting or that of the whole exchange."""
    if kind == "a SYN" and sys.platform != "linux":
        pytest.skip("a full backlog is refused on other systems")
    with Silent(takes=kind != "a SYN") as silent:
        url = f"https://127.0.0.1:{silent.port}"
        proxy = f"http://127.0.0.1:{silent.port}" if kind == "CONNECT" else None
        client = Client(CANARY, base_url=url, proxy=proxy, timeout=timeout, max_retries=0)
        started = time.monotonic()
        with pytest.raises(RunStoppedError, match="cannot connect") as stopped:
            client.reprocess_many(assignment_ids(40))
        assert time.monotonic() - started < timeout + 5
        assert "cannot connect" in str(refused(lambda: client.reprocess(IDS[0])))
    assert stopped.value.report is not None
    assert stopped.value.report.counts["not_attempted"] == 40


def test_after_a_503_a_retry_opens_a_new_connection() -> None:
    with FaultServer() as server:
        server.script(requests=[None, Fault(status=503, headers=(("Retry-After", "0"),)), None, None, None])
        client = Client("token", base_url=server.url)
        for each in assignment_ids(4):
            assert client.reprocess(each).ok
        record = server.record()
    assert [row.status for row in record.requests] == [202, 503, 202, 202, 202]
    first, refused_on, again, *later = [row.connection for row in record.requests]
    assert first == refused_on
    assert again != first
    # Once all is well, connections are kept again.
    assert later[0] == later[1]


@pytest.mark.parametrize("keep_alive", ["off", "silent", "stale"])
def test_connections_that_went_stale_cost_nothing(keep_alive: Any) -> None:
    ids = assignment_ids(60)
    with FaultServer(keep_alive=keep_alive) as server:
        client = Client("token", base_url=server.url)
        report = client.reprocess_many(ids)
        for each in ids[:3]:
            assert client.reprocess(each).ok
        record = server.record()
    assert report.counts["accepted"] == 60
    assert all(record.executed(each) for each in ids)


def test_an_error_answer_names_no_backend(authority: trustme.CA) -> None:
    answer = error(400)
    answer.headers["Location"] = "http://127.0.0.1:9/backend"
    with Foreign(lambda _: answer) as server, pytest.raises(Exception, match="SomeCode") as caught:
        Client("token", base_url=server.url).reprocess(IDS[0])
    assert "backend" not in str(caught.value)
