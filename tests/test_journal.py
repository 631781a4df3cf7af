"""Runs that are written down: the same call again, resume, what is refused, what a journal says."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_reprocess import AsyncClient, Client, JournalError, Outcome, Report, RunStoppedError, reprocess_many
from entra_reprocess.emulator import Emulator

from . import scripts
from .faults import FaultServer, assignment_ids, broken_invariants, fail, reset, throttled
from .foreign import Answer, Foreign, error

again = pytest.mark.filterwarnings("ignore:journal .* it is complete since:RuntimeWarning")
"""For tests that give a complete journal again and are about something else; see test_journal_given_again.py."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "june.db"


def rows(journal: Path, select: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(journal)) as connection:
        return connection.execute(select).fetchall()


# The same call again, in every way.


async def collected(client: AsyncClient, way: str, ids: Any, journal: Path) -> list[Outcome]:
    if way == "async":
        return list(await client.reprocess_many(ids, journal=journal))
    if way == "async resume":
        return list(await client.resume(journal))
    return sorted([each async for each in client.iter_reprocess(ids, journal=journal)], key=lambda each: each.index)


def outcomes_of(graph: Emulator, way: str, ids: Any, journal: Path) -> list[Outcome]:
    if way.startswith("async"):

        async def main() -> list[Outcome]:
            async with AsyncClient(graph.credential, base_url=graph.url) as client:
                return await collected(client, way, ids, journal)

        return asyncio.run(main())
    with Client(graph.credential, base_url=graph.url) as client:
        if way == "sync":
            return list(client.reprocess_many(ids, journal=journal))
        if way == "resume":
            return list(client.resume(journal))
        return sorted(client.iter_reprocess(ids, journal=journal), key=lambda each: each.index)


@pytest.mark.parametrize("first", ["sync", "async", "iterator", "async iterator"])
@pytest.mark.parametrize("second", ["sync", "async", "iterator", "async iterator", "resume", "async resume"])
def test_the_same_call_again_sends_nothing_and_says_the_same(first: str, second: str, journal: Path) -> None:
    missing = str(uuid.uuid4())
    with Emulator(120) as graph:
        ids = [*graph.ids, missing, "no id"]
        before = outcomes_of(graph, first, ids, journal)
        assert Counter(each.status for each in before) == {"accepted": 120, "not_found": 1, "rejected": 1}
        requests = graph.counters["http_requests"]
        with pytest.warns(RuntimeWarning, match="complete since"):
            assert outcomes_of(graph, second, ids, journal) == before
        assert graph.counters["http_requests"] == requests
    assert not journal.with_name("june.db-lock").exists()
    assert [path.name for path in journal.parent.iterdir()] == ["june.db"], "one file, whatever it was while it ran"
    assert list(Report.from_journal(journal)) == before


@again
def test_repeated_places_and_every_kind_of_ids(graph: Emulator, client: Client, journal: Path) -> None:
    odd = uuid.UUID(graph.ids[2])
    ids: list[str | uuid.UUID] = [graph.ids[0], graph.ids[1], graph.ids[0].upper(), "x", graph.ids[1], "x", odd]
    first = client.reprocess_many(iter(ids), journal=journal)
    assert first.ids == [*graph.ids[:2], graph.ids[0], "x", graph.ids[1], "x", graph.ids[2]]
    again = client.reprocess_many((each for each in ids), journal=str(journal))
    assert list(again) == list(first) == list(client.resume(journal)) == list(Report.from_journal(journal))
    assert again.counts == first.counts == {**first.counts, "accepted": 5, "rejected": 2}
    assert sum(graph.executions.values()) == 3


@again
def test_the_module_takes_a_journal_too(graph: Emulator, journal: Path) -> None:
    for _ in range(2):
        report = reprocess_many(graph.ids, journal=journal, base_url=graph.url, credential=graph.credential)
        assert report.counts["accepted"] == 1000
    assert graph.counters["executed"] == 1000


def test_no_ids_at_all(client: Client, journal: Path) -> None:
    assert list(client.reprocess_many([], journal=journal)) == []
    assert list(client.resume(journal)) == list(Report.from_journal(journal)) == []


@again
def test_callbacks_hear_of_earlier_outcomes_too(graph: Emulator, client: Client, journal: Path) -> None:
    client.reprocess_many(graph.ids[:25], journal=journal)
    heard: list[Outcome] = []
    told: list[tuple[int, int | None]] = []
    report = client.resume(
        journal, on_outcome=heard.append, progress=lambda done, total, _counts: told.append((done, total))
    )
    assert sorted(each.index for each in heard) == list(range(25))
    assert {each.id: each for each in heard} == {each.id: each for each in report}
    assert told[-1] == (25, 25)


def test_an_auditor_reads_it_with_the_shell(journal: Path) -> None:
    missing = str(uuid.uuid4())
    with Emulator(40) as graph, Client(graph.credential, base_url=graph.url, api_version="v1.0") as client:
        report = client.reprocess_many([*graph.ids, missing], journal=journal)
    columns = "id, status, http_status, code, message, request_id, client_request_id, attempts, first_sent, finished"
    told = rows(journal, f"SELECT {columns} FROM assignment ORDER BY number")
    for outcome, row in zip(report, told, strict=True):
        assert row[:8] == (
            outcome.id,
            outcome.status,
            outcome.http_status,
            outcome.code,
            outcome.message,
            outcome.request_id,
            outcome.client_request_id,
            outcome.attempts,
        )
        sent, finished = (datetime.fromisoformat(text) for text in row[8:])
        assert sent.tzinfo is not None
        assert finished == outcome.finished_at
        assert abs((finished - sent).total_seconds() - outcome.elapsed) < 1e-5
    [run] = rows(
        journal, "SELECT tool_version, cloud, host, api_version, tenant, started <= ended, why_ended, pid FROM run"
    )
    host = graph.url.removeprefix("http://")
    assert run[1:7] == ("global", host, "v1.0", run[4], 1, "completed")


# What is sent again, and what is not.


def test_only_what_no_answer_has_settled_is_sent_again(journal: Path) -> None:
    ids = assignment_ids(8)
    answers = dict(zip(ids, [202, 400, 403, 404, 409, 429, 500, 202], strict=True))
    with Foreign(lambda item: Answer(202) if answers[item] == 202 else error(answers[item])) as graph:
        client = Client("token", base_url=graph.url, max_retries=0)
        first = client.reprocess_many(ids, journal=journal)
        assert [each.status for each in first] == [
            *("accepted", "rejected", "forbidden", "not_found", "failed", "failed", "failed", "accepted")
        ]
        graph.ids.clear()
        answers.update(dict.fromkeys(ids, 202))
        again = client.resume(journal)
        assert graph.ids == ids[5:7], "what was given up"
        assert [each.status for each in again] == [
            *("accepted", "rejected", "forbidden", "not_found", "failed", "accepted", "accepted", "accepted")
        ]
        assert [each.attempts for each in again] == [1, 1, 1, 1, 1, 2, 2, 1]
        assert list(again[:5]) == list(first[:5])
        graph.ids.clear()
        assert client.resume(journal, retry=("failed", "forbidden")).counts["accepted"] == 6
        assert sorted(graph.ids) == sorted([ids[2], ids[4]])
        graph.ids.clear()
        last = client.reprocess_many(ids, journal=journal, retry=["rejected", "not_found", "accepted"])
        assert sorted(graph.ids) == sorted(ids)
    assert last.counts["accepted"] == 8
    assert list(Report.from_journal(journal)) == list(last)
    assert [retry for (retry,) in rows(journal, "SELECT retry FROM run ORDER BY number")] == [
        *("", "", "failed,forbidden", "rejected,not_found,accepted")
    ]


@again
def test_what_was_refused_here_is_never_sent(client: Client, graph: Emulator, journal: Path) -> None:
    client.reprocess_many([*graph.ids[:3], "x", ""], journal=journal)
    assert client.resume(journal, retry=("rejected",)).counts["rejected"] == 2
    assert graph.counters["executed"] == 3


def test_the_rest_after_a_deadline(journal: Path) -> None:
    with Emulator(1_000, latency=0.05, write_quota=(200, 1.0)) as graph:
        client = Client(graph.credential, base_url=graph.url)
        first = client.reprocess_many(graph.ids, journal=journal, deadline=timedelta(seconds=1))
        assert 0 < first.counts["not_attempted"] < 1_000
        past = Report.from_journal(journal)
        assert past.counts == first.counts
        assert [each.status for each in past] == [each.status for each in first]
        report = client.resume(journal)
    assert report.counts["accepted"] == 1_000
    assert set(graph.executions.values()) == {1}
    assert report[0] == first[0]


def test_a_run_that_does_not_come_to_it_leaves_an_earlier_outcome_as_it_is(journal: Path) -> None:
    ids = assignment_ids(400)
    with Foreign(lambda _: error(409)) as graph, Client("token", base_url=graph.url, rate=100, batch_size=1) as client:
        first = client.reprocess_many(ids[:60], journal=journal)
        report = client.resume(journal, retry=("failed",), deadline=0.3)
        assert {each.status for each in report} == {"failed"}
        assert [each.attempts for each in report] == [2] * (
            sent := report.counts["failed"] - 60 + len(graph.ids) - 60
        ) + [1] * (60 - sent)
    assert 0 < sent < 60
    assert list(report[sent:]) == list(first[sent:])
    assert list(Report.from_journal(journal)) == list(report)


def test_doubt_of_an_earlier_run_stays_until_an_answer_settles_it(journal: Path) -> None:
    ids = assignment_ids(3)
    with FaultServer() as server, Client("token", base_url=server.url, max_retries=0) as client:
        server.script(ids={ids[0]: [reset(executed=True), throttled(None), None]}, requests=[])
        first = client.reprocess_many(ids[:1], journal=journal)
        assert first[0].status == "unknown"
        second = client.resume(journal)
        assert (second[0].status, second[0].attempts) == ("unknown", 2), "a 429 settles nothing"
        assert list(Report.from_journal(journal)) == list(second)
        third = client.resume(journal)
        assert (third[0].status, third[0].attempts) == ("accepted", 3)
        record = server.record()
    assert broken_invariants(record, ids[:1], {ids[0]: "accepted"}) == []


def test_another_token_after_one_that_was_refused(journal: Path) -> None:
    ids = assignment_ids(50)
    with FaultServer(tokens=["good"]) as server:
        with pytest.raises(RunStoppedError, match="resume") as caught, Client("bad", base_url=server.url) as client:
            client.reprocess_many(ids, journal=journal)
        assert repr(str(journal)) in str(caught.value)
        assert "bad" not in str(rows(journal, "SELECT * FROM run"))
        with Client("good", base_url=server.url) as client:
            assert client.resume(journal).counts["accepted"] == 50


# A source that did not come to its end.


@again
def test_an_input_that_broke_off_goes_on_with_the_same_call(graph: Emulator, client: Client, journal: Path) -> None:
    def source(breaks_at: int | None) -> Iterator[str]:
        for place, item in enumerate(graph.ids):
            if place == breaks_at:
                raise OSError("the database went away")
            yield item

    with pytest.raises(RunStoppedError, match="OSError"):
        client.reprocess_many(source(500), journal=journal)
    assert len(Report.from_journal(journal)) == 500
    with pytest.warns(RuntimeWarning, match="the first 500 places of its input"):
        assert client.resume(journal).counts["accepted"] == 500
    report = client.reprocess_many(source(None), journal=journal)
    assert report.counts["accepted"] == 1000
    assert report.ids == graph.ids
    assert set(graph.executions.values()) == {1}
    assert client.resume(journal) == report


def test_a_generator_goes_on_after_many_ids_that_no_run_came_to(journal: Path) -> None:
    ids = assignment_ids(5_000)
    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url) as client:
        slow = Client("token", base_url=graph.url, rate=100)
        assert slow.reprocess_many(ids, journal=journal, deadline=0.3).counts["not_attempted"] > 4_000
        report = client.reprocess_many(iter(ids), journal=journal)
    assert report.counts["accepted"] == 5_000
    assert Counter(graph.ids) == dict.fromkeys(ids, 1)


def test_a_list_is_written_down_before_the_first_request_leaves(journal: Path) -> None:
    seen: list[int] = []

    def answer(_: str) -> Answer:
        if not seen:
            seen.append(len(Report.from_journal(journal)))
        return Answer(202)

    with Foreign(answer) as graph, Client("token", base_url=graph.url) as client:
        client.reprocess_many(assignment_ids(30_000), journal=journal)
    assert set(seen) == {30_000}


def test_a_generator_is_read_as_it_is_sent(journal: Path) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield assignment_ids(1, first=read)[0]

    with Foreign(lambda _: Answer(202)) as graph, Client("token", base_url=graph.url, rate=200) as client:
        report = client.reprocess_many(endless(), journal=journal, deadline=0.5)
    assert len(report) == read < 3_000
    # What was being read when the deadline came is in the report, and comes again with the same call.
    known = Report.from_journal(journal)
    assert report.ids[: len(known)] == known.ids
    assert known.counts["accepted"] == report.counts["accepted"] > 0


# What is refused.


@again
@pytest.mark.parametrize("kind", ["fewer", "more", "other", "invalid"])
def test_other_ids_are_refused_and_nothing_is_sent(kind: str, graph: Emulator, client: Client, journal: Path) -> None:
    first = client.reprocess_many(graph.ids[:100], journal=journal, deadline=5)
    ids = {
        "fewer": graph.ids[:99],
        "more": graph.ids[:101],
        "other": [*graph.ids[:50], graph.ids[500], *graph.ids[51:100]],
        "invalid": [*graph.ids[:50], "x", *graph.ids[51:100]],
    }[kind]
    requests = graph.counters["http_requests"]
    with pytest.raises(JournalError, match=r"june\.db.* place.* same ids"):
        client.reprocess_many(ids, journal=journal, retry=("accepted",))
    assert graph.counters["http_requests"] == requests
    assert client.resume(journal) == first, "it is as good as before"


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.c2ln"


def test_another_cloud_version_or_tenant_is_refused(journal: Path) -> None:
    ids = assignment_ids(30)
    tenant, other = str(uuid.uuid4()), str(uuid.uuid4())
    with Foreign(lambda _: Answer(202)) as graph:
        Client(jwt(tid=tenant), base_url=graph.url).reprocess_many(ids, journal=journal)
        assert rows(journal, "SELECT tenant FROM journal UNION ALL SELECT tenant FROM run") == [(tenant,), (tenant,)]
        graph.ids.clear()
        options: dict[str, Any] = {"base_url": graph.url}
        cases: list[tuple[str, dict[str, Any], str]] = [
            (jwt(tid=other), {}, f"tenant {tenant}.*tenant {other}"),
            (jwt(tid=tenant), {"cloud": "china"}, '"global".*"china"'),
            (jwt(tid=tenant), {"api_version": "v1.0"}, '"beta".*"v1.0"'),
        ]
        for token, changes, told in cases:
            with pytest.raises(JournalError, match=told), Client(token, **options, **changes) as client:
                client.resume(journal, retry=("accepted",))
        assert graph.ids == []
        for token in [jwt(tid=tenant.upper()), "a-token-that-tells-nothing"]:
            assert Client(token, **options).resume(journal, retry=("accepted",)).counts["accepted"] == 30
    assert Counter(graph.ids) == dict.fromkeys(ids, 2)


def test_what_is_no_journal_is_refused(client: Client, graph: Emulator, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("id\n" + "\n".join(graph.ids))
    (tmp_path / "empty").touch()
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE assignment (id TEXT)")
        connection.commit()
    client.reprocess_many(graph.ids[:5], journal=tmp_path / "newer")
    with closing(sqlite3.connect(tmp_path / "newer")) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    for name, told in [
        ("text", "not a database"),
        ("other", "database of something else"),
        ("newer", "of version 99"),
        ("no/such/folder", "folder has to exist|there is none"),
        (".", "journal"),
    ]:
        before = (tmp_path / name).read_bytes() if (tmp_path / name).is_file() else b""
        for call in (
            lambda path: client.reprocess_many(graph.ids[5:], journal=path),
            lambda path: client.resume(path),
            Report.from_journal,
        ):
            with pytest.raises(JournalError, match=told):
                call(tmp_path / name)
        assert before == b"" or (tmp_path / name).read_bytes() == before, "untouched"
    for call in (lambda path: client.resume(path), Report.from_journal):
        with pytest.raises(JournalError, match="there is none"):
            call(tmp_path / "missing.db")
        with pytest.raises(JournalError, match="empty"):
            call(tmp_path / "empty")
    assert not (tmp_path / "missing.db").exists()
    assert client.reprocess_many(graph.ids[5:], journal=tmp_path / "empty").counts["accepted"] == 995
    assert graph.counters["executed"] == 1000


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"journal": 5}, TypeError, "path"),
        ({"journal": b"june.db"}, TypeError, "journal is of type bytes"),
        ({"journal": ""}, ValueError, "empty path"),
        ({"retry": ("failed",)}, ValueError, "journal"),
        ({"journal": "june.db", "retry": "failed"}, TypeError, r'\("failed",\)'),
        ({"journal": "june.db", "retry": ("fialed",)}, ValueError, 'fialed.*"failed"'),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: dict[str, Any], kind: type[Exception], told: str, client: Client, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=told):
        client.reprocess_many(assignment_ids(1), **arguments)
    with pytest.raises(kind, match=told):
        list(client.iter_reprocess(assignment_ids(1), **arguments))
    with pytest.raises(TypeError, match="single id"):
        client.reprocess_many("x", journal="june.db")  # type: ignore[arg-type]  # that is what must fail
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_means_something_to_sqlite_is_a_file_like_others(
    client: Client, graph: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=memory"):
        client.reprocess_many(graph.ids[:5], journal=name)
        assert (tmp_path / name).stat().st_size > 0


# One run at a time.


def test_a_second_run_fails_at_once_and_names_the_first(journal: Path) -> None:
    code = """
        import sys
        from entra_reprocess import Client
        client = Client("token", base_url=sys.argv[1])
        print("go", flush=True)
        client.reprocess_many(sys.argv[3:], journal=sys.argv[2])
    """
    import socket

    ids = assignment_ids(5)
    with FaultServer(latency=30) as server:
        process = scripts.start(code, server.url, str(journal), *ids)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        while not server.record().in_flight:
            assert process.poll() is None
        client = Client("token", base_url=server.url)
        calls: list[Callable[[], Report]] = [
            lambda: client.reprocess_many(ids, journal=journal),
            lambda: client.resume(journal),
        ]
        for call in calls:
            with pytest.raises(JournalError) as caught:
                call()
            assert f"process {process.pid} on {socket.gethostname()} is writing it" in str(caught.value)
        assert [each.status for each in Report.from_journal(journal)] == ["unknown"] * 5, "reading is free"
        process.kill()
        process.communicate()
        server.reset()
        assert client.resume(journal).counts["accepted"] == 5


def test_two_runs_of_one_process_on_one_journal(journal: Path) -> None:
    with Emulator(100, latency=1.0) as graph, Client(graph.credential, base_url=graph.url) as client:
        reports: list[Report] = []
        thread = threading.Thread(target=lambda: reports.append(client.reprocess_many(graph.ids, journal=journal)))
        thread.start()
        while not graph.counters["http_requests"]:
            assert thread.is_alive()
        with pytest.raises(JournalError, match="is writing it"):
            client.resume(journal)
        thread.join()
    assert reports[0].counts["accepted"] == 100


def test_many_journals_at_once(graph: Emulator, client: Client, tmp_path: Path) -> None:
    reports: dict[int, Report] = {}

    def work(number: int) -> None:
        mine = graph.ids[number * 100 : number * 100 + 100]
        reports[number] = client.reprocess_many(mine, journal=tmp_path / f"{number}.db")

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: report.counts["accepted"] for number, report in reports.items()} == dict.fromkeys(range(8), 100)
    for number, report in reports.items():
        assert list(Report.from_journal(tmp_path / f"{number}.db")) == list(report)


def test_it_can_be_read_while_it_is_written(journal: Path) -> None:
    with Emulator(2_000, latency=0.01) as graph, Client(graph.credential, base_url=graph.url, concurrency=2) as client:
        heard: list[str] = []
        thread = threading.Thread(
            target=lambda: client.reprocess_many(
                graph.ids, journal=journal, on_outcome=lambda outcome: heard.append(outcome.id)
            )
        )
        thread.start()
        while not heard:
            assert thread.is_alive()
        accepted = 0
        while thread.is_alive():
            known = len(heard)
            report = Report.from_journal(journal)
            assert report.ids == graph.ids
            assert report.counts["accepted"] >= max(known, accepted), "nothing is reported that is not in the journal"
            accepted = report.counts["accepted"]
            assert set(report.accepted.ids) <= graph.executions.keys()
        thread.join()
    assert Report.from_journal(journal).counts["accepted"] == 2_000


def test_the_queries_of_the_documentation(graph: Emulator, client: Client, journal: Path) -> None:
    client.reprocess_many([*graph.ids[:9], str(uuid.uuid4())], journal=journal)
    page = (Path(__file__).parent.parent / "docs" / "journal.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    counts, failures, runs = (rows(journal, query) for query in block.split(";") if query.strip())
    assert sorted(counts) == [("accepted", 9), ("not_found", 1)]
    assert failures == []
    assert [run[3] for run in runs] == ["completed"]


def test_the_sqlite3_shell_finds_nothing_wrong(graph: Emulator, client: Client, journal: Path) -> None:
    client.reprocess_many(graph.ids, journal=journal)
    code = f"import sqlite3; print(sqlite3.connect({str(journal)!r}).execute('PRAGMA integrity_check').fetchall())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[('ok',)]\n"


def test_a_failure_of_the_service_is_in_the_journal_with_its_reason(journal: Path) -> None:
    ids = assignment_ids(20)
    with FaultServer(default=fail(503)) as server, Client("token", base_url=server.url, max_retries=1) as client:
        report = client.reprocess_many(ids, journal=journal)
    assert report.counts["failed"] == 20
    assert {message for (message,) in rows(journal, "SELECT message FROM assignment")} == {report[0].message}
    assert "max_retries=1" in (report[0].message or "")
