//! Failures of the core as the exceptions that `entra_reprocess._errors` defines.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::assignment::{AssignmentId, InvalidId};
use crate::client::{Failure, Refusal};
use crate::run::StopCause;
use crate::run::journal::JournalFailure;
use crate::token::CredentialFailure;
use crate::transport::{FailureKind, TransportFailure};

/// The exception for an id that was refused here.
pub fn invalid_id(py: Python<'_>, refused: &InvalidId) -> PyErr {
    raised(py, "InvalidIdError", (refused.reason.as_str(),), None)
}

/// The exception for a journal that cannot be used.
pub fn journal(py: Python<'_>, failure: &JournalFailure) -> PyErr {
    raised(py, "JournalError", (failure.message.as_str(),), None)
}

/// The exception for a call about one assignment.
pub fn failure(py: Python<'_>, failure: &Failure, id: Option<AssignmentId>) -> PyErr {
    match failure {
        Failure::Graph(refusal) => graph(py, refusal, id, id.is_some()).unwrap_or_else(|err| err),
        Failure::Transport(failure) => transport(py, failure),
        Failure::Credential(failure) => credential(py, failure),
    }
}

/// The exception that made a run stop; `None` where the caller asked for it.
pub fn stop_cause(py: Python<'_>, cause: &StopCause) -> Option<PyErr> {
    match cause {
        StopCause::Asked(_) | StopCause::Deadline(_) => None,
        StopCause::Credential(failure) => Some(credential(py, failure)),
        StopCause::Unreachable(failure) => Some(transport(py, failure)),
        StopCause::Journal(failure) => Some(journal(py, failure)),
        StopCause::Refused(_, refusal) => Some(graph(py, refusal, None, true).unwrap_or_else(|err| err)),
    }
}

fn graph(
    py: Python<'_>,
    refusal: &Refusal,
    id: Option<AssignmentId>,
    is_of_assignment: bool,
) -> PyResult<PyErr> {
    let answer = &refusal.answer;
    let fields = PyDict::new(py);
    fields.set_item("code", answer.error.code.as_deref())?;
    fields.set_item("message", answer.error.message.as_deref())?;
    fields.set_item("request_id", answer.request_id.as_deref())?;
    fields.set_item("client_request_id", refusal.client_request_id.to_string())?;
    fields.set_item("date", answer.date.as_deref())?;
    fields.set_item("retry_after", answer.retry_after.map(|wait| wait.as_secs_f64()))?;
    fields.set_item("id", id.map(|id| id.to_string()))?;
    let advice = answer.token.as_ref().and_then(|token| token.advice.as_deref());
    fields.set_item("advice", advice)?;
    let is_challenged = answer.token.as_ref().is_some_and(|token| token.challenge.is_some());
    fields.set_item("is_challenged", is_challenged)?;
    fields.set_item("given_up", refusal.given_up.as_deref())?;
    fields.set_item("is_of_assignment", is_of_assignment)?;
    Ok(raised(py, "graph_error", (answer.status,), Some(&fields)))
}

fn transport(py: Python<'_>, failure: &TransportFailure) -> PyErr {
    let class = match failure.kind {
        FailureKind::Timeout => "TransportTimeoutError",
        FailureKind::Protocol => "ProtocolError",
        FailureKind::Connection
        | FailureKind::UnknownHost
        | FailureKind::Untrusted
        | FailureKind::Unauthenticated
        | FailureKind::Withdrawn => "TransportError",
    };
    raised(py, class, (failure.message.as_str(),), None)
}

fn credential(py: Python<'_>, failure: &CredentialFailure) -> PyErr {
    let err = raised(py, "CredentialError", (failure.message.as_str(),), None);
    if let Some(cause) = failure.cause.as_deref().and_then(|cause| cause.downcast_ref::<PyErr>()) {
        let attached = py
            .import("entra_reprocess._reason")
            .and_then(|module| module.call_method1("attach", (err.value(py), cause.value(py))));
        if attached.is_err() {
            err.set_cause(py, Some(cause.clone_ref(py)));
        }
    }
    err
}

/// What a class or factory of `_errors` makes of these arguments.
fn raised<'py>(
    py: Python<'py>,
    factory: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
    fields: Option<&Bound<'py, PyDict>>,
) -> PyErr {
    let made = py
        .import("entra_reprocess._errors")
        .and_then(|module| module.getattr(factory))
        .and_then(|factory| factory.call(arguments, fields));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(err) => err,
    }
}

/// For an object of a parent process.
pub fn of_another_process() -> PyErr {
    PyRuntimeError::new_err("this run belongs to the process that was forked; start a new one here")
}
