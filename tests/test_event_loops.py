"""AsyncClient: true coroutines, several loops, cancellation; and Client inside a running loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from entra_reprocess import AsyncClient, Client, InvalidIdError, NotFoundError, RunStoppedError
from entra_reprocess.emulator import Emulator

MISSING = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """Answers after a second."""
    with Emulator(1000, latency=1.0) as emulator:
        yield emulator


def async_client(graph: Emulator, **options: int) -> AsyncClient:
    return AsyncClient(graph.credential, base_url=graph.url, **options)  # type: ignore[arg-type]  # all are numbers


def test_the_verbs_are_coroutines(graph: Emulator) -> None:
    client = async_client(graph)
    call = client.reprocess(graph.ids[0])
    assert inspect.iscoroutine(call)
    assert asyncio.run(call).ok
    assert inspect.iscoroutinefunction(client.reprocess_many)
    assert isinstance(client.iter_reprocess([]), AsyncIterator)


def test_one_client_serves_several_loops(graph: Emulator) -> None:
    client = async_client(graph)
    for item in graph.ids[:5]:
        assert asyncio.run(client.reprocess(item)).ok
        assert asyncio.run(client.reprocess_many(graph.ids[:50])).counts["accepted"] == 50
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(client.reprocess(graph.ids[0]))


def test_tasks_and_groups(graph: Emulator) -> None:
    async def main() -> list[str]:
        async with async_client(graph) as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.reprocess(item)) for item in graph.ids[:200]]
        return [task.result().id for task in tasks]

    assert asyncio.run(main()) == graph.ids[:200]
    assert graph.counters["in_flight_peak"] <= 8


def test_errors_are_the_same_as_in_sync(graph: Emulator) -> None:
    async def main() -> None:
        async with async_client(graph) as client:
            with pytest.raises(NotFoundError):
                await client.reprocess(MISSING)
            with pytest.raises(InvalidIdError):
                await client.reprocess("x")
            with pytest.raises(TypeError, match="wrap it in a list"):
                await client.reprocess_many(MISSING)  # type: ignore[arg-type]  # one instead of many

    asyncio.run(main())


def test_asynchronous_ids(graph: Emulator) -> None:
    async def ids() -> AsyncIterator[str]:
        for number, item in enumerate(graph.ids):
            if number % 100 == 0:
                await asyncio.sleep(0.01)
            yield item

    async def main() -> tuple[int, list[str]]:
        async with async_client(graph) as client:
            report = await client.reprocess_many(ids())
            assert report.ids == graph.ids
            return report.counts["accepted"], [outcome.id async for outcome in client.iter_reprocess(ids())]

    accepted, streamed = asyncio.run(main())
    assert accepted == 1000
    assert sorted(streamed) == sorted(graph.ids)


def test_outcomes_come_while_the_source_is_slow(graph: Emulator) -> None:
    async def ids() -> AsyncIterator[str]:
        yield graph.ids[0]
        await asyncio.sleep(30)
        yield graph.ids[1]

    async def main() -> None:
        async with async_client(graph) as client, asyncio.timeout(10):
            outcomes = client.iter_reprocess(ids())
            assert (await anext(outcomes)).id == graph.ids[0]
            await outcomes.aclose()  # type: ignore[attr-defined]  # it is a generator, which its type does not promise

    asyncio.run(main())


def test_cancelling_reaches_the_wire(slow: Emulator) -> None:
    async def main() -> float:
        async with async_client(slow, concurrency=1) as client:
            first = asyncio.create_task(client.reprocess(slow.ids[0]))
            queued = asyncio.create_task(client.reprocess(slow.ids[1]))
            await asyncio.sleep(0.2)
            started = time.monotonic()
            queued.cancel()
            first.cancel()
            await asyncio.wait([first, queued])
            assert first.cancelled()
            assert queued.cancelled()
            # The gate is free again: a third call has to wait for neither of them.
            assert (await client.reprocess(slow.ids[2])).ok
            return time.monotonic() - started

    assert asyncio.run(main()) < 1.9
    assert len(slow.executions) == 2, "what waited at the gate was never sent"


def test_cancelling_a_run_ends_it(slow: Emulator) -> None:
    async def main() -> None:
        async with async_client(slow) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.reprocess_many(slow.ids)

    asyncio.run(main())
    sent = slow.counters["http_requests"]
    assert 1 <= sent <= 8
    time.sleep(1.2)
    assert slow.counters["http_requests"] == sent


def test_leaving_an_async_loop_ends_the_sending_and_waits_for_what_is_under_way(graph: Emulator) -> None:
    async def main() -> None:
        async with async_client(graph) as client:
            outcomes = client.iter_reprocess(graph.ids * 2)
            async for _ in outcomes:
                break
            await outcomes.aclose()  # type: ignore[attr-defined]  # it is a generator, which its type does not promise

    asyncio.run(main())
    executed = graph.counters["executed"]
    time.sleep(0.2)
    assert graph.counters["executed"] == executed


def test_an_exception_of_the_source_stops_the_run_with_its_report(graph: Emulator) -> None:
    async def ids() -> AsyncIterator[str]:
        for item in graph.ids[:30]:
            yield item
        raise LookupError("no more")

    async def main() -> RunStoppedError:
        async with async_client(graph) as client:
            with pytest.raises(RunStoppedError) as stopped:
                await client.reprocess_many(ids())
        return stopped.value

    error = asyncio.run(main())
    assert isinstance(error.__cause__, LookupError)
    assert error.report is not None
    assert error.report.ids == graph.ids[:30]


def test_a_sync_call_works_inside_a_running_loop(graph: Emulator, client: Client) -> None:
    async def main() -> None:
        assert client.reprocess(graph.ids[0]).ok
        assert client.reprocess_many(graph.ids).counts["accepted"] == 1000
        assert sum(outcome.ok for outcome in client.iter_reprocess(graph.ids)) == 1000

    asyncio.run(main())


def test_a_callback_may_call_the_client_again(graph: Emulator, client: Client) -> None:
    again = []
    client.reprocess_many(graph.ids[:5], on_outcome=lambda outcome: again.append(client.reprocess(outcome.id)))
    assert [outcome.ok for outcome in again] == [True] * 5


def test_the_loop_stays_responsive_during_a_run(slow: Emulator) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticker = asyncio.create_task(tick())
        async with async_client(slow) as client:
            await client.reprocess_many(slow.ids[:160])
        ticker.cancel()
        return ticks

    assert asyncio.run(main()) >= 30
