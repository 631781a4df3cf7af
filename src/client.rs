//! One client: its endpoint, token and transport, and the attempts that are made through them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use crate::assignment::AssignmentId;
use crate::graph::batch::{self, PartResult};
use crate::graph::endpoint::Endpoint;
use crate::graph::error::ErrorBody;
use crate::graph::retry_after;
use crate::outcome::{Outcome, OutcomeId, Status, unix_micros};
use crate::retry::{Attempt, History, ItemAnswer, Limits, Step};
use crate::token::{CredentialFailure, Lease, TokenCache, TokenSource};
use crate::transport::{Answer, Departure, FailureKind, Transport, TransportFailure, TransportOptions};

/// How a client behaves, all of it checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where requests go.
    pub endpoint: Endpoint,
    /// The scope to ask a token for.
    pub scope: String,
    /// Items in one batch, 1 to 20; 1 sends plain POSTs.
    pub batch_size: usize,
    /// How long and how often to try.
    pub limits: Limits,
    /// How to reach the endpoint.
    pub transport: TransportOptions,
}

/// An answer of Graph's that is no acceptance.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What it said.
    pub answer: ItemAnswer,
    /// Our id of the request.
    pub client_request_id: Uuid,
    /// Why no more attempt was made, where one could have been.
    pub given_up: Option<String>,
}

/// Why a call for one assignment brought no acceptance.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Graph answered otherwise.
    Graph(Box<Refusal>),
    /// There is no usable answer.
    Transport(TransportFailure),
    /// There is no token.
    Credential(CredentialFailure),
}

/// What one HTTP exchange brought for each of its items, in the order in which they were asked.
#[derive(Debug)]
pub struct Exchange {
    /// Our id of the request.
    pub client_request_id: Uuid,
    /// One result per item.
    pub results: Vec<Attempt>,
    /// HTTP requests made: two where the token had to be renewed.
    pub requests: u64,
}

/// A client; every method may be called from many tasks at once.
///
/// The token source comes with each call, since an asynchronous one is bound to the event loop of its caller;
/// the token itself is shared by all of them.
pub struct Client {
    options: Options,
    transport: Transport,
    tokens: TokenCache,
    closed: watch::Sender<bool>,
}

impl Client {
    /// Set a client up; nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, String> {
        let transport = Transport::new(&options.transport, &options.endpoint.batch())?;
        let tokens = TokenCache::new(options.scope.clone());
        Ok(Self { options, transport, tokens, closed: watch::Sender::new(false) })
    }

    /// The options in use.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// End all running calls; later ones are refused by the caller.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Comes back when the client is closed.
    pub async fn closed(&self) {
        // The sender lives as long as the client, so this cannot fail while anyone asks.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Reprocess one assignment, with retries.
    pub async fn reprocess(&self, id: AssignmentId, source: &dyn TokenSource) -> Result<Outcome, Failure> {
        let departure = Departure::default();
        tokio::select! {
            result = self.reprocess_until_settled(id, source, &departure) => result,
            () = self.closed() => Err(Failure::Transport(TransportFailure {
                kind: FailureKind::Withdrawn,
                left: departure.has_left(),
                message: "the client was closed during the call".into(),
            })),
        }
    }

    async fn reprocess_until_settled(
        &self,
        id: AssignmentId,
        source: &dyn TokenSource,
        departure: &Departure,
    ) -> Result<Outcome, Failure> {
        let started = Instant::now();
        let mut history = History::default();
        loop {
            let exchange = self.attempt(&[id], true, source, departure).await.map_err(Failure::Credential)?;
            let Some(attempt) = exchange.results.into_iter().next() else {
                return Err(Failure::Transport(TransportFailure::protocol("no result for the request")));
            };
            match history.judge(&attempt, self.options.limits, fastrand::f64()) {
                Step::Again { wait, .. } => tokio::time::sleep(wait).await,
                Step::Settled(status) => {
                    return settled(
                        id,
                        status,
                        attempt,
                        exchange.client_request_id,
                        history.attempts,
                        started,
                    );
                }
                Step::GivenUp(_, reason) => {
                    return Err(give_up(attempt, exchange.client_request_id, history, reason));
                }
            }
        }
    }

    /// Send these items once: in a batch, or a single one `alone` as a plain POST.
    ///
    /// A refused token is renewed once, and what it was refused for is sent again.
    pub async fn attempt(
        &self,
        ids: &[AssignmentId],
        alone: bool,
        source: &dyn TokenSource,
        departure: &Departure,
    ) -> Result<Exchange, CredentialFailure> {
        let lease = self.tokens.get(source).await?;
        let mut exchange = self.exchange(ids, alone, &lease, departure).await;
        let refused: Vec<usize> = exchange
            .results
            .iter()
            .enumerate()
            .filter(|(_, result)| matches!(result, Attempt::Answered(answer) if answer.status == 401))
            .map(|(place, _)| place)
            .collect();
        if refused.is_empty() || !lease.renewable {
            return Ok(exchange);
        }
        let lease = self.tokens.renew(&lease, source).await?;
        let again: Vec<AssignmentId> = refused.iter().filter_map(|place| ids.get(*place).copied()).collect();
        let second = self.exchange(&again, alone, &lease, departure).await;
        for (place, result) in refused.into_iter().zip(second.results) {
            if let Some(slot) = exchange.results.get_mut(place) {
                *slot = result;
            }
        }
        exchange.requests += second.requests;
        exchange.client_request_id = second.client_request_id;
        Ok(exchange)
    }

    async fn exchange(
        &self,
        ids: &[AssignmentId],
        alone: bool,
        lease: &Lease,
        departure: &Departure,
    ) -> Exchange {
        // A new GUID with each request (https://learn.microsoft.com/graph/best-practices-concept).
        let client_request_id = Uuid::new_v4();
        let endpoint = &self.options.endpoint;
        let (url, body) = match ids {
            [id] if alone => (endpoint.reprocess(*id), None),
            _ => (endpoint.batch(), Some(batch::request_body(endpoint.version(), ids))),
        };
        let batched = body.is_some();
        let answer = self.transport.post(url, body, &lease.secret, client_request_id, departure).await;
        let requests = u64::from(!matches!(&answer, Err(failure) if !failure.left));
        let results = match answer {
            Err(failure) => vec![Attempt::Failed(failure); ids.len()],
            Ok(answer) if batched => read_batch(&answer, ids.len()),
            Ok(answer) => vec![read_plain(&answer)],
        };
        Exchange { client_request_id, results, requests }
    }
}

fn settled(
    id: AssignmentId,
    status: Status,
    attempt: Attempt,
    client_request_id: Uuid,
    attempts: u32,
    started: Instant,
) -> Result<Outcome, Failure> {
    let answer = match attempt {
        Attempt::Answered(answer) => answer,
        Attempt::Failed(failure) => return Err(Failure::Transport(failure)),
        Attempt::BatchRefused => ItemAnswer::default(),
    };
    if status != Status::Accepted {
        return Err(Failure::Graph(Box::new(Refusal { answer, client_request_id, given_up: None })));
    }
    Ok(Outcome {
        index: 0,
        id: OutcomeId::Valid(id),
        status,
        http_status: Some(answer.status),
        code: answer.error.code.map(Into::into),
        message: answer.error.message.map(Into::into),
        request_id: answer.request_id.map(Into::into),
        client_request_id: Some(client_request_id),
        attempts,
        elapsed: started.elapsed(),
        finished_at: unix_micros(),
    })
}

fn give_up(attempt: Attempt, client_request_id: Uuid, history: History, reason: String) -> Failure {
    match (history.lost, attempt) {
        (Some(lost), _) => {
            Failure::Transport(TransportFailure { message: format!("{}; {reason}", lost.message), ..lost })
        }
        (None, Attempt::Answered(answer)) => {
            Failure::Graph(Box::new(Refusal { answer, client_request_id, given_up: Some(reason) }))
        }
        (None, Attempt::Failed(failure)) => Failure::Transport(TransportFailure {
            message: format!("{}; {reason}", failure.message),
            ..failure
        }),
        (None, Attempt::BatchRefused) => Failure::Transport(TransportFailure::protocol(reason)),
    }
}

fn read_plain(answer: &Answer) -> Attempt {
    // A page for people in place of an empty answer comes from a proxy or a captive portal, not from Graph.
    let is_page = answer.content_type.as_deref().is_some_and(|kind| kind.starts_with("text/html"));
    if (200..300).contains(&answer.status) && is_page && !answer.body.is_empty() {
        return Attempt::Failed(TransportFailure::protocol(format!(
            "the answer ({}) is a web page, not Graph's; check base_url and proxy",
            answer.status
        )));
    }
    Attempt::Answered(item_answer(answer))
}

fn item_answer(answer: &Answer) -> ItemAnswer {
    let error = if answer.status >= 300 { ErrorBody::from_slice(&answer.body) } else { ErrorBody::default() };
    ItemAnswer {
        status: answer.status,
        request_id: answer.request_id.clone().or_else(|| error.request_id.clone()),
        date: error.date.clone().or_else(|| answer.date.clone()),
        retry_after: wait(answer, answer.retry_after.as_deref()),
        error,
    }
}

fn wait(answer: &Answer, value: Option<&str>) -> Option<Duration> {
    retry_after::parse(value?, retry_after::answered_at(answer.date.as_deref()))
}

fn read_batch(answer: &Answer, parts: usize) -> Vec<Attempt> {
    match answer.status {
        200..=299 => match batch::read(&answer.body, parts) {
            Ok(results) => results.into_iter().map(|part| read_part(answer, part)).collect(),
            Err(malformed) => vec![Attempt::Failed(TransportFailure::protocol(malformed.to_string())); parts],
        },
        // What the whole batch is told counts for each of its parts, except a complaint about the batch itself.
        401 | 403 | 429 | 500.. => vec![Attempt::Answered(item_answer(answer)); parts],
        _ => vec![Attempt::BatchRefused; parts],
    }
}

fn read_part(answer: &Answer, part: PartResult) -> Attempt {
    match part {
        PartResult::Unanswered(why) => Attempt::Failed(TransportFailure::protocol(why)),
        PartResult::Answered(part) if (300..400).contains(&part.status) => Attempt::Failed(
            TransportFailure::protocol(format!("a part was answered with a redirect ({})", part.status)),
        ),
        PartResult::Answered(part) => Attempt::Answered(ItemAnswer {
            status: part.status,
            request_id: part.request_id.or_else(|| answer.request_id.clone()),
            date: part.error.date.clone().or_else(|| answer.date.clone()),
            retry_after: wait(answer, part.retry_after.as_deref()),
            error: part.error,
        }),
    }
}

/// Shared by all that call.
pub type SharedClient = Arc<Client>;
