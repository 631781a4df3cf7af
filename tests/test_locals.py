"""Tracebacks with locals, as tools make them: a secret that was given shows in none, and no slice of it."""

from __future__ import annotations

import asyncio
import copy
import functools
import io
import json
import os
import pickle
import pprint
import re
import reprlib
import string
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import rich.traceback
import structlog.tracebacks
from azure.core.credentials import AccessToken

from entra_reprocess import AsyncClient, Client, reprocess, reprocess_many
from entra_reprocess._secret import hide
from entra_reprocess.emulator import Emulator

# No word, and no piece of it is one.
CANARY = "QzXvJk7WpYgHn3TbRxKqZw5V" * 40
PIECES = {CANARY[start : start + 4] for start in range(len(CANARY) - 3)}
PROXY = f"http://user:{CANARY}@127.0.0.1:9"
ID = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"


def is_shown(text: str) -> bool:
    return any(text[start : start + 4] in PIECES for start in range(len(text) - 3))


def is_ours(filename: str) -> bool:
    return f"{os.sep}entra_reprocess{os.sep}" in filename


def locals_of(error: BaseException) -> Iterator[Any]:
    """Each local of each frame of ours, of the error and of what caused it."""
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None:
            pending += [each.__cause__, each.__context__]
            for frame, _ in traceback.walk_tb(each.__traceback__):
                if is_ours(frame.f_code.co_filename):
                    yield from frame.f_locals.items()


def parts_of(value: Any, seen: set[int], depth: int = 4) -> Iterator[Any]:
    """What a tool finds that takes objects apart."""
    # A number says nothing, and some operations make gigabytes of one; a module is none of ours.
    if id(value) in seen or depth == 0 or isinstance(value, int | float | ModuleType) or callable(value):
        return
    seen.add(id(value))
    yield value
    inner: list[Any] = []
    if isinstance(value, dict):
        inner += [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner += value
    inner += getattr(value, "__dict__", {}).values() if not isinstance(value, type) else []
    inner += [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
    for each in inner:
        yield from parts_of(each, seen, depth - 1)


OPERATIONS: list[Callable[[Any], object]] = [
    repr,
    str,
    ascii,
    "{}".format,
    "{:.50}".format,
    "{!r:>90}".format,
    lambda value: f"{value}",
    lambda value: "%s" % (value,),  # noqa: UP031 - as loggers do it
    lambda value: "%.20s" % (value,),  # noqa: UP031 - likewise
    lambda value: value[:50],
    lambda value: value[3:40:2],
    lambda value: value + "",
    lambda value: "" + value,
    lambda value: value * 2,
    lambda value: value % (),
    lambda value: list(value),
    lambda value: "".join([value]),
    lambda value: value.upper().swapcase(),
    lambda value: value.encode(),
    lambda value: value.strip().split(),
    lambda value: value.replace("~", ""),
    lambda value: value.partition("@"),
    lambda value: value.casefold(),
    lambda value: value._value,
    lambda value: re.sub("~", "", value),
    lambda value: textwrap.shorten(value, 80),
    lambda value: string.Template("$x").substitute(x=value),
    lambda value: io.StringIO().write(value),
    lambda value: bytes(value),
    lambda value: memoryview(value).tobytes(),
    lambda value: json.dumps(value),
    lambda value: json.dumps(value, default=repr),
    lambda value: str.__str__(value),
    lambda value: str.__getitem__(value, slice(0, 30)),
    lambda value: pickle.dumps(value),
    lambda value: value.__reduce_ex__(2),
    lambda value: value.__getstate__(),
    lambda value: vars(value),
    copy.copy,
    copy.deepcopy,
    pprint.pformat,
    reprlib.repr,
    lambda value: structlog.tracebacks.to_repr(value, max_length=10, max_string=30),
    lambda value: [getattr(value, name) for name in dir(value) if not name.startswith("__")],
]


def texts_of(value: Any) -> Iterator[str]:
    """Every text that an operation gives, or fails with."""
    for operation in OPERATIONS:
        try:
            given = operation(value)
        except Exception as error:
            given = error.args
        yield given.decode("latin-1") if isinstance(given, bytes) else repr(given)


def texts_of_tools(error: BaseException) -> Iterator[str]:
    """What tools write of our frames."""
    for stack in rich.traceback.Traceback.extract(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=80
    ).stacks:
        for frame in stack.frames:
            if is_ours(frame.filename):
                yield repr(frame.locals)
    for style in (True, False):
        transform = structlog.tracebacks.ExceptionDictTransformer(
            show_locals=True, locals_max_string=80, use_rich=style, max_frames=100
        )
        for told in transform((type(error), error, error.__traceback__)):
            yield from (json.dumps(frame) for frame in told["frames"] if is_ours(frame["filename"]))
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    yield from (repr(frame.locals) for frame in summary.stack if is_ours(frame.filename))


def shows_nothing(call: Callable[[], object]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is, it must not tell
        call()
    error = caught.value
    found = list(locals_of(error))
    seen: set[int] = set()
    parts = [part for _, value in found for part in parts_of(value, seen)]
    texts = [*texts_of_tools(error), str(error), repr(error), repr(vars(error))]
    texts += [text for part in parts for text in texts_of(part)]
    shown = [text for text in texts if is_shown(text)]
    assert not shown, shown[0][:300]


@dataclass
class Record:
    token: str


class Named(NamedTuple):
    """A credential whose repr shows all that it has."""

    secret: str
    given: Any = None

    def get_token(self, *scopes: str, **options: Any) -> Any:
        return self.given


class Odd:
    """Something that raises where it is looked at."""

    def __init__(self) -> None:
        self.secret = CANARY

    def __repr__(self) -> str:
        return f"Odd({self.secret!r})"

    @property
    def get_token_info(self) -> object:
        raise RuntimeError("not now")

    @property
    def token(self) -> str:
        raise RuntimeError("not now")


CREDENTIALS: dict[str, object] = {
    "an AccessToken": AccessToken(CANARY, 0),
    "a dict": {"access_token": CANARY},
    "a list": [CANARY],
    "a tuple": ("Bearer", CANARY),
    "bytes": CANARY.encode(),
    "a record": Record(CANARY),
    "an odd one": Odd(),
    "a text that no header takes": f"{CANARY}\n",
    "a text without UTF-8": f"{CANARY}\udc80",
    "a generator": (each for each in [CANARY]),
}


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize(
    "make",
    [
        Client,
        AsyncClient,
        lambda given: reprocess(ID, credential=given),
        lambda given: reprocess_many([ID], credential=given),
    ],
)
def test_what_is_no_credential_shows_in_no_traceback(make: Any, kind: str) -> None:
    shows_nothing(lambda: make(CREDENTIALS[kind]))


OPTIONS: dict[str, dict[str, Any]] = {
    "a proxy, another option": {"proxy": PROXY, "batch_size": 21},
    "a proxy of a wrong scheme": {"proxy": f"ftp://user:{CANARY}@127.0.0.1"},
    "a proxy with a backslash": {"proxy": f"http://DOMAIN\\user:{CANARY}@127.0.0.1:9"},
    "a proxy that is no text": {"proxy": [PROXY]},
    "a proxy in bytes": {"proxy": PROXY.encode()},
    "a proxy without UTF-8": {"proxy": f"{PROXY}\udc80"},
    "a base_url": {"base_url": f"https://user:{CANARY}@127.0.0.1"},
    "a base_url without UTF-8": {"base_url": f"https://user:{CANARY}@127.0.0.1\udc80"},
    "a base_url in bytes": {"base_url": CANARY.encode()},
    "a token, another option": {"credential": CANARY, "timeout": "soon"},
    "a credential, another option": {"credential": Named(CANARY), "concurrency": 0},
    "a callable, another option": {"credential": functools.partial(len, CANARY), "rate": 0},
    "a misspelt option": {"credential": CANARY, "proxy": PROXY, "concurency": 4},
}


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize(
    "make",
    [
        Client,
        AsyncClient,
        lambda **given: reprocess(ID, **given),
        lambda **given: reprocess_many([ID], **given),
    ],
)
def test_what_is_given_beside_a_wrong_option_shows_in_none(make: Any, kind: str) -> None:
    shows_nothing(lambda: make(**{"credential": "x", **OPTIONS[kind]}))


@pytest.mark.parametrize("name", ["TOKEN", "BASE_URL"])
@pytest.mark.parametrize("make", [Client, AsyncClient, lambda: reprocess(ID)])
def test_what_the_environment_has_shows_in_none(make: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTRA_REPROCESS_TOKEN", "x")
    monkeypatch.setenv(f"ENTRA_REPROCESS_{name}", f"https://{CANARY} with a space@x")
    shows_nothing(make)


RESULTS: dict[str, object] = {
    "a text that no header takes": f"{CANARY} x",
    "a text without UTF-8": f"{CANARY}\udc80",
    "bytes": CANARY.encode(),
    "a dict": {"access_token": CANARY},
    "a list": [CANARY],
    "a token in the wrong place": AccessToken("x", CANARY),  # type: ignore[arg-type]  # rubbish is the point
    "a token with a wrong time": AccessToken(CANARY, "soon"),  # type: ignore[arg-type]  # likewise
    "a record with a wrong token": Record(CANARY + "\r\n"),
    "an odd one": Odd(),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_what_a_credential_gives_shows_in_none(graph: Emulator, kind: str) -> None:
    given = RESULTS[kind]

    async def fetch() -> Any:
        return given

    async def alone() -> None:
        await AsyncClient(fetch, base_url=graph.url).reprocess(ID)

    async def many() -> None:
        await AsyncClient(fetch, base_url=graph.url).reprocess_many([ID])

    # The credential and the function are the caller's own; what they gave is ours to hide.
    credentials: list[Any] = [Named(CANARY, given), lambda: given]
    for credential in credentials:
        client = Client(credential, base_url=graph.url)
        shows_nothing(lambda client=client: client.reprocess(ID))  # type: ignore[misc]  # a default binds it
        shows_nothing(lambda client=client: client.reprocess_many([ID]))  # type: ignore[misc]  # likewise
    shows_nothing(lambda: asyncio.run(alone()))
    shows_nothing(lambda: asyncio.run(many()))


def test_a_client_holds_nothing_that_can_be_shown(graph: Emulator) -> None:
    for client in (
        Client(CANARY, base_url=graph.url),
        AsyncClient(CANARY, proxy=PROXY),
        Client(Named(CANARY), base_url=graph.url),
    ):
        assert not any(is_shown(text) for part in parts_of(client, set()) for text in texts_of(part))


def test_a_hidden_text_is_equal_to_itself_alone() -> None:
    same = hide(CANARY)
    assert same == hide(CANARY)
    assert hash(same) == hash(hide(CANARY))
    assert same != hide("x")
    assert same != CANARY
    assert hide(None) is None
    assert hide(same) == same
    assert {same: 1}[hide(CANARY)] == 1
    one, other = [CANARY], [CANARY]
    assert hide(one) == hide(one) != hide(other)
    for operation in (repr, str, "{}".format, "{:>20}".format):
        assert "hidden" in operation(same)
