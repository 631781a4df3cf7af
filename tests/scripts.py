"""Running a Python script as a process of its own, as a user would."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(
    code: str,
    *arguments: str,
    timeout: float = 60,
    dev: bool = False,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, with this environment or with ours; a hang is a failure."""
    options = ["-X", "dev"] if dev else []
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment,
    )


def start(code: str, *arguments: str, stdin: bool = False) -> subprocess.Popen[str]:
    """Start a script and leave it running."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE if stdin else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
