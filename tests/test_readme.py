"""The README does what it says: its code blocks run, in order, in one session, against the emulator."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

import entra_reprocess
from entra_reprocess.emulator import EMULATOR_TOKEN, Emulator, EmulatorCredential

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


class SignedIn(EmulatorCredential):
    """Stands in for azure-identity's credentials, which can be closed."""

    def __init__(self, *_: str) -> None:
        super().__init__(EMULATOR_TOKEN)

    def close(self) -> None:
        """Nothing is open."""


def test_the_code_blocks_run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    # One of the blocks asks for all that is logged.
    request.addfinalizer(lambda: logging.getLogger("entra_reprocess").setLevel(logging.NOTSET))
    with Emulator(200) as graph:
        # The tenant of the README: its token comes from azure-identity, its Graph is the emulator.
        monkeypatch.setattr("azure.identity.DefaultAzureCredential", SignedIn)
        monkeypatch.setattr("azure.identity.ClientSecretCredential", SignedIn)
        monkeypatch.setenv("ENTRA_REPROCESS_BASE_URL", graph.url)
        for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
            monkeypatch.setenv(name, "x")
        monkeypatch.chdir(tmp_path)
        Path("ids.txt").write_text("\n".join([*graph.ids, "not-an-id"]))
        session: dict[str, Any] = {}
        example = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
        assert example in BLOCKS[0]
        for block in BLOCKS:
            exec(compile(block.replace(example, graph.ids[0]), str(README), "exec"), session)
        assert set(graph.executions) == set(graph.ids)
    assert len(BLOCKS) >= 7
    assert Path("outcomes.csv").read_text().count("\n") == 202
    assert "not-an-id rejected" in capsys.readouterr().out
    assert session["status"] == 1 or session["report"].counts["accepted"] == 1000


def test_the_tree_is_that_of_the_package() -> None:
    tree = re.search(
        r"^```text\n(ReprocessError.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert tree is not None
    package = [line.removeprefix("    ") for line in (entra_reprocess.__doc__ or "").splitlines()]
    assert all(line in package for line in tree[1].splitlines())


def test_the_table_of_statuses_is_complete() -> None:
    from typing import get_args

    rows = re.findall(r"^\| `([a-z_]+)` \| [A-Z4]", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(row for row in rows if row in get_args(entra_reprocess.Status)) == get_args(entra_reprocess.Status)


@pytest.mark.parametrize("cloud", ["global", "usgov", "usgov-dod", "china"])
def test_the_table_of_clouds_is_true(cloud: Any) -> None:
    host = re.search(rf"^\| `\"{cloud}\"` \| `([a-z.-]+)`", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert host is not None
    assert f"https://{host[1]}/beta " in repr(entra_reprocess.Client("token", cloud=cloud))
