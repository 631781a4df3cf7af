//! The items that wait: in a row, or put aside until a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tokio::time::Instant;

use super::item::Item;
use crate::pace::Turns;

/// The items that could go next, all in one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Front {
    /// How many.
    pub count: usize,
    /// Whether waiting for more input could make them more.
    pub may_grow: bool,
    /// Since when the first of them waits.
    pub since: Instant,
}

/// The items that wait.
#[derive(Default)]
pub struct Queue {
    ready: VecDeque<Item>,
    /// What was sent before and waited for by all: each request takes of both.
    again: VecDeque<Item>,
    turns: Turns,
    delayed: BinaryHeap<Reverse<Delayed>>,
    number: u64,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.ready() + self.delayed.len()
    }

    /// How many could go now.
    pub fn ready(&self) -> usize {
        self.ready.len() + self.again.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Behind all others.
    pub fn push_back(&mut self, item: Item) {
        self.ready.push_back(item);
    }

    /// Before all others, in this order.
    pub fn push_front(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }

    /// Together with those that were not sent yet.
    pub fn push_again(&mut self, items: Vec<Item>) {
        let (plain, special): (Vec<_>, Vec<_>) = items.into_iter().partition(is_plain);
        self.again.extend(plain);
        self.push_front(special);
    }

    /// Not before then.
    pub fn delay(&mut self, item: Item, ready_at: Instant) {
        self.number += 1;
        self.delayed.push(Reverse(Delayed { ready_at, number: self.number, item }));
    }

    /// Whose time has come joins the row.
    pub fn wake(&mut self, now: Instant) {
        while self.delayed.peek().is_some_and(|Reverse(delayed)| delayed.ready_at <= now) {
            if let Some(Reverse(delayed)) = self.delayed.pop() {
                self.ready.push_back(delayed.item);
            }
        }
    }

    /// What was set apart goes together with all others again, but for what stands alone.
    pub fn reunite(&mut self) {
        self.ready.iter_mut().for_each(|item| item.cohort = None);
        let delayed = std::mem::take(&mut self.delayed).into_iter();
        self.delayed = delayed
            .map(|Reverse(Delayed { item, ready_at, number })| {
                Reverse(Delayed { item: Item { cohort: None, ..item }, ready_at, number })
            })
            .collect();
    }

    /// When the next delayed item is ready.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse(delayed)| delayed.ready_at)
    }

    /// Bring the scout to the front, if it waits in the row.
    pub fn scout_first(&mut self) -> bool {
        let place = self.ready.iter().position(|item| item.is_scout);
        if let Some(scout) = place.and_then(|place| self.ready.remove(place)) {
            self.ready.push_front(scout);
        }
        place.is_some()
    }

    /// What could go next, `most` at a time.
    pub fn front(&self, most: usize) -> Option<Front> {
        if let Some(first) = self.ready.front().filter(|item| !is_plain(item)) {
            let most = if first.alone || first.isolated { 1 } else { most };
            let count = self.ready.iter().take(most).take_while(|item| go_together(first, item)).count();
            let may_grow = count < most && count == self.ready() && first.cohort.is_none();
            return Some(Front { count, may_grow, since: first.since });
        }
        let fronts = [self.again.front(), self.ready.front()];
        let since = fronts.into_iter().flatten().map(|item| item.since).min()?;
        let count = most.min(self.again.len() + self.fresh(most));
        Some(Front { count, may_grow: count < most && count == self.ready(), since })
    }

    /// How many of the row go together with what was sent before, up to `most`.
    fn fresh(&self, most: usize) -> usize {
        self.ready.iter().take(most).take_while(|item| is_plain(item)).count()
    }

    /// Take so many from the front.
    pub fn take(&mut self, count: usize) -> Vec<Item> {
        let fresh = self.fresh(count);
        if self.again.is_empty() || (fresh == 0 && !self.ready.is_empty()) {
            return self.ready.drain(..count.min(self.ready.len())).collect();
        }
        self.turns
            .next(count, fresh, self.again.len())
            .filter_map(|is_again| if is_again { self.again.pop_front() } else { self.ready.pop_front() })
            .collect()
    }

    /// Take all.
    pub fn drain(&mut self) -> Vec<Item> {
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|Reverse(delayed)| delayed.item);
        self.again.drain(..).chain(self.ready.drain(..)).chain(delayed).collect()
    }
}

/// Whether it goes together with all others.
fn is_plain(item: &Item) -> bool {
    !item.alone && !item.isolated && item.cohort.is_none()
}

fn go_together(first: &Item, other: &Item) -> bool {
    (first.alone, first.cohort) == (other.alone, other.cohort)
}

/// An item that waits; ordered by when it may go, then by when it was put aside.
struct Delayed {
    ready_at: Instant,
    number: u64,
    item: Item,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        (self.ready_at, self.number) == (other.ready_at, other.number)
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ready_at, self.number).cmp(&(other.ready_at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::AssignmentId;
    use std::time::Duration;
    use uuid::Uuid;

    fn item(number: u64, now: Instant) -> Item {
        Item::new(AssignmentId::from(Uuid::from_u128(number.into())), number, 0, now)
    }

    fn taken(queue: &mut Queue, count: usize) -> Vec<u64> {
        queue.take(count).iter().map(|item| item.index).collect()
    }

    #[test]
    fn cohorts_and_loners_stay_apart() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for (number, cohort, alone) in [
            (1, Some(1), false),
            (2, Some(1), false),
            (3, Some(2), false),
            (4, None, true),
            (5, None, true),
            (6, None, false),
        ] {
            queue.push_back(Item { cohort, alone, ..item(number, now) });
        }
        for (count, may_grow, indexes) in [
            (2, false, vec![1, 2]),
            (1, false, vec![3]),
            (1, false, vec![4]),
            (1, false, vec![5]),
            (1, true, vec![6]),
        ] {
            assert_eq!(queue.front(20), Some(Front { count, may_grow, since: now }));
            assert_eq!(taken(&mut queue, count), indexes);
        }
        assert_eq!(queue.front(20), None);
    }

    #[test]
    fn what_was_sent_before_goes_with_the_rest_but_not_with_those_apart() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for number in 1..=4 {
            queue.push_back(item(number, now));
        }
        queue.push_again(vec![item(11, now), Item { alone: true, ..item(12, now) }, item(13, now)]);
        assert_eq!(queue.front(20), Some(Front { count: 1, may_grow: false, since: now }));
        assert_eq!(taken(&mut queue, 1), [12]);
        assert_eq!(queue.front(4), Some(Front { count: 4, may_grow: false, since: now }));
        assert_eq!(taken(&mut queue, 4), [1, 11, 2, 13]);
        assert_eq!(queue.front(4), Some(Front { count: 2, may_grow: true, since: now }));
        queue.push_again(vec![item(14, now)]);
        assert_eq!((queue.len(), queue.drain().len()), (3, 3));
    }

    #[test]
    fn the_delayed_come_back_in_time_and_the_scout_goes_first() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.delay(item(1, now), now + Duration::from_secs(2));
        queue.delay(Item { is_scout: true, ..item(2, now) }, now + Duration::from_secs(1));
        queue.push_back(item(3, now));
        assert_eq!(queue.wakes_at(), Some(now + Duration::from_secs(1)));
        assert!(!queue.scout_first());
        queue.wake(now + Duration::from_secs(1));
        assert!(queue.scout_first());
        assert_eq!((queue.len(), taken(&mut queue, 9)), (3, vec![2, 3]));
    }
}
