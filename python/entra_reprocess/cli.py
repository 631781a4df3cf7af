"""The command `entra-reprocess`."""

from __future__ import annotations

import argparse
import sys
from threading import Event

from . import __version__
from .emulator import Emulator


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="entra-reprocess",
        description="Reprocess Microsoft Entra access package assignments through Microsoft Graph.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_emulator(commands.add_parser("emulator", help="run a local Microsoft Graph to try things out on"))
    given = parser.parse_args(arguments)
    return _emulator(given)


def _add_emulator(parser: argparse.ArgumentParser) -> None:
    parser.description = "Run a local Microsoft Graph for entitlement management on 127.0.0.1, until Ctrl-C."
    parser.add_argument("--port", type=int, default=0, help="TCP port (default: a free one)")
    parser.add_argument("--assignments", type=int, default=100, metavar="N", help="how many it has (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the ids follow from it (default: 0)")
    parser.add_argument("--tls", action="store_true", help="https://localhost with a throwaway authority")
    parser.add_argument("--page-size", type=int, default=100, metavar="N", help="of lists (default: 100)")
    parser.add_argument(
        "--delivering", type=float, metavar="SECONDS", help="in that state after a reprocess (default: stays Delivered)"
    )
    parser.add_argument("--forbid", action="store_true", help="answer 403 to everything")
    parser.add_argument(
        "--retry-after",
        choices=("integer", "decimal", "date", "absent"),
        default="integer",
        help="its form in a 429 (default: integer)",
    )
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="of each answer (default: 0)")
    parser.add_argument(
        "--write-quota", type=_quota, metavar="CALLS/SECONDS", help="answer 429 beyond it, such as 200/10"
    )


def _quota(text: str) -> tuple[int, float]:
    calls, slash, seconds = text.partition("/")
    try:
        return int(calls), float(seconds) if slash else 1.0
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no quota; give calls/seconds, such as 200/10") from None


def _emulator(given: argparse.Namespace) -> int:
    try:
        emulator = Emulator(
            given.assignments,
            port=given.port,
            seed=given.seed,
            latency=given.latency,
            write_quota=given.write_quota,
            tls=given.tls,
            page_size=given.page_size,
            delivering=given.delivering,
            forbid=given.forbid,
            retry_after=given.retry_after,
        )
        emulator.start()
    except (OSError, ValueError) as error:
        print(f"entra-reprocess emulator: {error}", file=sys.stderr)
        return 2
    with emulator:
        # Whoever reads this may press it before all is written.
        try:
            print(f"# {given.assignments:,} assignments; the first is {next(iter(emulator.ids), 'none')}")
            print("# In another terminal, for Client() to find it:")
            print(f"export ENTRA_REPROCESS_BASE_URL={emulator.url} ENTRA_REPROCESS_TOKEN={emulator.token}")
            if emulator.ca_bundle is not None:
                print(f"# and Client(ca_bundle={str(emulator.ca_bundle)!r}) to trust it")
            print("# Ctrl-C ends it.", flush=True)
            Event().wait()
        except KeyboardInterrupt:
            print(f"\n# executed {emulator.counters['executed']:,} in {emulator.counters['http_requests']:,} requests")
    return 0
