//! How one id ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::assignment::AssignmentId;

/// The seven ways in which an id can end. The order is that of the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// A 2XX answer: Graph will re-evaluate and enforce the assignment.
    Accepted,
    /// 400, or refused here because it is no GUID.
    Rejected,
    /// 404.
    NotFound,
    /// 403.
    Forbidden,
    /// Another answer, or throttled or in trouble to the end, with no attempt left unanswered.
    Failed,
    /// Some attempt may have been executed and was never answered in a usable way, and no later one settled it.
    Unknown,
    /// The run ended before it was sent.
    NotAttempted,
}

impl Status {
    /// All of them, in the order of the counts.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Rejected,
        Self::NotFound,
        Self::Forbidden,
        Self::Failed,
        Self::Unknown,
        Self::NotAttempted,
    ];

    /// The one of this public name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::NotAttempted => "not_attempted",
        }
    }
}

/// How many ids ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts([u64; 7]);

impl Counts {
    /// Count `number` more with this status.
    pub fn add(&mut self, status: Status, number: u64) {
        if let Some(count) = self.0.get_mut(status as usize) {
            *count += number;
        }
    }

    /// How many ended so.
    pub fn of(&self, status: Status) -> u64 {
        self.0.get(status as usize).copied().unwrap_or_default()
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The id of an outcome: normalised, or the shortened input where it was no id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeId {
    /// A well-formed id.
    Valid(AssignmentId),
    /// What was given instead.
    Invalid(Arc<str>),
}

impl std::fmt::Display for OutcomeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Valid(id) => id.fmt(f),
            Self::Invalid(shown) => shown.fmt(f),
        }
    }
}

/// How one id ended, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Its first place in the input.
    pub index: u64,
    /// The id.
    pub id: OutcomeId,
    /// How it ended.
    pub status: Status,
    /// HTTP status of the answer that settled it, if one did.
    pub http_status: Option<u16>,
    /// Graph's code.
    pub code: Option<Arc<str>>,
    /// Graph's message, or ours.
    pub message: Option<Arc<str>>,
    /// The service's id of the last request.
    pub request_id: Option<Arc<str>>,
    /// Our id of the last request.
    pub client_request_id: Option<Uuid>,
    /// Attempts made.
    pub attempts: u32,
    /// From the first attempt to the end.
    pub elapsed: Duration,
    /// When it ended, microseconds since the Unix epoch.
    pub finished_at: i64,
}

/// Now, as outcomes note it. For display and audit only; nothing is timed by the wall clock.
pub fn unix_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
