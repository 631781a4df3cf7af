"""When these tests run: their tools are large, and `pytest tests` should not need them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from entra_reprocess.emulator import Emulator

WANTED = os.environ.get("ENTRA_REPROCESS_CONTRACT_TESTS") == "1"

# Collecting would import schemathesis and openapi-core, which come with the dependency group `contract` only.
collect_ignore_glob = [] if WANTED else ["test_*.py"]


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulator with assignments in every state, whose ids the specifications' cases use."""
    # Imported here: it needs the group's packages too.
    from . import specs

    with Emulator(**specs.SEEDED) as running:
        yield running
