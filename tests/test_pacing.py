"""Pacing end to end, by the emulator's own record; docs/pacing.md and `make bench` have the times."""

from __future__ import annotations

import pytest

from entra_reprocess import Client
from entra_reprocess.emulator import Emulator


@pytest.mark.parametrize(("batch_size", "concurrency"), [(20, 8), (1, 50)])
def test_a_quota_is_used_in_full_and_little_is_thrown_away(batch_size: int, concurrency: int) -> None:
    with Emulator(2_000, latency=0.1, write_quota=(200, 1.0)) as graph:
        client = Client(graph.credential, base_url=graph.url, batch_size=batch_size, concurrency=concurrency)
        report = client.reprocess_many(graph.ids)
        counters = graph.counters
    assert report.counts["accepted"] == 2_000
    # A loop that sends at full concurrency and waits as it is told has half of what it sends throttled here, we have
    # some forty on a quiet machine; on a busy one requests bunch up.
    assert counters["throttled_parts"] + counters["throttled_requests"] <= 300
    assert report.elapsed < 3 * (2_000 - 200) / 200


def test_a_service_that_warns_is_slowed_for_before_it_throttles() -> None:
    throttled = {}
    for warns in (False, True):
        with Emulator(1_500, latency=0.05, write_quota=(200, 1.0), burst=400, limit_percentage=warns) as graph:
            client = Client(graph.credential, base_url=graph.url, batch_size=1, concurrency=40)
            report = client.reprocess_many(graph.ids)
            throttled[warns] = graph.counters["throttled_requests"]
        assert report.counts["accepted"] == 1_500
    assert throttled[True] < throttled[False]
