//! One attempt at some assignments: one HTTP exchange, and another one for those whose token had to be renewed.

use reqwest::{Method, Url};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

use super::Client;
use super::renewal::{Renewals, is_refused};
use crate::assignment::AssignmentId;
use crate::graph::action::Action;
use crate::graph::batch::{self, PartResult};
use crate::graph::content::{Content, mistaken};
use crate::graph::error::ErrorBody;
use crate::graph::{challenge, listing, retry_after};
use crate::retry::{Attempt, ItemAnswer, TokenTrouble};
use crate::token::{CredentialFailure, Lease, TokenSource};
use crate::transport::{Answer, Departure, Request, TransportFailure};

/// What one HTTP exchange brought for each of its items, in the order in which they were asked.
#[derive(Debug)]
pub struct Exchange {
    /// Our id of the request.
    pub client_request_id: Uuid,
    /// One result per item.
    pub results: Vec<Attempt>,
    /// Whether that is what the request was told as a whole, or that it was told nothing.
    pub is_whole: bool,
    /// HTTP requests made.
    pub requests: u64,
    /// `x-ms-throttle-limit-percentage`, where it came.
    pub near_limit: Option<f64>,
    /// Whether a batch answer held an answer that nobody had asked for.
    pub has_stranger: bool,
}

/// The items of an exchange whose token was refused: none of them was executed.
#[derive(Debug)]
pub struct Refused {
    /// Their places among all that were sent.
    pub places: Vec<usize>,
    /// What they were told.
    pub exchange: Exchange,
}

impl Exchange {
    /// Take those out whose token was refused. The others were told what they were told, whatever becomes of the token.
    pub fn take_refused(&mut self) -> Option<Refused> {
        let (mut places, mut refused, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (place, result) in std::mem::take(&mut self.results).into_iter().enumerate() {
            if is_refused(&result) {
                places.push(place);
                refused.push(result);
            } else {
                others.push(result);
            }
        }
        self.results = others;
        // The request is counted where the others are.
        let exchange = Self {
            client_request_id: self.client_request_id,
            results: refused,
            is_whole: self.is_whole,
            requests: 0,
            near_limit: None,
            has_stranger: false,
        };
        (!places.is_empty()).then_some(Refused { places, exchange })
    }
}

/// One attempt at some items: what is still to be sent of them, and the token to send it with.
pub struct Sending<'a> {
    client: &'a Client,
    action: Action,
    ids: Vec<AssignmentId>,
    alone: bool,
    source: &'a Arc<dyn TokenSource>,
    lease: Lease,
    renewals: Renewals,
}

impl Client {
    /// Get ready to send these items: in a batch, or a single one `alone` as a plain request.
    pub async fn sending<'a>(
        &'a self,
        action: Action,
        ids: Vec<AssignmentId>,
        alone: bool,
        source: &'a Arc<dyn TokenSource>,
    ) -> Result<Sending<'a>, CredentialFailure> {
        let lease = self.tokens.get(source).await?;
        Ok(Sending { client: self, action, ids, alone, source, lease, renewals: Renewals::default() })
    }
}

impl Sending<'_> {
    /// Send them once.
    pub async fn send(&self, departure: &Departure) -> Exchange {
        let Self { client, action, ids, alone, lease, .. } = self;
        client.exchange(*action, ids, *alone, lease, departure).await
    }

    /// Get another token for those whose token was refused; from then on only they are left to be sent. If there is
    /// none to try, the refusals stand.
    ///
    /// This may take as long as somebody needs to sign in, so the others should have heard by then what they were told.
    pub async fn renew(&mut self, refused: &Refused) -> Result<bool, CredentialFailure> {
        let results = &refused.exchange.results;
        let fresh = self.client.replace(&self.lease, results, &mut self.renewals, self.source).await?;
        let Some(fresh) = fresh else { return Ok(false) };
        self.lease = fresh;
        self.ids = refused.places.iter().filter_map(|place| self.ids.get(*place).copied()).collect();
        Ok(true)
    }

    /// Say in each refusal what the token that was sent has to do with it.
    pub fn advise(&self, exchange: &mut Exchange) {
        self.renewals.advise(&mut exchange.results, &self.lease);
    }
}

impl Client {
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
        let first = self.parts.fetch_add(ids.len(), Ordering::Relaxed) + 1;
        let (method, url, body) = match ids {
            [id] if alone => (method_of(action), endpoint.action(action, *id), None),
            _ => {
                let body = batch::request_body(endpoint.version(), action, ids, first);
                (Method::POST, endpoint.batch(), Some(body))
            }
        };
        let batched = body.is_some();
        let request = Request { method, url, body, items: ids.len(), client_request_id };
        let answer = self.transport.send(request, &lease.secret, departure).await;
        let requests = u64::from(!matches!(&answer, Err(failure) if !failure.left));
        let near_limit = answer.as_ref().ok().and_then(|answer| answer.near_limit);
        let whole = |attempt| Told { results: vec![attempt; ids.len()], is_whole: true, has_stranger: false };
        let told = match answer {
            Err(failure) => whole(Attempt::Failed(failure)),
            Ok(answer) if batched => read_batch(action, &answer, first..first + ids.len()),
            Ok(answer) => whole(read_plain(action, &answer)),
        };
        let Told { results, is_whole, has_stranger } = told;
        Exchange { client_request_id, results, is_whole, requests, near_limit, has_stranger }
    }

    /// GET a URL once, renewing a refused token as [`Sending`] does. Gives the body of a success too.
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
            let answer = self.transport.send(request, &lease.secret, &departure).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(failure) => return Ok((client_request_id, Attempt::Failed(failure), Vec::new())),
            };
            let mut results = [Attempt::Answered(item_answer(&answer))];
            if let Some(fresh) = self.replace(&lease, &results, &mut renewals, source).await? {
                lease = fresh;
                continue;
            }
            renewals.advise(&mut results, &lease);
            let [attempt] = results;
            return Ok((client_request_id, attempt, answer.body));
        }
    }
}

const fn method_of(action: Action) -> Method {
    match action {
        Action::Reprocess => Method::POST,
        Action::ReadState => Method::GET,
    }
}

fn read_plain(action: Action, answer: &Answer) -> Attempt {
    let mut item = item_answer(answer);
    if (200..300).contains(&answer.status) {
        let (is_graphs, expected) = match action {
            Action::Reprocess => (Content::of(&answer.body) == Content::Nothing, NOTHING),
            Action::ReadState => {
                item.found = listing::state_of(&answer.body);
                (item.found.is_some(), A_STATE)
            }
        };
        if !is_graphs {
            return protocol(mistaken(answer.status, &answer.body, expected));
        }
    }
    Attempt::Answered(item)
}

/// What the body of a success holds. The action has no return type, and neither the reference page nor the OpenAPI
/// description shows a body (<https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess>), so what has one
/// comes from somebody else, such as a proxy or a captive portal, and the action was not executed for all we know.
const NOTHING: &str = "no body or an empty JSON one";
const A_STATE: &str = "an assignment with one state";

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
    let challenge = header.filter(|_| matches!(status, 401 | 403)).and_then(challenge::claims)?;
    Some(Box::new(TokenTrouble { challenge: Some(challenge), advice: None }))
}

fn wait(answer: &Answer, value: Option<&str>) -> Option<Duration> {
    retry_after::parse(value?, retry_after::answered_at(answer.date.as_deref()))
}

/// What the items of a request were told, as in [`Exchange`].
struct Told {
    results: Vec<Attempt>,
    is_whole: bool,
    has_stranger: bool,
}

fn read_batch(action: Action, answer: &Answer, numbers: Range<usize>) -> Told {
    let parts = numbers.len();
    let is_success = (200..300).contains(&answer.status);
    let read = batch::read(&answer.body, numbers);
    let for_all = match &read {
        Ok(_) if is_success => protocol("the batch answer left it out"),
        Err(malformed) if is_success => protocol(malformed.to_string()),
        // What the whole batch is told counts for each of its parts, except a complaint about the batch itself.
        _ if matches!(answer.status, 401 | 403 | 408 | 429 | 500..) => Attempt::Answered(item_answer(answer)),
        _ => Attempt::BatchRefused,
    };
    match read {
        // Under any status: Graph's page on throttling once said that a batch with a throttled part fails with 424
        // (concepts/throttling.md of 2021), and each part has its own wait all the same.
        Ok(read) if is_success || read.has_answers() => {
            let told = |part| read_part(action, answer, part).unwrap_or_else(|| for_all.clone());
            let results = read.parts.into_iter().map(told).collect();
            Told { results, is_whole: false, has_stranger: read.has_stranger }
        }
        _ => Told { results: vec![for_all; parts], is_whole: true, has_stranger: false },
    }
}

/// What one part was told, if it was told anything.
fn read_part(action: Action, answer: &Answer, part: PartResult) -> Option<Attempt> {
    Some(match part {
        PartResult::LeftOut => return None,
        PartResult::Unanswered(why) => protocol(why),
        PartResult::Answered(part) if (300..400).contains(&part.status) => {
            protocol(format!("a part was answered with a redirect ({})", part.status))
        }
        PartResult::Answered(part) => {
            // A batch that is throttled as a whole may name the wait once, for all of its parts.
            let outer = answer.retry_after.as_deref().filter(|_| answer.status >= 300);
            let asked = part.retry_after.as_deref().or(outer);
            let item = ItemAnswer {
                status: part.status,
                request_id: part.request_id.or_else(|| answer.request_id.clone()),
                date: part.error.date.clone().or_else(|| answer.date.clone()),
                retry_after: wait(answer, asked),
                token: token_trouble(part.status, part.challenge.as_deref()),
                error: part.error,
                found: part.state,
            };
            let is_success = (200..300).contains(&item.status);
            let expected = match action {
                Action::Reprocess if is_success && part.content != Content::Nothing => NOTHING,
                Action::ReadState if is_success && item.found.is_none() => A_STATE,
                _ => return Some(Attempt::Answered(item)),
            };
            protocol(format!(
                "a part of the batch was answered {} with another body than {expected}; check base_url and proxy",
                item.status
            ))
        }
    })
}

fn protocol(why: impl Into<String>) -> Attempt {
    Attempt::Failed(TransportFailure::protocol(why))
}
