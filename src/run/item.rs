//! One id on its way to an outcome, and the outcome that it ends with.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::columns::from_kept;
use super::journal::Carried;
use crate::assignment::AssignmentId;
use crate::graph::error::ErrorBody;
use crate::outcome::{Outcome, OutcomeId, Status, unix_micros};
use crate::retry::{Attempt, History, ItemAnswer, is_trouble};
use crate::transport::{FailureKind, TransportFailure};

/// Items that were refused or spoilt together, as a part of a batch, and have to stay apart from all others.
pub type Cohort = u64;

/// One id on its way to an outcome.
#[derive(Debug)]
pub struct Item {
    pub id: AssignmentId,
    pub index: u64,
    pub row: u32,
    /// Whether it goes as a plain request.
    pub alone: bool,
    /// Whether it goes in a request of its own.
    pub isolated: bool,
    pub cohort: Option<Cohort>,
    /// How many requests had been answered well when it was set apart, or first in trouble.
    pub suspect_since: u64,
    /// Whether it goes ahead to learn if batches are taken at all.
    pub is_scout: bool,
    /// Whether the token that it was sent with last was refused, and it waits for another one.
    pub is_refused: bool,
    pub since: Instant,
    pub started: Option<Instant>,
    pub history: History,
    pub last_answer: Option<ItemAnswer>,
    pub last_request: Option<Uuid>,
    /// What earlier runs with the same journal leave of it.
    pub carried: Option<Box<Carried>>,
}

impl Item {
    /// An id that has just come in.
    pub fn new(id: AssignmentId, index: u64, row: u32, now: Instant) -> Self {
        Self {
            id,
            index,
            row,
            alone: false,
            isolated: false,
            cohort: None,
            suspect_since: 0,
            is_scout: false,
            is_refused: false,
            since: now,
            started: None,
            history: History::default(),
            last_answer: None,
            last_request: None,
            carried: None,
        }
    }

    /// An id that earlier runs have sent. What they left in doubt stays so until an answer settles it.
    pub fn carry(&mut self, carried: Carried) {
        if carried.is_ambiguous {
            self.history.lost = Some(withdrawn("an earlier run sent it, and no answer to that is known"));
        }
        if let Some(outcome) = &carried.outcome
            && outcome.status == Status::Failed
            && let Some(answer) = earlier_trouble(outcome)
        {
            self.history.carry(answer);
        }
        self.carried = Some(Box::new(carried));
    }

    /// Keep what an attempt brought, for the outcome.
    pub fn remember(&mut self, attempt: &Attempt, is_whole: bool, request: Uuid) {
        self.is_refused = false;
        if let Attempt::Answered(answer) = attempt {
            self.last_answer = Some(answer.clone());
            self.last_request = Some(request);
            // An answer of its own could be read beside those to the others.
            self.cohort = self.cohort.filter(|_| is_whole);
        }
    }

    /// Whether this run has sent it before, and no answer settled what came of that.
    pub const fn is_in_trouble(&self) -> bool {
        self.history.attempts > 0 && (self.history.lost.is_some() || self.history.doubtful.is_some())
    }

    /// Whether the last answer to it was a 429.
    pub fn was_throttled(&self) -> bool {
        self.last_answer.as_ref().is_some_and(|answer| answer.status == 429)
    }

    /// It was under way when the run ended, and nobody waits for its answer any more.
    pub fn cut_off(&mut self) {
        self.history.attempts += 1;
        self.history.lost = Some(withdrawn("sent, and not answered before the run ended"));
    }

    /// Its outcome: by what it was last told, or by what was lost.
    pub fn outcome(self, status: Status, reason: Option<String>, now: Instant) -> Outcome {
        let by_answer = status != Status::Unknown && status != Status::NotAttempted;
        let doubt = self.history.doubt();
        // Throttled after trouble of the service it is still the trouble that leaves it open what became of it.
        let trouble = self.history.doubtful.filter(|_| status == Status::Failed).map(|answer| *answer);
        let answer = trouble.or(self.last_answer).filter(|_| by_answer).unwrap_or_default();
        // Else a report would blame a permission for what Conditional Access asks.
        let challenged =
            answer.token.filter(|token| status == Status::Forbidden && token.challenge.is_some());
        let reason = reason.or_else(|| challenged?.advice.map(|advice| advice.to_string()));
        let said = match doubt {
            Some(doubt) if !by_answer => Some(doubt.message),
            _ => answer.found.or(answer.error.message),
        };
        let message = match (said, reason) {
            (Some(said), Some(reason)) => Some(format!("{said} ({reason})")),
            (said, reason) => said.or(reason),
        };
        Outcome {
            index: self.index,
            id: OutcomeId::Valid(self.id),
            status,
            http_status: Some(answer.status).filter(|status| *status != 0),
            code: answer.error.code.map(Into::into),
            message: message.map(Into::into),
            request_id: answer.request_id.map(Into::into),
            client_request_id: self.last_request,
            attempts: self.history.attempts + self.carried.map_or(0, |carried| carried.attempts),
            // As exact as it is kept, so that iterators, reports and journals tell the same.
            elapsed: self.started.map_or(Duration::ZERO, |started| from_kept((now - started).as_secs_f32())),
            finished_at: unix_micros(),
        }
    }
}

/// The answer with which an item has failed in an earlier run, if it told of trouble of the service.
fn earlier_trouble(outcome: &Outcome) -> Option<ItemAnswer> {
    let status = outcome.http_status.filter(|status| is_trouble(*status))?;
    let error = ErrorBody {
        code: outcome.code.as_deref().map(Into::into),
        message: outcome.message.as_deref().map(Into::into),
        ..ErrorBody::default()
    };
    let request_id = outcome.request_id.as_deref().map(Into::into);
    Some(ItemAnswer { status, error, request_id, ..ItemAnswer::default() })
}

fn withdrawn(message: &str) -> TransportFailure {
    TransportFailure { kind: FailureKind::Withdrawn, left: true, message: message.into() }
}
