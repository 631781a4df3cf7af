//! The bulk engine: ids in, one outcome for each out.
//!
//! ```text
//! push ──> State (queue, flights) ──> engine ──> Client::attempt
//!            │                           │
//!            └── Book: outcomes <────────┘ answers
//! ```

pub mod columns;
pub mod journal;
pub mod source;

mod batching;
mod book;
mod deadline;
mod engine;
mod handle;
mod item;
mod queue;
mod recent;
mod state;
mod stop;
mod suspicion;
mod texts;

pub use handle::{Finished, Job, Mode, News, Progress, Run};
pub use stop::StopCause;
