"""Annotations that can be looked up at runtime, as data frame and validation libraries do."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, ForwardRef, Literal, get_args, get_type_hints
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import entra_reprocess
from entra_reprocess import (
    AccessPackage,
    Assignment,
    AsyncClient,
    Client,
    Outcome,
    Report,
    RunInterrupted,
    RunStoppedError,
    cli,
    emulator,
    pytest_plugin,
)
from entra_reprocess.emulator import Emulator


def annotated() -> dict[str, Any]:
    """Every public class and function, their methods and properties, by name."""
    found: dict[str, Any] = {"cli.main": cli.main}
    for name in ("pytest_configure", "graph_emulator"):
        function = getattr(pytest_plugin, name)
        found[f"pytest_plugin.{name}"] = inspect.unwrap(
            getattr(function, "_get_wrapped_function", lambda f=function: f)()
        )
    for module in (entra_reprocess, emulator):
        for name in module.__all__:
            item = getattr(module, name)
            if not callable(item) or get_args(item):
                continue
            found[name] = item
            if not isinstance(item, type):
                continue
            for base in item.__mro__:
                if not base.__module__.startswith("entra_reprocess"):
                    continue
                for key, value in vars(base).items():
                    for function in (value, *(getattr(value, each, None) for each in ("fget", "fset", "__func__"))):
                        if inspect.isfunction(function):
                            found[f"{name}.{key} {function.__qualname__}"] = function
    return found


def unresolved(hint: object) -> list[object]:
    """What of it is still a text."""
    if isinstance(hint, str | ForwardRef):
        return [hint]
    if getattr(hint, "__origin__", None) is Literal:
        return []
    arguments = get_args(hint)
    return [text for each in arguments for text in (unresolved(each) if not isinstance(each, list) else [])]


ANNOTATED = annotated()


@pytest.mark.parametrize("name", ANNOTATED)
def test_every_annotation_can_be_looked_up(name: str) -> None:
    hints = get_type_hints(ANNOTATED[name])
    for parameter, hint in hints.items():
        assert unresolved(hint) == [], parameter


def test_all_are_looked_at() -> None:
    assert len(ANNOTATED) > 100
    for name in ("Client.reprocess_many", "AsyncClient.assignments", "Report.__getitem__", "Emulator.token"):
        assert any(key.startswith(f"{name} ") for key in ANNOTATED)


def test_they_lead_to_the_real_things() -> None:
    assert get_type_hints(Client.reprocess)["return"] is Outcome
    assert get_args(get_type_hints(Client.reprocess)["assignment_id"]) == (str, UUID, Assignment, Outcome)
    assert get_type_hints(Client.assignments)["return"] == Iterator[Assignment]
    assert get_type_hints(AsyncClient.reprocess_many)["return"] is Report
    assert get_type_hints(Outcome)["finished_at"] is datetime
    assert get_type_hints(Outcome)["status"] == entra_reprocess.Status
    for error in (RunStoppedError, RunInterrupted):
        assert get_args(get_type_hints(error)["report"]) == (Report, type(None))
    for kind in (Outcome, Assignment, AccessPackage):
        hints = get_type_hints(kind)
        assert [each.name for each in fields(kind)] == list(hints)


@pytest.mark.parametrize("name", ["Outcome", "Assignment", "AccessPackage", "RunStoppedError", "Client.reprocess_many"])
def test_so_it_is_in_a_fresh_interpreter(name: str) -> None:
    """Nothing else of the package was used before."""
    code = f"import entra_reprocess, typing\nassert typing.get_type_hints(entra_reprocess.{name})"
    subprocess.run([sys.executable, "-c", code], check=True)


FRAMES: dict[str, Callable[[Any], Any]] = {
    "polars": pl.DataFrame,
    "polars from a list": lambda items: pl.DataFrame(list(items)),
    "pandas": pd.DataFrame,
    "pandas from a list": lambda items: pd.DataFrame(list(items)),
    "pyarrow": lambda items: pa.Table.from_pylist([asdict(item) for item in items]).to_pandas(),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_report_becomes_a_frame(graph: Emulator, client: Client, kind: str) -> None:
    report = client.reprocess_many([*graph.ids[:30], "x"])
    for part in (report, report.not_accepted, report[5:2:-1]):
        frame = FRAMES[kind](part)
        assert list(frame.columns) == [each.name for each in fields(Outcome)]
        assert list(frame["id"]) == part.ids
        assert list(frame["status"]) == [outcome.status for outcome in part]
        assert [int(each) for each in frame["index"]] == [outcome.index for outcome in part]


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_lists_become_frames(graph: Emulator, kind: str, version: Any) -> None:
    client = Client(graph.credential, base_url=graph.url, api_version=version)
    for items in (list(client.assignments())[:20], list(client.access_packages())):
        frame = FRAMES[kind](items)
        assert list(frame.columns) == [each.name for each in fields(type(items[0]))]
        assert list(frame["id"]) == [item.id for item in items]
