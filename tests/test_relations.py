"""A DuckDB relation as ids: its length runs a query of its own, which ends the stream, so only the stream is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from entra_reprocess import AsyncClient, Client, Outcome, Report, reprocess_many
from entra_reprocess.emulator import Emulator


@pytest.fixture
def table(graph: Emulator) -> duckdb.DuckDBPyConnection:
    """A database with a table `t` of all ids, in their order."""
    connection = duckdb.connect()
    rows = pa.table({"place": range(len(graph.ids)), "id": graph.ids})
    connection.register("rows", rows)
    connection.execute("create table t as select * from rows")
    return connection


QUERIES = {
    "all": "select id from t order by place",
    "as UUID": "select id::uuid as id from t order by place",
    "a view": "from (select id, place from t order by place) select id",
    "joined": "select t.id from t join rows on t.id = rows.id order by t.place",
}


@pytest.mark.parametrize("version", ["beta", "v1.0"])
@pytest.mark.parametrize("query", QUERIES)
def test_every_row_is_reprocessed(graph: Emulator, table: Any, query: str, version: Any) -> None:
    with Client(graph.credential, base_url=graph.url, api_version=version) as client:
        report = client.reprocess_many(table.sql(QUERIES[query]))
    assert report.ids == graph.ids
    assert report.counts["accepted"] == sum(graph.executions.values()) == 1000


def with_states(client: Client, ids: Any) -> list[str]:
    return list(client.states(ids))


def with_iterator(client: Client, ids: Any) -> list[str]:
    return [outcome.id for outcome in sorted(client.iter_reprocess(ids), key=lambda outcome: outcome.index)]


@pytest.mark.parametrize("call", [with_states, with_iterator])
def test_in_each_way(graph: Emulator, client: Client, table: Any, call: Callable[[Client, Any], list[str]]) -> None:
    assert call(client, table.sql(QUERIES["all"])) == graph.ids


def test_with_the_function_of_the_module(graph: Emulator, table: Any) -> None:
    report = reprocess_many(table.sql(QUERIES["all"]), base_url=graph.url, credential=graph.credential)
    assert report.ids == graph.ids


def test_in_a_coroutine(graph: Emulator, table: Any) -> None:
    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as client:
            report = await client.reprocess_many(table.sql(QUERIES["all"]))
            assert report.ids == graph.ids
            assert len([outcome async for outcome in client.iter_reprocess(table.sql(QUERIES["all"]))]) == 1000
            assert list(await client.states(table.sql(QUERIES["all"]))) == graph.ids

    asyncio.run(main())


def test_with_a_journal(graph: Emulator, client: Client, table: Any, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    client.reprocess_many(table.sql(QUERIES["all"]), journal=journal)
    assert Report.from_journal(journal).ids == graph.ids
    with pytest.warns(RuntimeWarning, match="nothing was sent"):
        again = client.reprocess_many(table.sql(QUERIES["all"]), journal=journal, progress=lambda *_: None)
    assert again.counts["accepted"] == 1000
    assert sum(graph.executions.values()) == 1000


def test_the_progress_knows_how_many_there_are(graph: Emulator, client: Client, table: Any) -> None:
    totals: set[int | None] = set()
    client.reprocess_many(table.sql(QUERIES["all"]), progress=lambda _done, total, _counts: totals.add(total))
    assert totals == {1000}


def test_its_connection_can_be_used_during_the_run(graph: Emulator, client: Client, table: Any) -> None:
    table.execute("create table done (id varchar)")

    def done(outcome: Outcome) -> None:
        table.execute("insert into done values (?)", [outcome.id])

    report = client.reprocess_many(table.sql("select id from t order by place limit 200"), on_outcome=done)
    assert report.counts["accepted"] == 200
    for outcome in client.iter_reprocess(table.sql("select id from t order by place offset 800")):
        done(outcome)
    assert table.execute("select count(*) from done").fetchone() == (400,)


class Counting:
    """A stream whose length must not be asked for."""

    def __init__(self, ids: list[str]) -> None:
        self._data = pa.chunked_array([ids[:700], [], ids[700:]], pa.string())

    def __len__(self) -> int:
        raise AssertionError("it runs another query")

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._data.__arrow_c_stream__(requested_schema)


def test_the_length_of_a_stream_is_never_asked_for(graph: Emulator, client: Client, tmp_path: Path) -> None:
    assert client.reprocess_many(Counting(graph.ids)).ids == graph.ids
    assert list(client.states(Counting(graph.ids))) == graph.ids
    assert client.reprocess_many(Counting(graph.ids), journal=tmp_path / "june.db").ids == graph.ids
    assert len(list(client.iter_reprocess(Counting(graph.ids)))) == 1000


def test_a_relation_without_rows_or_with_a_null(graph: Emulator, client: Client, table: Any) -> None:
    assert len(client.reprocess_many(table.sql("select id from t where false"))) == 0
    relation = table.sql("select case when place = 1 then null else id end as id from t order by place limit 3")
    report = client.reprocess_many(relation)
    assert [(outcome.id, outcome.status) for outcome in report] == [
        (graph.ids[0], "accepted"),
        ("", "rejected"),
        (graph.ids[2], "accepted"),
    ]


def test_two_columns_are_refused(graph: Emulator, client: Client, table: Any) -> None:
    with pytest.raises(TypeError, match=r"2 columns \(place, id\)"):
        client.reprocess_many(table.sql("select place, id from t"))
    assert graph.counters["http_requests"] == 0


def test_an_error_of_the_query_is_passed_on(graph: Emulator, client: Client, table: Any) -> None:
    with pytest.raises((duckdb.Error, ValueError), match=r"(?i)could not convert|conversion"):
        client.reprocess_many(table.sql("select ('x' || id)::uuid as id from t"))
    assert graph.counters["http_requests"] == 0
