//! A place in the pace for a single call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Client;
use crate::graph::action::Action;
use crate::landing::Landing;
use crate::pace::{Pace, Permit};

/// How soon to look again where other calls hold the whole window.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One item that counts as under way until it has landed, also where the call is dropped before.
pub struct Slot {
    pace: Arc<Mutex<Pace>>,
    sent: Instant,
    has_landed: bool,
}

impl Client {
    /// Wait until one item may be sent.
    pub(super) async fn slot(&self, action: Action) -> Slot {
        let pace = self.pace(action);
        loop {
            let now = Instant::now();
            let permit = {
                let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                let permit = pace.permit(now, 1);
                if matches!(permit, Permit::Send(_)) {
                    pace.sent(now, 1);
                }
                permit
            };
            match permit {
                Permit::Send(_) => return Slot { pace, sent: now, has_landed: false },
                Permit::At(until) => sleep_until(until).await,
                Permit::AfterAnswer => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

impl Slot {
    /// The answer came.
    pub fn landed(mut self, landing: Landing) {
        self.land(landing);
    }

    fn land(&mut self, landing: Landing) {
        if !self.has_landed {
            self.has_landed = true;
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.landed(Instant::now(), self.sent, landing);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.land(Landing::lost(1));
    }
}
