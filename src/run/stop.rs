//! Why a run stops before its end.

use uuid::Uuid;

use crate::retry::ItemAnswer;
use crate::token::CredentialFailure;
use crate::transport::TransportFailure;

/// Why a run stopped before its end.
#[derive(Clone, Debug)]
pub enum StopCause {
    /// The caller asked for it.
    Asked(String),
    /// There is no token.
    Credential(CredentialFailure),
    /// The service refuses the token.
    Unauthorized(ItemAnswer, Uuid),
    /// The service cannot be reached.
    Unreachable(TransportFailure),
}

impl StopCause {
    /// For the messages of what was not sent.
    pub fn text(&self) -> String {
        match self {
            Self::Asked(why) => why.clone(),
            Self::Credential(failure) => failure.message.clone(),
            Self::Unauthorized(..) => "the service refuses the token (401)".into(),
            Self::Unreachable(failure) => failure.message.clone(),
        }
    }
}
