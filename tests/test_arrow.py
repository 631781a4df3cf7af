"""Arrow data of every shape: the right ids, or an error that names the type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from entra_reprocess import Client
from entra_reprocess.emulator import Emulator


class Stream:
    """Hands out one thing as its stream."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._capsule


def rows(ids: list[str | None], valid: list[bool]) -> pa.StructArray:
    """A struct of one column, of which some rows are null, whatever their column holds."""
    return pa.StructArray.from_arrays(
        [pa.array(ids, pa.string())], ["id"], mask=pa.array([not each for each in valid], pa.bool_())
    )


# Rows that are null.

NULL_ROWS: dict[str, Callable[[pa.StructArray], Any]] = {
    "array": lambda data: data,
    "chunked": lambda data: pa.chunked_array([data[:2], data[2:2], data[2:]]),
    "column of a table": lambda data: pa.table({"row": data}),
    "column of a struct": lambda data: pa.StructArray.from_arrays([data], ["outer"]),
    "reader": lambda data: pa.table({"row": data}).to_reader(max_chunksize=2),
    "sliced": lambda data: pa.concat_arrays([rows(["x"], [True]), data]).slice(1),
    "stream alone": lambda data: Stream(pa.chunked_array([data]).__arrow_c_stream__()),
}


@pytest.mark.parametrize("kind", NULL_ROWS)
def test_null_rows_of_a_struct_are_empty_and_never_sent(graph: Emulator, client: Client, kind: str) -> None:
    ids = graph.ids[:6]
    valid = [True, False, True, True, False, True]
    report = client.reprocess_many(NULL_ROWS[kind](rows([*ids[:5], None], valid)))
    assert [(outcome.id, outcome.status) for outcome in report] == [
        (ids[0], "accepted"),
        ("", "rejected"),
        (ids[2], "accepted"),
        (ids[3], "accepted"),
        ("", "rejected"),
        ("", "rejected"),
    ]
    assert all("is empty" in (outcome.message or "") for outcome in report.not_accepted)
    assert graph.executions == dict.fromkeys([ids[0], ids[2], ids[3]], 1)


def test_null_rows_of_both_levels(graph: Emulator, client: Client) -> None:
    ids = graph.ids[:4]
    inner = rows([*ids], [True, True, False, True])
    outer = pa.StructArray.from_arrays([inner], ["inner"], mask=pa.array([False, True, False, False]))
    report = client.reprocess_many(outer)
    assert [outcome.status for outcome in report] == ["accepted", "rejected", "rejected", "accepted"]
    uuids = pa.array([bytes(range(16)), bytes(range(16))], pa.uuid())
    mask = pa.array([True, False])
    states = client.states(pa.StructArray.from_arrays([uuids], ["id"], mask=mask))
    assert list(states) == ["", "00010203-0405-0607-0809-0a0b0c0d0e0f"]


# Shapes.

SHAPES: dict[str, Callable[[list[str]], Any]] = {
    "sliced": lambda ids: pa.array(["x", *ids, "y"]).slice(1, len(ids)),
    "sliced table": lambda ids: pa.table({"id": ["x", *ids, "y"]}).slice(1, len(ids)),
    "sliced dictionary": lambda ids: pa.array(["x", "x", *ids]).dictionary_encode().slice(2),
    "sliced view": lambda ids: pa.array(["x", *ids], pa.string_view()).slice(1),
    "empty chunks": lambda ids: pa.chunked_array([[], ids[:1], [], ids[1:], []], pa.string()),
    "chunks of other dictionaries": lambda ids: pa.chunked_array(
        [pa.array(ids[:3]).dictionary_encode(), pa.array(ids[3:]).dictionary_encode()]
    ),
    "batch": lambda ids: pa.record_batch({"id": ids}),
    "nested": lambda ids: pa.table({"a": pa.StructArray.from_arrays([pa.array(ids)], ["b"])}),
    "polars Series of categories": lambda ids: pl.Series(ids, dtype=pl.Categorical),
    "polars stream": lambda ids: Stream(pl.Series(ids).__arrow_c_stream__()),
    "polars frame as a stream": lambda ids: Stream(pl.DataFrame({"id": ids}).__arrow_c_stream__()),
    "not nullable": lambda ids: pa.table([ids], schema=pa.schema([pa.field("id", pa.string(), nullable=False)])),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes(graph: Emulator, client: Client, kind: str, tmp_path: Path) -> None:
    ids = graph.ids[:20]
    assert client.reprocess_many(SHAPES[kind](ids)).ids == ids
    assert client.reprocess_many(SHAPES[kind](ids), journal=tmp_path / "june.db").counts["accepted"] == 20
    assert graph.executions == dict.fromkeys(ids, 2)


def test_nothing_at_all(client: Client) -> None:
    empty: list[Any] = [
        pa.array([], pa.string()),
        pa.chunked_array([], pa.string()),
        pa.table({"id": pa.array([], pa.string())}),
        pa.array([], pa.null()),
        pa.array([], pa.string()).dictionary_encode(),
        rows([], []),
    ]
    for data in empty:
        assert len(client.reprocess_many(data)) == 0
        assert client.states(data) == {}


REFUSED: dict[str, Callable[[], Any]] = {
    "lists": lambda: pa.array([["x"]]),
    "large lists": lambda: pa.array([["x"]], pa.large_list(pa.string())),
    "fixed lists": lambda: pa.array([["x"]], pa.list_(pa.string(), 1)),
    "list views": lambda: pa.array([["x"]], pa.list_view(pa.string())),
    "map": lambda: pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
    "run-end encoded": lambda: pa.RunEndEncodedArray.from_arrays([2], ["x"]),
    "numbers": lambda: pa.array([1.5]),
    "booleans": lambda: pa.array([True]),
    "decimals": lambda: pa.array([1], pa.decimal128(5)),
    "times": lambda: pa.array([1], pa.timestamp("us", "UTC")),
    "dictionary of numbers": lambda: pa.array([1, 1]).dictionary_encode(),
    "dense union": lambda: pa.UnionArray.from_dense(
        pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array(["x"])]
    ),
    "two columns": lambda: pa.table({"a": ["x"], "b": ["y"]}),
    "no column": lambda: pa.table({}),
    "two columns further in": lambda: pa.array([{"a": "x", "b": "y"}]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_types_are_refused_by_name(graph: Emulator, client: Client, kind: str) -> None:
    with pytest.raises(TypeError, match="the Arrow data"):
        client.reprocess_many(REFUSED[kind]())
    with pytest.raises(TypeError, match="the Arrow data"):
        client.states(
            Stream(pa.chunked_array([REFUSED[kind]()]).__arrow_c_stream__()) if "col" not in kind else REFUSED[kind]()
        )
    assert graph.counters["http_requests"] == 0
