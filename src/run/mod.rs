//! The bulk engine: ids in, one outcome for each out.
//!
//! ```text
//! push ──> State (intake, ready, delayed) ──> engine ──> Client::attempt
//!            │                                  │
//!            └── Ledger: columns or window <────┘ outcomes
//! ```

pub mod columns;

mod engine;
mod handle;
mod item;
mod recent;
mod state;
mod stop;
mod texts;

pub use handle::{Finished, Mode, News, Progress, Run};
pub use stop::StopCause;
