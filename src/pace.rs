//! When the next request may go: the shared pause that a throttled answer asks for. Pure, the clock is handed in.

use std::time::Duration;

use tokio::time::Instant;

/// One pause for all items of a run; the longest wait asked for wins.
#[derive(Debug, Default)]
pub struct Pace {
    paused_until: Option<Instant>,
    paused: Duration,
}

impl Pace {
    /// The service asked to wait this long from now on.
    pub fn pause(&mut self, now: Instant, wait: Duration) {
        let until = now + wait;
        let already = self.paused_until.filter(|end| *end > now).unwrap_or(now);
        if until > already {
            self.paused += until - already;
            self.paused_until = Some(until);
        }
    }

    /// The end of the pause, if one is on.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// All pauses so far, overlaps counted once, without what is still to come.
    pub fn paused(&self, now: Instant) -> Duration {
        self.paused - self.paused_until(now).map_or(Duration::ZERO, |until| until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_wins_and_overlaps_count_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.paused_until(start), None);
        pace.pause(start, Duration::from_secs(10));
        pace.pause(at(2), Duration::from_secs(3));
        assert_eq!(pace.paused_until(at(2)), Some(at(10)));
        pace.pause(at(4), Duration::from_secs(8));
        assert_eq!(pace.paused_until(at(4)), Some(at(12)));
        assert_eq!(pace.paused(at(4)), Duration::from_secs(4));
        assert_eq!(pace.paused_until(at(12)), None);
        pace.pause(at(20), Duration::from_secs(1));
        assert_eq!(pace.paused(at(30)), Duration::from_secs(13));
    }
}
