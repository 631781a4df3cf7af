"""Credentials that run on an event loop: what counts as one, which loop it is, and that none is left running."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from entra_reprocess import AsyncClient, Client, CredentialError, RunStoppedError
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator


@pytest.fixture(autouse=True)
def nothing_is_left_unawaited() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught if "await" in str(warning.message)] == []


async def settled(condition: Callable[[], bool]) -> None:
    """Give the loop time until this holds."""
    for _ in range(1000):
        if condition():
            break
        await asyncio.sleep(0.01)
    assert condition()


# --- What comes back decides ---


async def fetch(tenant: str = "contoso") -> str:
    await asyncio.sleep(0)
    return EMULATOR_TOKEN


class Inner:
    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        await asyncio.sleep(0)
        return AccessToken(EMULATOR_TOKEN, int(time.time()) + 3600)


class Wrapper:
    """Passes on what an asynchronous credential returns, and does not look asynchronous."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        return self.inner.get_token(*scopes, **kwargs)


class Promise:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        return fetch().__await__()


ASYNCHRONOUS = [lambda: fetch("contoso"), Wrapper(Inner()), Wrapper(Wrapper(Inner())), Promise]


@pytest.mark.parametrize("credential", ASYNCHRONOUS)
def test_an_asynchronous_client_takes_whatever_can_be_awaited(graph: Emulator, credential: Any) -> None:
    async def main() -> None:
        async with AsyncClient(credential, base_url=graph.url) as client:
            assert (await client.reprocess(graph.ids[0])).ok
            assert (await client.reprocess_many(graph.ids, progress=False)).counts["accepted"] == 1000

    asyncio.run(main())


@pytest.mark.parametrize("credential", ASYNCHRONOUS)
def test_a_synchronous_client_says_what_to_do_with_it(graph: Emulator, credential: Any) -> None:
    client = Client(credential, base_url=graph.url)
    with pytest.raises(CredentialError) as raised:
        client.reprocess(graph.ids[0])
    assert isinstance(raised.value.__cause__, TypeError)
    assert "AsyncClient" in str(raised.value.__cause__)
    with pytest.raises(RunStoppedError):
        client.reprocess_many(graph.ids)


def test_what_is_awaited_has_to_be_a_token(graph: Emulator) -> None:
    async def nested() -> Any:
        return 5

    async def main() -> None:
        with pytest.raises(CredentialError) as raised:
            await AsyncClient(lambda: nested(), base_url=graph.url).reprocess(graph.ids[0])
        assert "returned int" in str(raised.value.__cause__)

    asyncio.run(main())


def test_a_blocking_credential_does_not_hold_the_loop_up(graph: Emulator) -> None:
    class Blocks:
        def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
            ticked.wait(10)
            return AccessToken(EMULATOR_TOKEN, int(time.time()) + 3600)

    ticked = threading.Event()

    async def main() -> None:
        async with AsyncClient(Blocks(), base_url=graph.url) as client:
            call = asyncio.create_task(client.reprocess(graph.ids[0]))
            await asyncio.sleep(0.05)
            ticked.set()
            assert (await call).ok

    asyncio.run(main())


# --- Several loops ---


class SlowSecond:
    """The second token takes a while, the others come at once. All live for `life` seconds."""

    def __init__(self, life: int) -> None:
        self.life = life
        self.asked = 0
        self.cancelled = 0

    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        self.asked += 1
        try:
            if self.asked == 2:
                await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return AccessToken(EMULATOR_TOKEN, int(time.time()) + self.life)


def test_a_refresh_on_an_idle_loop_holds_up_no_other_loop(graph: Emulator) -> None:
    credential: Any = SlowSecond(life=4)
    client = AsyncClient(credential, base_url=graph.url)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def until_it_is_refreshed() -> None:
        while credential.asked < 2:
            await client.reprocess(graph.ids[0])
            await asyncio.sleep(0.02)

    try:
        first.run_until_complete(until_it_is_refreshed())
        # The first loop stands still, and the token ends.
        time.sleep(2)
        started = time.monotonic()
        assert second.run_until_complete(client.reprocess(graph.ids[1])).ok
        assert time.monotonic() - started < 15
        assert credential.asked == 3
        # The refresh is in nobody's way, and is not left behind on its loop.
        first.run_until_complete(asyncio.sleep(0.2))
        assert credential.cancelled == 1
        assert asyncio.all_tasks(first) == set()
        second.run_until_complete(client.close())
    finally:
        first.close()
        second.close()


# --- None is left running ---


class Running:
    """Counts the coroutines that have begun and not ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.count = 0

    async def __call__(self) -> str:
        self.begun += 1
        self.count += 1
        try:
            await asyncio.sleep(30)
        finally:
            self.count -= 1
        return EMULATOR_TOKEN


async def ends(running: Running) -> None:
    """Comes back when none is left on the loop."""
    await settled(lambda: running.count == 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def begins(running: Running) -> None:
    await settled(lambda: running.count == 1)


def test_a_cancelled_call_cancels_its_credential(graph: Emulator) -> None:
    async def main() -> None:
        running = Running()
        client = AsyncClient(running, base_url=graph.url)
        for _ in range(3):
            call = asyncio.create_task(client.reprocess(graph.ids[0]))
            await begins(running)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await ends(running)
        assert running.begun == 3

    asyncio.run(main())


def test_a_credential_that_somebody_else_waits_for_is_not_cancelled(graph: Emulator) -> None:
    async def main() -> None:
        running = Running()
        client = AsyncClient(running, base_url=graph.url)
        first, second = (asyncio.create_task(client.reprocess(item)) for item in graph.ids[:2])
        await begins(running)
        await asyncio.sleep(0.1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.sleep(0.1)
        assert (running.begun, running.count) == (1, 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await ends(running)

    asyncio.run(main())


def test_a_deadline_cancels_it(graph: Emulator) -> None:
    async def main() -> None:
        running = Running()
        client = AsyncClient(running, base_url=graph.url)
        report = await client.reprocess_many(graph.ids, progress=False, deadline=0.3)
        assert report.counts["not_attempted"] == 1000
        assert running.begun == 1
        await ends(running)

    asyncio.run(main())


def test_giving_it_up_cancels_it(graph: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entra_reprocess._credential._Asked.patience", 0.3)

    async def main() -> None:
        running = Running()
        client = AsyncClient(running, base_url=graph.url)
        with pytest.raises(CredentialError, match="gave no token within"):
            await client.reprocess(graph.ids[0])
        await ends(running)

    asyncio.run(main())


def test_closing_the_client_cancels_it(graph: Emulator) -> None:
    async def main() -> None:
        running = Running()
        client = AsyncClient(running, base_url=graph.url)
        call = asyncio.create_task(client.reprocess(graph.ids[0]))
        await begins(running)
        await client.close()
        assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], Exception)
        await ends(running)

    asyncio.run(main())


def test_closing_the_client_cancels_a_refresh(graph: Emulator) -> None:
    credential: Any = SlowSecond(life=4)

    async def main() -> None:
        client = AsyncClient(credential, base_url=graph.url)
        while credential.asked < 2:
            await client.reprocess(graph.ids[0])
            await asyncio.sleep(0.02)
        await client.close()
        await settled(lambda: credential.cancelled == 1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
