//! The HTTP client, and a second one without kept connections for a service in trouble.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Client, Proxy, Response, StatusCode, Url, Version};

use super::TransportOptions;
use super::failure::chain;
use super::proxy::{self, Way};
use super::trust;
use super::tunnel::TunnelLayer;

/// A connection that takes longer than this is not coming; the exchange as a whole may take `timeout`.
const MAX_CONNECT: Duration = Duration::from_secs(10);
/// What connecting may take of a short `timeout`, in tenths. Less than all of it: a connection that does not come is
/// given up as one that never stood, before the exchange as a whole runs out of time, which says nothing about that.
const CONNECT_SHARE: u32 = 9;
/// A side that says nothing for longer than this has gone, whatever `timeout` allows for the exchange as a whole.
const MAX_SILENCE: Duration = Duration::from_secs(120);
/// An HTTP/2 connection with requests under way is asked so often whether it is still there. All requests share it, so
/// one that a firewall has forgotten would take every attempt with it until the system notices.
const PING: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that all headers of an answer may take over HTTP/2; HTTP/1.1 has hyper's own limit of about 400 KiB.
const MAX_HEADERS: u32 = 64 * 1024;

/// Connections that are kept, and a way around them.
pub(super) struct Pool {
    kept: Mutex<Kept>,
    /// Opens a connection for each request. Made when it is first needed, from the same settings.
    fresh: OnceLock<Client>,
    settings: Settings,
    /// Whether the last answer was a 503.
    avoid_kept: AtomicBool,
    /// Whether the last answer came by HTTP/1, which leaves a connection on which another answer may come unasked.
    is_serial: AtomicBool,
}

/// A client that keeps its connections, and how many there were before it.
#[derive(Clone)]
struct Kept {
    client: Client,
    number: u64,
}

/// The client to send a request with.
pub(super) struct Lent {
    pub client: Client,
    /// Which of those that keep their connections it is.
    number: Option<u64>,
    /// Whether it may have a connection of HTTP/1 that was used before.
    pub may_reuse: bool,
}

/// What both clients are made of.
struct Settings {
    https_only: bool,
    timeout: Duration,
    certificates: Option<Vec<Certificate>>,
    way: Way,
}

impl Pool {
    /// The pool, and the proxy that is on the way.
    pub fn new(options: &TransportOptions, origin: &Url) -> Result<(Self, Option<String>), String> {
        let settings = Settings {
            https_only: options.https_only,
            timeout: options.timeout,
            certificates: trust::certificates(options.ca_bundle.as_deref())?,
            way: proxy::way(options.proxy.as_ref(), origin)?,
        };
        let through = match &settings.way {
            Way::Through { shown, .. } => Some(shown.clone()),
            Way::Direct | Way::System => None,
        };
        let client = settings.client(true).map_err(|err| format!("cannot set up TLS: {}", chain(&err)))?;
        let pool = Self {
            kept: Mutex::new(Kept { client, number: 0 }),
            fresh: OnceLock::new(),
            settings,
            avoid_kept: AtomicBool::new(false),
            is_serial: AtomicBool::new(false),
        };
        Ok((pool, through))
    }

    /// The client to send the next request with.
    pub fn lend(&self) -> Lent {
        if self.avoid_kept.load(Ordering::Relaxed)
            && let Some(fresh) = self.fresh()
        {
            return Lent { client: fresh.clone(), number: None, may_reuse: false };
        }
        let Kept { client, number } = self.kept().clone();
        Lent { client, number: Some(number), may_reuse: self.is_serial.load(Ordering::Relaxed) }
    }

    /// After a 503 a retry opens a new connection, which may lead to a healthier server
    /// (<https://learn.microsoft.com/graph/best-practices-concept>).
    pub fn answered(&self, response: &Response) {
        self.avoid_kept.store(response.status() == StatusCode::SERVICE_UNAVAILABLE, Ordering::Relaxed);
        self.is_serial.store(response.version() < Version::HTTP_2, Ordering::Relaxed);
    }

    /// An answer that came by this client was to another request, so its connections are not used again. They end once
    /// those are answered that are under way on them.
    pub fn distrust(&self, lent: &Lent) {
        let mut kept = self.kept();
        // Many may say so at once.
        if lent.number == Some(kept.number)
            && let Ok(client) = self.settings.client(true)
        {
            *kept = Kept { client, number: kept.number + 1 };
        }
    }

    /// What made the first client makes this one too, as long as the system gives what it gave then.
    fn fresh(&self) -> Option<&Client> {
        if self.fresh.get().is_none()
            && let Ok(client) = self.settings.client(false)
        {
            return Some(self.fresh.get_or_init(|| client));
        }
        self.fresh.get()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nobody can panic while holding it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long connecting may take: name, TCP, proxy and TLS together. Always shorter than the exchange as a whole.
fn connect_timeout(whole: Duration) -> Duration {
    MAX_CONNECT.min(whole / 10 * CONNECT_SHARE)
}

impl Settings {
    fn client(&self, keep: bool) -> reqwest::Result<Client> {
        let mut builder = Client::builder()
            .user_agent(concat!("entra-reprocess/", env!("CARGO_PKG_VERSION")))
            // A redirect to another port would carry the custom headers along, so none is followed.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .https_only(self.https_only)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(connect_timeout(self.timeout))
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING_TIMEOUT);
        // Below that `timeout` itself comes first. reqwest asks this clock before it asks whether connecting has failed,
        // so it must not run out at the same time.
        if self.timeout > MAX_SILENCE {
            builder = builder.read_timeout(MAX_SILENCE);
        }
        if !keep {
            builder = builder.pool_max_idle_per_host(0);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.tls_certs_only(certificates.iter().cloned());
        }
        builder = match &self.way {
            Way::Direct => builder.no_proxy(),
            Way::System => builder,
            Way::Through { proxy, tunnels, .. } => {
                let builder = builder.proxy(Proxy::clone(proxy));
                match tunnels {
                    Some(tunnels) => builder.connector_layer(TunnelLayer(tunnels.clone())),
                    None => builder,
                }
            }
        };
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_ends_before_the_exchange_does() {
        for (whole, connecting) in
            [(0.5, 0.45), (1.0, 0.9), (10.0, 9.0), (11.0, 9.9), (11.2, 10.0), (30.0, 10.0), (600.0, 10.0)]
        {
            let whole = Duration::from_secs_f64(whole);
            let found = connect_timeout(whole);
            assert!((found.as_secs_f64() - connecting).abs() < 1e-6, "{found:?} of {whole:?}");
            assert!(found < whole);
        }
    }
}
