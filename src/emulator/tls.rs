//! A certificate for `localhost` from an authority that lives as long as the emulator, for clients that insist on TLS.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

/// How long a certificate is valid: some verifiers refuse those that last for years.
const VALID: Duration = Duration::from_secs(30 * 86_400);

/// How far back it is valid, for clocks that are not in step.
const BEFORE: Duration = Duration::from_secs(86_400);

/// What the emulator shows to its callers.
pub(super) struct Identity {
    /// The authority's certificate, which a client has to trust.
    pub ca_pem: String,
    pub acceptor: TlsAcceptor,
}

impl Identity {
    /// Makes an authority and a certificate for localhost. The keys are new each time, whatever the seed:
    /// a key that follows from a number would be no secret.
    pub(super) fn new(http2: bool) -> io::Result<Self> {
        let (ca_pem, chain, key) = certify().map_err(io::Error::other)?;
        // The provider is named since a process may have none, or another one, as its default.
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Self { ca_pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

type Certified = (String, Vec<rustls::pki_types::CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certify() -> Result<Certified, rcgen::Error> {
    let mut authority = params(&[], "Graph emulator, throwaway authority")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let ca_pem = authority.self_signed(&authority_key)?.pem();

    let mut server = params(&["localhost", "127.0.0.1", "::1"], "localhost")?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // OpenSSL's strict mode, the default of Python 3.13, asks for it.
    server.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate()?;
    let signed = server.signed_by(&server_key, &Issuer::new(authority, authority_key))?;
    Ok((ca_pem, vec![signed.der().clone()], PrivateKeyDer::Pkcs8(server_key.serialize_der().into())))
}

fn params(names: &[&str], common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}
