//! Whether the service remembers whom it refused.
//!
//! A quota does not know who was refused before, so whoever tries again is refused as often as the rest. Where those
//! are all granted while others beside them are refused, again and again, it is no quota: each item is refused once,
//! say, or some are. How likely that is to happen by chance is counted, and the counts add up.
//!
//! Beside each other are the items of one request, or single ones that were under way when the first of them was
//! refused. For a fair comparison both kinds are sent mixed (`turns`).

use crate::landing::Landing;

/// So unlikely by chance, as a power of e, that there is no quota.
const SURE: f64 = 5.0;
/// So many single requests are compared with each other.
const ENOUGH: usize = 10;

/// What was seen of it.
#[derive(Debug, Default)]
pub struct Memory {
    evidence: f64,
    beside: Beside,
}

/// Items to be compared.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    granted: usize,
    /// Those of them that had been refused the time before.
    again: usize,
    refused: usize,
}

impl Beside {
    const fn all(self) -> usize {
        self.granted + self.refused
    }

    /// How unlikely it is by chance that all who had been refused were granted this time, as a power of e.
    fn evidence(self) -> f64 {
        let others = self.all() - self.again;
        (0..self.refused).map(|each| ((self.all() - each) as f64 / (others - each) as f64).ln()).sum()
    }
}

impl Memory {
    /// Take the answer to one request in. `is_tail`: it was under way when another one was refused.
    pub fn hear(&mut self, landing: &Landing, is_tail: bool) {
        if landing.again.throttled > 0 {
            *self = Self::default();
            return;
        }
        let one =
            Beside { granted: landing.granted, again: landing.again.granted, refused: landing.throttled };
        if one.all() > 1 {
            self.evidence += one.evidence();
        } else if is_tail {
            let before = self.beside;
            self.beside = Beside {
                granted: before.granted + one.granted,
                again: before.again + one.again,
                refused: before.refused + one.refused,
            };
            if self.beside.all() >= ENOUGH {
                self.evidence += std::mem::take(&mut self.beside).evidence();
            }
        } else {
            self.beside = Beside::default();
        }
    }

    /// Whether that cannot be chance.
    pub fn is_sure(&self) -> bool {
        self.evidence >= SURE
    }
}

/// Whose turn it is, of those that were refused before and of the rest.
#[derive(Debug, Default)]
pub struct Turns {
    /// Who got the odd place the last time.
    was_again: bool,
}

impl Turns {
    /// The places of a request of `count` items, true for those that were refused before: half of each, as long as
    /// there are enough. Those are spread evenly, and come last in each stretch, so that the end of a quota meets them
    /// no later than the rest.
    pub fn next(&mut self, count: usize, fresh: usize, again: usize) -> impl Iterator<Item = bool> + use<> {
        let is_odd = count % 2 == 1 && fresh > 0 && again > 0;
        self.was_again ^= is_odd;
        let half = (count + usize::from(is_odd && self.was_again)) / 2;
        let fresh = fresh.min(count - again.min(half));
        let again = again.min(count - fresh);
        let count = fresh + again;
        (0..count).map(move |place| (place + 1) * again / count > place * again / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landing::Again;

    fn hear(memory: &mut Memory, (granted, throttled): (usize, usize), again: (usize, usize)) -> bool {
        let again = Again { granted: again.0, throttled: again.1 };
        memory.hear(&Landing { granted, throttled, again, ..Landing::default() }, false);
        memory.is_sure()
    }

    #[test]
    fn who_was_refused_once_and_never_again_shows_it() {
        let mut memory = Memory::default();
        assert!(!hear(&mut memory, (0, 20), (0, 0)));
        assert!(!hear(&mut memory, (20, 0), (20, 0)), "nobody was refused, which tells nothing");
        assert!(hear(&mut memory, (10, 10), (10, 0)), "one of 184,756 ways to choose ten of twenty");
        assert!(!hear(&mut memory, (19, 1), (9, 1)), "it was chance after all");
    }

    #[test]
    fn a_few_at_a_time_add_up() {
        let mut memory = Memory::default();
        let times = (1..).find(|_| hear(&mut memory, (18, 2), (4, 0)));
        assert_eq!(times, Some(11), "it is 16/20 times 15/19 by chance each time");
    }

    #[test]
    fn single_requests_are_compared_once_one_of_them_was_refused() {
        let mut memory = Memory::default();
        let mut single = |granted: usize, again: usize, is_tail| {
            let throttled = 1 - granted;
            let again = Again { granted: again, throttled: 0 };
            memory.hear(&Landing { granted, throttled, again, ..Landing::default() }, is_tail);
            memory.is_sure()
        };
        for _ in 0..20 {
            assert!(
                !single(1, 1, false) && !single(0, 0, false),
                "the first one of a quota that ends looks like that"
            );
        }
        let pairs = (1..).find(|_| single(0, 0, true) | single(1, 1, true));
        assert_eq!(pairs, Some(5), "five of ten are refused: one of 252 ways");
    }

    fn turns_of(count: usize, fresh: usize, again: usize) -> String {
        let turns = Turns::default().next(count, fresh, again);
        turns.map(|is_again| if is_again { 'a' } else { 'f' }).collect()
    }

    #[test]
    fn a_request_takes_of_both_in_turns() {
        for (count, fresh, again, expected) in [
            (8, 100, 100, "fafafafa"),
            (8, 100, 2, "fffafffa"),
            (8, 100, 0, "ffffffff"),
            (8, 1, 100, "faaaaaaa"),
            (8, 1, 3, "faaa"),
            (8, 0, 3, "aaa"),
            (3, 9, 9, "faa"),
            (1, 9, 9, "a"),
            (1, 9, 0, "f"),
            (0, 9, 9, ""),
        ] {
            assert_eq!(turns_of(count, fresh, again), expected, "{count} {fresh} {again}");
        }
        let mut turns = Turns::default();
        let singles: Vec<_> = (0..4).flat_map(|_| turns.next(1, 9, 9)).collect();
        assert_eq!(singles, [true, false, true, false]);
    }
}
