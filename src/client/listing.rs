//! Lists, page by page, with the same retries as everything else.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use reqwest::Url;

use super::one::{closed, give_up};
use super::{Client, Failure, Refusal};
use crate::graph::listing::{Page, follow};
use crate::outcome::Status;
use crate::retry::{Attempt, Company, History, Step};
use crate::token::TokenSource;
use crate::transport::TransportFailure;

/// After so many pages in a row that hold nothing, a list that goes on is not believed to have an end.
const MOST_EMPTY: u32 = 1_000;

/// Where a list is.
#[derive(Debug)]
pub struct Listing {
    next: Option<Url>,
    /// Hashes of what was read: a link may be long, and a list as well.
    seen: HashSet<u64>,
    hasher: RandomState,
    /// Pages in a row that held nothing.
    empty: u32,
}

impl Listing {
    /// A list that starts with this page.
    pub fn new(first: Url) -> Self {
        Self { next: Some(first), seen: HashSet::new(), hasher: RandomState::new(), empty: 0 }
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
        let Page { is_empty, next_link } = Page::read(&page).map_err(distrusted)?;
        let next =
            next_link.map(|link| follow(&self.options.endpoint, &link)).transpose().map_err(distrusted)?;
        let hash = |url: &Url| listing.hasher.hash_one(url.as_str());
        let (read, empty) = (hash(url), if is_empty { listing.empty + 1 } else { 0 });
        if let Some(next) = &next {
            let next = hash(next);
            if next == read || listing.seen.contains(&next) {
                return Err(distrusted("the link to the next page leads back to one that was read already"));
            }
            if empty >= MOST_EMPTY {
                return Err(distrusted("a thousand pages in a row hold nothing, and the last one links on"));
            }
        }
        listing.seen.insert(read);
        (listing.next, listing.empty) = (next, empty);
        Ok(Some(page))
    }

    async fn get(&self, url: &Url, source: &Arc<dyn TokenSource>) -> Result<Vec<u8>, Failure> {
        let mut history = History::default();
        loop {
            let (client_request_id, attempt, body) =
                self.get_once(url, source).await.map_err(Failure::Credential)?;
            // A read that was lost has changed nothing, so it leaves nothing in doubt.
            history.forget_doubt();
            match (history.judge(&attempt, Company::None, self.options.limits, fastrand::f64()), attempt) {
                (Step::Again { wait, .. }, _) => tokio::time::sleep(wait).await,
                (Step::Settled(Status::Accepted), _) => return Ok(body),
                (Step::Settled(_), Attempt::Answered(answer)) => {
                    return Err(Failure::Graph(Box::new(Refusal {
                        answer,
                        client_request_id,
                        given_up: None,
                    })));
                }
                (Step::Settled(_), _) => {
                    return Err(Failure::Transport(TransportFailure::protocol("no answer")));
                }
                (Step::GivenUp(status, reason), attempt) => {
                    return Err(give_up(attempt, client_request_id, status, &history, &reason));
                }
            }
        }
    }
}
