"""What a journal costs: the same runs on the emulator without and with one, in turn; run by `make bench`.

CPU is that of the whole process, the emulator included, so only the difference means something. The difference is
taken between neighbours, and of many the median, since a machine is never quiet for long.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from entra_reprocess import Client
from entra_reprocess.emulator import Emulator

CPU_IDS, CPU_RUNS = 100_000, 7
WALL_IDS, WALL_RUNS = 20_000, 5
LATENCY = 0.02  # seconds


def once(ids: int, latency: float, journal: Path | None) -> tuple[float, float]:
    """One run: its CPU and its wall time, in seconds."""
    with Emulator(ids, latency=latency) as graph, Client(graph.credential, base_url=graph.url) as client:
        given = graph.ids
        cpu, wall = time.process_time(), time.perf_counter()
        report = client.reprocess_many(given, journal=journal, progress=False)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        assert report.counts["accepted"] == ids
    return cpu, wall


def pairs(ids: int, latency: float, runs: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Neighbouring runs without and with a journal."""
    found = []
    for _ in range(runs):
        without = once(ids, latency, None)
        with tempfile.TemporaryDirectory() as folder:
            found.append((without, once(ids, latency, Path(folder) / "june.db")))
    return found


def main() -> None:
    cpu = [(journal[0] - plain[0]) / CPU_IDS * 1e6 for plain, journal in pairs(CPU_IDS, 0.0, CPU_RUNS)]
    print(
        f"CPU with a journal, {CPU_IDS:,} ids, no latency: {statistics.median(cpu):.1f} microseconds more for each id"
        f" (of {CPU_RUNS} runs the median; {min(cpu):.1f} to {max(cpu):.1f})"
    )
    wall = [journal[1] / plain[1] for plain, journal in pairs(WALL_IDS, LATENCY, WALL_RUNS)]
    print(
        f"Time with a journal, {WALL_IDS:,} ids, {LATENCY * 1000:.0f} ms: {statistics.median(wall):.3f} times"
        f" that without (of {WALL_RUNS} runs the median; {min(wall):.3f} to {max(wall):.3f})"
    )


if __name__ == "__main__":
    main()
