"""Count the exemptions from lints, types and tests; fail where one has no reason beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

KINDS = {
    "Rust allow": (re.compile(r"#!?\[(?:allow|expect)\("), re.compile(r"reason = \"[^\"]+\"")),
    "noqa": (re.compile(r"# noqa"), re.compile(r"# noqa: [A-Z0-9, ]+ - \S+")),
    "type: ignore": (re.compile(r"# type: ignore"), re.compile(r"# type: ignore\[[a-z-]+\]  # \S+")),
    "skipped test": (re.compile(r"mark\.(?:skip|skipif|xfail)\(|pytest\.skip\("), re.compile(r"reason=|skip\(\"")),
    "skipped doc block": (
        re.compile(r"<!-- skip|doctest: \+SKIP|```rust,(?:ignore|no_run)"),
        re.compile(r"<!-- skip: \S+"),
    ),
}


def main() -> int:
    """Print the count of each kind; exit 1 if a reason is missing."""
    listed = subprocess.run(
        ["git", "ls-files", "*.rs", "*.py", "*.pyi", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    counts = dict.fromkeys(KINDS, 0)
    missing = []
    for name in listed.stdout.split():
        path = ROOT / name
        if path == Path(__file__).resolve() or not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            for kind, (pattern, reason) in KINDS.items():
                if pattern.search(line):
                    counts[kind] += 1
                    # A Rust attribute may span some lines.
                    if not reason.search(" ".join(lines[number : number + 8])):
                        missing.append(f"{name}:{number + 1}: {kind} without a reason: {line.strip()}")
    print(f"{sum(counts.values())} exemptions: " + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
    for place in missing:
        print(place, file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
