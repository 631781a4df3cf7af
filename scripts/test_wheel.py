"""Test the wheel, not the source tree: a virtual environment for each CPython found, the wheel in it, pytest.

The environments are kept in target/, so that a second run is fast; the wheel is installed anew each time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import sbom

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
_TELL = """
import sys, sysconfig
print("%d.%d" % sys.version_info[:2], sys.implementation.name, bool(sysconfig.get_config_var("Py_GIL_DISABLED")))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, help="the folder that holds the wheel")
    parser.add_argument("--soak", action="store_true", help="only the long repetitions, under one Python")
    parser.add_argument(
        "--group", choices=["contract", "sdk"], help="only these tests, with their packages, under one Python"
    )
    given = parser.parse_args()
    (wheel,) = given.wheels.glob("*.whl")
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size:.2f} MB", flush=True)
    if size >= 5:
        print("the wheel is not under 5 MB", file=sys.stderr)
        return 1
    if faults := sbom.faults(wheel):
        print("\n".join(faults), file=sys.stderr)
        return 1
    found = interpreters()
    print("Python: " + ", ".join(f"{version} ({path})" for version, path in found.items()), flush=True)
    if given.soak:
        version, interpreter = next(iter(found.items()))
        return run_tests(version, interpreter, wheel, ["-m", "soak"])
    if given.group:
        os.environ[f"ENTRA_REPROCESS_{given.group.upper()}_TESTS"] = "1"
        version, interpreter = next(iter(found.items()))
        return run_tests(version, interpreter, wheel, [f"tests/{given.group}"], group=given.group)
    return max(run_tests(version, interpreter, wheel, []) for version, interpreter in found.items())


def interpreters() -> dict[str, str]:
    """Each supported CPython of this machine by its version: on the PATH, and those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable]
    for version in VERSIONS:
        candidates += [path for path in [shutil.which(f"python{version}")] if path]
        candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    found: dict[str, str] = {}
    for candidate in candidates:
        # A shim may be there for a version that is not.
        told = subprocess.run([candidate, "-c", _TELL], capture_output=True, text=True, check=False)
        version, *kind = told.stdout.split() or [""]
        if version in VERSIONS and kind == ["cpython", "False"]:
            found.setdefault(version, candidate)
    return dict(sorted(found.items(), key=lambda item: VERSIONS.index(item[0])))


def run_tests(version: str, interpreter: str, wheel: Path, options: list[str], group: str = "test") -> int:
    """Run pytest against the wheel; gives its exit code."""
    home = ROOT / "target" / "venvs" / (version if group == "test" else f"{version}-{group}")
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    ready = home / "ready"
    if not ready.exists() or ready.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        subprocess.run([interpreter, "-m", "venv", "--clear", str(home)], check=True)
        pip(python, "--upgrade", "pip")
        pip(python, "--group", f"{ROOT / 'pyproject.toml'}:{group}")
        ready.touch()
    pip(python, "--force-reinstall", "--no-deps", str(wheel))
    pip(python, str(wheel))
    print(f"--- Python {version}", flush=True)
    # Most tests wait for servers, so several at a time cost little; that they come in any order keeps them apart.
    several = ["-n", "4", "--dist", "worksteal"] if group == "test" else []
    # From the project's root `entra_reprocess` is not importable, so the installed one is tested.
    return subprocess.run([str(python), "-m", "pytest", "-q", *several, *options], cwd=ROOT, check=False).returncode


def pip(python: Path, *arguments: str) -> None:
    """Install something."""
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
