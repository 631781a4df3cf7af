//! When everything is refused from the start on, going on helps nobody.

use std::time::Duration;

use crate::outcome::Status;
use crate::retry::{ItemAnswer, Step};

/// So many in a row before anything was accepted. More than two batches: a few ids may be wrong in the same way.
const ENOUGH: usize = 50;

/// What all of them were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 403.
    Forbidden,
    /// To wait longer than the caller is willing to.
    TooLong,
}

/// How many in a row were refused in the same way, as long as nothing was accepted.
#[derive(Debug, Default)]
pub struct Suspicion {
    what: Option<Refused>,
    in_a_row: usize,
    is_allayed: bool,
}

impl Suspicion {
    /// An item was answered, which led to this step. Longer than `max_wait` is too long.
    pub fn heard(&mut self, answer: &ItemAnswer, step: &Step, max_wait: Duration) {
        let what = match step {
            Step::Settled(Status::Accepted) => {
                self.is_allayed = true;
                None
            }
            Step::Settled(Status::Forbidden) => Some(Refused::Forbidden),
            Step::GivenUp(..) if answer.retry_after.is_some_and(|wait| wait > max_wait) => {
                Some(Refused::TooLong)
            }
            Step::Settled(_) => None,
            // It says nothing yet.
            _ => return,
        };
        self.in_a_row =
            if what.is_some() && what == self.what { self.in_a_row + 1 } else { usize::from(what.is_some()) };
        self.what = what;
    }

    /// Whether the run should stop, and for what.
    pub fn grounds(&self) -> Option<Refused> {
        self.what.filter(|_| !self.is_allayed && self.in_a_row >= ENOUGH)
    }

    /// Whether no more should be sent while so many items are under way, since their answers may be enough.
    pub const fn must_wait(&self, underway: usize) -> bool {
        !self.is_allayed && self.in_a_row > 0 && self.in_a_row + underway >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(suspicion: &mut Suspicion, status: u16, times: usize) {
        let retry_after = Some(Duration::from_secs(601)).filter(|_| status == 429);
        let answer = ItemAnswer { status, retry_after, ..ItemAnswer::default() };
        let step = match status {
            202 => Step::Settled(Status::Accepted),
            403 => Step::Settled(Status::Forbidden),
            404 => Step::Settled(Status::NotFound),
            _ => Step::GivenUp(Status::Failed, String::new()),
        };
        for _ in 0..times {
            suspicion.heard(&answer, &step, Duration::from_secs(600));
        }
    }

    #[test]
    fn fifty_in_a_row_are_enough() {
        for (status, what) in [(403, Refused::Forbidden), (429, Refused::TooLong)] {
            let mut suspicion = Suspicion::default();
            heard(&mut suspicion, status, 49);
            assert_eq!(suspicion.grounds(), None);
            heard(&mut suspicion, status, 1);
            assert_eq!(suspicion.grounds(), Some(what));
        }
    }

    #[test]
    fn another_answer_starts_the_row_anew() {
        let mut suspicion = Suspicion::default();
        heard(&mut suspicion, 403, 49);
        heard(&mut suspicion, 404, 1);
        heard(&mut suspicion, 403, 49);
        heard(&mut suspicion, 429, 49);
        assert_eq!(suspicion.grounds(), None);
    }

    #[test]
    fn one_acceptance_allays_it_for_good() {
        let mut suspicion = Suspicion::default();
        heard(&mut suspicion, 202, 1);
        heard(&mut suspicion, 403, 500);
        assert_eq!(suspicion.grounds(), None);
        assert!(!suspicion.must_wait(500));
    }

    #[test]
    fn throttled_to_the_end_of_the_retries_is_no_ground() {
        let mut suspicion = Suspicion::default();
        let answer = ItemAnswer { status: 429, ..ItemAnswer::default() };
        let step = Step::GivenUp(Status::Failed, String::new());
        (0..500).for_each(|_| suspicion.heard(&answer, &step, Duration::from_secs(600)));
        assert_eq!(suspicion.grounds(), None);
    }

    #[test]
    fn what_is_under_way_may_be_enough() {
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.must_wait(160));
        heard(&mut suspicion, 403, 20);
        assert!(!suspicion.must_wait(20));
        assert!(suspicion.must_wait(40));
    }
}
