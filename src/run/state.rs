//! What a run knows: what waits, what is under way, what is settled. Decides what to do next; does no I/O.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::columns::Columns;
use super::item::{Delayed, Item};
use super::recent::Recent;
use super::stop::StopCause;
use crate::assignment::{AssignmentId, InvalidId};
use crate::client::Exchange;
use crate::landing::Landing;
use crate::outcome::{Counts, Outcome, OutcomeId, Status, unix_micros};
use crate::pace::{Pace, Permit};
use crate::retry::{Attempt, History, Limits, Step};
use crate::token::CredentialFailure;
use crate::transport::{Departure, FailureKind, TransportFailure};

/// How long a batch that is not full waits for more input.
const LINGER: Duration = Duration::from_millis(50);
/// How soon to look again where other calls of the client hold the whole window.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where outcomes are kept, and how a repeated id is recognised.
pub enum Ledger {
    /// Every outcome, for a report.
    Columns(Box<Columns>),
    /// None, for a stream: memory stays flat.
    Window(Recent),
}

/// A request under way.
struct Flight {
    items: Vec<Item>,
    departure: Arc<Departure>,
    sent: Instant,
}

/// What the engine does next.
pub enum Next {
    /// Send these ids, all in one request.
    Send {
        /// Which flight this is.
        flight: u64,
        /// What to send.
        ids: Vec<AssignmentId>,
        /// As a plain POST.
        alone: bool,
        /// Lets the flight be held back.
        departure: Arc<Departure>,
    },
    /// Wait for something to happen, at the longest until then.
    Wait(Option<Instant>),
    /// Nothing is left to do.
    Finished,
}

/// The figures of a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// HTTP requests made.
    pub http_requests: u64,
    /// Attempts beyond the first, over all items.
    pub retries: u64,
    /// Time in which nothing was sent because the service asked for it.
    pub paused: Duration,
}

/// All that a run knows.
pub struct State {
    limits: Limits,
    batch_size: usize,
    concurrency: usize,
    open: bool,
    next_index: u64,
    next_number: u64,
    ready: VecDeque<Item>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    flights: HashMap<u64, Flight>,
    underway: usize,
    stop: Option<(StopCause, Instant)>,
    /// Shared by all calls of the client.
    pace: Arc<Mutex<Pace>>,
    /// What the pace had paused before this run.
    paused_before: Duration,
    ledger: Ledger,
    /// How often a row's id was repeated, where it was.
    repeats: HashMap<u32, u64>,
    outbox: Option<VecDeque<Outcome>>,
    counts: Counts,
    stats: Stats,
    done: bool,
}

impl State {
    /// A run that knows nothing yet. `hand_out` keeps each outcome until it is taken.
    pub fn new(
        limits: Limits,
        batch_size: usize,
        concurrency: usize,
        pace: Arc<Mutex<Pace>>,
        ledger: Ledger,
        hand_out: bool,
    ) -> Self {
        let paused_before = pace.lock().unwrap_or_else(PoisonError::into_inner).paused(Instant::now());
        Self {
            limits,
            batch_size: batch_size.max(1),
            concurrency: concurrency.max(1),
            open: true,
            next_index: 0,
            next_number: 0,
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
            flights: HashMap::new(),
            underway: 0,
            stop: None,
            pace,
            paused_before,
            ledger,
            repeats: HashMap::new(),
            outbox: hand_out.then(VecDeque::new),
            counts: Counts::default(),
            stats: Stats::default(),
            done: false,
        }
    }

    /// How many ids are taken in ahead of the sending: enough to keep it busy, few enough to stay small.
    fn capacity(&self) -> usize {
        (4 * self.concurrency * self.batch_size).max(1_000)
    }

    /// How many more ids may be pushed now.
    pub fn room(&self) -> usize {
        self.capacity().saturating_sub(self.ready.len() + self.delayed.len() + self.underway)
    }

    /// Whether there is room enough that fetching more input is worth waking up for.
    pub fn has_room(&self) -> bool {
        2 * self.room() >= self.capacity()
    }

    /// Take input in. What is no id is settled at once; what came before is not sent again.
    pub fn push(&mut self, input: impl IntoIterator<Item = Result<AssignmentId, InvalidId>>, now: Instant) {
        for id in input {
            let index = self.next_index;
            self.next_index += 1;
            match id {
                Ok(id) => self.admit(id, index, now),
                Err(refused) => self.refuse(&refused, index),
            }
        }
    }

    fn admit(&mut self, id: AssignmentId, index: u64, now: Instant) {
        let (row, new) = match &mut self.ledger {
            Ledger::Columns(columns) => columns.add(id),
            Ledger::Window(recent) => (0, recent.is_new(id)),
        };
        if !new {
            self.repeat(row);
            return;
        }
        let item = Item {
            id,
            index,
            row,
            alone: self.batch_size == 1,
            since: now,
            started: None,
            history: History::default(),
            last_answer: None,
            last_request: None,
        };
        match &self.stop {
            Some((cause, _)) => {
                let reason = cause.text();
                self.cut_short(item, &reason, false, now);
            }
            None => self.ready.push_back(item),
        }
    }

    /// A repeated place counts as its id does, now if that is settled and with it otherwise.
    fn repeat(&mut self, row: u32) {
        let Ledger::Columns(columns) = &self.ledger else { return };
        *self.repeats.entry(row).or_default() += 1;
        if columns.is_settled(row) {
            self.counts.add(columns.status(row), 1);
        }
    }

    fn refuse(&mut self, refused: &InvalidId, index: u64) {
        let shown: Arc<str> = refused.shown.as_str().into();
        let row = match &mut self.ledger {
            Ledger::Columns(columns) => columns.add_invalid(&shown),
            Ledger::Window(_) => 0,
        };
        let outcome = Outcome {
            index,
            id: OutcomeId::Invalid(shown),
            status: Status::Rejected,
            http_status: None,
            code: None,
            message: Some(refused.reason.as_str().into()),
            request_id: None,
            client_request_id: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            finished_at: unix_micros(),
        };
        self.settle(row, outcome);
    }

    /// No more input comes.
    pub fn close_input(&mut self) {
        self.open = false;
    }

    /// Send nothing more; what is under way may take until the deadline. A sooner deadline wins, the first cause stays.
    pub fn stop(&mut self, cause: StopCause, deadline: Instant) {
        self.open = false;
        for flight in self.flights.values() {
            flight.departure.hold();
        }
        self.stop = match self.stop.take() {
            Some((first, before)) => Some((first, before.min(deadline))),
            None => Some((cause, deadline)),
        };
    }

    /// What to do next.
    pub fn next(&mut self, now: Instant) -> Next {
        if let Some((_, deadline)) = self.stop {
            return if self.flights.is_empty() || deadline <= now {
                Next::Finished
            } else {
                Next::Wait(Some(deadline))
            };
        }
        while self.delayed.peek().is_some_and(|Reverse(delayed)| delayed.ready_at <= now) {
            if let Some(Reverse(delayed)) = self.delayed.pop() {
                self.ready.push_back(delayed.item);
            }
        }
        if self.ready.is_empty() && self.delayed.is_empty() && self.flights.is_empty() && !self.open {
            return Next::Finished;
        }
        if self.flights.len() >= self.concurrency {
            return Next::Wait(None);
        }
        match self.ready.front() {
            Some(first) if first.alone || self.ready.len() >= self.batch_size || !self.open => self.send(now),
            // Input that comes slowly must not wait for a full batch for ever.
            Some(first) if now >= first.since + LINGER => self.send(now),
            Some(first) => Next::Wait(Some(first.since + LINGER)),
            None => Next::Wait(self.delayed.peek().map(|Reverse(delayed)| delayed.ready_at)),
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&mut self, now: Instant) -> Next {
        let alone = self.ready.front().is_some_and(|first| first.alone);
        let wanted = if alone { 1 } else { self.ready.len().min(self.batch_size) };
        let permit = self.pace().permit(now, wanted);
        let most = match permit {
            Permit::Send(most) => most,
            Permit::At(until) => return Next::Wait(Some(until)),
            Permit::AfterAnswer if self.flights.is_empty() => return Next::Wait(Some(now + LOOK_AGAIN)),
            Permit::AfterAnswer => return Next::Wait(None),
        };
        let mut items = Vec::new();
        while items.len() < most {
            match self.ready.pop_front() {
                Some(item) if item.alone == alone => items.push(item),
                Some(other) => {
                    self.ready.push_front(other);
                    break;
                }
                None => break,
            }
        }
        for item in &mut items {
            item.started.get_or_insert(now);
        }
        let ids = items.iter().map(|item| item.id).collect();
        let departure = Arc::new(Departure::default());
        let flight = self.next_number();
        self.underway += items.len();
        self.pace().sent(now, items.len());
        self.flights.insert(flight, Flight { items, departure: departure.clone(), sent: now });
        Next::Send { flight, ids, alone, departure }
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A flight came back.
    pub fn landed(
        &mut self,
        flight: u64,
        result: Result<Exchange, CredentialFailure>,
        now: Instant,
        grace: Duration,
    ) {
        let Some(Flight { items, sent, .. }) = self.flights.remove(&flight) else { return };
        self.underway -= items.len();
        let mut landing = Landing::default();
        let exchange = match result {
            Ok(exchange) => exchange,
            Err(failure) => {
                self.pace().landed(now, sent, Landing::lost(items.len()));
                self.stop(StopCause::Credential(failure), now + grace);
                self.ready.extend(items);
                return;
            }
        };
        self.stats.http_requests += exchange.requests;
        // One draw for all, so that what failed together comes back together and fills a batch again.
        let jitter = fastrand::f64();
        let mut again = Vec::new();
        for (mut item, attempt) in items.into_iter().zip(exchange.results) {
            let step = item.history.judge(&attempt, self.limits, jitter);
            landing.count(&attempt, &step);
            if let Attempt::Answered(answer) = &attempt {
                item.last_answer = Some(answer.clone());
                item.last_request = Some(exchange.client_request_id);
            }
            match step {
                Step::Settled(status) => {
                    if let Attempt::Answered(answer) = attempt {
                        if answer.status == 401 {
                            self.stop(
                                StopCause::Unauthorized(answer.clone(), exchange.client_request_id),
                                now + grace,
                            );
                        }
                        self.settle_answered(item, status, None, now);
                    }
                }
                Step::Again { wait, everybody, alone } => {
                    item.alone |= alone;
                    if everybody {
                        // The pace holds it back, together with everybody else; then it goes first.
                        again.push(item);
                    } else {
                        self.delay(item, now + wait);
                    }
                }
                Step::GivenUp(status, reason) => {
                    if let Attempt::Failed(failure) = attempt
                        && !failure.left
                        && failure.kind != FailureKind::Withdrawn
                    {
                        self.stop(StopCause::Unreachable(failure), now + grace);
                    }
                    self.settle_answered(item, status, Some(reason), now);
                }
            }
        }
        for item in again.into_iter().rev() {
            self.ready.push_front(item);
        }
        landing.near_limit = exchange.near_limit;
        self.pace().landed(now, sent, landing);
    }

    fn delay(&mut self, item: Item, ready_at: Instant) {
        let number = self.next_number();
        self.delayed.push(Reverse(Delayed { ready_at, number, item }));
    }

    /// Settle an item by what it was last told, or by what was lost.
    fn settle_answered(&mut self, item: Item, status: Status, reason: Option<String>, now: Instant) {
        let by_answer = status != Status::Unknown && status != Status::NotAttempted;
        let answer = item.last_answer.filter(|_| by_answer).unwrap_or_default();
        let said = match &item.history.lost {
            Some(lost) if !by_answer => Some(lost.message.clone()),
            _ => answer.found.or(answer.error.message),
        };
        let message = match (said, reason) {
            (Some(said), Some(reason)) => Some(format!("{said} ({reason})")),
            (said, reason) => said.or(reason),
        };
        let outcome = Outcome {
            index: item.index,
            id: OutcomeId::Valid(item.id),
            status,
            http_status: Some(answer.status).filter(|status| *status != 0),
            code: answer.error.code.map(Into::into),
            message: message.map(Into::into),
            request_id: answer.request_id.map(Into::into),
            client_request_id: item.last_request,
            attempts: item.history.attempts,
            elapsed: item.started.map_or(Duration::ZERO, |started| now - started),
            finished_at: unix_micros(),
        };
        self.settle(item.row, outcome);
    }

    fn settle(&mut self, row: u32, outcome: Outcome) {
        let repeats = self.repeats.get(&row).copied().unwrap_or_default();
        self.counts.add(outcome.status, 1 + repeats);
        self.stats.retries += u64::from(outcome.attempts.saturating_sub(1));
        if let Ledger::Columns(columns) = &mut self.ledger {
            columns.settle(row, &outcome);
        }
        if let Some(outbox) = &mut self.outbox {
            outbox.push_back(outcome);
        }
    }

    /// End it: whatever is not settled gets the outcome that is known to be true of it.
    pub fn finish(&mut self, now: Instant) {
        let reason = self.stop.as_ref().map_or_else(|| "the run ended".to_owned(), |(cause, _)| cause.text());
        let flights: Vec<Flight> = self.flights.drain().map(|(_, flight)| flight).collect();
        for flight in flights {
            self.pace().landed(now, flight.sent, Landing::lost(flight.items.len()));
            let left = flight.departure.has_left();
            for item in flight.items {
                self.cut_short(item, &reason, left, now);
            }
        }
        self.underway = 0;
        for item in std::mem::take(&mut self.ready) {
            self.cut_short(item, &reason, false, now);
        }
        for Reverse(delayed) in std::mem::take(&mut self.delayed).into_sorted_vec() {
            self.cut_short(delayed.item, &reason, false, now);
        }
        self.stats.paused = self.paused(now);
        self.done = true;
    }

    fn cut_short(&mut self, mut item: Item, reason: &str, left: bool, now: Instant) {
        if left {
            item.history.attempts += 1;
            item.history.lost = Some(TransportFailure {
                kind: FailureKind::Withdrawn,
                left: true,
                message: "sent, and not answered before the run ended".into(),
            });
        }
        let status = item.history.end();
        self.settle_answered(item, status, Some(reason.to_owned()), now);
    }

    /// Whether every id has its outcome and none will be taken in any more.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether outcomes wait to be taken.
    pub fn has_outcomes(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    /// Take the outcomes that wait.
    pub fn take(&mut self) -> Vec<Outcome> {
        self.outbox.as_mut().map(|outbox| outbox.drain(..).collect()).unwrap_or_default()
    }

    /// How many places of the input have ended in each way.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The figures so far.
    pub fn stats(&self, now: Instant) -> Stats {
        let paused = if self.done { self.stats.paused } else { self.paused(now) };
        Stats { paused, ..self.stats }
    }

    /// How much longer the shared pause lasts.
    pub fn pause_left(&self, now: Instant) -> Duration {
        self.pace().paused_until(now).map_or(Duration::ZERO, |until| until - now)
    }

    fn paused(&self, now: Instant) -> Duration {
        self.pace().paused(now).saturating_sub(self.paused_before)
    }

    /// Why the run stopped, if it did.
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.stop.as_ref().map(|(cause, _)| cause.clone())
    }

    /// Take the columns out, empty for a stream.
    pub fn take_columns(&mut self) -> Columns {
        match std::mem::replace(&mut self.ledger, Ledger::Window(Recent::default())) {
            Ledger::Columns(mut columns) => {
                columns.freeze();
                *columns
            }
            Ledger::Window(_) => Columns::default(),
        }
    }
}
