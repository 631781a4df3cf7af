"""JSON with what RFC 8259 lets a reader pass over, under any Content-Type, in every kind of answer."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Literal

import pytest

from entra_reprocess import AsyncClient, Client, NotFoundError, PermissionDeniedError

from .faults import PATHS as COLLECTIONS
from .faults import assignment_ids
from .foreign import Answer, Foreign, Request, error

MARK = b"\xef\xbb\xbf"
AROUND: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "a mark": (MARK, b""),
    "a mark and white space": (MARK + b"\r\n\t ", b"\r\n"),
    "white space": (b" \t\r\n", b"\n\n "),
}
TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8",
    'APPLICATION/JSON; Charset="UTF-8"',
    "text/plain",
    None,
]
Version = Literal["beta", "v1.0"]
every_form = pytest.mark.parametrize("around", AROUND)
every_form_and_type = pytest.mark.parametrize(
    ("around", "kind"),
    [
        *((around, TYPES[2]) for around in AROUND),
        *(("a mark and white space", kind) for kind in TYPES if kind != TYPES[2]),
    ],
)
every_version = pytest.mark.parametrize("version", ["beta", "v1.0"])
IDS = assignment_ids(4)


def as_it_comes(body: Any, around: str, kind: str | None, status: int = 200, **headers: str) -> Answer:
    before, after = AROUND[around]
    types = {} if kind is None else {"Content-Type": kind}
    return Answer(status, before + json.dumps(body).encode() + after, {**types, **headers})


def parts_of(request: Request) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = json.loads(request.body)["requests"]
    return parts


def rejected(code: str = "SomeCode") -> Any:
    return error(404, code).body


@every_form_and_type
@every_version
def test_a_batch_answer_and_the_errors_in_it(around: str, version: Version, kind: str | None) -> None:
    def outer(request: Request) -> Answer:
        first, *others = parts_of(request)
        responses = [{"id": part["id"], "status": 202, "headers": {"Content-Type": kind}} for part in others]
        responses.append({"id": first["id"], "status": 404, "body": rejected()})
        return as_it_comes({"responses": responses}, around, kind)

    async def main(url: str) -> Any:
        async with AsyncClient("token", base_url=url, api_version=version, max_retries=0) as client:
            return await client.reprocess_many(IDS, progress=False)

    with Foreign(lambda _: Answer(202), outer) as graph:
        with Client("token", base_url=graph.url, api_version=version, max_retries=0) as client:
            report = client.reprocess_many(IDS, progress=False)
        again = asyncio.run(main(graph.url))
    for each in (report, again):
        assert [outcome.status for outcome in each] == ["not_found", "accepted", "accepted", "accepted"]
        assert (each[0].code, each[0].attempts) == ("SomeCode", 1)


@every_form_and_type
def test_an_error_of_a_whole_answer(around: str, kind: str | None) -> None:
    answer = as_it_comes(error(403, "UnAuthorized").body, around, kind, 403)
    with (
        Foreign(lambda _: answer, lambda _: answer) as graph,
        Client("token", base_url=graph.url, max_retries=0) as client,
    ):
        with pytest.raises(PermissionDeniedError) as single:
            client.reprocess(IDS[0])
        with pytest.raises(PermissionDeniedError) as listed:
            list(client.assignments())
        report = client.reprocess_many(IDS[:2], progress=False)
    assert single.value.code == listed.value.code == "UnAuthorized"
    assert single.value.request_id == "r-1"
    assert {(outcome.status, outcome.code) for outcome in report} == {("forbidden", "UnAuthorized")}


@every_form_and_type
@every_version
def test_the_pages_of_a_list(around: str, version: Version, kind: str | None) -> None:
    def outer(request: Request) -> Answer:
        if "skip" in request.path:
            return as_it_comes({"value": [{"id": "two", "state": "ä"}]}, around, kind)
        link = f"{graph.url}{request.path.partition('?')[0]}?$skip=1"
        return as_it_comes({"value": [{"id": "one"}], "@odata.nextLink": link}, around, kind)

    async def main() -> list[str]:
        async with AsyncClient("token", base_url=graph.url, api_version=version, max_retries=0) as client:
            return [item.id async for item in client.access_packages()]

    with Foreign(lambda _: Answer(202), outer) as graph, Client("token", base_url=graph.url, max_retries=0) as client:
        assert [item.id for item in client.assignments()] == ["one", "two"]
        assert asyncio.run(main()) == ["one", "two"]


@every_form
@every_version
@pytest.mark.parametrize("batch_size", [1, 20])
def test_states(around: str, version: Version, batch_size: int) -> None:
    state = {"beta": "assignmentState", "v1.0": "state"}[version]

    def outer(request: Request) -> Answer:
        kind = TYPES[2]
        if request.path.endswith("/$batch"):
            body = {"id": IDS[0], state: "Delivered"}
            return as_it_comes(
                {"responses": [{"id": part["id"], "status": 200, "body": body} for part in parts_of(request)]},
                around,
                kind,
            )
        assert f"/{COLLECTIONS[version]}/" in request.path
        return as_it_comes({"id": request.path[-36:], state: "Delivered"}, around, kind)

    options: dict[str, Any] = {"api_version": version, "batch_size": batch_size, "max_retries": 0}
    with (
        Foreign(lambda _: Answer(202), outer) as graph,
        Client("token", base_url=graph.url, **options) as client,
    ):
        assert client.states(IDS) == dict.fromkeys(IDS, "delivered")


@every_form
def test_an_empty_success_of_a_plain_post(around: str) -> None:
    bodies: list[Any] = [{}, None]
    for body in bodies:
        answer = as_it_comes(body, around, TYPES[2])
        with Foreign(lambda _, answer=answer: answer) as graph:  # type: ignore[misc]  # mypy cannot infer it
            assert Client("token", base_url=graph.url, max_retries=0).reprocess(IDS[0]).ok


@every_form
def test_the_claims_of_a_challenge(around: str) -> None:
    asked: list[str | None] = []

    class Credential:
        def get_token(self, *_: str, claims: str | None = None, **__: Any) -> Any:
            asked.append(claims)

            class Token:
                token = f"token-{len(asked)}"
                expires_on = 4_000_000_000

            return Token()

    before, after = (text.decode() for text in AROUND[around])
    claims = base64.b64encode(f'{before}{{"access_token": {{}}}}{after}'.encode()).decode()
    challenge = f'Bearer error="insufficient_claims", claims="{claims}"'

    def answer(_: str) -> Answer:
        if len(asked) > 1:
            return Answer(202)
        return as_it_comes(rejected("InvalidAuthenticationToken"), around, None, 401, **{"WWW-Authenticate": challenge})

    with Foreign(answer) as graph:
        assert Client(Credential(), base_url=graph.url).reprocess(IDS[0]).ok
    assert asked[0] is None
    assert json.loads(asked[1] or "") == {"access_token": {}}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_json_in_another_encoding_is_none(encoding: str) -> None:
    """Between systems it is UTF-8 (RFC 8259, 8.1)."""

    def outer(request: Request) -> Answer:
        responses = [{"id": part["id"], "status": 202, "ä": 1} for part in parts_of(request)]
        return Answer(200, json.dumps({"responses": responses}, ensure_ascii=False).encode(encoding))

    with (
        Foreign(lambda _: Answer(202), outer) as graph,
        Client("token", base_url=graph.url, max_retries=0) as client,
    ):
        assert client.reprocess_many(IDS[:1], progress=False)[0].status == "unknown"


def test_a_mark_does_not_hide_a_token_that_comes_back() -> None:
    token = "canary-0d5ab64e-eyJ0eXAi"
    escaped = token.replace("y", "\\u0079")
    body = MARK + b'{"error": {"code": "x", "message": "%s"}}' % escaped.encode()
    with Foreign(lambda _: Answer(404, body)) as graph, pytest.raises(NotFoundError) as caught:
        Client(token, base_url=graph.url).reprocess(IDS[0])
    assert "[token]" in str(caught.value)
    assert token not in str(caught.value)
