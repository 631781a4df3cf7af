//! Why a journal cannot be used, and what to do about it.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::text::one_line;

/// Why a journal cannot be used; the text names the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JournalFailure {
    /// For people.
    pub message: String,
}

impl JournalFailure {
    /// The journal at this path cannot be used for this reason.
    pub fn of(path: &Path, why: impl std::fmt::Display) -> Self {
        Self { message: one_line(&format!("journal {}: {why}", path.display())) }
    }

    /// It is not what it was written as.
    pub fn damaged(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::of(
            path,
            format_args!(
                "it is damaged ({what}); restore it from a backup, or start with a new journal: repeating what \
                 was accepted does no harm"
            ),
        )
    }

    /// SQLite said no.
    pub fn sqlite(path: &Path, err: &rusqlite::Error) -> Self {
        let remedy = match err.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => {
                "give the path of a journal, or of a file that does not exist yet"
            }
            Some(ErrorCode::DatabaseCorrupt) => return Self::damaged(path, err),
            Some(ErrorCode::DiskFull) => "make room, then resume",
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied,
            ) => "make the file and its folder writable, then resume",
            Some(ErrorCode::CannotOpen) => "the folder has to exist and be writable",
            Some(ErrorCode::FileLockingProtocolFailed | ErrorCode::NoLargeFileSupport) => NO_LOCKS,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program holds it, such as a database browser; close that, then resume"
            }
            Some(ErrorCode::SystemIoFailure) => {
                "look at the disk, then resume; a network share may not be able to lock"
            }
            _ => "resume once that is mended",
        };
        Self::of(path, format_args!("{err}; {remedy}"))
    }
}

/// Where SQLite cannot share memory or lock, two runs could spoil each other's journal.
pub const NO_LOCKS: &str =
    "this file system cannot lock files as SQLite needs it; put the journal on a local disk";
