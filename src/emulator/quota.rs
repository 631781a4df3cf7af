//! Quota arithmetic: a token bucket and fixed windows as values, the clock handed in.

use std::time::Duration;

use super::settings::{Quota, QuotaModel};

/// What a quota says about one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The call may run; `used` is the share of the quota that is taken, this call included.
    Granted { used: f64 },
    /// The call is refused, for `wait`.
    Throttled { wait: Duration, used: f64 },
}

/// A quota with its present level.
#[derive(Debug)]
pub(super) struct Meter {
    quota: Quota,
    /// What one call costs. Each nanosecond of a bucket brings back `quota.calls`, so all stays exact in integers.
    cost: i128,
    /// What may be spent before anything is refused.
    capacity: i128,
    /// What is spent; above the capacity once throttled calls count.
    spent: i128,
    /// When `spent` was last brought up to date: nanoseconds since the start, or the number of the window.
    at: i128,
    /// The wait that was last announced: from, until.
    pause: Option<(Duration, Duration)>,
}

impl Meter {
    /// A meter with nothing spent.
    pub(super) fn new(quota: Quota) -> Self {
        // No period at all would divide by zero; a nanosecond is as good as none.
        let quota = Quota { calls: quota.calls.max(1), per: quota.per.max(Duration::from_nanos(1)), ..quota };
        let calls = i128::from(quota.calls);
        let (cost, capacity) = match quota.model {
            QuotaModel::Bucket { burst } => (nanos(quota.per), i128::from(burst.max(1)) * nanos(quota.per)),
            QuotaModel::Window => (1, calls),
        };
        Self { quota, cost, capacity, spent: 0, at: 0, pause: None }
    }

    /// Charges one call that arrives `now` after the start.
    pub(super) fn take(&mut self, now: Duration) -> Verdict {
        self.refill(now);
        if self.spent + self.cost <= self.capacity {
            self.spent += self.cost;
            return Verdict::Granted { used: self.used() };
        }
        if self.quota.throttled_calls_count {
            // "Requests made while throttled still count" (Graph throttling guidance); the debt is bounded.
            self.spent = (self.spent + self.cost).min(2 * self.capacity);
        }
        let wait = self.quota.wait.unwrap_or_else(|| self.until_next(now));
        // A running pause keeps its beginning, else a further refusal would hide that the next call is early too.
        let from = self.pause.filter(|(_, until)| now < *until).map_or(now, |(from, _)| from.min(now));
        self.pause = Some((from, now.saturating_add(wait)));
        Verdict::Throttled { wait, used: self.used() }
    }

    /// Refuses like `take` if nothing is left; otherwise charges nothing.
    pub(super) fn refuse_if_empty(&mut self, now: Duration) -> Option<Verdict> {
        self.refill(now);
        (self.spent + self.cost > self.capacity).then(|| self.take(now))
    }

    /// Whether a wait that was announced earlier is still running.
    pub(super) fn pausing(&self, now: Duration) -> bool {
        self.pause.is_some_and(|(from, until)| from < now && now < until)
    }

    fn refill(&mut self, now: Duration) {
        let calls = i128::from(self.quota.calls);
        let tick = match self.quota.model {
            QuotaModel::Bucket { .. } => nanos(now),
            QuotaModel::Window => nanos(now) / nanos(self.quota.per),
        };
        // Two threads may hand in their times out of order.
        let passed = (tick - self.at).max(0);
        self.at += passed;
        self.spent = (self.spent - passed * calls).max(0);
    }

    fn until_next(&self, now: Duration) -> Duration {
        let calls = i128::from(self.quota.calls);
        let excess = self.spent + self.cost - self.capacity;
        let ticks = (excess + calls - 1) / calls;
        let wait = match self.quota.model {
            QuotaModel::Bucket { .. } => ticks,
            QuotaModel::Window => (self.at + ticks) * nanos(self.quota.per) - nanos(now),
        };
        Duration::from_nanos(u64::try_from(wait.max(0)).unwrap_or(u64::MAX))
    }

    fn used(&self) -> f64 {
        self.spent as f64 / self.capacity as f64
    }
}

fn nanos(of: Duration) -> i128 {
    i128::try_from(of.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The wait in milliseconds, or None if granted.
    fn take(meter: &mut Meter, millis: u64) -> Option<u128> {
        match meter.take(at(millis)) {
            Verdict::Granted { .. } => None,
            Verdict::Throttled { wait, .. } => Some(wait.as_millis()),
        }
    }

    fn run(quota: Quota, calls: &[(u64, Option<u128>)]) {
        let mut meter = Meter::new(quota);
        for (step, (millis, expected)) in calls.iter().enumerate() {
            assert_eq!(take(&mut meter, *millis), *expected, "step {step} of {quota:?}");
        }
    }

    #[test]
    fn a_bucket_grants_its_burst_and_then_its_rate() {
        let quota = Quota { model: QuotaModel::Bucket { burst: 2 }, ..Quota::bucket(10, at(1000)) };
        run(
            quota,
            &[(0, None), (0, None), (0, Some(100)), (40, Some(60)), (100, None), (199, Some(1)), (200, None)],
        );
        // A long rest fills it no further than the burst.
        run(quota, &[(60_000, None), (60_000, None), (60_000, Some(100))]);
    }

    #[test]
    fn a_window_starts_anew_at_its_boundary() {
        let quota = Quota::window(2, at(1000));
        run(
            quota,
            &[(100, None), (900, None), (900, Some(100)), (1000, None), (1999, None), (1999, Some(1))],
        );
    }

    #[test]
    fn throttled_calls_prolong_the_wait_when_they_count() {
        let bucket = Quota { throttled_calls_count: true, ..Quota::bucket(1, at(1000)) };
        run(bucket, &[(0, None), (0, Some(2000)), (0, Some(2000)), (1000, Some(2000)), (3000, None)]);
        let window = Quota { throttled_calls_count: true, ..Quota::window(1, at(1000)) };
        run(window, &[(0, None), (500, Some(1500)), (2000, None)]);
    }

    #[test]
    fn a_set_wait_replaces_the_computed_one() {
        run(Quota { wait: Some(at(7000)), ..Quota::bucket(1, at(1000)) }, &[(0, None), (0, Some(7000))]);
    }

    #[test]
    fn time_running_backwards_between_threads_does_no_harm() {
        run(Quota::bucket(1, at(1000)), &[(5000, None), (4990, Some(1000)), (6000, None)]);
    }

    #[test]
    fn the_share_and_the_pause_are_told() {
        let mut meter = Meter::new(Quota::bucket(4, at(1000)));
        assert_eq!(meter.take(at(0)), Verdict::Granted { used: 0.25 });
        assert_eq!(meter.refuse_if_empty(at(0)), None);
        for _ in 0..3 {
            meter.take(at(0));
        }
        assert!(!meter.pausing(at(0)));
        let throttled = Verdict::Throttled { wait: at(250), used: 1.0 };
        assert_eq!(meter.refuse_if_empty(at(0)), Some(throttled));
        assert!(!meter.pausing(at(0)), "the call that brought the pause is not early");
        assert!(meter.pausing(at(100)));
        meter.take(at(100));
        assert!(meter.pausing(at(100)), "so is each further part of a batch");
        assert!(!meter.pausing(at(250)));
    }
}
