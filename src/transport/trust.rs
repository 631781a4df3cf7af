//! Whose certificates are trusted: those of `ca_bundle`, else those that the environment names, else the system's.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::text::one_line;

/// OpenSSL's names, which other tools read too. On Linux the system's own trust store follows them by itself; on
/// macOS and Windows it does not, so they are read here everywhere.
const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// What editors of Windows put in front of a text in UTF-8. It is no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The certificates to trust and no others, or None for the system's trust store.
pub(super) fn certificates(ca_bundle: Option<&Path>) -> Result<Option<Vec<Certificate>>, String> {
    if let Some(path) = ca_bundle {
        let shown = one_line(&path.display().to_string());
        let pem = std::fs::read(path).map_err(|err| format!("ca_bundle {shown} cannot be read: {err}"))?;
        return match read_bundle(&pem) {
            Ok(certificates) => Ok(Some(certificates)),
            Err(why) => Err(format!("ca_bundle {shown} {why}")),
        };
    }
    let variables = [FILE, FOLDERS].map(std::env::var_os);
    let is_there = variables.iter().any(Option::is_some);
    // Empty means not set, as containers leave it that cannot unset a variable of their image.
    let [file, folders] = variables.map(|value| value.filter(|value| !value.is_empty()));
    let named: Vec<&str> = [(FILE, &file), (FOLDERS, &folders)]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().and(Some(name)))
        .collect();
    if named.is_empty() {
        // The system's trust store would take an empty variable for a file.
        return if is_there { of_the_system() } else { Ok(None) };
    }
    read(
        file.as_deref(),
        folders.iter().flat_map(std::env::split_paths),
        &format!("{} of the environment", named.join(" and ")),
    )
    .map(Some)
}

/// All certificates of a text. One that cannot be used is an error: whoever named the file meant all of it.
fn read_bundle(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let pem = pem.strip_prefix(BYTE_ORDER_MARK).unwrap_or(pem);
    let mut certificates = Vec::new();
    for (number, der) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
        let der =
            der.map_err(|_| format!("is no PEM file: its certificate number {number} is cut or garbled"))?;
        certificates
            .push(usable(&der).map_err(|err| format!("holds a broken certificate, number {number}: {err}"))?);
    }
    if certificates.is_empty() {
        return Err("holds no certificate in PEM".into());
    }
    Ok(certificates)
}

/// A certificate of an authority, if TLS can make something of it.
fn usable(der: &CertificateDer<'_>) -> Result<Certificate, String> {
    RootCertStore::empty().add(der.clone()).map_err(|err| err.to_string())?;
    Certificate::from_der(der).map_err(|err| err.to_string())
}

/// The certificates of a file and of all files of these folders. As OpenSSL does, what holds none, and what is broken,
/// is passed over as long as there is any.
fn read(
    file: Option<&OsStr>,
    folders: impl Iterator<Item = PathBuf>,
    named: &str,
) -> Result<Vec<Certificate>, String> {
    let mut found = rustls_native_certs::load_certs_from_paths(file.map(Path::new), None);
    for folder in folders.filter(|folder| !folder.as_os_str().is_empty()) {
        let more = rustls_native_certs::load_certs_from_paths(None, Some(&folder));
        found.certs.extend(more.certs);
        found.errors.extend(more.errors);
    }
    // Folders made by `openssl rehash` name each twice.
    found.certs.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.certs.dedup();
    let certificates: Vec<_> = found.certs.iter().filter_map(|der| usable(der).ok()).collect();
    if certificates.is_empty() {
        let why = found.errors.first().map(|err| format!(": {err}")).unwrap_or_default();
        return Err(one_line(&format!("{named} leads to no certificate{why}")));
    }
    Ok(certificates)
}

/// What the system's trust store would be without the variables.
#[cfg(not(any(windows, target_vendor = "apple", target_os = "android")))]
fn of_the_system() -> Result<Option<Vec<Certificate>>, String> {
    let places = openssl_probe::probe();
    let file = places.cert_file.map(OsString::from);
    read(file.as_deref(), places.cert_dir.into_iter(), "the trust store of the system").map(Some)
}

/// The trust stores of these systems know no such variables.
#[cfg(any(windows, target_vendor = "apple", target_os = "android"))]
fn of_the_system() -> Result<Option<Vec<Certificate>>, String> {
    Ok(None)
}
