"""How close a run comes to somebody who knows the quota, on the embedded emulator, beside a loop written by hand.

Each case is run five times; the table gives median and worst. Time is the time taken over the ideal time: what the
burst does not cover at the rate of the quota, and one answer. Wasted are items that were sent and throttled, by the
emulator's own record, as a share of the ids. The loop by hand sends at full concurrency and sends what was throttled
again after `Retry-After`, as the guidance asks (https://learn.microsoft.com/graph/throttling); it runs against an
emulator of the same settings right after each run of the client, so that both see the same machine.

`make bench` runs it; `python benches/pacing.py 200` runs the cases whose name has 200 in it.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

from entra_reprocess import Client
from entra_reprocess.emulator import Emulator

RUNS = 5
ACTION = "/identityGovernance/entitlementManagement/accessPackageAssignments/{}/reprocess"


class Case(NamedTuple):
    """A quota, and how it is met. Rate and burst in items; a rate of 0 is no quota."""

    ids: int
    rate: int
    burst: int
    latency: float = 0.1
    batch_size: int = 20
    concurrency: int = 8
    warns: bool = False

    @property
    def name(self) -> str:
        quota = f"{self.rate}/s burst {self.burst}" if self.rate else "no quota"
        warns = ", limit told" if self.warns else ""
        return f"{quota}, {self.ids:,} ids, {self.latency * 1000:.0f} ms, {self.concurrency}x{self.batch_size}{warns}"

    @property
    def ideal(self) -> float:
        """Seconds that it takes who knows the quota."""
        if self.rate:
            return max(0, self.ids - self.burst) / self.rate + self.latency
        return -(-self.ids // (self.batch_size * self.concurrency)) * self.latency

    def emulator(self) -> Emulator:
        quota = (self.rate, 1.0) if self.rate else None
        burst = self.burst if self.rate else None
        return Emulator(
            self.ids, latency=self.latency, write_quota=quota, burst=burst, limit_percentage=self.warns, threads=1
        )


CASES = [
    Case(2_000, 200, 200),
    Case(2_000, 200, 200, batch_size=1, concurrency=50),
    Case(400, 20, 50),
    Case(2_000, 100, 600),
    Case(800, 50, 100, latency=0.02),
    Case(200, 10, 30, latency=0.2),
    Case(6_000, 500, 1_000, latency=0.05),
    Case(2_000, 200, 200, warns=True),
    Case(2_000, 0, 0),
]


def by_client(case: Case, graph: Emulator) -> None:
    with Client(
        graph.credential, base_url=graph.url, batch_size=case.batch_size, concurrency=case.concurrency
    ) as client:
        report = client.reprocess_many(graph.ids, progress=False)
    assert len(report.accepted) == case.ids, report


def by_hand(case: Case, graph: Emulator) -> None:
    """So many threads, each with a connection of its own, until all is accepted."""
    waiting, accepted = deque(graph.ids), list[str]()

    def work() -> None:
        connection = HTTPConnection(urlsplit(graph.url).netloc, timeout=30)
        headers = {"Authorization": f"Bearer {graph.token}", "Content-Type": "application/json"}
        while len(accepted) < case.ids:
            ids = take(waiting, case.batch_size)
            again, wait = send(connection, headers, ids, alone=case.batch_size == 1)
            accepted.extend(set(ids) - set(again))
            # Where nothing waits, another thread may yet bring some back.
            time.sleep(wait if ids else 0.005)
            waiting.extend(again)
        connection.close()

    with ThreadPoolExecutor(case.concurrency) as pool:
        for done in [pool.submit(work) for _ in range(case.concurrency)]:
            done.result()


def take(waiting: deque[str], most: int) -> list[str]:
    taken: list[str] = []
    with suppress(IndexError):
        while len(taken) < most:
            taken.append(waiting.popleft())
    return taken


def send(
    connection: HTTPConnection, headers: dict[str, str], ids: list[str], *, alone: bool
) -> tuple[list[str], float]:
    """What was throttled, and for how long."""
    if not ids:
        return [], 0.0
    if alone:
        connection.request("POST", f"/beta{ACTION.format(ids[0])}", headers={**headers, "Content-Length": "0"})
        answer = connection.getresponse()
        answer.read()
        return (ids, float(answer.headers["Retry-After"])) if answer.status == 429 else ([], 0.0)
    part = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": {}}
    parts = [{**part, "id": str(place), "url": ACTION.format(item)} for place, item in enumerate(ids)]
    connection.request("POST", "/beta/$batch", json.dumps({"requests": parts}), headers)
    refused = [part for part in json.load(connection.getresponse())["responses"] if part["status"] == 429]
    waits = [float(part["headers"]["Retry-After"]) for part in refused]
    return [ids[int(part["id"])] for part in refused], max(waits, default=0.0)


def measure(case: Case, run: Callable[[Case, Emulator], None]) -> tuple[float, float]:
    """Time over the ideal, and the wasted share."""
    with case.emulator() as graph:
        started = time.monotonic()
        run(case, graph)
        seconds = time.monotonic() - started
        counters = graph.counters
    assert counters["executed"] == case.ids, counters
    return seconds / case.ideal, (counters["throttled_parts"] + counters["throttled_requests"]) / case.ids


def main() -> None:
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    print(f"{'':56}{'the client':^28}{'a loop by hand':^28}")
    print(f"{'':56}{'time':>14}{'wasted':>14}{'time':>14}{'wasted':>14}")
    for case in CASES:
        if only not in case.name:
            continue
        runs = [(measure(case, by_client), measure(case, by_hand)) for _ in range(RUNS)]
        figures = [sorted(run[who][what] for run in runs) for who in (0, 1) for what in (0, 1)]
        cells = (f"{median(each):.3f} {each[-1]:.3f}" for each in figures)
        print(f"{case.name:56}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
