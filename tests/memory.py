"""Measures a process's own memory; a script imports it in a process that does nothing else."""

from __future__ import annotations

import gc
from pathlib import Path

MIB = 1024 * 1024


def resident(what: str = "VmRSS") -> int:
    """Bytes of memory in use; `VmHWM` is the most since the last `start`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def start() -> int:
    """Forget the most so far; gives the bytes in use now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
    return resident()


def peak() -> int:
    """The most bytes in use since `start`."""
    return resident("VmHWM")
