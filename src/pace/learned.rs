//! What exhaustions of the quota tell of its rate.
//!
//! The first one tells how much was granted until then. Had the service given it evenly up to the end of the pause, its
//! rate would be `granted / time`. That is right where the quota is a fixed window, or a bucket as large as what refills
//! during the pause; too much where the bucket is larger, and too little where it is smaller. It is taken for a guess.
//!
//! From one exhaustion to the next, what was granted is what was refilled. So the average is the rate where the bucket
//! holds what refills during a pause, and too little where it does not: where it is smaller, or the quota a window that
//! ended meanwhile. Then the rate is nearer to the one at which it was refused. Which of the two it is shows when that
//! higher rate is tried: if the average comes out the same, the average is the rate.

use std::time::Duration;

use tokio::time::Instant;

/// How much of a rate is used: the rest fills a small reserve that keeps the next 429 away.
const HOLD: f64 = 0.985;
/// The probe upwards: `exp((seconds / scale)^4)` times as much. So many seconds after a guess,
const GUESS_SCALE: f64 = 14.0;
/// so many after a measurement,
const SCALE: f64 = 20.0;
/// and so many times as long as the rate was held before it was refused: a rate that lasts is rarely probed.
const SLOWER: f64 = 2.0;
/// A flow that was held at least this long tells something of the rate by itself.
const STEADY_AFTER: Duration = Duration::from_secs(1);
/// The rate at which such a flow was refused is worth a try where it is so many times the average.
const WORTH_TRYING: f64 = 1.2;
/// How much of it is tried.
const TRY: f64 = 0.92;
/// Two averages that differ by no more than this share agree.
const AGREE: f64 = 0.1;
/// A sure rate stays sure while no average is smaller than this share of it.
const STAYS: f64 = 0.8;
/// A rate at which an item is refused now and then is lowered by this,
const EASE: f64 = 0.985;
/// or by this if that came within so many pauses; then less of what should have refilled is spent, too.
const EASE_EARLY: (f64, f64) = (0.95, 3.0);
/// Even where nothing was granted there is something to try with.
const LEAST: f64 = 0.05;

/// The time since the quota was last seen exhausted.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// When the last request before that was sent; in the first epoch, when the first request was sent.
    pub since: Instant,
    /// What was granted since.
    pub granted: f64,
    /// From when on hardly more was sent than the rate.
    pub steady_since: Option<Instant>,
    /// Whether there was none before.
    pub is_first: bool,
}

impl Epoch {
    /// From the first request on.
    pub const fn first(since: Instant) -> Self {
        Self { since, granted: 0.0, steady_since: None, is_first: true }
    }

    /// From an exhaustion on.
    pub const fn after(since: Instant) -> Self {
        Self { is_first: false, ..Self::first(since) }
    }

    /// Items a second, until then.
    pub fn average(&self, until: Instant) -> f64 {
        self.granted / until.saturating_duration_since(self.since).as_secs_f64().max(1e-3)
    }
}

/// What a rate rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Basis {
    /// The first exhaustion.
    Guess,
    /// An average.
    Average,
    /// The rate that was refused when this was the average; it is being tried.
    Trial { average: f64 },
    /// An average that came out the same when more was tried.
    Sure,
}

/// A rate, and how it is used.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    /// Items a second.
    pub per_second: f64,
    basis: Basis,
    /// Which share of what should have refilled during a pause is believed to be there.
    refills: f64,
    /// Seconds after which the probe gains speed.
    scale: f64,
}

impl Learned {
    /// What an epoch tells that has ended, after what was held before and since when.
    pub fn from_epoch(
        before: Option<(Self, Instant)>,
        epoch: &Epoch,
        ended: Instant,
        pause: Duration,
    ) -> Self {
        match before {
            Some((before, since)) => before.next(since, epoch, ended, pause),
            None => {
                let per_second = epoch.average(ended + pause).max(LEAST);
                Self { per_second, basis: Basis::Guess, refills: 1.0, scale: GUESS_SCALE }
            }
        }
    }

    fn next(self, since: Instant, epoch: &Epoch, ended: Instant, pause: Duration) -> Self {
        let average = epoch.average(ended);
        let held_for = ended.saturating_duration_since(since);
        let refused_at = self.probing(ended, since);
        let is_steady =
            epoch.steady_since.is_some_and(|steady| ended.saturating_duration_since(steady) >= STEADY_AFTER);
        let agrees = |other: f64| (average / other - 1.0).abs() < AGREE;
        let (per_second, basis, refills) = match self.basis {
            Basis::Trial { average: before } if agrees(before) => (average, Basis::Sure, 1.0),
            Basis::Sure if average > STAYS * self.per_second => (average, Basis::Sure, 1.0),
            _ if is_steady && refused_at > WORTH_TRYING * average => {
                (TRY * refused_at, Basis::Trial { average }, 0.0)
            }
            Basis::Guess => (average, Basis::Average, self.refills),
            _ if average >= self.per_second => (average, Basis::Average, self.refills),
            _ => {
                // The shorter it was held, the more of the time was the pause, in which nothing could be granted.
                let trust = held_for.as_secs_f64() / (held_for + pause).as_secs_f64().max(1e-3);
                let per_second = self.per_second.powf(1.0 - trust) * average.powf(trust);
                (per_second, Basis::Average, self.refills)
            }
        };
        let scale = self.scale.max(SCALE).max(SLOWER * held_for.as_secs_f64());
        Self { per_second: per_second.max(LEAST), basis, refills, scale }
    }

    /// An item was refused before the quota could be exhausted, for all that is known.
    pub fn eased(self, now: Instant, since: Instant, pause: Duration) -> Self {
        let (early, pauses) = EASE_EARLY;
        let is_early = now.saturating_duration_since(since) < pause.mul_f64(pauses);
        let (ease, refills) = if is_early { (early, 0.5 * self.refills) } else { (EASE, self.refills) };
        // The probe starts anew, from where it had come to.
        let per_second = (ease * self.probing(now, since) / HOLD).max(LEAST);
        Self { per_second, basis: Basis::Average, refills, ..self }
    }

    /// The rate that is held at this time, if nothing was throttled since then.
    pub fn probing(&self, now: Instant, since: Instant) -> f64 {
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        self.per_second * HOLD * (seconds / self.scale).powi(4).min(50.0).exp()
    }

    /// What can be spent after a pause.
    pub fn refilled(&self, pause: Duration) -> f64 {
        self.refills * self.per_second * pause.as_secs_f64()
    }

    /// Whether nothing was measured yet.
    pub fn is_guess(&self) -> bool {
        self.basis == Basis::Guess
    }
}
