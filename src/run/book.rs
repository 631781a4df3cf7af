//! Where outcomes are written: kept for a report, handed out, counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::columns::Columns;
use super::recent::Recent;
use crate::assignment::{AssignmentId, InvalidId};
use crate::outcome::{Counts, Outcome, OutcomeId, Status, unix_micros};

/// Where outcomes are kept, and how a repeated id is recognised.
pub enum Ledger {
    /// Every outcome, for a report.
    Columns(Box<Columns>),
    /// None, for a stream: memory stays flat.
    Window(Recent),
}

/// The outcomes of a run.
pub struct Book {
    ledger: Ledger,
    /// How often a row's id was repeated, where it was.
    repeats: HashMap<u32, u64>,
    outbox: Option<VecDeque<Outcome>>,
    /// Rows that an earlier run has settled, still to be handed out.
    kept: VecDeque<u32>,
    counts: Counts,
    retries: u64,
}

/// How many outcomes of earlier runs are handed out at a time.
const HANDFUL: usize = 10_000;

impl Book {
    /// An empty book. `hand_out` keeps each outcome until it is taken.
    pub fn new(ledger: Ledger, hand_out: bool) -> Self {
        Self {
            ledger,
            repeats: HashMap::new(),
            outbox: hand_out.then(VecDeque::new),
            kept: VecDeque::new(),
            counts: Counts::default(),
            retries: 0,
        }
    }

    /// A book that goes on where earlier runs ended; `kept` are the rows that they have settled.
    pub fn resumed(columns: Columns, kept: Vec<u32>, hand_out: bool) -> Self {
        let mut repeats = HashMap::new();
        let mut counts = Counts::default();
        for (place, row) in (0..).zip(columns.places()) {
            if columns.first_place(*row) != place {
                *repeats.entry(*row).or_default() += 1;
            }
            if columns.is_settled(*row) {
                counts.add(columns.status(*row), 1);
            }
        }
        let kept = if hand_out { kept.into() } else { VecDeque::new() };
        Self { repeats, kept, counts, ..Self::new(Ledger::Columns(Box::new(columns)), hand_out) }
    }

    /// One more place of the input: the row of its id, and whether that is new. A repeated place counts as its id does,
    /// now if that is settled and with it otherwise.
    pub fn admit(&mut self, id: AssignmentId) -> (u32, bool) {
        let columns = match &mut self.ledger {
            Ledger::Columns(columns) => columns,
            Ledger::Window(recent) => return (0, recent.is_new(id)),
        };
        let (row, is_new) = columns.add(id);
        if !is_new {
            *self.repeats.entry(row).or_default() += 1;
            if columns.is_settled(row) {
                self.counts.add(columns.status(row), 1);
            }
        }
        (row, is_new)
    }

    /// One more place of the input, which is no id: its row and its outcome.
    pub fn refuse(&mut self, refused: &InvalidId, index: u64) -> (u32, Outcome) {
        let shown: Arc<str> = refused.shown.as_str().into();
        let row = match &mut self.ledger {
            Ledger::Columns(columns) => columns.add_invalid(&shown),
            Ledger::Window(_) => 0,
        };
        let outcome = Outcome {
            index,
            id: OutcomeId::Invalid(shown),
            status: Status::Rejected,
            http_status: None,
            code: None,
            message: Some(refused.reason.as_str().into()),
            request_id: None,
            client_request_id: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            finished_at: unix_micros(),
        };
        (row, outcome)
    }

    /// The columns, where they are kept.
    pub const fn columns(&self) -> Option<&Columns> {
        match &self.ledger {
            Ledger::Columns(columns) => Some(columns),
            Ledger::Window(_) => None,
        }
    }

    /// Write the outcome of a row.
    pub fn settle(&mut self, row: u32, outcome: Outcome) {
        let repeats = self.repeats.get(&row).copied().unwrap_or_default();
        self.counts.add(outcome.status, 1 + repeats);
        self.retries += u64::from(outcome.attempts.saturating_sub(1));
        if let Ledger::Columns(columns) = &mut self.ledger {
            columns.settle(row, &outcome);
        }
        if let Some(outbox) = &mut self.outbox {
            outbox.push_back(outcome);
        }
    }

    /// Whether outcomes wait to be taken.
    pub fn has_outcomes(&self) -> bool {
        !self.kept.is_empty() || self.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    /// How many outcomes of this run wait to be taken.
    pub fn untaken(&self) -> usize {
        self.outbox.as_ref().map_or(0, VecDeque::len)
    }

    /// Take the outcomes that wait.
    pub fn take(&mut self) -> Vec<Outcome> {
        let handful: Vec<u32> = self.kept.drain(..self.kept.len().min(HANDFUL)).collect();
        let earlier = self.columns().map(|columns| handful.iter().map(|row| columns.outcome(*row)).collect());
        let mut outcomes: Vec<Outcome> = earlier.unwrap_or_default();
        outcomes.extend(self.outbox.iter_mut().flat_map(|outbox| outbox.drain(..)));
        outcomes
    }

    /// How many places of the input have ended in each way.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Attempts beyond the first, over all items.
    pub const fn retries(&self) -> u64 {
        self.retries
    }

    /// Take the columns out, empty for a stream.
    pub fn take_columns(&mut self) -> Columns {
        match std::mem::replace(&mut self.ledger, Ledger::Window(Recent::default())) {
            Ledger::Columns(mut columns) => {
                columns.freeze();
                *columns
            }
            Ledger::Window(_) => Columns::default(),
        }
    }
}
