"""The report as a sequence, a file and a pickle."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest

from entra_reprocess import BadRequestError, Client, InvalidIdError, NotFoundError, Outcome, Report
from entra_reprocess.emulator import Emulator

MISSING = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def report(graph: Emulator, client: Client) -> Report:
    return client.reprocess_many([*graph.ids[:3], MISSING, "x, y", graph.ids[0]])


def test_it_is_a_sequence(report: Report, graph: Emulator) -> None:
    assert len(report) == 6
    assert [outcome.id for outcome in report] == report.ids == [*graph.ids[:3], MISSING, "x, y", graph.ids[0]]
    assert report[-1] == report[0]
    assert [outcome.id for outcome in report[4:1:-1]] == ["x, y", MISSING, graph.ids[2]]
    assert report[2:2].ids == []
    assert report[0] in report
    assert report.index(report[3]) == 3
    assert [outcome.index for outcome in reversed(report)] == [0, 4, 3, 2, 1, 0]
    with pytest.raises(IndexError):
        report[6]
    with pytest.raises(IndexError):
        report[-7]
    with pytest.raises(TypeError):
        hash(report)


def test_the_counts_add_up(report: Report) -> None:
    assert report.counts == {
        "accepted": 4,
        "rejected": 1,
        "not_found": 1,
        "forbidden": 0,
        "failed": 0,
        "unknown": 0,
        "not_attempted": 0,
    }
    assert sum(report.counts.values()) == len(report)
    assert report.accepted.counts["accepted"] == len(report.accepted) == 4
    assert report.not_accepted.ids == [MISSING, "x, y"]
    assert report.http_requests == 1
    assert report.retries == 0
    assert report.paused_seconds == 0
    assert 0 < report.elapsed < 60


def test_its_repr_says_what_matters(report: Report) -> None:
    assert repr(report).startswith("<Report of 6: 4 accepted, 1 rejected, 1 not_found in ")


def test_raise_for_failures(report: Report) -> None:
    report.accepted.raise_for_failures()
    with pytest.raises(ExceptionGroup) as group:
        report.raise_for_failures()
    assert group.value.message == "2 of 6 not accepted: 4 accepted, 1 rejected, 1 not_found"
    assert [type(error) for error in group.value.exceptions] == [NotFoundError, InvalidIdError]


def test_raise_for_failures_holds_a_hundred_at_the_most(client: Client) -> None:
    with pytest.raises(ExceptionGroup) as group:
        client.reprocess_many(["x"] * 250).raise_for_failures()
    assert len(group.value.exceptions) == 100
    assert group.value.message == "250 of 250 not accepted: 250 rejected"


def test_to_csv(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    report.to_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == report.ids
    assert [row["status"] for row in rows] == [outcome.status for outcome in report]
    assert rows[3]["http_status"] == "404"
    assert rows[3]["code"] == "ResourceNotFound"
    assert rows[0]["finished_at"] == report[0].finished_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    report[:1].to_csv(str(path))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    with pytest.raises(OSError, match="missing"):
        report.to_csv(tmp_path / "missing" / "out.csv")


def test_pickle_keeps_everything(report: Report) -> None:
    for kept in (report, report[2:5], report.not_accepted):
        copy = pickle.loads(pickle.dumps(kept))
        assert copy == kept
        assert copy.counts == kept.counts
        assert copy.elapsed == kept.elapsed
        assert repr(copy) == repr(kept)
    with pytest.raises(ValueError, match="no report"):
        type(report._native).from_bytes(b"rubbish")


def test_an_outcome_knows_its_exception(report: Report) -> None:
    outcome: Outcome = report[3]
    error = outcome.error
    assert not outcome.ok
    assert isinstance(error, NotFoundError)
    assert (error.status_code, error.code, error.id) == (404, "ResourceNotFound", MISSING)
    assert error.request_id == outcome.request_id is not None
    assert error.client_request_id == outcome.client_request_id is not None
    assert report[0].ok
    assert report[0].error is None
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    with pytest.raises(AttributeError):
        outcome.status = "accepted"  # type: ignore[misc]  # that is what must fail


def test_an_empty_input_gives_an_empty_report(graph: Emulator, client: Client) -> None:
    empty = client.reprocess_many([])
    assert list(empty) == []
    assert sum(empty.counts.values()) == 0
    assert graph.counters["http_requests"] == 0
    empty.raise_for_failures()
    assert list(client.iter_reprocess(iter(()))) == []


def test_a_wrong_state_is_rejected(graph: Emulator) -> None:
    from entra_reprocess.emulator import Refusal

    with Emulator(1, unknown_id=Refusal(400, "InvalidAssignmentState", "no")) as other:
        outcome = Client(other.credential, base_url=other.url).reprocess_many([MISSING])[0]
    assert outcome.status == "rejected"
    assert isinstance(outcome.error, BadRequestError)
