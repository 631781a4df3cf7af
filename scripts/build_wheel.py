"""Build the wheel, and see to it that it names no folder of this machine.

The compiler writes the path of each source into the messages of panics. Here it writes other names for the folders that
hold them. Only this build is told so: it is the only one of the release profile, so no other one has its work undone.
(What is C brings no path of its own: aws-lc has its build take them out, and SQLite writes none.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import sbom

SEPARATOR = "\x1f"
"""Between the flags in CARGO_ENCODED_RUSTFLAGS, so that a path may have spaces."""


def main() -> int:
    wheels = sys.argv[1]
    # The folders that the sources of the crates are unpacked in have to be there to be named.
    subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=sbom.ROOT, check=True)
    environment = {**os.environ, "CARGO_ENCODED_RUSTFLAGS": SEPARATOR.join([*given(), *renamed(sbom.folders())])}
    command = [sys.executable, "-m", "maturin", "build", "--quiet", "--release", "--locked", "--out", wheels]
    if subprocess.run(command, cwd=sbom.ROOT, env=environment, check=False).returncode:
        return 1
    return sbom.check(Path(wheels))


def given() -> list[str]:
    """The flags that the caller has set, which cargo would no longer look for."""
    encoded = os.environ.get("CARGO_ENCODED_RUSTFLAGS")
    return encoded.split(SEPARATOR) if encoded else os.environ.get("RUSTFLAGS", "").split()


def renamed(folders: dict[str, str]) -> list[str]:
    """The flags for these folders; of those that fit, the compiler takes the last one."""
    return [f"--remap-path-prefix={folder}={name}" for folder, name in sorted(folders.items(), key=_length)]


def _length(item: tuple[str, str]) -> int:
    return len(item[0])


if __name__ == "__main__":
    sys.exit(main())
