//! What a caller holds of a run: push ids, wait, take outcomes, stop, collect the columns.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::{Book, Ledger};
use super::columns::Columns;
use super::engine;
use super::journal::{self, Identity, JournalFailure, Link, Past, Setup};
use super::recent::Recent;
use super::state::{Plan, State, Stats};
use super::stop::StopCause;
use crate::assignment::{AssignmentId, InvalidId};
use crate::client::SharedClient;
use crate::graph::action::Action;
use crate::log;
use crate::outcome::{Counts, Outcome};
use crate::token::TokenSource;

/// What is kept of the outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them, for a report.
    Collect,
    /// All of them, and each is handed out as well.
    CollectAndHandOut,
    /// Each is handed out and forgotten, so that memory stays flat.
    Stream,
}

/// What to wake up for, besides the end.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// Outcomes that can be taken.
    pub outcomes: bool,
    /// Room for more ids.
    pub room: bool,
}

impl News {
    fn is_in(self, state: &State) -> bool {
        state.is_done() || (self.outcomes && state.book().has_outcomes()) || (self.room && state.has_room())
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Places of the input that have ended, by status.
    pub counts: Counts,
    /// The figures so far.
    pub stats: Stats,
    /// How much longer the shared pause lasts.
    pub pause_left: Duration,
}

/// A finished run.
pub struct Finished {
    /// All outcomes; empty for a stream.
    pub columns: Columns,
    /// The figures.
    pub stats: Stats,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it stopped early, if it did.
    pub stop: Option<StopCause>,
}

/// How a run is done.
pub struct Job {
    /// What is done with each id.
    pub action: Action,
    /// What is kept of the outcomes.
    pub mode: Mode,
    /// After this time it is over, whatever is left.
    pub deadline: Option<Duration>,
    /// Where it is written down.
    pub journal: Option<Setup>,
}

/// Shared by the caller and the engine.
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    changed_async: Notify,
    /// Tells the engine that the caller did something.
    pub pushed: Notify,
}

impl Shared {
    /// The state. It is never held across a wait, and a panic cannot leave it half-changed in a way that matters more
    /// than losing every outcome would.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tell the waiting caller that something changed.
    pub fn wake(&self) {
        self.changed.notify_all();
        self.changed_async.notify_waiters();
    }
}

/// A run under way. Dropping it ends it.
pub struct Run {
    shared: Arc<Shared>,
    started: Instant,
}

impl Run {
    /// Start a run on this runtime. It sends nothing before it is given ids, or is told to go on with its journal's.
    pub fn start(
        runtime: &Handle,
        client: SharedClient,
        source: Arc<dyn TokenSource>,
        job: Job,
    ) -> Result<Self, JournalFailure> {
        let started = Instant::now();
        let options = client.options();
        let plan = Plan {
            limits: options.limits,
            batch_size: options.batch_size.max(1),
            concurrency: options.transport.concurrency.max(1),
            deadline: job.deadline,
        };
        let gate = client.gate(job.action);
        let hand_out = job.mode != Mode::Collect;
        let (state, journal) = match &job.journal {
            None => {
                let ledger = match job.mode {
                    Mode::Stream => Ledger::Window(Recent::default()),
                    Mode::Collect | Mode::CollectAndHandOut => Ledger::Columns(Box::default()),
                };
                (State::new(plan, gate, Book::new(ledger, hand_out), None, started), None)
            }
            Some(setup) => {
                let identity = Identity {
                    action: job.action.name().into(),
                    cloud: options.endpoint.chosen_cloud().name().into(),
                    api_version: options.endpoint.version().segment().into(),
                };
                let (journal, earlier) = journal::open(setup, identity, &options.endpoint.host())?;
                let past = Past {
                    places: earlier.columns.places().len() as u64,
                    input_ended: earlier.input_ended,
                    carried: earlier.carried,
                    sent_before: earlier.sent_before,
                };
                let window = plan.batch_size * plan.concurrency;
                let link = Link::new(journal.path(), journal.tenant(), past, setup.is_sized, window);
                let book = Book::resumed(earlier.columns, earlier.kept, hand_out);
                let inbox = link.inbox();
                (State::new(plan, gate, book, Some(link), started), Some((journal, inbox)))
            }
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            changed_async: Notify::new(),
            pushed: Notify::new(),
        });
        if let Some((journal, inbox)) = journal {
            let shared = shared.clone();
            journal::start(journal, inbox, move |ack| {
                shared.state().hear(ack, Instant::now() + engine::GRACE);
                shared.pushed.notify_one();
                shared.wake();
            })?;
        }
        runtime.spawn(log::inherit(engine::drive(client, job.action, source, shared.clone())));
        Ok(Self { shared, started })
    }

    /// Give ids in. More than `room` are taken too, but then memory grows.
    pub fn push(&self, input: impl IntoIterator<Item = Result<AssignmentId, InvalidId>>) {
        self.shared.state().push(input, Instant::now());
        self.shared.pushed.notify_one();
    }

    /// Go on with the ids that the journal has; none are given.
    pub fn resume(&self) {
        self.shared.state().resume();
        self.shared.pushed.notify_one();
        self.shared.wake();
    }

    /// No more ids come.
    pub fn close_input(&self) {
        self.shared.state().close_input(Instant::now());
        self.shared.pushed.notify_one();
    }

    /// How many more ids may be pushed now.
    pub fn room(&self) -> usize {
        self.shared.state().room()
    }

    /// How many places of the input are known.
    pub fn places(&self) -> u64 {
        self.shared.state().places()
    }

    /// Whether the run has ended.
    pub fn is_done(&self) -> bool {
        self.shared.state().is_done()
    }

    /// Wait, at most this long, until the run has ended or there is other news.
    pub fn wait(&self, news: News, timeout: Duration) {
        let state = self.shared.state();
        // Whoever wakes us is looked at by the caller, so a poisoned or spurious wake-up does no harm.
        drop(self.shared.changed.wait_timeout_while(state, timeout, |state| !news.is_in(state)));
    }

    /// The same as a future, without a limit.
    pub async fn changed(&self, news: News) {
        loop {
            let notified = self.shared.changed_async.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if news.is_in(&self.shared.state()) {
                return;
            }
            notified.await;
        }
    }

    /// Take the outcomes that wait.
    pub fn take(&self) -> Vec<Outcome> {
        let outcomes = self.shared.state().book_mut().take();
        if !outcomes.is_empty() {
            // There is room for more ids now.
            self.shared.wake();
        }
        outcomes
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let now = Instant::now();
        let state = self.shared.state();
        Progress { counts: state.book().counts(), stats: state.stats(now), pause_left: state.pause_left(now) }
    }

    /// Send nothing more; what is under way may take this long.
    pub fn stop(&self, why: &str, grace: Duration) {
        self.shared.state().stop(StopCause::Asked(why.to_owned()), Instant::now() + grace);
        self.shared.pushed.notify_one();
    }

    /// What the caller should be told by now, besides the outcomes.
    pub fn warnings(&self) -> Vec<String> {
        self.shared.state().warnings().to_vec()
    }

    /// Collect what there is. To be called once, when the run has ended.
    pub fn finish(&self) -> Finished {
        let now = Instant::now();
        let mut state = self.shared.state();
        Finished {
            columns: state.book_mut().take_columns(),
            stats: state.stats(now),
            elapsed: now - self.started,
            stop: state.stop_cause(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop("the run was given up", Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Options};
    use crate::graph::cloud::{ApiVersion, Cloud};
    use crate::graph::endpoint::Endpoint;
    use crate::outcome::Status;
    use crate::retry::Limits;
    use crate::token::TokenFuture;
    use crate::transport::TransportOptions;

    struct Broken;

    impl TokenSource for Broken {
        fn fetch<'a>(&'a self, _: &'a str) -> TokenFuture<'a> {
            panic!("a fault of our own")
        }
    }

    #[tokio::test]
    async fn a_request_that_panics_ends_the_run_with_every_outcome() {
        let endpoint = Endpoint::new(Cloud::Global, Some("http://127.0.0.1:9"), ApiVersion::Beta).unwrap();
        let options = Options {
            scope: String::new(),
            endpoint,
            batch_size: 20,
            rate: None,
            limits: Limits { max_retries: 8, max_wait: Duration::from_secs(600) },
            transport: TransportOptions {
                https_only: false,
                concurrency: 8,
                timeout: Duration::from_secs(1),
                proxy: None,
                ca_bundle: None,
            },
        };
        let client = Arc::new(Client::new(options).unwrap());
        let job = Job { action: Action::Reprocess, mode: Mode::Collect, deadline: None, journal: None };
        let run = Run::start(&Handle::current(), client, Arc::new(Broken), job).unwrap();
        run.push((0..100).map(|n| Ok(AssignmentId::from(uuid::Uuid::from_u128(n)))));
        run.close_input();
        run.changed(News { outcomes: false, room: false }).await;
        let finished = run.finish();
        assert!(matches!(finished.stop, Some(StopCause::Asked(_))));
        let rows: Vec<u32> = (0..100).collect();
        assert_eq!(finished.columns.counts(&rows).of(Status::NotAttempted), 100);
    }
}
