//! The access token: what can give one, and how one is shared by all requests.

mod cache;
mod claims;
mod flight;
mod term;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

pub use cache::{Lease, TokenCache};
pub use claims::Claims;

/// How long a source may take. Those of azure-identity that ask a service or a command give up within this time by
/// themselves; a person who signs in has it once more with each call, since the source remembers the sign-in.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A token as a source gives it.
#[derive(Clone)]
pub struct Token {
    /// The bearer token.
    pub secret: SecretString,
    /// When it ends, Unix seconds, where known.
    pub expires_on: Option<i64>,
    /// When the source would like to be asked again, Unix seconds, where known.
    pub refresh_on: Option<i64>,
    /// Whether asking again could give another one.
    pub renewable: bool,
}

/// The source raised, took too long, or gave nothing that Graph would take.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CredentialFailure {
    /// What went wrong and what to do. Never holds the token.
    pub message: String,
    /// What the source raised.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The pending answer of a [`TokenSource`].
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<Token, CredentialFailure>> + Send + 'a>>;

/// Anything that can give a token.
pub trait TokenSource: Send + Sync {
    /// Ask for a token with this scope.
    fn fetch<'a>(&'a self, scope: &'a str) -> TokenFuture<'a>;

    /// Whether it can ask for claims.
    fn takes_claims(&self) -> bool {
        false
    }

    /// Ask for one that has these claims, which a challenge of the service named; only where it can.
    fn fetch_with_claims<'a>(&'a self, scope: &'a str, _claims: &'a str) -> TokenFuture<'a> {
        self.fetch(scope)
    }

    /// Where it runs, such as an event loop. At different places it may be asked at the same time, since one of them may
    /// stand still.
    fn place(&self) -> usize {
        0
    }

    /// How long it may take before it counts as hung.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}
