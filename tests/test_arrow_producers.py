"""Arrow data from producers that break the rules of its interface, or that fail: an error, never a panic."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from entra_reprocess import Client, RunStoppedError
from entra_reprocess.emulator import Emulator

from .test_arrow import Stream, rows


class Capsules:
    """Hands out capsules that are at hand."""

    def __init__(self, *capsules: Any) -> None:
        self._capsules = capsules

    def __arrow_c_array__(self, requested_schema: object | None = None) -> object:
        return self._capsules


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
