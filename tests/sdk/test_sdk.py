"""`msgraph-sdk` and `msgraph-beta-sdk`, unpatched but for base URL and token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter as V1Adapter
from msgraph import GraphServiceClient as V1Client
from msgraph.generated.models.o_data_errors.o_data_error import ODataError as V1Error
from msgraph_beta import GraphRequestAdapter as BetaAdapter
from msgraph_beta import GraphServiceClient as BetaClient
from msgraph_beta.generated.models.o_data_errors.o_data_error import ODataError as BetaError
from msgraph_core import PageIterator
from msgraph_core.requests.batch_request_builder import BatchRequestBuilder
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem

from entra_reprocess.emulator import Emulator

# The SDKs warn about their own generated code.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

VERSIONS = {"v1.0": (V1Adapter, V1Client, V1Error), "beta": (BetaAdapter, BetaClient, BetaError)}

Use = Callable[["Sdk"], Awaitable[None]]


class Sdk:
    """One SDK that talks to an emulator."""

    def __init__(self, version: str, graph: Emulator) -> None:
        adapter, client, self.error = VERSIONS[version]
        provider = AzureIdentityAuthenticationProvider(
            graph.credential, scopes=["https://graph.microsoft.com/.default"], allowed_hosts=["127.0.0.1"]
        )
        self.graph = graph
        self.adapter: Any = adapter(provider)
        self.adapter.base_url = f"{graph.url}/{version}"
        management = client(request_adapter=self.adapter).identity_governance.entitlement_management
        is_beta = version == "beta"
        self.assignments: Any = management.access_package_assignments if is_beta else management.assignments
        self.requests: Any = management.assignment_requests
        self.packages: Any = management.access_packages

    def reprocess(self, assignment_id: str) -> Any:
        return self.assignments.by_access_package_assignment_id(assignment_id).reprocess


@pytest.fixture(params=VERSIONS)
def run(request: pytest.FixtureRequest) -> Callable[..., Emulator]:
    """Runs something with the SDK of either version, and gives the emulator with its counts."""

    def runs(use: Use, **settings: Any) -> Emulator:
        async def whole() -> None:
            sdk = Sdk(request.param, graph)
            try:
                await use(sdk)
            finally:
                # Closing the SDK's client does not reach the transport below its middleware.
                await sdk.adapter._http_client._transport.transport.aclose()

        with Emulator(**settings) as graph:
            asyncio.run(whole())
        return graph

    return runs


def test_reprocess(run: Callable[..., Emulator]) -> None:
    async def use(sdk: Sdk) -> None:
        for assignment_id in sdk.graph.ids:
            assert await sdk.reprocess(assignment_id).post() is None

    graph = run(use, assignments=3)
    assert graph.executions == dict.fromkeys(graph.ids, 1)


def test_reprocess_of_a_request(run: Callable[..., Emulator]) -> None:
    async def use(sdk: Sdk) -> None:
        await sdk.requests.by_access_package_assignment_request_id(sdk.graph.request_ids[0]).reprocess.post()

    graph = run(use, assignments=1, states={"DeliveryFailed": 1})
    assert graph.request_executions == dict.fromkeys(graph.request_ids, 1)


@pytest.mark.parametrize(
    ("assignment_id", "status", "code"),
    [(str(uuid4()), 404, "ResourceNotFound"), ("nonsense", 400, "BadRequest")],
    ids=["unknown", "invalid"],
)
def test_refusals_are_odata_errors(run: Callable[..., Emulator], assignment_id: str, status: int, code: str) -> None:
    async def use(sdk: Sdk) -> None:
        with pytest.raises(sdk.error) as raised:
            await sdk.reprocess(assignment_id).post()
        error = raised.value
        assert error.response_status_code == status
        assert error.error.code == code
        assert error.error.message
        assert error.error.inner_error.request_id == error.error.inner_error.client_request_id
        assert error.error.inner_error.date is not None

    run(use)


def test_throttling_is_waited_for(run: Callable[..., Emulator]) -> None:
    async def use(sdk: Sdk) -> None:
        for assignment_id in sdk.graph.ids:
            await sdk.reprocess(assignment_id).post()

    graph = run(use, assignments=3, write_quota=(2, 1.0), quota_model="window")
    assert graph.counters["executed"] == 3
    assert graph.counters["throttled_requests"] >= 1
    assert graph.counters["writes_during_pause"] == 0


def test_lists_are_walked_page_by_page(run: Callable[..., Emulator]) -> None:
    async def use(sdk: Sdk) -> None:
        seen: list[Any] = []

        def keep(assignment: Any) -> bool:
            seen.append(assignment)
            return True

        query = RequestConfiguration(
            query_parameters=type(sdk.assignments).__dict__[
                next(name for name in vars(type(sdk.assignments)) if name.endswith("GetQueryParameters"))
            ](expand=["target", "accessPackage"])
        )
        page = await sdk.assignments.get(request_configuration=query)
        await PageIterator(page, sdk.adapter).iterate(keep)
        assert [one.id for one in seen] == sdk.graph.ids
        assert seen[-1].target.object_id in {user.id for user in sdk.graph.users}
        assert seen[-1].access_package.display_name in {package.name for package in sdk.graph.access_packages}
        state = seen[-1].state.value if hasattr(seen[-1], "state") else seen[-1].assignment_state
        assert state in {"expired", "Expired"}

    graph = run(use, assignments=23, page_size=5, states={"Expired": 1})
    assert graph.counters["http_requests"] == 5


def test_single_reads_and_packages(run: Callable[..., Emulator]) -> None:
    async def use(sdk: Sdk) -> None:
        one = await sdk.assignments.by_access_package_assignment_id(sdk.graph.ids[0]).get()
        assert one.id == sdk.graph.ids[0]
        assert one.schedule.start_date_time is not None
        packages = await sdk.packages.get()
        assert {package.id for package in packages.value} == {package.id for package in sdk.graph.access_packages}
        assert await sdk.assignments.count.get() == 9

    run(use, assignments=9)


def test_a_batch_runs_once_it_has_the_body_that_graph_asks_for(run: Callable[..., Emulator]) -> None:
    def item(sdk: Sdk, assignment_id: str, *, with_body: bool) -> BatchRequestItem:
        information = sdk.reprocess(assignment_id).to_post_request_information()
        if with_body:
            information.headers.try_add("Content-Type", "application/json")
            information.content = b"{}"
        made = BatchRequestItem(information)
        made.set_url(information.url)
        return made

    async def use(sdk: Sdk) -> None:
        ids = [*sdk.graph.ids, str(uuid4())]
        builder = BatchRequestBuilder(sdk.adapter, error_map={"XXX": sdk.error})
        # The builders' own form has neither body nor Content-Type, which Graph refuses
        # (microsoftgraph/msgraph-sdk-dotnet#2628).
        content = BatchRequestContent({one.id: one for one in (item(sdk, id, with_body=False) for id in ids)})
        with pytest.raises(sdk.error) as refused:
            await builder.post(content)
        assert refused.value.response_status_code == 400
        assert "does not contain Content-Type header or body" in refused.value.error.message
        items = {id: item(sdk, id, with_body=True) for id in ids}
        answer = await builder.post(BatchRequestContent({one.id: one for one in items.values()}))
        statuses = answer.get_response_status_codes()
        assert [statuses[items[id].id] for id in ids] == [202, 202, 202, 404]

    graph = run(use, assignments=3)
    assert graph.counters["batches"] == 2
    assert graph.counters["batches_refused"] == 1
    assert graph.executions == dict.fromkeys(graph.ids, 1)
