//! A fetch under way: shared by all who wait for it, also where it fails, and ended when nobody waits any more.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::CredentialFailure;
use super::cache::Lease;

/// What a fetch brought.
pub(super) type Fetched = Result<Lease, CredentialFailure>;

/// A fetch under way.
pub(super) struct Flight {
    /// The claims that it asks for.
    pub claims: Option<Arc<str>>,
    /// Begins when the first one polls it; whoever waits drives it, so it is dropped with the last of them.
    fetched: Shared<BoxFuture<'static, Fetched>>,
}

impl Flight {
    pub fn new(claims: Option<Arc<str>>, fetch: impl Future<Output = Fetched> + Send + 'static) -> Self {
        Self { claims, fetched: fetch.boxed().shared() }
    }

    /// Comes back when it has ended; what it brought is for everybody.
    pub fn ended(&self) -> impl Future<Output = Fetched> + use<> {
        self.fetched.clone()
    }
}

/// The fetches under way; at each place a source is asked for one token at a time.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<usize, Weak<Flight>>>);

impl Flights {
    /// The one under way at this place, or else a new one.
    pub fn join(&self, place: usize, start: impl FnOnce() -> Flight) -> Arc<Flight> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = known.get(&place).and_then(Weak::upgrade);
        if let Some(flight) = there.filter(|flight| flight.fetched.peek().is_none()) {
            return flight;
        }
        known.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(start());
        known.insert(place, Arc::downgrade(&flight));
        flight
    }
}
