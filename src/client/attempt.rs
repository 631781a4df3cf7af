//! One attempt at some assignments: one HTTP exchange, two where the token had to be renewed.

use reqwest::{Method, Url};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use super::renewal::Renewals;
use super::{Client, echo};
use crate::assignment::AssignmentId;
use crate::graph::action::Action;
use crate::graph::batch::{self, PartResult};
use crate::graph::error::ErrorBody;
use crate::graph::{challenge, listing, retry_after};
use crate::retry::{Attempt, ItemAnswer, TokenTrouble};
use crate::token::{CredentialFailure, Lease, TokenSource};
use crate::transport::{Answer, Departure, FailureKind, Request, TransportFailure};

/// What one attempt brought for each of its items, in the order in which they were asked.
#[derive(Debug)]
pub struct Exchange {
    /// Our id of the request.
    pub client_request_id: Uuid,
    /// One result per item.
    pub results: Vec<Attempt>,
    /// HTTP requests made.
    pub requests: u64,
    /// `x-ms-throttle-limit-percentage`, where it came.
    pub near_limit: Option<f64>,
    /// Whether a batch answer held an answer that nobody had asked for.
    pub has_stranger: bool,
    /// Why there is no other token for the items whose token was refused; all others have their results.
    pub no_token: Option<CredentialFailure>,
}

impl Client {
    /// Send these items once: in a batch, or a single one `alone` as a plain request.
    ///
    /// A refused token is renewed once, and what it was refused for is sent again.
    pub async fn attempt(
        &self,
        action: Action,
        ids: &[AssignmentId],
        alone: bool,
        source: &Arc<dyn TokenSource>,
        departure: &Departure,
    ) -> Result<Exchange, CredentialFailure> {
        let mut lease = self.tokens.get(source).await?;
        let mut exchange = self.exchange(action, ids, alone, &lease, departure).await;
        let mut renewals = Renewals::default();
        loop {
            let refused: Vec<usize> = places_of_refused(&exchange.results).collect();
            if refused.is_empty() {
                break;
            }
            match self.replace(&lease, challenge_of(&exchange.results), &mut renewals, source).await {
                Ok(Some(fresh)) => lease = fresh,
                Ok(None) => break,
                // Where all were refused, none was executed, and all can wait for a token.
                Err(err) if refused.len() == exchange.results.len() => return Err(err),
                Err(err) => {
                    // The other parts of the batch may have been executed, so what they were told has to be kept.
                    for place in refused {
                        if let Some(slot) = exchange.results.get_mut(place) {
                            *slot = Attempt::Failed(without_token());
                        }
                    }
                    exchange.no_token = Some(err);
                    break;
                }
            }
            let again: Vec<AssignmentId> =
                refused.iter().filter_map(|place| ids.get(*place).copied()).collect();
            let second = self.exchange(action, &again, alone, &lease, departure).await;
            for (place, result) in refused.into_iter().zip(second.results) {
                if let Some(slot) = exchange.results.get_mut(place) {
                    *slot = result;
                }
            }
            exchange.requests += second.requests;
            exchange.has_stranger |= second.has_stranger;
            exchange.client_request_id = second.client_request_id;
        }
        renewals.advise(&mut exchange.results, &lease);
        Ok(exchange)
    }

    async fn exchange(
        &self,
        action: Action,
        ids: &[AssignmentId],
        alone: bool,
        lease: &Lease,
        departure: &Departure,
    ) -> Exchange {
        // A new GUID with each request (https://learn.microsoft.com/graph/best-practices-concept).
        let client_request_id = Uuid::new_v4();
        let endpoint = &self.options.endpoint;
        let (method, url, body) = match ids {
            [id] if alone => (method_of(action), endpoint.action(action, *id), None),
            _ => {
                let body = batch::request_body(endpoint.version(), action, ids);
                (Method::POST, endpoint.batch(), Some(body))
            }
        };
        let batched = body.is_some();
        let request = Request { method, url, body, items: ids.len(), client_request_id };
        let mut answer = self.transport.send(request, &lease.secret, departure).await;
        if let Ok(answer) = &mut answer {
            echo::blot_out(answer, &lease.secret);
        }
        let requests = u64::from(!matches!(&answer, Err(failure) if !failure.left));
        let near_limit = answer.as_ref().ok().and_then(|answer| answer.near_limit);
        let mut has_stranger = false;
        let results = match answer {
            Err(failure) => vec![Attempt::Failed(failure); ids.len()],
            Ok(answer) if batched => {
                let results;
                (results, has_stranger) = read_batch(action, &answer, ids.len());
                results
            }
            Ok(answer) => vec![read_plain(action, &answer)],
        };
        Exchange { client_request_id, results, requests, near_limit, has_stranger, no_token: None }
    }

    /// GET a URL once, renewing a refused token as [`Client::attempt`] does. Gives the body of a success too.
    pub(super) async fn get_once(
        &self,
        url: &Url,
        source: &Arc<dyn TokenSource>,
    ) -> Result<(Uuid, Attempt, Vec<u8>), CredentialFailure> {
        let mut lease = self.tokens.get(source).await?;
        let mut renewals = Renewals::default();
        loop {
            let client_request_id = Uuid::new_v4();
            let departure = Departure::default();
            let request =
                Request { method: Method::GET, url: url.clone(), body: None, items: 0, client_request_id };
            let mut answer = self.transport.send(request, &lease.secret, &departure).await;
            if let Ok(answer) = &mut answer {
                echo::blot_out(answer, &lease.secret);
            }
            let answer = match answer {
                Ok(answer) => answer,
                Err(failure) => return Ok((client_request_id, Attempt::Failed(failure), Vec::new())),
            };
            let mut results = [Attempt::Answered(item_answer(&answer))];
            if answer.status == 401
                && let Some(fresh) =
                    self.replace(&lease, challenge_of(&results), &mut renewals, source).await?
            {
                lease = fresh;
                continue;
            }
            renewals.advise(&mut results, &lease);
            let [attempt] = results;
            return Ok((client_request_id, attempt, answer.body));
        }
    }
}

fn without_token() -> TransportFailure {
    TransportFailure {
        kind: FailureKind::Withdrawn,
        left: false,
        message: "its token was refused (401), and there is no other".into(),
    }
}

fn places_of_refused(results: &[Attempt]) -> impl Iterator<Item = usize> {
    let is_refused = |result: &Attempt| matches!(result, Attempt::Answered(answer) if answer.status == 401);
    results.iter().enumerate().filter(move |(_, result)| is_refused(result)).map(|(place, _)| place)
}

/// The claims that one of the refusals asks for; those of one batch are about the same token.
fn challenge_of(results: &[Attempt]) -> Option<&str> {
    results.iter().find_map(|result| match result {
        Attempt::Answered(answer) => answer.token.as_ref()?.challenge.as_deref(),
        _ => None,
    })
}

const fn method_of(action: Action) -> Method {
    match action {
        Action::Reprocess => Method::POST,
        Action::ReadState => Method::GET,
    }
}

fn read_plain(action: Action, answer: &Answer) -> Attempt {
    let is_success = (200..300).contains(&answer.status);
    // A page for people in place of an empty answer comes from a proxy or a captive portal, not from Graph.
    let is_page = answer.content_type.as_deref().is_some_and(|kind| kind.starts_with("text/html"));
    if is_success && is_page && !answer.body.is_empty() {
        return Attempt::Failed(TransportFailure::protocol(format!(
            "the answer ({}) is a web page, not Graph's; check base_url and proxy",
            answer.status
        )));
    }
    let is_read = action == Action::ReadState;
    let state = if is_read && is_success { listing::state_of(&answer.body) } else { None };
    found(action, item_answer(answer), state)
}

/// A success of a read has to hold the state; one of a reprocess holds nothing.
fn found(action: Action, mut answer: ItemAnswer, state: Option<String>) -> Attempt {
    if action == Action::ReadState && (200..300).contains(&answer.status) {
        answer.found = state;
        if answer.found.is_none() {
            return Attempt::Failed(TransportFailure::protocol("the answer holds no state of an assignment"));
        }
    }
    Attempt::Answered(answer)
}

fn item_answer(answer: &Answer) -> ItemAnswer {
    let error = if answer.status >= 300 { ErrorBody::from_slice(&answer.body) } else { ErrorBody::default() };
    ItemAnswer {
        status: answer.status,
        request_id: answer.request_id.clone().or_else(|| error.request_id.clone()),
        date: error.date.clone().or_else(|| answer.date.clone()),
        retry_after: wait(answer, answer.retry_after.as_deref()),
        token: token_trouble(answer.status, answer.challenge.as_deref()),
        error,
        found: None,
    }
}

fn token_trouble(status: u16, header: Option<&str>) -> Option<Box<TokenTrouble>> {
    let challenge = header.filter(|_| status == 401).and_then(challenge::claims)?;
    Some(Box::new(TokenTrouble { challenge: Some(challenge), advice: None }))
}

fn wait(answer: &Answer, value: Option<&str>) -> Option<Duration> {
    retry_after::parse(value?, retry_after::answered_at(answer.date.as_deref()))
}

/// One result for each part, and whether there was an answer that nobody had asked for.
fn read_batch(action: Action, answer: &Answer, parts: usize) -> (Vec<Attempt>, bool) {
    let for_all = match answer.status {
        200..=299 => match batch::read(&answer.body, parts) {
            Ok(read) => {
                let results = read.parts.into_iter().map(|part| read_part(action, answer, part)).collect();
                return (results, read.has_stranger);
            }
            Err(malformed) => Attempt::Failed(TransportFailure::protocol(malformed.to_string())),
        },
        // What the whole batch is told counts for each of its parts, except a complaint about the batch itself.
        401 | 403 | 429 | 500.. => Attempt::Answered(item_answer(answer)),
        _ => Attempt::BatchRefused,
    };
    (vec![for_all; parts], false)
}

fn read_part(action: Action, answer: &Answer, part: PartResult) -> Attempt {
    match part {
        PartResult::Unanswered(why) => Attempt::Failed(TransportFailure::protocol(why)),
        PartResult::Answered(part) if (300..400).contains(&part.status) => Attempt::Failed(
            TransportFailure::protocol(format!("a part was answered with a redirect ({})", part.status)),
        ),
        PartResult::Answered(part) => {
            let item = ItemAnswer {
                status: part.status,
                request_id: part.request_id.or_else(|| answer.request_id.clone()),
                date: part.error.date.clone().or_else(|| answer.date.clone()),
                retry_after: wait(answer, part.retry_after.as_deref()),
                token: token_trouble(part.status, part.challenge.as_deref()),
                error: part.error,
                found: None,
            };
            found(action, item, part.state)
        }
    }
}
