//! The task that drives a run: sends what the state says, tells it what came back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::handle::Shared;
use super::state::Next;
use super::stop::StopCause;
use crate::assignment::AssignmentId;
use crate::client::{Client, Exchange, SharedClient};
use crate::graph::action::Action;
use crate::log;
use crate::token::TokenSource;
use crate::transport::Departure;

/// How long requests under way may still take once the sending has ended.
pub const GRACE: Duration = Duration::from_secs(2);

type Landing = Result<Exchange, StopCause>;

/// Run until every id has its outcome.
pub async fn drive(client: SharedClient, action: Action, source: Arc<dyn TokenSource>, shared: Arc<Shared>) {
    let end = End(shared.clone());
    let mut air = Air::default();
    let closed = client.closed();
    tokio::pin!(closed);
    let mut open = true;
    loop {
        let next = shared.state().next(Instant::now());
        match next {
            Next::Finished => break,
            Next::Send { flight, ids, alone, departure } => {
                let (client, source, shared) = (client.clone(), source.clone(), shared.clone());
                let task = air.tasks.spawn(log::inherit(async move {
                    fly(&client, action, &source, &shared, Takeoff { flight, ids, alone, departure }).await
                }));
                air.flights.insert(task.id(), flight);
            }
            Next::Wait(until) => tokio::select! {
                Some(landed) = air.tasks.join_next_with_id() => air.land(&shared, landed),
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
    air.tasks.abort_all();
    while let Some(landed) = air.tasks.join_next_with_id().await {
        air.land(&shared, landed);
    }
    shared.state().finish(Instant::now());
    while shared.state().is_being_written() {
        shared.pushed.notified().await;
    }
    drop(end);
}

/// What a flight begins with.
struct Takeoff {
    flight: u64,
    ids: Vec<AssignmentId>,
    alone: bool,
    departure: Arc<Departure>,
}

/// Send a flight. What is answered while a part of it waits for another token is told at once; the rest comes back.
async fn fly(
    client: &Client,
    action: Action,
    source: &Arc<dyn TokenSource>,
    shared: &Shared,
    takeoff: Takeoff,
) -> Landing {
    let Takeoff { flight, ids, alone, departure } = takeoff;
    if shared.state().has_journal() {
        let tenant = client.tenant(source).await.map_err(StopCause::Credential)?;
        shared.state().admit_tenant(tenant.as_deref()).map_err(StopCause::Journal)?;
    }
    let mut sending = client.sending(action, ids, alone, source).await.map_err(StopCause::Credential)?;
    loop {
        let mut exchange = sending.send(&departure).await;
        let refused = exchange.take_refused();
        sending.advise(&mut exchange);
        let Some(mut refused) = refused else { return Ok(exchange) };
        shared.state().landed_in_part(flight, exchange, &refused.places, Instant::now(), GRACE);
        shared.pushed.notify_one();
        shared.wake();
        if !sending.renew(&refused).await.map_err(StopCause::Credential)? {
            sending.advise(&mut refused.exchange);
            return Ok(refused.exchange);
        }
        loop {
            let paused = shared.state().leaves_again(flight, Instant::now());
            let Some(until) = paused else { break };
            sleep_until(until).await;
        }
        // Others may leave again, too.
        shared.pushed.notify_one();
    }
}

/// The requests in the air, each in a task of its own.
#[derive(Default)]
struct Air {
    tasks: JoinSet<Landing>,
    flights: HashMap<Id, u64>,
}

impl Air {
    fn land(&mut self, shared: &Shared, landed: Result<(Id, Landing), JoinError>) {
        let id = landed.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(flight) = self.flights.remove(&id) else { return };
        match landed {
            Ok((_, result)) => shared.state().landed(flight, result, Instant::now(), GRACE),
            // It never lands; its items are settled when the run is finished.
            Err(err) if err.is_cancelled() => return,
            Err(_) => shared.state().crashed(flight, Instant::now(), GRACE),
        }
        shared.wake();
    }
}

/// Ends the run however the task ends: also where the runtime is shut down under it, so that nobody waits for ever.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.finish(Instant::now());
        state.conclude();
        drop(state);
        self.0.wake();
    }
}
