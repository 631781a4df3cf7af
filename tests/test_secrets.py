"""A canary in the place of every secret, and everything that a user, a log or another process could see of it."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.core.credentials import AccessToken

from entra_reprocess import AsyncClient, Client, Report, RunStoppedError, cli, reprocess, reprocess_many
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import Fault, FaultServer, assignment_ids
from .foreign import Answer, Foreign, error

CANARY = "canary-0b1d-secret"
PROXY = f"http://user:{CANARY}@127.0.0.1:9"
ID = assignment_ids(1)[0]


def seen_in(failure: BaseException) -> str:
    """Everything that a report of an exception could show, the locals of our frames included."""
    told = traceback.TracebackException.from_exception(failure, capture_locals=True)
    texts = [str(failure), repr(failure), str(vars(failure))]
    pending: list[traceback.TracebackException | None] = [told]
    frames = 0
    while pending:
        each = pending.pop()
        if each is not None:
            # A test or a credential of the user's has frames of its own; what stands in them is not ours.
            ours = [frame for frame in each.stack if "entra_reprocess" in frame.filename]
            frames += len(ours)
            texts += [f"{frame.name} {frame.locals}" for frame in ours] + list(each.format_exception_only())
            pending += [each.__cause__, each.__context__]
    assert frames, "no frame of ours was looked at"
    return "\n".join(texts)


def failure_of(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is, it must not tell
        call()
    return caught.value


class Fixed(NamedTuple):
    """A credential that gives this."""

    given: Any

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        return self.given


CONSTRUCTIONS: dict[str, dict[str, Any]] = {
    "another option": {"credential": CANARY, "batch_size": 21},
    "another option, a proxy": {"credential": "x", "proxy": PROXY, "batch_size": 21},
    "an option of a wrong type": {"credential": CANARY, "proxy": PROXY, "timeout": "soon"},
    "a proxy of a wrong scheme": {"credential": "x", "proxy": f"ftp://user:{CANARY}@127.0.0.1"},
    "a proxy that is no URL": {"credential": "x", "proxy": f"http://user:{CANARY}@[x"},
    "a proxy of a wrong type": {"credential": "x", "proxy": PROXY.encode()},
    "a proxy for plain http": {"credential": "x", "proxy": PROXY, "base_url": "http://127.0.0.1:9"},
    "a token that no header takes": {"credential": f"{CANARY}\r\nX: 1"},
    "a token of a wrong type": {"credential": CANARY.encode()},
    "a base_url with a password": {"credential": "x", "base_url": f"https://user:{CANARY}@127.0.0.1"},
    "a bundle that is not there": {"credential": CANARY, "proxy": PROXY, "ca_bundle": "missing.pem"},
}


@pytest.mark.parametrize("kind", CONSTRUCTIONS)
@pytest.mark.parametrize("make", [Client, AsyncClient, lambda **options: reprocess(ID, **options)])
def test_a_constructor_that_fails_shows_nothing(kind: str, make: Any) -> None:
    assert CANARY not in seen_in(failure_of(lambda: make(**CONSTRUCTIONS[kind])))


def test_the_function_for_many_shows_nothing() -> None:
    assert CANARY not in seen_in(failure_of(lambda: reprocess_many([ID], credential=CANARY, batch_size=21)))
    assert CANARY not in seen_in(failure_of(lambda: reprocess_many(5, credential=CANARY, proxy=PROXY)))  # type: ignore[arg-type]  # that is what fails


def test_a_token_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTRA_REPROCESS_TOKEN", f"{CANARY} with a space")
    for make in (Client, AsyncClient, lambda: reprocess(ID)):
        assert CANARY not in seen_in(failure_of(make))


@pytest.mark.parametrize(
    "given",
    [
        f"{CANARY} with a space",
        CANARY.encode(),
        AccessToken(f"{CANARY}\r\nX: 1", 0),
        AccessToken(CANARY, "soon"),  # type: ignore[arg-type]  # rubbish is the point
        {"token": CANARY},
    ],
)
@pytest.mark.parametrize("as_callable", [False, True])
def test_what_a_credential_gives_is_not_shown(graph: Emulator, given: Any, as_callable: bool) -> None:
    client = Client((lambda: given) if as_callable else Fixed(given), base_url=graph.url)
    assert CANARY not in seen_in(failure_of(lambda: client.reprocess(graph.ids[0])))
    assert CANARY not in seen_in(failure_of(lambda: client.reprocess_many(graph.ids)))

    async def fetch() -> Any:
        return given

    async def main() -> None:
        await AsyncClient(fetch, base_url=graph.url).reprocess(graph.ids[0])

    assert CANARY not in seen_in(failure_of(lambda: asyncio.run(main())))


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.NOTSET), caplog.at_level(1, "entra_reprocess"):
        yield caplog


FAULTS: dict[str, Fault | None] = {
    "nothing": None,
    "refused": Fault(status=401),
    "forbidden": Fault(status=403),
    "throttled": Fault(status=429, headers=(("Retry-After", "0.01"),)),
    "in trouble": Fault(status=503),
    "reset": Fault(cut=0, end="reset"),
    "garbage": Fault(status=200, body="<html>", content_type="text/html"),
    "redirect": Fault(status=307, headers=(("Location", "http://127.0.0.1:9/"),)),
    "the token sent back": Fault(status=400, message="your request was odd", headers=(("X-Echo", CANARY),)),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_no_call_shows_the_token(
    kind: str,
    everything_logged: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    texts = []
    ids = assignment_ids(40)
    with FaultServer(default=FAULTS[kind] or Fault()) as server:
        client = Client(CANARY, base_url=server.url, max_retries=1, timeout=2)
        texts += [repr(client), str(client), str(vars(client)), repr(client._source), str(vars(client._source))]
        for call in (
            lambda: client.reprocess(ids[0]),
            lambda: list(client.assignments()),
            lambda: asyncio.run(AsyncClient(CANARY, base_url=server.url, max_retries=0).reprocess(ids[0])),
        ):
            try:
                texts.append(repr(call()))
            except Exception as failure:
                texts.append(seen_in(failure))
                texts.append(str(pickle.dumps(failure)))
        try:
            report: Report | None = client.reprocess_many(ids)
        except RunStoppedError as failure:
            texts.append(seen_in(failure))
            report = failure.report
        assert report is not None
        report.to_csv(tmp_path / "report.csv")
        texts += [repr(report), repr(list(report)), str(pickle.dumps(report)), (tmp_path / "report.csv").read_text()]
        texts += [str(outcome.error) + str(vars(outcome.error)) for outcome in report if outcome.error is not None]
        # It did travel, and to nowhere else.
        assert any(CANARY in str(row.headers) for row in server.record().requests)
    texts += [str(vars(record)) for record in everything_logged.records]
    assert everything_logged.records
    texts += list(capfd.readouterr())
    assert not any(CANARY in text for text in texts)


def test_no_pickle_holds_a_token() -> None:
    for made in (Client(CANARY), AsyncClient(CANARY)):
        for attempt in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError) as refused:
                attempt(made)
            assert CANARY not in str(refused.value)


def test_no_child_process_is_told(graph: Emulator) -> None:
    client = Client(graph.token, base_url=graph.url)
    client.reprocess(graph.ids[0])
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert graph.token not in told
    assert json.loads(told).keys() >= {"PATH"}
    assert not any(graph.token in value for value in os.environ.values())


def test_the_command_shows_no_token_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENTRA_REPROCESS_TOKEN", CANARY)
    for arguments in (["--help"], ["--version"], ["emulator", "--help"], ["emulator", "--write-quota", "x"], ["x"]):
        with pytest.raises(SystemExit):
            cli.main(arguments)
    assert CANARY not in "".join(capfd.readouterr())


def test_a_crash_of_the_interpreter_shows_no_token() -> None:
    code = f"""
        import sys, threading
        from entra_reprocess import Client
        client = Client({CANARY[:8]!r} + {CANARY[8:]!r}, base_url="http://127.0.0.1:9", max_retries=0)
        def fail():
            client.reprocess("{ID}")
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        client.reprocess("{ID}")
    """
    done = scripts.run(code, dev=True)
    assert "TransportError" in done.stderr
    assert CANARY not in done.stderr + done.stdout


def test_a_message_of_graph_is_the_only_text_of_others_that_is_repeated() -> None:
    def echo(request: Any) -> Answer:
        answer = error(400, message="The request was odd.")
        answer.headers["X-Request-Headers"] = str(request.headers)
        answer.body["error"]["innerError"]["headers"] = str(request.headers)
        return answer

    with Foreign(lambda _: Answer(202), echo) as server:
        failure = failure_of(lambda: Client(CANARY, base_url=server.url).reprocess(ID))
    assert "The request was odd." in str(failure)
    assert CANARY not in seen_in(failure)
