"""What the types let through and what they refuse: checked by mypy, which also finds an ignore that is not needed.

Nothing in here is run.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import TextIO
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl

from entra_reprocess import (
    AccessPackage,
    Assignment,
    AsyncClient,
    Client,
    Outcome,
    Report,
    reprocess,
    reprocess_many,
)


async def let_through(
    client: Client,
    other: AsyncClient,
    assignment: Assignment,
    outcome: Outcome,
    report: Report,
    sequence: Sequence[str],
    collection: Collection[UUID],
    iterator: Iterator[Assignment],
    assignments: AsyncIterator[Assignment],
    file: TextIO,
) -> None:
    client.reprocess(assignment)
    client.reprocess(outcome)
    client.reprocess_many(client.assignments())
    client.reprocess_many([assignment, outcome, "x", UUID(int=1)])
    client.reprocess_many([assignment])
    client.reprocess_many(list(client.assignments()))
    client.reprocess_many(report)
    client.reprocess_many(report.not_accepted[:5])
    client.reprocess_many(each for each in report)
    client.reprocess_many({"x"})
    client.reprocess_many({"x": 1}.keys())
    client.reprocess_many({1: "x"}.values())
    client.reprocess_many(map(str, [1]))
    client.reprocess_many(file)
    client.reprocess_many(sys.stdin)
    client.reprocess_many(sequence)
    client.reprocess_many(collection)
    client.reprocess_many(iterator)
    client.reprocess_many(pd.Series(["x"]))
    client.reprocess_many(np.array(["x"]))
    client.reprocess_many(pl.Series(["x"]))
    client.reprocess_many(duckdb.connect().sql("select 1"))
    client.states(report)
    client.states(client.assignments())
    client.iter_reprocess(report)
    await other.reprocess(assignment)
    await other.reprocess_many(other.assignments())
    await other.reprocess_many(report)
    await other.states(assignments)
    other.iter_reprocess(assignments)
    reprocess(assignment)
    reprocess_many(client.assignments())
    reprocess_many(report)


async def refused(
    client: Client, other: AsyncClient, assignment: Assignment, report: Report, package: AccessPackage
) -> None:
    client.reprocess(package)  # type: ignore[arg-type]  # no assignment
    client.reprocess(report)  # type: ignore[arg-type]  # many
    client.reprocess(None)  # type: ignore[arg-type]  # nothing
    client.reprocess_many("d82eb508")  # type: ignore[arg-type]  # one
    client.reprocess_many(UUID(int=1))  # type: ignore[arg-type]  # one
    client.reprocess_many(assignment)  # type: ignore[arg-type]  # one
    client.reprocess_many(b"x")  # type: ignore[arg-type]  # bytes
    client.reprocess_many([package])  # type: ignore[list-item]  # no assignment
    client.reprocess_many([1, 2])  # type: ignore[list-item]  # numbers
    client.reprocess_many(client.access_packages())  # type: ignore[arg-type]  # no assignment
    client.reprocess_many(pd.DataFrame())  # type: ignore[arg-type]  # more than a column
    client.reprocess_many(pl.DataFrame())  # type: ignore[arg-type]  # more than a column
    client.reprocess_many(other.assignments())  # type: ignore[arg-type]  # asynchronous
    client.states("d82eb508")  # type: ignore[arg-type]  # one
    client.states(pl.DataFrame())  # type: ignore[arg-type]  # more than a column
    client.iter_reprocess("d82eb508")  # type: ignore[arg-type]  # one
    await other.reprocess_many("d82eb508")  # type: ignore[arg-type]  # one
    await other.reprocess_many(pd.DataFrame())  # type: ignore[arg-type]  # more than a column
    await other.states(package)  # type: ignore[arg-type]  # no assignment
    reprocess(package)  # type: ignore[arg-type]  # no assignment
    reprocess_many("d82eb508")  # type: ignore[arg-type]  # one
    reprocess_many(pl.DataFrame())  # type: ignore[arg-type]  # more than a column
