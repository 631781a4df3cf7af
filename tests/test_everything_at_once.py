"""Ten thousand ids and every kind of fault: what can be accepted is accepted, nothing is told that did not happen."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from .faults import Fault, FaultServer, Listener, assignment_ids, fail, redirect
from .held import WAYS, hold
from .kinds_of_faults import FINAL, OF_ITEMS, OF_REQUESTS

pytestmark = [
    pytest.mark.usefixtures("nothing_leaks"),
    pytest.mark.filterwarnings("ignore:a batch answer held an answer:RuntimeWarning"),
]

# These settle an item at once; here they come by `FINAL`.
LEFT_OUT = {
    "409 or 501",
    "429 that asks for too long",
    "item 429 that asks for too long",
    "item 400",
    "item 403",
    "item 404",
    "item 409",
    "item with an odd body",
}
SLOW = {"too late", "dripping", "too large"}


def faults_of_requests(chance: Random, count: int, elsewhere: str) -> list[tuple[str, Fault] | None]:
    """As many healthy answers as faults, all kinds evenly, and few of the slow ones."""
    kinds = [kind for kind in OF_REQUESTS if kind not in LEFT_OUT]
    found: list[tuple[str, Fault] | None] = []
    met: set[str] = set()
    while len(found) < count:
        for kind in chance.sample(kinds, len(kinds)):
            if kind in SLOW and kind in met and chance.random() < 0.8:
                continue
            fault = OF_REQUESTS[kind](chance)
            if kind == "a redirect":
                fault = redirect(f"{elsewhere}/beta/$batch", fault.status or 307)
            found += [(kind, fault), None]
            met.add(kind)
    return found


@pytest.mark.timeout(400)  # usually some seconds; throttling at random may teach the pace to be slow for a while
@pytest.mark.parametrize("way", [WAYS[0], pytest.param(WAYS[3], marks=pytest.mark.soak)])
def test_ten_thousand_ids_meet_everything(faulty: FaultServer, way: str) -> None:
    chance = Random(2024)
    ids = assignment_ids(10_000)
    final = {item: fail(chance.choice(list(FINAL))) for item in chance.sample(ids, 500)}
    kinds = [kind for kind in OF_ITEMS if kind not in LEFT_OUT]
    troubled = {
        item: [OF_ITEMS[chance.choice(kinds)](chance) for _ in range(chance.randrange(1, 4))]
        for item in chance.sample([item for item in ids if item not in final], 600)
    }
    with Listener() as elsewhere:
        requests = faults_of_requests(chance, 300, elsewhere.url)
        faulty.set(latency=0.001, clock_offset=86_400)
        faulty.script(
            ids={item: [fault] for item, fault in final.items()} | troubled,
            requests=[each and each[1] for each in requests],
        )
        held = hold(faulty, ids, way=way, max_retries=60, max_wait=0.1, timeout=0.4, settle=2)
    assert elsewhere.connections == 0, "nobody follows a redirect"
    met = Counter(each[0] for each in requests[: held.record.request_count] if each)
    assert set(OF_REQUESTS) - LEFT_OUT - met.keys() == set(), "every kind was met"
    statuses = held.statuses
    # What a batch was to be told may meet an item that goes by itself, which is then refused for good.
    alone = {item for row in held.record.requests if row.path.endswith("/reprocess") for item in row.ids}
    refused_alone = {item for item in alone if {400, 413, 424} & set(held.record.statuses(item))}
    assert len(refused_alone) < 10
    assert {statuses[item] for item in ids if item not in final and item not in refused_alone} == {"accepted"}
    # Where the answer was cut or a part left out, the script was used up, and then the id is accepted like any other;
    # and after an attempt that was lost some refusals settle nothing.
    allowed = {item: {"accepted", "unknown", FINAL[fault.status or 0]} for item, fault in final.items()}
    assert all(statuses[item] in allowed[item] for item in final)
    refused = sum(statuses[item] == FINAL[fault.status or 0] for item, fault in final.items())
    assert refused > 200, "most were told what they were to be told"
