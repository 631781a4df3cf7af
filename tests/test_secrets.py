"""A canary in the place of every secret, and everything that a user, a log or another process could see of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.core.credentials import AccessToken

from entra_reprocess import (
    AsyncClient,
    Client,
    NotFoundError,
    Report,
    RunStoppedError,
    cli,
    reprocess,
    reprocess_many,
)
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import Fault, FaultServer, assignment_ids
from .foreign import Answer, Foreign, Request, error

CANARY = "canary-0b1d-secret"
# As long as a real one, since a text may be cut to a length on its way. Any piece of it is a leak.
TOKEN = f"{CANARY}." + random.Random(0).randbytes(750).hex()
PIECE = 16
PIECES = {TOKEN[start : start + PIECE] for start in range(len(TOKEN) - PIECE + 1)}
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
}


def escaped(text: str) -> str:
    """As JSON may write it, too."""
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


def raw(body: str, status: int = 400) -> Answer:
    return Answer(status, body.encode())


def batch(request: Request, part: dict[str, Any]) -> Answer:
    """A batch answer with this for each of its parts; anything else is answered with what the part says."""
    if not request.path.endswith("/$batch"):
        return Answer(part["status"], part["body"])
    parts = [{**part, "id": each["id"]} for each in json.loads(request.body)["requests"]]
    return Answer(200, {"responses": parts})


def page(authorization: str) -> Answer:
    """A list whose objects repeat it, and a batch that has no such thing."""
    return Answer(200, {"value": [{"id": ID, "target": {"displayName": authorization}, authorization: 1}]})


# What a service, or something in its place, can answer to this Authorization.
ECHOES: dict[str, Callable[[Request, str], Answer]] = {
    "an id": lambda _, auth: Answer(400, {}, {"request-id": auth}),
    "an id without the scheme": lambda _, auth: Answer(403, {}, {"request-id": auth.split()[1]}),
    "an id of a success": lambda _, auth: Answer(202, None, {"request-id": auth}),
    "a message": lambda _, auth: error(400, message=f"bad {auth}"),
    "a code": lambda _, auth: error(400, code=auth),
    "an escaped message": lambda _, auth: raw(f'{{"error": {{"code": "x", "message": "{escaped(auth)}"}}}}'),
    "one escaped letter": lambda _, auth: raw(
        f'{{"error": {{"code": "x", "message": "{escaped(auth[7])}{auth[8:]}"}}}}'
    ),
    "inner ids": lambda _, auth: error(400, **{"request-id": auth, "date": auth, "client-request-id": auth}),
    "an escaped inner id": lambda _, auth: raw(f'{{"error": {{"innerError": {{"request-id": "{escaped(auth)}"}}}}}}'),
    "a part of it": lambda _, auth: error(400, message=f"bad header: {auth[:120]}..."),
    "two lines": lambda _, auth: error(400, message=f"{auth[:700]}\n{auth[700:]}"),
    "a coding": lambda _, auth: Answer(400, {}, {"Content-Encoding": auth.split()[1]}),
    "a challenge": lambda _, auth: Answer(401, {}, {"WWW-Authenticate": f'Bearer realm="{auth}"'}),
    "a date": lambda _, auth: Answer(404, {}, {"Date": auth}),
    "a wait": lambda _, auth: Answer(429, {}, {"Retry-After": auth}),
    "a redirect": lambda _, auth: Answer(302, None, {"Location": f"http://127.0.0.1:9/{auth.split()[1]}"}),
    "a type": lambda _, auth: Answer(200, b"<html>", {"Content-Type": f"text/html;{auth}"}),
    "a part's message": lambda request, auth: batch(request, {"status": 400, **vars(error(400, message=auth))}),
    "a part's id": lambda request, auth: batch(
        request, {"status": 404, "headers": {"Request-Id": auth}, "body": error(404, code=auth).body}
    ),
    "a list": lambda _, auth: page(auth),
    "a link": lambda request, auth: Answer(
        200, {"value": [], "@odata.nextLink": f"http://{request.header('host')[0]}/beta/{auth.split()[1]}?{auth[-40:]}"}
    ),
}


def is_shown(text: str) -> bool:
    """Whether a piece of the token stands there."""
    return any(text[start : start + PIECE] in PIECES for start in range(len(text) - PIECE + 1))


def all_that_calls_show(url: str, folder: Path) -> Iterator[str]:
    """Every text that calls with the token give: results, failures, what can be written of them."""
    ids = assignment_ids(40)
    client = Client(TOKEN, base_url=url, max_retries=0, timeout=2)
    yield from (repr(client), str(client), str(vars(client)), repr(client._source), str(vars(client._source)))
    yield str(pickle.dumps(client))
    for call in (
        lambda: client.reprocess(ids[0]),
        lambda: [(each, each.raw) for each in client.assignments()],
        lambda: client.states(ids[:2]),
        lambda: asyncio.run(AsyncClient(TOKEN, base_url=url, max_retries=0).reprocess(ids[0])),
    ):
        try:
            yield repr(call())
        except Exception as failure:
            yield seen_in(failure)
            yield str(pickle.dumps(failure))
    journal = folder / "run.db"
    try:
        report: Report | None = client.reprocess_many(ids, journal=journal)
    except RunStoppedError as failure:
        yield seen_in(failure)
        report = failure.report
    assert report is not None
    report.to_csv(folder / "report.csv")
    yield from (repr(report), repr(list(report)), str(pickle.dumps(report)), (folder / "report.csv").read_text())
    for error_of_one in (outcome.error for outcome in report):
        yield "" if error_of_one is None else f"{error_of_one} {vars(error_of_one)}"
    for file in folder.glob("run.db*"):
        yield file.read_bytes().decode("latin-1")


@pytest.mark.parametrize("kind", FAULTS)
def test_no_call_shows_the_token(
    kind: str, everything_logged: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with FaultServer(default=FAULTS[kind] or Fault()) as server:
        texts = list(all_that_calls_show(server.url, tmp_path))
        # It did travel, and to nowhere else.
        assert any(TOKEN in str(row.headers) for row in server.record().requests)
    assert everything_logged.records
    texts += [f"{vars(record)} {record.getMessage()}" for record in everything_logged.records]
    assert not any(is_shown(text) for text in [*texts, *capfd.readouterr()])


@pytest.mark.parametrize("kind", ECHOES)
def test_an_answer_that_repeats_the_token_shows_it_nowhere(
    kind: str, everything_logged: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def repeat(request: Request) -> Answer:
        (authorization,) = request.header("authorization")
        return ECHOES[kind](request, authorization)

    with Foreign(lambda _: Answer(202), repeat) as server:
        texts = list(all_that_calls_show(server.url, tmp_path))
    assert all(request.header("authorization") == [f"Bearer {TOKEN}"] for request in server.requests)
    assert everything_logged.records
    texts += [f"{vars(record)} {record.getMessage()}" for record in everything_logged.records]
    shown = [text for text in [*texts, *capfd.readouterr()] if is_shown(text)]
    assert not shown, f"{len(shown)} of {len(texts)} texts"


def test_a_token_of_before_is_not_shown_either() -> None:
    first, second = TOKEN, TOKEN[::-1]
    tokens = iter([first, second])

    def repeat(request: Request) -> Answer:
        if request.header("authorization") == [f"Bearer {first}"]:
            return Answer(401)
        return error(400, message=f"The token before was {first}")

    with Foreign(lambda _: Answer(202), repeat) as server:
        failure = failure_of(lambda: Client(lambda: next(tokens), base_url=server.url).reprocess(ID))
    assert "The token before was [token]" in str(failure)
    assert len(server.requests) == 2
    assert not is_shown(seen_in(failure))


def test_a_date_of_any_length_is_cut() -> None:
    answer = Answer(404, {}, {"Date": "D" * 60_000})
    with Foreign(lambda _: answer) as server, pytest.raises(NotFoundError) as caught:
        Client("token", base_url=server.url).reprocess(ID)
    assert caught.value.date is not None
    assert len(caught.value.date) < 300


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
    # Nothing else that was sent comes back either; the token would be blotted out.
    assert not any(text in seen_in(failure).lower() for text in (CANARY, "user-agent", "application/json"))
