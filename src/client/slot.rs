//! A place at the gate for a single call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Client;
use crate::gate::Gate;
use crate::graph::action::Action;
use crate::landing::Landing;
use crate::pace::Permit;

/// How soon to look again where other calls hold the whole window.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One item that counts as under way until it has landed, also where the call is dropped before.
pub struct Slot {
    gate: Arc<Mutex<Gate>>,
    sent: Instant,
    has_landed: bool,
}

impl Client {
    /// Wait until one item may be sent.
    pub(super) async fn slot(&self, action: Action) -> Slot {
        let gate = self.gate(action);
        loop {
            let now = Instant::now();
            let permit = {
                let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
                let permit = gate.permit(now, 1, None);
                if matches!(permit, Permit::Send(_)) {
                    gate.sent(now, 1);
                }
                permit
            };
            match permit {
                Permit::Send(_) => return Slot { gate, sent: now, has_landed: false },
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
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.landed(Instant::now(), self.sent, landing);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.land(Landing::lost(1));
    }
}
