//! What the answers of a request tell the pace.

use std::time::Duration;

use crate::retry::{self, Attempt, Step};
use crate::transport::FailureKind;

/// What a request was answered with, as far as it concerns the pace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Landing {
    /// Items that the service answered in any other way than by throttling.
    pub granted: usize,
    /// Items that it throttled.
    pub throttled: usize,
    /// Items of the granted and of the throttled ones that had been throttled the time before.
    pub again: Again,
    /// Items of which nothing is known.
    pub lost: usize,
    /// How long to wait, where anything was throttled.
    pub wait: Option<Duration>,
    /// How long to wait for another reason than a quota.
    pub pause: Duration,
    /// Items of the lost ones that met trouble of the service or on the way to it.
    pub troubled: usize,
    /// How long those would wait by themselves.
    pub backoff: Duration,
    /// `x-ms-throttle-limit-percentage`, where it came.
    pub near_limit: Option<f64>,
}

/// What became of items that had been throttled the time before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// So many were granted,
    pub granted: usize,
    /// and so many throttled once more.
    pub throttled: usize,
}

impl Landing {
    /// So many items were withdrawn, or were never sent.
    pub fn lost(lost: usize) -> Self {
        Self { lost, ..Self::default() }
    }

    /// Take one item's attempt in. A 503 asks everybody to wait too, but says nothing of a quota; a wait that is not
    /// waited for feeds no pause.
    pub fn count(&mut self, attempt: &Attempt, step: &Step, was_throttled: bool) {
        let status = if let Attempt::Answered(answer) = attempt { answer.status } else { 0 };
        match (status, step) {
            (429, Step::Again { wait, .. }) => {
                self.throttled += 1;
                self.again.throttled += usize::from(was_throttled);
                self.wait = self.wait.max(Some(*wait));
            }
            (503, Step::Again { wait, .. }) => {
                self.lost += 1;
                self.pause = self.pause.max(*wait);
            }
            (0 | 408 | 429 | 500.., _) => self.lost += 1,
            _ => {
                self.granted += 1;
                self.again.granted += usize::from(was_throttled);
            }
        }
        if is_trouble(attempt) && !matches!(step, Step::Settled(_)) {
            self.troubled += 1;
            if let Step::Again { wait, .. } = step {
                self.backoff = self.backoff.max(*wait);
            }
        }
    }

    /// Whether nothing but trouble came of it.
    pub const fn is_trouble(&self) -> bool {
        self.troubled > 0 && self.troubled == self.granted + self.throttled + self.lost
    }
}

fn is_trouble(attempt: &Attempt) -> bool {
    match attempt {
        Attempt::Answered(answer) => answer.status >= 500 || retry::is_trouble(answer.status),
        Attempt::Failed(failure) => failure.kind != FailureKind::Withdrawn,
        Attempt::BatchRefused => false,
    }
}
