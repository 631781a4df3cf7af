//! What is asked about one assignment.

use super::cloud::ApiVersion;
use crate::assignment::AssignmentId;

/// The two requests that are made for many assignments at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST .../{id}/reprocess` (<https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess>).
    Reprocess,
    /// `GET .../{id}`, for the state (<https://learn.microsoft.com/graph/api/accesspackageassignment-get>).
    ReadState,
}

impl Action {
    /// What a journal calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reprocess => "reprocess",
            Self::ReadState => "read state",
        }
    }

    /// The HTTP method.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Reprocess => "POST",
            Self::ReadState => "GET",
        }
    }

    /// The path below the version, as a part of a `$batch` names it
    /// (<https://learn.microsoft.com/graph/json-batching>: relative, without the version).
    pub fn path(self, version: ApiVersion, id: AssignmentId) -> String {
        let assignment = format!("/identityGovernance/entitlementManagement/{}/{id}", version.collection());
        match self {
            Self::Reprocess => format!("{assignment}/reprocess"),
            Self::ReadState => assignment,
        }
    }
}
