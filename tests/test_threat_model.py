"""Each promise of docs/threat-model.md names tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:50] for row in ROWS])
def test_a_promise_is_kept_by_tests_that_exist(row: list[str]) -> None:
    _promise, named = row
    tests = re.findall(r"`([^`]+)::(\w+)`", named)
    assert tests
    assert re.sub(r"`[^`]+::\w+`|[, ]", "", named) == "", "nothing but tests stands there"
    for file, name in tests:
        source = (ROOT / file).read_text(encoding="utf-8")
        pattern = rf"^\s*(?:async )?fn {name}\(" if file.endswith(".rs") else rf"^\s*(?:async )?def {name}\("
        assert re.search(pattern, source, re.MULTILINE), f"{file} has no {name}"
        if file.endswith(".rs"):
            before = source[: re.search(pattern, source, re.MULTILINE).start()]  # type: ignore[union-attr]  # found above
            assert re.search(r"#\[(?:tokio::)?test[\](][^}]*$", before), f"{name} of {file} is no test"


def test_there_are_promises_to_check() -> None:
    assert len(ROWS) > 20
