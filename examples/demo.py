"""Reprocess a thousand assignments on the embedded Graph emulator, which throttles as the real one may.

Run by `make demo`; needs no Azure and no network.
"""

from entra_reprocess import Client
from entra_reprocess.emulator import Emulator

LATENCY = 0.1  # seconds for each HTTP answer
QUOTA = (200, 1.0)  # so many calls are granted in so many seconds; more are answered 429


def main() -> None:
    with Emulator(1000, latency=LATENCY, write_quota=QUOTA) as graph:
        ids = [*graph.ids, "00000000-0000-0000-0000-000000000000", "not-an-id"]
        print(f"A local Microsoft Graph at {graph.url}: 1,000 assignments, {LATENCY * 1000:.0f} ms an answer,")
        print(f"{QUOTA[0]} calls a second. Reprocessing all of them, one that does not exist and one that is no id.\n")
        with Client(graph.credential, base_url=graph.url) as client:
            report = client.reprocess_many(ids, progress=True)
        print(f"\n{report}")
        print(f"{report.http_requests} HTTP requests, {report.retries} retries after throttling,")
        print(f"{report.paused_seconds:.1f} s of waiting that Graph asked for.\n")
        print("Not accepted:")
        for outcome in report.not_accepted:
            print(f"  {outcome.index:>5}  {outcome.status:<10} {outcome.message}")
        executed = graph.executions
        assert set(executed) == set(report.accepted.ids), "the report and the service disagree"
        print(f"\nThe service says so too: {len(executed):,} different assignments reprocessed.")


if __name__ == "__main__":
    main()
