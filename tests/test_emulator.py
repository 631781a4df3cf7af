"""The emulator as Python sees it: every setting reaches it, and what a test needs can be read."""

from __future__ import annotations

import inspect
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import Client, NotFoundError, ReprocessError
from entra_reprocess.emulator import FORBIDDEN, Emulator, Refusal

PAGE = Path(__file__).parent.parent / "docs" / "emulator.md"
ROOT = "/v1.0/identityGovernance/entitlementManagement/"


def call(graph: Emulator, path: str, *, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    """An answer to the standard library, which shares nothing with the client."""
    context = ssl.create_default_context(cafile=graph.ca_bundle) if graph.ca_bundle else None
    url = path if "://" in path else graph.url + ROOT + path
    request = urllib.request.Request(url.replace(" ", "%20"), method=method, data=b"" if method == "POST" else None)
    request.add_header("Authorization", f"Bearer {graph.token}")
    try:
        answer = urllib.request.urlopen(request, context=context)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read()
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(text) if text else None


def reprocess(graph: Emulator, place: int = 0) -> tuple[int, dict[str, str], Any]:
    return call(graph, f"assignments/{graph.ids[place]}/reprocess", method="POST")


def test_tls_is_trusted_by_its_file_alone() -> None:
    with Emulator(2, tls=True) as graph:
        assert graph.url.startswith("https://localhost:")
        bundle = graph.ca_bundle
        assert bundle is not None
        assert bundle.read_text() == graph.ca_pem
        assert reprocess(graph)[0] == 202
        with Client(graph.credential, base_url=graph.url, ca_bundle=bundle) as client:
            assert client.reprocess(graph.ids[1]).ok
        with Client(graph.credential, base_url=graph.url, max_retries=0) as client, pytest.raises(ReprocessError):
            client.reprocess(graph.ids[1])
        deadline = time.monotonic() + 10  # the client gives up before the server has read why
        while graph.counters["tls_failures"] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert graph.counters["tls_failures"] >= 1
    assert not bundle.exists()


def test_plain_has_no_authority() -> None:
    with Emulator(1) as graph:
        assert (graph.ca_pem, graph.ca_bundle) == (None, None)


def test_what_was_seeded_can_be_read() -> None:
    with Emulator(9, states={"Expired": 2, "Delivering": 1}, access_packages=2, users=3) as graph:
        assert len(graph.access_packages) == 2
        assert len(graph.users) == 3
        assert len(set(graph.request_ids) | set(graph.ids)) == 18
        assert sorted(graph.states.values())[-3:] == ["Delivering", "Expired", "Expired"]
        assert graph.state(graph.ids[0].upper()) == "Delivered"
        assert graph.state("00000000-0000-4000-8000-000000000000") is None
        with pytest.raises(ValueError, match="no GUID"):
            graph.state("x")
        package = graph.access_packages[1]
        _, _, page = call(
            graph, f"accessPackages?$filter=displayName eq '{package.name.replace(chr(39), chr(39) * 2)}'"
        )
        assert [one["id"] for one in page["value"]] == [package.id]
        user = graph.users[1]
        _, _, page = call(graph, f"assignments?$filter=target/objectid eq '{user.id}'&$expand=target")
        assert {one["target"]["email"] for one in page["value"]} == {user.email}


def test_states_follow_the_settings() -> None:
    with Emulator(3, delivering=0.2, ends="PartiallyDelivered", reprocessable=["Delivered"]) as graph:
        assert reprocess(graph)[0] == 202
        assert graph.state(graph.ids[0]) == "Delivering"
        assert reprocess(graph)[0] == 400
        time.sleep(0.25)
        assert graph.state(graph.ids[0]) == "PartiallyDelivered"
        assert call(graph, f"assignmentRequests/{graph.request_ids[0]}/reprocess", method="POST")[0] == 202
        assert graph.request_executions == {graph.request_ids[0]: 1}
    with Emulator(1, states={"DeliveryFailed": 1}, wrong_state=Refusal(409, "Wrong", "No.")) as graph:
        status, _, body = reprocess(graph)
        assert (status, body["error"]["code"]) == (409, "Wrong")
    with Emulator(1, states={"DeliveryFailed": 1}, reprocessable=("DeliveryFailed",)) as graph:
        assert reprocess(graph)[0] == 202


def test_quotas_and_their_headers_follow_the_settings() -> None:
    with Emulator(
        9,
        write_quota=(1, 60),
        quota_model="window",
        wait=7,
        retry_after="decimal",
        limit_percentage=True,
        throttle_scope="Tenant_Application/Write/a/t",
        throttle_information="WriteLimitExceeded",
        read_quota=(2, 60),
        burst=2,
        throttled_calls_count=True,
    ) as graph:
        assert reprocess(graph)[1]["x-ms-throttle-limit-percentage"] == "1.00"
        status, headers, _ = reprocess(graph)
        assert (status, headers["retry-after"]) == (429, "7.000")
        assert headers["x-ms-throttle-scope"] == "Tenant_Application/Write/a/t"
        assert headers["x-ms-throttle-information"] == "WriteLimitExceeded"
        assert headers["x-ms-throttle-limit-percentage"] == "1.80"
        assert [call(graph, "assignments")[0] for _ in range(3)] == [200, 200, 429]


def test_lists_follow_the_settings() -> None:
    settings: dict[str, Any] = {"page_size": 2, "empty_first_page": True, "next_link_base": "https://graph.example"}
    with Emulator(3, **settings) as graph:
        _, _, page = call(graph, "assignments")
        assert page["value"] == []
        assert page["@odata.nextLink"].startswith("https://graph.example/v1.0/")
    with Emulator(3, catalog_roles_only=True, inner_host="igaelm.invalid") as graph:
        status, headers, body = call(graph, "assignments")
        assert (status, body["error"]["code"]) == (403, FORBIDDEN.code)
        assert headers["location"].startswith("https://igaelm.invalid/")
        assert call(graph, f"assignments?$filter=accessPackage/id eq '{graph.access_packages[0].id}'")[0] == 200
    with Emulator(1, states={"Delivering": 1}, bare_targets=True) as graph:
        target = call(graph, "assignments?$expand=target")[2]["value"][0]["target"]
        assert (target["objectId"], target["displayName"], target["principalName"]) == (None, None, None)
        assert "@" in target["email"]


def test_a_new_token_ends_the_old_one() -> None:
    with Emulator(1) as graph:
        with Client(graph.credential, base_url=graph.url) as client:
            assert client.reprocess(graph.ids[0]).ok
            graph.token = "another-token"
            assert client.reprocess(graph.ids[0]).ok, "the credential gives the new one"
        assert graph.counters["unauthorized"] == 1


def test_the_client_meets_the_observed_403_of_unknown_ids() -> None:
    with Emulator(1, unknown_id=FORBIDDEN) as graph, Client(graph.credential, base_url=graph.url) as client:
        with pytest.raises(ReprocessError) as refused:
            client.reprocess("00000000-0000-4000-8000-000000000000")
        assert not isinstance(refused.value, NotFoundError)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"page_size": 0}, "page_size is 0"),
        ({"users": 0}, "users is 0"),
        ({"states": {"Lost": 1}}, '"Lost" is no state'),
        ({"reprocessable": ["delivered"]}, "delivered"),
        ({"delivering": -1.0}, "delivering is -1"),
        ({"ends": "Gone"}, "Gone"),
        ({"read_quota": (0, 1)}, "the calls of read_quota is 0"),
        ({"inner_host": "a\r\nb"}, "inner_host cannot"),
        ({"unknown_id": Refusal(200, "", "")}, "the status of unknown_id is 200"),
        ({"retry_after": "soon"}, "retry_after"),
        ({"tenant_id": "contoso"}, "tenant_id is"),
        ({"token_life": 0}, "token_life is 0"),
        ({"client_certificate": "no PEM"}, "client_certificate holds no certificate"),
        ({"quota_model": "none", "write_quota": (1, 1)}, "quota_model"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Emulator(1, **settings).start()


def test_every_setting_is_described() -> None:
    described = inspect.getdoc(Emulator) or ""
    for name in inspect.signature(Emulator).parameters:
        assert f"{name}:" in described or f"{name}," in described, name


def test_its_page_names_every_setting_and_its_examples_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in inspect.signature(Emulator).parameters:
        assert f"`{name}" in text, name
    first, second, third = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(first, str(PAGE), "exec"), {})
    exec(compile(third, str(PAGE), "exec"), {})
    session: dict[str, Any] = {}
    exec(compile(second, str(PAGE), "exec"), session)
    with Emulator(**session["test_the_nightly_job"].pytestmark[0].kwargs) as graph:
        session["test_the_nightly_job"](graph)


def test_it_has_to_be_started() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        Emulator(1).url  # noqa: B018 - the reading is what is tested


def test_a_file_that_nobody_removed_goes_with_its_emulator() -> None:
    graph = Emulator(1, tls=True).start()
    path = Path(str(graph.ca_bundle))
    assert path.exists()
    del graph
    assert not path.exists()
