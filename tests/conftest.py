"""Fixtures that many tests share."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest

from entra_reprocess import Client
from entra_reprocess.emulator import Emulator

from .faults import FaultServer
from .held import CANARY, leaks


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test: neither ours nor a proxy."""
    for name in ("CLOUD", "API_VERSION", "BASE_URL", "TOKEN"):
        monkeypatch.delenv(f"ENTRA_REPROCESS_{name}", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def graph() -> Iterator[Emulator]:
    """An emulator with 1,000 assignments that answers at once."""
    with Emulator(1000) as emulator:
        yield emulator


@pytest.fixture
def client(graph: Emulator) -> Iterator[Client]:
    """A client of that emulator."""
    with Client(graph.credential, base_url=graph.url) as made:
        yield made


@pytest.fixture
def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def fault_process() -> Iterator[FaultServer]:
    """One fault server for all tests that ask for `faulty`."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def faulty(fault_process: FaultServer) -> FaultServer:
    """The fault server, as new; it takes the token `CANARY` only."""
    fault_process.reset(tokens=[CANARY])
    return fault_process


@pytest.fixture
def nothing_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The token shows in no log, however detailed, and in no output of the process."""
    with caplog.at_level(logging.NOTSET):
        yield
    # What the test itself has logged; the handler starts anew for its teardown.
    logged = (f"{record.getMessage()} {vars(record)}" for record in caplog.get_records("call"))
    assert leaks(*capfd.readouterr(), *logged) == []


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A token is no name for a test: it would stand in the output, and differ with each run."""
    return argname if isinstance(val, str) and (val.startswith("e30.") or "canary" in val) else None
