//! Lists, page by page, with the same retries as everything else.

use std::collections::HashSet;
use std::sync::Arc;

use reqwest::Url;

use super::one::{closed, give_up};
use super::{Client, Failure, Refusal};
use crate::graph::listing;
use crate::outcome::Status;
use crate::retry::{Attempt, History, Step};
use crate::token::TokenSource;
use crate::transport::TransportFailure;

/// Where a list is.
#[derive(Debug)]
pub struct Listing {
    next: Option<Url>,
    seen: HashSet<Url>,
}

impl Listing {
    /// A list that starts with this page.
    pub fn new(first: Url) -> Self {
        Self { next: Some(first), seen: HashSet::new() }
    }
}

impl Client {
    /// The body of the next page, `None` after the last one. After a failure the same page is asked for again.
    pub async fn next_page(
        &self,
        listing: &mut Listing,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(url) = &listing.next else { return Ok(None) };
        let page = tokio::select! {
            page = self.get(url, source) => page?,
            () = self.closed() => return Err(closed(true, "the client was closed during the call")),
        };
        let distrusted = |why: &str| Failure::Transport(TransportFailure::protocol(why));
        let link = listing::next_link(&page).map_err(distrusted)?;
        let next = link
            .map(|link| listing::follow(&self.options.endpoint, &link))
            .transpose()
            .map_err(distrusted)?;
        if let Some(next) = &next
            && (next == url || listing.seen.contains(next))
        {
            return Err(distrusted("the link to the next page leads back to one that was read already"));
        }
        if let Some(read) = std::mem::replace(&mut listing.next, next) {
            listing.seen.insert(read);
        }
        Ok(Some(page))
    }

    async fn get(&self, url: &Url, source: &Arc<dyn TokenSource>) -> Result<Vec<u8>, Failure> {
        let mut history = History::default();
        loop {
            let (client_request_id, attempt, body) =
                self.get_once(url, source).await.map_err(Failure::Credential)?;
            // A read that was lost has changed nothing, so it leaves nothing in doubt.
            history.lost = None;
            match (history.judge(&attempt, self.options.limits, fastrand::f64()), attempt) {
                (Step::Again { wait, .. }, _) => tokio::time::sleep(wait).await,
                (Step::Settled(Status::Accepted), _) => return Ok(body),
                (Step::Settled(_), Attempt::Answered(answer)) => {
                    return Err(Failure::Graph(Box::new(Refusal {
                        answer,
                        client_request_id,
                        given_up: None,
                    })));
                }
                (Step::Settled(_) | Step::Apart, _) => {
                    return Err(Failure::Transport(TransportFailure::protocol("no answer")));
                }
                (Step::GivenUp(_, reason), attempt) => {
                    return Err(give_up(attempt, client_request_id, history, &reason));
                }
            }
        }
    }
}
