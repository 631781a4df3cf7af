"""16 raw bytes do not say in which order they are; only a type that says so makes them an id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from entra_reprocess import AsyncClient, Client, InvalidIdError
from entra_reprocess.emulator import Emulator

ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
BOTH = ("00112233-4455-6677-8899-aabbccddeeff", "33221100-5544-7766-8899-aabbccddeeff")
FIXED = pa.array([None, ID.bytes, ID.bytes], pa.binary(16))


def tagged(array: Any, name: str) -> Any:
    """A stream of one column with this extension type in the metadata of its field, whether it is known here or not."""
    field = pa.field("id", array.type, metadata={"ARROW:extension:name": name, "ARROW:extension:metadata": ""})
    return pa.table([array], schema=pa.schema([field]))


COLUMNS: dict[str, Callable[[], Any]] = {
    "array": lambda: FIXED,
    "chunked": lambda: pa.chunked_array([pa.array([], pa.binary(16)), FIXED[:1], FIXED]),
    "sliced": lambda: FIXED.slice(1),
    "table": lambda: pa.table({"id": FIXED}),
    "reader": lambda: pa.table({"id": FIXED}).to_reader(max_chunksize=1),
    "dictionary": lambda: pa.array([ID.bytes], pa.binary(16)).dictionary_encode(),
    "nested": lambda: pa.chunked_array([pa.StructArray.from_arrays([FIXED], ["id"])]),
    "another extension type": lambda: tagged(FIXED, "example.guid"),
    "binary": lambda: pa.array([ID.bytes]),
    "large binary": lambda: pa.array([ID.bytes], pa.large_binary()),
    "binary view": lambda: pa.array([ID.bytes], pa.binary_view()),
    "duckdb blob": lambda: duckdb.connect().sql(f"select unhex('{ID.hex}') as id"),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_an_untagged_column_is_refused_with_both_readings(graph: Emulator, client: Client, kind: str) -> None:
    calls: list[Callable[[Any], object]] = [client.reprocess_many, client.states, client.iter_reprocess]
    for call in calls:
        with pytest.raises(TypeError) as error:
            call(COLUMNS[kind]())
        assert all(reading in str(error.value) for reading in BOTH)
        assert "arrow.uuid" in str(error.value)

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as other:
            with pytest.raises(TypeError, match=BOTH[1]):
                await other.reprocess_many(COLUMNS[kind]())

    asyncio.run(main())
    assert graph.counters["http_requests"] == 0


def test_bytes_of_another_length_are_refused_too(client: Client) -> None:
    for column in (pa.array([b"x"]), pa.array([b"x" * 36], pa.binary(36)), pa.array([None], pa.binary(16))):
        with pytest.raises(TypeError, match="cast the column"):
            client.reprocess_many(column)


ITEMS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda raw: [raw],
    "bytearray": lambda raw: [bytearray(raw)],
    "memoryview": lambda raw: [memoryview(raw)],
    "numpy V16": lambda raw: np.array([raw], dtype="V16"),
    "numpy S16": lambda raw: np.array([raw], dtype="S16"),
    "numpy object": lambda raw: np.array([raw], dtype=object),
    "pandas object": lambda raw: pd.Series([raw], dtype=object),
    "pandas of Arrow": lambda raw: pd.Series([raw], dtype=pd.ArrowDtype(pa.binary(16))),
    "polars Binary": lambda raw: pl.Series([raw]),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_raw_items_are_rejected_with_both_readings(graph: Emulator, client: Client, kind: str) -> None:
    (outcome,) = client.reprocess_many(ITEMS[kind](ID.bytes))
    assert outcome.status == "rejected"
    assert outcome.http_status is None
    assert all(reading in (outcome.message or "") for reading in BOTH)
    assert list(client.states(ITEMS[kind](ID.bytes)).values()) == ["rejected"]
    (item,) = ITEMS[kind](ID.bytes)
    with pytest.raises(InvalidIdError, match=BOTH[1]):
        client.reprocess(item)
    with pytest.raises(TypeError, match=f"target.*{BOTH[1]}"):
        client.assignments(target=item)
    assert graph.counters["http_requests"] == 0


@pytest.mark.parametrize("raw", [str(ID).encode(), ID.hex.encode(), b"", b"x" * 17, memoryview(b"x" * 10**7)])
def test_other_bytes_are_to_be_decoded(client: Client, raw: Any) -> None:
    with pytest.raises(InvalidIdError, match="decode it to a str"):
        client.reprocess(raw)


def with_metadata(ids: list[str]) -> Any:
    # As a producer sends it that knows the type, to a consumer that may not.
    return tagged(pa.array([UUID(item).bytes for item in ids], pa.binary(16)), "arrow.uuid")


def lossless(ids: list[str]) -> Any:
    connection = duckdb.connect()
    connection.execute("set arrow_lossless_conversion = true")
    connection.register("rows", pa.table({"place": range(len(ids)), "id": ids}))
    return connection.sql("select id::uuid as id from rows order by place")


TYPED: dict[str, Callable[[list[str]], Any]] = {
    "pyarrow": lambda ids: pa.chunked_array([pa.array([UUID(item).bytes for item in ids], pa.uuid())]),
    "pyarrow table": lambda ids: pa.table({"id": pa.array([UUID(item).bytes for item in ids], pa.uuid())}),
    "metadata": with_metadata,
    "duckdb": lossless,
    "uuid.UUID in network order": lambda ids: [UUID(bytes=UUID(item).bytes) for item in ids],
    "uuid.UUID in that of .NET": lambda ids: [UUID(bytes_le=UUID(item).bytes_le) for item in ids],
}


@pytest.mark.parametrize("kind", TYPED)
def test_what_has_the_type_goes_through(graph: Emulator, client: Client, kind: str, tmp_path: Path) -> None:
    ids = graph.ids[:45]
    report = client.reprocess_many(TYPED[kind](ids), journal=tmp_path / "june.db")
    assert report.ids == ids
    assert graph.executions == dict.fromkeys(ids, 1)
