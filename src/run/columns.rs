//! All outcomes of a run in columns: about 60 bytes for each id and 4 for each place in the input.

mod csv;
pub mod lookup;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use uuid::Uuid;

use super::source::{Source, Sources};
use super::texts::{RequestIds, Texts};
use crate::assignment::AssignmentId;
use crate::outcome::{Counts, Outcome, OutcomeId, Status};

/// One HTTP exchange; all items of a batch share it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Exchange {
    client_request_id: Option<Uuid>,
    finished_at: i64,
}

/// The outcomes, one row for each different id, and for each place of the input its row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Columns {
    places: Vec<u32>,
    first_places: Vec<u32>,
    ids: Vec<AssignmentId>,
    invalid_ids: HashMap<u32, u32>,
    statuses: Vec<Status>,
    http_statuses: Vec<u16>,
    codes: Vec<u32>,
    messages: Vec<u32>,
    request_ids: RequestIds,
    exchanges_of: Vec<u32>,
    attempts: Vec<u16>,
    elapsed: Vec<f32>,
    sources: Sources,
    texts: Texts,
    exchanges: Vec<Exchange>,
    #[serde(skip)]
    index: Index,
}

/// Rows by id; it holds row numbers only, the ids stand in their column.
#[derive(Clone, Debug, Default)]
struct Index {
    rows: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Columns {
    /// One more place in the input with this id: its row, and whether the row is new.
    pub fn add(&mut self, id: AssignmentId) -> (u32, bool) {
        let hash = self.index.hasher.hash_one(id);
        let known = self.index.rows.find(hash, |row| self.ids.get(*row as usize) == Some(&id)).copied();
        if let Some(row) = known {
            self.places.push(row);
            return (row, false);
        }
        let row = self.add_row(id);
        let (ids, hasher) = (&self.ids, &self.index.hasher);
        self.index.rows.insert_unique(hash, row, |row| {
            // A number that stands in the index stands in the column too.
            ids.get(*row as usize).map_or(0, |id| hasher.hash_one(id))
        });
        (row, true)
    }

    /// One more place whose input is no id; such rows are never shared.
    pub fn add_invalid(&mut self, shown: &Arc<str>) -> u32 {
        let row = self.add_row(AssignmentId::from(Uuid::nil()));
        let text = self.texts.number(Some(shown));
        self.invalid_ids.insert(row, text);
        row
    }

    fn add_row(&mut self, id: AssignmentId) -> u32 {
        let row = number(self.ids.len());
        self.first_places.push(number(self.places.len()));
        self.places.push(row);
        self.ids.push(id);
        self.statuses.push(Status::NotAttempted);
        self.http_statuses.push(0);
        self.codes.push(Texts::NONE);
        self.messages.push(Texts::NONE);
        self.request_ids.push();
        self.exchanges_of.push(u32::MAX);
        self.attempts.push(0);
        self.elapsed.push(0.0);
        row
    }

    /// Write the outcome of a row.
    pub fn settle(&mut self, row: u32, outcome: &Outcome) {
        let at = row as usize;
        set(&mut self.statuses, at, outcome.status);
        set(&mut self.http_statuses, at, outcome.http_status.unwrap_or_default());
        set(&mut self.codes, at, self.texts.number(outcome.code.as_ref()));
        set(&mut self.messages, at, self.texts.number(outcome.message.as_ref()));
        self.request_ids.set(row, outcome.request_id.as_deref());
        set(&mut self.attempts, at, u16::try_from(outcome.attempts).unwrap_or(u16::MAX));
        // Seconds in 32 bits: a run of a day is still exact to a hundredth.
        set(&mut self.elapsed, at, outcome.elapsed.as_secs_f32());
        let exchange =
            Exchange { client_request_id: outcome.client_request_id, finished_at: outcome.finished_at };
        if self.exchanges.last() != Some(&exchange) {
            self.exchanges.push(exchange);
        }
        set(&mut self.exchanges_of, at, number(self.exchanges.len() - 1));
    }

    /// Give back what growing has set aside; after this no id can be added.
    pub fn freeze(&mut self) {
        self.index = Index::default();
        self.places.shrink_to_fit();
    }

    /// The row of each place of the input.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// The first place of a row's id in the input.
    pub fn first_place(&self, row: u32) -> u64 {
        u64::from(get(&self.first_places, row as usize, 0))
    }

    /// How many rows there are.
    pub fn rows(&self) -> u32 {
        number(self.ids.len())
    }

    /// The status of a row.
    pub fn status(&self, row: u32) -> Status {
        self.statuses.get(row as usize).copied().unwrap_or(Status::NotAttempted)
    }

    /// Whether a row has its outcome.
    pub fn is_settled(&self, row: u32) -> bool {
        self.exchanges_of.get(row as usize).is_some_and(|exchange| *exchange != u32::MAX)
    }

    /// The id of a row.
    pub fn id(&self, row: u32) -> OutcomeId {
        match self.invalid_ids.get(&row).and_then(|text| self.texts.get(*text)) {
            Some(shown) => OutcomeId::Invalid(shown.clone()),
            None => OutcomeId::Valid(
                self.ids.get(row as usize).copied().unwrap_or_else(|| AssignmentId::from(Uuid::nil())),
            ),
        }
    }

    /// The outcome of a row.
    pub fn outcome(&self, row: u32) -> Outcome {
        let at = row as usize;
        let exchange = self.exchanges.get(get(&self.exchanges_of, at, u32::MAX) as usize).copied();
        let exchange = exchange.unwrap_or(Exchange { client_request_id: None, finished_at: 0 });
        Outcome {
            index: self.first_place(row),
            id: self.id(row),
            status: self.status(row),
            http_status: Some(get(&self.http_statuses, at, 0)).filter(|status| *status != 0),
            code: self.texts.get(get(&self.codes, at, Texts::NONE)).cloned(),
            message: self.texts.get(get(&self.messages, at, Texts::NONE)).cloned(),
            request_id: self.request_ids.get(row),
            client_request_id: exchange.client_request_id,
            attempts: u32::from(get(&self.attempts, at, 0)),
            elapsed: from_kept(get(&self.elapsed, at, 0.0)),
            finished_at: exchange.finished_at,
        }
    }

    /// How many of these rows ended in each way.
    pub fn counts(&self, rows: &[u32]) -> Counts {
        let mut counts = Counts::default();
        for row in rows {
            counts.add(self.status(*row), 1);
        }
        counts
    }

    /// Note that the outcome of a row is not from the run that makes the report.
    pub fn note_source(&mut self, row: u32, source: Source) {
        self.sources.note(row, source);
    }

    /// How many of these rows are from there, by how they ended.
    pub fn counts_from(&self, rows: &[u32], source: Source) -> Counts {
        self.sources.counts(rows, source, |row| self.status(row))
    }
}

/// A time that was kept in 32 bits, in whole microseconds. Keeping that again gives the same.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and negative is zero")]
pub fn from_kept(seconds: f32) -> Duration {
    Duration::from_micros((f64::from(seconds) * 1e6).round() as u64)
}

fn number(length: usize) -> u32 {
    // 4,294,967,295 ids would need 250 GB here; the cap keeps the arithmetic total.
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn set<T>(column: &mut [T], at: usize, value: T) {
    if let Some(slot) = column.get_mut(at) {
        *slot = value;
    }
}

fn get<T: Copy>(column: &[T], at: usize, missing: T) -> T {
    column.get(at).copied().unwrap_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: AssignmentId, status: Status) -> Outcome {
        Outcome {
            index: 0,
            id: OutcomeId::Valid(id),
            status,
            http_status: Some(404),
            code: Some("ResourceNotFound".into()),
            message: Some("it's \"gone\", says\nGraph".into()),
            request_id: Some("r-1".into()),
            client_request_id: Some(Uuid::from_u128(5)),
            attempts: 2,
            elapsed: Duration::from_millis(1_500),
            finished_at: 1_795_456_789_123_456,
        }
    }

    fn id(n: u128) -> AssignmentId {
        AssignmentId::from(Uuid::from_u128(n))
    }

    #[test]
    fn rows_come_back_as_they_were_settled_and_places_share_them() {
        let mut columns = Columns::default();
        assert_eq!(columns.add(id(1)), (0, true));
        assert_eq!(columns.add_invalid(&"x".into()), 1);
        assert_eq!(columns.add(id(2)), (2, true));
        assert_eq!(columns.add(id(1)), (0, false));
        assert_eq!(columns.add(AssignmentId::from(Uuid::nil())), (3, true), "nil is an id like others");
        let settled = Outcome { index: 2, ..outcome(id(2), Status::NotFound) };
        columns.settle(2, &settled);
        assert_eq!(columns.outcome(2), settled);
        assert_eq!(columns.id(1), OutcomeId::Invalid("x".into()));
        assert_eq!(columns.places(), [0, 1, 2, 0, 3]);
        assert_eq!(columns.counts(columns.places()).of(Status::NotAttempted), 4);

        let copy: Columns = postcard::from_bytes(&postcard::to_allocvec(&columns).unwrap()).unwrap();
        assert_eq!(copy.outcome(2), settled);
        assert_eq!(copy.places(), columns.places());
    }

    #[test]
    fn a_kept_time_stays_the_same_when_it_is_kept_again() {
        for micros in [0, 1, 37_962, 999_999, 15_999_999, 16_777_217, 86_400_123_456, 31_536_000_000_001] {
            let kept = from_kept(Duration::from_micros(micros).as_secs_f32());
            assert_eq!(from_kept(kept.as_secs_f32()), kept);
            assert!(
                kept.abs_diff(Duration::from_micros(micros)) <= Duration::from_micros(micros / 10_000_000)
            );
        }
    }

    #[test]
    fn many_ids_are_told_apart() {
        let mut columns = Columns::default();
        for n in 0..10_000 {
            assert!(columns.add(id(n)).1);
        }
        for n in 0..10_000 {
            assert_eq!(columns.add(id(n)), (u32::try_from(n).unwrap(), false));
        }
    }
}
