//! The journal: a run that survives its process, in one SQLite file.
//!
//! ```text
//! State ── Link ── ops ──> writer thread ── group commit ──> june.db
//!   ^                           │
//!   └────── what is durable ────┘
//! ```
//!
//! Before an id may be sent, the journal says so; before an outcome is reported, the journal holds it. Marking single
//! ids would cost a commit for each request, so the run moves a mark ahead of what it sends: what lies before the mark
//! and has no outcome may have been sent, what lies behind it was not.

mod carried;
mod checksum;
#[cfg(unix)]
mod claim;
#[cfg(not(unix))]
#[path = "unclaimed.rs"]
mod claim;
mod failure;
mod head;
mod link;
mod location;
mod lock;
mod network;
mod occupancy;
mod open;
mod place;
mod reached;
mod read;
mod record;
mod schema;
mod writer;

pub use carried::{Carried, Earlier};
pub use failure::JournalFailure;
pub use head::Identity;
pub use link::{Journaled, Link, Past};
pub use open::{Journal, Setup, load, open};
pub use writer::{Ack, start};
