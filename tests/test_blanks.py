"""Blanks around an id are no fault, and a cell without anything in it is named as what it is."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from entra_reprocess import AsyncClient, Client, InvalidIdError, Report
from entra_reprocess.emulator import Emulator

from .faults import FaultServer
from .held import WAYS, run

PLAIN = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
AROUND = {
    "line": "{}\n",
    "Windows line": "{}\r\n",
    "blanks": "  {}\t ",
    "form feeds": "\v{}\f",
    "byte order mark": "\ufeff{}",
    "NBSP": "\u00a0{}\u00a0",
    "narrow NBSP": "{}\u202f",
    "ideographic": "\u3000{}",
    "line separator": "{}\u2028",
    "zero-width space": "\u200b{}\u200b",
    "zero-width joiners": "\u200c{}\u200d\u2060",
    "marks of direction": "\u202a{}\u202c\u200e",
    "isolates": "\u2066{}\u2069",
    "soft hyphen": "{}\u00ad",
    "several": "\ufeff\u00a0 {}\u200b\r\n",
}
FORMS = {
    "plain": PLAIN,
    "upper": PLAIN.upper(),
    "digits": PLAIN.replace("-", ""),
    "upper digits": PLAIN.replace("-", "").upper(),
    "braces": f"{{{PLAIN}}}",
    "braced digits": f"{{{PLAIN.replace('-', '')}}}",
    "URN": f"urn:uuid:{PLAIN}",
    "URN of digits": f"URN:UUID:{PLAIN.replace('-', '')}",
}
SPELT = [around.format(form) for around in AROUND.values() for form in FORMS.values()] + list(FORMS.values())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["beta", "v1.0"])
@pytest.mark.parametrize("batch_size", [1, 20])
def test_every_spelling_is_sent_as_one(faulty: FaultServer, way: str, version: str, batch_size: int) -> None:
    outcomes, _, stopped = run(faulty, SPELT, way=way, api_version=version, batch_size=batch_size)
    assert stopped is None
    assert {(outcome.id, outcome.status) for outcome in outcomes} == {(PLAIN, "accepted")}
    record = faulty.record()
    assert [item for row in record.requests for item in row.ids] == [PLAIN]
    assert record.violations == []


def test_in_single_calls_states_and_filters(graph: Emulator, client: Client) -> None:
    first = graph.ids[0]
    (assignment,) = (each for each in client.assignments() if each.id == first)
    for spelt in (f"\ufeff{first}\r\n", first.replace("-", ""), f"\u00a0{first.upper()} "):
        assert client.reprocess(spelt).id == first
        assert list(client.states([spelt])) == [first]
        found = client.assignments(
            access_package=spelt.replace(first, str(assignment.access_package_id)) if first in spelt else None,
            target=f" {assignment.target_id}\n",
            policy=str(assignment.policy_id).replace("-", ""),
        )
        assert first in [each.id for each in found]

    async def main() -> None:
        async with AsyncClient(graph.credential, base_url=graph.url) as other:
            assert (await other.reprocess(f"{first}\n")).id == first
            assert list(await other.states([f"\u200b{first}"])) == [first]

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_open_file(graph: Emulator, client: Client, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"{item}\r\n" for item in graph.ids[:30]), encoding=encoding, newline="")
    for newline in (None, ""):
        with path.open(encoding="utf-8", newline=newline) as file:
            report = client.reprocess_many(file)
        assert report.ids == graph.ids[:30]
        assert report.counts["accepted"] == 30
    assert client.reprocess_many(io.StringIO(path.read_text(encoding="utf-8"))).ids == graph.ids[:30]


def test_standard_input(graph: Emulator) -> None:
    code = f"""
    import sys
    from entra_reprocess import reprocess_many
    report = reprocess_many(sys.stdin, base_url={graph.url!r}, credential={graph.token!r}, progress=False)
    print([(outcome.index, outcome.id, outcome.status) for outcome in report])
    """
    first, second = graph.ids[:2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=f"{first}\n\n  {second}  \nid\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(
        [(0, first, "accepted"), (1, "", "rejected"), (2, second, "accepted"), (3, "id", "rejected")]
    )


EMPTY: dict[str, Any] = {
    "None": None,
    "NaN": float("nan"),
    "numpy float64": np.float64("nan"),
    "numpy float32": np.float32("nan"),
    "Decimal": Decimal("NaN"),
    "pandas NA": pd.NA,
    "pandas NaT": pd.NaT,
    "numpy NaT": np.datetime64("NaT", "s"),
    "masked": np.ma.masked,
    "no text": "",
    "blanks": "  \t",
    "NBSP": "\u00a0",
    "invisible": "\ufeff\u200b\r\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_cell_is_rejected_with_its_place(faulty: FaultServer, way: str) -> None:
    outcomes, report, stopped = run(faulty, [PLAIN, *EMPTY.values(), PLAIN.upper()], way=way)
    assert stopped is None
    assert outcomes[0].status == "accepted"
    empty = outcomes[1 : 1 + len(EMPTY)]
    assert [(outcome.index, outcome.id, outcome.status) for outcome in empty] == [
        (place, "", "rejected") for place in range(1, 1 + len(EMPTY))
    ]
    assert all("is empty" in (outcome.message or "") for outcome in empty)
    assert faulty.record().executed(PLAIN) == 1
    if report is not None:
        assert report.counts["rejected"] == len(EMPTY)


@pytest.mark.parametrize("kind", EMPTY)
def test_a_single_call_says_that_it_is_empty(graph: Emulator, client: Client, kind: str) -> None:
    with pytest.raises(InvalidIdError, match="is empty"):
        client.reprocess(EMPTY[kind])
    if EMPTY[kind] is not None:
        for name in ("access_package", "target", "policy"):
            with pytest.raises((TypeError, ValueError), match=f"{name} is empty"):
                client.assignments(**{name: EMPTY[kind]})
    assert graph.counters["http_requests"] == 0


COLUMNS: dict[str, Any] = {
    "pandas object": lambda ids: pd.Series(ids, dtype=object),
    "pandas string": lambda ids: pd.Series(ids, dtype="string"),
    "pandas float where all is empty": lambda ids: pd.Series([float("nan") for _ in ids]),
    "pandas of Arrow": lambda ids: pd.Series(ids, dtype=pd.ArrowDtype(pa.string())),
    "pandas category": lambda ids: pd.Series(ids, dtype="category"),
    "polars": pl.Series,
    "pyarrow": pa.array,
    "pyarrow view": lambda ids: pa.array(ids, pa.string_view()),
    "pyarrow dictionary": lambda ids: pa.array(ids).dictionary_encode(),
    "pyarrow table": lambda ids: pa.table({"id": ids}),
    "pyarrow without a type": lambda ids: pa.array([None for _ in ids]),
    "numpy masked": lambda ids: np.ma.masked_array([item or "" for item in ids], [item is None for item in ids]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_with_holes(graph: Emulator, client: Client, kind: str) -> None:
    ids = [None, *graph.ids[:3], None, graph.ids[4]]
    report = client.reprocess_many(COLUMNS[kind](ids))
    holes = [outcome for outcome in report if outcome.status == "rejected"]
    assert all(outcome.id == "" and "is empty" in (outcome.message or "") for outcome in holes)
    expected = range(6) if "all" in kind or "without" in kind else [0, 4]
    assert [outcome.index for outcome in holes] == list(expected)
    assert report.counts["accepted"] == 6 - len(holes)


def test_a_journal_knows_an_empty_cell_again(graph: Emulator, client: Client, tmp_path: Path) -> None:
    journal = tmp_path / "june.db"
    ids: list[Any] = [graph.ids[0], None, "", float("nan"), " ", graph.ids[1]]
    report = client.reprocess_many(ids, journal=journal)
    assert Report.from_journal(journal) == report
    assert [outcome.index for outcome in report] == list(range(6))
    with pytest.warns(RuntimeWarning, match="nothing was sent"):
        assert client.resume(journal) == client.reprocess_many(ids, journal=journal) == report
    assert sum(graph.executions.values()) == 2
    report.to_csv(tmp_path / "june.csv")
    assert (tmp_path / "june.csv").read_text(encoding="utf-8").splitlines()[2].startswith(",1,rejected,")


@pytest.mark.parametrize(
    "text",
    [
        f"{PLAIN}\0",
        f"\0{PLAIN}",
        f"{PLAIN[:9]}\u200b{PLAIN[9:]}",
        f"{PLAIN[:9]} {PLAIN[9:]}",
        f"{PLAIN}\r\nX-Evil: 1",
        f"{PLAIN}\n{PLAIN}",
        PLAIN.replace("-", "")[:-1],
        PLAIN.replace("-", "", 1),
        f"{{{PLAIN}",
        f"({PLAIN})",
        f'"{PLAIN}"',
    ],
)
def test_what_is_not_around_it_is_no_blank(graph: Emulator, client: Client, text: str) -> None:
    with pytest.raises(InvalidIdError):
        client.reprocess(text)
    assert client.reprocess_many([text]).counts["rejected"] == 1
    assert graph.counters["http_requests"] == 0


@pytest.mark.parametrize(
    "url",
    [
        f"https://graph.microsoft.com/v1.0/identityGovernance/entitlementManagement/assignments/{PLAIN}",
        f"https://graph.microsoft.com/beta/identityGovernance/entitlementManagement/accessPackageAssignments('{PLAIN}')",
        f"https://graph.microsoft.com/v1.0/identityGovernance/entitlementManagement/assignments/{PLAIN.upper()}/",
        f"/identityGovernance/entitlementManagement/assignments/{PLAIN}?$expand=target",
        f"https://entra.microsoft.com/#view/Assignment?packageId=00000000-0000-4000-8000-000000000001&id={PLAIN}",
    ],
)
def test_a_url_is_refused_with_the_id_that_it_seems_to_mean(graph: Emulator, client: Client, url: str) -> None:
    with pytest.raises(InvalidIdError, match=f"if {PLAIN} is meant, give that alone"):
        client.reprocess(url)
    (outcome,) = client.reprocess_many([url])
    assert outcome.status == "rejected"
    assert PLAIN in (outcome.message or "")
    with pytest.raises(ValueError, match=PLAIN):
        client.assignments(target=url)
    assert graph.counters["http_requests"] == 0
