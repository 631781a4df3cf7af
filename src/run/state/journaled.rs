//! What a journal changes for a run: ids leave the columns when they may be sent, outcomes go by way of the writer.

use std::time::Duration;

use tokio::time::Instant;

use super::State;
use crate::assignment::{AssignmentId, InvalidId};
use crate::outcome::{Outcome, OutcomeId};
use crate::run::columns::Columns;
use crate::run::engine::GRACE;
use crate::run::item::Item;
use crate::run::journal::{Ack, Carried, JournalFailure, Journaled, Link};
use crate::run::stop::StopCause;

impl State {
    /// Whether there is a journal.
    pub const fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    // ---- the input

    /// What the journal knows of the input; `None` without one.
    pub fn journaled(&self) -> Option<Journaled> {
        self.journal.as_ref().map(Link::journaled)
    }

    /// All ids are in the journal; none will be given.
    pub fn resume(&mut self) {
        self.open = false;
        self.warn_of_completeness();
        let Some(columns) = self.book.columns() else { return };
        self.next_index = columns.places().len() as u64;
        if self.journal.as_ref().is_some_and(|journal| !journal.has_whole_input()) {
            let known = self.next_index;
            self.warn_once(&format!(
                "the journal holds the first {known} places of its input, which was not read to its end; to go on \
                 with the rest, give the same ids again with journal="
            ));
        }
    }

    /// Where an earlier run has left nothing to do, its outcomes must not look like new ones.
    fn warn_of_completeness(&mut self) {
        if let Some(text) = self.journal.as_ref().and_then(Link::completeness) {
            self.warn_once(&text);
        }
    }

    /// How many ids may be taken in only to be written down, or to be compared with what is.
    pub(super) fn room_ahead(&self) -> usize {
        let takes = |journal: &&Link| journal.takes_all() || journal.is_earlier(self.next_index);
        self.journal.as_ref().filter(takes).map_or(0, Link::room)
    }

    /// Whether nothing has to be done about this input: an earlier run has written it down, or it ends the run.
    pub(super) fn is_passed_over(
        &mut self,
        index: u64,
        given: &Result<AssignmentId, InvalidId>,
        now: Instant,
    ) -> bool {
        let (Some(journal), Some(columns)) = (&self.journal, self.book.columns()) else { return false };
        let own = usize::try_from(index)
            .ok()
            .and_then(|place| columns.places().get(place))
            .map(|row| columns.id(*row));
        let verdict = match own.filter(|_| journal.is_earlier(index)) {
            Some(own) => {
                let (is_same, shown) = match given {
                    Ok(id) => (own == OutcomeId::Valid(*id), id.to_string()),
                    Err(refused) => {
                        (own == OutcomeId::Invalid(refused.shown.as_str().into()), refused.shown.clone())
                    }
                };
                if is_same { Ok(true) } else { Err(journal.differs(index, &own, &shown)) }
            }
            None => journal.check_more(index).map(|()| false),
        };
        match verdict {
            Ok(is_earlier) => {
                self.next_index += u64::from(is_earlier);
                is_earlier
            }
            Err(failure) => {
                self.stop(StopCause::Journal(failure), now + GRACE);
                true
            }
        }
    }

    /// One more place of the input.
    pub(super) fn write_down(&mut self, place: u64, row: u32, is_new: bool, id: impl FnOnce() -> OutcomeId) {
        match &self.journal {
            Some(journal) if is_new => journal.add(row, id()),
            Some(journal) => journal.repeat(place, row),
            None => {}
        }
    }

    /// No more input comes.
    pub fn close_input(&mut self, now: Instant) {
        self.open = false;
        let Some(journal) = &mut self.journal else { return };
        match journal.check_end(self.next_index) {
            Ok(()) => {
                journal.end_input();
                if self.stop.is_none() {
                    self.warn_of_completeness();
                }
            }
            Err(failure) => self.stop(StopCause::Journal(failure), now + GRACE),
        }
    }

    // ---- the sending

    /// Whether the journal has to catch up before anything more is sent. Takes out of the columns what may be sent.
    pub(super) fn journal_holds_back(&mut self, now: Instant) -> bool {
        let window = self.plan.concurrency * self.plan.batch_size;
        let capacity = self.capacity();
        let (Some(journal), Some(columns)) = (&mut self.journal, self.book.columns()) else { return false };
        if journal.must_wait(self.next_index, self.open) {
            return true;
        }
        let rows = columns.rows();
        let is_sent = |row| !columns.is_settled(row) && matches!(columns.id(row), OutcomeId::Valid(_));
        journal.pass_over(rows, is_sent);
        journal.advance(rows);
        while self.queue.ready() < window && self.queue.len() + self.underway < capacity {
            let Some(row) = journal.take(rows) else { break };
            if let OutcomeId::Valid(id) = columns.id(row) {
                let mut item = Item::new(id, columns.first_place(row), row, now);
                if let Some(carried) = journal.carried(row) {
                    item.carry(carried);
                }
                self.queue.push_back(item);
            }
            journal.pass_over(rows, is_sent);
            journal.advance(rows);
        }
        // What waits for the writer alone cannot be sent, and there is nothing else.
        journal.is_behind() || (self.queue.is_empty() && self.flights.is_empty() && journal.next_row() < rows)
    }

    /// How many ids wait in the columns.
    pub(super) fn backlog(&self) -> usize {
        let rows = self.book.columns().map_or(0, Columns::rows);
        self.journal.as_ref().map_or(0, |journal| rows.saturating_sub(journal.next_row()) as usize)
    }

    /// Make sure that the journal is of the tenant whose token is used.
    pub fn admit_tenant(&mut self, tenant: Option<&str>) -> Result<(), JournalFailure> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.admit(tenant))
    }

    // ---- the outcomes

    /// Report the outcome of a new place that is no id, once it is in the journal where there is one.
    pub(super) fn record_refused(&mut self, row: u32, outcome: Outcome) {
        match &self.journal {
            Some(journal) if journal.is_writable() => journal.add_settled(row, outcome),
            _ => self.book.settle(row, outcome),
        }
    }

    /// Report an outcome, once it is in the journal where there is one.
    pub(super) fn record(&mut self, row: u32, outcome: Outcome, carried: Option<&Carried>) {
        match &self.journal {
            Some(journal) if journal.is_writable() => journal.settle(row, outcome, carried),
            _ => self.book.settle(row, outcome),
        }
    }

    /// What the writer of the journal says.
    pub fn hear(&mut self, ack: Ack, until: Instant) {
        if let Some(journal) = &mut self.journal {
            journal.hear(&ack);
        }
        for (row, outcome) in ack.outcomes {
            self.book.settle(row, outcome);
        }
        if let Some(failure) = ack.failure {
            self.stop(StopCause::Journal(failure), until);
        }
    }

    /// The sending is over: what was never taken out gets its outcome, and the journal its end.
    pub(super) fn close_journal(&mut self, reason: &str, paused: Duration, now: Instant) {
        let Some(mut journal) = self.journal.take() else { return };
        let rows = self.book.columns().map_or(0, Columns::rows);
        for row in journal.next_row()..rows {
            let Some(columns) = self.book.columns().filter(|columns| !columns.is_settled(row)) else {
                continue;
            };
            let OutcomeId::Valid(id) = columns.id(row) else { continue };
            let mut item = Item::new(id, columns.first_place(row), row, now);
            let before = journal.carried(row).and_then(|mut carried| {
                let before = carried.outcome.take();
                item.carry(carried);
                before
            });
            // The journal tells it from the mark; writing it down would make the end of a large run slow.
            let status = item.history.cut_short();
            if before.is_some() {
                self.book.note_earlier(row);
            }
            self.book.settle(row, before.unwrap_or_else(|| item.outcome(status, Some(reason.into()), now)));
        }
        let why = if self.stop.is_some() { reason.to_owned() } else { "completed".to_owned() };
        journal.close(why, self.http_requests, paused);
        self.journal = Some(journal);
    }

    /// Whether the journal is still being written.
    pub fn is_being_written(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.is_closed())
    }
}
