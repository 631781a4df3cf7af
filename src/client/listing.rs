//! Lists, page by page, with the same retries as everything else.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use reqwest::Url;

use super::one::{closed, give_up};
use super::{Client, Failure, Refusal};
use crate::graph::content::mistaken;
use crate::graph::endpoint::Endpoint;
use crate::graph::listing::{Page, follow, shown};
use crate::outcome::Status;
use crate::retry::{Attempt, History, Step};
use crate::token::TokenSource;
use crate::transport::TransportFailure;

/// After so many pages in a row that hold nothing, a list that goes on is not believed to have an end.
const MOST_EMPTY: u32 = 1_000;

/// Where a list is.
#[derive(Debug)]
pub struct Listing {
    next: Next,
    /// Hashes of what was read: a link may be long, and a list as well.
    seen: HashSet<u64>,
    hasher: RandomState,
    /// Pages in a row that held nothing.
    empty: u32,
}

/// What comes after the pages that were read.
#[derive(Debug)]
enum Next {
    Page(Url),
    End,
    /// The last one links on to nowhere; the text says why. What is on it was good all the same.
    Lost(String),
}

impl Listing {
    /// A list that starts with this page.
    pub fn new(first: Url) -> Self {
        Self { next: Next::Page(first), seen: HashSet::new(), hasher: RandomState::new(), empty: 0 }
    }

    /// Where the link of this page, which was read just now, leads.
    fn after(&mut self, endpoint: &Endpoint, read: &Url, page: Page) -> Next {
        let hash = |url: &Url| self.hasher.hash_one(url.as_str());
        let (read, empty) = (hash(read), if page.is_empty { self.empty + 1 } else { 0 });
        self.seen.insert(read);
        self.empty = empty;
        let link = match page.next_link {
            Ok(None) => return Next::End,
            Ok(Some(link)) => link,
            Err(wrong) => return Next::Lost(wrong.to_owned()),
        };
        match follow(endpoint, &link) {
            Ok(url) if self.seen.contains(&hash(&url)) => {
                Next::Lost(format!("{} leads back to a page that was read already", shown(&link)))
            }
            Ok(_) if empty >= MOST_EMPTY => {
                Next::Lost("a thousand pages in a row hold nothing, and the last one links on".into())
            }
            Ok(url) => Next::Page(url),
            Err(wrong) => Next::Lost(wrong),
        }
    }
}

impl Client {
    /// The body of the next page, `None` after the last one. After a failure the same page is asked for again. What is
    /// wrong with the link of a page is said after that page.
    pub async fn next_page(
        &self,
        listing: &mut Listing,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let url = match &listing.next {
            Next::Page(url) => url.clone(),
            Next::End => return Ok(None),
            Next::Lost(why) => {
                return Err(distrusted(format!(
                    "the list goes on, but the link to its next page cannot be followed: {why}; check base_url and \
                     proxy"
                )));
            }
        };
        let (status, body) = tokio::select! {
            page = self.get(&url, source) => page?,
            () = self.closed() => return Err(closed(true, "the client was closed during the call")),
        };
        let page = Page::read(&body).map_err(|wrong| {
            distrusted(mistaken(status, &body, &format!("a page of a list (this one {wrong})")))
        })?;
        listing.next = listing.after(&self.options.endpoint, &url, page);
        Ok(Some(body))
    }

    async fn get(&self, url: &Url, source: &Arc<dyn TokenSource>) -> Result<(u16, Vec<u8>), Failure> {
        let mut history = History::default();
        loop {
            let (client_request_id, attempt, body) =
                self.get_once(url, source).await.map_err(Failure::Credential)?;
            // A read that was lost has changed nothing, so it leaves nothing in doubt.
            history.lost = None;
            match (history.judge(&attempt, self.options.limits, fastrand::f64()), attempt) {
                (Step::Again { wait, .. }, _) => tokio::time::sleep(wait).await,
                (Step::Settled(Status::Accepted), Attempt::Answered(answer)) => {
                    return Ok((answer.status, body));
                }
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

fn distrusted(why: String) -> Failure {
    Failure::Transport(TransportFailure::protocol(why))
}
