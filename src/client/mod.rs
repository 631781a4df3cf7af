//! One client: its endpoint, token and transport, and the verbs that go through them.

mod attempt;
mod listing;
mod one;
mod renewal;
mod slot;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use uuid::Uuid;

pub use attempt::{Exchange, Refused};
pub use listing::Listing;

use crate::gate::Gate;
use crate::graph::action::Action;
use crate::graph::endpoint::Endpoint;
use crate::pace::Pace;
use crate::retry::{ItemAnswer, Limits};
use crate::token::{CredentialFailure, TokenCache, TokenSource};
use crate::transport::{Transport, TransportFailure, TransportOptions};

/// How a client behaves, all of it checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where requests go.
    pub endpoint: Endpoint,
    /// The scope to ask a token for.
    pub scope: String,
    /// Items in one batch, 1 to 20; 1 sends plain requests.
    pub batch_size: usize,
    /// Items a second at the most; without one the service alone decides.
    pub rate: Option<f64>,
    /// How long and how often to try.
    pub limits: Limits,
    /// How to reach the endpoint.
    pub transport: TransportOptions,
}

/// An answer of Graph's that is no success.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What it said.
    pub answer: ItemAnswer,
    /// Our id of the request.
    pub client_request_id: Uuid,
    /// Why no more attempt was made, where one could have been.
    pub given_up: Option<String>,
}

/// Why a call brought no success.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Graph answered otherwise.
    Graph(Box<Refusal>),
    /// There is no usable answer.
    Transport(TransportFailure),
    /// There is no token.
    Credential(CredentialFailure),
}

/// A client; every method may be called from many tasks at once.
///
/// The token source comes with each call, since an asynchronous one is bound to the event loop of its caller;
/// the token itself is shared by all of them.
pub struct Client {
    options: Options,
    transport: Transport,
    tokens: TokenCache,
    /// Writes and reads have quotas of their own.
    gates: [Arc<Mutex<Gate>>; 2],
    /// How many parts of batches were sent.
    parts: AtomicUsize,
    closed: watch::Sender<bool>,
}

/// Shared by all that call.
pub type SharedClient = Arc<Client>;

impl Client {
    /// Set a client up; nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, String> {
        let transport = Transport::new(&options.transport, &options.endpoint.batch())?;
        let tokens = TokenCache::new(options.scope.clone(), options.endpoint.cloud());
        let gate = || {
            let concurrency = options.transport.concurrency;
            Arc::new(Mutex::new(Gate::new(Pace::new(options.batch_size, concurrency, options.rate))))
        };
        let gates = [gate(), gate()];
        Ok(Self {
            options,
            transport,
            tokens,
            gates,
            parts: AtomicUsize::new(0),
            closed: watch::Sender::new(false),
        })
    }

    /// The options in use.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The tenant whose token is in use, where the token tells it.
    pub async fn tenant(&self, source: &Arc<dyn TokenSource>) -> Result<Option<String>, CredentialFailure> {
        let lease = self.tokens.get(source).await?;
        Ok(lease.claims.and_then(|claims| claims.tenant.clone()))
    }

    /// What all calls of this kind pass.
    pub fn gate(&self, action: Action) -> Arc<Mutex<Gate>> {
        let [writes, reads] = &self.gates;
        match action {
            Action::Reprocess => writes.clone(),
            Action::ReadState => reads.clone(),
        }
    }

    /// End all running calls; later ones are refused by the caller.
    pub fn close(&self) {
        self.closed.send_replace(true);
        self.tokens.close();
    }

    /// Comes back when the client is closed.
    pub async fn closed(&self) {
        // The sender lives as long as the client, so this cannot fail while anyone asks.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tokens.close();
    }
}
