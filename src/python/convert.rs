//! Values that cross the border: ids in, outcomes out.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDateTime, PyDict, PyFloat, PyString, PyType, PyTzInfo};
use uuid::Uuid;

use crate::assignment::{AssignmentId, InvalidId};
use crate::outcome::{Counts, Outcome, Status};

/// The class attribute by which an object of ours says what its `id` is the id of.
const ID_OF: &str = "_id_of";
/// What an `Assignment` and an `Outcome` say there.
const ASSIGNMENT: &str = "assignment";

/// An id as given: a str in one of the accepted forms, a `uuid.UUID`, or an object of ours that is of an assignment.
/// Anything else is refused, never raised.
pub fn assignment_id(value: &Bound<'_, PyAny>) -> Result<AssignmentId, InvalidId> {
    if let Some(own) = kind(value) {
        if own == ASSIGNMENT
            && let Ok(id) = value.getattr("id")
        {
            return guid(&id);
        }
        let remedy = format!(
            "its id is that of an {own}, not of an assignment; give the assignments that are meant, \
             such as client.assignments(access_package=...)"
        );
        return Err(InvalidId::of_value(&shown(value), &type_name(value), &remedy));
    }
    guid(value)
}

/// What the id of an object of ours is the id of.
pub fn kind(value: &Bound<'_, PyAny>) -> Option<String> {
    if value.is_instance_of::<PyString>() {
        return None;
    }
    value.get_type().getattr_opt(ID_OF).ok()??.extract().ok()
}

/// A GUID as given: a str in one of the accepted forms, or a `uuid.UUID`.
pub fn guid(value: &Bound<'_, PyAny>) -> Result<AssignmentId, InvalidId> {
    if let Ok(text) = value.cast::<PyString>() {
        // A lone surrogate has no UTF-8 form; its replacement is no id either.
        return AssignmentId::parse(&text.to_string_lossy());
    }
    if let Some(id) = uuid(value) {
        return Ok(id);
    }
    let type_name = type_name(value);
    if is_empty(value, &type_name) {
        return Err(InvalidId::empty());
    }
    let shown = shown(value);
    match raw_bytes(value, &type_name) {
        Some(bytes) => Err(InvalidId::of_bytes(&shown, &type_name, &bytes)),
        None => Err(InvalidId::of_type(&shown, &type_name)),
    }
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "<no repr>".to_owned(), |repr| repr.to_string_lossy().into_owned())
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// Whether it is what stands in a cell without a value: None, NaN, and the like of pandas and numpy.
fn is_empty(value: &Bound<'_, PyAny>, type_name: &str) -> bool {
    let is_missing = value.is_none() || matches!(type_name, "NAType" | "NaTType" | "MaskedConstant");
    // Only of what is known to compare as numbers do: anybody's own class may do anything when it is compared.
    let may_be_nan = value.is_instance_of::<PyFloat>()
        || ["decimal", "numpy"].iter().any(|module| {
            value
                .get_type()
                .module()
                .is_ok_and(|own| own.to_string_lossy().trim_start_matches('_') == *module)
        });
    is_missing || (may_be_nan && value.ne(value).is_ok_and(|is_nan| is_nan))
}

/// The bytes of a value that is nothing but some: bytes and its relatives, and numpy's `V16`.
fn raw_bytes(value: &Bound<'_, PyAny>, type_name: &str) -> Option<Vec<u8>> {
    let is_raw = value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || matches!(type_name, "memoryview" | "void");
    if !is_raw {
        return None;
    }
    // A large one is not copied only to be refused.
    let size = value.getattr_opt("nbytes").ok()?.map_or_else(|| value.len(), |size| size.extract()).ok()?;
    if size > LARGEST_RAW {
        return Some(Vec::new());
    }
    value.py().get_type::<PyBytes>().call1((value,)).ok()?.extract().ok()
}

/// 16 bytes may be a GUID.
const LARGEST_RAW: usize = 16;

fn uuid(value: &Bound<'_, PyAny>) -> Option<AssignmentId> {
    static UUID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = UUID.import(value.py(), "uuid", "UUID").ok()?;
    if !value.is_instance(class).ok()? {
        return None;
    }
    let bits: u128 = value.getattr("int").ok()?.extract().ok()?;
    Some(Uuid::from_u128(bits).into())
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
