"""How much memory a client takes: with many ids, and with answers that are far too large."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import Fault, FaultServer, assignment_ids, broken_invariants
from .held import CANARY, leaks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MIB = 1024 * 1024
TESTS = str(Path(__file__).parent)


def measured(code: str, *arguments: object) -> dict[str, Any]:
    """What a script in a process of its own prints as JSON."""
    done = scripts.run(code, TESTS, CANARY, *(str(each) for each in arguments), timeout=600)
    assert done.returncode == 0, done.stderr
    assert leaks(done.stdout, done.stderr) == []
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# Answers that are too large.

LARGE = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import memory
    from entra_reprocess import Client
    token, url, batch_size, count = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    ids = [f"00000000-0000-4000-8000-{n:012x}" for n in range(1, count + 1)]
    with Client(token, base_url=url, batch_size=batch_size, max_wait=0.05, max_retries=1) as client:
        before = memory.start()
        report = client.reprocess_many(ids, progress=False)
        after = memory.peak()
    print(json.dumps({"grown": after - before, "outcomes": {one.id: one.status for one in report}}))
"""

TOO_LARGE: dict[str, Fault] = {
    "a gzip bomb of 512 MiB": Fault(pad_mib=512, gzip=True, executed=True),
    "512 MiB": Fault(pad_mib=512, executed=True),
    "512 MiB in chunks": Fault(pad_mib=512, framing="chunked", executed=True),
    "512 MiB of an error": Fault(status=500, body="{}", pad_mib=512, executed=True),
    "64 MiB of header": Fault(huge_header=64 * MIB, executed=True),
}


@pytest.mark.parametrize("batch_size", [20, 1])
@pytest.mark.parametrize("kind", TOO_LARGE)
def test_no_answer_takes_more_memory_than_its_cap(faulty: FaultServer, kind: str, batch_size: int) -> None:
    ids = assignment_ids(batch_size)
    faulty.script(requests=[TOO_LARGE[kind], TOO_LARGE[kind]])
    told = measured(LARGE, faulty.url, batch_size, len(ids))
    record = faulty.record(settle=5)
    assert set(told["outcomes"].values()) == {"unknown"}
    assert broken_invariants(record, ids, told["outcomes"]) == []
    assert record.violations == []
    assert record.request_count == 2
    # 8 MiB are read, into a buffer that doubles.
    assert told["grown"] < 40 * MIB


# Answers that are as large as may be, and made of as many values as go in.

FULL = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import memory
    from entra_reprocess import Client, ReprocessError
    token, url, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
    ids = [f"00000000-0000-4000-8000-{n:012x}" for n in range(1, count + 1)]
    with Client(token, base_url=url, max_retries=0, concurrency=1, batch_size=max(count, 1)) as client:
        before = memory.start()
        try:
            said = str(client.reprocess_many(ids, progress=False)[0].status) if ids else len(list(client.assignments()))
        except ReprocessError as err:
            said = type(err).__name__
        after = memory.peak()
    print(json.dumps({"grown": after - before, "said": said}))
"""


def full(before: str, each: str, after: str, cap: int = 8 * MIB) -> str:
    """A text a little below the cap, with as much of `each` as fits."""
    return before + each * ((cap - 1_000) // len(each)) + after


HOSTILE: dict[str, tuple[int, int, str, str]] = {
    # So many ids, the status, the answer, and what comes of it.
    "a batch of numbers": (20, 200, full('{"responses":[', "0,", "0]}"), "unknown"),
    "a batch of empty objects": (20, 200, full('{"responses":[', "{},", "{}]}"), "unknown"),
    "a part of empty lists": (
        20,
        200,
        full('{"responses":[{"id":"1","status":200,"body":[', "[],", "0]}]}"),
        "unknown",
    ),
    "something beside": (20, 200, full('{"responses":[],"x":[', '{"a":0},', "0]}"), "unknown"),
    "an error of empty lists": (1, 400, full('{"error":{"code":"x","z":[', "[],", "0]}}", MIB), "rejected"),
    "errors in errors": (1, 404, full('{"error":{"innererror":', '{"innererror":', "0}}", MIB), "not_found"),
    "a page of empty objects": (0, 200, full('{"value":[', "{},", "{}]}"), "ProtocolError"),
    "an entry of empty lists": (0, 200, full('{"value":[{"id":"x","z":[', "[],", "0]}]}"), "ProtocolError"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_answer_of_many_values_takes_little_more_than_its_bytes(faulty: FaultServer, kind: str) -> None:
    count, status, body, said = HOSTILE[kind]
    faulty.script(requests=[Fault(status=status, body=body, executed=True)])
    told = measured(FULL, faulty.url, count)
    assert told["said"] == said
    assert told["grown"] < 32 * MIB


# Many ids.

MANY = """
    import json, sys, time
    sys.path.insert(0, sys.argv[1])
    import memory
    from entra_reprocess import Client
    token, url, file, *counts = sys.argv[2:]
    def ids(count):
        with open(file) as lines:
            for _, line in zip(range(count), lines):
                yield line[:36]
    told = []
    with Client(token, base_url=url) as client:
        client.reprocess_many(ids(2_000), progress=False)  # what is made once is made before
        for count in map(int, counts):
            before = memory.start()
            started = time.perf_counter()
            report = client.reprocess_many(ids(count), progress=False)
            took = time.perf_counter() - started
            told.append({
                "count": len(report), "accepted": report.counts["accepted"], "took": took,
                "held": memory.resident() - before, "peak": memory.peak() - before,
            })
            del report
    print(json.dumps({"told": told}))
"""

STREAMED = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import memory
    from entra_reprocess import Client
    token, url, file, warm, count = sys.argv[2:]
    def ids(count):
        with open(file) as lines:
            for _, line in zip(range(count), lines):
                yield line[:36]
    accepted = 0
    with Client(token, base_url=url) as client:
        for seen, outcome in enumerate(client.iter_reprocess(ids(int(count))), 1):
            accepted += outcome.ok
            if seen == int(warm):
                before = memory.start()
    print(json.dumps({"accepted": accepted, "grown": memory.peak() - before}))
"""


def write(ids: Sequence[str], path: Path) -> Path:
    path.write_text("\n".join(ids))
    return path


def test_a_report_is_small(tmp_path: Path) -> None:
    with Emulator(200_000, token=CANARY) as graph:
        file = write(graph.ids, tmp_path / "ids")
        small, large = measured(MANY, graph.url, file, 20_000, 200_000)["told"]
    print(small, large)
    assert (small["accepted"], large["accepted"]) == (20_000, 200_000)
    # A fifth of what a million may take, and room for the allocator.
    assert large["held"] < 20 * MIB + 4 * MIB
    assert large["peak"] < 20 * MIB + 16 * MIB
    # Ten times as many take ten times as long, not a hundred times.
    assert large["took"] < 10 * 10 * small["took"]


def test_a_stream_does_not_grow(tmp_path: Path) -> None:
    with Emulator(200_000, token=CANARY) as graph:
        file = write(graph.ids, tmp_path / "ids")
        told = measured(STREAMED, graph.url, file, 80_000, 200_000)
    print(told)
    assert told["accepted"] == 200_000
    assert told["grown"] < 8 * MIB


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_a_million(tmp_path: Path) -> None:
    with Emulator(1_000_000, token=CANARY) as graph:
        file = write(graph.ids, tmp_path / "ids")
        small, large = measured(MANY, graph.url, file, 100_000, 1_000_000)["told"]
        stream = measured(STREAMED, graph.url, file, 100_000, 1_000_000)
    print(small, large, stream)
    assert (small["accepted"], large["accepted"], stream["accepted"]) == (100_000, 1_000_000, 1_000_000)
    assert large["held"] < 100 * MIB
    assert large["took"] < 10 * 10 * small["took"]
    assert stream["grown"] < 8 * MIB
