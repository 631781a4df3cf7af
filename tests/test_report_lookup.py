"""A report is asked for ids, and says which were not accepted and why."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from entra_reprocess import Assignment, Client, Outcome, Report
from entra_reprocess.emulator import Emulator

from .faults import assignment_ids
from .foreign import Foreign, error

MISSING = "00000000-0000-0000-0000-000000000001"
STRANGER = "ffffffff-0000-0000-0000-000000000001"
FORMS: dict[str, Callable[[str], Any]] = {
    "as it is": str,
    "upper case": str.upper,
    "braces": lambda each: f"{{{each}}}",
    "URN": lambda each: UUID(each).urn,
    "UUID": UUID,
}


@pytest.fixture
def ids(graph: Emulator) -> list[str]:
    """Some of them twice, two of them no ids."""
    return [*graph.ids[:5], MISSING, "x, y", graph.ids[1], "z", MISSING, "x, y"]


@pytest.fixture
def report(client: Client, ids: list[str]) -> Report:
    return client.reprocess_many(ids)


@pytest.mark.parametrize("form", FORMS)
def test_an_id_in_any_form_leads_to_its_first_place(report: Report, ids: list[str], form: str) -> None:
    for place, each in enumerate(ids):
        if "," in each or len(each) == 1:
            continue
        wanted = FORMS[form](each)
        assert report[wanted] == report[ids.index(each)] == report[place]
        assert report[wanted].id == each
        assert wanted in report
        assert report.index(wanted) == ids.index(each)
        assert report.count(wanted) == ids.count(each)


def test_what_was_no_id_is_found_as_it_was_given(client: Client) -> None:
    given = ["x, y", "", "=1", "a" * 1_000_000, "\x1b[2J"]
    report = client.reprocess_many(given)
    for place, each in enumerate(given):
        assert report[each].index == place
        assert each in report
    assert "a" * 64 not in report
    assert "b" not in report


@pytest.mark.parametrize(
    "wanted", [STRANGER, UUID(STRANGER), "nothing", "", "a" * 1_000_000, "\x1b[2J"], ids=lambda _: ""
)
def test_what_is_not_there(report: Report, wanted: Any) -> None:
    assert wanted not in report
    assert report.count(wanted) == 0
    with pytest.raises(LookupError) as missing:
        report[wanted]
    assert isinstance(missing.value, KeyError)
    with pytest.raises(ValueError, match="is not in this report") as absent:
        report.index(wanted)
    for raised in (missing.value, absent.value):
        assert len(str(raised)) < 150
        assert "\x1b" not in str(raised)


@pytest.mark.parametrize(
    "wanted", [None, 1.5, b"x", ("x",), object(), float("nan")], ids=lambda each: type(each).__name__
)
def test_what_is_neither_place_nor_id(report: Report, wanted: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(wanted).__name__}"):
        report[wanted]
    assert wanted not in report
    assert report.count(wanted) == 0
    with pytest.raises(ValueError, match="not in this report"):
        report.index(wanted)


def test_places_are_places_still(report: Report, ids: list[str]) -> None:
    import numpy as np

    assert [report[np.int64(place)].id for place in range(len(ids))] == ids
    assert report[-1].id == ids[-1]
    with pytest.raises(IndexError, match="11 places"):
        report[11]
    assert 3 not in report
    assert report[2:4].ids == ids[2:4]


def test_index_looks_where_a_list_would(report: Report, ids: list[str]) -> None:
    bounds = [-(10**400), -20, -11, -3, 0, 1, 2, 5, 6, 9, 10, 11, 12, 10**400]
    for each in set(ids):
        for start in bounds:
            for stop in bounds:
                try:
                    expected = ids.index(each, start, stop)
                except ValueError:
                    with pytest.raises(ValueError, match="not in this report"):
                        report.index(each, start, stop)
                else:
                    assert report.index(each, start, stop) == expected


def test_parts_have_places_of_their_own(report: Report, ids: list[str]) -> None:
    for part in (report[3:], report[::-1], report[::2], report.accepted, report.not_accepted, report[3:].not_accepted):
        for each in {*ids, STRANGER}:
            assert (each in part) == (each in part.ids)
            assert part.count(each) == part.ids.count(each)
            if each in part.ids:
                assert part.index(each) == part.ids.index(each)
                assert part[each].id == each
            else:
                with pytest.raises(KeyError):
                    part[each]
    assert ids[0] not in report.not_accepted
    assert MISSING in report.not_accepted


def test_outcomes_are_there_where_equal_ones_are(report: Report, client: Client, ids: list[str]) -> None:
    for outcome in report:
        assert outcome in report
        assert report.index(outcome) == outcome.index
    assert report.count(report[1]) == 2
    # The same text twice: each place has its own outcome.
    assert [report.count(report[place]) for place in (6, 10)] == [1, 1]
    other = client.reprocess_many(ids)
    assert other[0] not in report
    assert report.count(other[0]) == 0
    with pytest.raises(ValueError, match="not in this report"):
        report.index(other[0])
    # Asked for by one of another run, it is its id that counts.
    assert report[other[3]] == report[3]


def test_what_lists_give_leads_to_its_outcome(graph: Emulator, client: Client) -> None:
    assignments: list[Assignment] = list(client.assignments())[:20]
    report = client.reprocess_many([each.id for each in assignments])
    for place, each in enumerate(assignments):
        assert report[each].id == each.id
        assert each in report
        assert report.index(each) == place
        assert report.count(each) == 1
    assert next(client.access_packages()) not in report


def test_copies_and_journals_are_asked_likewise(client: Client, ids: list[str], tmp_path: Path) -> None:
    report = client.reprocess_many(ids, journal=tmp_path / "june.db")
    for copy in (pickle.loads(pickle.dumps(report)), Report.from_journal(tmp_path / "june.db")):
        for each in ids:
            assert copy.index(each) == ids.index(each)
            assert copy[each].status == report[each].status


def test_an_empty_report_has_nothing(client: Client) -> None:
    empty = client.reprocess_many([])
    assert MISSING not in empty
    assert "" not in empty
    assert empty.count(MISSING) == 0
    assert repr(empty.not_accepted) == "<Report of 0: nothing>"


def test_the_repr_of_a_part_says_which_and_why(report: Report) -> None:
    assert repr(report.not_accepted) == (
        "<Report of 5: 3 rejected, 2 not_found\n"
        f"  {MISSING} not_found (404 ResourceNotFound: The resource was not found.)\n"
        f"  x, y rejected ({report[6].message})\n"
        f"  z rejected ({report[8].message})\n"
        "  and 2 more>"
    )
    assert repr(report[4:6]) == (
        "<Report of 2: 1 accepted, 1 not_found\n"
        f"  {MISSING} not_found (404 ResourceNotFound: The resource was not found.)>"
    )
    assert repr(report.accepted) == "<Report of 6: 6 accepted>"
    # Of a whole run it stays in one line, since texts of exceptions and logs repeat it.
    assert "\n" not in repr(report)
    assert report.not_accepted.http_requests == report.http_requests
    assert report.not_accepted.elapsed == report.elapsed


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(403, "", "No rights."), "forbidden (403: No rights.)"),
        (error(409, "Conflict", ""), "failed (409 Conflict)"),
        (error(400, "Odd", "a\x1b[2J\nb"), r"rejected (400 Odd: a\x1b[2J\nb)"),
    ],
)
def test_it_shows_what_there_is(answer: Any, told: str) -> None:
    (one,) = assignment_ids(1)
    with Foreign(lambda _: answer) as server:
        report = Client("token", base_url=server.url).reprocess_many([one])
    assert repr(report.not_accepted).partition("\n  ")[2] == f"{one} {told}>"


def test_it_stays_short(client: Client) -> None:
    with Foreign(lambda _: error(409, "C" * 1_000, "long words " * 1_000)) as server:
        report = Client("token", base_url=server.url).reprocess_many([*assignment_ids(1_000), "y" * 1_000_000])
    shown = repr(report.not_accepted)
    assert len(shown) < 800
    assert len(shown.splitlines()) == 5
    assert shown.endswith("and 998 more>")


def test_what_was_not_attempted_says_why(free_port: int) -> None:
    client = Client("token", base_url=f"http://127.0.0.1:{free_port}")
    report = client.reprocess_many(assignment_ids(2), deadline=0.05)
    assert report.counts["not_attempted"] == 2
    outcome: Outcome = report[0]
    assert f"{outcome.id} not_attempted ({outcome.message})" in repr(report.not_accepted)


def test_it_can_be_asked_by_places_and_ids_only(report: Report) -> None:
    with pytest.raises(TypeError):
        report[1.5]  # type: ignore[call-overload]  # what must fail
    with pytest.raises(TypeError):
        report[None]  # type: ignore[call-overload]  # likewise
