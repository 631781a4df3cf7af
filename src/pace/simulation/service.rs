//! Services of every kind, in virtual time: what they grant, and what they say where they do not.

use std::collections::VecDeque;

use super::dice::Dice;
use crate::landing::Again;

/// How a service counts. Rates are items a second, times are seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// No quota at all.
    Free,
    /// A token bucket.
    Bucket { rate: f64, burst: f64 },
    /// So many in each window; the windows follow each other, the first one is `phase` old when the run starts.
    Fixed { calls: f64, per: f64, phase: f64 },
    /// So many in any span of that length.
    Sliding { calls: f64, per: f64 },
    /// No quota: such a share of the items is refused at random.
    Picky { share: f64, wait: f64 },
    /// No quota: such a share of the items is refused when they come for the first time.
    Once { share: f64, wait: f64 },
    /// No quota: the first request that is looked at after that time is refused as a whole, and none later.
    Request { at: f64, wait: f64 },
    /// No quota: whatever is looked at within the second that begins then is refused.
    Second { at: f64, wait: f64 },
}

/// What a 429 says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Says {
    /// The truth, rounded up.
    WholeSeconds,
    /// Nothing.
    Nothing,
    /// One second, whatever the truth is.
    AlwaysOne,
    /// The truth.
    Exactly,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub granted: usize,
    pub throttled: usize,
    /// Those of them that had been throttled before.
    pub again: Again,
    /// The longest wait told, in seconds.
    pub wait: Option<f64>,
    /// How much of the quota is used, where it is near the limit and the service says so.
    pub used: Option<f64>,
}

/// A service with its present level.
pub struct Service {
    kind: Kind,
    says: Says,
    level: f64,
    at: f64,
    used: f64,
    log: VecDeque<f64>,
    /// From this time on, the quota is so many times as large.
    changes: Option<(f64, f64)>,
    warns: bool,
    dice: Dice,
    has_refused: bool,
}

impl Service {
    pub fn new(kind: Kind, says: Says) -> Self {
        let level = if let Kind::Bucket { burst, .. } = kind { burst } else { 0.0 };
        Self {
            kind,
            says,
            level,
            at: 0.0,
            used: 0.0,
            log: VecDeque::new(),
            changes: None,
            warns: false,
            dice: Dice(7),
            has_refused: false,
        }
    }

    pub fn changing(self, at: f64, factor: f64) -> Self {
        Self { changes: Some((at, factor)), ..self }
    }

    pub fn warning(self) -> Self {
        Self { warns: true, ..self }
    }

    /// What becomes of items that it looks at now; each tells whether it was throttled before.
    pub fn ask(&mut self, now: f64, items: &[bool]) -> Answer {
        let factor = self.changes.filter(|(at, _)| now >= *at).map_or(1.0, |(_, factor)| factor);
        let (mut granted, mut wait, mut used) = (0, 0.0_f64, 0.0_f64);
        let mut again = Again::default();
        for is_again in items {
            let (is_granted, until, share) = self.take(now, factor, *is_again);
            granted += usize::from(is_granted);
            again.granted += usize::from(is_granted && *is_again);
            again.throttled += usize::from(!is_granted && *is_again);
            used = used.max(share);
            if !is_granted {
                wait = wait.max(until);
            }
        }
        let items = items.len();
        self.has_refused |= granted < items;
        let told = match self.says {
            Says::WholeSeconds => Some(wait.ceil().max(1.0)),
            Says::AlwaysOne => Some(1.0),
            Says::Exactly => Some(wait),
            Says::Nothing => None,
        };
        Answer {
            granted,
            throttled: items - granted,
            again,
            wait: told.filter(|_| granted < items),
            used: (self.warns && used > 0.8).then_some(used.min(1.8)),
        }
    }

    /// Whether one more is granted, when the next one could be, and how much is used.
    fn take(&mut self, now: f64, factor: f64, is_again: bool) -> (bool, f64, f64) {
        match self.kind {
            Kind::Free => (true, 0.0, 0.0),
            Kind::Picky { share, wait } => (self.dice.roll() >= share, wait, 0.0),
            Kind::Once { share, wait } => (is_again || self.dice.roll() >= share, wait, 0.0),
            Kind::Request { at, wait } => (now < at || self.has_refused, wait, 0.0),
            Kind::Second { at, wait } => (!(at..at + 1.0).contains(&now), wait, 0.0),
            Kind::Bucket { rate, burst } => {
                let (rate, burst) = (rate * factor, burst.max(1.0));
                self.level = (self.level + rate * (now - self.at)).min(burst);
                self.at = now;
                let is_granted = self.level >= 1.0;
                self.level -= if is_granted { 1.0 } else { 0.0 };
                (is_granted, (1.0 - self.level) / rate, 1.0 - self.level / burst)
            }
            Kind::Fixed { calls, per, phase } => {
                let calls = (calls * factor).max(1.0);
                let window = ((now + phase) / per).floor();
                if window > self.at {
                    (self.at, self.used) = (window, 0.0);
                }
                let is_granted = self.used < calls;
                self.used += if is_granted { 1.0 } else { 0.0 };
                (is_granted, (window + 1.0) * per - phase - now, self.used / calls)
            }
            Kind::Sliding { calls, per } => {
                let calls = (calls * factor).max(1.0);
                while self.log.front().is_some_and(|first| first + per <= now) {
                    self.log.pop_front();
                }
                let is_granted = (self.log.len() as f64) < calls;
                if is_granted {
                    self.log.push_back(now);
                }
                let until = self.log.front().map_or(0.0, |first| first + per - now);
                (is_granted, until, self.log.len() as f64 / calls)
            }
        }
    }
}
