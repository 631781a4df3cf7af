"""A list whose page is good and whose link to the next one is not: first the page, then the error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import pytest

from entra_reprocess import AsyncClient, Client, ProtocolError, RunStoppedError

from .foreign import Answer, Foreign, Request

Version = Literal["beta", "v1.0"]
LISTS = ["assignments", "access_packages"]
every_list = pytest.mark.parametrize("listed", LISTS)
every_version = pytest.mark.parametrize("version", ["beta", "v1.0"])

Link = Callable[[str, str], Any]
"""What stands as the link, given the URL of the list and that of another server."""

LINKS: dict[str, tuple[Link, str]] = {
    "another server": (lambda _, other: f"{other}/beta/x?$skiptoken=canary", "leads to another origin than http://127"),
    "another scheme": (lambda own, _: own.replace("http:", "https:"), "leads to another origin"),
    "another host": (lambda own, _: own.replace("127.0.0.1", "localhost"), "leads to another origin"),
    "a user": (lambda own, _: own.replace("//", "//user:canary@"), "names a user"),
    "another version": (lambda own, _: f"{own}/../../../../next/x", "leads to another API version than"),
    "no version": (lambda own, _: own.split("/identity")[0] + "/../x", "leads to another API version than"),
    "a path": (lambda own, _: own.partition("1:")[2].partition("/")[2], "is no absolute URL"),
    "an absolute path": (lambda _, __: "/beta/x?$skip=canary", '"/beta/x?…" is no absolute URL'),
    "a query": (lambda _, __: "?$skip=1", '"?…" is no absolute URL'),
    "without a scheme": (lambda own, _: own.removeprefix("http:"), "is no absolute URL"),
    "a word": (lambda _, __: "next", '"next" is no absolute URL'),
    "an empty text": (lambda _, __: "", '"" is no absolute URL'),
    "a blank": (lambda _, __: " ", '" " is no absolute URL'),
    "lines": (lambda _, __: "a\nb\x1b[31m", r'"a\nb\x1b[31m" is no absolute URL'),
    "a script": (lambda _, __: "javascript:alert(1)", "leads to another origin"),
    "a long one": (lambda _, __: "x" * 5_000, "is no absolute URL"),
    "a number": (lambda _, __: 5, "is a number and no text"),
    "false": (lambda _, __: False, "is true or false and no text"),
    "a list": (lambda own, _: [own], "is a list or an object and no text"),
    "an object": (lambda own, _: {"href": own}, "is a list or an object and no text"),
    "itself": (lambda own, _: f"{own}?$skip=1", "leads back to a page that was read already"),
    "the page before": (lambda own, _: own, "leads back to a page that was read already"),
}


def serve(link: Link, other: str, *, raw: Callable[[bytes], bytes] = bytes) -> Callable[[Request], Answer]:
    """Two good pages, and on the second one this link. Without a filter, the first page has no query but `$expand`."""

    def outer(request: Request) -> Answer:
        own = f"http://{request.header('host')[0]}{request.path.partition('?')[0]}"
        if "skip" not in request.path:
            firsts.append(f"http://{request.header('host')[0]}{request.path}")
            return Answer(200, {"value": [{"id": "one"}, {"id": "two"}], "@odata.nextLink": f"{own}?$skip=1"})
        value = link(firsts[-1] if link is LINKS["the page before"][0] else own, other)
        return Answer(200, raw(json.dumps({"@odata.nextLink": value, "value": [{"id": "three"}]}).encode()))

    firsts: list[str] = []
    return outer


def read_sync(url: str, listed: str, version: Version) -> Iterator[str]:
    with Client("token", base_url=url, api_version=version, max_retries=0) as client:
        yield from (item.id for item in getattr(client, listed)())


async def read_async(url: str, listed: str, version: Version) -> AsyncIterator[str]:
    async with AsyncClient("token", base_url=url, api_version=version, max_retries=0) as client:
        async for item in getattr(client, listed)():
            yield item.id


def collected(url: str, listed: str, version: Version, way: str) -> tuple[list[str], ProtocolError]:
    """What came before the error, and the error."""
    found: list[str] = []

    async def awaited() -> None:
        async for item in read_async(url, listed, version):
            found.append(item)  # noqa: PERF401 - a comprehension would lose those before an exception

    def plain() -> None:
        found.extend(read_sync(url, listed, version))  # which keeps those before an exception

    with pytest.raises(ProtocolError) as caught:
        asyncio.run(awaited()) if way == "async" else plain()
    return found, caught.value


@every_list
@pytest.mark.parametrize(("version", "way"), [("beta", "sync"), ("v1.0", "async")])
@pytest.mark.parametrize("kind", LINKS)
def test_the_page_comes_first_and_then_what_is_wrong(listed: str, version: Version, way: str, kind: str) -> None:
    link, told = LINKS[kind]
    with Foreign(lambda _: Answer(202)) as other, Foreign(lambda _: Answer(202), serve(link, other.url)) as graph:
        found, error = collected(graph.url, listed, version, way)
        assert len(graph.requests) == 2
    assert other.requests == []
    assert found == ["one", "two", "three"]
    text = str(error)
    assert text.startswith("the list goes on, but the link to its next page cannot be followed: ")
    assert told in text
    assert "check base_url" in text
    assert "canary" not in text
    assert len(text) < 500
    assert text.isprintable()


@every_version
def test_two_links_are_none(version: Version) -> None:
    doubled = serve(lambda own, _: f"{own}?$skip=2", "", raw=lambda page: page[:-1] + b', "@odata.nextLink": null}')
    with Foreign(lambda _: Answer(202), doubled) as graph:
        found, error = collected(graph.url, "assignments", version, "sync")
    assert found == ["one", "two", "three"]
    assert "there are two of it" in str(error)


@every_list
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("is_null", [True, False])
def test_a_link_that_is_null_or_absent_is_the_end(listed: str, way: str, is_null: bool) -> None:
    last = {"value": [{"id": "one"}], **({"@odata.nextLink": None} if is_null else {})}

    async def main(url: str) -> list[str]:
        return [item async for item in read_async(url, listed, "v1.0")]

    with Foreign(lambda _: Answer(202), lambda _: Answer(200, last)) as graph:
        found = asyncio.run(main(graph.url)) if way == "async" else list(read_sync(graph.url, listed, "beta"))
        assert len(graph.requests) == 1
    assert found == ["one"]


def test_an_empty_page_with_a_bad_link_is_no_end_either() -> None:
    page = Answer(200, {"value": [], "@odata.nextLink": "/next"})
    with Foreign(lambda _: Answer(202), lambda _: page) as graph:
        found, error = collected(graph.url, "assignments", "beta", "sync")
    assert found == []
    assert '"/next" is no absolute URL' in str(error)


def test_whoever_asks_for_no_more_than_the_page_hears_of_no_error() -> None:
    with Foreign(lambda _: Answer(202), serve(lambda _, __: "next", "")) as graph:
        items = read_sync(graph.url, "assignments", "beta")
        assert [next(items) for _ in range(3)] == ["one", "two", "three"]
        items.close()  # type: ignore[attr-defined]  # a generator, which is an iterator that can be closed


def test_a_run_that_is_fed_by_such_a_list_keeps_what_it_has_sent() -> None:
    """The error comes out of the ids, so the report says what became of those before it."""
    ids = [f"00000000-0000-4000-8000-{n:012x}" for n in range(3)]
    page = {"value": [{"id": item} for item in ids], "@odata.nextLink": "/next"}

    def outer(request: Request) -> Answer | None:
        return Answer(200, page) if request.method == "GET" else None

    with (
        Foreign(lambda _: Answer(202), outer) as graph,
        Client("token", base_url=graph.url) as client,
        pytest.raises(RunStoppedError) as stopped,
    ):
        client.reprocess_many((item.id for item in client.assignments()), progress=False)
    assert isinstance(stopped.value.__cause__, ProtocolError)
    assert stopped.value.report is not None
    assert stopped.value.report.ids == ids
    # The error may come before they are sent.
    assert {outcome.status for outcome in stopped.value.report} <= {"accepted", "not_attempted"}
