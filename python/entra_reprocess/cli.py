"""The command `entra-reprocess`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from time import sleep
from typing import NoReturn

from . import __version__
from .emulator import Emulator


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = _Parser(
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


_YEAR = 366 * 24 * 3600
_RANGES: dict[str, tuple[int, int]] = {
    "port": (0, 65_535),
    # Ten million take a gigabyte.
    "assignments": (0, 10_000_000),
    "seed": (0, 2**64 - 1),
    "page_size": (1, 10_000_000),
    "delivering": (0, _YEAR),
    "latency": (0, _YEAR),
}


def _objection(given: argparse.Namespace) -> str | None:
    """What is wrong with a number, in the words of the command line."""
    for name, (least, most) in _RANGES.items():
        value = getattr(given, name)
        # False for what is no number at all (NaN), too.
        if value is not None and not least <= value <= most:
            kind = "whole number" if isinstance(value, int) else "number of seconds"
            shown = "far out of range" if isinstance(value, int) and abs(value) >= 10**30 else value
            return f"--{name.replace('_', '-')} is {shown}; give a {kind} from {least:,} to {most:,}"
    if given.write_quota is not None:
        calls, seconds = given.write_quota
        if not (1 <= calls <= 1_000_000_000 and 0 < seconds <= _YEAR):
            return f"--write-quota takes 1 to 1,000,000,000 calls in more than 0 and at most {_YEAR:,} seconds"
    return None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let the signals that end a service or close a terminal do what Ctrl-C does, so that no file is left behind."""
    before = {}
    # Another thread may set no handler.
    names = ("SIGTERM", "SIGHUP", "SIGBREAK") if current_thread() is main_thread() else ()
    for name in names:
        number = getattr(signal, name, None)
        # What is ignored, as nohup has it, stays so.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _emulator(given: argparse.Namespace) -> int:
    if objection := _objection(given):
        print(f"entra-reprocess emulator: {objection}", file=sys.stderr)
        return 2
    try:
        with _ended_by_signals():
            return _serve(given)
    except KeyboardInterrupt:
        # Before it was up, or again while it stopped.
        return 0


def _serve(given: argparse.Namespace) -> int:
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
            while True:
                # A signal that comes just before the wait does not end it, so it has an end of its own.
                sleep(0.5)
        except KeyboardInterrupt:
            print(f"\n# executed {emulator.counters['executed']:,} in {emulator.counters['http_requests']:,} requests")
    return 0
