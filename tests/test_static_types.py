"""What type checkers accept and refuse: `make check` runs mypy on this file and finds an `ignore` that is not needed.

What they refuse is refused at runtime, too, with the way to mend it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, Status, reprocess_many
from entra_reprocess.emulator import Emulator

Told = list[tuple[int, int | None, dict[str, int]]]


def test_callbacks_of_every_spelling(graph: Emulator, client: Client) -> None:
    told: Told = []

    def by_text(done: int, total: int | None, counts: dict[str, int]) -> None:
        told.append((done, total, counts))

    def by_status(done: int, total: int | None, counts: dict[Status, int]) -> int:
        told.append((done, total, {}))
        return counts["accepted"]

    def of_anything(*call: object) -> None:
        assert len(call) == 3

    def of_outcomes(outcome: Outcome) -> None:
        assert outcome.ok

    ids = graph.ids[:3]
    client.reprocess_many(ids, progress=by_text, on_outcome=of_outcomes)
    client.reprocess_many(ids, progress=by_status)
    client.reprocess_many(ids, progress=of_anything)
    client.reprocess_many(
        ids, progress=lambda done, total, counts: told.append((done, total, counts)), on_outcome=lambda each: each.ok
    )
    reprocess_many(ids, progress=by_text, base_url=graph.url, credential=graph.credential)
    # On a busy machine they hear of the way there, too.
    assert len(told) >= 4
    assert told[-1][:2] == (3, 3)


def test_ids_of_every_kind(graph: Emulator, client: Client) -> None:
    ids = graph.ids[:3]
    sequence: Sequence[str] = ids
    collection: Collection[str] = ids
    iterator: Iterator[str] = iter(ids)
    mixed: list[str | UUID] = [ids[0], UUID(ids[1]), ids[2]]
    array: np.ndarray[Any, Any] = np.array(ids)
    reports: list[Report] = [
        client.reprocess_many(sequence),
        client.reprocess_many(collection),
        client.reprocess_many(iterator),
        client.reprocess_many(mixed),
        client.reprocess_many([UUID(each) for each in ids]),
        client.reprocess_many(each for each in ids),
        client.reprocess_many(map(UUID, ids)),
        client.reprocess_many(tuple(ids)),
        client.reprocess_many(set(ids)),
        client.reprocess_many(deque(ids)),
        client.reprocess_many(dict.fromkeys(ids).keys()),
        client.reprocess_many({each: each for each in ids}.values()),
        client.reprocess_many(array),
        client.reprocess_many(pd.Series(ids)),
        client.reprocess_many(pd.DataFrame({"id": ids})["id"]),
        client.reprocess_many(pd.Index(ids)),
        client.reprocess_many(pl.Series(ids)),
        client.reprocess_many(pl.DataFrame({"id": ids})["id"]),
        client.reprocess_many(pa.chunked_array([ids])),
        client.reprocess_many(client.reprocess_many(ids).ids),
    ]
    assert all(set(report.ids) == set(ids) for report in reports)


def test_one_id_is_not_many(graph: Emulator, client: Client) -> None:
    one = graph.ids[0]
    with pytest.raises(TypeError, match="wrap it in a list"):
        client.reprocess_many(one)  # type: ignore[arg-type]  # what this test is about
    with pytest.raises(TypeError, match="wrap it in a list"):
        client.reprocess_many("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b")  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="wrap it in a list"):
        client.reprocess_many(UUID(one))  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="wrap it in a list"):
        client.iter_reprocess(one)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="wrap it in a list"):
        client.states(one)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="wrap it in a list"):
        reprocess_many(one, base_url=graph.url, credential="t")  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="decode it"):
        client.reprocess_many(one.encode())  # type: ignore[arg-type]  # likewise
    assert graph.counters["http_requests"] == 0


def test_a_frame_is_no_column(graph: Emulator, client: Client) -> None:
    of_pandas, of_polars = pd.DataFrame({"id": graph.ids}), pl.DataFrame({"id": graph.ids})
    with pytest.raises(TypeError, match=r'df\["id"\]'):
        client.reprocess_many(of_pandas)  # type: ignore[arg-type]  # what this test is about
    with pytest.raises(TypeError, match=r'df\["id"\]'):
        client.reprocess_many(of_polars)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match=r'df\["id"\]'):
        client.reprocess_many(of_polars.lazy())  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match=r'df\["id"\]'):
        client.iter_reprocess(of_polars)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match=r'df\["id"\]'):
        client.states(of_pandas)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match=r'df\["id"\]'):
        reprocess_many(of_polars, base_url=graph.url, credential="t")  # type: ignore[arg-type]  # likewise
    assert graph.counters["http_requests"] == 0


def test_the_asynchronous_client_likewise(graph: Emulator) -> None:
    frame = pl.DataFrame({"id": graph.ids})

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            with pytest.raises(TypeError, match="wrap it in a list"):
                await client.reprocess_many("x")  # type: ignore[arg-type]  # what this test is about
            with pytest.raises(TypeError, match="wrap it in a list"):
                client.iter_reprocess("x")  # type: ignore[arg-type]  # likewise
            with pytest.raises(TypeError, match="wrap it in a list"):
                await client.states("x")  # type: ignore[arg-type]  # likewise
            with pytest.raises(TypeError, match=r'df\["id"\]'):
                await client.reprocess_many(frame)  # type: ignore[arg-type]  # likewise
            with pytest.raises(ValueError, match="delivrd"):
                client.assignments(state="delivrd")  # type: ignore[arg-type]  # likewise
            assert len([each async for each in client.assignments(state="Delivered")]) == 1000

    asyncio.run(main())


def test_a_state_is_one_of_five(client: Client) -> None:
    with pytest.raises(ValueError, match=r'"delivrd".*delivering.*partiallyDelivered'):
        client.assignments(state="delivrd")  # type: ignore[arg-type]  # what this test is about
    with pytest.raises(ValueError, match="give one of"):
        client.assignments(state="")  # type: ignore[arg-type]  # likewise
    good: list[Callable[[], object]] = [
        lambda: client.assignments(state="partiallyDelivered"),
        lambda: client.assignments(state="PartiallyDelivered"),
        lambda: client.assignments(state="delivered"),
        lambda: client.assignments(state="Delivered"),
        lambda: client.assignments(state="expired"),
        lambda: client.assignments(state=None),
    ]
    for call in good:
        call()


def test_other_misspelt_words(graph: Emulator, client: Client) -> None:
    ids = graph.ids[:1]
    with pytest.raises(ValueError, match="forbiden"):
        client.reprocess_many(ids, journal="unused.db", retry=("forbiden",))  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="progress is of type str"):
        client.reprocess_many(ids, progress="yes")  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match="gcc"):
        Client("token", cloud="gcc")  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match="Lost"):
        Emulator(1, states={"Lost": 1})  # type: ignore[dict-item]  # likewise
    report = client.reprocess_many(ids)
    with pytest.raises(KeyError):
        report.counts["acepted"]  # type: ignore[index]  # likewise
