//! A run's side of its journal: what was handed to the writer, what may be sent by now, what is still to be compared.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;

use super::carried::Carried;
use super::failure::JournalFailure;
use super::writer::{Ack, Inbox, Op};
use crate::outcome::{Outcome, OutcomeId};

/// So much may wait for the writer before no more is taken in or sent.
const BACKLOG: usize = 20_000;

/// A run's side of its journal.
pub struct Link {
    path: PathBuf,
    inbox: Arc<Inbox>,
    tenant: Option<String>,
    carried: HashMap<u32, Carried>,
    /// Earlier runs may have sent rows with a smaller number.
    sent_before: u32,
    /// Places of the input that an earlier run has written down; until they have come again, nothing is sent.
    earlier_places: u64,
    /// Whether that was all of the input.
    input_had_ended: bool,
    /// Whether all of the input is to be written down before the first request leaves.
    is_sized: bool,
    /// The first row that the run has not taken out to send.
    next_row: u32,
    /// How many rows the mark is ahead of that.
    ahead: u32,
    /// Rows with a smaller number may be sent, or may be when this is written down.
    asked: u32,
    /// Rows with a smaller number may be sent.
    may_send: u32,
    /// Since when nothing is left to send, where that was so before this run.
    complete_since: Option<i64>,
    journaled: Journaled,
    is_closing: bool,
    is_closed: bool,
}

/// What a journal knows of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journaled {
    /// Places of the input that are written down.
    pub places: u64,
    /// Whether those are all.
    pub is_whole: bool,
    /// Whether it could not be written any more.
    pub has_failed: bool,
}

/// What earlier runs have written down, as far as a run has to know.
pub struct Past {
    /// When the last outcome came, where nothing is left to send.
    pub complete_since: Option<i64>,
    /// Places of the input.
    pub places: u64,
    /// Whether that was all of the input.
    pub input_ended: bool,
    /// What they leave of ids that are sent again.
    pub carried: HashMap<u32, Carried>,
    /// They may have sent rows with a smaller number.
    pub sent_before: u32,
}

impl Link {
    /// A link to the journal at this path. `window` is how many items may be under way at a time.
    pub fn new(path: &Path, tenant: Option<&str>, past: Past, is_sized: bool, window: usize) -> Self {
        Self {
            path: path.to_owned(),
            inbox: Arc::default(),
            tenant: tenant.map(str::to_owned),
            carried: past.carried,
            sent_before: past.sent_before,
            earlier_places: past.places,
            input_had_ended: past.input_ended,
            is_sized,
            next_row: 0,
            ahead: u32::try_from(window).unwrap_or(u32::MAX),
            asked: 0,
            may_send: 0,
            complete_since: past.complete_since,
            journaled: Journaled { places: past.places, is_whole: past.input_ended, has_failed: false },
            is_closing: false,
            is_closed: false,
        }
    }

    /// Where the writer finds what is to be written.
    pub fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// The failure of this journal.
    pub fn failure(&self, why: impl std::fmt::Display) -> JournalFailure {
        JournalFailure::of(&self.path, why)
    }

    // ---- the input

    /// Whether a place of the input was written down by an earlier run, so that it only has to be the same.
    pub const fn is_earlier(&self, place: u64) -> bool {
        place < self.earlier_places
    }

    /// Whether every id of the input is in the journal.
    pub const fn has_whole_input(&self) -> bool {
        self.input_had_ended
    }

    /// What is wrong with more input at this place, if anything is.
    pub fn check_more(&self, place: u64) -> Result<(), JournalFailure> {
        if self.input_had_ended {
            let why = format!("its input ended before place {place}, and this one goes on; {OTHER_IDS}");
            return Err(self.failure(why));
        }
        Ok(())
    }

    /// What is wrong with other input at this place.
    pub fn differs(&self, place: u64, own: &OutcomeId, given: &str) -> JournalFailure {
        self.failure(format!(
            "it has {own} at place {place} of its input, and this one has {given}; {OTHER_IDS}"
        ))
    }

    /// What is wrong with an end at this place, if anything is.
    pub fn check_end(&self, place: u64) -> Result<(), JournalFailure> {
        if place < self.earlier_places {
            let places = self.earlier_places;
            let why = format!("its input has {places} places, and this one ends at {place}; {OTHER_IDS}");
            return Err(self.failure(why));
        }
        Ok(())
    }

    /// What is to be said where nothing is left to send.
    pub fn completeness(&self) -> Option<String> {
        let (path, places) = (self.path.display(), self.earlier_places);
        let since = DateTime::from_timestamp_micros(self.complete_since?)?.format("%Y-%m-%d %H:%M:%S");
        Some(format!(
            "journal {path}: it is complete since {since} UTC, so nothing was sent: all {places} places have the \
             outcomes of earlier runs; for a new run give another journal, such as one with the date in its name, or \
             delete this one; to try outcomes anew, name them in retry="
        ))
    }

    /// A new row.
    pub fn add(&self, row: u32, id: OutcomeId) {
        self.put(Op::Row(row, id));
    }

    /// A new row that is settled already. Both are written in one commit, since nothing else tells why it was refused.
    pub fn add_settled(&self, row: u32, outcome: Outcome) {
        if self.is_writable() {
            let id = outcome.id.clone();
            let settled = Op::Outcome { row, outcome: Box::new(outcome), first_sent: None, replaces: false };
            self.inbox.put_all([Op::Row(row, id), settled]);
        }
    }

    /// A row stands again at this place.
    pub fn repeat(&self, place: u64, row: u32) {
        self.put(Op::Repeat(place, row));
    }

    /// No more input comes.
    pub fn end_input(&mut self) {
        if !self.input_had_ended {
            self.input_had_ended = true;
            self.put(Op::InputEnded);
        }
    }

    // ---- the sending

    /// Whether nothing may be sent yet, after so many places of the input.
    pub const fn must_wait(&self, places: u64, is_open: bool) -> bool {
        self.is_earlier(places) || (self.is_sized && is_open)
    }

    /// Whether the writer is far behind.
    pub fn is_behind(&self) -> bool {
        self.inbox.len() > BACKLOG
    }

    /// How many ids more may be written down now.
    pub fn room(&self) -> usize {
        BACKLOG.saturating_sub(self.inbox.len())
    }

    /// Whether the input is taken in as fast as it can be written down, rather than as fast as it is sent.
    pub const fn takes_all(&self) -> bool {
        self.is_sized
    }

    /// The first row that was not taken out to be sent.
    pub const fn next_row(&self) -> u32 {
        self.next_row
    }

    /// Pass over rows that are not sent: they need no mark, and no commit that moves it.
    pub fn pass_over(&mut self, rows: u32, is_sent: impl Fn(u32) -> bool) {
        while self.next_row < rows && !is_sent(self.next_row) {
            self.next_row += 1;
        }
    }

    /// Take the next row out, if it may be sent by now.
    pub fn take(&mut self, rows: u32) -> Option<u32> {
        let row = self.next_row;
        if row >= rows || row >= self.may_send {
            return None;
        }
        self.next_row += 1;
        Some(row)
    }

    /// Move the mark ahead, of so many rows.
    pub fn advance(&mut self, rows: u32) {
        let wanted = self.next_row.saturating_add(self.ahead).min(rows);
        // Half a window early, so that nobody waits for the commit; the last rows at once.
        let is_due = wanted == rows || wanted.saturating_sub(self.asked) >= self.ahead / 2;
        if wanted > self.asked && is_due {
            self.asked = wanted;
            self.put(Op::Mark(wanted));
        }
    }

    /// What earlier runs leave of a row; once.
    pub fn carried(&mut self, row: u32) -> Option<Carried> {
        self.carried.remove(&row).or_else(|| (row < self.sent_before).then(Carried::maybe_sent))
    }

    /// Make sure that the journal is of this tenant. What no token tells is not compared.
    pub fn admit(&mut self, tenant: Option<&str>) -> Result<(), JournalFailure> {
        let Some(tenant) = tenant else { return Ok(()) };
        match &self.tenant {
            Some(own) if own.eq_ignore_ascii_case(tenant) => {}
            Some(own) => {
                return Err(self.failure(format_args!(
                    "it is of tenant {own}, and the token is of tenant {tenant}; use a credential of the former, or \
                     another journal"
                )));
            }
            None => {
                self.tenant = Some(tenant.to_owned());
                self.put(Op::Tenant(tenant.to_owned()));
            }
        }
        Ok(())
    }

    // ---- the outcomes

    /// Hand an outcome over; it comes back when it may be reported.
    pub fn settle(&self, row: u32, outcome: Outcome, carried: Option<&Carried>) {
        let (first_sent, replaces) =
            carried.map_or((None, false), |known| (known.first_sent, known.replaces));
        self.put(Op::Outcome { row, outcome: Box::new(outcome), first_sent, replaces });
    }

    /// What the writer says.
    pub fn hear(&mut self, ack: &Ack) {
        self.may_send = self.may_send.max(ack.mark);
        self.journaled.has_failed |= ack.failure.is_some();
        self.journaled.places += ack.places;
        self.journaled.is_whole |= ack.has_input_ended;
        self.is_closed |= ack.is_closed;
    }

    /// Whether outcomes can still be written.
    pub const fn is_writable(&self) -> bool {
        !self.journaled.has_failed && !self.is_closing
    }

    /// The run is over.
    pub fn close(&mut self, why: String, http_requests: u64, paused: Duration) {
        if !self.is_closing {
            self.put(Op::End { why, http_requests, paused, sent_before: self.next_row });
            self.is_closing = true;
            self.inbox.close();
        }
    }

    /// What the journal knows of the input by now.
    pub const fn journaled(&self) -> Journaled {
        self.journaled
    }

    /// Whether the journal is closed and unlocked.
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn put(&self, op: Op) {
        if self.is_writable() {
            self.inbox.put(op);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

const OTHER_IDS: &str = "give the same ids in the same order, or resume() without any, or another journal";
