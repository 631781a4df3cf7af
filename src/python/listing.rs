//! Lists as the iterators in Python see them: the body of one page after the other.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::log::NativeLog;
use super::{convert, errors, runtime};
use crate::client::{Failure, Listing, SharedClient};
use crate::graph::endpoint::Endpoint;
use crate::graph::listing::{self, AssignmentFilter, STATES};
use crate::token::TokenSource;
use crate::transport::{FailureKind, TransportFailure};

/// A list under way.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeListing {
    client: SharedClient,
    source: Arc<dyn TokenSource>,
    listing: Arc<Mutex<Listing>>,
}

impl NativeListing {
    /// A list that starts at this URL.
    pub fn new(client: SharedClient, source: Arc<dyn TokenSource>, first: reqwest::Url) -> Self {
        Self { client, source, listing: Arc::new(Mutex::new(Listing::new(first))) }
    }

    fn next_page(&self) -> impl Future<Output = Result<Option<Vec<u8>>, Failure>> + Send + 'static {
        let (client, source, listing) = (self.client.clone(), self.source.clone(), self.listing.clone());
        async move {
            // One iterator is for one consumer; two at a time would tear its pages apart.
            let Ok(mut listing) = listing.try_lock() else {
                return Err(Failure::Transport(TransportFailure {
                    kind: FailureKind::Withdrawn,
                    left: false,
                    message: "another task is already reading from this list".into(),
                }));
            };
            client.next_page(&mut listing, &source).await
        }
    }
}

#[pymethods]
impl NativeListing {
    /// The next page's body, None after the last.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let log = NativeLog::new(py)?;
        let page = runtime::wait(py, &log, self.next_page())?
            .map_err(|failure| errors::failure(py, &failure, None))?;
        Ok(page.map(|page| PyBytes::new(py, &page)))
    }

    /// The same as an `asyncio.Future`.
    fn next_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let page = self.next_page();
        runtime::logged_future(py, async move {
            let page = page.await;
            Python::attach(|py| match page {
                Ok(page) => Ok(page.map(|page| PyBytes::new(py, &page).unbind())),
                Err(failure) => Err(errors::failure(py, &failure, None)),
            })
        })
    }
}

/// The URL of the assignments that a caller asks for, all of it checked.
pub fn assignments_url(
    endpoint: &Endpoint,
    access_package: Option<&Bound<'_, PyAny>>,
    target: Option<&Bound<'_, PyAny>>,
    policy: Option<&Bound<'_, PyAny>>,
    state: Option<&str>,
    filter: Option<String>,
) -> PyResult<reqwest::Url> {
    let filter = AssignmentFilter {
        access_package: guid("access_package", access_package)?,
        target: guid("target", target)?,
        policy: guid("policy", policy)?,
        state: state.map(known_state).transpose()?,
        other: filter,
    };
    Ok(listing::assignments(endpoint, &filter))
}

/// A GUID, or an object that has one as its `id`.
fn guid(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Uuid>> {
    let Some(value) = value else { return Ok(None) };
    let id = value.getattr_opt("id")?.unwrap_or_else(|| value.clone());
    convert::single_id(&id)?.map(|id| Some(id.as_uuid())).map_err(|refused| {
        let reason = refused.reason.replacen("assignment id", name, 1);
        if id.cast::<pyo3::types::PyString>().is_ok() {
            PyValueError::new_err(reason)
        } else {
            PyTypeError::new_err(reason)
        }
    })
}

fn known_state(state: &str) -> PyResult<String> {
    let name = listing::state_name(state);
    if STATES.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(PyValueError::new_err(format!(
        "state {state:?} is not known; give one of {}, or an expression as filter=",
        STATES.join(", ")
    )))
}
