"""The scripts that keep the build machine out of a wheel: on wheels made here, and on the real one if there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "sbom.py"
NATIVE = "entra_reprocess/_native.abi3.so"
INFO = "entra_reprocess-0.1.0.dist-info"
OURS = "path+file:///home/builder/project#entra-reprocess@0.1.0"
CRATES = ["pyo3", "reqwest", "rustls", "tokio"]


def wheel(folder: Path, crates: list[str], native: bytes = b"") -> Path:
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
        archive.writestr(NATIVE, native)
        rows = [f"{INFO}/sboms/entra-reprocess.cyclonedx.json,x,1", f"{NATIVE},x,1", f"{INFO}/RECORD,,"]
        archive.writestr(f"{INFO}/RECORD", "\n".join(rows) + "\n")
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


BUILT_IN = [
    str(ROOT / "src" / "lib.rs"),
    str(Path.home() / "anything"),
    "/home/builder/.cargo/registry/src/a-mirror.example-1949cf8c6b5b557f/rustls-0.23.0/src/lib.rs",
    "/opt/cargo/registry/src/index/rustls-0.23.0/src/lib.rs",
    "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/option.rs",
    r"C:\Users\builder\.cargo\bin",
]


@pytest.mark.parametrize("path", BUILT_IN)
def test_a_binary_that_names_a_folder_of_its_builder_is_refused(path: str, tmp_path: Path) -> None:
    wheel(tmp_path, CRATES, b"\x7fELF\0" + path.encode() + b"\0")
    done = run(tmp_path)
    assert done.returncode == 1
    assert f"{NATIVE} names" in done.stderr


def test_a_binary_that_names_its_sources_alone_is_taken(tmp_path: Path) -> None:
    wheel(
        tmp_path, CRATES, b"\x7fELF\0crates/rustls-0.23.0/src/lib.rs\0/rustc/5980/library/core/src/option.rs\0file://\0"
    )
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_wheel_itself_names_no_folder(tmp_path: Path) -> None:
    found = list((ROOT / "target" / "wheels").glob("*.whl"))
    if not found:
        pytest.skip("there is no wheel; `make wheel` makes it")
    copy = shutil.copy(found[0], tmp_path)
    with zipfile.ZipFile(copy) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert any(name.endswith((".so", ".pyd")) for name in contents)
    # Apart from what the script looks for: what the sources of a crate lie in on every machine.
    folders = ["/.cargo/", "/.rustup/", "/registry/src/"]
    named = [
        f"{name} names {each}" for name, content in contents.items() for each in folders if each.encode() in content
    ]
    assert not named
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
