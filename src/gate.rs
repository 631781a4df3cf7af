//! What all calls of one kind share on a client: the pace, and one request at a time while the service is in trouble.

use std::time::Duration;

use tokio::time::Instant;

use crate::landing::Landing;
use crate::log;
use crate::pace::{Pace, Permit};

/// So many requests in a row that came to nothing are no accident of one of them.
const TROUBLE: u32 = 5;
/// Every so many-th request that asks has as many items as it may.
const EACH: u32 = 3;
/// The shortest pause while there is trouble: the back-off of an item is drawn at random, down to nothing.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Decides whether a request may leave.
///
/// A service that fails one request after the other gains nothing from a full window of them, and every one of them
/// would use up a retry of its items. So all wait, as long as the items of the last request have to wait anyway; then a
/// single request asks how things are, until one is answered. A batch may fail for one of its items, however well the
/// service is, so two of three requests that ask have a single one.
#[derive(Debug)]
pub struct Gate {
    pace: Pace,
    under_way: usize,
    troubles: u32,
    /// Requests that have asked since the trouble began.
    asked: u32,
    /// Whether the next request that asks, and the last one that did, has but one item of those that wait.
    small: [bool; 2],
    /// Requests that were answered well.
    answered: u64,
}

impl Gate {
    /// A gate in front of this pace.
    pub const fn new(pace: Pace) -> Self {
        Self { pace, under_way: 0, troubles: 0, asked: 0, small: [false; 2], answered: 0 }
    }

    /// What may be sent now, of `ready` items that wait; `left` is how many are to be sent in all, where that is known.
    pub fn permit(&mut self, now: Instant, ready: usize, left: Option<usize>) -> Permit {
        if self.in_trouble() && self.under_way > 0 {
            return Permit::AfterAnswer;
        }
        let is_small = self.in_trouble() && ready > 1 && !(self.asked + 1).is_multiple_of(EACH);
        let [next, _] = &mut self.small;
        *next = is_small;
        self.pace.permit(now, if is_small { 1 } else { ready }, left)
    }

    /// So many items were sent in one request.
    pub fn sent(&mut self, now: Instant, items: usize) {
        self.under_way += 1;
        let [next, last] = &mut self.small;
        *last = *next;
        self.asked = if self.in_trouble() { self.asked.saturating_add(1) } else { 0 };
        self.pace.sent(now, items);
    }

    /// A request that was sent then has ended.
    pub fn landed(&mut self, now: Instant, sent: Instant, mut landing: Landing) {
        self.under_way = self.under_way.saturating_sub(1);
        if landing.is_trouble() {
            // Until items by themselves and a batch have asked in vain, it may be that only some items are in trouble.
            let [_, was_small] = self.small;
            let wait = if self.is_down() && !was_small { landing.backoff } else { Duration::ZERO };
            self.troubles = self.troubles.saturating_add(1);
            if self.in_trouble() {
                landing.pause = landing.pause.max(wait.max(LEAST_PAUSE));
            }
        } else if landing.granted + landing.throttled > 0 {
            (self.troubles, self.answered) = (0, self.answered + 1);
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

    /// How many requests were answered well so far.
    pub const fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether the trouble is no accident of some items: those that ask by themselves come to nothing, too.
    pub const fn is_down(&self) -> bool {
        self.in_trouble() && self.asked >= EACH
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
    fn a_run_of_failures_pauses_all_and_then_one_request_at_a_time_asks() {
        let mut now = Instant::now();
        let mut gate = after(5, now);
        // Whether it is for some items is found out soon; then it is the service, and it gets its time.
        for (most, wait) in
            [(1, LEAST_PAUSE), (1, LEAST_PAUSE), (20, LEAST_PAUSE), (1, WAIT), (1, LEAST_PAUSE)]
        {
            assert_eq!(gate.permit(now, 100, None), Permit::At(now + wait));
            now += wait;
            assert_eq!(gate.permit(now, 100, None), Permit::Send(most));
            gate.sent(now, most);
            assert_eq!(gate.permit(now, 100, None), Permit::AfterAnswer);
            gate.landed(now, now, trouble());
        }
        assert_eq!(gate.paused(now), WAIT + 4 * LEAST_PAUSE);
    }

    #[test]
    fn a_client_without_batches_waits_after_each() {
        let mut now = Instant::now();
        let mut gate = after(5, now);
        for wait in [LEAST_PAUSE, LEAST_PAUSE, LEAST_PAUSE, WAIT, WAIT, WAIT] {
            assert_eq!(gate.permit(now, 1, None), Permit::At(now + wait));
            now += wait;
            assert_eq!(gate.permit(now, 1, None), Permit::Send(1));
            gate.sent(now, 1);
            gate.landed(now, now, trouble());
        }
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
