"""What an import costs, and what the package offers."""

from __future__ import annotations

import doctest
import pickle
import statistics
import subprocess
import sys
import time
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import entra_reprocess
from entra_reprocess import _errors, emulator

from . import scripts


def seconds(code: str) -> float:
    """How long a fresh interpreter takes for it: the best of several, the machine may be busy."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - started)
    return min(times)


@pytest.mark.parametrize("code", ["import entra_reprocess", "from entra_reprocess import reprocess, Client"])
def test_the_import_is_light(code: str) -> None:
    heavy = ["azure", "tqdm", "asyncio", "dataclasses", "inspect", "uuid"]
    done = scripts.run(f"{code}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_the_import_takes_less_than_three_times_the_bare_start_up() -> None:
    ratios = [seconds("import entra_reprocess") / seconds("pass") for _ in range(3)]
    assert statistics.median(ratios) < 3


def test_every_public_name_is_there() -> None:
    for name in entra_reprocess.__all__:
        assert getattr(entra_reprocess, name) is not None
        assert name in dir(entra_reprocess)
    with pytest.raises(AttributeError, match="'nothing'"):
        getattr(entra_reprocess, "nothing")  # noqa: B009 - mypy knows that it is not there


def test_the_public_classes_name_the_public_place() -> None:
    for name in entra_reprocess.__all__:
        item = getattr(entra_reprocess, name)
        if isinstance(item, type):
            assert item.__module__ == "entra_reprocess"
            assert item.__doc__


def test_the_printed_tree_is_the_real_one() -> None:
    """Each class of the tree in the docstring stands below its parent."""
    lines = [line for line in (entra_reprocess.__doc__ or "").splitlines() if "Error" in line or "Interrupted" in line]
    parents: list[tuple[int, type]] = []
    seen = set()
    for line in lines:
        name = line.strip("│├└─ ").split()[0]
        indent = line.index(name)
        parents = [parent for parent in parents if parent[0] < indent]
        cls = getattr(entra_reprocess, name)
        if parents:
            assert cls.__bases__[0] is parents[-1][1], name
        parents.append((indent, cls))
        seen.add(name)
    assert seen == {name for name, item in vars(_errors).items() if isinstance(item, type)}


def test_exceptions_pickle() -> None:
    for kind in (item for item in vars(_errors).values() if isinstance(item, type)):
        error: BaseException = kind("text")
        if isinstance(error, entra_reprocess.GraphError):
            error = kind(
                "text",
                status_code=418,
                code="",
                message="m",
                request_id="r",
                client_request_id="c",
                date="d",
                retry_after=1.5,
                id="i",
            )
        copy: BaseException = pickle.loads(pickle.dumps(error))
        assert type(copy) is kind
        assert copy.args == ("text",)
        assert vars(copy) == vars(error)


def test_each_example_of_a_docstring_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    items = {name: getattr(entra_reprocess, name) for name in entra_reprocess.__all__}
    items["Emulator"] = emulator.Emulator
    items["package"] = entra_reprocess
    examples = 0
    for name, item in items.items():
        for test in finder.find(item, name, module=False):
            runner.run(test)
            examples += len(test.examples)
    assert examples >= 20
    assert runner.summarize().failed == 0


def test_the_metadata_is_complete() -> None:
    assert version("entra-reprocess") == entra_reprocess.__version__
    assert {requirement.split(">")[0] for requirement in requires("entra-reprocess") or []} == {
        "azure-identity",
        "tqdm",
    }
    assert (Path(entra_reprocess.__file__).parent / "py.typed").exists()
