//! A Python credential as a token source. What kinds there are is known in `entra_reprocess._credential`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3_async_runtimes::{TaskLocals, into_future_with_locals};

use crate::token::{CredentialFailure, Token, TokenFuture, TokenSource};

/// Calls `fetch(scope)`, which gives `(token, expires_on, refresh_on)` or a coroutine for it.
pub struct PythonSource {
    fetch: Arc<Py<PyAny>>,
    renewable: bool,
    /// The event loop of the caller, for a coroutine.
    locals: Option<TaskLocals>,
}

impl PythonSource {
    /// A source for one call.
    pub const fn new(fetch: Arc<Py<PyAny>>, renewable: bool, locals: Option<TaskLocals>) -> Self {
        Self { fetch, renewable, locals }
    }
}

impl TokenSource for PythonSource {
    fn fetch<'a>(&'a self, scope: &'a str) -> TokenFuture<'a> {
        Box::pin(async move {
            let given = match &self.locals {
                Some(locals) => self.fetch_on_loop(locals, scope).await,
                None => self.fetch_in_thread(scope).await,
            };
            let given = given.map_err(raised)?;
            Python::attach(|py| read(given.bind(py), self.renewable)).map_err(raised)
        })
    }
}

impl PythonSource {
    async fn fetch_on_loop(&self, locals: &TaskLocals, scope: &str) -> PyResult<Py<PyAny>> {
        let coroutine =
            Python::attach(|py| into_future_with_locals(locals, self.fetch.bind(py).call1((scope,))?))?;
        coroutine.await
    }

    /// A credential may block for seconds, so it gets a thread of its own.
    async fn fetch_in_thread(&self, scope: &str) -> PyResult<Py<PyAny>> {
        let (fetch, scope) = (self.fetch.clone(), scope.to_owned());
        let call = move || Python::attach(|py| fetch.call1(py, (scope,)));
        match tokio::task::spawn_blocking(call).await {
            Ok(given) => given,
            Err(_) => Err(pyo3::exceptions::PyRuntimeError::new_err("the credential's thread was ended")),
        }
    }
}

fn read(given: &Bound<'_, PyAny>, renewable: bool) -> PyResult<Token> {
    let (secret, expires_on, refresh_on): (String, Option<i64>, Option<i64>) = given.extract()?;
    Ok(Token { secret: secret.into(), expires_on, refresh_on, renewable })
}

fn raised(err: PyErr) -> CredentialFailure {
    let kind =
        Python::attach(|py| err.get_type(py).name().map_or_else(|_| "error".into(), |name| name.to_string()));
    CredentialFailure {
        // What it raised stands in the cause; its text is not ours to repeat.
        message: format!("the credential gave no token ({kind}); see the cause for what it raised"),
        cause: Some(Arc::new(err)),
    }
}
