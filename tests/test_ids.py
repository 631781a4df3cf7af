"""Every kind of ids, and every lookalike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from entra_reprocess import Client, InvalidIdError
from entra_reprocess.emulator import Emulator

KINDS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda ids: (item for item in ids),
    "dict keys": lambda ids: dict.fromkeys(ids).keys(),
    "UUIDs": lambda ids: [UUID(item) for item in ids],
    "upper case": lambda ids: [item.upper() for item in ids],
    "braces": lambda ids: [f"{{{item}}}" for item in ids],
    "URNs": lambda ids: [UUID(item).urn for item in ids],
    "numpy str": np.array,
    "numpy object": lambda ids: np.array([UUID(item) for item in ids], dtype=object),
    "pandas Series": pd.Series,
    "pandas object Series": lambda ids: pd.Series([UUID(item) for item in ids], dtype=object),
    "pandas Index": pd.Index,
    "polars Series": pl.Series,
    "pyarrow array": pa.array,
    "pyarrow chunked": lambda ids: pa.chunked_array([ids[:7], ids[7:7], ids[7:]]),
    "pyarrow large": lambda ids: pa.chunked_array([pa.array(ids, pa.large_string())]),
    "pyarrow view": lambda ids: pa.chunked_array([pa.array(ids, pa.string_view())]),
    "pyarrow dictionary": lambda ids: pa.chunked_array([pa.array(ids).dictionary_encode()]),
    "pyarrow uuid": lambda ids: pa.chunked_array([pa.array([UUID(item).bytes for item in ids], pa.uuid())]),
    "pyarrow table": lambda ids: pa.table({"id": ids}),
    "pyarrow reader": lambda ids: pa.table({"id": ids}).to_reader(max_chunksize=11),
    "a stream alone": lambda ids: OnlyStream(pa.chunked_array([ids])),
}


class OnlyStream:
    """Has nothing but the capsule, as a DuckDB relation."""

    def __init__(self, data: pa.ChunkedArray) -> None:
        self._data = data

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._data.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_its_ids_in_order(graph: Emulator, client: Client, kind: str) -> None:
    ids = graph.ids[:45]
    report = client.reprocess_many(KINDS[kind](ids))
    assert report.ids == ids
    assert report.counts["accepted"] == 45
    assert graph.executions == dict.fromkeys(ids, 1)


LOOKALIKES: dict[str, tuple[Any, str]] = {
    "str": ("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b", "list"),
    "UUID": (UUID(int=0), "list"),
    "bytes": (b"d82eb508", "decode"),
    "dict": ({"a": 1}, "keys"),
    "pandas DataFrame": (pd.DataFrame({"id": ["x"]}), 'df["id"]'),
    "polars DataFrame": (pl.DataFrame({"id": ["x"]}), 'df["id"]'),
    "polars LazyFrame": (pl.LazyFrame({"id": ["x"]}), 'df["id"]'),
    "None": (None, "iterable"),
    "int": (5, "iterable"),
    "two columns": (pa.table({"id": ["x"], "name": ["y"]}), "2 columns"),
    "a column of numbers": (pa.table({"id": [1, 2]}), "Int64"),
}


@pytest.mark.parametrize("kind", LOOKALIKES)
def test_a_lookalike_is_refused_with_its_fix(graph: Emulator, client: Client, kind: str) -> None:
    ids, fix = LOOKALIKES[kind]
    with pytest.raises(TypeError, match=re.escape(fix)):
        client.reprocess_many(ids)
    with pytest.raises(TypeError, match=re.escape(fix)):
        list(client.iter_reprocess(ids))
    assert graph.counters["http_requests"] == 0


class Strange:
    """Cannot even be printed."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


INVALID: list[object] = [
    "",
    "x",
    "../../users",
    "d82eb508%2dacc4-43cc-bcf1-7c1c4a2c073b",
    "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\r\nX: 1",
    "d82eb508 acc4-43cc-bcf1-7c1c4a2c073b",
    "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\0",
    "\ud800",
    "x" * 1_000_000,
    None,
    42,
    3.5,
    b"d82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
    ["d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"],
    Strange(),
    float("nan"),
]


@pytest.mark.parametrize("bad", INVALID, ids=lambda bad: type(bad).__name__)
def test_what_is_no_id_is_refused_here(graph: Emulator, client: Client, bad: Any) -> None:
    with pytest.raises(InvalidIdError) as error:
        client.reprocess(bad)
    assert isinstance(error.value, ValueError)
    assert len(str(error.value)) < 500
    assert graph.counters["http_requests"] == 0


def test_among_others_it_is_rejected_and_the_rest_goes_on(graph: Emulator, client: Client) -> None:
    ids: list[Any] = [*graph.ids[:30], *INVALID, *graph.ids[30:60]]
    report = client.reprocess_many(ids)
    assert report.counts["accepted"] == 60
    rejected = report[30 : 30 + len(INVALID)]
    assert [outcome.status for outcome in rejected] == ["rejected"] * len(INVALID)
    assert [outcome.index for outcome in rejected] == list(range(30, 30 + len(INVALID)))
    assert all(outcome.http_status is None and isinstance(outcome.error, InvalidIdError) for outcome in rejected)
    assert report[31].id == "x"
    assert report[39].id == ""
    assert graph.counters["parts"] == 60


def test_nulls_of_arrow_are_rejected(graph: Emulator, client: Client) -> None:
    first, second = graph.ids[:2]
    column = pa.chunked_array([pa.array([first, None]), pa.array([None, second])])
    assert [outcome.status for outcome in client.reprocess_many(column)] == [
        "accepted",
        "rejected",
        "rejected",
        "accepted",
    ]
    nothing = pa.chunked_array([pa.array([None, None], pa.string()).dictionary_encode()])
    assert client.reprocess_many(nothing).counts["rejected"] == 2
    encoded = pa.chunked_array([pa.array([first, None, second]).dictionary_encode()])
    assert [outcome.status for outcome in client.reprocess_many(encoded)] == ["accepted", "rejected", "accepted"]


def test_repeated_ids_are_sent_once_and_each_place_has_the_outcome(graph: Emulator, client: Client) -> None:
    first, second = graph.ids[:2]
    ids: list[Any] = [first, first.upper(), second, f"{{{first}}}", str(UUID(int=7)), UUID(int=7)]
    report = client.reprocess_many(ids)
    assert report.ids == [first, first, second, first, str(UUID(int=7)), str(UUID(int=7))]
    assert [outcome.index for outcome in report] == [0, 0, 2, 0, 4, 4]
    assert report.counts["accepted"] == 4
    assert report.counts["not_found"] == 2
    assert graph.executions == {first: 1, second: 1}
    assert graph.counters["parts"] == 3


def test_the_input_is_read_no_further_ahead_than_there_is_room(graph: Emulator) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            for item in graph.ids:
                taken += 1
                yield item

    with Client(graph.credential, base_url=graph.url, concurrency=1) as client:
        outcomes = client.iter_reprocess(endless())
        for _ in range(100):
            next(outcomes)
        assert taken <= 3_000
        outcomes.close()  # type: ignore[attr-defined]  # it is a generator, which its type does not promise
