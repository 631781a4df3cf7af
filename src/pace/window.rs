//! How many items may be in flight.

use tokio::time::Instant;

use super::LUMP;

/// Batches in the first window at the most,
const FIRST: f64 = 3.0;
/// and its share of the full one.
const FIRST_SHARE: f64 = 0.5;
/// The window stays so small until it was granted this often. A small quota shows within that time, and then wastes no
/// more than the small window; without one, these round trips are lost.
const FIRST_TIMES: f64 = 4.7;
/// Then it grows by this share of itself in each round trip,
const GROWTH: f64 = 2.0;
/// by this once there was a pause,
const CAREFUL_GROWTH: f64 = 0.4;
/// and by this once the service has warned.
const WARNED_GROWTH: f64 = 0.15;
/// A guess of the rate is believed by half: the window after the first pause is this share of what it asks for.
const BELIEVED: f64 = 0.5;
/// How much a warning takes away: so many times what the share of the quota that is used is above the next figure,
const BRAKE: f64 = 2.0;
/// which is a little below the share from which on the service warns.
const BRAKE_FROM: f64 = 0.7;
/// One warning leaves at least this much.
const BRAKE_LEAVES: f64 = 0.4;

/// How many items may be in flight, and how that grows.
#[derive(Debug)]
pub struct Window {
    size: f64,
    first: f64,
    careful: f64,
    full: f64,
    granted: f64,
    /// When the last warning came that counted, and which share of the quota was used.
    warned: Option<(Instant, f64)>,
}

impl Window {
    /// For requests of up to `batch` items, `concurrency` at a time.
    pub fn new(batch: f64, concurrency: f64) -> Self {
        let full = batch * concurrency;
        let first = (FIRST * batch.max(LUMP)).min((FIRST_SHARE * full).max(batch));
        let careful = batch.max(LUMP / 1.5).min(full);
        Self { size: first, first, careful, full, granted: 0.0, warned: None }
    }

    /// Items.
    pub const fn size(&self) -> f64 {
        self.size
    }

    /// So many items of a request that was sent then were granted. A full window of grants grows it once.
    pub fn grow(&mut self, sent: Instant, granted: f64, was_paused: bool) {
        self.granted += granted;
        let growth = if let Some((at, used)) = &mut self.warned {
            if sent > *at {
                *used = 0.0;
            }
            WARNED_GROWTH
        } else if was_paused {
            CAREFUL_GROWTH
        } else if self.granted <= FIRST_TIMES * self.first {
            0.0
        } else {
            GROWTH
        };
        self.size = (self.size + growth * granted).min(self.full);
    }

    /// The answer to a request that was sent then says that so large a share of the quota is used. Counts once in a
    /// round trip, and not where the share is falling already.
    pub fn warned(&mut self, now: Instant, sent: Instant, used: f64) {
        let before = match self.warned {
            Some((at, _)) if sent <= at => return,
            Some((_, before)) => before,
            None => 0.0,
        };
        self.warned = Some((now, used));
        if used >= before {
            let left = 1.0 - BRAKE * (used - BRAKE_FROM);
            self.size = (self.size * left.clamp(BRAKE_LEAVES, 1.0)).max(1.0);
        }
    }

    /// After the first pause, feel the way: `wanted` is what the guessed rate would have in flight.
    pub fn reopen(&mut self, wanted: f64) {
        self.size = (BELIEVED * wanted).max(self.careful).min(self.full);
    }

    /// Open it in full.
    pub const fn open(&mut self) {
        self.size = self.full;
    }
}
