//! When the sending has to end so that the run is over in time.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time that is set aside for answers.
const MOST_MARGIN: Duration = Duration::from_secs(2);
/// No more than this share of the whole time is set aside.
const MOST_SHARE: f64 = 0.25;

/// A time at which the run is over, whatever is under way then.
///
/// What was sent and not answered by then would end as unknown. So the last request leaves early enough to be answered,
/// going by how long the slowest of the last ones took.
#[derive(Clone, Debug)]
pub struct Deadline {
    limit: Duration,
    start: Instant,
    slowest: Duration,
}

impl Deadline {
    /// So long from now.
    pub const fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, start: now, slowest: Duration::ZERO }
    }

    /// A request took so long.
    pub fn took(&mut self, time: Duration) {
        self.slowest = time.max(self.slowest.mul_f64(0.9));
    }

    /// The whole time.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// When the run is over.
    pub fn end(&self) -> Instant {
        self.start + self.limit
    }

    /// When the last request may leave.
    pub fn last_call(&self) -> Instant {
        let margin = self.slowest.mul_f64(2.0).min(MOST_MARGIN).min(self.limit.mul_f64(MOST_SHARE));
        self.end() - margin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_twice_the_slowest_of_the_last_trips_within_bounds() {
        let now = Instant::now();
        let seconds = Duration::from_secs_f64;
        for (limit, trip, margin) in [(60.0, 0.1, 0.2), (60.0, 30.0, 2.0), (2.0, 1.0, 0.5)] {
            let mut deadline = Deadline::new(seconds(limit), now);
            assert_eq!(deadline.last_call(), deadline.end());
            deadline.took(seconds(trip));
            assert_eq!(deadline.end() - deadline.last_call(), seconds(margin));
            (0..100).for_each(|_| deadline.took(seconds(0.001)));
            assert_eq!(deadline.end() - deadline.last_call(), seconds(0.002), "an old slow one is forgotten");
        }
    }
}
