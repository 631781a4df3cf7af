//! What a run knows: what waits, what is under way, what is settled. Decides what to do next; does no I/O.

mod answers;
mod journaled;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::batching::Batching;
use super::book::Book;
use super::deadline::Deadline;
use super::item::Item;
use super::journal::Link;
use super::queue::Queue;
use super::stop::StopCause;
use super::suspicion::Suspicion;
use crate::assignment::{AssignmentId, InvalidId};
use crate::gate::Gate;
use crate::landing::Landing;
use crate::outcome::{OutcomeId, Status};
use crate::pace::Permit;
use crate::retry::Limits;
use crate::transport::Departure;

/// How long a batch that is not full waits for more input.
const LINGER: Duration = Duration::from_millis(50);
/// How soon to look again where other calls of the client hold the whole window.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A request under way.
struct Flight {
    items: Vec<Item>,
    alone: bool,
    departure: Arc<Departure>,
    /// When it was sent; `None` while it waits for another token, and nothing of it is on its way.
    sent: Option<Instant>,
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

/// How a run goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long and how often to try.
    pub limits: Limits,
    /// Items in one batch; 1 sends plain requests.
    pub batch_size: usize,
    /// Requests in flight at the most.
    pub concurrency: usize,
    /// How long it may take.
    pub deadline: Option<Duration>,
}

/// All that a run knows.
pub struct State {
    plan: Plan,
    deadline: Option<Deadline>,
    open: bool,
    next_index: u64,
    next_number: u64,
    queue: Queue,
    flights: HashMap<u64, Flight>,
    underway: usize,
    /// Answered 400 in a batch, as long as that may be about the batch.
    suspects: Vec<Item>,
    batching: Batching,
    suspicion: Suspicion,
    stop: Option<(StopCause, Instant)>,
    /// Shared by all calls of the client.
    gate: Arc<Mutex<Gate>>,
    /// What the gate had paused before this run.
    paused_before: Duration,
    book: Book,
    journal: Option<Link>,
    http_requests: u64,
    warnings: Vec<String>,
    /// What was paused in all, once nothing is sent any more.
    finished: Option<Duration>,
    is_done: bool,
}

impl State {
    /// A run that knows what is in the book.
    pub fn new(plan: Plan, gate: Arc<Mutex<Gate>>, book: Book, journal: Option<Link>, now: Instant) -> Self {
        let paused_before = gate.lock().unwrap_or_else(PoisonError::into_inner).paused(now);
        Self {
            plan,
            deadline: plan.deadline.map(|limit| Deadline::new(limit, now)),
            open: true,
            next_index: 0,
            next_number: 0,
            queue: Queue::default(),
            flights: HashMap::new(),
            underway: 0,
            suspects: Vec::new(),
            batching: Batching::default(),
            suspicion: Suspicion::default(),
            stop: None,
            gate,
            paused_before,
            book,
            journal,
            http_requests: 0,
            warnings: Vec::new(),
            finished: None,
            is_done: false,
        }
    }

    /// The outcomes.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// The outcomes, to take some out.
    pub const fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    // ---- intake

    /// How many places of the input are known, those of a journal included.
    pub fn places(&self) -> u64 {
        self.book.columns().map_or(self.next_index, |columns| columns.places().len() as u64)
    }

    /// How many ids are taken in ahead of the sending: enough to keep it busy, few enough to stay small.
    fn capacity(&self) -> usize {
        (4 * self.plan.concurrency * self.plan.batch_size).max(1_000)
    }

    /// How many more ids may be pushed now. Outcomes that nobody has taken count, too: memory stays flat.
    pub fn room(&self) -> usize {
        let waiting = self.queue.len() + self.underway + self.backlog() + self.book.untaken();
        self.capacity().saturating_sub(waiting).max(self.room_ahead())
    }

    /// Whether there is room enough that fetching more input is worth waking up for.
    pub fn has_room(&self) -> bool {
        2 * self.room() >= self.capacity()
    }

    /// Take input in. What is no id is settled at once; what came before is not sent again.
    pub fn push(&mut self, input: impl IntoIterator<Item = Result<AssignmentId, InvalidId>>, now: Instant) {
        for id in input {
            let index = self.next_index;
            if self.is_passed_over(index, &id, now) {
                continue;
            }
            self.next_index += 1;
            match id {
                Err(refused) => {
                    let (row, outcome) = self.book.refuse(&refused, index);
                    self.write_down(index, row, true, || outcome.id.clone());
                    self.record(row, outcome, None);
                }
                Ok(id) => {
                    let (row, is_new) = self.book.admit(id);
                    self.write_down(index, row, is_new, || OutcomeId::Valid(id));
                    if !is_new {
                        continue;
                    }
                    // With a journal it comes out of the columns, when it may be sent.
                    if self.journal.is_some() && self.finished.is_none() {
                        continue;
                    }
                    let item = Item::new(id, index, row, now);
                    match self.stop.as_ref().map(|(cause, _)| cause.text()) {
                        Some(reason) => self.settle(item, Status::NotAttempted, Some(reason), now),
                        None => self.queue.push_back(item),
                    }
                }
            }
        }
    }

    // ---- what to do next

    /// Send nothing more; what is under way may take until then. A sooner time wins, the first cause stays.
    pub fn stop(&mut self, cause: StopCause, until: Instant) {
        self.open = false;
        for flight in self.flights.values() {
            flight.departure.hold();
        }
        self.stop = match self.stop.take() {
            Some((first, before)) => Some((first, before.min(until))),
            None => Some((cause, until)),
        };
    }

    /// What to do next.
    pub fn next(&mut self, now: Instant) -> Next {
        let last_call = self.deadline.as_ref().map(Deadline::last_call);
        if let Some(deadline) = &self.deadline
            && deadline.last_call() <= now
        {
            let (cause, until) = (StopCause::Deadline(deadline.limit()), deadline.end());
            self.stop(cause, until);
        }
        if let Some((_, until)) = self.stop {
            // What has not left by now never will.
            let is_over = until <= now || !self.flights.values().any(|flight| flight.departure.has_left());
            return if is_over { Next::Finished } else { Next::Wait(Some(until)) };
        }
        match self.decide(now) {
            Next::Wait(until) => Next::Wait(until.into_iter().chain(last_call).min()),
            next => next,
        }
    }

    fn decide(&mut self, now: Instant) -> Next {
        self.queue.wake(now);
        if self.journal_holds_back(now) {
            return Next::Wait(None);
        }
        if self.queue.is_empty() && self.flights.is_empty() && !self.open && self.backlog() == 0 {
            return Next::Finished;
        }
        if self.flights.len() >= self.plan.concurrency || self.answers_matter_more() || self.awaits_token() {
            return Next::Wait(None);
        }
        if matches!(self.batching, Batching::Scouting(_)) && !self.queue.scout_first() {
            return Next::Wait(self.queue.wakes_at());
        }
        match self.queue.front(self.most()) {
            // Input that comes slowly must not wait for a full batch for ever.
            Some(front) if front.may_grow && self.open && now < front.since + LINGER => {
                Next::Wait(Some(front.since + LINGER))
            }
            Some(front) => self.send(front.count, now),
            None => Next::Wait(self.queue.wakes_at()),
        }
    }

    /// How many items one request may carry.
    fn most(&self) -> usize {
        if self.batching == Batching::Refused { 1 } else { self.plan.batch_size }
    }

    /// Whether what is under way may end the run, or change how it is done.
    fn answers_matter_more(&self) -> bool {
        self.underway > 0
            && (self.suspicion.must_wait(self.underway) || self.batching.must_wait(self.underway))
    }

    /// Whether something waits for another token. Whatever else is sent would need that one too.
    fn awaits_token(&self) -> bool {
        self.flights.values().any(|flight| flight.sent.is_none())
    }

    fn send(&mut self, wanted: usize, now: Instant) -> Next {
        let left = (!self.open).then_some(self.queue.len());
        let permit = self.gate().permit(now, wanted, left);
        let most = match permit {
            Permit::Send(most) => most,
            Permit::At(until) => return Next::Wait(Some(until)),
            Permit::AfterAnswer if self.flights.is_empty() => return Next::Wait(Some(now + LOOK_AGAIN)),
            Permit::AfterAnswer => return Next::Wait(None),
        };
        let mut items = self.queue.take(wanted.min(most));
        for item in &mut items {
            item.started.get_or_insert(now);
        }
        let alone = self.most() == 1 || items.iter().any(|item| item.alone);
        let ids = items.iter().map(|item| item.id).collect();
        let departure = Arc::new(Departure::default());
        let flight = self.next_number();
        self.underway += items.len();
        self.gate().sent(now, items.len());
        self.flights.insert(flight, Flight { items, alone, departure: departure.clone(), sent: Some(now) });
        Next::Send { flight, ids, alone, departure }
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the end, and what can be asked

    fn settle(&mut self, mut item: Item, status: Status, reason: Option<String>, now: Instant) {
        let (row, carried) = (item.row, item.carried.clone());
        // Where this run did not come to it, the outcome that it had before still holds.
        let untried = item.history.attempts == 0;
        let before = item.carried.as_mut().and_then(|carried| carried.outcome.take()).filter(|_| untried);
        let outcome = before.unwrap_or_else(|| item.outcome(status, reason, now));
        self.record(row, outcome, carried.as_deref());
    }

    /// End it: whatever is not settled gets the outcome that is known to be true of it.
    pub fn finish(&mut self, now: Instant) {
        if self.finished.is_some() {
            return;
        }
        let reason = self.stop.as_ref().map_or_else(|| "the run ended".to_owned(), |(cause, _)| cause.text());
        let flights: Vec<Flight> = self.flights.drain().map(|(_, flight)| flight).collect();
        let mut open = Vec::new();
        for flight in flights {
            if let Some(sent) = flight.sent {
                self.gate().landed(now, sent, Landing::lost(flight.items.len()));
            }
            let has_left = flight.departure.has_left();
            open.extend(flight.items.into_iter().map(|mut item| {
                if has_left {
                    item.cut_off();
                }
                item
            }));
        }
        self.underway = 0;
        open.extend(self.queue.drain());
        for item in open {
            let status = item.history.cut_short();
            let so_far = match status {
                Status::NotAttempted if item.is_refused => "its token was refused (401), and no other came; ",
                Status::NotAttempted if item.history.answered => "throttled so far; ",
                _ => "",
            };
            let reason = format!("{so_far}{reason}");
            self.settle(item, status, Some(reason), now);
        }
        for item in std::mem::take(&mut self.suspects) {
            self.settle(item, Status::Rejected, None, now);
        }
        let paused = self.paused(now);
        self.finished = Some(paused);
        self.close_journal(&reason, paused, now);
    }

    /// Nothing is left to wait for.
    pub const fn conclude(&mut self) {
        self.is_done = true;
    }

    /// Whether every id has its outcome and none will be taken in any more.
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// The figures so far.
    pub fn stats(&self, now: Instant) -> Stats {
        Stats {
            http_requests: self.http_requests,
            retries: self.book.retries(),
            paused: self.finished.unwrap_or_else(|| self.paused(now)),
        }
    }

    /// How much longer the shared pause lasts.
    pub fn pause_left(&self, now: Instant) -> Duration {
        self.gate().paused_until(now).map_or(Duration::ZERO, |until| until - now)
    }

    fn paused(&self, now: Instant) -> Duration {
        self.gate().paused(now).saturating_sub(self.paused_before)
    }

    /// Why the run stopped, if it did.
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.stop.as_ref().map(|(cause, _)| cause.clone())
    }

    /// What the caller should be told, besides the outcomes; each once.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
