//! Client assertions: how an application shows that it has the key of its certificate
//! (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).

use std::{fmt, io};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, pem::PemObject};
use serde_json::Value;
use webpki::{
    EndEntityCert,
    aws_lc_rs::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256_LEGACY_KEY},
};

use super::jwt::decode;

/// So far two clocks may be apart (assumed).
const SKEW: i64 = 300;

/// A certificate that was registered for the application.
pub(super) struct Registered(CertificateDer<'static>);

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registered")
    }
}

/// What an assertion has to say.
pub(super) struct Expected<'a> {
    /// The token endpoint.
    pub audience: &'a str,
    /// The application, as issuer and as subject.
    pub client_id: &'a str,
    /// Unix seconds.
    pub now: i64,
}

impl Registered {
    /// The first certificate of a PEM text.
    pub(super) fn read(pem: &str) -> io::Result<Self> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|err| wrong(format!("client_certificate holds no certificate: {err}")))?;
        EndEntityCert::try_from(&certificate)
            .map_err(|err| wrong(format!("client_certificate cannot be read: {err}")))?;
        Ok(Self(certificate))
    }

    /// Checks an assertion; the error is number and text of the refusal.
    pub(super) fn check(&self, assertion: &str, expected: &Expected<'_>) -> Result<(), (u32, &'static str)> {
        const MALFORMED: (u32, &str) = (50_027, "JWT token is invalid or malformed.");
        const UNSIGNED: (u32, &str) = (700_027, "Client assertion failed signature validation.");
        let (signed, signature) = assertion.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = signed.split_once('.').ok_or(MALFORMED)?;
        let json = |text: &str| -> Option<Value> { serde_json::from_slice(&decode(text)?).ok() };
        let (header, claims) = (json(header).ok_or(MALFORMED)?, json(claims).ok_or(MALFORMED)?);
        let is_known = |name: &str, thumbprint: &[u8]| {
            header.get(name).and_then(Value::as_str).and_then(decode).as_deref() == Some(thumbprint)
        };
        if !is_known("x5t#S256", digest(&SHA256, &self.0).as_ref())
            && !is_known("x5t", digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.0).as_ref())
        {
            return Err(UNSIGNED);
        }
        let algorithm: &dyn SignatureVerificationAlgorithm = match header.get("alg").and_then(Value::as_str) {
            Some("PS256") => RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
            Some("RS256") => RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(UNSIGNED),
        };
        let signature = decode(signature).ok_or(UNSIGNED)?;
        let certificate = EndEntityCert::try_from(&self.0).map_err(|_| UNSIGNED)?;
        certificate.verify_signature(algorithm, signed.as_bytes(), &signature).map_err(|_| UNSIGNED)?;
        let says = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
        if !says("aud", expected.audience)
            || !says("iss", expected.client_id)
            || !says("sub", expected.client_id)
        {
            return Err(MALFORMED);
        }
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let is_late = time("exp").is_none_or(|end| end < (expected.now - SKEW) as f64);
        let is_early = time("nbf").is_some_and(|start| start > (expected.now + SKEW) as f64);
        if is_late || is_early {
            return Err((700_024, "Client assertion is not within its valid time range."));
        }
        Ok(())
    }
}
