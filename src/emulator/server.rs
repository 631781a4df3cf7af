//! Starting and stopping: a socket and a runtime of its own, so that no caller's runtime is needed or blocked.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{runtime, sync::oneshot};
use uuid::Uuid;

use super::{
    connections,
    counters::Counters,
    http::Front,
    seed::Kind,
    service::Service,
    settings::{AssignmentState, Settings},
    tls::Identity,
    tokens::SignIn,
    wall_clock,
};

/// Longest time that stopping waits for calls that are being computed; those that wait are dropped at once.
const GRACE: Duration = Duration::from_secs(1);

/// A local Microsoft Graph, running until it is stopped or dropped.
///
/// ```
/// use entra_reprocess::emulator::{Emulator, Settings};
///
/// let emulator = Emulator::start(Settings { assignments: 3, ..Settings::default() })?;
/// assert!(emulator.url().starts_with("http://127.0.0.1:"));
/// assert_eq!(emulator.ids().len(), 3);
/// assert!(emulator.executions().is_empty());
/// emulator.stop();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    ca_pem: Option<String>,
    service: Arc<Service>,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Emulator {
    /// Seeds the data, binds 127.0.0.1 and serves from threads of its own.
    ///
    /// # Errors
    ///
    /// The port is taken, `client_certificate` cannot be read, or the system gives no socket, thread or random keys.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let threads = settings.threads.clamp(1, 64);
        let service = Arc::new(Service::new(settings)?);
        let settings = &service.settings;
        let (ca_pem, tls) = match settings.tls.then(|| Identity::new(settings.http2)).transpose()? {
            Some(identity) => (Some(identity.ca_pem), Some(identity.acceptor)),
            None => (None, None),
        };
        let front = Arc::new(Front::new(Arc::clone(&service)));
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("graph-emulator".into()).spawn(move || {
            let built = runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("graph-emulator")
                .enable_io()
                .enable_time()
                .build();
            let runtime = match built {
                Ok(runtime) => runtime,
                Err(error) => {
                    // Nobody listens only if the starting thread is gone.
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                let _ = ready.send(Ok(()));
                tokio::select! {
                    () = connections::serve(listener, tls, front) => {}
                    _ = stopped => {}
                }
            });
            // Drops every connection, also those whose answer is still delayed.
            runtime.shutdown_timeout(GRACE);
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Self { address, ca_pem, service, running: Mutex::new(Some((stop, thread))) })
    }

    /// Where it listens, such as `http://127.0.0.1:41234`, or with TLS `https://localhost:41234`; paths begin with
    /// `/v1.0` or `/beta`.
    pub fn url(&self) -> String {
        match self.ca_pem {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// With TLS, the certificate of the authority that a client has to trust, as PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The bearer token that it accepts at present.
    pub fn token(&self) -> String {
        self.service.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts this bearer token from now on and no other, as if the earlier one had expired.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.service.token.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes none of the tokens any more that its sign-in endpoint has given so far. With `challenge`, clients that
    /// said that they can answer one are told which claims the next token has to have.
    pub fn revoke_tokens(&self, challenge: bool) {
        self.service.tokens.revoke(challenge, wall_clock::now(self.service.settings.clock_skew));
    }

    /// The tokens that its sign-in endpoint has given, the first 10,000 of them.
    pub fn sign_ins(&self) -> Vec<SignIn> {
        self.service.tokens.sign_ins()
    }

    /// The tenant and the application that can sign in.
    pub fn application(&self) -> (Uuid, Uuid) {
        (self.service.settings.tenant_id, self.service.settings.client_id)
    }

    /// The ids of all assignments, which follow from the seed.
    pub fn ids(&self) -> Vec<Uuid> {
        self.service.assignments.ids().to_vec()
    }

    /// The ids of the requests that made the assignments, in the same order.
    pub fn request_ids(&self) -> Vec<Uuid> {
        let all = &self.service.assignments;
        all.ids().iter().map(|id| all.request_id(*id)).collect()
    }

    /// The access packages: id and display name.
    pub fn access_packages(&self) -> Vec<(Uuid, String)> {
        let people = self.service.people;
        (0..people.packages()).map(|n| (people.id(Kind::Package, n), people.package_name(n))).collect()
    }

    /// The users who can hold assignments: object id and mail address.
    pub fn users(&self) -> Vec<(Uuid, String)> {
        let people = self.service.people;
        (0..people.users()).map(|n| (people.id(Kind::User, n), people.user_mail(n))).collect()
    }

    /// The present states of all assignments, in the order of [`Emulator::ids`].
    pub fn states(&self) -> Vec<AssignmentState> {
        let (all, now) = (&self.service.assignments, self.service.now());
        (0..all.ids().len()).map(|place| all.state(place, now)).collect()
    }

    /// The present state of an assignment.
    pub fn state(&self, id: Uuid) -> Option<AssignmentState> {
        let all = &self.service.assignments;
        all.find(id).map(|place| all.state(place, self.service.now()))
    }

    /// How often each assignment was really reprocessed; those never reprocessed are left out.
    pub fn executions(&self) -> HashMap<Uuid, u64> {
        self.service.assignments.executions()
    }

    /// How often each request was really reprocessed; those never reprocessed are left out.
    pub fn request_executions(&self) -> HashMap<Uuid, u64> {
        self.service.assignments.request_executions()
    }

    /// What it counted so far.
    pub fn counters(&self) -> Counters {
        self.service.tally.read()
    }

    /// Closes the socket and all connections, answered or not; the counts stay readable. A second call does nothing.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            // A panic of that thread was reported by itself; there is nothing to add while stopping.
            let _ = thread.join();
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}
