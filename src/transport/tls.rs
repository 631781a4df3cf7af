//! What a failure of TLS says to people: the cause, and the one remedy that fits it.

use std::error::Error;

use rustls::{AlertDescription, CertificateError, OtherError, PeerIncompatible};

use crate::text::shorten;

/// A certificate may hold any number of names.
const LONGEST_CAUSE: usize = 400;

/// The failure of TLS that an error stems from, if it is one, rather than the failure of the connection under it.
pub(super) fn cause<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = err.downcast_ref() {
        return Some(found);
    }
    // An I/O error passes over what it wraps when it is asked for its source.
    match err.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => cause(wrapped),
        None => err.source().and_then(cause),
    }
}

/// Whether the other side refuses us for want of a certificate of ours, since we never show one: what it says of "the
/// certificate" in an alert (<https://www.rfc-editor.org/rfc/rfc8446#section-6.2>) is about that.
pub(super) const fn wants_certificate(err: &rustls::Error) -> bool {
    matches!(
        err,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
                | AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
        )
    )
}

/// The failure in a sentence, with what helps. `host` is where we meant to go, with the proxy on the way.
pub(super) fn explain(err: &rustls::Error, host: &str) -> String {
    let opening = match err {
        rustls::Error::InvalidCertificate(_) => "is not to be trusted",
        _ => "does not agree on TLS with us",
    };
    format!("{host} {opening}: {}; {}", shorten(&err.to_string(), LONGEST_CAUSE), remedy(err))
}

fn remedy(err: &rustls::Error) -> &'static str {
    match err {
        rustls::Error::InvalidCertificate(why) => remedy_for_certificate(why),
        // What speaks no TLS answers what is no record of TLS.
        rustls::Error::InvalidMessage(_) => {
            "it seems to speak no TLS there; check the scheme and the port of base_url"
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "it, or a proxy in between, has TLS 1.1 or older, and 1.2 is the oldest that is taken",
        // OpenSSL says so over TLS 1.2 where it misses a certificate.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it has no cipher in common with us, or wants a client certificate, which is not supported"
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it does not go by that name; check base_url"
        }
        _ if wants_certificate(err) => "it wants a client certificate, which is not supported",
        _ => "check base_url and what stands in between",
    }
}

/// For one that OpenSSL makes by `req -x509` without more, and some appliances make by themselves.
const AUTHORITY_AS_SERVER: &str = "the certificate is that of an authority (CA:TRUE) and the server shows it as its own, \
     which is refused (https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.9): issue one for the server from it, or \
     reissue it as that of a server and name it with ca_bundle=, as by \
     `openssl req -x509 -newkey rsa:2048 -nodes -days 365 -keyout key.pem -out cert.pem -subj /CN=HOST \
     -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:HOST`";

fn is_authority(err: &OtherError) -> bool {
    matches!(err.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn remedy_for_certificate(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "whoever runs the host has to renew it, unless the clock of this machine is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check the clock of this machine"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "check base_url, and whether a proxy answers in its place"
        }
        CertificateError::Other(other) if is_authority(other) => AUTHORITY_AS_SERVER,
        CertificateError::Revoked => "it must not be trusted any more",
        // Those that a missing authority causes. `Other` is what the systems' own verifiers say.
        CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_) => {
            "if it is the right host, name its CA with ca_bundle="
        }
        _ => "whoever runs the host has to replace it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::Error::{AlertReceived, General, InvalidCertificate, InvalidMessage};
    use rustls::pki_types::{ServerName, UnixTime};
    use std::time::Duration;

    #[test]
    fn every_cause_has_the_remedy_that_fits() {
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(1));
        let of_another_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("graph.example").unwrap(),
            presented: vec!["DnsName(\"other.example\")".into()],
        };
        let of_authority =
            CertificateError::Other(OtherError(std::sync::Arc::new(webpki::Error::CaUsedAsEndEntity)));
        for (err, told) in [
            (InvalidCertificate(CertificateError::UnknownIssuer), "ca_bundle="),
            (
                InvalidCertificate(CertificateError::ExpiredContext { time: moment, not_after: moment }),
                "has to renew it",
            ),
            (InvalidCertificate(CertificateError::NotValidYet), "the clock"),
            (InvalidCertificate(of_another_name.clone()), "check base_url"),
            (InvalidCertificate(of_another_name), "other.example"),
            (InvalidCertificate(CertificateError::Revoked), "any more"),
            (InvalidCertificate(of_authority), "basicConstraints=critical,CA:FALSE"),
            (InvalidCertificate(CertificateError::BadEncoding), "replace it"),
            (InvalidMessage(rustls::InvalidMessage::InvalidContentType), "no TLS there"),
            (AlertReceived(AlertDescription::ProtocolVersion), "TLS 1.1 or older"),
            (PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), "TLS 1.1 or older"),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), "check base_url"),
            (AlertReceived(AlertDescription::HandshakeFailure), "client certificate"),
            (AlertReceived(AlertDescription::CertificateRequired), "client certificate"),
            (AlertReceived(AlertDescription::UnknownCA), "client certificate"),
            (AlertReceived(AlertDescription::UnrecognisedName), "that name"),
            (General("other".into()), "what stands in between"),
        ] {
            let text = explain(&err, "graph.example");
            assert!(text.contains(told), "{text}");
            let is_of_authority = matches!(
                err,
                InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
            );
            assert_eq!(text.contains("ca_bundle"), is_of_authority, "{text}");
        }
    }

    #[test]
    fn a_cause_is_found_however_deep_it_is_wrapped() {
        let inner = std::io::Error::other(AlertReceived(AlertDescription::AccessDenied));
        let outer = std::io::Error::other(inner);
        assert!(cause(&outer).is_some_and(wants_certificate));
        assert!(cause(&std::io::Error::other("broken pipe")).is_none());
    }

    #[test]
    fn a_certificate_with_many_names_makes_no_endless_text() {
        let why = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("graph.example").unwrap(),
            presented: vec!["DnsName(\"other.example\")".into(); 1000],
        };
        assert!(explain(&InvalidCertificate(why), "graph.example").len() < 600);
    }
}
