"""The wall clock jumps by a day in the middle of a run: nothing is early, nothing hangs, nothing is spoilt.

A library that stands before the C library's clock makes the jump; it is compiled here, so that nothing has to be
installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .faults import Fault, FaultServer, assignment_ids, broken_invariants, fail, throttled
from .held import CANARY, leaks

COMPILER = next((found for found in map(shutil.which, ("cc", "gcc", "clang")) if found), None)
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is the dynamic linker's of Linux"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler is there to make the jumping clock"),
]

CLOCK = r"""
    #define _GNU_SOURCE
    #include <stddef.h>
    #include <sys/syscall.h>
    #include <sys/time.h>
    #include <time.h>
    #include <unistd.h>

    static volatile long ahead = 0;

    /* Called by the test, in the process whose clock is to jump. */
    void jump(long seconds) { ahead = seconds; }

    int clock_gettime(clockid_t id, struct timespec *at) {
        int failed = syscall(SYS_clock_gettime, id, at);
        if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead;
        return failed;
    }

    int gettimeofday(struct timeval *restrict at, void *restrict zone) {
        struct timespec now;
        (void)zone;
        if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
        at->tv_sec = now.tv_sec;
        at->tv_usec = now.tv_nsec / 1000;
        return 0;
    }

    time_t time(time_t *at) {
        struct timespec now;
        if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
        if (at) *at = now.tv_sec;
        return now.tv_sec;
    }
"""

RUN = """
    import ctypes, json, sys, threading, time
    from azure.core.credentials import AccessToken
    from entra_reprocess import Client

    token, url, seconds, after, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    jump = ctypes.CDLL(None).jump
    jump.argtypes = [ctypes.c_long]
    asked = []

    class Credential:
        def get_token(self, *scopes, **options):
            asked.append(time.monotonic())
            return AccessToken(token, int(time.time()) + 3600)

    ids = [f"00000000-0000-4000-8000-{n:012x}" for n in range(1, count + 1)]
    wall, monotonic = time.time(), time.monotonic()
    timer = threading.Timer(after, jump, [seconds])
    timer.start()
    with Client(Credential(), base_url=url, max_wait=5, timeout=5, rate=200) as client:
        report = client.reprocess_many(ids, progress=False, deadline=30)
    timer.join()
    print(json.dumps({
        "outcomes": {one.id: one.status for one in report},
        "elapsed": report.elapsed,
        "longest": max(one.elapsed for one in report),
        "paused": report.paused_seconds,
        "really": time.monotonic() - monotonic,
        "jumped": time.time() - wall - (time.monotonic() - monotonic),
        "asked": len(asked),
    }))
"""


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library."""
    folder = tmp_path_factory.mktemp("clock")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(textwrap.dedent(CLOCK))
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library


def run(clock: Path, url: str, seconds: int, after: float, count: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN), CANARY, url, str(seconds), str(after), str(count)],
        env={**os.environ, "LD_PRELOAD": str(clock)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert leaks(done.stdout, done.stderr) == []
    told: dict[str, Any] = json.loads(done.stdout)
    assert abs(told["jumped"] - seconds) < 2, "the clock did jump"
    return told


@pytest.mark.parametrize(
    ("seconds", "retry_after"), [(-86_400, "1"), (86_400, "1"), (86_400, "{date+1}"), (-86_400, None)]
)
def test_a_clock_that_jumps_by_a_day(faulty: FaultServer, clock: Path, seconds: int, retry_after: str | None) -> None:
    # It jumps while the service wants all to wait, or while it is slow. Few are left after that: what a pause teaches
    # about the quota makes the rest slow.
    ids = assignment_ids(25)
    faulty.set(shared_pause=True, latency=0.02)
    faulty.script(requests=[None, throttled(retry_after) if retry_after else Fault(delay=0.8), fail(500)])
    told = run(clock, faulty.url, seconds, 0.4, len(ids))
    record = faulty.record(settle=5)
    assert set(told["outcomes"].values()) == {"accepted"}
    assert broken_invariants(record, ids, told["outcomes"]) == []
    assert record.violations == [], "nobody came early"
    assert told["really"] < 15
    assert 0 < told["elapsed"] <= told["really"] + 0.1
    assert 0 <= told["longest"] <= told["elapsed"] + 0.1
    assert 0 <= told["paused"] <= told["elapsed"]
    assert told["asked"] == 1, "the token was given for an hour, and no hour has gone by"
