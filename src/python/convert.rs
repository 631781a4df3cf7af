//! Values that cross the border: ids in, outcomes out.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDict, PyString, PyType, PyTzInfo};
use uuid::Uuid;

use super::interruption::Interruption;
use crate::assignment::{AssignmentId, InvalidId};
use crate::outcome::{Counts, Outcome, Status};

/// An id as given: a str in one of the accepted forms, or a `uuid.UUID`. Anything else is refused, never raised; what
/// its own code raises to end the program goes into `interruption`.
pub fn assignment_id(
    value: &Bound<'_, PyAny>,
    interruption: &mut Interruption,
) -> Result<AssignmentId, InvalidId> {
    if let Ok(text) = value.cast::<PyString>() {
        // A lone surrogate has no UTF-8 form; its replacement is no id either.
        return AssignmentId::parse(&text.to_string_lossy());
    }
    let py = value.py();
    if let Some(id) = interruption.heed(py, uuid(value)).flatten() {
        return Ok(id);
    }
    let shown = interruption
        .heed(py, value.repr())
        .map_or_else(|| "<no repr>".to_owned(), |repr| repr.to_string_lossy().into_owned());
    let type_name = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    Err(InvalidId::of_type(&shown, &type_name))
}

/// The same for an id that stands by itself: what its own code raises to end the program is raised.
pub fn single_id(value: &Bound<'_, PyAny>) -> PyResult<Result<AssignmentId, InvalidId>> {
    let mut interruption = Interruption::default();
    let id = assignment_id(value, &mut interruption);
    interruption.raise().map(|()| id)
}

fn uuid(value: &Bound<'_, PyAny>) -> PyResult<Option<AssignmentId>> {
    static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = UUID.import(value.py(), "uuid", "UUID")?;
    if !value.is_instance(class)? {
        return Ok(None);
    }
    let bits: u128 = value.getattr("int")?.extract()?;
    Ok(Some(Uuid::from_u128(bits).into()))
}

/// An `entra_reprocess.Outcome`.
pub fn outcome<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Bound<'py, PyAny>> {
    static OUTCOME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let utc = PyTzInfo::utc(py)?.to_owned();
    // Microseconds since 1970 fit a float exactly for centuries to come.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 microseconds, the year 2255")]
    let seconds = outcome.finished_at as f64 / 1e6;
    OUTCOME.import(py, "entra_reprocess._outcome", "Outcome")?.call1((
        outcome.id.to_string(),
        outcome.index,
        outcome.status.name(),
        outcome.http_status,
        outcome.code.as_deref(),
        outcome.message.as_deref(),
        outcome.request_id.as_deref(),
        outcome.client_request_id.map(|id| id.to_string()),
        outcome.attempts,
        outcome.elapsed.as_secs_f64(),
        PyDateTime::from_timestamp(py, seconds, Some(&utc))?,
    ))
}

/// Counts as a dict with every status in it.
pub fn counts<'py>(py: Python<'py>, counts: &Counts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for status in Status::ALL {
        dict.set_item(status.name(), counts.of(status))?;
    }
    Ok(dict)
}

/// A path as Python gives it: str or os.PathLike.
pub fn path(value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    value.extract()
}
