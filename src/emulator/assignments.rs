//! The seeded assignments: their ids, states and how often each was reprocessed. Safe to use from many threads.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use uuid::Uuid;

use super::{
    seed::{self, Kind},
    settings::{AfterReprocess, AssignmentState, Settings},
};

/// Names of the states: as an enumeration member (v1.0) and as text (beta).
pub(super) const STATES: [(AssignmentState, &str, &str); 5] = [
    (AssignmentState::Delivering, "delivering", "Delivering"),
    (AssignmentState::PartiallyDelivered, "partiallyDelivered", "PartiallyDelivered"),
    (AssignmentState::Delivered, "delivered", "Delivered"),
    (AssignmentState::Expired, "expired", "Expired"),
    (AssignmentState::DeliveryFailed, "deliveryFailed", "DeliveryFailed"),
];

/// A state with the moment of its end, in one word: three bits of state, the rest milliseconds, 0 for none.
#[derive(Clone, Copy)]
struct Cell(u64);

impl Cell {
    fn new(state: AssignmentState, until: u64) -> Self {
        Self(until << 3 | state as u64)
    }

    fn state(self) -> AssignmentState {
        STATES.get((self.0 & 7) as usize).map_or(AssignmentState::Delivered, |(state, ..)| *state)
    }

    fn until(self) -> u64 {
        self.0 >> 3
    }
}

/// All assignments, each with one request of its own.
#[derive(Debug)]
pub(super) struct Assignments {
    ids: Vec<Uuid>,
    by_id: HashMap<Uuid, u32>,
    cells: Vec<AtomicU64>,
    executions: Vec<AtomicU32>,
    request_executions: Vec<AtomicU32>,
    /// Turns the id of an assignment into that of its request and back.
    request_mask: u128,
    after: AfterReprocess,
}

impl Assignments {
    /// Seeds the assignments that the settings ask for.
    pub(super) fn new(settings: &Settings) -> Self {
        let count = settings.assignments;
        let ids: Vec<_> = (0..count as u64).map(|i| seed::id(settings.seed, Kind::Assignment, i)).collect();
        let mut states = vec![AssignmentState::Delivered; count];
        let tail =
            settings.states.iter().flat_map(|(state, count)| std::iter::repeat_n(*state, *count)).take(count);
        let tail: Vec<_> = tail.collect();
        for (place, state) in states.iter_mut().rev().zip(tail.into_iter().rev()) {
            *place = state;
        }
        // Version and variant bits stay, so that the result is a GUID of the same kind.
        let keep = !0_u128 ^ (0xf << 76) ^ (0b11 << 62);
        let request_mask = seed::id(settings.seed, Kind::Request, 0).as_u128() & keep;
        Self {
            by_id: ids.iter().zip(0..).map(|(id, place)| (*id, place)).collect(),
            cells: states.into_iter().map(|state| AtomicU64::new(Cell::new(state, 0).0)).collect(),
            executions: ids.iter().map(|_| AtomicU32::new(0)).collect(),
            request_executions: ids.iter().map(|_| AtomicU32::new(0)).collect(),
            ids,
            request_mask,
            after: settings.after_reprocess,
        }
    }

    /// All ids, in seeded order.
    pub(super) fn ids(&self) -> &[Uuid] {
        &self.ids
    }

    /// The id of the request that made an assignment.
    pub(super) fn request_id(&self, assignment: Uuid) -> Uuid {
        Uuid::from_u128(assignment.as_u128() ^ self.request_mask)
    }

    /// The place of an assignment.
    pub(super) fn find(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).map(|place| *place as usize)
    }

    /// The place of the assignment that a request made.
    pub(super) fn find_request(&self, id: Uuid) -> Option<usize> {
        self.find(Uuid::from_u128(id.as_u128() ^ self.request_mask))
    }

    /// The state of the assignment at `place`, `now` after the start.
    pub(super) fn state(&self, place: usize, now: Duration) -> AssignmentState {
        let cell = self.cells.get(place).map_or(0, |cell| cell.load(Ordering::Acquire));
        self.state_in(Cell(cell), now)
    }

    fn state_in(&self, cell: Cell, now: Duration) -> AssignmentState {
        match self.after {
            AfterReprocess::Delivering { ends, .. } if cell.until() != 0 && millis(now) >= cell.until() => {
                ends
            }
            _ => cell.state(),
        }
    }

    /// Reprocesses an assignment if its state allows it; says whether it did.
    pub(super) fn reprocess(&self, place: usize, allowed: &[AssignmentState], now: Duration) -> bool {
        self.start(place, allowed, now, &self.executions)
    }

    /// Reprocesses the request of an assignment if its state allows it; says whether it did.
    pub(super) fn reprocess_request(&self, place: usize, allowed: &[AssignmentState], now: Duration) -> bool {
        self.start(place, allowed, now, &self.request_executions)
    }

    fn start(&self, place: usize, allowed: &[AssignmentState], now: Duration, counts: &[AtomicU32]) -> bool {
        let (Some(cell), Some(count)) = (self.cells.get(place), counts.get(place)) else { return false };
        let next = match self.after {
            AfterReprocess::StaysDelivered => Cell::new(AssignmentState::Delivered, 0),
            AfterReprocess::Delivering { lasts, .. } => {
                Cell::new(AssignmentState::Delivering, millis(now.saturating_add(lasts)).max(1))
            }
        };
        let started = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |present| {
            allowed.contains(&self.state_in(Cell(present), now)).then_some(next.0)
        });
        if started.is_ok() {
            count.fetch_add(1, Ordering::AcqRel);
        }
        started.is_ok()
    }

    /// How often each assignment was reprocessed; those never reprocessed are left out.
    pub(super) fn executions(&self) -> HashMap<Uuid, u64> {
        counted(self.ids.iter().copied(), &self.executions)
    }

    /// How often each request was reprocessed; those never reprocessed are left out.
    pub(super) fn request_executions(&self) -> HashMap<Uuid, u64> {
        counted(self.ids.iter().map(|id| self.request_id(*id)), &self.request_executions)
    }
}

fn counted(ids: impl Iterator<Item = Uuid>, counts: &[AtomicU32]) -> HashMap<Uuid, u64> {
    let counts = counts.iter().map(|count| u64::from(count.load(Ordering::Acquire)));
    ids.zip(counts).filter(|(_, count)| *count > 0).collect()
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX).min(u64::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERED: &[AssignmentState] = &[AssignmentState::Delivered];

    #[test]
    fn the_tail_is_in_the_states_that_were_asked_for() {
        let states = vec![(AssignmentState::Expired, 1), (AssignmentState::DeliveryFailed, 2)];
        let all = Assignments::new(&Settings { assignments: 5, states, ..Settings::default() });
        let seen: Vec<_> = (0..5).map(|place| all.state(place, Duration::ZERO)).collect();
        let (good, bad) = (AssignmentState::Delivered, AssignmentState::DeliveryFailed);
        assert_eq!(seen, [good, good, AssignmentState::Expired, bad, bad]);
    }

    #[test]
    fn more_states_than_assignments_do_no_harm() {
        let states = vec![(AssignmentState::Expired, 9)];
        let all = Assignments::new(&Settings { assignments: 2, states, ..Settings::default() });
        assert_eq!(all.state(0, Duration::ZERO), AssignmentState::Expired);
        assert_eq!(all.state(7, Duration::ZERO), AssignmentState::Delivering, "no such place");
        assert!(!all.reprocess(7, DELIVERED, Duration::ZERO));
    }

    #[test]
    fn ids_and_request_ids_lead_back_to_their_place() {
        let all = Assignments::new(&Settings::default());
        for (place, id) in all.ids().iter().enumerate() {
            let request = all.request_id(*id);
            assert_eq!(all.find(*id), Some(place));
            assert_eq!(all.find_request(request), Some(place));
            assert_eq!(all.find(request), None);
            assert_eq!((request.get_version_num(), request.get_variant()), (4, id.get_variant()));
        }
    }

    #[test]
    fn delivering_can_last_for_ever() {
        let after = AfterReprocess::Delivering { lasts: Duration::MAX, ends: AssignmentState::Delivered };
        let all = Assignments::new(&Settings { after_reprocess: after, ..Settings::default() });
        assert!(all.reprocess(0, DELIVERED, Duration::from_secs(1)));
        assert_eq!(all.state(0, Duration::from_secs(1 << 40)), AssignmentState::Delivering);
    }

    #[test]
    fn delivering_lasts_as_long_as_set_and_counts_once() {
        let after = AfterReprocess::Delivering {
            lasts: Duration::from_secs(5),
            ends: AssignmentState::PartiallyDelivered,
        };
        let all = Assignments::new(&Settings { after_reprocess: after, ..Settings::default() });
        let at = Duration::from_secs;
        assert!(all.reprocess(3, DELIVERED, at(1)));
        assert!(!all.reprocess(3, DELIVERED, at(2)));
        assert_eq!(all.state(3, at(5)), AssignmentState::Delivering);
        assert_eq!(all.state(3, at(6)), AssignmentState::PartiallyDelivered);
        assert!(!all.reprocess(3, DELIVERED, at(6)));
        assert!(all.reprocess_request(3, &[AssignmentState::PartiallyDelivered], at(6)));
        assert_eq!(all.executions(), HashMap::from([(all.ids()[3], 1)]));
        assert_eq!(all.request_executions(), HashMap::from([(all.request_id(all.ids()[3]), 1)]));
    }
}
