"""Texts of others, shown where people read: nothing in them steers a terminal, forges a line or begins a formula."""

from __future__ import annotations

import asyncio
import csv
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import (
    AsyncClient,
    Client,
    GraphError,
    InvalidIdError,
    JournalError,
    Report,
    ReprocessError,
    RunStoppedError,
)

from .faults import assignment_ids
from .foreign import Answer, Foreign, error

NASTY = {
    "escape": "\x1b[2J\x1b]0;title\x07",
    "C1": "\x9b31mred",
    "other controls": "a\0b\x08\x7f\x85",
    "lines": "first\r\nWARNING forged\nthird\tcell",
    "Unicode lines": "first\u2028second\u2029third",
    "bidi overrides": "\u202eevil\u202c \u2067x\u2069 \u200f\u061c",
}
HARMLESS = 'Zugriff für „Ärzte“ 100 % (日本) e\u0301 👩\u200d💻 it\'s "gone" C:\\new'
ID = assignment_ids(1)[0]


def steering(text: str) -> list[str]:
    """What of it is not to reach a terminal."""
    return [
        char
        for char in text
        if unicodedata.category(char) in {"Cc", "Zl", "Zp"}
        or char in "\u061c\u200e\u200f"
        or "\u202a" <= char <= "\u2069"
    ]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged, each as a line of a log has it."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.extend((record.getMessage(), str(vars(record).get("request_id")), str(vars(record).get("error"))))

    logger = logging.getLogger("entra_reprocess")
    handler = Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def nasty(status: int, text: str) -> Answer:
    """An error that says it everywhere."""
    answer = error(status, text, f"Graph says {text}")
    answer.body["error"]["innerError"] |= {"request-id": text, "date": text, "client-request-id": text}
    return answer


def in_part(status: int, text: str) -> Callable[[str], Answer]:
    """The same inside a batch, where a header may hold anything."""

    def answer(_: str) -> Answer:
        found = nasty(status, text)
        found.headers = {"request-id": text}
        return found

    return answer


def texts_of(error: GraphError) -> list[str]:
    return [str(error.code), str(error.message), str(error.request_id), str(error.date)]


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("version", ["beta", "v1.0"])
def test_an_error_of_one_call(version: Any, text: str, lines: list[str]) -> None:
    with Foreign(lambda _: nasty(409, text)) as server:
        client = Client("token", base_url=server.url, api_version=version)
        with pytest.raises(GraphError) as failed:
            client.reprocess(ID)

        async def main() -> GraphError:
            with pytest.raises(GraphError) as failed:
                await AsyncClient("token", base_url=server.url, api_version=version).reprocess(ID)
            return failed.value

        for found in (failed.value, asyncio.run(main())):
            # Lines of our own are there; none of theirs.
            assert steering(str(found).replace("\n", "")) == []
            assert "\nWARNING" not in str(found)
            assert "Graph says" in str(found)
            assert steering("".join(texts_of(found))) == []
    assert steering("".join(lines)) == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("batch_size", [20, 1])
def test_a_report_and_its_file(batch_size: int, text: str, lines: list[str], tmp_path: Path) -> None:
    with Foreign(in_part(409, text) if batch_size > 1 else lambda _: nasty(409, text)) as server:
        client = Client("token", base_url=server.url, batch_size=batch_size)
        report = client.reprocess_many([ID, text])
        streamed = list(client.iter_reprocess([ID, text]))
        journal = tmp_path / "j.db"
        client.reprocess_many([ID, text], journal=journal)
    for outcome in [*report, *streamed, *Report.from_journal(journal)]:
        seen = f"{outcome.id}{outcome.code}{outcome.message}{outcome.request_id}{outcome!r}"
        assert steering(seen) == []
        assert steering(str(outcome.error).replace("\n", "")) == []
    assert report[0].code
    with pytest.raises(ExceptionGroup) as group:
        report.raise_for_failures()
    assert steering("".join(map(repr, group.value.exceptions))) == []
    report.to_csv(tmp_path / "out.csv")
    raw = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert steering(raw.replace("\n", "")) == []
    assert raw.count("\n") == 3
    assert steering("".join(lines)) == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_lists_states_and_runs_that_stop(text: str, lines: list[str]) -> None:
    ids = assignment_ids(100)
    with Foreign(in_part(403, text), lambda request: nasty(403, text) if request.method == "GET" else None) as server:
        client = Client("token", base_url=server.url)
        with pytest.raises(GraphError) as listed:
            next(client.assignments())
        with pytest.raises(RunStoppedError) as stopped:
            client.reprocess_many(ids)
    assert steering("".join(texts_of(listed.value))) == []
    for found in (listed.value, stopped.value, stopped.value.__cause__):
        assert steering(str(found).replace("\n", "")) == []
        assert "WARNING forged" not in str(found).splitlines()
    assert steering("".join(lines).replace("\n", "")) == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_ids_as_given(text: str) -> None:
    class Odd:
        def __repr__(self) -> str:
            return f"<{text}>"

    client = Client("token", base_url="http://127.0.0.1:9")
    odd: Any = Odd()
    for value in (text, odd, f"{ID}{text}x"):
        with pytest.raises(InvalidIdError) as refused:
            client.reprocess(value)
        assert steering(str(refused.value)) == []
        (outcome,) = client.reprocess_many([value])
        assert steering(f"{outcome.id}{outcome.message}") == []
        assert steering("".join(client.states([value]))) == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
def test_names_of_files(text: str, tmp_path: Path) -> None:
    name = text.replace("\0", "").replace("/", "")
    with pytest.raises(JournalError) as journal:
        Report.from_journal(tmp_path / name)
    with pytest.raises(ValueError, match="ca_bundle") as bundle:
        Client("token", ca_bundle=tmp_path / name)
    client = Client("token", base_url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(ReprocessError) as stopped:
        client.reprocess_many(assignment_ids(3), journal=tmp_path / name)
    for found in (journal.value, bundle.value, stopped.value):
        assert steering(str(found).replace("\n", "")) == []
        assert "WARNING forged" not in str(found).splitlines()


def test_what_is_readable_stays_as_it_is() -> None:
    with Foreign(lambda _: error(409, "Code", HARMLESS)) as server:
        (outcome, invalid) = Client("token", base_url=server.url).reprocess_many([ID, HARMLESS[:60]])
    assert outcome.message == HARMLESS
    assert invalid.id == HARMLESS[:60]
    assert HARMLESS in str(outcome.error)


def test_an_escape_is_shown_as_python_writes_it() -> None:
    with Foreign(lambda _: error(409, "Code", "a\x1b[2J\nb\u202ec")) as server:
        (outcome,) = Client("token", base_url=server.url).reprocess_many([ID])
    assert outcome.message == r"a\x1b[2J\nb\u202ec"


FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x.example")', " =1", "＝1"]  # noqa: RUF001 - a fullwidth sign, too


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_a_file_is_a_formula(formula: str, tmp_path: Path) -> None:
    with Foreign(in_part(409, formula)) as server:
        report = Client("token", base_url=server.url).reprocess_many([ID, formula])
    path = tmp_path / "out.csv"
    for part in (report, report.not_accepted, report[::-1]):
        part.to_csv(path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert len(rows) == 3
        cells = [cell for row in rows for cell in row]
        assert [cell for cell in cells if re.match(r"\s*[=+\-@\t\r＝]", cell)] == []  # noqa: RUF001 - likewise
    # What is no file stays as it was given.
    assert report[1].id.endswith(formula.strip())
