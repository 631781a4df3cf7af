//! The ids seen lately, in bounded memory: a stream sends a repeated id once as long as it remembers it.

use std::collections::{HashSet, VecDeque};

use crate::assignment::AssignmentId;

/// How many ids a stream remembers.
pub const WINDOW: usize = 65_536;

/// A window over the last [`WINDOW`] different ids.
#[derive(Debug, Default)]
pub struct Recent {
    order: VecDeque<AssignmentId>,
    known: HashSet<AssignmentId>,
}

impl Recent {
    /// Whether the id is new to the window; from now on it is not.
    pub fn is_new(&mut self, id: AssignmentId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn it_remembers_a_window_and_no_more() {
        let id = |n: usize| AssignmentId::from(Uuid::from_u128(n as u128));
        let mut recent = Recent::default();
        assert!((0..WINDOW).all(|n| recent.is_new(id(n))));
        assert!((0..WINDOW).all(|n| !recent.is_new(id(n))));
        assert!(recent.is_new(id(WINDOW)));
        assert!(recent.is_new(id(0)), "the oldest was forgotten");
        assert_eq!((recent.order.len(), recent.known.len()), (WINDOW, WINDOW));
    }
}
