"""What the client really sends and the emulator really answers, held against the published OpenAPI."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from entra_reprocess import Client
from entra_reprocess.emulator import FORBIDDEN, Emulator

from . import specs
from .recorder import Exchange, recording


class Request:
    """A request as openapi-core reads it."""

    def __init__(self, origin: str, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        parts = urlsplit(target)
        query = [(name, value) for name, values in parse_qs(parts.query).items() for value in values]
        self.host_url = origin
        self.path = parts.path
        self.method = method.lower()
        self.body = body or None
        named = Headers(list(headers.items()))
        self.content_type = named.get("Content-Type", "")
        self.parameters = RequestParameters(query=ImmutableMultiDict(query), header=named)


class Answer:
    """An answer as openapi-core reads it."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status_code = status
        self.headers = Headers(list(headers.items()))
        self.content_type = self.headers.get("Content-Type", "")
        self.data = body


class Checker:
    """Holds exchanges, and the parts of batches, against one version's extract."""

    def __init__(self, version: str, origin: str) -> None:
        self.version = version
        self.origin = origin
        self.openapi = OpenAPI.from_dict(specs.at(version, origin))
        self.seen: Counter[tuple[str, int]] = Counter()

    def check(self, exchange: Exchange) -> None:
        self.pair(
            exchange.method,
            exchange.target,
            exchange.headers,
            exchange.body,
            (exchange.status, exchange.answer_headers, exchange.answer),
        )
        if exchange.target.endswith("/$batch") and exchange.status == 200:
            self.parts(exchange)

    def parts(self, batch: Exchange) -> None:
        """Each part is a call of its own, the headers of the batch being those that all answers carry."""
        answers = {answer["id"]: answer for answer in json.loads(batch.answer)["responses"]}
        requests = json.loads(batch.body)["requests"]
        assert len(answers) == len(requests)
        for request in requests:
            answer = answers[request["id"]]
            headers = {**batch.answer_headers, **answer["headers"]}
            if "body" not in answer:
                headers.pop("Content-Type", None)
                headers.pop("content-type", None)
            body = json.dumps(answer["body"]).encode() if "body" in answer else b""
            # The `{}` that Graph wants in a batch stands for no body (concepts/json-batching).
            assert request.get("body", {}) == {}
            target = f"/{self.version}/{request['url'].lstrip('/')}"
            self.pair(request["method"], target, {}, b"", (answer["status"], headers, body))

    def pair(
        self, method: str, target: str, headers: dict[str, str], body: bytes, answer: tuple[int, dict[str, str], bytes]
    ) -> None:
        request = Request(self.origin, method, target, headers, body)
        try:
            self.openapi.validate_request(request)
            self.openapi.validate_response(request, Answer(*answer))
        except OpenAPIError as error:
            # A whole page would be shown otherwise.
            pytest.fail(f"{method} {target}: {answer[0]}: {str(error)[:300]} ... {str(error)[-300:]}", pytrace=False)
        self.seen[urlsplit(target).path.rpartition("/")[2], answer[0]] += 1


def use_everything(client: Client, graph: Emulator) -> None:
    """Every verb of the client, with answers of every kind."""
    unknown, ended = str(uuid4()), next(id for id, state in graph.states.items() if state == "Expired")
    client.reprocess(graph.ids[0])
    for bad in (unknown, ended):
        with pytest.raises(Exception, match=r".+"):
            client.reprocess(bad)
    client.reprocess_many([*graph.ids, unknown], progress=False)
    list(client.assignments())
    list(client.assignments(access_package=graph.access_packages[1].id, state="Delivered"))
    list(client.assignments(target=graph.users[0].id))
    list(client.access_packages(name="Engineer's Tools"))
    client.states([*graph.ids, unknown])


@pytest.mark.parametrize("version", specs.VERSIONS)
def test_the_client_and_the_emulator_keep_to_the_schema(version: Any) -> None:
    seeded = specs.SEEDED | {"write_quota": (45, 0.3), "limit_percentage": True, "retry_after": "integer"}
    with Emulator(**seeded, throttle_scope="Tenant_Application/Write/a/t") as graph, recording(graph.url) as recorder:
        with Client(graph.credential, base_url=recorder.url, api_version=version) as client:
            use_everything(client, graph)
        with Client(graph.credential, base_url=recorder.url, api_version=version, batch_size=1) as client:
            client.reprocess_many(graph.ids, progress=False)
        with (
            Client("wrong", base_url=recorder.url, api_version=version) as client,
            pytest.raises(Exception, match="401"),
        ):
            client.reprocess(graph.ids[0])
    with (
        Emulator(**specs.SEEDED, unknown_id=FORBIDDEN, inner_host="igaelm.invalid") as graph,
        recording(graph.url) as second,
        Client(graph.credential, base_url=second.url, api_version=version) as client,
    ):
        use_everything(client, graph)
    checker = Checker(version, recorder.url)
    for exchange in recorder.exchanges:
        checker.check(exchange)
    other = Checker(version, second.url)
    for exchange in second.exchanges:
        other.check(exchange)
    seen = checker.seen + other.seen
    collection = "assignments" if version == "v1.0" else "accessPackageAssignments"
    for kind in [
        *(("reprocess", status) for status in (202, 400, 401, 403, 404, 429)),
        ("$batch", 200),
        (collection, 200),
        ("accessPackages", 200),
    ]:
        assert seen[kind] > 0, (kind, seen)
