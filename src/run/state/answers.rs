//! What an answer changes: outcomes, retries, what is known of batches, and whether to stop.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Flight, State};
use crate::client::{Exchange, Refusal};
use crate::landing::Landing;
use crate::outcome::Status;
use crate::retry::{Attempt, Company, Step};
use crate::run::batching::{Batching, Doubt};
use crate::run::item::Item;
use crate::run::stop::StopCause;
use crate::run::suspicion::Refused;

/// So many go each by itself at once; more take two steps to get there.
const FEW: usize = 4;

impl State {
    /// A flight came back.
    pub fn landed(
        &mut self,
        flight: u64,
        result: Result<Exchange, StopCause>,
        now: Instant,
        grace: Duration,
    ) {
        let Some(flight) = self.flights.remove(&flight) else { return };
        match result {
            Ok(exchange) => self.told(flight, exchange, 0, now, grace),
            Err(cause) => {
                let Flight { items, sent, .. } = flight;
                self.underway -= items.len();
                self.passed(sent, Landing::lost(items.len()), now);
                self.stop(cause, now + grace);
                self.queue.push_front(items);
            }
        }
    }

    /// A flight was answered, but for the items at these places: their token was refused, and the flight goes on with
    /// them alone once there is another one. What the others were told holds already, however that ends.
    pub fn landed_in_part(
        &mut self,
        flight: u64,
        exchange: Exchange,
        refused: &[usize],
        now: Instant,
        grace: Duration,
    ) {
        let Some(mut told) = self.flights.remove(&flight) else { return };
        let mut waiting = Vec::with_capacity(refused.len());
        let mut others = Vec::with_capacity(told.items.len());
        for (place, item) in told.items.into_iter().enumerate() {
            if refused.contains(&place) {
                waiting.push(Item { is_refused: true, ..item });
            } else {
                others.push(item);
            }
        }
        told.items = others;
        told.departure.came_back();
        let (count, departure) = (waiting.len(), told.departure.clone());
        self.flights.insert(flight, Flight { items: waiting, sent: None, departure, alone: told.alone });
        self.told(told, exchange, count, now, grace);
    }

    /// There is another token for what a flight still has to send. Gives until when it waits, where all wait.
    pub fn leaves_again(&mut self, flight: u64, now: Instant) -> Option<Instant> {
        let flight = self.flights.get_mut(&flight)?;
        let items = flight.items.len();
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = gate.paused_until(now);
        if paused.is_none() {
            flight.sent = Some(now);
            gate.sent(now, items);
        }
        paused
    }

    /// Let the gate know how a request ended, and the deadline how long it took. Gives whether the service is in trouble.
    fn passed(&mut self, sent: Option<Instant>, landing: Landing, now: Instant) -> bool {
        let Some(sent) = sent else { return self.gate().in_trouble() };
        if let Some(deadline) = &mut self.deadline {
            deadline.took(now - sent);
        }
        let mut gate = self.gate();
        gate.landed(now, sent, landing);
        gate.in_trouble()
    }

    /// The items of a flight were told this; of its request, so many more wait for another token.
    fn told(&mut self, flight: Flight, exchange: Exchange, waiting: usize, now: Instant, grace: Duration) {
        let Flight { items, alone, sent, .. } = flight;
        let (in_trouble, was_down, answered) = {
            let gate = self.gate();
            (gate.in_trouble(), gate.is_down(), gate.answered())
        };
        let levels = if items.len() > FEW { 2 } else { 1 };
        let is_isolated = alone || items.iter().all(|item| item.isolated);
        let company = match exchange.is_whole {
            // It may have been the one item that asks for all.
            _ if was_down || (in_trouble && items.len() == 1) => Company::None,
            // As long as nothing else was answered well meanwhile, it may not be the culprit.
            _ if is_isolated && items.iter().all(|item| item.suspect_since < answered) => Company::Isolated,
            _ if is_isolated => Company::None,
            true => Company::Whole { levels },
            false => Company::Parts { levels },
        };
        // What is in trouble by itself says it of the service once, unless it asks for all.
        let says_nothing = is_isolated && !in_trouble && items.iter().all(Item::is_in_trouble);
        self.underway -= items.len();
        self.http_requests += exchange.requests;
        if exchange.has_stranger {
            self.warn_once("a batch answer held an answer for an id that was not asked; it was passed over");
        }
        if !alone {
            self.batching.answered(exchange.results.iter());
        }
        let mut landing = Landing { near_limit: exchange.near_limit, ..Landing::lost(waiting) };
        // One draw for all, so that what failed together comes back together and fills a batch again.
        let jitter = fastrand::f64();
        let mut judged = Vec::with_capacity(items.len());
        for (mut item, attempt) in items.into_iter().zip(exchange.results) {
            item.history.is_read = self.plan.is_read;
            if !item.is_in_trouble() {
                item.suspect_since = answered;
            }
            let step = item.history.judge(&attempt, company, self.plan.limits, jitter);
            landing.count(&attempt, &step, item.was_throttled());
            item.remember(&attempt, exchange.is_whole, exchange.client_request_id);
            judged.push((item, attempt, step));
        }
        if says_nothing {
            landing.troubled = 0;
        }
        let in_trouble = self.passed(sent, landing, now);
        if was_down && in_trouble {
            self.queue.reunite();
        }
        self.look_for_grounds(&judged, exchange.client_request_id, now + grace);
        let (mut again, mut apart, mut apart_at, mut is_refused) = (Vec::new(), Vec::new(), now, false);
        for (mut item, attempt, step) in judged {
            match step {
                Step::Again { wait, apart: true, .. } => {
                    apart.push(item);
                    is_refused |= matches!(attempt, Attempt::BatchRefused);
                    apart_at = apart_at.max(now + wait);
                }
                // The gate holds it back, together with everybody else; then it goes first.
                Step::Again { everybody: true, .. } => again.push(item),
                Step::Again { .. } if in_trouble && !item.alone && !item.isolated => {
                    item.cohort = None;
                    again.push(item);
                }
                Step::Again { wait, .. } => self.queue.delay(item, now + wait),
                Step::Settled(status) if item.is_scout => self.scouted(item, status, now, grace),
                Step::Settled(Status::Rejected) if !alone && self.batching.is_open() => {
                    self.suspects.push(item)
                }
                Step::Settled(status) => self.settle(item, status, None, now),
                Step::GivenUp(status, reason) => self.give_up(item, &attempt, status, reason, now, grace),
            }
        }
        self.queue.push_again(again);
        if let [item] = apart.as_mut_slice() {
            // A batch of one that is refused may go through as a plain request.
            (item.alone, item.isolated) = (is_refused, true);
        }
        self.set_apart(apart, apart_at, now);
        self.resolve_suspects(now);
    }

    /// A flight came to grief on our own side; nobody should wait for it, and nothing is known of its items.
    pub fn crashed(&mut self, flight: u64, now: Instant, grace: Duration) {
        let Some(Flight { mut items, sent, departure, .. }) = self.flights.remove(&flight) else { return };
        self.underway -= items.len();
        self.passed(sent, Landing::lost(items.len()), now);
        if departure.has_left() {
            items.iter_mut().for_each(Item::cut_off);
        }
        self.queue.push_front(items);
        self.stop(
            StopCause::Asked("a request failed inside the client; please report it".into()),
            now + grace,
        );
    }

    /// Whether these answers are a reason to stop the whole run.
    fn look_for_grounds(&mut self, judged: &[(Item, Attempt, Step)], request: Uuid, until: Instant) {
        let answers = || {
            judged.iter().filter_map(|(_, attempt, step)| match attempt {
                Attempt::Answered(answer) => Some((answer, step)),
                _ => None,
            })
        };
        for (answer, step) in answers() {
            self.suspicion.heard(answer, step, self.plan.limits.max_wait);
        }
        let refused = answers().find(|(answer, _)| answer.status == 401);
        let ((answer, step), why) = if let Some(refused) = refused {
            (refused, "the service refuses the token (401)")
        } else {
            // Also where nothing is left that stopping could spare: who is told of it needs the same remedy.
            let Some(last) = answers().next_back() else { return };
            match self.suspicion.grounds() {
                Some(Refused::Forbidden) => (last, "everything is forbidden (403) and nothing was accepted"),
                Some(Refused::TooLong) => (
                    last,
                    "the service asks to wait longer than max_wait for everything, and nothing was accepted",
                ),
                None => return,
            }
        };
        let given_up = match step {
            Step::GivenUp(_, reason) => Some(reason.clone()),
            _ => None,
        };
        let refusal = Refusal { answer: answer.clone(), client_request_id: request, given_up };
        self.stop(StopCause::Refused(why.into(), Box::new(refusal)), until);
    }

    fn give_up(
        &mut self,
        mut item: Item,
        attempt: &Attempt,
        status: Status,
        reason: String,
        now: Instant,
        grace: Duration,
    ) {
        let mut reason = reason;
        if let Attempt::Failed(failure) = attempt
            && failure.concerns_all()
        {
            if item.history.lost.is_none() {
                reason = format!("{} ({reason})", failure.message);
            }
            self.stop(StopCause::Unreachable(failure.clone()), now + grace);
        }
        if std::mem::take(&mut item.is_scout) {
            // It found nothing out, so the next one goes.
            self.batching = Batching::default();
        }
        self.settle(item, status, Some(reason), now);
    }

    /// What was refused together, or spoilt together, goes again in smaller batches until the culprit stands alone.
    ///
    /// Batches as large as there are of them, and then each item by itself: with one culprit that takes no more
    /// requests than halving does, and nobody is executed more than three times for it, where halving takes six.
    fn set_apart(&mut self, mut items: Vec<Item>, at: Instant, now: Instant) {
        let size = if items.len() > FEW { items.len().isqrt() } else { 1 };
        for piece in items.chunks_mut(size) {
            let cohort = self.next_number();
            piece.iter_mut().for_each(|item| item.cohort = Some(cohort));
        }
        if at > now {
            items.into_iter().for_each(|item| self.queue.delay(item, at));
        } else {
            self.queue.push_front(items);
        }
        if self.batching.doubt() == Some(Doubt::WholeBatches)
            && let Some(mut scout) = self.queue.take(1).pop()
        {
            (scout.is_scout, scout.alone) = (true, true);
            self.queue.push_front(vec![scout]);
            self.batching = Batching::Scouting(Doubt::WholeBatches);
        }
    }

    /// What was answered 400 is rejected, unless that may have been about the batch.
    fn resolve_suspects(&mut self, now: Instant) {
        if self.batching.doubt() == Some(Doubt::EveryPart)
            && let Some(mut scout) = self.suspects.pop()
        {
            (scout.is_scout, scout.alone) = (true, true);
            self.queue.push_front(vec![scout]);
            self.batching = Batching::Scouting(Doubt::EveryPart);
        }
        // Where nothing else is going on, nothing more will be learnt.
        if !self.batching.is_open() || (self.queue.is_empty() && self.flights.is_empty()) {
            for item in std::mem::take(&mut self.suspects) {
                self.settle(item, Status::Rejected, None, now);
            }
        }
    }

    /// The answer to the plain request shows whether it was about the batches.
    fn scouted(&mut self, mut item: Item, status: Status, now: Instant, grace: Duration) {
        item.is_scout = false;
        let doubt = if let Batching::Scouting(doubt) = self.batching { Some(doubt) } else { None };
        if let (Some(_), Status::Accepted) = (doubt, status) {
            self.batching = Batching::Refused;
            let suspects = std::mem::take(&mut self.suspects);
            self.queue.push_front(suspects);
            self.warn_once(
                "the service takes no batches of this action, so each id goes in a request of its own",
            );
        } else if let (Some(Doubt::EveryPart), Some(answer)) = (doubt, &item.last_answer) {
            let refusal = Refusal {
                answer: answer.clone(),
                client_request_id: item.last_request.unwrap_or_default(),
                given_up: None,
            };
            let why =
                "the first hundred ids were all rejected (400), one of them in a request of its own as well";
            self.stop(StopCause::Refused(why.into(), Box::new(refusal)), now + grace);
        } else if doubt.is_some() {
            self.batching = Batching::default();
        }
        self.settle(item, status, None, now);
    }

    pub(super) fn warn_once(&mut self, text: &str) {
        if !self.warnings.iter().any(|known| known == text) {
            self.warnings.push(text.to_owned());
        }
    }
}
