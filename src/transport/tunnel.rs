//! Tunnels through a proxy of HTTP: one at a time until one stood, so that a wrong password is tried once and not by all
//! at once, which may lock an account; and what the proxy says where it opens none.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::graph::challenge;
use crate::text::shorten;

/// How long the proxy may take to repeat why it opens no tunnel. It has just answered.
const ASKING: Duration = Duration::from_secs(3);
/// So long after a refused password nobody tries it again. Those that were about to would not know of it yet.
const RESPITE: Duration = Duration::from_secs(10);
/// The head of such an answer is shorter.
const LONGEST_HEAD: usize = 16 * 1024;
/// So many ways to sign in are named, and each to this length.
const MOST_SCHEMES: usize = 5;
const LONGEST_SCHEME: usize = 20;

type BoxError = Box<dyn Error + Send + Sync>;

/// A proxy that opens no tunnel.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum TunnelRefusal {
    /// 407: it wants to know who asks.
    #[error("tunnel error: {0}")]
    Unauthenticated(Arc<str>),
    /// Any other answer.
    #[error("tunnel error: the proxy answers {0}")]
    Answered(StatusCode),
    /// An answer that is not known.
    #[error("tunnel error: the proxy refuses to open one")]
    Refused,
}

/// What is known of the tunnels through one proxy.
#[derive(Debug)]
pub(super) struct Tunnels {
    proxy: Url,
    /// The user and the password as `Proxy-Authorization` has them.
    authorization: Option<SecretString>,
    /// Where the tunnels lead, as CONNECT names it.
    target: String,
    /// What to say after a 407.
    unauthenticated: Arc<str>,
    /// The setting that named the proxy.
    name: String,
    turn: Semaphore,
    /// Whether the last one that was opened stood; then there is no need to take turns.
    stood: AtomicBool,
    /// When the password was refused last, and what to say of it.
    refused: Mutex<Option<(Instant, TunnelRefusal)>>,
}

impl Tunnels {
    /// Through `proxy`, which the option or variable `name` gave, to `origin`.
    pub fn new(proxy: &Url, name: &str, origin: &Url) -> Self {
        let name = if name == "proxy" { "proxy=" } else { name };
        let is_named = !proxy.username().is_empty() || proxy.password().is_some();
        let unauthenticated = if is_named {
            format!("the proxy does not take the user and the password of {name} (407)")
        } else {
            format!(
                "the proxy wants a user and a password (407); give them in {name}, as in \
                 http://user:password@proxy.example:8080"
            )
        };
        let mut bare = proxy.clone();
        // A URL of these schemes has a host, and what has one may have no user.
        let (_, _) = (bare.set_username(""), bare.set_password(None));
        Self {
            authorization: is_named.then(|| basic(proxy)),
            proxy: bare,
            target: format!(
                "{}:{}",
                origin.host_str().unwrap_or_default(),
                origin.port_or_known_default().unwrap_or(443)
            ),
            unauthenticated: unauthenticated.into(),
            name: name.to_owned(),
            turn: Semaphore::new(1),
            stood: AtomicBool::new(false),
            refused: Mutex::new(None),
        }
    }

    async fn open<T>(&self, opening: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        let _turn = if self.stood.load(Ordering::SeqCst) {
            None
        } else {
            let turn = self.turn.acquire().await?;
            let late = self.refused().clone().filter(|(when, _)| when.elapsed() < RESPITE);
            if let Some((_, refusal)) = late {
                return Err(refusal.into());
            }
            Some(turn)
        };
        let err = match opening.await {
            Ok(tunnel) => {
                self.stood.store(true, Ordering::SeqCst);
                return Ok(tunnel);
            }
            Err(err) => err,
        };
        // hyper-util keeps the type of this error to itself, so its text has to do; the tests with proxies that refuse
        // would tell of another text.
        Err(match err.to_string().as_str() {
            "tunnel error: proxy authorization required" => {
                self.stood.store(false, Ordering::SeqCst);
                // Without the password, which is tried once.
                let schemes = self.ask(None).await.map(|refused| refused.schemes).unwrap_or_default();
                let refusal = self.unauthenticated(&schemes);
                *self.refused() = Some((Instant::now(), refusal.clone()));
                refusal.into()
            }
            // The password was right, or it would have been 407.
            "tunnel error: unsuccessful" => match self.ask(self.authorization.as_ref()).await {
                Some(refused) => TunnelRefusal::Answered(refused.status).into(),
                None => TunnelRefusal::Refused.into(),
            },
            _ => err,
        })
    }

    fn refused(&self) -> MutexGuard<'_, Option<(Instant, TunnelRefusal)>> {
        // Nobody can panic while holding it.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to say after a 407 that offered these ways to sign in.
    fn unauthenticated(&self, schemes: &[String]) -> TunnelRefusal {
        if schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic")) {
            return TunnelRefusal::Unauthenticated(self.unauthenticated.clone());
        }
        let shown: Vec<_> =
            schemes.iter().take(MOST_SCHEMES).map(|scheme| shorten(scheme, LONGEST_SCHEME)).collect();
        let text = format!(
            "the proxy offers {} only (407), which is not supported; a local forwarder such as px or cntlm can do it: \
             run one and give it in {}, as in http://127.0.0.1:3128",
            shown.join(" and "),
            self.name
        );
        TunnelRefusal::Unauthenticated(text.into())
    }

    /// Ask once more for a tunnel, to learn more of the refusal, which hyper-util does not tell. A proxy behind TLS is not
    /// asked.
    async fn ask(&self, authorization: Option<&SecretString>) -> Option<Refused> {
        if self.proxy.scheme() != "http" {
            return None;
        }
        tokio::time::timeout(ASKING, self.refusal(authorization)).await.ok()?
    }

    async fn refusal(&self, authorization: Option<&SecretString>) -> Option<Refused> {
        let host = self.proxy.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let mut stream = TcpStream::connect((host, self.proxy.port_or_known_default()?)).await.ok()?;
        let target = &self.target;
        let authorization = authorization
            .map_or_else(String::new, |value| format!("proxy-authorization: {}\r\n", value.expose_secret()));
        let head = SecretString::from(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
            SecretString::from(authorization).expose_secret()
        ));
        stream.write_all(head.expose_secret().as_bytes()).await.ok()?;
        let mut head = Vec::with_capacity(LONGEST_HEAD);
        while head.len() < LONGEST_HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.ok()? == 0 {
                break;
            }
        }
        Some(Refused { status: status_of(&head)?, schemes: schemes_of(&head) })
    }
}

/// What a proxy says that opens no tunnel.
struct Refused {
    status: StatusCode,
    /// The ways to sign in that it offers (<https://www.rfc-editor.org/rfc/rfc9110#section-11.7.1>).
    schemes: Vec<String>,
}

/// The user and the password of a URL, which has them percent-encoded, as Basic has them.
fn basic(url: &Url) -> SecretString {
    let plain = |text| SecretString::from(percent_decode_str(text).decode_utf8_lossy().into_owned());
    let (user, password) = (plain(url.username()), plain(url.password().unwrap_or_default()));
    let both = SecretString::from(format!("{}:{}", user.expose_secret(), password.expose_secret()));
    SecretString::from(format!(
        "Basic {}",
        SecretString::from(STANDARD.encode(both.expose_secret())).expose_secret()
    ))
}

/// The ways to sign in that the head of an answer offers, each once.
fn schemes_of(head: &[u8]) -> Vec<String> {
    let head = String::from_utf8_lossy(head);
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    let mut found: Vec<String> = Vec::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.trim().eq_ignore_ascii_case("proxy-authenticate") {
            for scheme in challenge::schemes(value) {
                if !found.iter().any(|known| known.eq_ignore_ascii_case(&scheme)) {
                    found.push(scheme);
                }
            }
        }
    }
    found
}

/// The status of an answer, if that opens no tunnel.
fn status_of(head: &[u8]) -> Option<StatusCode> {
    let mut words = head.split(|byte| byte.is_ascii_whitespace());
    words.next().filter(|version| version.starts_with(b"HTTP/1."))?;
    let status = StatusCode::from_bytes(words.next()?).ok()?;
    (!status.is_success()).then_some(status)
}

/// Puts [`Tunnels`] around what opens connections.
#[derive(Clone, Debug)]
pub(super) struct TunnelLayer(pub Arc<Tunnels>);

impl<S> Layer<S> for TunnelLayer {
    type Service = Opener<S>;

    fn layer(&self, inner: S) -> Opener<S> {
        Opener { inner, tunnels: self.0.clone() }
    }
}

/// Opens connections, one at a time where need be.
#[derive(Clone, Debug)]
pub(super) struct Opener<S> {
    inner: S,
    tunnels: Arc<Tunnels>,
}

impl<S, R> Service<R> for Opener<S>
where
    S: Service<R, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        // The one that was asked whether it is ready is the one to call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let tunnels = self.tunnels.clone();
        Box::pin(async move { tunnels.open(async { inner.call(target).await }).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn tunnels(proxy: &str, name: &str) -> Tunnels {
        let url = |text| Url::parse(text).unwrap();
        Tunnels::new(&url(proxy), name, &url("https://graph.example/beta"))
    }

    #[test]
    fn a_refusal_names_the_setting_and_no_secret() {
        for (proxy, name, told) in [
            ("http://proxy.example", "proxy", "wants a user and a password (407); give them in proxy=,"),
            ("http://proxy.example", "HTTPS_PROXY", "give them in HTTPS_PROXY, as in http://user:"),
            ("http://me:canary@proxy.example", "proxy", "take the user and the password of proxy= (407)"),
            ("http://me:canary@proxy.example", "ALL_PROXY", "password of ALL_PROXY (407)"),
        ] {
            let tunnels = tunnels(proxy, name);
            for schemes in [vec![], vec!["Basic".to_owned()], vec!["NTLM".to_owned(), "basic".to_owned()]] {
                let text = tunnels.unauthenticated(&schemes).to_string();
                assert!(text.contains(told), "{text}");
                assert!(!format!("{text} {tunnels:?}").contains("canary"));
            }
            let text = tunnels.unauthenticated(&["Negotiate".into(), "x".repeat(99)]).to_string();
            assert!(text.contains("offers Negotiate and xxxxxxxxxxxxxxxxxxxx… only (407)"), "{text}");
            assert!(
                text.contains("not supported; a local forwarder such as px or cntlm can do it"),
                "{text}"
            );
            assert!(!text.contains("canary"));
        }
    }

    #[test]
    fn the_ways_to_sign_in_are_read_from_each_header() {
        let start = "HTTP/1.1 407 Proxy Authentication Required\r\nVia: x\r\n";
        for (headers, schemes) in [
            ("", vec![]),
            ("Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n", vec!["Negotiate", "NTLM"]),
            ("proxy-authenticate:NTLM,ntlm , Negotiate\r\n", vec!["NTLM", "Negotiate"]),
            ("Proxy-Authenticate: Negotiate YIIabc==\r\n", vec!["Negotiate"]),
            ("Proxy-Authenticate: Digest realm=\"a, Basic\", nonce=\"x\"\r\n", vec!["Digest"]),
            ("Proxy-Authenticate: NTLM, Basic realm=\"x, y\"\r\n", vec!["NTLM", "Basic"]),
            ("WWW-Authenticate: NTLM\r\n", vec![]),
            ("\r\nProxy-Authenticate: NTLM\r\n", vec![]),
        ] {
            assert_eq!(schemes_of(format!("{start}{headers}\r\n").as_bytes()), schemes, "{headers}");
        }
    }

    #[test]
    fn the_password_is_the_one_that_the_url_encodes() {
        let url = Url::parse("http://us%20er:p%40ss%3A@proxy.example").unwrap();
        let text = STANDARD.encode("us er:p@ss:");
        assert_eq!(basic(&url).expose_secret(), format!("Basic {text}"));
    }

    #[test]
    fn only_a_refusal_has_a_status() {
        for (line, status) in [
            ("HTTP/1.1 403 Forbidden\r\n", Some(403)),
            ("HTTP/1.0 502\r\n", Some(502)),
            ("HTTP/1.1 301 Moved\r\nLocation: x", Some(301)),
            ("HTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1", None),
            ("HTTP/1.1 x\r\n", None),
            ("SSH-2.0 403\r\n", None),
            ("", None),
        ] {
            assert_eq!(status_of(line.as_bytes()).map(|status| status.as_u16()), status, "{line:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_tried_once_by_all_that_wait() {
        let tunnels = tunnels("http://me:canary@proxy.example", "proxy");
        let tried = AtomicU64::new(0);
        let open = || {
            tunnels.open(async {
                tried.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Err::<(), BoxError>("tunnel error: proxy authorization required".into())
            })
        };
        let (a, b, c) = tokio::join!(open(), open(), open());
        for refused in [a, b, c] {
            let err = refused.unwrap_err();
            assert!(matches!(err.downcast_ref(), Some(TunnelRefusal::Unauthenticated(_))), "{err}");
        }
        open().await.unwrap_err();
        assert_eq!(tried.load(Ordering::SeqCst), 1);
        // Whoever comes later may have a reason to try again.
        tokio::time::advance(RESPITE).await;
        open().await.unwrap_err();
        assert_eq!(tried.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn once_a_tunnel_stood_they_are_opened_side_by_side() {
        let tunnels = tunnels("http://proxy.example", "proxy");
        tunnels.open(async { Ok(()) }).await.unwrap();
        let both = tokio::sync::Barrier::new(2);
        let open = || {
            tunnels.open(async {
                both.wait().await;
                Ok(())
            })
        };
        let (a, b) = tokio::join!(open(), open());
        a.and(b).unwrap();
    }
}
