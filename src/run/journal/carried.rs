//! What a run takes over from the ones before it, for ids that it sends again.

use std::collections::HashMap;

use super::read::{Known, Told, is_kept};
use crate::outcome::{Outcome, Status};
use crate::run::columns::Columns;
use crate::run::source::Source;

/// What earlier runs leave of an id that is to be sent again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// Attempts made, or possibly made.
    pub attempts: u32,
    /// When it was first sent, microseconds since the Unix epoch.
    pub first_sent: Option<i64>,
    /// Whether one of those may have been executed without an answer.
    pub is_ambiguous: bool,
    /// The outcome that it keeps where this run does not come to it.
    pub outcome: Option<Outcome>,
    /// Whether the journal holds an outcome, which the next one replaces.
    pub replaces: bool,
}

/// What earlier runs leave.
#[derive(Default)]
pub struct Earlier {
    /// All ids with their places; those that are settled stay so.
    pub columns: Columns,
    /// The rows that are settled.
    pub kept: Vec<u32>,
    /// Of the others, those of which something is known.
    pub carried: HashMap<u32, Carried>,
    /// When the last outcome came, microseconds since the Unix epoch.
    pub last_outcome: i64,
    /// Whether every id of the input is there.
    pub input_ended: bool,
    /// Rows with a smaller number may have been sent, also where the journal has lost them.
    pub sent_before: u32,
}

impl Carried {
    /// Of a row that may have been sent, and of which nothing else is known.
    pub fn maybe_sent() -> Self {
        Self { attempts: 1, is_ambiguous: true, ..Self::default() }
    }
}

impl Earlier {
    /// When the last outcome came, where nothing is left to send.
    pub fn complete_since(&self) -> Option<i64> {
        let rows = self.columns.rows() as usize;
        (self.input_ended && rows > 0 && self.kept.len() == rows).then_some(self.last_outcome)
    }

    /// Take one row in, to be sent again or not.
    pub fn hear(&mut self, columns: &mut Columns, told: Told, retry: &[Status]) {
        let Told { row, known, first_sent } = told;
        let carried = match known {
            Known::Outcome(outcome) if is_kept(&outcome, retry) => {
                columns.settle(row, &outcome);
                columns.note_source(row, Source::EarlierRun);
                self.last_outcome = self.last_outcome.max(outcome.finished_at);
                self.kept.push(row);
                return;
            }
            Known::Outcome(outcome) => Carried {
                attempts: outcome.attempts,
                first_sent,
                is_ambiguous: outcome.status == Status::Unknown,
                outcome: Some(outcome),
                replaces: true,
            },
            Known::MaybeSent(before) => Carried {
                attempts: before.as_ref().map_or(0, |outcome| outcome.attempts) + 1,
                first_sent,
                is_ambiguous: true,
                outcome: None,
                replaces: before.is_some(),
            },
            Known::Untouched => return,
        };
        self.carried.insert(row, carried);
    }
}
