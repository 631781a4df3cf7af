//! What all calls of one kind share on a client: the pace, and one request at a time while the service is in trouble.

use std::time::Duration;

use tokio::time::Instant;

use crate::landing::Landing;
use crate::log;
use crate::pace::{Pace, Permit};

/// So many requests in a row that came to nothing are no accident of one of them.
const TROUBLE: u32 = 5;
/// The shortest pause while there is trouble: the back-off of an item is drawn at random, down to nothing.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Decides whether a request may leave.
///
/// A service that fails one request after the other gains nothing from a full window of them, and every one of them
/// would use up a retry of its items. So all wait, as long as the items of the last request have to wait anyway; then a
/// single request asks how things are, until one is answered.
#[derive(Debug)]
pub struct Gate {
    pace: Pace,
    under_way: usize,
    troubles: u32,
}

impl Gate {
    /// A gate in front of this pace.
    pub const fn new(pace: Pace) -> Self {
        Self { pace, under_way: 0, troubles: 0 }
    }

    /// What may be sent now, of `ready` items that wait; `left` is how many are to be sent in all, where that is known.
    pub fn permit(&mut self, now: Instant, ready: usize, left: Option<usize>) -> Permit {
        if self.in_trouble() && self.under_way > 0 {
            return Permit::AfterAnswer;
        }
        self.pace.permit(now, ready, left)
    }

    /// So many items were sent in one request.
    pub fn sent(&mut self, now: Instant, items: usize) {
        self.under_way += 1;
        self.pace.sent(now, items);
    }

    /// A request that was sent then has ended.
    pub fn landed(&mut self, now: Instant, sent: Instant, mut landing: Landing) {
        self.under_way = self.under_way.saturating_sub(1);
        if landing.is_trouble() {
            self.troubles = self.troubles.saturating_add(1);
            if self.in_trouble() {
                landing.pause = landing.pause.max(landing.backoff.max(LEAST_PAUSE));
            }
        } else if landing.granted + landing.throttled > 0 {
            self.troubles = 0;
        }
        let was_paused = self.paused_until(now).is_some();
        self.pace.landed(now, sent, landing);
        if let Some(until) = self.paused_until(now)
            && !was_paused
        {
            log::pause(until - now, landing.throttled > 0);
        }
    }

    /// Whether the last requests all came to nothing, so that one at a time has to do.
    pub const fn in_trouble(&self) -> bool {
        self.troubles >= TROUBLE
    }

    /// The end of the pause, if one is on.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pace.paused_until(now)
    }

    /// All pauses so far, overlaps counted once, without what is still to come.
    pub fn paused(&self, now: Instant) -> Duration {
        self.pace.paused(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    fn trouble() -> Landing {
        Landing { lost: 20, troubled: 20, backoff: WAIT, ..Landing::default() }
    }

    fn after(count: u32, now: Instant) -> Gate {
        let mut gate = Gate::new(Pace::new(20, 8, None));
        for _ in 0..count {
            gate.sent(now, 20);
            gate.landed(now, now, trouble());
        }
        gate
    }

    #[test]
    fn a_few_failures_hold_nobody_up() {
        let now = Instant::now();
        let mut gate = after(4, now);
        assert_eq!(gate.permit(now, 100, None), Permit::Send(20));
        gate.sent(now, 20);
        assert_eq!(gate.permit(now, 100, None), Permit::Send(20));
    }

    #[test]
    fn a_run_of_failures_pauses_all_and_then_one_request_asks() {
        let now = Instant::now();
        let mut gate = after(5, now);
        assert_eq!(gate.permit(now, 100, None), Permit::At(now + WAIT));
        let later = now + WAIT;
        assert_eq!(gate.permit(later, 100, None), Permit::Send(20));
        gate.sent(later, 20);
        assert_eq!(gate.permit(later, 100, None), Permit::AfterAnswer);
        gate.landed(later, later, trouble());
        assert_eq!(gate.permit(later, 100, None), Permit::At(later + WAIT));
        assert_eq!(gate.paused(later + WAIT), 2 * WAIT);
    }

    #[test]
    fn one_answer_ends_it() {
        let now = Instant::now();
        let mut gate = after(7, now);
        let later = now + WAIT;
        gate.sent(later, 20);
        gate.landed(later, later, Landing { granted: 1, lost: 19, troubled: 19, ..Landing::default() });
        gate.sent(later, 20);
        assert_eq!(gate.permit(later, 100, None), Permit::Send(20));
    }

    #[test]
    fn what_was_withdrawn_is_no_trouble() {
        let now = Instant::now();
        let mut gate = after(4, now);
        gate.sent(now, 20);
        gate.landed(now, now, Landing::lost(20));
        assert!(!gate.in_trouble());
    }
}
