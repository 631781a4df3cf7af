//! Whether a request is on its way, and a hold for those that have not left.

use std::sync::atomic::{AtomicU8, Ordering};

const HELD: u8 = 1;
const LEFT: u8 = 2;

/// Lets the owner of a request hold it back until the last moment, and see afterwards whether it left.
#[derive(Debug, Default)]
pub struct Departure(AtomicU8);

impl Departure {
    /// From now on it does not leave any more; if it has left already, this changes nothing.
    pub fn hold(&self) {
        self.0.fetch_or(HELD, Ordering::SeqCst);
    }

    /// Whether the request left.
    pub fn has_left(&self) -> bool {
        self.0.load(Ordering::SeqCst) & LEFT != 0
    }

    /// What it was answered is known, so nothing of it is on its way any more. It may leave again, unless it is held.
    pub fn came_back(&self) {
        self.0.fetch_and(!LEFT, Ordering::SeqCst);
    }

    pub(super) fn leave(&self) -> bool {
        let leave = |now| (now & HELD == 0).then_some(now | LEFT);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, leave).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_and_what_has_left_is_held_once_it_is_back() {
        let departure = Departure::default();
        assert!(!departure.has_left() && departure.leave() && departure.has_left());
        departure.came_back();
        assert!(!departure.has_left() && departure.leave());
        departure.hold();
        assert!(departure.has_left());
        departure.came_back();
        assert!(!departure.leave() && !departure.has_left());
    }
}
