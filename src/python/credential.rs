//! A Python credential as a token source. What kinds there are is known in `entra_reprocess._credential`.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3_async_runtimes::{TaskLocals, into_future_with_locals};

use crate::token::{CredentialFailure, PATIENCE, Token, TokenFuture, TokenSource};

/// What the Python source says about itself, once for all calls.
pub struct PythonCredential {
    /// `fetch(scope, claims)`, which gives `(token, expires_on, refresh_on)` or a coroutine for it.
    fetch: Py<PyAny>,
    renewable: bool,
    takes_claims: bool,
    patience: Duration,
    /// Whether `fetch` gives coroutines.
    pub is_async: bool,
}

impl PythonCredential {
    /// Read it from a `Source` of `_credential`.
    pub fn new(source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let patience: Option<f64> = source.getattr("patience")?.extract()?;
        Ok(Self {
            fetch: source.getattr("fetch")?.unbind(),
            renewable: source.getattr("renewable")?.extract()?,
            takes_claims: source.getattr("takes_claims")?.extract()?,
            patience: patience
                .map_or(PATIENCE, |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(PATIENCE)),
            is_async: source.getattr("is_async")?.extract()?,
        })
    }
}

/// The credential as one call uses it.
pub struct PythonSource {
    credential: Arc<PythonCredential>,
    /// The event loop of the caller, for a coroutine.
    locals: Option<TaskLocals>,
}

impl PythonSource {
    /// A source for one call.
    pub const fn new(credential: Arc<PythonCredential>, locals: Option<TaskLocals>) -> Self {
        Self { credential, locals }
    }
}

impl TokenSource for PythonSource {
    fn fetch<'a>(&'a self, scope: &'a str) -> TokenFuture<'a> {
        Box::pin(self.ask(scope, None))
    }

    fn takes_claims(&self) -> bool {
        self.credential.takes_claims
    }

    fn fetch_with_claims<'a>(&'a self, scope: &'a str, claims: &'a str) -> TokenFuture<'a> {
        Box::pin(self.ask(scope, Some(claims)))
    }

    fn patience(&self) -> Duration {
        self.credential.patience
    }
}

impl PythonSource {
    async fn ask(&self, scope: &str, claims: Option<&str>) -> Result<Token, CredentialFailure> {
        let given = match &self.locals {
            Some(locals) => self.ask_on_loop(locals, scope, claims).await,
            None => self.ask_in_thread(scope, claims).await,
        };
        let given = given.map_err(raised)?;
        Python::attach(|py| read(given.bind(py), self.credential.renewable)).map_err(raised)
    }

    async fn ask_on_loop(
        &self,
        locals: &TaskLocals,
        scope: &str,
        claims: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let coroutine = Python::attach(|py| {
            into_future_with_locals(locals, self.credential.fetch.bind(py).call1((scope, claims))?)
        })?;
        coroutine.await
    }

    /// A credential may block for seconds, so it gets a thread of its own. One that hangs keeps it.
    async fn ask_in_thread(&self, scope: &str, claims: Option<&str>) -> PyResult<Py<PyAny>> {
        let credential = self.credential.clone();
        let (scope, claims) = (scope.to_owned(), claims.map(str::to_owned));
        let call = move || Python::attach(|py| credential.fetch.call1(py, (scope, claims)));
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
