//! Runs in virtual time against services that spoil whole answers: one part, many parts, or an outage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Next, Plan, State};
use crate::assignment::AssignmentId;
use crate::client::Exchange;
use crate::gate::Gate;
use crate::outcome::Status;
use crate::pace::Pace;
use crate::retry::{Attempt, ItemAnswer, Limits};
use crate::run::book::{Book, Ledger};
use crate::transport::{FailureKind, TransportFailure};

const LATENCY: Duration = Duration::from_millis(50);

/// What comes of a request that is spoilt.
#[derive(Clone, Copy, Debug)]
enum Spoilt {
    /// An answer that cannot be read.
    Unreadable,
    /// No answer.
    Cut,
    /// A whole 5XX.
    Trouble,
    /// Nobody to connect to: nothing leaves.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    items: u128,
    /// Each so many-th id spoils whatever it is in; 0: none.
    culprits: u128,
    spoilt: Spoilt,
    /// Seconds from and to which everything is spoilt.
    outage: (f64, f64),
    batch: usize,
    retries: u32,
}

const CASE: Case =
    Case { items: 200, culprits: 0, spoilt: Spoilt::Unreadable, outage: (0.0, 0.0), batch: 20, retries: 8 };

#[derive(Debug, Default)]
struct Told {
    seconds: f64,
    requests: usize,
    /// How often an id that spoils nothing was executed at the most.
    most: u32,
    /// The largest number of requests under way once it was clear that there is trouble.
    crowd: usize,
    /// Items in the largest request after the outage.
    full: usize,
    accepted: u64,
    lost: u64,
    failed: u64,
    stopped: bool,
}

impl Case {
    fn is_culprit(&self, id: AssignmentId) -> bool {
        // At random, but the same in each run.
        let place = id.as_uuid().as_u128().wrapping_mul(0x9e37_79b9_7f4a_7c15) % 0xffff_fffb;
        self.culprits > 0 && place % self.culprits == 3
    }

    fn answer(&self, ids: &[AssignmentId], at: f64) -> Exchange {
        let is_out = (self.outage.0..self.outage.1).contains(&at);
        let failed = |kind, left| {
            let message = "spoilt".into();
            Attempt::Failed(TransportFailure { kind, left, message })
        };
        let answered = |status| Attempt::Answered(ItemAnswer { status, ..ItemAnswer::default() });
        let is_whole = is_out || ids.iter().any(|id| self.is_culprit(*id));
        let attempt = match self.spoilt {
            _ if !is_whole => answered(202),
            Spoilt::Unreadable => failed(FailureKind::Protocol, true),
            Spoilt::Cut => failed(FailureKind::Connection, true),
            Spoilt::Trouble => answered(502),
            Spoilt::Refused => failed(FailureKind::Connection, false),
        };
        Exchange {
            client_request_id: Uuid::nil(),
            results: vec![attempt; ids.len()],
            is_whole,
            requests: 1,
            near_limit: None,
            has_stranger: false,
        }
    }

    fn run(&self, seed: u64) -> Told {
        fastrand::seed(seed);
        let start = Instant::now();
        let (mut now, mut told) = (start, Told::default());
        let plan = Plan {
            limits: Limits { max_retries: self.retries, max_wait: Duration::from_secs(600) },
            batch_size: self.batch,
            concurrency: 8,
            deadline: None,
            is_read: false,
        };
        let gate = Arc::new(Mutex::new(Gate::new(Pace::new(self.batch, 8, None))));
        let book = Book::new(Ledger::Columns(Box::default()), false);
        let mut state = State::new(plan, gate.clone(), book, None, now);
        state.push((0..self.items).map(|id| Ok(Uuid::from_u128(id).into())), now);
        state.close_input(now);
        let mut under_way: BTreeMap<(Instant, u64), Vec<AssignmentId>> = BTreeMap::new();
        let mut executed: BTreeMap<AssignmentId, u32> = BTreeMap::new();
        loop {
            let was_known = gate.lock().unwrap().in_trouble();
            match state.next(now) {
                Next::Finished => break,
                Next::Send { flight, ids, .. } => {
                    told.requests += 1;
                    if (now - start).as_secs_f64() > self.outage.1 {
                        told.full = told.full.max(ids.len());
                    }
                    for id in &ids {
                        *executed.entry(*id).or_default() += 1;
                    }
                    under_way.insert((now + LATENCY, flight), ids);
                    if was_known {
                        told.crowd = told.crowd.max(under_way.len());
                    }
                }
                Next::Wait(until) => {
                    let lands = under_way.keys().next().copied();
                    match (lands, until) {
                        (Some((at, flight)), until) if until.is_none_or(|until| at <= until) => {
                            now = at;
                            let ids = under_way.remove(&(at, flight)).unwrap();
                            let exchange = self.answer(&ids, (now - start).as_secs_f64());
                            state.landed(flight, Ok(exchange), now, Duration::ZERO);
                        }
                        (_, Some(until)) => now = until.max(now),
                        (_, None) => panic!("nothing will ever happen"),
                    }
                }
            }
        }
        state.finish(now);
        let counts = state.book().counts();
        assert_eq!(counts.total() as u128, self.items);
        let good = executed.iter().filter(|(id, _)| !self.is_culprit(**id));
        told.most = good.map(|(_, times)| *times).max().unwrap_or_default();
        told.seconds = (now - start).as_secs_f64();
        told.accepted = counts.of(Status::Accepted);
        told.lost = counts.of(Status::Unknown);
        told.failed = counts.of(Status::Failed);
        told.stopped = state.stop_cause().is_some();
        told
    }
}

/// What came of twenty runs, each with other luck.
fn runs(case: Case) -> Vec<Told> {
    (0..20).map(|seed| case.run(seed)).collect()
}

#[test]
fn one_part_that_spoils_its_batch_loses_only_itself() {
    for (culprits, spoilt, seconds, requests) in [
        (200, Spoilt::Unreadable, 8.0, 30),
        (10, Spoilt::Unreadable, 15.0, 230),
        (5, Spoilt::Unreadable, 20.0, 320),
        (4, Spoilt::Unreadable, 25.0, 430),
        // A connection that breaks may do so for anybody: by itself it is sent to the end of its retries.
        (200, Spoilt::Cut, 20.0, 35),
        (10, Spoilt::Cut, 30.0, 270),
        (10, Spoilt::Trouble, 60.0, 290),
    ] {
        let case = Case { culprits, spoilt, ..CASE };
        let own = (0..case.items).filter(|id| case.is_culprit(Uuid::from_u128(*id).into())).count() as u64;
        for told in runs(case) {
            assert_eq!(told.accepted, 200 - own, "{case:?} {told:?}");
            assert_eq!(if matches!(spoilt, Spoilt::Trouble) { told.failed } else { told.lost }, own);
            assert!(told.seconds < seconds && told.requests < requests, "{case:?} {told:?}");
            // Twice or three times in a full batch, in one of four, by itself, and once for what others spoil.
            assert!(told.most <= 6, "{case:?} {told:?}");
        }
    }
}

#[test]
fn without_batches_nobody_waits_for_a_culprit() {
    for told in runs(Case { culprits: 10, batch: 1, ..CASE }) {
        assert_eq!((told.accepted + told.lost, told.most), (200, 1), "{told:?}");
        assert!(told.seconds < 6.0, "{told:?}");
    }
}

#[test]
fn an_outage_is_nobodys_doing() {
    for spoilt in [Spoilt::Unreadable, Spoilt::Cut, Spoilt::Trouble] {
        for (items, requests) in [(2_000, 185), (200, 95), (40, 60)] {
            let case = Case { items, outage: (0.2, 20.2), spoilt, ..CASE };
            let case = if items == 2_000 { case } else { Case { outage: (0.0, 10.0), ..case } };
            for told in runs(case) {
                assert_eq!(u128::from(told.accepted), items, "{case:?} {told:?}");
                assert_eq!(told.crowd, 1, "one at a time: {case:?} {told:?}");
                assert_eq!(told.full, 20, "then full batches: {case:?} {told:?}");
                assert!(told.requests < requests, "{case:?} {told:?}");
            }
        }
    }
}

#[test]
fn after_an_outage_the_culprits_are_isolated_all_the_same() {
    for told in runs(Case { items: 2_000, culprits: 10, outage: (0.2, 20.2), ..CASE }) {
        assert_eq!((told.accepted + told.lost, told.lost < 210), (2_000, true), "{told:?}");
        assert!(told.seconds < 70.0 && told.most <= 8, "{told:?}");
    }
}

#[test]
fn a_service_that_stays_away_ends_the_run_in_its_time() {
    for (spoilt, items, seconds) in
        [(Spoilt::Cut, 40, 250.0), (Spoilt::Trouble, 40, 250.0), (Spoilt::Refused, 40, 250.0)]
    {
        for told in runs(Case { items, outage: (0.0, 1e9), spoilt, ..CASE }) {
            assert_eq!(told.accepted, 0);
            assert_eq!(told.stopped, matches!(spoilt, Spoilt::Refused));
            assert!(told.seconds < seconds, "{told:?}");
        }
    }
}
