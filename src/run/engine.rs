//! The task that drives a run: sends what the state says, tells it what came back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::handle::Shared;
use super::state::Next;
use super::stop::StopCause;
use crate::client::{Exchange, SharedClient};
use crate::graph::action::Action;
use crate::token::{CredentialFailure, TokenSource};

/// How long requests under way may still take once the sending has ended.
pub const GRACE: Duration = Duration::from_secs(2);

type Landing = (u64, Result<Exchange, CredentialFailure>);

/// Run until every id has its outcome.
pub async fn drive(client: SharedClient, action: Action, source: Arc<dyn TokenSource>, shared: Arc<Shared>) {
    let end = End(shared.clone());
    let mut flights: JoinSet<Landing> = JoinSet::new();
    let closed = client.closed();
    tokio::pin!(closed);
    let mut open = true;
    loop {
        let next = shared.state().next(Instant::now());
        match next {
            Next::Finished => break,
            Next::Send { flight, ids, alone, departure } => {
                let (client, source) = (client.clone(), source.clone());
                flights.spawn(async move {
                    (flight, client.attempt(action, &ids, alone, &*source, &departure).await)
                });
            }
            Next::Wait(until) => tokio::select! {
                Some(landing) = flights.join_next() => land(&shared, landing),
                () = shared.pushed.notified() => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                () = &mut closed, if open => {
                    open = false;
                    let cause = StopCause::Asked("the client was closed during the run".into());
                    shared.state().stop(cause, Instant::now() + GRACE);
                }
            },
        }
    }
    // What is still in the air is cut off here; the state knows which of it had left.
    flights.abort_all();
    while let Some(landing) = flights.join_next().await {
        land(&shared, landing);
    }
    drop(end);
}

/// Ends the run however the task ends: also where the runtime is shut down under it, so that nobody waits for ever.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.state().finish(Instant::now());
        self.0.wake();
    }
}

fn land(shared: &Shared, landing: Result<Landing, tokio::task::JoinError>) {
    // A flight that was aborted never lands; its items are settled when the run is finished.
    if let Ok((flight, result)) = landing {
        shared.state().landed(flight, result, Instant::now(), GRACE);
        shared.wake();
    }
}
