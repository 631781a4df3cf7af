//! A Python credential as a token source. What kinds there are is known in `entra_reprocess._credential`.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3_async_runtimes::TaskLocals;

use super::asking;
use super::credential_task::CredentialTask;
use super::runtime;
use crate::token::{CredentialFailure, PATIENCE, Token, TokenFuture, TokenSource};

/// What the Python source says about itself, once for all calls.
pub struct PythonCredential {
    /// `fetch(scope, claims)`, which gives `(token, expires_on, refresh_on)`, or a coroutine for it where it may.
    fetch: Py<PyAny>,
    renewable: bool,
    takes_claims: bool,
    patience: Duration,
    /// Whether `fetch` gives coroutines and does nothing else, so that it needs no thread.
    is_async: bool,
    /// Whether `fetch` may give coroutines.
    may_await: bool,
    /// A token as it is, which needs nobody to be asked.
    fixed: Option<Token>,
}

impl PythonCredential {
    /// Read it from a `Source` of `_credential`.
    pub fn new(source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = source.py();
        let patience: Option<f64> = source.getattr("patience")?.extract()?;
        Ok(Self {
            fetch: source.getattr("fetch")?.unbind(),
            renewable: source.getattr("renewable")?.extract()?,
            takes_claims: source.getattr("takes_claims")?.extract()?,
            patience: patience
                .map_or(PATIENCE, |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(PATIENCE)),
            is_async: source.getattr("is_async")?.extract()?,
            may_await: source.getattr("may_await")?.extract()?,
            fixed: if source.getattr("is_fixed")?.extract()? {
                Some(read(&source.call_method1("fetch", ("", py.None()))?, false)?)
            } else {
                None
            },
        })
    }
}

/// The credential as one call uses it.
pub struct PythonSource {
    credential: Arc<PythonCredential>,
    /// The event loop of the caller, for a coroutine.
    locals: Option<TaskLocals>,
    /// The id of that loop; it stays taken as long as the loop is held here.
    place: usize,
}

impl PythonSource {
    /// A source for one call, which runs an event loop if the credential may need one.
    pub fn new(py: Python<'_>, credential: Arc<PythonCredential>) -> PyResult<Self> {
        let locals = credential.may_await.then(|| runtime::locals(py)).transpose()?;
        let place = locals.as_ref().map_or(0, |locals| locals.event_loop(py).as_ptr() as usize);
        Ok(Self { credential, locals, place })
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

    fn place(&self) -> usize {
        self.place
    }

    fn patience(&self) -> Duration {
        self.credential.patience
    }
}

impl PythonSource {
    async fn ask(&self, scope: &str, claims: Option<&str>) -> Result<Token, CredentialFailure> {
        if let Some(token) = &self.credential.fixed {
            return Ok(token.clone());
        }
        let given = self.settled(scope, claims).await.map_err(raised)?;
        Python::attach(|py| read(given.bind(py), self.credential.renewable)).map_err(raised)
    }

    /// What comes back decides: a wrapper of an asynchronous credential does not look like one.
    async fn settled(&self, scope: &str, claims: Option<&str>) -> PyResult<Py<PyAny>> {
        let given = if self.credential.is_async {
            Python::attach(|py| self.credential.fetch.call1(py, (scope, claims)))?
        } else {
            // It may block for seconds, so it gets a thread of its own.
            asking::in_thread(&self.credential.fetch, scope, claims).await?
        };
        let task = Python::attach(|py| {
            let pending = self.locals.as_ref().filter(|_| !given.bind(py).is_instance_of::<PyTuple>());
            pending.map(|locals| CredentialTask::start(py, locals, given.bind(py))).transpose()
        })?;
        match task {
            Some(task) => task.result().await,
            None => Ok(given),
        }
    }
}

fn read(given: &Bound<'_, PyAny>, renewable: bool) -> PyResult<Token> {
    let (secret, expires_on, refresh_on): (String, Option<i64>, Option<i64>) = given.extract()?;
    Ok(Token { secret: secret.into(), expires_on, refresh_on, renewable })
}

fn raised(err: PyErr) -> CredentialFailure {
    let message = Python::attach(|py| {
        if matches!(err.value(py).getattr_opt("is_ours"), Ok(Some(_))) {
            return err.value(py).to_string();
        }
        let kind = err.get_type(py).name().map_or_else(|_| "error".into(), |name| name.to_string());
        // What it raised stands in the cause; its text is not ours to repeat.
        format!("the credential gave no token ({kind}); see the cause for what it raised")
    });
    CredentialFailure { message, cause: Some(Arc::new(err)) }
}
