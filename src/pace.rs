//! How fast to send: pure, the clock is handed in.
//!
//! The quota of entitlement management is not published, so it is learned.
//!
//! 1. **Start.** A window of three batches, until it was granted a few times; then it grows fast to the full one
//!    (`window`). A small quota shows early and wastes little, a large one or none costs a few round trips.
//! 2. **429.** One pause for all. What was granted from one exhaustion of the quota to the next is what was refilled, so
//!    each 429 measures the rate; the first one only lets it be guessed (`learned`).
//! 3. **Between them** the rate is held, a little below, with a probe upwards that gains speed as long as nothing is
//!    throttled. What refilled during the pause is spent over the next seconds, not at once: a bucket loses nothing by
//!    that, and windows do not run over.
//! 4. **At the end** nothing is probed. A 429 costs no time while there is more to send than refills meanwhile; the last
//!    one would cost a whole pause.
//!
//! Some services have no quota and refuse all the same. Who is refused shows it (`memory`), or that it keeps happening
//! before the rate lets expect it: then the waits are kept and nothing else.
//!
//! Times are those of sending. When the service looks at a request is not known, but as long as it does so at the same
//! point of each, the time between two looks is the time between two sends.
//!
//! The simulation beside this file measures it against services of every kind.

mod learned;
mod memory;
mod window;

use std::time::Duration;

use tokio::time::Instant;

use crate::landing::Landing;
pub use memory::Turns;

use learned::{Epoch, Learned};
use memory::Memory;
use window::Window;

/// Items that count as a batch where requests are smaller: the quota counts items.
const LUMP: f64 = 20.0;
/// After a pause that was too short the next one is longer by this,
const PATIENCE: f64 = 1.5;
/// but no longer than this.
const MOST_PATIENCE: Duration = Duration::from_secs(8);
/// What refilled during a pause is spent so fast that it would be gone after so many pauses,
const DRAIN: f64 = 4.0;
/// or sooner where the end of the work is near: after this share of what is left.
const LAST_DRAIN: f64 = 0.4;
/// This share of it is kept: no estimate is exact.
const RESERVE: f64 = 0.05;
/// The flow counts as steady once no more than this share of it is left to spend.
const NEARLY_SPENT: f64 = 0.3;
/// The end begins when there is less to send than what refills in so many pauses.
const END: f64 = 1.5;
/// Then the flow is so far below what was proven,
const END_HOLD: f64 = 0.98;
/// and as far below it again as the probe was above it, but no further than this: the reserve may be gone.
const END_LEAST: f64 = 0.85;
/// A probe that had come further than this has spent the reserve.
const PROBED: f64 = 1.07;
/// So many times in a row that it was exhausted before as much was granted as the rate lets expect, it is no quota;
const MOST_EARLY: u32 = 5;
/// or so many times more often that here and there one was refused.
const REFUSED_HERE_AND_THERE: u32 = 10;
/// Nor is there one where the rate has fallen below this share of the best one measured.
const FALLEN: f64 = 0.4;
/// Until so large a share is refused that there must be one all the same.
const MOSTLY_REFUSED: f64 = 0.7;
/// Where a larger share of the last items was refused, the quota is exhausted;
const EXHAUSTED: f64 = 0.3;
/// and where as much was granted as was expected, at least this share of it, also.
const EXPECTED: f64 = 0.8;
/// A request carries what this much time allows, so that a slow quota is not hit by a full batch at a time,
const BATCH_TIME: f64 = 0.05;
/// or so many times what keeps all requests in flight busy.
const BUSY: f64 = 2.0;
/// A timer that wakes late is made up for by what this much time allows.
const LATE: f64 = 0.01;
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

/// A rate that is held since a pause ended.
#[derive(Clone, Copy, Debug)]
struct Held {
    learned: Learned,
    since: Instant,
    /// What may be sent beyond the rate, or is missing from it: an estimate of the level of a bucket.
    allowance: f64,
    /// What may be sent at once.
    ready: f64,
}

/// How fast to send to one service; shared by all calls of a client.
#[derive(Debug)]
pub struct Pace {
    batch: f64,
    concurrency: f64,
    ceiling: Option<f64>,
    window: Window,
    in_flight: f64,
    /// Seconds, smoothed.
    round_trip: f64,
    paused_until: Option<Instant>,
    paused: Duration,
    last_pause: Duration,
    /// Refusals in a row that came before as much was granted as the rate lets expect; an exhaustion counts for many.
    early: u32,
    /// The highest rate measured.
    best: f64,
    /// Whether the service refuses some items and not others, without a quota to be seen.
    is_picky: bool,
    memory: Memory,
    /// Of the last items or so, the share that was throttled.
    refused_share: f64,
    /// Pauses in a row after which nothing was granted.
    in_vain: u32,
    started: Option<Instant>,
    /// The first answer, and the shortest time that one took.
    first_answer: Option<(Instant, Duration)>,
    last_sent: Option<Instant>,
    epoch: Option<Epoch>,
    /// The epoch before, until all its requests are back, and when it ended.
    closing: Option<(Epoch, Instant)>,
    held: Option<Held>,
    ceiling_allowance: f64,
    counted: Option<Instant>,
}

impl Pace {
    /// A pace for requests of up to `batch` items, `concurrency` at a time, and with an upper limit of items a second
    /// where one was asked for.
    pub fn new(batch: usize, concurrency: usize, ceiling: Option<f64>) -> Self {
        let (batch, concurrency) = (batch.max(1) as f64, concurrency.max(1) as f64);
        Self {
            batch,
            concurrency,
            ceiling,
            window: Window::new(batch, concurrency),
            in_flight: 0.0,
            round_trip: 0.0,
            paused_until: None,
            paused: Duration::ZERO,
            last_pause: Duration::ZERO,
            early: 0,
            best: 0.0,
            is_picky: false,
            memory: Memory::default(),
            refused_share: 0.0,
            in_vain: 0,
            started: None,
            first_answer: None,
            last_sent: None,
            epoch: None,
            closing: None,
            held: None,
            ceiling_allowance: 0.0,
            counted: None,
        }
    }

    /// What may be sent now, of `ready` items that wait. `left` is how many are still to be sent before the caller is
    /// done, where that is known.
    pub fn permit(&mut self, now: Instant, ready: usize, left: Option<usize>) -> Permit {
        if let Some(until) = self.paused_until(now) {
            return Permit::At(until);
        }
        self.settle(now);
        self.accrue(now, left);
        // After a pause that was too short, one item is enough to ask with.
        let most = if self.in_vain > 0 { 1.0 } else { self.request_size(now) };
        if self.in_vain > 0 && self.in_flight > 0.0 {
            return Permit::AfterAnswer;
        }
        let wanted = (ready as f64).min(most).min(self.window.size().ceil());
        if let Some(at) = self.short_of(now, wanted, left) {
            return Permit::At(at);
        }
        let room = (self.window.size() - self.in_flight).floor();
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
        self.last_sent = Some(now);
        self.in_flight += items;
        self.ceiling_allowance -= items;
        if let Some(held) = &mut self.held {
            held.allowance -= items;
            held.ready -= items;
        }
    }

    /// A request that was sent then has ended.
    pub fn landed(&mut self, now: Instant, sent: Instant, landing: Landing) {
        let (granted, throttled) = (landing.granted as f64, landing.throttled as f64);
        self.in_flight = (self.in_flight - granted - throttled - landing.lost as f64).max(0.0);
        if granted + throttled > 0.0 {
            let took = now.saturating_duration_since(sent);
            let (_, shortest) = self.first_answer.get_or_insert((now, took));
            *shortest = took.min(*shortest);
            let took = took.as_secs_f64();
            self.round_trip += (took - self.round_trip) * if self.round_trip > 0.0 { 0.2 } else { 1.0 };
        }
        self.remember(now, &landing);
        self.count_granted(sent, granted);
        let forgotten = (1.0 - 1.0 / LUMP).powf(granted + throttled);
        self.refused_share =
            self.refused_share * forgotten + (1.0 - forgotten) * throttled / (granted + throttled).max(1.0);
        self.pause(now, landing.pause);
        if granted > 0.0 && self.in_vain > 0 {
            // It grants again: what has refilled since it stopped can be spent.
            self.in_vain = 0;
            if let (Some(held), Some(epoch)) = (&mut self.held, self.epoch) {
                held.allowance = held.learned.refilled(now.saturating_duration_since(epoch.since));
            }
        }
        if let Some(wait) = landing.wait {
            self.throttled(now, sent, wait);
        } else if let Some(share) = landing.near_limit.filter(|share| *share >= NEAR) {
            self.window.warned(now, sent, share);
        } else if landing.lost == 0 {
            self.window.grow(sent, granted, self.held.is_some());
        }
    }

    /// Where the service remembers whom it refused there is no quota to be learned, until one shows.
    fn remember(&mut self, now: Instant, landing: &Landing) {
        let was_sure = self.memory.is_sure();
        self.memory.hear(landing, self.paused_until(now).is_some());
        if self.memory.is_sure() {
            (self.held, self.epoch, self.closing, self.in_vain) = (None, None, None, 0);
            self.window.open();
        } else if was_sure {
            self.epoch = Some(Epoch::after(now));
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

    /// How many items a request carries at the most: fewer where the quota trickles, but enough that all requests
    /// together can carry the flow.
    fn request_size(&self, now: Instant) -> f64 {
        let time = BATCH_TIME.max(BUSY * self.round_trip / self.concurrency);
        let held = self.held.map(|held| held.learned.probing(now, held.since).max(held.learned.per_second));
        [held, self.ceiling]
            .into_iter()
            .flatten()
            .fold(self.batch, |size, rate| size.min((rate * time).ceil()))
            .max(1.0)
    }

    /// Grants of requests that left before the quota was seen exhausted belong to the epoch before.
    fn count_granted(&mut self, sent: Instant, granted: f64) {
        let started = self.started.unwrap_or(sent);
        let epoch = self.epoch.get_or_insert_with(|| Epoch::first(started));
        if sent > epoch.since || epoch.is_first {
            epoch.granted += granted;
        } else if let Some((before, _)) = &mut self.closing {
            before.granted += granted;
        }
    }

    /// Whether the service refuses much of what it is sent.
    fn is_exhausted(&self) -> bool {
        self.refused_share > EXHAUSTED
    }

    fn throttled(&mut self, now: Instant, sent: Instant, wait: Duration) {
        let was_running = self.paused_until(now).is_none();
        self.pause(now, wait);
        if self.memory.is_sure() {
            return;
        }
        let Some(mut epoch) = self.epoch else { return };
        if let Some((at, shortest)) = self.first_answer
            && epoch.is_first
        {
            // The first requests wait for a sign-in and for connections: nobody grants anything meanwhile.
            epoch.since = epoch.since.max(at.checked_sub(shortest).unwrap_or(at));
        }
        // The rest of the window that met the same exhaustion tells nothing new.
        if sent <= epoch.since && !epoch.is_first {
            self.last_pause = self.last_pause.max(wait);
            return;
        }
        if epoch.granted < 1.0 && (!epoch.is_first || self.in_vain > 0 || self.is_exhausted()) {
            // Nothing granted tells nothing of the rate, only that the pause, if there was one, was too short.
            self.in_vain += 1;
            let longer = self.last_pause.mul_f64(PATIENCE).clamp(wait, MOST_PATIENCE.max(wait));
            self.pause(now, longer);
            self.last_pause = longer;
            return;
        }
        let ended = self.last_sent.unwrap_or(now);
        self.is_picky &= self.refused_share < MOSTLY_REFUSED;
        let is_expected = self.is_expected(&epoch, ended);
        if self.held.is_some() {
            let counts = if self.is_exhausted() { REFUSED_HERE_AND_THERE } else { 1 };
            self.early = if is_expected { 0 } else { self.early + counts };
        }
        if self.early >= MOST_EARLY * REFUSED_HERE_AND_THERE {
            self.give_up();
        }
        if self.is_picky || !(self.is_exhausted() || is_expected) {
            // Here and there one is refused, the rest goes through: a wait for all, but no measure of a quota.
            if let (Some(held), true) = (&mut self.held, was_running) {
                held.learned = held.learned.eased(now, held.since, wait);
                (held.since, held.ready) = (now + wait, 0.0);
                held.allowance = held.learned.refilled(wait);
                self.counted = Some(held.since);
                if held.learned.per_second < FALLEN * self.best {
                    self.give_up();
                }
            }
            return;
        }
        self.refused_share = 0.0;
        self.closing = Some((epoch, ended));
        self.epoch = Some(Epoch::after(ended));
        self.last_pause = wait;
    }

    /// A quota is found in one or two steps. Where each estimate was too high, there is none: the service refuses some
    /// items and not others, and a wait is all that it asks for.
    fn give_up(&mut self) {
        (self.early, self.best, self.refused_share) = (0, 0.0, 0.0);
        (self.held, self.is_picky) = (None, true);
        self.window.open();
    }

    /// Whether as much was granted as the rate lets expect, so that the quota may well be exhausted.
    fn is_expected(&self, epoch: &Epoch, ended: Instant) -> bool {
        self.held.is_some_and(|Held { learned, .. }| {
            learned.is_guess() || epoch.average(ended) > EXPECTED * learned.per_second
        })
    }

    /// After a pause, when the window that met it is back: learn from it, and start anew.
    fn settle(&mut self, now: Instant) {
        let Some((epoch, ended)) = self.closing.take() else { return };
        let before = self.held.map(|held| (held.learned, held.since));
        let learned = Learned::from_epoch(before, &epoch, ended, self.last_pause);
        if !learned.is_guess() {
            self.best = self.best.max(learned.per_second);
        }
        if learned.per_second < FALLEN * self.best {
            return self.give_up();
        }
        if learned.is_guess() {
            self.window.reopen(learned.per_second * self.round_trip);
        } else {
            self.window.open();
        }
        // A bucket may be no larger than what refills during the pause that was asked for.
        let allowance = learned.refilled(self.last_pause);
        self.held = Some(Held { learned, since: now, allowance, ready: 0.0 });
        self.counted = Some(now);
    }

    /// The rate that is held now, and at which items are sent: what is to be spent beside it comes on top.
    fn flow(&self, held: &Held, now: Instant, left: Option<usize>) -> (f64, f64) {
        let learned = &held.learned;
        let pause = self.last_pause.as_secs_f64();
        let left = left.map_or(f64::INFINITY, |left| left as f64 / learned.per_second);
        let mut rate = learned.probing(now, held.since);
        let mut most_extra = f64::INFINITY;
        if left < END * pause {
            let proven = learned.per_second.max(self.epoch.map_or(0.0, |epoch| epoch.average(now)));
            if rate > PROBED * proven {
                most_extra = 0.0;
            }
            rate = END_HOLD * proven * (proven / rate).clamp(END_LEAST, 1.0);
        }
        let drain = (DRAIN * pause.max(0.25)).min((LAST_DRAIN * left).max(0.3));
        let extra = (held.allowance - RESERVE * rate * pause) / drain;
        (rate, rate + extra.clamp(-0.5 * rate, most_extra))
    }

    fn accrue(&mut self, now: Instant, left: Option<usize>) {
        let before = self.counted.unwrap_or(now);
        self.counted = Some(now.max(before));
        let seconds = now.saturating_duration_since(before).as_secs_f64();
        let size = self.request_size(now);
        if let Some(mut held) = self.held {
            let (rate, flow) = self.flow(&held, now, left);
            let kept = rate * KEEP.max(self.last_pause).as_secs_f64() + self.batch;
            held.ready = (held.ready + flow * seconds).min(size + LATE * rate);
            held.allowance = (held.allowance + rate * seconds).min(kept);
            if held.allowance < NEARLY_SPENT * rate * self.last_pause.as_secs_f64()
                && let Some(epoch) = &mut self.epoch
            {
                epoch.steady_since.get_or_insert(now);
            }
            self.held = Some(held);
        }
        if let Some(ceiling) = self.ceiling {
            self.ceiling_allowance = match self.started {
                Some(_) => (self.ceiling_allowance + ceiling * seconds).min(size),
                None => size,
            };
        }
    }

    /// When there is enough for a request of this size, if there is not yet.
    fn short_of(&self, now: Instant, wanted: f64, left: Option<usize>) -> Option<Instant> {
        let held = self.held.as_ref().map(|held| (self.flow(held, now, left).1, held.ready));
        let ceiling = self.ceiling.map(|ceiling| (ceiling, self.ceiling_allowance));
        let wait = [held, ceiling]
            .into_iter()
            .flatten()
            .map(|(per_second, ready)| (wanted - ready) / per_second.max(1e-6))
            .fold(0.0, f64::max);
        // Rounding must not let a request wait for a billionth of an item.
        (wait > 1e-6).then(|| now + Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX / 4))
    }
}

#[cfg(test)]
mod simulation;
