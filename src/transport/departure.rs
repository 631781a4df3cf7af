//! Whether a request has left, and a hold for those that have not.

use std::sync::atomic::{AtomicBool, Ordering};

/// Lets the owner of a request hold it back until the last moment, and see afterwards whether it left.
#[derive(Debug, Default)]
pub struct Departure {
    held: AtomicBool,
    left: AtomicBool,
}

impl Departure {
    /// From now on it does not leave any more; if it has left already, this changes nothing.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Whether the request left.
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    pub(super) fn leave(&self) -> bool {
        if self.held.load(Ordering::SeqCst) {
            return false;
        }
        self.left.store(true, Ordering::SeqCst);
        true
    }
}
