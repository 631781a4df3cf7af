//! Whose certificates are trusted: those of `ca_bundle`, else those that the environment names, else the system's.

use std::path::Path;

use reqwest::Certificate;

use super::failure::chain;

/// OpenSSL's names, which other tools read too. On Linux the system's own trust store follows them by itself; on
/// macOS and Windows it does not, so they are read here everywhere.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The certificates to trust and no others, or None for the system's trust store.
pub(super) fn certificates(ca_bundle: Option<&Path>) -> Result<Option<Vec<Certificate>>, String> {
    if let Some(path) = ca_bundle {
        return read_bundle(path).map(Some);
    }
    let named: Vec<&str> = VARIABLES
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if named.is_empty() { Ok(None) } else { read_environment(&named.join(" and ")).map(Some) }
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|err| format!("ca_bundle {shown} cannot be read: {err}"))?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .map_err(|err| format!("ca_bundle {shown} is no PEM file: {}", chain(&err)))?;
    if certificates.is_empty() {
        return Err(format!("ca_bundle {shown} holds no certificate"));
    }
    Ok(certificates)
}

fn read_environment(named: &str) -> Result<Vec<Certificate>, String> {
    let found = rustls_native_certs::load_native_certs();
    // As OpenSSL does, a file of a folder that holds no certificate is passed over.
    let certificates: Vec<_> =
        found.certs.iter().filter_map(|certificate| Certificate::from_der(certificate).ok()).collect();
    if certificates.is_empty() {
        let why = found.errors.first().map(|err| format!(": {err}")).unwrap_or_default();
        return Err(format!("{named} of the environment leads to no certificate{why}"));
    }
    Ok(certificates)
}
