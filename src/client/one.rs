//! One assignment: attempts until an answer settles it.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::{Client, Exchange, Failure, Refusal};
use crate::assignment::AssignmentId;
use crate::graph::action::Action;
use crate::landing::Landing;
use crate::outcome::{Outcome, OutcomeId, Status, unix_micros};
use crate::retry::{Attempt, Company, History, ItemAnswer, Step};
use crate::token::{CredentialFailure, TokenSource};
use crate::transport::{Departure, FailureKind, TransportFailure};

impl Client {
    /// Reprocess one assignment, with retries.
    pub async fn reprocess(
        &self,
        id: AssignmentId,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Outcome, Failure> {
        let departure = Departure::default();
        let mut history = History::default();
        tokio::select! {
            // An answer that has come counts, also where the client is closed at the same moment.
            biased;
            result = self.reprocess_until_settled(id, source, &departure, &mut history) => return result,
            () = self.closed() => {}
        }
        let left = departure.has_left() || history.doubt().is_some();
        let known =
            if left { "what was sent was not answered" } else { "nothing that was sent is unanswered" };
        Err(closed(left, &format!("the client was closed during the call; {known}")))
    }

    /// One attempt, with a renewed token where that was refused.
    async fn attempt(
        &self,
        id: AssignmentId,
        source: &Arc<dyn TokenSource>,
        departure: &Departure,
    ) -> Result<Exchange, CredentialFailure> {
        let mut sending = self.sending(Action::Reprocess, vec![id], true, source).await?;
        loop {
            let mut exchange = sending.send(departure).await;
            let Some(mut refused) = exchange.take_refused() else {
                sending.advise(&mut exchange);
                return Ok(exchange);
            };
            // It was refused, so it was not executed, however long the next token takes.
            departure.came_back();
            if !sending.renew(&refused).await? {
                sending.advise(&mut refused.exchange);
                return Ok(refused.exchange);
            }
        }
    }

    async fn reprocess_until_settled(
        &self,
        id: AssignmentId,
        source: &Arc<dyn TokenSource>,
        departure: &Departure,
        history: &mut History,
    ) -> Result<Outcome, Failure> {
        let started = Instant::now();
        loop {
            let slot = self.slot(Action::Reprocess).await;
            let exchange = self.attempt(id, source, departure).await;
            let exchange = exchange.map_err(|failure| without_token(failure, history))?;
            let Some(attempt) = exchange.results.into_iter().next() else {
                return Err(Failure::Transport(TransportFailure::protocol("no result for the request")));
            };
            let step = history.judge(&attempt, Company::None, self.options.limits, fastrand::f64());
            // What is in doubt from here on stands in the history.
            departure.came_back();
            let mut landing = Landing { near_limit: exchange.near_limit, ..Landing::default() };
            landing.count(&attempt, &step, false);
            slot.landed(landing);
            match step {
                Step::Again { wait, .. } => tokio::time::sleep(wait).await,
                Step::Settled(Status::Accepted) => {
                    let answer = settling_answer(attempt)?;
                    return Ok(accepted(id, answer, exchange.client_request_id, history.attempts, started));
                }
                Step::Settled(_) => {
                    let answer = settling_answer(attempt)?;
                    let client_request_id = exchange.client_request_id;
                    return Err(Failure::Graph(Box::new(Refusal {
                        answer,
                        client_request_id,
                        given_up: None,
                    })));
                }
                Step::GivenUp(status, reason) => {
                    return Err(give_up(attempt, exchange.client_request_id, status, history, &reason));
                }
            }
        }
    }
}

/// For a call that the closing of its client has ended.
pub(super) fn closed(left: bool, message: &str) -> Failure {
    Failure::Transport(TransportFailure { kind: FailureKind::Withdrawn, left, message: message.into() })
}

/// For want of a token. That an earlier attempt was lost is not hidden by it: it may have been executed.
fn without_token(failure: CredentialFailure, history: &History) -> Failure {
    let Some(doubt) = history.doubt() else { return Failure::Credential(failure) };
    let how = if history.lost.is_some() { "sent and lost" } else { "sent" };
    let message = format!("{}; an earlier attempt was {how}: {doubt}", failure.message);
    Failure::Credential(CredentialFailure { message, ..failure })
}

fn settling_answer(attempt: Attempt) -> Result<ItemAnswer, Failure> {
    match attempt {
        Attempt::Answered(answer) => Ok(answer),
        Attempt::Failed(failure) => Err(Failure::Transport(failure)),
        Attempt::BatchRefused => Ok(ItemAnswer::default()),
    }
}

fn accepted(
    id: AssignmentId,
    answer: ItemAnswer,
    client_request_id: Uuid,
    attempts: u32,
    started: Instant,
) -> Outcome {
    Outcome {
        index: 0,
        id: OutcomeId::Valid(id),
        status: Status::Accepted,
        http_status: Some(answer.status),
        code: None,
        message: None,
        request_id: answer.request_id.map(Into::into),
        client_request_id: Some(client_request_id),
        attempts,
        elapsed: started.elapsed(),
        finished_at: unix_micros(),
    }
}

/// The failure of a call for which no more attempt is made. An answer that settles nothing does not hide that an
/// earlier attempt may have been executed.
pub(super) fn give_up(
    attempt: Attempt,
    client_request_id: Uuid,
    status: Status,
    history: &History,
    reason: &str,
) -> Failure {
    let explained = |failure: TransportFailure| {
        Failure::Transport(TransportFailure { message: format!("{}; {reason}", failure.message), ..failure })
    };
    match (history.doubt().filter(|_| status == Status::Unknown), attempt) {
        (Some(doubt), _) => explained(doubt),
        (None, Attempt::Failed(failure)) => explained(failure),
        (None, Attempt::Answered(answer)) => {
            let given_up = Some(reason.to_owned());
            Failure::Graph(Box::new(Refusal { answer, client_request_id, given_up }))
        }
        (None, Attempt::BatchRefused) => explained(TransportFailure::protocol("the batch was refused")),
    }
}
