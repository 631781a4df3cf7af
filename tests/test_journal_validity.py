"""Whether an input was an id is written down in a journal, and never guessed from its text."""

from __future__ import annotations

import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import Client, JournalError, Report
from entra_reprocess.emulator import Emulator

from .faults import FaultServer, assignment_ids


class Shown:
    """An object that is no id, whatever its repr looks like."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def odd(text: str) -> Any:
    """Such an object, for calls that are typed to take ids."""
    return Shown(text)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "june.db"


@pytest.fixture
def again() -> Any:
    """Completeness is not what these tests are about."""
    return pytest.warns(RuntimeWarning, match="complete since")


@pytest.mark.parametrize("order", ["id first", "id last", "alone", "twice", "among repeats"])
@pytest.mark.parametrize("given", ["list", "generator"])
def test_an_object_that_shows_as_an_id(order: str, given: str, journal: Path, again: Any) -> None:
    with Emulator(3) as graph, Client(graph.credential, base_url=graph.url) as client:
        guid = graph.ids[0]
        mine = Shown(guid)
        ids: list[Any] = {
            "id first": [guid, mine],
            "id last": [mine, guid],
            "alone": [mine, graph.ids[1]],
            "twice": [mine, mine, guid, Shown(guid)],
            "among repeats": [guid, mine, guid.upper(), mine, graph.ids[2], guid],
        }[order]
        statuses = ["accepted" if isinstance(each, str) else "rejected" for each in ids]

        def take() -> Any:
            return ids if given == "list" else iter(ids)

        first = client.reprocess_many(take(), journal=journal)
        assert [each.status for each in first] == statuses
        assert list(Report.from_journal(journal)) == list(first)
        executed = dict(graph.executions)
        with again:
            assert client.reprocess_many(take(), journal=journal) == first
        with again:
            assert client.resume(journal) == first
        assert pickle.loads(pickle.dumps(Report.from_journal(journal))) == first
        assert graph.executions == executed
        # One that shows the same is the same; an id in its place is not.
        for place, each in enumerate(ids):
            other: Any = guid if isinstance(each, Shown) else Shown(each.lower())
            with pytest.raises(JournalError, match=f"place {place} of its input"):
                client.reprocess_many([*ids[:place], other, *ids[place + 1 :]], journal=journal)
        with again:
            assert client.resume(journal, retry=("rejected",)).counts["rejected"] == statuses.count("rejected")
        assert graph.executions == executed


@pytest.mark.parametrize(
    "given", ["", " ", "x\0y", "zeilen\numbruch", "\ud800", 5, 5.5, b"x" * 16, (1, 2), "é" * 100, True, object]
)
def test_whatever_was_given_comes_back(given: Any, journal: Path, again: Any) -> None:
    with Emulator(2) as graph, Client(graph.credential, base_url=graph.url) as client:
        ids = [graph.ids[0], given, given, graph.ids[1]]
        first = client.reprocess_many(ids, journal=journal)
        assert [each.status for each in first] == ["accepted", "rejected", "rejected", "accepted"]
        assert list(Report.from_journal(journal)) == list(first)
        with again:
            assert client.reprocess_many(ids, journal=journal) == first
        with pytest.raises(JournalError, match="place 1 of its input"):
            client.reprocess_many([graph.ids[0], "another", given, graph.ids[1]], journal=journal)


def test_the_shell_sees_which_inputs_were_ids(graph: Emulator, client: Client, journal: Path) -> None:
    client.reprocess_many([graph.ids[0], odd(graph.ids[0])], journal=journal)
    with closing(sqlite3.connect(journal)) as connection:
        rows = connection.execute("SELECT id, is_id, status FROM assignment ORDER BY number").fetchall()
    assert rows == [(graph.ids[0], 1, "accepted"), (graph.ids[0], 0, "rejected")]


@pytest.mark.parametrize("number", [0, 1])
def test_a_changed_mark_is_damage(number: int, graph: Emulator, client: Client, journal: Path) -> None:
    client.reprocess_many([graph.ids[0], odd(graph.ids[1])], journal=journal)
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute(f"UPDATE assignment SET is_id = 1 - is_id WHERE number = {number}")
        connection.commit()
    with pytest.raises(JournalError, match="damaged"):
        Report.from_journal(journal)


def test_an_older_journal_is_refused_with_what_to_do(client: Client, graph: Emulator, journal: Path) -> None:
    client.reprocess_many(graph.ids[:3], journal=journal)
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    with pytest.raises(JournalError, match=r"of version 2, .*start with a new journal"):
        client.resume(journal)


def test_states_of_an_id_beside_an_object_that_shows_as_it() -> None:
    with FaultServer() as server, Client("token", base_url=server.url) as client:
        [guid] = assignment_ids(1)
        alone = client.states([guid])
        assert client.states([guid, odd(guid)]) == client.states([odd(guid), guid]) == alone
        assert client.states([odd(guid)]) == {guid: "rejected"}
