//! Why an exchange brought no usable answer, and whether the request may have been executed all the same.

use std::error::Error;

use super::tls;
use super::tunnel::TunnelRefusal;

/// Why there is no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The connection failed or broke.
    Connection,
    /// The host's name is not known, and nothing was ever answered that would speak for it.
    UnknownHost,
    /// The other side's certificate, or its TLS, is not to be trusted.
    Untrusted,
    /// The proxy on the way wants a password, or another one.
    Unauthenticated,
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

    /// Whether others would fare no better: nobody can be connected to, or who answers will not have us.
    pub fn concerns_all(&self) -> bool {
        match self.kind {
            FailureKind::Withdrawn => false,
            FailureKind::Untrusted | FailureKind::Unauthenticated => true,
            _ => !self.left,
        }
    }

    pub(super) fn withdrawn() -> Self {
        Self {
            kind: FailureKind::Withdrawn,
            left: false,
            message: "the call ended before it was sent".into(),
        }
    }

    /// What an error of the HTTP client means. `host` is where the request was meant to go, with the proxy on the way.
    pub(super) fn of(err: reqwest::Error, host: &str, has_answered: bool) -> Self {
        let err = err.without_url();
        // Everything but a connection that never stood may have brought the request there.
        let left = !(err.is_connect() || err.is_builder());
        // Over TLS 1.3 a server learns that we have no certificate after our side of the handshake is done, when the
        // request may be on its way (https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2.4). One that refuses us for
        // it reads no request first, but its alert does not say that it came before one was read. So it stays in
        // doubt, and like any other trouble of TLS it would be the same next time.
        let tls = tls::cause(&err).filter(|cause| !left || tls::wants_certificate(cause));
        if let Some(cause) = tls {
            return Self { kind: FailureKind::Untrusted, left, message: tls::explain(cause, host) };
        }
        let is_unauthenticated =
            matches!(found::<TunnelRefusal>(&err), Some(TunnelRefusal::Unauthenticated(_)));
        // hyper's own word for a head that is no HTTP, that contradicts itself, or that is too large.
        let is_garbled = left && found::<hyper::Error>(&err).is_some_and(hyper::Error::is_parse);
        let kind = if is_garbled {
            FailureKind::Protocol
        } else if is_unauthenticated {
            FailureKind::Unauthenticated
        } else if err.is_dns() && !has_answered {
            FailureKind::UnknownHost
        } else if err.is_timeout() {
            FailureKind::Timeout
        } else {
            FailureKind::Connection
        };
        let cause = chain(&err);
        let message = if kind == FailureKind::Unauthenticated {
            format!("cannot connect to {host}: {cause}")
        } else if err.is_dns() {
            format!("{host} is an unknown host: {cause}; check cloud, base_url, DNS and proxy")
        } else if !left {
            format!("cannot connect to {host}: {cause}; check network, proxy and trust store")
        } else if is_garbled {
            format!("{host} sent what is no answer of HTTP: {cause}; check base_url and proxy")
        } else if kind == FailureKind::Timeout {
            format!("{host} gave no answer in time: {cause}")
        } else {
            format!("the answer of {host} was cut: {cause}")
        };
        Self { kind, left, message }
    }
}

/// The first cause of that type.
fn found<'a, T: Error + 'static>(err: &'a (dyn Error + 'static)) -> Option<&'a T> {
    err.downcast_ref().or_else(|| err.source().and_then(found))
}

/// An error with its causes, the innermost last; reqwest's own text names only the outermost.
pub(super) fn chain(err: &reqwest::Error) -> String {
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
