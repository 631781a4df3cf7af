//! One HTTP exchange: TLS, proxy, timeouts and size caps. Redirects are never followed and nothing is retried here.

mod barrier;
mod correlation;
mod departure;
mod failure;
mod no_proxy;
mod pool;
mod proxy;
mod sent;
mod tls;
mod trust;
mod tunnel;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use reqwest::{Method, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub use departure::Departure;
pub use failure::{FailureKind, TransportFailure};
pub use proxy::without_user as proxy_without_user;

use crate::graph::error::ErrorBody;
use crate::log::{self, Level};
use pool::{Lent, Pool};
use sent::Sent;

/// The largest answer that is read. A full batch answer is some tens of kilobytes.
const MAX_ANSWER: usize = 8 * MIB;
/// The largest that is read of one that is no success. What Graph says in it has a kilobyte or two.
const MAX_REFUSAL: usize = MIB;
const MIB: usize = 1024 * 1024;
/// Codings in use (<https://www.iana.org/assignments/http-parameters>).
const CODINGS: [&str; 6] = ["br", "compress", "deflate", "gzip", "x-gzip", "zstd"];

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

/// What is to be sent.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; the caller has checked that its origin is the endpoint's.
    pub url: Url,
    /// JSON, or nothing.
    pub body: Option<Vec<u8>>,
    /// Assignments that it is about.
    pub items: usize,
    /// Our id of it, which the service repeats.
    pub client_request_id: Uuid,
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
    /// The body, whole.
    pub body: Vec<u8>,
}

/// A pool of connections behind a gate that lets `concurrency` requests through at a time.
pub struct Transport {
    pool: Pool,
    gate: Semaphore,
    /// The host, its port where it is not the usual one, and the proxy on the way; for people.
    host: String,
    timeout: Duration,
    has_answered: AtomicBool,
    sent: Sent,
}

impl Transport {
    /// Build the connection pool; nothing is sent yet. The text of an error is for the caller of a constructor.
    pub fn new(options: &TransportOptions, origin: &Url) -> Result<Self, String> {
        let (pool, through) = Pool::new(options, origin)?;
        let mut host = origin.host_str().unwrap_or_default().to_owned();
        // Known only where it is not the usual one.
        if let Some(port) = origin.port() {
            host.push_str(&format!(":{port}"));
        }
        if let Some(proxy) = through {
            host.push_str(&format!(" (through the proxy {proxy})"));
        }
        Ok(Self {
            pool,
            gate: Semaphore::new(options.concurrency),
            host,
            timeout: options.timeout,
            has_answered: AtomicBool::new(false),
            sent: Sent::default(),
        })
    }

    /// Send once. A POST without a body says `Content-Length: 0`, since a service may answer 411 otherwise.
    pub async fn send(
        &self,
        request: Request,
        token: &SecretString,
        departure: &Departure,
    ) -> Result<Answer, TransportFailure> {
        let Request { method, url, body, items, client_request_id } = request;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer(token)?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Without it any coding would be allowed (RFC 9110, 12.5.3), and a small answer could unfold into a huge one.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Ok(id) = HeaderValue::from_str(&client_request_id.to_string()) {
            headers.insert("client-request-id", id);
        }
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        } else if method == Method::POST {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let _permit = self.gate.acquire().await.map_err(|_| TransportFailure::withdrawn())?;
        if !departure.leave() {
            return Err(TransportFailure::withdrawn());
        }
        let lent = self.pool.lend();
        let request = lent.client.request(method.clone(), url.clone()).headers(headers);
        let request = match body {
            Some(body) => request.body(body),
            None => request,
        };
        self.sent.remember(token);
        let started = Instant::now();
        // What is timed is asked first, then the clock. Connecting has a shorter time of its own (`pool`), so when this
        // clock runs out, a connection stood and the request may have left, however late anybody came to look.
        let exchange = self.exchange(request, &lent, client_request_id);
        let mut result = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(self.late()),
        };
        // An answer that repeats the request must not carry a token into a log, a report or an exception.
        self.sent.blot_out(&mut result);
        if log::wants(Level::Debug) {
            log::exchange(method, &url, items, &result, client_request_id, started.elapsed());
        }
        result
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
        lent: &Lent,
        ours: Uuid,
    ) -> Result<Answer, TransportFailure> {
        if lent.may_reuse {
            barrier::pass().await;
        }
        let response = request.send().await.map_err(|err| self.explain(err))?;
        self.has_answered.store(true, Ordering::Relaxed);
        self.pool.answered(&response);
        let other = match correlation::other_in_headers(response.headers(), ours) {
            Some(other) => other,
            None => {
                let answer = self.read(response).await?;
                let is_error = answer.status >= 400;
                let other = is_error.then(|| ErrorBody::from_slice(&answer.body));
                match other.and_then(|error| correlation::other_in_error(&error, ours)) {
                    Some(other) => other,
                    None => return Ok(answer),
                }
            }
        };
        self.pool.distrust(lent);
        Err(TransportFailure::protocol(format!(
            "{} sent the answer to another request: its client-request-id is {other} and not {ours}, so the connection \
             is not used again; check what stands in between, such as a proxy",
            self.host
        )))
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
            body: Vec::new(),
        };
        if let Some(coding) =
            text("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            // Only a known name is repeated: the header may hold anything.
            let shown = CODINGS.into_iter().find(|known| coding.eq_ignore_ascii_case(known));
            return Err(TransportFailure::protocol(format!(
                "{} sent an answer in {}, which was not asked for",
                self.host,
                shown.map_or("a coding of its own".to_owned(), |known| format!("the coding {known:?}")),
            )));
        }
        let most = if response.status().is_success() { MAX_ANSWER } else { MAX_REFUSAL };
        let too_large = || {
            TransportFailure::protocol(format!("{} sent an answer larger than {} MiB", self.host, most / MIB))
        };
        if let Some(length) = response.content_length() {
            let length = usize::try_from(length).ok().filter(|length| *length <= most);
            // Not more than that, where growing would double it. What is never written to takes no memory.
            answer.body.reserve_exact(length.ok_or_else(too_large)?);
        }
        while let Some(chunk) = response.chunk().await.map_err(|err| self.explain(err))? {
            if answer.body.len() + chunk.len() > most {
                return Err(too_large());
            }
            answer.body.extend_from_slice(&chunk);
        }
        if (300..400).contains(&answer.status) {
            return Err(TransportFailure::protocol(format!(
                "{} answered with a redirect ({}), which is never followed; check base_url and proxy",
                self.host, answer.status
            )));
        }
        // An interim answer that nobody asked for (101), or none that HTTP knows, settles nothing.
        if !(200..600).contains(&answer.status) {
            return Err(TransportFailure::protocol(format!(
                "{} answered with the status {}, which is no answer",
                self.host, answer.status
            )));
        }
        Ok(answer)
    }

    fn late(&self) -> TransportFailure {
        TransportFailure {
            kind: FailureKind::Timeout,
            left: true,
            message: format!(
                "{} gave no answer in time: timeout={} s",
                self.host,
                self.timeout.as_secs_f64()
            ),
        }
    }

    fn explain(&self, err: reqwest::Error) -> TransportFailure {
        TransportFailure::of(err, &self.host, self.has_answered.load(Ordering::Relaxed))
    }
}

/// All headers of a name as one, which means the same (<https://www.rfc-editor.org/rfc/rfc9110#section-5.3>). A value
/// may hold other bytes than ASCII (<https://www.rfc-editor.org/rfc/rfc9110#section-5.5>), such as a text for people.
fn list(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn bearer(token: &SecretString) -> Result<HeaderValue, TransportFailure> {
    // Overwritten in memory when it is dropped, as the token itself is.
    let text = SecretString::from(format!("Bearer {}", token.expose_secret()));
    let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| TransportFailure {
        kind: FailureKind::Protocol,
        left: false,
        message: "the token holds characters that no HTTP header may have".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_text_shows_a_secret() {
        let options = TransportOptions {
            https_only: true,
            concurrency: 1,
            timeout: Duration::from_secs(1),
            proxy: Some("http://user:canary@127.0.0.1:1".into()),
            ca_bundle: None,
        };
        let header = bearer(&"canary".into()).unwrap();
        for text in [
            format!("{options:?}"),
            format!("{header:?}"),
            format!("{:?}", HeaderMap::from_iter([(AUTHORIZATION, header)])),
        ] {
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_header_with_other_letters_than_ascii_is_read_all_the_same() {
        let mut headers = HeaderMap::new();
        for value in [&b"Negotiate"[..], b"Bearer error_description=\"R\xe9auth\", claims=\"e30=\""] {
            headers.append("www-authenticate", HeaderValue::from_bytes(value).unwrap());
        }
        let read = list(&headers, "www-authenticate").unwrap();
        assert_eq!(read, "Negotiate, Bearer error_description=\"R\u{fffd}auth\", claims=\"e30=\"");
        assert_eq!(list(&headers, "authorization"), None);
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_not_repeated() {
        let refused = bearer(&"canary\r\nX: 1".into()).unwrap_err();
        assert!(!refused.left && !format!("{refused} {refused:?}").contains("canary"));
    }
}
