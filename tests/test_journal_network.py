"""Journals on network file systems are refused: SQLite's WAL needs memory that all its users share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entra_reprocess import Client, Report
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import FaultServer

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/statfs.h>
static int told(int result, void *where, int is_wide) {
    unsigned long type = strtoul(getenv("SHIM"), 0, 16);
    if (is_wide) ((struct statfs64 *)where)->f_type = type; else ((struct statfs *)where)->f_type = type;
    return result;
}
#define NEXT(name, first) ((int (*)(first, void *))dlsym(RTLD_NEXT, name))
int statfs(const char *path, struct statfs *to) { return told(NEXT("statfs", const char *)(path, to), to, 0); }
int fstatfs(int fd, struct statfs *to) { return told(NEXT("fstatfs", int)(fd, to), to, 0); }
int statfs64(const char *path, struct statfs64 *to) { return told(NEXT("statfs64", const char *)(path, to), to, 1); }
int fstatfs64(int fd, struct statfs64 *to) { return told(NEXT("fstatfs64", int)(fd, to), to, 1); }
"""

CODE = """
    import asyncio, os, sys
    from entra_reprocess import AsyncClient, Client, JournalError, Report
    from tests.faults import assignment_ids
    url, folder = sys.argv[1:]
    client = Client("token", base_url=url)
    ids = assignment_ids(3)
    async def asynchronous():
        async with AsyncClient("token", base_url=url) as client:
            await client.reprocess_many(ids, journal=f"{folder}/july.db")
    for call in (
        lambda: client.reprocess_many(ids, journal=f"{folder}/july.db"),
        lambda: list(client.iter_reprocess(ids, journal=f"{folder}/july.db")),
        lambda: client.resume(f"{folder}/june.db"),
        lambda: asyncio.run(asynchronous()),
    ):
        try:
            call()
        except JournalError as error:
            print(error)
    print(Report.from_journal(f"{folder}/june.db").counts["accepted"], sorted(os.listdir(folder)))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that says of every file system that it is of the type in SHIM."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler, or no way to put a library before others")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
    return folder / "shim.so"


@pytest.mark.parametrize(
    ("magic", "name"), [("6969", "NFS"), ("517B", "SMB"), ("FF534D42", "SMB"), ("FE534D42", "SMB"), ("EF53", "")]
)
def test_a_network_file_system_is_refused(
    magic: str, name: str, shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(3) as graph, Client(graph.credential, base_url=graph.url) as client:
        client.reprocess_many(graph.ids, journal=tmp_path / "june.db")
    with FaultServer() as server:
        monkeypatch.setenv("LD_PRELOAD", str(shim))
        monkeypatch.setenv("SHIM", magic)
        done = scripts.run(CODE, server.url, str(tmp_path))
        monkeypatch.undo()
        record = server.record()
    *told, last = done.stdout.splitlines()
    if not name:
        assert "is on" not in done.stdout
        assert len(record.executions) == 3
        return
    assert last == "3 ['june.db']", "a finished one can be read there, and nothing was made"
    assert len(told) == 4, done.stderr
    for text in told:
        assert f".db: it is on {name}" in text
        assert "local disk" in text
        assert "sqlite.org/wal.html" in text
    assert not record.requests


@pytest.mark.skipif(os.name == "nt", reason="there is no tmpfs")
def test_other_file_systems_are_taken(graph: Emulator, client: Client, tmp_path: Path) -> None:
    for folder in (tmp_path, Path("/dev/shm")):
        if not folder.is_dir():
            continue
        journal = folder / f"entra-{os.getpid()}.db"
        try:
            assert client.reprocess_many(graph.ids[:3], journal=journal).counts["accepted"] == 3
            assert Report.from_journal(journal).counts["accepted"] == 3
        finally:
            journal.unlink(missing_ok=True)
