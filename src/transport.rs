//! One HTTP exchange: TLS, proxy, timeouts and size caps. Redirects are never followed and nothing is retried here.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Method, Proxy, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The largest answer that is read. A full batch answer is some tens of kilobytes.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// A connection that takes longer than this is not coming; the exchange as a whole may take `timeout`.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// What the transport needs to know.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Refuse anything but https.
    pub https_only: bool,
    /// HTTP requests in flight at the most.
    pub concurrency: usize,
    /// The longest that one exchange may take, from connecting to the last byte.
    pub timeout: Duration,
    /// A proxy in place of those of the environment. It may hold a password.
    pub proxy: Option<SecretString>,
    /// A PEM file in place of the system's trust store.
    pub ca_bundle: Option<PathBuf>,
}

/// What an answer was made of, as far as anyone here needs it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `request-id`: the service's id, which support asks for.
    pub request_id: Option<String>,
    /// `Date`, as sent.
    pub date: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `x-ms-throttle-limit-percentage`: how much of a limit is used up, sent above 0.8 only.
    pub near_limit: Option<f64>,
    /// `WWW-Authenticate`, as sent; several are one list.
    pub challenge: Option<String>,
    /// `Content-Type`, as sent.
    pub content_type: Option<String>,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// Why there is no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The connection failed or broke.
    Connection,
    /// The host's name is not known, and nothing was ever answered that would speak for it.
    UnknownHost,
    /// The other side's certificate, or its TLS, is not to be trusted.
    Untrusted,
    /// Time ran out.
    Timeout,
    /// Something answered that cannot be trusted to be Graph.
    Protocol,
    /// We ended it ourselves.
    Withdrawn,
}

/// An exchange without a usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportFailure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// Whether the request may have reached the service: then it may have been executed.
    pub left: bool,
    /// For people, with the remedy where there is one. Holds no secret and no URL with a query.
    pub message: String,
}

impl TransportFailure {
    /// An answer that cannot be trusted.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Protocol, left: true, message: message.into() }
    }

    fn withdrawn() -> Self {
        Self {
            kind: FailureKind::Withdrawn,
            left: false,
            message: "the call ended before it was sent".into(),
        }
    }
}

/// Lets the owner of a request hold it back until the last moment, and see afterwards whether it left.
#[derive(Debug, Default)]
pub struct Departure {
    held: AtomicBool,
    left: AtomicBool,
}

impl Departure {
    /// From now on it does not leave any more; if it has left already, this changes nothing.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Whether the request left.
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    fn leave(&self) -> bool {
        if self.held.load(Ordering::SeqCst) {
            return false;
        }
        self.left.store(true, Ordering::SeqCst);
        true
    }
}

/// A pool of connections behind a gate that lets `concurrency` requests through at a time.
pub struct Transport {
    http: Client,
    gate: Semaphore,
    host: String,
    has_answered: AtomicBool,
}

impl Transport {
    /// Build the connection pool; nothing is sent yet. The text of an error is for the caller of a constructor.
    pub fn new(options: &TransportOptions, origin: &Url) -> Result<Self, String> {
        let mut builder = Client::builder()
            .user_agent(concat!("entra-reprocess/", env!("CARGO_PKG_VERSION")))
            // A redirect to another port would carry the custom headers along, so none is followed.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .https_only(options.https_only)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(options.timeout.min(MAX_CONNECT))
            .timeout(options.timeout);
        if let Some(path) = &options.ca_bundle {
            builder = builder.tls_certs_only(read_bundle(path)?);
        }
        if let Some(proxy) = &options.proxy {
            // The parser's error would repeat the URL, and with it a password.
            let proxy = Proxy::all(proxy.expose_secret())
                .map_err(|_| "proxy is not a URL; give one like \"http://proxy.example:8080\"")?;
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(|err| format!("cannot set up TLS: {}", chain(&err)))?;
        Ok(Self {
            http,
            gate: Semaphore::new(options.concurrency),
            host: origin.host_str().unwrap_or_default().to_owned(),
            has_answered: AtomicBool::new(false),
        })
    }

    /// Send once. A POST without a body says `Content-Length: 0`, since a service may answer 411 otherwise.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
        token: &SecretString,
        client_request_id: Uuid,
        departure: &Departure,
    ) -> Result<Answer, TransportFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer(token)?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Ok(id) = HeaderValue::from_str(&client_request_id.to_string()) {
            headers.insert("client-request-id", id);
        }
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        } else if method == Method::POST {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let request = self.http.request(method, url);
        let request = match body {
            Some(body) => request.body(body),
            None => request,
        };
        let _permit = self.gate.acquire().await.map_err(|_| TransportFailure::withdrawn())?;
        if !departure.leave() {
            return Err(TransportFailure::withdrawn());
        }
        let response = request.headers(headers).send().await.map_err(|err| self.explain(err))?;
        self.has_answered.store(true, Ordering::Relaxed);
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Answer, TransportFailure> {
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            request_id: text("request-id"),
            date: text("date"),
            retry_after: text("retry-after"),
            near_limit: text("x-ms-throttle-limit-percentage").and_then(|share| share.trim().parse().ok()),
            challenge: list(response.headers(), "www-authenticate"),
            content_type: text("content-type"),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(|err| self.explain(err))? {
            if answer.body.len() + chunk.len() > MAX_ANSWER {
                return Err(TransportFailure::protocol(format!(
                    "{} sent an answer larger than {} MiB",
                    self.host,
                    MAX_ANSWER / 1024 / 1024
                )));
            }
            answer.body.extend_from_slice(&chunk);
        }
        if (300..400).contains(&answer.status) {
            return Err(TransportFailure::protocol(format!(
                "{} answered with a redirect ({}), which is never followed; check base_url and proxy",
                self.host, answer.status
            )));
        }
        Ok(answer)
    }

    fn explain(&self, err: reqwest::Error) -> TransportFailure {
        let err = err.without_url();
        let left = !(err.is_connect() || err.is_builder());
        let kind = if !left && is_tls(&err) {
            FailureKind::Untrusted
        } else if err.is_dns() && !self.has_answered.load(Ordering::Relaxed) {
            FailureKind::UnknownHost
        } else if err.is_timeout() {
            FailureKind::Timeout
        } else {
            FailureKind::Connection
        };
        let host = &self.host;
        let cause = chain(&err);
        let message = if kind == FailureKind::Untrusted {
            format!(
                "{host} is not to be trusted: {cause}; if it is the right host, name its CA with ca_bundle="
            )
        } else if err.is_dns() {
            format!("{host} is an unknown host: {cause}; check cloud, base_url, DNS and proxy")
        } else if !left {
            format!("cannot connect to {host}: {cause}; check network, proxy and trust store")
        } else if kind == FailureKind::Timeout {
            format!("{host} gave no answer in time: {cause}")
        } else {
            format!("the answer of {host} was cut: {cause}")
        };
        TransportFailure { kind, left, message }
    }
}

/// All headers of a name as one, which means the same (<https://www.rfc-editor.org/rfc/rfc9110#section-5.3>).
fn list(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn bearer(token: &SecretString) -> Result<HeaderValue, TransportFailure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
        TransportFailure {
            kind: FailureKind::Protocol,
            left: false,
            message: "the token holds characters that no HTTP header may have".into(),
        }
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_bundle(path: &PathBuf) -> Result<Vec<Certificate>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|err| format!("ca_bundle {shown} cannot be read: {err}"))?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .map_err(|err| format!("ca_bundle {shown} is no PEM file: {}", chain(&err)))?;
    if certificates.is_empty() {
        return Err(format!("ca_bundle {shown} holds no certificate"));
    }
    Ok(certificates)
}

/// Whether TLS itself refused, rather than the connection under it.
fn is_tls(err: &(dyn std::error::Error + 'static)) -> bool {
    if err.is::<rustls::Error>() {
        return true;
    }
    // An I/O error passes over what it wraps when it is asked for its source.
    match err.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => is_tls(wrapped),
        None => err.source().is_some_and(is_tls),
    }
}

/// An error with its causes, the innermost last; reqwest's own text names only the outermost.
fn chain(err: &reqwest::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
