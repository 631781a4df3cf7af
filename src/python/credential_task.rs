//! A coroutine of a credential on the event loop of its caller, and its end there when nobody waits for it any more.

use std::sync::{Mutex, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use tokio::sync::oneshot;

/// A coroutine under way. Dropping it cancels its task on the loop.
pub struct CredentialTask {
    /// A `concurrent.futures.Future`, which any thread may cancel.
    future: Py<PyAny>,
    locals: TaskLocals,
    ended: oneshot::Receiver<()>,
}

impl CredentialTask {
    /// Hand the coroutine over to the loop, which may belong to another thread.
    pub fn start(py: Python<'_>, locals: &TaskLocals, coroutine: &Bound<'_, PyAny>) -> PyResult<Self> {
        let start = || {
            let submit =
                py.import(intern!(py, "asyncio"))?.getattr(intern!(py, "run_coroutine_threadsafe"))?;
            // A copy, since a context is entered by one thread at a time.
            let context = locals.context(py).call_method0(intern!(py, "copy"))?;
            context.call_method1(intern!(py, "run"), (submit, coroutine, locals.event_loop(py)))
        };
        let future = start().inspect_err(|_| {
            // The loop has closed. What never ran is closed too, or Python warns that nobody awaited it.
            let _ = coroutine.call_method0(intern!(py, "close"));
        })?;
        let (sender, ended) = oneshot::channel();
        let task = Self { future: future.unbind(), locals: locals.clone(), ended };
        task.future.call_method1(py, intern!(py, "add_done_callback"), (Ended::new(sender),))?;
        Ok(task)
    }

    /// What it came to.
    pub async fn result(mut self) -> PyResult<Py<PyAny>> {
        // The sender goes only with the callback, and that with the future, which is held here.
        let _ = (&mut self.ended).await;
        Python::attach(|py| self.future.call_method0(py, intern!(py, "result")))
    }
}

impl Drop for CredentialTask {
    fn drop(&mut self) {
        // Without an interpreter there is no loop left either.
        Python::try_attach(|py| {
            let is_closed = self.locals.event_loop(py).call_method0(intern!(py, "is_closed"));
            // A closed loop runs nothing any more, and would complain.
            if is_closed.and_then(|closed| closed.is_truthy()).is_ok_and(|closed| !closed) {
                // One that has ended already is not changed by it.
                let _ = self.future.call_method0(py, intern!(py, "cancel"));
            }
        });
    }
}

/// Tells that a future has ended.
#[pyclass(frozen)]
struct Ended(Mutex<Option<oneshot::Sender<()>>>);

impl Ended {
    const fn new(sender: oneshot::Sender<()>) -> Self {
        Self(Mutex::new(Some(sender)))
    }
}

#[pymethods]
impl Ended {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody may be waiting any more.
            let _ = sender.send(());
        }
    }
}
