//! How fast to send: pure, the clock is handed in.
//!
//! The quota of entitlement management is not published, so it is learned.
//!
//! 1. **Start.** A window of three batches, until it was granted a few times; then it grows fast to the full one. A
//!    small quota shows early and wastes little, a large one or none costs a few round trips.
//! 2. **First 429.** One pause for all. Nothing is known yet but how much was granted until then; had the service given
//!    it evenly up to the end of the pause, its rate would be `granted / time`. That is right where the quota is a fixed
//!    window, or a bucket as large as what refills during the pause, and too much where the bucket is larger. It is
//!    taken for a guess, and what it allows is sent in a window that grows again from one batch.
//! 3. **Further 429s.** From one exhaustion of the quota to the next, what was granted is what was refilled. What
//!    refilled during the pause is spent, then the rate is held, a little below, with a probe upwards that gains speed
//!    as long as nothing is throttled. Two estimates that agree make the rate known, and the probe gentler.
//!
//! The simulation beside this file measures it against services of every kind.

use std::time::Duration;

use tokio::time::Instant;

use crate::landing::Landing;

/// Batches in the first window at the most,
const FIRST_WINDOW: f64 = 3.0;
/// and its share of the full one.
const FIRST_SHARE: f64 = 0.5;
/// The window stays so small until it was granted this often. A small quota shows within that time, and then wastes no
/// more than the small window; without one, these round trips are lost.
const FIRST_WINDOWS: f64 = 4.7;
/// Then it grows by this share of itself in each round trip.
const GROWTH: f64 = 2.0;
/// After the first pause it grows from one batch by this share of a batch in each round trip.
const CAREFUL_GROWTH: f64 = 0.5;
/// Items that count as a batch for the window, also where requests are smaller: the quota counts items.
const LUMP: f64 = 20.0;
/// After a pause that was too short the next one is longer by this,
const PATIENCE: f64 = 1.5;
/// but no longer than this.
const MOST_PATIENCE: Duration = Duration::from_secs(8);
/// How much of a known rate is used: the rest fills a small reserve that keeps the next 429 away.
const HOLD: f64 = 0.995;
/// The same for a guessed rate.
const HOLD_GUESS: f64 = 0.975;
/// How much of what refilled during a pause is spent at once; the estimate of it is never exact.
const SPEND: f64 = 0.9;
/// Upward probe of a known rate: `exp(PROBE * seconds²)` times as much, so hardly anything for a minute.
const PROBE: f64 = 4e-6;
/// Upward probe of a guessed rate: `exp((seconds / GUESS_PROBE)^4)` times as much. A guess is too high or right unless
/// the burst is smaller than what refills during a pause; for that case it gains speed, later but sooner than above.
const GUESS_PROBE: f64 = 18.0;
/// Two estimates in a row that differ by no more than this share make a rate known.
const AGREE: f64 = 0.15;
/// A flow that was held at least this long, after what had refilled was spent, tells the rate by itself.
const STEADY_AFTER: Duration = Duration::from_secs(1);
/// An estimate that is smaller than the one before by this factor is a fall;
const FALLING: f64 = 0.7;
/// so many in a row are no quota.
const MOST_FALLS: u32 = 3;
/// Until so large a share is refused that there must be one all the same.
const ALL_REFUSED: f64 = 0.9;
/// Where a larger share of the last items was refused, the quota is exhausted.
const EXHAUSTED: f64 = 0.25;
/// A rate at which an item is refused now and then is lowered by this.
const EASE: f64 = 0.985;
/// It counts where it says this much more than the average since the last 429, which misses what ran over meanwhile.
const OVERFLOW: f64 = 1.3;
/// A known rate does not fall further than this at once: one odd interval is no proof.
const FALL: f64 = 0.6;
/// A request carries what this much time allows, so that a slow quota is not hit by a full batch at a time.
const BATCH_TIME: f64 = 0.05;
/// Unused allowance is kept for this long, or for the last pause if that was longer.
const KEEP: Duration = Duration::from_secs(1);
/// From this value on, `x-ms-throttle-limit-percentage` says that the limit is near
/// (<https://learn.microsoft.com/graph/throttling-limits>: sent only above 0.8).
const NEAR: f64 = 0.8;

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Permit {
    /// Send so many items at the most, in one request.
    Send(usize),
    /// Not before then.
    At(Instant),
    /// Not before an answer comes.
    AfterAnswer,
}

/// The rate that is held.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    known: bool,
}

/// The time since the quota was last seen exhausted.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    since: Instant,
    granted: f64,
    /// From when on the flow was held, and what was granted since.
    steady: Option<(Instant, f64)>,
}

/// How fast to send to one service; shared by all calls of a client.
#[derive(Debug)]
pub struct Pace {
    batch: f64,
    first: f64,
    careful: f64,
    full_window: f64,
    ceiling: Option<f64>,
    window: f64,
    granted: f64,
    in_flight: f64,
    paused_until: Option<Instant>,
    paused: Duration,
    last_pause: Duration,
    /// Estimates in a row that were much smaller than the one before.
    falls: u32,
    /// Whether the service refuses some items and not others, without a quota to be seen.
    is_picky: bool,
    /// Of the last items or so, the share that was throttled.
    refused_share: f64,
    /// Pauses in a row after which nothing was granted.
    in_vain: u32,
    started: Option<Instant>,
    epoch: Option<Epoch>,
    /// The epoch before, until all its requests are back.
    closing: Option<(Epoch, Instant)>,
    rate: Option<Rate>,
    resumed: Option<Instant>,
    allowance: f64,
    ceiling_allowance: f64,
    counted: Option<Instant>,
}

impl Pace {
    /// A pace for requests of up to `batch` items, `concurrency` at a time, and with an upper limit of items a second
    /// where one was asked for.
    pub fn new(batch: usize, concurrency: usize, ceiling: Option<f64>) -> Self {
        let (batch, concurrency) = (batch.max(1) as f64, concurrency.max(1) as f64);
        let full_window = batch * concurrency;
        let first = (FIRST_WINDOW * batch.max(LUMP)).min((FIRST_SHARE * full_window).max(batch));
        let careful = batch.max(LUMP / 1.5).min(full_window);
        Self {
            batch,
            first,
            careful,
            full_window,
            ceiling,
            window: first,
            granted: 0.0,
            in_flight: 0.0,
            paused_until: None,
            paused: Duration::ZERO,
            last_pause: Duration::ZERO,
            falls: 0,
            is_picky: false,
            refused_share: 0.0,
            in_vain: 0,
            started: None,
            epoch: None,
            closing: None,
            rate: None,
            resumed: None,
            allowance: 0.0,
            ceiling_allowance: 0.0,
            counted: None,
        }
    }

    /// What may be sent now, of `ready` items that wait.
    pub fn permit(&mut self, now: Instant, ready: usize) -> Permit {
        if let Some(until) = self.paused_until(now) {
            return Permit::At(until);
        }
        self.settle(now);
        self.accrue(now);
        // After a pause that was too short, one item is enough to ask with.
        let most = if self.in_vain > 0 { 1.0 } else { self.request_size() };
        if self.in_vain > 0 && self.in_flight > 0.0 {
            return Permit::AfterAnswer;
        }
        let wanted = (ready as f64).min(most);
        if let Some(at) = self.short_of(now, wanted) {
            if let Some(epoch) = self.epoch.as_mut().filter(|_| self.resumed.is_some()) {
                epoch.steady.get_or_insert((now, 0.0));
            }
            return Permit::At(at);
        }
        let room = (self.window - self.in_flight).floor();
        // What is less than a request is left to grow, or a window would end in a row of small ones.
        if room < wanted && self.in_flight > 0.0 {
            return Permit::AfterAnswer;
        }
        Permit::Send(wanted.min(room.max(1.0)).max(1.0) as usize)
    }

    /// So many items were sent in one request.
    pub fn sent(&mut self, now: Instant, items: usize) {
        let items = items as f64;
        self.started.get_or_insert(now);
        self.in_flight += items;
        self.allowance -= items;
        self.ceiling_allowance -= items;
    }

    /// A request that was sent then has ended.
    pub fn landed(&mut self, now: Instant, sent: Instant, landing: Landing) {
        let (granted, throttled) = (landing.granted as f64, landing.throttled as f64);
        self.in_flight = (self.in_flight - granted - throttled - landing.lost as f64).max(0.0);
        self.count_granted(sent, granted);
        let forgotten = (1.0 - 1.0 / LUMP).powf(granted + throttled);
        self.refused_share =
            self.refused_share * forgotten + (1.0 - forgotten) * throttled / (granted + throttled).max(1.0);
        self.pause(now, landing.pause);
        if granted > 0.0 && self.in_vain > 0 {
            // It grants again: what has refilled since it stopped can be spent.
            self.in_vain = 0;
            if let (Some(rate), Some(epoch)) = (self.rate, self.epoch) {
                self.allowance = SPEND * rate.per_second * (now - epoch.since).as_secs_f64();
            }
        }
        if let Some(wait) = landing.wait {
            self.throttled(now, sent, wait);
        } else if landing.near_limit.is_some_and(|share| share >= NEAR) {
            // A step back for each answer that warns, a larger one the nearer the limit is.
            let share = landing.near_limit.unwrap_or(NEAR).min(1.8);
            self.window =
                (self.window * (1.0 - 0.1 * (share - NEAR + 0.5))).max(self.batch.min(self.full_window));
        } else if landing.lost == 0 {
            self.grow(granted);
        }
    }

    fn pause(&mut self, now: Instant, wait: Duration) {
        let until = now + wait;
        let already = self.paused_until(now).unwrap_or(now);
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

    /// How many items a request carries at the most: fewer where the quota trickles.
    fn request_size(&self) -> f64 {
        let slowest = [self.rate.map(|rate| rate.per_second), self.ceiling];
        slowest
            .into_iter()
            .flatten()
            .fold(self.batch, |size, rate| size.min((rate * BATCH_TIME).ceil()))
            .max(1.0)
    }

    /// A full window of grants grows it once.
    fn grow(&mut self, granted: f64) {
        self.granted += granted;
        let step = match self.rate {
            None if self.granted <= FIRST_WINDOWS * self.first => 0.0,
            None => GROWTH * self.window,
            Some(_) => CAREFUL_GROWTH * self.careful,
        };
        self.window = (self.window + step * granted / self.window.max(1.0)).min(self.full_window);
    }

    /// Grants of requests that left before the quota was seen exhausted belong to the epoch before.
    fn count_granted(&mut self, sent: Instant, granted: f64) {
        match (&mut self.epoch, &mut self.closing) {
            (Some(epoch), Some((before, _))) if sent <= epoch.since => before.granted += granted,
            (Some(epoch), _) if sent > epoch.since => {
                epoch.granted += granted;
                if let Some((since, held)) = &mut epoch.steady
                    && sent > *since
                {
                    *held += granted;
                }
            }
            (Some(_), _) => {}
            (None, _) => {
                let since = self.started.unwrap_or(sent);
                self.epoch = Some(Epoch { since, granted, steady: None });
                // Before the first 429 there is one epoch, and every request belongs to it.
                if let Some(epoch) = &mut self.epoch {
                    epoch.since = since.checked_sub(Duration::from_nanos(1)).unwrap_or(since);
                }
            }
        }
    }

    /// Whether the service refuses much of what it is sent.
    fn is_exhausted(&self) -> bool {
        self.refused_share > EXHAUSTED
    }

    fn throttled(&mut self, now: Instant, sent: Instant, wait: Duration) {
        let was_running = self.paused_until(now).is_none();
        self.pause(now, wait);
        let Some(epoch) = self.epoch else { return };
        // The rest of the window that met the same exhaustion tells nothing new.
        if sent <= epoch.since {
            self.last_pause = self.last_pause.max(wait);
            return;
        }
        if epoch.granted < 1.0 && (self.in_vain > 0 || self.is_exhausted()) {
            // Nothing granted tells nothing of the rate, only that the pause, if there was one, was too short.
            self.in_vain += 1;
            let longer = self.last_pause.mul_f64(PATIENCE).clamp(wait, MOST_PATIENCE.max(wait));
            self.pause(now, longer);
            self.last_pause = longer;
            return;
        }
        self.is_picky &= self.refused_share < ALL_REFUSED;
        if !self.is_exhausted() || self.is_picky {
            // Here and there one is refused, the rest goes through: a wait for all, but no measure of a quota.
            if let (Some(rate), Some(resumed), true) = (self.rate, self.resumed, was_running) {
                // From here the probe starts anew, a little below where it had come to.
                let held = self.held(rate, now.saturating_duration_since(resumed));
                let hold = if rate.known { HOLD } else { HOLD_GUESS };
                // Only now and then one too many: so the rate is about right.
                self.rate = Some(Rate { per_second: EASE * held / hold, known: true });
                self.resumed = Some(now);
            }
            return;
        }
        self.refused_share = 0.0;
        self.closing = Some((epoch, now));
        self.epoch = Some(Epoch { since: now, granted: 0.0, steady: None });
        self.last_pause = wait;
    }

    /// After a pause, when the window that met it is back: learn from it, and start anew.
    fn settle(&mut self, now: Instant) {
        let Some((epoch, ended)) = self.closing.take() else { return };
        let pause = self.last_pause.as_secs_f64();
        let lasted = (ended - epoch.since).as_secs_f64().max(1e-3);
        let rate = match self.rate {
            None => Rate { per_second: epoch.granted / (lasted + pause), known: false },
            Some(before) => {
                let average = epoch.granted / lasted;
                let held = epoch.steady.map_or(0.0, |(since, granted)| {
                    let seconds = ended.saturating_duration_since(since);
                    if seconds >= STEADY_AFTER { granted / seconds.as_secs_f64() } else { 0.0 }
                });
                let floor = if before.known { FALL * before.per_second } else { 0.0 };
                let held = if held > OVERFLOW * average { held } else { 0.0 };
                let per_second = average.max(held).max(floor);
                Rate { per_second, known: (per_second / before.per_second - 1.0).abs() <= AGREE }
            }
        };
        let falls = self.rate.is_some_and(|before| rate.per_second < FALLING * before.per_second);
        self.falls = if falls { self.falls + 1 } else { 0 };
        if self.falls >= MOST_FALLS {
            // A quota is found in one or two steps. What seems to shrink with every step is none: the service refuses
            // some items and not others, and a wait is all that it asks for.
            (self.falls, self.rate, self.resumed, self.is_picky) = (0, None, None, true);
            self.window = self.full_window;
            return;
        }
        // Even where nothing was granted there is something to try with.
        let per_second = rate.per_second.max(0.05);
        self.rate = Some(Rate { per_second, ..rate });
        self.resumed = Some(now);
        // The bucket may be no larger than what refills during the pause that was asked for.
        self.allowance = SPEND * per_second * pause;
        self.counted = Some(now);
        self.window = if rate.known {
            // Known well enough to spend what refilled without feeling the way.
            self.full_window
        } else {
            self.careful
        };
    }

    /// The rate that is held after this long without a 429.
    fn held(&self, rate: Rate, steady: Duration) -> f64 {
        let seconds = steady.as_secs_f64();
        let (hold, probe) = if rate.known {
            (HOLD, PROBE * seconds.powi(2))
        } else {
            (HOLD_GUESS, (seconds / GUESS_PROBE).powi(4))
        };
        rate.per_second * hold * probe.min(50.0).exp()
    }

    fn accrue(&mut self, now: Instant) {
        let before = self.counted.replace(now).unwrap_or(now);
        let seconds = now.saturating_duration_since(before).as_secs_f64();
        if let (Some(rate), Some(resumed)) = (self.rate, self.resumed) {
            let held = self.held(rate, now.saturating_duration_since(resumed));
            let kept = held * KEEP.max(self.last_pause).as_secs_f64() + self.batch;
            self.allowance = (self.allowance + held * seconds).min(kept);
        }
        if let Some(ceiling) = self.ceiling {
            let size = self.request_size();
            self.ceiling_allowance = match self.started {
                Some(_) => (self.ceiling_allowance + ceiling * seconds).min(size),
                None => size,
            };
        }
    }

    /// When there is enough for a request of this size, if there is not yet.
    fn short_of(&self, now: Instant, wanted: f64) -> Option<Instant> {
        let rate = self
            .rate
            .zip(self.resumed)
            .map(|(rate, resumed)| (self.held(rate, now.saturating_duration_since(resumed)), self.allowance));
        let ceiling = self.ceiling.map(|ceiling| (ceiling, self.ceiling_allowance));
        let wait = [rate, ceiling]
            .into_iter()
            .flatten()
            .map(|(per_second, allowance)| (wanted - allowance) / per_second.max(1e-6))
            .fold(0.0, f64::max);
        // Rounding must not let a request wait for a billionth of an item.
        (wait > 1e-6).then(|| now + Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX / 4))
    }
}

#[cfg(test)]
mod simulation;
