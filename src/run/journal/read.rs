//! Reading a journal: every row is checked against its checksum, and all of them together against the head.

use std::path::Path;

use rusqlite::Connection;

use super::checksum::Checksum;
use super::failure::JournalFailure;
use super::head::{Head, RunRow};
use super::reached::{Found, Outside, wal_bytes};
use super::record::{COLUMNS, Record};
use crate::outcome::{Outcome, OutcomeId, Status, unix_micros};
use crate::retry;
use crate::run::columns::Columns;

/// What a journal knows of one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Its outcome; it was not sent since.
    Outcome(Outcome),
    /// It may have been sent, and how that ended is not known. Beside it, the outcome that it had before.
    MaybeSent(Option<Outcome>),
    /// It was never sent.
    Untouched,
}

/// A journal as it was read.
pub struct Loaded {
    /// What it is for.
    pub head: Head,
    /// Its runs.
    pub runs: Vec<RunRow>,
    /// All ids with their places, and the outcomes that the reader has put there.
    pub columns: Columns,
    /// Whether its last commits are cut off. Then the last run may have sent anything, also what is not in it any more.
    pub is_torn: bool,
}

/// A row that was read: its number, what is known of it, and when it was first sent.
pub struct Told {
    /// Its number.
    pub row: u32,
    /// What is known of it.
    pub known: Known,
    /// When it was first sent, microseconds since the Unix epoch.
    pub first_sent: Option<i64>,
}

/// Read all of it, in one view even while somebody writes. Each row is told to `hear`, which may settle it.
pub fn read(
    connection: &Connection,
    path: &Path,
    outside: Outside,
    mut hear: impl FnMut(&mut Columns, &[RunRow], Told),
) -> Result<Loaded, JournalFailure> {
    let sqlite = |err: rusqlite::Error| JournalFailure::sqlite(path, &err);
    let damaged = |what: &str| JournalFailure::damaged(path, what);
    let view = connection.unchecked_transaction().map_err(sqlite)?;
    if is_cut(&view, path).map_err(sqlite)? {
        return Err(damaged("its end is missing"));
    }
    let mut head = Head::read(&view).map_err(sqlite)?.ok_or_else(|| damaged("its head does not add up"))?;
    let mut total = 0_i64;
    let mut runs = Vec::new();
    for (run, checksum) in RunRow::read_all(&view).map_err(sqlite)? {
        if run.checksum() != checksum || run.number != number(runs.len()) + 1 {
            return Err(damaged("a run does not add up"));
        }
        total = total.wrapping_add(checksum);
        runs.push(run);
    }
    let is_torn = outside.compare(path, head.commits)? == Found::Torn;
    let mut moved = 0;
    if let Some(last) = runs.last_mut().filter(|_| is_torn) {
        let before = last.checksum();
        last.sent_before = u32::MAX.into();
        moved = last.checksum().wrapping_sub(before);
    }
    let mut statement =
        view.prepare("SELECT place, number, checksum FROM repeat ORDER BY place").map_err(sqlite)?;
    let mut repeats = statement.query([]).map_err(sqlite)?;
    let mut repeated = 0;
    let mut next_repeat = || -> Result<Option<(i64, i64)>, JournalFailure> {
        let Some(row) = repeats.next().map_err(sqlite)? else { return Ok(None) };
        let repeat = Repeat { place: row.get(0).map_err(sqlite)?, number: row.get(1).map_err(sqlite)? };
        let checksum: i64 = row.get(2).map_err(sqlite)?;
        if repeat.checksum() != checksum {
            return Err(damaged("a repeated place does not add up"));
        }
        total = total.wrapping_add(checksum);
        repeated += 1;
        Ok(Some((repeat.place, repeat.number)))
    };
    let mut columns = Columns::default();
    let mut repeat = next_repeat()?;
    let mut own = 0_i64;
    let select = format!("SELECT {COLUMNS} FROM assignment ORDER BY number");
    let mut statement = view.prepare(&select).map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    loop {
        while let Some((place, earlier)) =
            repeat.filter(|(place, _)| *place == number(columns.places().len()))
        {
            let there = u32::try_from(earlier).ok().filter(|row| *row < columns.rows());
            let Some(OutcomeId::Valid(id)) = there.map(|row| columns.id(row)) else {
                return Err(damaged(&format!("place {place} repeats an id that is not there")));
            };
            columns.add(id);
            repeat = next_repeat()?;
        }
        let Some(row) = rows.next().map_err(sqlite)? else { break };
        let (record, checksum) = Record::read(row).map_err(sqlite)?;
        let row = columns.rows();
        if record.checksum() != checksum || record.number != i64::from(row) {
            return Err(damaged(&format!("assignment {} does not add up", record.number)));
        }
        own = own.wrapping_add(checksum);
        let is_new = match record.outcome_id() {
            Some(OutcomeId::Valid(id)) => columns.add(id).1,
            Some(OutcomeId::Invalid(shown)) => {
                columns.add_invalid(&shown);
                true
            }
            None => false,
        };
        let known = classify(&record, &runs)
            .filter(|_| is_new)
            .ok_or_else(|| damaged(&format!("assignment {} makes no sense", record.number)))?;
        hear(&mut columns, &runs, Told { row, known, first_sent: record.first_sent() });
    }
    let is_over = repeat.is_none();
    let counts = (i64::from(columns.rows()), repeated, number(runs.len()));
    if !is_over
        || counts != (head.assignments, head.repeats, head.runs)
        || total.wrapping_add(own) != head.total
    {
        return Err(damaged("its rows and its head do not add up"));
    }
    head.total = head.total.wrapping_add(moved);
    Ok(Loaded { head, runs, columns, is_torn })
}

/// Whether the last page of the file is not all there. SQLite takes what is missing of it for zeros.
fn is_cut(view: &Connection, path: &Path) -> rusqlite::Result<bool> {
    let number = |pragma| view.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
    let bytes = u64::from(number("page_count")?) * u64::from(number("page_size")?);
    // Looked at in this order: pages that are not in the file yet stand beside it.
    Ok(wal_bytes(path).is_none() && path.metadata().is_ok_and(|data| data.len() < bytes))
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A row of the table `repeat`.
pub struct Repeat {
    /// The place of the input,
    pub place: i64,
    /// and the assignment that stands there again.
    pub number: i64,
}

impl Repeat {
    /// The checksum over it.
    pub fn checksum(&self) -> i64 {
        Checksum::of("repeat").number(Some(self.place)).number(Some(self.number)).done()
    }

    /// Write it. Gives the checksum.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let checksum = self.checksum();
        connection
            .prepare_cached("INSERT INTO repeat (place, number, checksum) VALUES (?1, ?2, ?3)")?
            .execute([self.place, self.number, checksum])?;
        Ok(checksum)
    }
}

/// Whether a later run leaves an outcome as it is. What was refused here is never sent, whatever is to be tried anew.
pub fn is_kept(outcome: &Outcome, retry: &[Status]) -> bool {
    matches!(outcome.id, OutcomeId::Invalid(_))
        || (retry::is_final(outcome.status, outcome.http_status) && !retry.contains(&outcome.status))
}

/// What a row and the runs tell together; `None` where the row makes no sense.
fn classify(record: &Record, runs: &[RunRow]) -> Option<Known> {
    let Some(settled) = &record.settled else {
        let is_maybe_sent = runs.iter().any(|run| record.number < run.sent_before);
        return Some(if is_maybe_sent { Known::MaybeSent(None) } else { Known::Untouched });
    };
    let outcome = record.outcome()?;
    let later = runs.iter().filter(|run| run.number > settled.run);
    for run in later {
        if record.number < run.sent_before && !is_kept(&outcome, &statuses(&run.retry)?) {
            return Some(Known::MaybeSent(Some(outcome)));
        }
    }
    Some(Known::Outcome(outcome))
}

/// Statuses by their names, separated by commas.
fn statuses(names: &str) -> Option<Vec<Status>> {
    names.split(',').filter(|name| !name.is_empty()).map(Status::named).collect()
}

/// The same the other way round.
pub fn names(statuses: &[Status]) -> String {
    statuses.iter().map(|status| status.name()).collect::<Vec<_>>().join(",")
}

/// What is reported of an id that may have been sent, as long as no run has found out more.
pub fn cut_off(id: OutcomeId, earlier: Option<&Outcome>) -> Outcome {
    let attempts = earlier.map_or(0, |outcome| outcome.attempts) + 1;
    let message =
        "it may have been sent, and the run ended before an answer was written down; resume settles it";
    Outcome { status: Status::Unknown, message: Some(message.into()), attempts, ..never_sent(id) }
}

/// What is reported of an id that has no outcome yet while the run goes on that comes to it.
pub fn under_way(id: OutcomeId, known: Known, owner: &str) -> Outcome {
    let who = if owner.is_empty() { "a run".into() } else { format!("the run of {owner}") };
    let outcome = match known {
        Known::MaybeSent(earlier) => cut_off(id, earlier.as_ref()),
        Known::Outcome(_) | Known::Untouched => never_sent(id),
    };
    let so_far = if outcome.status == Status::Unknown {
        "may have sent it and has written down no answer yet"
    } else {
        "has not come to it yet"
    };
    Outcome {
        message: Some(format!("under way: {who} is writing the journal, and {so_far}").into()),
        ..outcome
    }
}

/// What is reported of an id that was never sent.
pub fn never_sent(id: OutcomeId) -> Outcome {
    Outcome {
        index: 0,
        id,
        status: Status::NotAttempted,
        http_status: None,
        code: None,
        message: Some("no run has come to it yet".into()),
        request_id: None,
        client_request_id: None,
        attempts: 0,
        elapsed: std::time::Duration::ZERO,
        finished_at: unix_micros(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: i64, sent_before: i64, retry: &str) -> RunRow {
        RunRow {
            number,
            tool_version: String::new(),
            cloud: String::new(),
            host: String::new(),
            api_version: String::new(),
            tenant: None,
            pid: 1,
            machine: String::new(),
            retry: retry.into(),
            started: String::new(),
            ended: None,
            why_ended: None,
            http_requests: 0,
            paused_us: 0,
            sent_before,
        }
    }

    fn settled(status: Status, http_status: Option<u16>, by: i64) -> Record {
        let id = OutcomeId::Valid(uuid::Uuid::from_u128(1).into());
        Record::of(5, &Outcome { status, http_status, ..never_sent(id) }, None, by)
    }

    #[test]
    fn without_an_outcome_the_marks_decide() {
        let open = Record::open(5, &OutcomeId::Valid(uuid::Uuid::from_u128(1).into()));
        for (marks, known) in [
            (vec![], Known::Untouched),
            (vec![5], Known::Untouched),
            (vec![6], Known::MaybeSent(None)),
            (vec![6, 0], Known::MaybeSent(None)),
            (vec![0, 5], Known::Untouched),
        ] {
            let runs: Vec<_> = (1..).zip(&marks).map(|(number, mark)| run(number, *mark, "")).collect();
            assert_eq!(classify(&open, &runs), Some(known), "{marks:?}");
        }
    }

    #[test]
    fn an_outcome_holds_until_a_later_run_may_have_sent_it_again() {
        for (status, http_status, retry, mark, is_in_doubt) in [
            (Status::Accepted, Some(202), "", 100, false),
            (Status::Accepted, Some(202), "accepted", 100, true),
            (Status::Accepted, Some(202), "accepted", 5, false),
            (Status::Failed, Some(409), "", 100, false),
            (Status::Failed, Some(409), "rejected,failed", 100, true),
            (Status::Failed, Some(429), "", 100, true),
            (Status::Failed, Some(429), "", 5, false),
            (Status::Unknown, None, "", 100, true),
        ] {
            let record = settled(status, http_status, 1);
            let told = classify(&record, &[run(1, 100, ""), run(2, mark, retry)]);
            assert_eq!(matches!(told, Some(Known::MaybeSent(_))), is_in_doubt, "{status:?} {retry} {mark}");
            assert!(matches!(classify(&record, &[run(1, 100, "")]), Some(Known::Outcome(_))), "its own run");
        }
        assert_eq!(classify(&settled(Status::Failed, None, 1), &[run(2, 9, "odd")]), None);
    }
}
