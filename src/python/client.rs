//! The native half of Client and AsyncClient: checked options, and one core client for each process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use secrecy::{ExposeSecret, SecretString};

use super::credential::{PythonCredential, PythonSource};
use super::listing::{self, NativeListing};
use super::log::NativeLog;
use super::numbers::{LONGEST, extracted};
use super::run::NativeRun;
use super::runtime::Visit;
use super::{convert, errors, runtime, secret};
use crate::client::{Client, Options, SharedClient};
use crate::graph::action::Action;
use crate::graph::batch::MAX_PARTS;
use crate::graph::cloud::{ApiVersion, Cloud};
use crate::graph::endpoint::Endpoint;
use crate::outcome::Status;
use crate::retry::Limits;
use crate::run::journal::Setup;
use crate::run::{Job, Mode};
use crate::token::TokenSource;
use crate::transport::{TransportOptions, proxy_without_user};

/// A client as the Python classes hold it.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeClient {
    options: Options,
    /// As it was given, or by the environment. It was checked, and holds no password.
    base_url: Option<String>,
    credential: Arc<PythonCredential>,
    /// The core client and its process: connections do not survive a fork. Locked as `runtime::SLOT` is.
    current: Mutex<Current>,
}

struct Current {
    pid: u32,
    /// `None` once closed.
    client: Option<SharedClient>,
}

#[pymethods]
impl NativeClient {
    #[new]
    fn new(options: &Bound<'_, PyDict>, source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let base_url = hidden(options, "base_url")?;
        let options = read_options(options, base_url.as_ref())?;
        let client = Client::new(options.clone()).map_err(PyValueError::new_err)?;
        Ok(Self {
            options,
            base_url: base_url.map(|url| url.expose_secret().to_owned()),
            credential: Arc::new(PythonCredential::new(source)?),
            current: Mutex::new(Current { pid: std::process::id(), client: Some(Arc::new(client)) }),
        })
    }

    /// Reprocess one assignment and wait for it.
    fn reprocess<'py>(&self, py: Python<'py>, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let id = convert::assignment_id(id).map_err(|refused| errors::invalid_id(py, &refused))?;
        let (client, source) = (self.client()?, self.source(py)?);
        let log = NativeLog::new(py)?;
        let result = runtime::wait(py, &log, async move { client.reprocess(id, &source).await })?;
        let _visit = Visit::new(py);
        match result {
            Ok(outcome) => convert::outcome(py, &outcome),
            Err(failure) => Err(errors::failure(py, &failure, Some(id))),
        }
    }

    /// The same as an `asyncio.Future`.
    fn reprocess_async<'py>(&self, py: Python<'py>, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let id = convert::assignment_id(id).map_err(|refused| errors::invalid_id(py, &refused))?;
        let (client, source) = (self.client()?, self.source(py)?);
        runtime::logged_future(py, async move {
            let result = client.reprocess(id, &source).await;
            Python::attach(|py| match result {
                Ok(outcome) => convert::outcome(py, &outcome).map(Bound::unbind),
                Err(failure) => Err(errors::failure(py, &failure, Some(id))),
            })
        })
    }

    /// Start to reprocess many. `collect` keeps every outcome for a report, `hand_out` lets each be taken. A journal is
    /// `(path, statuses to try anew, whether it has all ids, whether the ids have a length, name of this machine)`.
    #[pyo3(signature = (collect, hand_out, deadline, journal))]
    fn run(
        &self,
        py: Python<'_>,
        collect: bool,
        hand_out: bool,
        deadline: Option<f64>,
        journal: Option<JournalSetup>,
    ) -> PyResult<NativeRun> {
        let job = job(collect, hand_out, deadline, journal)?;
        NativeRun::start(py, self.client()?, self.source(py)?, job)
    }

    /// The same as an `asyncio.Future`.
    #[pyo3(signature = (collect, hand_out, deadline, journal))]
    fn run_async<'py>(
        &self,
        py: Python<'py>,
        collect: bool,
        hand_out: bool,
        deadline: Option<f64>,
        journal: Option<JournalSetup>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let job = job(collect, hand_out, deadline, journal)?;
        NativeRun::start_async(py, self.client()?, self.source(py)?, job)
    }

    /// Start to read the states of many; the message of an outcome that was accepted is the state.
    fn read_states(&self, py: Python<'_>) -> PyResult<NativeRun> {
        NativeRun::start(py, self.client()?, self.source(py)?, READ_STATES)
    }

    /// The same as an `asyncio.Future`.
    fn read_states_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        NativeRun::start_async(py, self.client()?, self.source(py)?, READ_STATES)
    }

    /// List assignments.
    #[pyo3(signature = (access_package, target, policy, state, filter))]
    fn assignments(
        &self,
        py: Python<'_>,
        access_package: Option<&Bound<'_, PyAny>>,
        target: Option<&Bound<'_, PyAny>>,
        policy: Option<&Bound<'_, PyAny>>,
        state: Option<&str>,
        filter: Option<String>,
    ) -> PyResult<NativeListing> {
        let endpoint = &self.options.endpoint;
        let first = listing::assignments_url(endpoint, access_package, target, policy, state, filter)?;
        Ok(NativeListing::new(self.client()?, self.source(py)?, first))
    }

    /// List access packages.
    #[pyo3(signature = (name))]
    fn access_packages(&self, py: Python<'_>, name: Option<&str>) -> PyResult<NativeListing> {
        let first = crate::graph::listing::access_packages(&self.options.endpoint, name);
        Ok(NativeListing::new(self.client()?, self.source(py)?, first))
    }

    /// End running calls and refuse new ones.
    fn close(&self) {
        let mut current = self.current();
        let client = current.client.take();
        if current.pid == std::process::id() {
            if let Some(client) = client {
                client.close();
            }
        } else {
            std::mem::forget(client);
        }
    }

    /// For a repr: what tells clients apart, and no secret.
    fn describe(&self) -> String {
        let transport = &self.options.transport;
        let state = if self.closed() { ", closed" } else { "" };
        format!(
            "{} concurrency={} batch_size={}{state}",
            self.options.endpoint, transport.concurrency, self.options.batch_size
        )
    }

    /// The proxy as a pickle may carry it: without user and password.
    fn carried_proxy(&self) -> Option<String> {
        proxy_without_user(self.options.transport.proxy.as_ref()?.expose_secret())
    }

    /// The `base_url` as a pickle may carry it.
    fn carried_base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.current().client.is_none()
    }
}

impl NativeClient {
    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> PyResult<SharedClient> {
        let mut current = self.current();
        let Some(client) = &current.client else {
            return Err(PyRuntimeError::new_err("this client is closed; make a new one"));
        };
        if current.pid == std::process::id() {
            return Ok(client.clone());
        }
        // Connections and locks of a parent process are of no use here, and dropping them could wait for ever.
        let client = Arc::new(Client::new(self.options.clone()).map_err(PyValueError::new_err)?);
        let fresh = Current { pid: std::process::id(), client: Some(client.clone()) };
        std::mem::forget(std::mem::replace(&mut *current, fresh));
        Ok(client)
    }

    fn source(&self, py: Python<'_>) -> PyResult<Arc<dyn TokenSource>> {
        Ok(Arc::new(PythonSource::new(py, self.credential.clone())?))
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        let current = self.current.get_mut().unwrap_or_else(PoisonError::into_inner);
        if current.pid != std::process::id() {
            std::mem::forget(current.client.take());
        }
    }
}

/// Read the options that `entra_reprocess._options` has collected and typed; their values are checked here.
fn read_options(given: &Bound<'_, PyDict>, base_url: Option<&SecretString>) -> PyResult<Options> {
    let text = |name: &str| -> PyResult<Option<String>> {
        given.get_item(name)?.filter(|value| !value.is_none()).map(|value| value.extract()).transpose()
    };
    let number = |name: &str, least: u32, most: u32| -> PyResult<u32> {
        let value: Option<i64> = extracted(&required(given, name)?)?;
        let fits = |value: &u32| (least..=most).contains(value);
        value.and_then(|value| u32::try_from(value).ok()).filter(fits).ok_or_else(|| {
            let range = match least {
                0 => format!("0 or more and at most {most}"),
                _ => format!("from {least} to {most}"),
            };
            PyValueError::new_err(format!("{name} is {}; give a whole number, {range}", shown(value)))
        })
    };
    let seconds = |name: &str, zero: bool| -> PyResult<Duration> {
        let value: Option<f64> = extracted(&required(given, name)?)?;
        value
            .and_then(|value| Duration::try_from_secs_f64(value).ok())
            .filter(|wait| (zero || !wait.is_zero()) && *wait <= LONGEST)
            .ok_or_else(|| {
                let least = if zero { "0" } else { "more than 0" };
                PyValueError::new_err(format!(
                    "{name} is {}; give seconds, {least} and at most a year",
                    shown(value)
                ))
            })
    };
    let cloud: Cloud = text("cloud")?.unwrap_or_default().parse().map_err(PyValueError::new_err)?;
    let version: ApiVersion =
        text("api_version")?.unwrap_or_default().parse().map_err(PyValueError::new_err)?;
    let endpoint = Endpoint::new(cloud, base_url.map(ExposeSecret::expose_secret), version)
        .map_err(PyValueError::new_err)?;
    if required(given, "base_url_must_be_loopback")?.extract()? && !endpoint.is_loopback() {
        return Err(PyValueError::new_err(
            "ENTRA_REPROCESS_BASE_URL may only name this machine (localhost, 127.x.x.x or [::1]); pass base_url= to \
             the client for anything else",
        ));
    }
    let most_parts = u32::try_from(MAX_PARTS).unwrap_or(u32::MAX);
    Ok(Options {
        scope: endpoint.chosen_cloud().scope(),
        rate: read_rate(given)?,
        batch_size: number("batch_size", 1, most_parts)? as usize,
        limits: Limits {
            max_retries: number("max_retries", 0, MOST_RETRIES)?,
            max_wait: seconds("max_wait", true)?,
        },
        transport: TransportOptions {
            https_only: endpoint.is_https(),
            concurrency: number("concurrency", 1, MOST_REQUESTS)? as usize,
            timeout: seconds("timeout", false)?,
            proxy: hidden(given, "proxy")?,
            ca_bundle: match given.get_item("ca_bundle")? {
                Some(value) if !value.is_none() => Some(convert::path(&value)?),
                _ => None,
            },
        },
        endpoint,
    })
}

/// A text that may hold a password.
fn hidden(given: &Bound<'_, PyDict>, name: &str) -> PyResult<Option<SecretString>> {
    let value = given.get_item(name)?.filter(|value| !value.is_none());
    value.map(|value| secret::text_of(&value, name)).transpose()
}

/// Items a second; nothing slower than one in a day makes sense.
fn read_rate(given: &Bound<'_, PyDict>) -> PyResult<Option<f64>> {
    let value = required(given, "rate")?;
    if value.is_none() {
        return Ok(None);
    }
    let rate: Option<f64> = extracted(&value)?;
    if rate.is_some_and(|rate| (1e-5..=1e6).contains(&rate)) {
        return Ok(rate);
    }
    Err(PyValueError::new_err(format!(
        "rate is {}; give items a second, from 0.00001 to 1000000, or None to adapt",
        shown(rate)
    )))
}

fn shown<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "far out of range".into(), |number| number.to_string())
}

const READ_STATES: Job =
    Job { action: Action::ReadState, mode: Mode::Collect, deadline: None, journal: None };

fn job(collect: bool, hand_out: bool, deadline: Option<f64>, journal: Option<JournalSetup>) -> PyResult<Job> {
    let mode = match (collect, hand_out) {
        (true, false) => Mode::Collect,
        (true, true) => Mode::CollectAndHandOut,
        (false, _) => Mode::Stream,
    };
    let deadline = deadline.map(read_deadline).transpose()?;
    let journal = journal.map(read_journal).transpose()?;
    Ok(Job { action: Action::Reprocess, mode, deadline, journal })
}

/// A journal as `entra_reprocess._journal` describes it.
type JournalSetup = (PathBuf, Vec<String>, bool, bool, String);

fn read_journal((path, retry, resume, is_sized, machine): JournalSetup) -> PyResult<Setup> {
    let status = |name: &String| {
        Status::named(name).ok_or_else(|| {
            let known = Status::ALL.map(|status| format!("{:?}", status.name())).join(", ");
            PyValueError::new_err(format!("retry has {name:?}, which is no status; give some of {known}"))
        })
    };
    let retry = retry.iter().map(status).collect::<PyResult<_>>()?;
    Ok(Setup { path, retry, resume, is_sized, machine })
}

fn read_deadline(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero() && *limit <= LONGEST)
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "deadline is {seconds} s; give seconds or a timedelta from now, more than 0 and at most a year"
            ))
        })
}

/// As many sockets as a process may open on most systems. More requests in flight help nobody: Graph throttles before.
const MOST_REQUESTS: u32 = 1_000;
/// With the longest pause between attempts, these take hours.
const MOST_RETRIES: u32 = 1_000;

fn required<'py>(given: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    given.get_item(name)?.ok_or_else(|| PyValueError::new_err(format!("the option {name} is missing")))
}
