//! Why a run stops before its end.

use std::time::Duration;

use super::journal::JournalFailure;
use crate::client::Refusal;
use crate::token::CredentialFailure;
use crate::transport::TransportFailure;

/// Why a run stopped before its end.
#[derive(Clone, Debug)]
pub enum StopCause {
    /// The caller asked for it.
    Asked(String),
    /// The time that the caller gave it is over.
    Deadline(Duration),
    /// There is no token.
    Credential(CredentialFailure),
    /// What the service says is not about single items.
    Refused(String, Box<Refusal>),
    /// The service cannot be reached.
    Unreachable(TransportFailure),
    /// The journal cannot be used.
    Journal(JournalFailure),
}

impl StopCause {
    /// For the messages of what was not sent.
    pub fn text(&self) -> String {
        match self {
            Self::Asked(why) | Self::Refused(why, _) => why.clone(),
            Self::Deadline(limit) => format!("the deadline of {} s came first", limit.as_secs_f64()),
            // A table or a log has one line for it.
            Self::Credential(failure) => failure.message.replace('\n', " "),
            Self::Unreachable(failure) => failure.message.clone(),
            Self::Journal(failure) => failure.message.clone(),
        }
    }

    /// Whether it is what the caller wanted, so that there is nothing to complain of.
    pub const fn is_expected(&self) -> bool {
        matches!(self, Self::Deadline(_))
    }
}
