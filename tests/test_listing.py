"""Finding assignments: lists, states, and links that lead astray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from entra_reprocess import (
    AccessPackage,
    Assignment,
    AsyncClient,
    BadRequestError,
    Client,
    PermissionDeniedError,
    ProtocolError,
    RunStoppedError,
    ThrottledError,
)
from entra_reprocess.emulator import Emulator

from .foreign import Answer, Foreign, Request, error

every_version = pytest.mark.parametrize("version", ["beta", "v1.0"])
ID = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
LIST = {
    "beta": "/beta/identityGovernance/entitlementManagement/accessPackageAssignments",
    "v1.0": "/v1.0/identityGovernance/entitlementManagement/assignments",
}


@every_version
def test_both_versions_have_one_shape(graph: Emulator, version: Any) -> None:
    client = Client(graph.credential, base_url=graph.url, api_version=version)
    found = list(client.assignments())
    assert [item.id for item in found] == graph.ids
    first = found[0]
    assert isinstance(first, Assignment)
    assert (first.state, first.status, first.expired_at) == ("delivered", "Delivered", None)
    assert first.raw["id"] == first.id
    for value in (first.target_id, first.access_package_id, first.policy_id):
        assert str(UUID(value)) == value
    assert first.target_name
    assert first.access_package_name
    assert "raw" not in repr(first)
    other = Client(graph.credential, base_url=graph.url, api_version="beta" if version == "v1.0" else "v1.0")
    twin = next(other.assignments())
    assert [getattr(twin, name) for name in Assignment.__slots__ if name != "raw"] == [
        getattr(first, name) for name in Assignment.__slots__ if name != "raw"
    ]


@every_version
def test_filters_narrow_the_list(graph: Emulator, version: Any) -> None:
    client = Client(graph.credential, base_url=graph.url, api_version=version)
    everything = list(client.assignments())
    package = next(client.access_packages())
    assert isinstance(package, AccessPackage)
    person, policy = everything[0].target_id, everything[0].policy_id
    assert person is not None
    assert policy is not None

    def expected(matches: Callable[[Assignment], bool]) -> list[Assignment]:
        return [item for item in everything if matches(item)]

    assert list(client.assignments(access_package=package)) == expected(
        lambda item: item.access_package_id == package.id
    )
    assert list(client.assignments(access_package=UUID(package.id), target=person)) == expected(
        lambda item: item.access_package_id == package.id and item.target_id == person
    )
    assert list(client.assignments(policy=policy)) == expected(lambda item: item.policy_id == policy)
    spellings: list[Any] = ["delivered", "Delivered", "DELIVERED"]  # the last one to the surprise of checkers
    for state in spellings:
        assert len(list(client.assignments(state=state))) == 1000
    assert list(client.assignments(state="expired")) == []
    assert list(client.assignments(filter=f"accessPackage/id eq '{package.id}'")) == expected(
        lambda item: item.access_package_id == package.id
    )


@every_version
def test_access_packages_by_name(graph: Emulator, version: Any) -> None:
    client = Client(graph.credential, base_url=graph.url, api_version=version)
    packages = list(client.access_packages())
    assert len(packages) == 4
    assert list(client.access_packages(name=packages[2].name)) == [packages[2]]
    assert list(client.access_packages(name="O'Brien's & others' +1 %")) == []
    assert packages[0].created_at is not None


def test_a_list_is_lazy(graph: Emulator, client: Client) -> None:
    found = client.assignments()
    assert graph.counters["http_requests"] == 0
    next(found)
    assert graph.counters["http_requests"] == 1
    for _ in range(99):
        next(found)
    assert graph.counters["http_requests"] == 1
    next(found)
    assert graph.counters["http_requests"] == 2


def test_a_list_feeds_a_run(graph: Emulator, client: Client) -> None:
    package = next(client.access_packages())
    wanted = [item.id for item in client.assignments(access_package=package)]
    report = client.reprocess_many(item.id for item in client.assignments(access_package=package))
    assert report.ids == wanted
    assert set(graph.executions) == set(wanted)


def test_the_asynchronous_twins(graph: Emulator) -> None:
    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            packages = [item async for item in client.access_packages()]
            found = [item.id async for item in client.assignments(access_package=packages[0], state="delivered")]
            assert 0 < len(found) < 1000
            assert await client.states(found) == dict.fromkeys(found, "delivered")

    asyncio.run(main())


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"state": "done"}, ValueError, "partiallyDelivered"),
    ({"state": 5}, TypeError, "int"),
    ({"access_package": "HR"}, ValueError, "access_package"),
    ({"target": "someone@contoso.example"}, ValueError, "target"),
    ({"policy": "' or 1 eq 1"}, ValueError, "policy"),
    ({"policy": 5}, TypeError, "policy"),
]


@pytest.mark.parametrize(("options", "kind", "text"), BAD, ids=[str(row[0]) for row in BAD])
def test_bad_filters_are_refused_here(
    graph: Emulator, client: Client, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        client.assignments(**options)
    assert graph.counters["http_requests"] == 0


def test_a_filter_that_graph_refuses(client: Client) -> None:
    with pytest.raises(BadRequestError):
        list(client.assignments(filter="nonsense"))


@every_version
def test_the_request(version: Any) -> None:
    with Foreign(lambda _: Answer(202), lambda _: Answer(200, {"value": []})) as graph:
        client = Client("token", base_url=graph.url, api_version=version)
        assert list(client.assignments(access_package=ID, state="delivered")) == []
        assert list(client.access_packages(name="O'Brien & Co +1")) == []
    first, second = graph.requests
    assert first.method == "GET"
    assert first.header("authorization") == ["Bearer token"]
    assert first.header("content-length") == []
    assert UUID(first.header("client-request-id")[0])
    url = urlsplit(first.path)
    assert url.path == LIST[version]
    assert "+" not in url.query
    state = "state" if version == "v1.0" else "assignmentState"
    assert parse_qs(url.query)["$filter"] == [f"accessPackage/id eq '{ID}' and {state} eq 'Delivered'"]
    assert parse_qs(urlsplit(second.path).query)["$filter"] == ["displayName eq 'O''Brien & Co +1'"]


def page(link: str | None, *ids: str) -> Answer:
    return Answer(
        200, {"value": [{"id": item} for item in ids], **({"@odata.nextLink": link} if link is not None else {})}
    )


def test_pages_may_be_empty_and_links_are_opaque() -> None:
    with Foreign(lambda _: Answer(202)) as graph:
        base = graph.url + LIST["beta"]
        pages = {
            LIST["beta"]: page(f"{base}?$skiptoken=a%2Fb%27c&x=%20y"),
            f"{LIST['beta']}?$skiptoken=a%2Fb%27c&x=%20y": page(f"{base}?$skip=1", "one"),
            f"{LIST['beta']}?$skip=1": page(None, "two"),
        }

        def outer(request: Request) -> Answer:
            path = LIST["beta"] if "expand" in request.path else request.path
            return pages[path]

        graph.outer = outer
        found = [item.id for item in Client("token", base_url=graph.url).assignments()]
    assert found == ["one", "two"]
    assert all(request.header("authorization") == ["Bearer token"] for request in graph.requests)


def evil_links(own: str, other: str) -> list[str]:
    host = own.removeprefix("http://")
    return [
        f"{other}{LIST['beta']}?$skip=1",
        f"https://{host}{LIST['beta']}?$skip=1",
        f"{own}{LIST['v1.0']}?$skip=1",
        f"{own}/beta/../v1.0/x",
        f"http://localhost:{host.rpartition(':')[2]}{LIST['beta']}",
        f"http://user:pass@{host}{LIST['beta']}",
        f"//{host}{LIST['beta']}",
        LIST["beta"],
        "javascript:alert(1)",
        "",
    ]


def test_a_link_to_another_place_is_never_followed() -> None:
    with Foreign(lambda _: Answer(202)) as graph, Foreign(lambda _: Answer(202)) as other:
        for link in evil_links(graph.url, other.url):
            graph.requests.clear()
            graph.outer = lambda _, link=link: page(link, "one")  # type: ignore[misc]  # mypy cannot infer it
            # An empty link is no link to anybody else either, but none that can be followed.
            with pytest.raises(ProtocolError, match="link"):
                list(Client("token", base_url=graph.url).assignments())
            assert len(graph.requests) == 1
        assert other.requests == []


def test_a_list_of_empty_pages_without_end_is_given_up() -> None:
    with Foreign(lambda _: Answer(202)) as graph:
        base = graph.url + LIST["beta"]
        count = iter(range(1_500))
        graph.outer = lambda _: page(f"{base}?$skip={next(count)}")
        with pytest.raises(ProtocolError, match="a thousand pages in a row"):
            next(Client("token", base_url=graph.url).assignments())
        assert len(graph.requests) == 1_000


def test_a_link_in_a_circle_is_noticed() -> None:
    with Foreign(lambda _: Answer(202)) as graph:
        base = graph.url + LIST["beta"]
        count = iter(range(10_000))
        graph.outer = lambda _: page(f"{base}?$skip={next(count) % 3}")
        with pytest.raises(ProtocolError, match="already"):
            list(Client("token", base_url=graph.url).assignments())
        assert len(graph.requests) == 4


@pytest.mark.parametrize("body", [[], {}, {"value": {}}, {"value": [1]}, {"value": [], "@odata.nextLink": 5}, "page"])
def test_a_page_of_another_shape_is_refused(body: Any) -> None:
    with Foreign(lambda _: Answer(202), lambda _: Answer(200, body)) as graph, pytest.raises(ProtocolError):
        list(Client("token", base_url=graph.url).assignments())


def test_an_object_without_an_id_is_refused() -> None:
    body = {"value": [{"state": "delivered"}]}
    with Foreign(lambda _: Answer(202), lambda _: Answer(200, body)) as graph, pytest.raises(ProtocolError, match="id"):
        list(Client("token", base_url=graph.url).assignments())


def test_lists_are_retried_like_all_else() -> None:
    answers = [error(503), Answer(429, None, {"Retry-After": "0.1"}), page(None, "one")]
    with Foreign(lambda _: Answer(202), lambda _: answers.pop(0)) as graph:
        assert [item.id for item in Client("token", base_url=graph.url).assignments()] == ["one"]
    with Foreign(lambda _: Answer(202), lambda _: error(429)) as graph, pytest.raises(ThrottledError):
        list(Client("token", base_url=graph.url, max_retries=1).assignments())
    assert len(graph.requests) == 2


def test_a_caller_with_catalog_roles_is_told_to_name_a_package() -> None:
    with Foreign(lambda _: Answer(202), lambda _: error(403, "UnAuthorized")) as graph:
        client = Client("token", base_url=graph.url)
        with pytest.raises(PermissionDeniedError, match="access_package="):
            list(client.assignments())
        with pytest.raises(PermissionDeniedError) as denied:
            list(client.assignments(access_package=ID))
    assert "access_package=" not in str(denied.value)


@every_version
@pytest.mark.parametrize("batch_size", [20, 1])
def test_states(graph: Emulator, version: Any, batch_size: int) -> None:
    client = Client(graph.credential, base_url=graph.url, api_version=version, batch_size=batch_size)
    ids = [*graph.ids[:50], graph.ids[0].upper(), ID, "x"]
    assert client.states(ids) == {**dict.fromkeys(graph.ids[:50], "delivered"), ID: "not_found", "x": "rejected"}
    assert graph.executions == {}
    assert graph.counters["http_requests"] == (3 if batch_size == 20 else 51)


def test_states_that_cannot_be_read() -> None:
    def outer(request: Request) -> Answer:
        parts = json.loads(request.body)["requests"]
        assert all(part["method"] == "GET" and "body" not in part for part in parts)
        bodies = [{"state": "deliveryFailed"}, {"assignmentState": "Expired"}, {"no": "state"}, None]
        return Answer(
            200,
            {
                "responses": [
                    {"id": part["id"], "status": 200, "body": body} for part, body in zip(parts, bodies, strict=False)
                ]
            },
        )

    ids = [str(UUID(int=number)) for number in range(4)]
    with Foreign(lambda _: Answer(202), outer) as graph:
        states = Client("token", base_url=graph.url, max_retries=0).states(ids)
    assert list(states.values()) == ["deliveryFailed", "expired", "unknown", "unknown"]


def test_reading_states_stops_without_a_token() -> None:
    with Emulator(10) as graph, pytest.raises(RunStoppedError):
        Client("wrong", base_url=graph.url).states(graph.ids)


@every_version
def test_a_package_of_1573_is_walked_in_pages_of_a_hundred(version: Any) -> None:
    with Emulator(1573, access_packages=1, page_size=100, catalog_roles_only=True) as graph:
        client = Client(graph.credential, base_url=graph.url, api_version=version)
        with pytest.raises(PermissionDeniedError, match="access_package="):
            next(client.assignments())
        before = graph.counters["http_requests"]
        package = graph.access_packages[0]
        assert [item.id for item in client.assignments(access_package=package.id)] == graph.ids
        assert graph.counters["http_requests"] - before == 16
