//! Asking a credential in a thread of Python's own.
//!
//! A daemon thread that comes back to the interpreter while that goes is ended there: up to Python 3.13 by unwinding its
//! stack (`pthread_exit`), which aborts the process where a Rust frame is on it, and nobody can tell how long a
//! credential takes. Below the call of one are only frames of Python here, which may be unwound.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio::sync::oneshot;

use super::runtime::Visit;

type Told = PyResult<Py<PyAny>>;

/// `start_new_thread` of `entra_reprocess._threads`, which starts a thread of the system whatever libraries have made of
/// Python's and does not wait for it, and `entra_reprocess._asking.ask`.
static FUNCTIONS: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

/// What `fetch(scope, claims)` gives. A thread that hangs is left alone; it ends with the process.
pub async fn in_thread(fetch: &Py<PyAny>, scope: &str, claims: Option<&str>) -> Told {
    let (sender, told) = oneshot::channel();
    Python::attach(|py| start(py, fetch, scope, claims, sender))?;
    let ended = || Err(PyRuntimeError::new_err("the credential's thread was ended"));
    told.await.unwrap_or_else(|_| ended())
}

fn start(
    py: Python<'_>,
    fetch: &Py<PyAny>,
    scope: &str,
    claims: Option<&str>,
    sender: oneshot::Sender<Told>,
) -> PyResult<()> {
    let (start, ask) = FUNCTIONS.get_or_try_init(py, || {
        let start = py.import("entra_reprocess._threads")?.getattr("start_new_thread")?;
        let ask = py.import("entra_reprocess._asking")?.getattr("ask")?;
        Ok::<_, PyErr>((start.unbind(), ask.unbind()))
    })?;
    let tell = Tell(Mutex::new(Some(sender)));
    start.call1(py, (ask, (fetch, scope, claims, tell)))?;
    Ok(())
}

/// Takes what a credential gave, or raised, to whoever waits for it; nobody may, by then.
#[pyclass(frozen, module = "entra_reprocess._native")]
struct Tell(Mutex<Option<oneshot::Sender<Told>>>);

#[pymethods]
impl Tell {
    fn __call__(&self, py: Python<'_>, given: Py<PyAny>, error: Option<Bound<'_, PyAny>>) {
        let _visit = Visit::new(py);
        let told = error.map_or(Ok(given), |error| Err(PyErr::from_value(error)));
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // What comes too late is dropped here, where the interpreter is held.
            drop(sender.send(told));
        }
    }
}
