//! The emulator as `entra_reprocess.emulator.Emulator` holds it.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use uuid::Uuid;

use super::emulator_settings::{read_settings, state_name};
use crate::emulator::Emulator;

/// A running emulator.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeEmulator(Emulator);

#[pymethods]
impl NativeEmulator {
    /// Start it with the settings that `entra_reprocess.emulator` has collected.
    #[new]
    fn new(settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let emulator = Emulator::start(read_settings(settings)?).map_err(|err| match err.kind() {
            std::io::ErrorKind::InvalidInput => PyValueError::new_err(err.to_string()),
            _ => PyOSError::new_err(format!("the emulator cannot listen: {err}")),
        })?;
        Ok(Self(emulator))
    }

    /// Refuse settings that are out of their range, before anything is started.
    #[staticmethod]
    fn check(settings: &Bound<'_, PyDict>) -> PyResult<()> {
        read_settings(settings).map(drop)
    }

    #[getter]
    fn url(&self) -> String {
        self.0.url()
    }

    #[getter]
    fn ca_pem(&self) -> Option<&str> {
        self.0.ca_pem()
    }

    #[getter]
    fn token(&self) -> String {
        self.0.token()
    }

    fn set_token(&self, token: &str) {
        self.0.set_token(token);
    }

    fn revoke_tokens(&self, challenge: bool) {
        self.0.revoke_tokens(challenge);
    }

    /// `(by_certificate, scope, claims)` of each.
    fn sign_ins(&self) -> Vec<(bool, String, Option<String>)> {
        let sign_ins = self.0.sign_ins().into_iter();
        sign_ins.map(|sign_in| (sign_in.by_certificate, sign_in.scope, sign_in.claims)).collect()
    }

    /// Tenant and application.
    fn application(&self) -> (String, String) {
        let (tenant, client) = self.0.application();
        (tenant.to_string(), client.to_string())
    }

    fn ids(&self) -> Vec<String> {
        texts(self.0.ids())
    }

    fn request_ids(&self) -> Vec<String> {
        texts(self.0.request_ids())
    }

    fn states(&self) -> Vec<&'static str> {
        self.0.states().into_iter().map(state_name).collect()
    }

    fn state(&self, id: &str) -> PyResult<Option<&'static str>> {
        let id = Uuid::try_parse(id).map_err(|_| PyValueError::new_err(format!("{id:?} is no GUID")))?;
        Ok(self.0.state(id).map(state_name))
    }

    fn access_packages(&self) -> Vec<(String, String)> {
        self.0.access_packages().into_iter().map(|(id, name)| (id.to_string(), name)).collect()
    }

    fn users(&self) -> Vec<(String, String)> {
        self.0.users().into_iter().map(|(id, mail)| (id.to_string(), mail)).collect()
    }

    fn executions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        counted(py, self.0.executions())
    }

    fn request_executions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        counted(py, self.0.request_executions())
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.0.counters();
        let dict = PyDict::new(py);
        for (name, count) in counters.named() {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

fn texts(ids: Vec<Uuid>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

fn counted(py: Python<'_>, counts: impl IntoIterator<Item = (Uuid, u64)>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (id, count) in counts {
        dict.set_item(id.to_string(), count)?;
    }
    Ok(dict)
}
