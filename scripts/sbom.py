"""What of the build machine is in a wheel: `clean` takes it out of the SBOM, `faults` checks the SBOM and all files.

maturin names the project by the folder in which it was built, and the moment; both tell of the machine, and make two
builds of the same sources differ. What the compiler writes is up to build_wheel.py.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = {"entra-reprocess", "pyo3", "reqwest", "rustls", "tokio"}

OF_A_BUILDER = re.compile(rb"[/\\]\.(?:cargo|rustup)[/\\]|[/\\]registry[/\\]src[/\\]")
"""What stands in the path of a source on any machine that builds wheels."""


def main() -> int:
    return check(Path(sys.argv[1]))


def check(folder: Path) -> int:
    """Clean the one wheel of the folder, and print what is wrong with it."""
    (wheel,) = folder.glob("*.whl")
    clean(wheel)
    found = faults(wheel)
    for fault in found:
        print(f"{wheel.name}: {fault}", file=sys.stderr)
    return 1 if found else 0


def clean(wheel: Path) -> None:
    """Rewrite the wheel with a clean SBOM."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    contents = {info.filename: cleaned(content) if is_sbom(info.filename) else content for info, content in members}
    record = next(name for name in contents if name.endswith(".dist-info/RECORD"))
    contents[record] = recorded(contents, record)
    fresh = wheel.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, _ in members:
            archive.writestr(info, contents[info.filename], compress_type=zipfile.ZIP_DEFLATED)
    fresh.replace(wheel)


def folders() -> dict[str, str]:
    """The folders of this machine that sources are compiled in, with the names that they have in a wheel."""
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").absolute()
    found = {str(ROOT): ".", str(cargo): "cargo"}
    # Its folders are named by the place that the crates came from, which may be a mirror.
    found |= {str(sources): "crates" for sources in (cargo / "registry" / "src").glob("*")}
    # Where a wheel is only looked at, there may be no compiler.
    if rustc := shutil.which("rustc"):
        told = subprocess.run([rustc, "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True)
        found[told.stdout.strip()] = "rust"
    return found


def is_sbom(name: str) -> bool:
    return ".dist-info/sboms/" in name


def cleaned(content: bytes) -> bytes:
    """An SBOM without folder, moment and random number."""
    bom = json.loads(content)
    bom.pop("serialNumber", None)
    bom["metadata"].pop("timestamp", None)
    text = json.dumps(bom, indent=1, sort_keys=True)
    # `path+file:///folder#name@version` is the name by which other parts refer to it.
    text = re.sub(r"path\+file://[^#\"]*#", "", text)
    return text.replace("?download_url=file://.", "").encode()


def recorded(contents: dict[str, bytes], record: str) -> bytes:
    """The RECORD of these files."""
    rows = list(csv.reader(io.StringIO(contents[record].decode())))
    written = io.StringIO()
    out = csv.writer(written, lineterminator="\n")
    for name, *_ in rows:
        out.writerow([name, "", ""] if name == record else [name, digest(contents[name]), len(contents[name])])
    return written.getvalue().encode()


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def faults(wheel: Path) -> list[str]:
    """What is wrong with the wheel's SBOM, and where a folder of the machine that built it is named."""
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    found = []
    boms = [content for name, content in contents.items() if is_sbom(name)]
    if len(boms) != 1:
        return [f"it has {len(boms)} SBOMs"]
    bom = json.loads(boms[0])
    names = {component["name"] for component in [bom["metadata"]["component"], *bom["components"]]}
    if missing := EXPECTED - names:
        found.append(f"its SBOM does not name {', '.join(sorted(missing))}")
    known = {component["bom-ref"] for component in [bom["metadata"]["component"], *bom["components"]]}
    used = {ref for entry in bom["dependencies"] for ref in [entry["ref"], *entry.get("dependsOn", [])]}
    if dangling := used - known:
        found.append(f"its SBOM refers to what it does not name: {', '.join(sorted(dangling)[:3])}")
    # A home that is the root of the file system, as in some containers, is no name.
    here = [folder for folder in [*folders(), str(Path.home())] if len(folder) > 1]
    for name, content in contents.items():
        # With what follows it, since a short one such as /app begins other words, too.
        inside = [(folder, f"{folder}{separator}".encode()) for folder in here for separator in "/\\"]
        found += [f"{name} names {folder}" for folder, text in inside if text in content]
        if named := OF_A_BUILDER.search(content):
            found.append(f"{name} names a folder of a builder: {named[0].decode()}")
        # Code may know of such URLs; metadata has no need of one.
        if not name.endswith((".so", ".pyd")) and b"file:/" in content:
            found.append(f"{name} names file:/")
    record = next(name for name in contents if name.endswith(".dist-info/RECORD"))
    for name, hashed, _ in csv.reader(io.StringIO(contents[record].decode())):
        if name != record and hashed != digest(contents[name]):
            found.append(f"{name} is not what RECORD says")
    return found


if __name__ == "__main__":
    sys.exit(main())
