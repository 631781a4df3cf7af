"""Arrow data of every shape, and producers that break its rules: an error or the right ids, never a panic."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from entra_reprocess import Client, RunStoppedError
from entra_reprocess.emulator import Emulator


class Capsules:
    """Hands out capsules that are at hand."""

    def __init__(self, *capsules: Any) -> None:
        self._capsules = capsules

    def __arrow_c_array__(self, requested_schema: object | None = None) -> object:
        return self._capsules


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


# Producers that break the rules.


def test_what_was_read_before_is_said_to_be_empty(graph: Emulator, client: Client) -> None:
    data = pa.chunked_array([graph.ids[:3]])
    once = Stream(data.__arrow_c_stream__())
    assert client.reprocess_many(once).counts["accepted"] == 3
    schema, array = pa.array(graph.ids[:3]).__arrow_c_array__()
    pair: Any = Capsules(schema, array)
    assert client.reprocess_many(pair).counts["accepted"] == 3
    calls: list[Callable[[Any], object]] = [client.reprocess_many, client.states, client.iter_reprocess]
    for consumed in (once, pair):
        for call in calls:
            with pytest.raises(ValueError, match="was read before and is empty now"):
                call(consumed)
    # Consumed by others.
    capsule = data.__arrow_c_stream__()
    pa.chunked_array(Stream(capsule))
    with pytest.raises(ValueError, match="was read before"):
        client.reprocess_many(Stream(capsule))
    schema, array = pa.array(graph.ids[:3]).__arrow_c_array__()
    pair = Capsules(schema, array)
    pa.array(pair)
    with pytest.raises(ValueError, match="was read before"):
        client.reprocess_many(pair)


def test_things_that_are_no_capsules(client: Client) -> None:
    schema, array = pa.array(["x"]).__arrow_c_array__()
    stream = pa.chunked_array([["x"]]).__arrow_c_stream__()
    odd: list[Any] = [
        Stream(None),
        Stream(5),
        Stream(array),
        Stream((schema, array)),
        Capsules(array, schema),
        Capsules(schema),
        Capsules(schema, stream),
        Capsules(None, None),
        Capsules(schema, array, array),
    ]
    for data in odd:
        with pytest.raises((TypeError, ValueError)):
            client.reprocess_many(data)


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), MemoryError()])
def test_what_the_producer_raises_is_passed_on(client: Client, error: BaseException) -> None:
    class Raising:
        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            raise error

    with pytest.raises(type(error)):
        client.reprocess_many(Raising())


def breaking_reader(ids: list[str], error: Exception) -> pa.RecordBatchReader:
    schema = pa.schema([("id", pa.string())])

    def batches() -> Any:
        yield pa.record_batch([pa.array(ids)], schema)
        raise error

    return pa.RecordBatchReader.from_batches(schema, batches())


class SizedStream:
    """A stream of something that has a length."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader

    def __len__(self) -> int:
        return 1

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._reader.__arrow_c_stream__(requested_schema)


def test_a_stream_that_breaks_midway(graph: Emulator, client: Client, tmp_path: Path) -> None:
    ids = graph.ids[:50]
    with pytest.raises(RunStoppedError) as stopped:
        client.reprocess_many(breaking_reader(ids, ValueError("the disk is gone")))
    assert isinstance(stopped.value.__cause__, ValueError)
    assert "the disk is gone" in str(stopped.value.__cause__)
    assert stopped.value.report is not None
    assert stopped.value.report.ids == ids
    # What has a length is read to its end first, so nothing was sent.
    sent = graph.counters["http_requests"]
    with pytest.raises(ValueError, match="the disk is gone"):
        client.reprocess_many(SizedStream(breaking_reader(ids, ValueError("the disk is gone"))), journal=tmp_path / "j")
    assert graph.counters["http_requests"] == sent


def test_text_that_is_no_utf8(graph: Emulator, client: Client) -> None:
    column = pa.array([b"\xff\xfe", graph.ids[0].encode()]).view(pa.string())
    with pytest.raises(ValueError, match="the Arrow data cannot be read"):
        client.reprocess_many(column)
    assert graph.counters["http_requests"] == 0


# The structs themselves: https://arrow.apache.org/docs/format/CDataInterface.html, CStreamInterface.html.


class Schema(ctypes.Structure):
    pass


Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


class Array(ctypes.Structure):
    pass


Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.c_void_p),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]

pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
pointer_of.restype = ctypes.c_void_p
pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]


def spoilt(data: Any, spoil: Callable[[Schema, Array], object]) -> Any:
    """This array, whose structs were changed by hand."""
    schema, array = data.__arrow_c_array__()
    spoil(
        Schema.from_address(pointer_of(schema, b"arrow_schema")), Array.from_address(pointer_of(array, b"arrow_array"))
    )
    return Capsules(schema, array)


KEPT: list[object] = []
"""What a struct points at has to stay."""


def point(struct: Any, field: str, value: bytes | None) -> None:
    KEPT.append(value)
    setattr(struct, field, value)


SPOILT: dict[str, tuple[Any, Callable[[Any, Any], object]]] = {
    "no format": (pa.array(["x"]), lambda schema, _: point(schema, "format", None)),
    "an unknown format": (pa.array(["x"]), lambda schema, _: point(schema, "format", b"!?")),
    "a format that is no text": (pa.array(["x"]), lambda schema, _: point(schema, "format", b"\xff\xfe")),
    "an empty format": (pa.array(["x"]), lambda schema, _: point(schema, "format", b"")),
    "a name that is no text": (rows(["x"], [True]), lambda schema, _: point(schema, "format", b"+s\xff")),
    "no buffers": (pa.array(["x"]), lambda _, array: setattr(array, "n_buffers", 0)),
    "a buffer too few": (pa.array(["x"]), lambda _, array: setattr(array, "n_buffers", 2)),
    "a child too few": (rows(["x"], [True]), lambda _, array: setattr(array, "n_children", 0)),
    "children that the schema has not": (rows(["x"], [True]), lambda schema, _: setattr(schema, "n_children", 0)),
    "a struct longer than its column": (rows(["x"], [True]), lambda _, array: setattr(array, "length", 9)),
    "a number of nulls that is made up": (pa.array(["x", None]), lambda _, array: setattr(array, "null_count", 2)),
    "a dictionary that is not there": (
        pa.array(["x"]).dictionary_encode(),
        lambda _, array: setattr(array, "dictionary", None),
    ),
    "a negative length": (pa.array(["x"]), lambda _, array: setattr(array, "length", -1)),
    "a released schema": (pa.array(["x"]), lambda schema, _: setattr(schema, "release", None)),
    "a released array": (pa.array(["x"]), lambda _, array: setattr(array, "release", None)),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_producer_that_breaks_the_rules_gets_an_error(
    graph: Emulator, client: Client, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data, spoil = SPOILT[kind]
    with pytest.raises((TypeError, ValueError)) as error:
        client.reprocess_many(spoilt(data, spoil))
    assert "\n" not in str(error.value)
    assert "panicked" not in capfd.readouterr().err
    assert graph.counters["http_requests"] == 0
    gc.collect()
    assert client.reprocess_many(graph.ids[:2]).counts["accepted"] == 2


class CStream(ctypes.Structure):
    """struct ArrowArrayStream."""


get_schema_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(CStream), ctypes.c_void_p)
get_next_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(CStream), ctypes.c_void_p)
get_last_error_type = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(CStream))
release_type = ctypes.CFUNCTYPE(None, ctypes.POINTER(CStream))
CStream._fields_ = [
    ("get_schema", get_schema_type),
    ("get_next", get_next_type),
    ("get_last_error", get_last_error_type),
    ("release", release_type),
    ("private_data", ctypes.c_void_p),
]
new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def made_by_hand(**functions: Any) -> Stream:
    """A stream whose functions are Python's."""

    def release(stream: Any) -> None:
        stream.contents.release = release_type()

    struct = CStream(
        get_schema=functions.get("get_schema", get_schema_type()),
        get_next=functions.get("get_next", get_next_type()),
        get_last_error=functions.get("get_last_error", get_last_error_type()),
        release=release_type(release),
    )
    KEPT.append((struct, functions))
    return Stream(new_capsule(ctypes.addressof(struct), b"arrow_array_stream", None))


def string_schema(_stream: Any, out: int) -> int:
    pa.string()._export_to_c(out)
    return 0


def fails(_stream: Any, _out: int) -> int:
    return 5


def no_text(_stream: Any) -> int | None:
    return None


BY_HAND: dict[str, dict[str, Any]] = {
    "no functions": {},
    "a schema that fails": {"get_schema": get_schema_type(fails), "get_next": get_next_type(fails)},
    "a schema that fails without a text": {
        "get_schema": get_schema_type(fails),
        "get_next": get_next_type(fails),
        "get_last_error": get_last_error_type(no_text),
    },
    "a schema that is not written": {"get_schema": get_schema_type(lambda *_: 0), "get_next": get_next_type(fails)},
    "no get_next": {"get_schema": get_schema_type(string_schema)},
    "a next that fails": {"get_schema": get_schema_type(string_schema), "get_next": get_next_type(fails)},
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_stream_that_fails(graph: Emulator, client: Client, kind: str) -> None:
    with pytest.raises((ValueError, RunStoppedError)) as error:
        client.reprocess_many(made_by_hand(**BY_HAND[kind]))
    cause = error.value.__cause__ or error.value
    assert isinstance(cause, ValueError)
    assert "the Arrow data cannot be read" in str(cause)
    assert graph.counters["http_requests"] == 0


def test_a_stream_whose_threads_run_python(graph: Emulator, client: Client) -> None:
    # A DuckDB query that calls a Python function does so in threads of its own, and waits for them.
    ids = graph.ids[:30]
    left = [pa.array(ids)]

    def get_next(_stream: Any, out: int) -> int:
        seen: list[int] = []
        worker = threading.Thread(target=lambda: seen.append(1))
        worker.start()
        worker.join(20)
        if left:
            left.pop()._export_to_c(out)
        else:
            ctypes.memset(out, 0, ctypes.sizeof(Array))
        return 0 if seen else 5

    stream = made_by_hand(get_schema=get_schema_type(string_schema), get_next=get_next_type(get_next))
    assert client.reprocess_many(stream).ids == ids
