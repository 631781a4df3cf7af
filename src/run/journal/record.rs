//! An outcome as a row of the table `assignment`, and back.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::checksum::Checksum;
use crate::assignment::AssignmentId;
use crate::outcome::{Outcome, OutcomeId, Status};

/// A row of the table `assignment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which row.
    pub number: i64,
    /// The id, or the shortened input where it was none.
    pub id: String,
    /// Whether it is an id. Its text does not tell: an object of any type may show as one.
    pub is_id: bool,
    /// Its outcome, where it has one.
    pub settled: Option<Settled>,
}

/// The outcome of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Public name of the status.
    pub status: String,
    /// HTTP status.
    pub http_status: Option<i64>,
    /// Graph's code.
    pub code: Option<String>,
    /// For people.
    pub message: Option<String>,
    /// The service's id of the request.
    pub request_id: Option<String>,
    /// Our id of the request.
    pub client_request_id: Option<String>,
    /// Attempts made.
    pub attempts: i64,
    /// When it was first sent, UTC.
    pub first_sent: Option<String>,
    /// When it ended, UTC.
    pub finished: String,
    /// From the first attempt of its run to the end, microseconds.
    pub elapsed_us: i64,
    /// Which run gave it.
    pub run: i64,
}

impl Record {
    /// An id without an outcome as a row.
    pub fn open(number: u32, id: &OutcomeId) -> Self {
        Self { number: number.into(), id: id.to_string(), is_id: is_id(id), settled: None }
    }

    /// An outcome as a row. `first_sent`, microseconds since the Unix epoch, is that of an earlier run if there was one.
    pub fn of(number: u32, outcome: &Outcome, first_sent: Option<i64>, run: i64) -> Self {
        let elapsed_us = i64::try_from(outcome.elapsed.as_micros()).unwrap_or(i64::MAX);
        let own = (outcome.attempts > 0).then(|| outcome.finished_at.saturating_sub(elapsed_us));
        Self {
            number: number.into(),
            id: outcome.id.to_string(),
            is_id: is_id(&outcome.id),
            settled: Some(Settled {
                status: outcome.status.name().into(),
                http_status: outcome.http_status.map(i64::from),
                code: outcome.code.as_deref().map(Into::into),
                message: outcome.message.as_deref().map(Into::into),
                request_id: outcome.request_id.as_deref().map(Into::into),
                client_request_id: outcome.client_request_id.map(|id| id.to_string()),
                attempts: outcome.attempts.into(),
                first_sent: first_sent.or(own).map(utc),
                finished: utc(outcome.finished_at),
                elapsed_us,
                run,
            }),
        }
    }

    /// Read a row; the columns are those of [`COLUMNS`]. Gives its checksum too.
    pub fn read(row: &Row<'_>) -> rusqlite::Result<(Self, i64)> {
        let status: Option<String> = row.get(3)?;
        let settled = match status {
            None => None,
            Some(status) => Some(Settled {
                status,
                http_status: row.get(4)?,
                code: row.get(5)?,
                message: row.get(6)?,
                request_id: row.get(7)?,
                client_request_id: row.get(8)?,
                attempts: row.get(9)?,
                first_sent: row.get(10)?,
                finished: row.get(11)?,
                elapsed_us: row.get(12)?,
                run: row.get(13)?,
            }),
        };
        Ok((Self { number: row.get(0)?, id: row.get(1)?, is_id: row.get(2)?, settled }, row.get(14)?))
    }

    /// Put an id in, or an outcome to its id. Gives the checksum.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<i64> {
        const INSERT: &str = "INSERT INTO assignment (number, id, is_id, checksum) VALUES (?1, ?2, ?3, ?4)";
        const UPDATE: &str = "UPDATE assignment SET status = ?2, http_status = ?3, code = ?4, message = ?5, \
                              request_id = ?6, client_request_id = ?7, attempts = ?8, first_sent = ?9, \
                              finished = ?10, elapsed_us = ?11, run = ?12, checksum = ?13 WHERE number = ?1";
        let checksum = self.checksum();
        match &self.settled {
            None => connection.prepare_cached(INSERT)?.execute(params![
                self.number,
                self.id,
                self.is_id,
                checksum
            ])?,
            Some(settled) => connection.prepare_cached(UPDATE)?.execute(params![
                self.number,
                settled.status,
                settled.http_status,
                settled.code,
                settled.message,
                settled.request_id,
                settled.client_request_id,
                settled.attempts,
                settled.first_sent,
                settled.finished,
                settled.elapsed_us,
                settled.run,
                checksum,
            ])?,
        };
        Ok(checksum)
    }

    /// The checksum over all of it.
    pub fn checksum(&self) -> i64 {
        let start = Checksum::of("assignment")
            .number(Some(self.number))
            .text(Some(&self.id))
            .number(Some(self.is_id.into()));
        let Some(settled) = &self.settled else { return start.done() };
        start
            .text(Some(&settled.status))
            .number(settled.http_status)
            .text(settled.code.as_deref())
            .text(settled.message.as_deref())
            .text(settled.request_id.as_deref())
            .text(settled.client_request_id.as_deref())
            .number(Some(settled.attempts))
            .text(settled.first_sent.as_deref())
            .text(Some(&settled.finished))
            .number(Some(settled.elapsed_us))
            .number(Some(settled.run))
            .done()
    }

    /// The row's id; `None` where it makes no sense.
    pub fn outcome_id(&self) -> Option<OutcomeId> {
        if !self.is_id {
            return Some(OutcomeId::Invalid(self.id.as_str().into()));
        }
        // Only the usual spelling is ever written.
        let id = AssignmentId::parse(&self.id).ok().filter(|id| id.to_string() == self.id)?;
        Some(OutcomeId::Valid(id))
    }

    /// When it was first sent, microseconds since the Unix epoch.
    pub fn first_sent(&self) -> Option<i64> {
        micros(self.settled.as_ref()?.first_sent.as_deref()?)
    }

    /// The outcome, if the row has one that makes sense.
    pub fn outcome(&self) -> Option<Outcome> {
        let settled = self.settled.as_ref()?;
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        Some(Outcome {
            index: 0,
            id: self.outcome_id()?,
            status: Status::named(&settled.status)?,
            http_status: settled.http_status.map(u16::try_from).transpose().ok()?,
            code: text(&settled.code),
            message: text(&settled.message),
            request_id: text(&settled.request_id),
            client_request_id: settled.client_request_id.as_deref().map(Uuid::try_parse).transpose().ok()?,
            attempts: u32::try_from(settled.attempts).ok()?,
            elapsed: Duration::from_micros(u64::try_from(settled.elapsed_us).ok()?),
            finished_at: micros(&settled.finished)?,
        })
    }
}

/// The columns that [`Record::read`] reads.
pub const COLUMNS: &str = "number, id, is_id, status, http_status, code, message, request_id, client_request_id, attempts, \
                           first_sent, finished, elapsed_us, run, checksum";

const fn is_id(id: &OutcomeId) -> bool {
    matches!(id, OutcomeId::Valid(_))
}

/// A time for people and for sorting.
pub fn utc(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
        .unwrap_or_default()
}

/// Back to microseconds since the Unix epoch.
pub fn micros(utc: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(utc).ok().map(|time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            index: 0,
            id: OutcomeId::Valid(AssignmentId::parse("d82eb508-acc4-43cc-bcf1-7c1c4a2c073b").unwrap()),
            status: Status::NotFound,
            http_status: Some(404),
            code: Some("".into()),
            message: Some("No HTTP resource".into()),
            request_id: Some("r".into()),
            client_request_id: Some(Uuid::from_u128(7)),
            attempts: 3,
            elapsed: Duration::from_micros(1_234_567),
            finished_at: 1_795_456_789_123_456,
        }
    }

    #[test]
    fn an_outcome_comes_back_as_it_was() {
        let invalid = Outcome {
            id: OutcomeId::Invalid("'x\n'".into()),
            attempts: 0,
            elapsed: Duration::ZERO,
            ..outcome()
        };
        let OutcomeId::Valid(id) = outcome().id else { panic!("it is an id") };
        let shows_as_id = Outcome { id: OutcomeId::Invalid(id.to_string().into()), ..invalid.clone() };
        for outcome in [outcome(), invalid, shows_as_id] {
            assert_eq!(Record::of(7, &outcome, None, 2).outcome(), Some(outcome));
        }
    }

    #[test]
    fn the_first_sending_of_an_earlier_run_is_kept() {
        let own = Record::of(7, &outcome(), None, 2).first_sent();
        assert_eq!(own, Some(1_795_456_789_123_456 - 1_234_567));
        assert_eq!(Record::of(7, &outcome(), Some(5), 2).first_sent(), Some(5));
        assert_eq!(Record::of(7, &Outcome { attempts: 0, ..outcome() }, None, 2).first_sent(), None);
    }

    #[test]
    fn the_checksum_covers_every_field() {
        let whole = Record::of(7, &outcome(), None, 2);
        let settled = whole.settled.clone().unwrap();
        let changed = |change: fn(&mut Settled)| {
            let mut settled = settled.clone();
            change(&mut settled);
            Record { settled: Some(settled), ..whole.clone() }.checksum()
        };
        let mut sums = vec![
            whole.checksum(),
            Record { number: 8, ..whole.clone() }.checksum(),
            Record { id: "x".into(), ..whole.clone() }.checksum(),
            Record { is_id: false, ..whole.clone() }.checksum(),
            Record { settled: None, ..whole.clone() }.checksum(),
            changed(|row| row.status = "accepted".into()),
            changed(|row| row.http_status = None),
            changed(|row| row.code = None),
            changed(|row| row.message = None),
            changed(|row| row.request_id = Some(String::new())),
            changed(|row| row.client_request_id = None),
            changed(|row| row.attempts = 4),
            changed(|row| row.first_sent = None),
            changed(|row| row.finished.push('0')),
            changed(|row| row.elapsed_us += 1),
            changed(|row| row.run = 3),
        ];
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), count);
    }
}
