//! What an answer changes: outcomes, retries, what is known of batches, and whether to stop.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Flight, State};
use crate::client::{Exchange, Refusal};
use crate::landing::Landing;
use crate::outcome::Status;
use crate::retry::{Attempt, Step};
use crate::run::batching::{Batching, Doubt};
use crate::run::item::Item;
use crate::run::stop::StopCause;
use crate::run::suspicion::Refused;

impl State {
    /// A flight came back.
    pub fn landed(
        &mut self,
        flight: u64,
        result: Result<Exchange, StopCause>,
        now: Instant,
        grace: Duration,
    ) {
        let Some(Flight { items, alone, sent, .. }) = self.flights.remove(&flight) else { return };
        self.underway -= items.len();
        if let Some(deadline) = &mut self.deadline {
            deadline.took(now - sent);
        }
        let exchange = match result {
            Ok(exchange) => exchange,
            Err(cause) => {
                self.gate().landed(now, sent, Landing::lost(items.len()));
                self.stop(cause, now + grace);
                self.queue.push_front(items);
                return;
            }
        };
        self.http_requests += exchange.requests;
        if exchange.has_stranger {
            self.warn_once("a batch answer held an answer for an id that was not asked; it was passed over");
        }
        if !alone {
            self.batching.answered(exchange.results.iter());
        }
        let mut landing = Landing { near_limit: exchange.near_limit, ..Landing::default() };
        // One draw for all, so that what failed together comes back together and fills a batch again.
        let jitter = fastrand::f64();
        let mut judged = Vec::with_capacity(items.len());
        for (mut item, attempt) in items.into_iter().zip(exchange.results) {
            let step = item.history.judge(&attempt, self.plan.limits, jitter);
            landing.count(&attempt, &step);
            item.remember(&attempt, exchange.client_request_id);
            judged.push((item, attempt, step));
        }
        let in_trouble = {
            let mut gate = self.gate();
            gate.landed(now, sent, landing);
            gate.in_trouble()
        };
        if let Some(failure) = exchange.no_token {
            self.stop(StopCause::Credential(failure), now + grace);
        }
        self.look_for_grounds(&judged, exchange.client_request_id, now + grace);
        let (mut again, mut apart) = (Vec::new(), Vec::new());
        for (item, attempt, step) in judged {
            match step {
                Step::Again { wait, everybody } => {
                    if everybody || in_trouble {
                        // The gate holds it back, together with everybody else; then it goes first.
                        again.push(item);
                    } else {
                        self.queue.delay(item, now + wait);
                    }
                }
                Step::Apart => apart.push(item),
                Step::Settled(status) if item.is_scout => self.scouted(item, status, now, grace),
                Step::Settled(Status::Rejected) if !alone && self.batching.is_open() => {
                    self.suspects.push(item)
                }
                Step::Settled(status) => self.settle(item, status, None, now),
                Step::GivenUp(status, reason) => self.give_up(item, &attempt, status, reason, now, grace),
            }
        }
        self.queue.push_front(again);
        self.set_apart(apart);
        self.resolve_suspects(now);
    }

    /// A flight came to grief on our own side; nobody should wait for it, and nothing is known of its items.
    pub fn crashed(&mut self, flight: u64, now: Instant, grace: Duration) {
        let Some(Flight { mut items, sent, departure, .. }) = self.flights.remove(&flight) else { return };
        self.underway -= items.len();
        self.gate().landed(now, sent, Landing::lost(items.len()));
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
        let (answer, why) = if let Some((answer, _)) = refused {
            (answer, "the service refuses the token (401)")
        } else if self.queue.is_empty() && !self.open {
            // Nothing is left that stopping could spare.
            return;
        } else {
            let Some((answer, _)) = answers().next_back() else { return };
            match self.suspicion.grounds() {
                Some(Refused::Forbidden) => {
                    (answer, "everything is forbidden (403) and nothing was accepted")
                }
                Some(Refused::TooLong) => (
                    answer,
                    "the service asks to wait longer than max_wait for everything, and nothing was accepted",
                ),
                None => return,
            }
        };
        let refusal = Refusal { answer: answer.clone(), client_request_id: request, given_up: None };
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

    /// What was refused together goes again in halves, until the culprit stands alone.
    fn set_apart(&mut self, mut items: Vec<Item>) {
        if let [item] = items.as_mut_slice() {
            item.alone = true;
        } else {
            let middle = items.len().div_ceil(2);
            let cohorts = [self.next_number(), self.next_number()];
            for (place, item) in items.iter_mut().enumerate() {
                item.cohort = cohorts.get(usize::from(place >= middle)).copied();
            }
        }
        self.queue.push_front(items);
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
