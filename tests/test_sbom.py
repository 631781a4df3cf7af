"""The script that takes the build machine out of a wheel's SBOM, on a wheel made here."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "sbom.py"
INFO = "entra_reprocess-0.1.0.dist-info"
OURS = "path+file:///home/builder/project#entra-reprocess@0.1.0"
CRATES = ["pyo3", "reqwest", "rustls", "tokio"]


def wheel(folder: Path, crates: list[str]) -> Path:
    bom: dict[str, Any] = {
        "serialNumber": "urn:uuid:1",
        "metadata": {
            "timestamp": "2026-01-01T00:00:00Z",
            "component": {
                "bom-ref": OURS,
                "name": "entra-reprocess",
                "purl": "pkg:cargo/entra-reprocess@0.1.0?download_url=file://.",
            },
        },
        "components": [{"bom-ref": crate, "name": crate} for crate in crates],
        "dependencies": [{"ref": OURS, "dependsOn": crates}],
    }
    path = folder / "entra_reprocess-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{INFO}/sboms/entra-reprocess.cyclonedx.json", json.dumps(bom))
        archive.writestr(f"{INFO}/RECORD", f"{INFO}/sboms/entra-reprocess.cyclonedx.json,x,1\n{INFO}/RECORD,,\n")
    return path


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)


def test_it_names_no_folder_and_no_moment(tmp_path: Path) -> None:
    path = wheel(tmp_path, CRATES)
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with zipfile.ZipFile(path) as archive:
        text = archive.read(f"{INFO}/sboms/entra-reprocess.cyclonedx.json").decode()
        record = archive.read(f"{INFO}/RECORD").decode()
    assert "builder" not in text
    assert "file:" not in text
    assert "2026" not in text
    assert json.loads(text)["dependencies"][0]["ref"] == "entra-reprocess@0.1.0"
    assert record.startswith(f"{INFO}/sboms/entra-reprocess.cyclonedx.json,sha256=")
    before = path.read_bytes()
    assert run(tmp_path).returncode == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("missing", CRATES)
def test_a_wheel_that_names_too_little_is_refused(missing: str, tmp_path: Path) -> None:
    wheel(tmp_path, [crate for crate in CRATES if crate != missing])
    done = run(tmp_path)
    assert done.returncode == 1
    assert f"does not name {missing}" in done.stderr
