//! One id on its way to an outcome, ready or put aside for a while.

use tokio::time::Instant;
use uuid::Uuid;

use crate::assignment::AssignmentId;
use crate::retry::{History, ItemAnswer};

/// One id on its way to an outcome.
#[derive(Debug)]
pub struct Item {
    pub id: AssignmentId,
    pub index: u64,
    pub row: u32,
    pub alone: bool,
    pub since: Instant,
    pub started: Option<Instant>,
    pub history: History,
    pub last_answer: Option<ItemAnswer>,
    pub last_request: Option<Uuid>,
}

/// An item that waits; ordered by when it may go, then by when it was put aside.
pub struct Delayed {
    pub ready_at: Instant,
    pub number: u64,
    pub item: Item,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        (self.ready_at, self.number) == (other.ready_at, other.number)
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ready_at, self.number).cmp(&(other.ready_at, other.number))
    }
}
