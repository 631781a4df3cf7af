"""A run in a process of its own that holds a journal until the test lets go of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import scripts
from .faults import FaultServer

CODE = """
    import json, sys
    from entra_reprocess import Client
    from tests.faults import assignment_ids
    url, journal, count = sys.argv[1:]
    with Client("token", base_url=url, batch_size=1, concurrency=4) as client:
        report = client.reprocess_many(assignment_ids(int(count)), journal=journal, progress=False)
    print(json.dumps(report.counts), flush=True)
"""


@contextmanager
def held_run(server: FaultServer, journal: Path, count: int = 5, code: str = CODE) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the ids `0..count` with this journal, from its first request on; killed in the end."""
    process = scripts.start(code, server.url, str(journal), str(count))
    try:
        while not server.record().in_flight:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()
