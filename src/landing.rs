//! What the answers of a request tell the pace.

use std::time::Duration;

use crate::retry::{Attempt, Step};

/// What a request was answered with, as far as it concerns the pace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Landing {
    /// Items that the service answered in any other way than by throttling.
    pub granted: usize,
    /// Items that it throttled.
    pub throttled: usize,
    /// Items of which nothing is known.
    pub lost: usize,
    /// How long to wait, where anything was throttled.
    pub wait: Option<Duration>,
    /// How long to wait for another reason than a quota.
    pub pause: Duration,
    /// `x-ms-throttle-limit-percentage`, where it came.
    pub near_limit: Option<f64>,
}

impl Landing {
    /// Nothing came of so many items.
    pub fn lost(lost: usize) -> Self {
        Self { lost, ..Self::default() }
    }

    /// Take one item's attempt in. A 503 asks everybody to wait too, but says nothing of a quota; a wait that is not
    /// waited for feeds no pause.
    pub fn count(&mut self, attempt: &Attempt, step: &Step) {
        let status = if let Attempt::Answered(answer) = attempt { answer.status } else { 0 };
        match (status, step) {
            (429, Step::Again { wait, .. }) => {
                self.throttled += 1;
                self.wait = self.wait.max(Some(*wait));
            }
            (503, Step::Again { wait, .. }) => {
                self.lost += 1;
                self.pause = self.pause.max(*wait);
            }
            (0 | 429 | 500.., _) => self.lost += 1,
            _ => self.granted += 1,
        }
    }
}
