//! Texts out of a one-column Arrow stream or array, through the PyCapsule interface and without pyarrow
//! (<https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{Array, ArrayReader, ArrayRef, make_array};
use arrow_schema::Field;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};

use super::arrow_column::{Fault, first_bytes, look, of_bytes, texts};
use crate::text::one_line;

/// How many arrays are looked at for a value to be named in an error.
const LOOKED_AT: usize = 16;

type Arrays = Box<dyn Iterator<Item = Result<ArrayRef, String>> + Send>;

/// Iterates over lists of `str | None`, one for each chunk of the stream.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct ArrowTexts {
    arrays: Mutex<Arrays>,
    length: Option<usize>,
}

#[pymethods]
impl ArrowTexts {
    /// Of an object with `__arrow_c_stream__` or `__arrow_c_array__`. With `whole` all is read at once.
    #[new]
    fn new(exporter: &Bound<'_, PyAny>, whole: bool) -> PyResult<Self> {
        let py = exporter.py();
        let (field, mut arrays) = if exporter.hasattr("__arrow_c_stream__")? {
            read_stream(&exporter.call_method0("__arrow_c_stream__")?)?
        } else {
            let (schema, array): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
                exporter.call_method0("__arrow_c_array__")?.extract()?;
            read_array(&schema, &array)?
        };
        if let Err(fault) = look(&field) {
            return Err(PyTypeError::new_err(match fault {
                Fault::Other(text) => text,
                Fault::Bytes(kind) => of_bytes(&kind, py.detach(|| first_value(arrays)).as_deref()),
            }));
        }
        let mut length = None;
        if whole {
            let all = py.detach(|| guarded(|| arrays.collect::<Result<Vec<_>, _>>())).map_err(broke)?;
            length = Some(all.iter().map(|array| array.len()).sum());
            arrays = Box::new(all.into_iter().map(Ok));
        }
        Ok(Self { arrays: Mutex::new(arrays), length })
    }

    /// How many texts there are, where all was read at once.
    #[getter]
    const fn length(&self) -> Option<usize> {
        self.length
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        // Detached, since the producer may wait for threads of its own that run Python.
        let next = py.detach(|| {
            let mut arrays = self.arrays.lock().unwrap_or_else(PoisonError::into_inner);
            let next = guarded(|| arrays.next().transpose()?.map(|array| texts(&array)).transpose());
            if next.is_err() {
                // The C interface says nothing of what comes after an error.
                *arrays = Box::new(std::iter::empty());
            }
            next
        });
        next.map_err(broke)?.map(|texts| PyList::new(py, texts)).transpose()
    }
}

fn broke(message: String) -> PyErr {
    PyValueError::new_err(format!("the Arrow data cannot be read: {message}"))
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What arrow-array makes of foreign memory. It checks a part of what a producer may have got wrong by assertions, and
/// no panic may reach Python, nor its report standard error.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        // Of this library alone: each one has a standard library of its own.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                report(info);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(outer);
    read.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason is known");
        let why = one_line(&why.replace('\n', " "));
        Err(format!(
            "its producer breaks the rules of the Arrow C interface ({why}); give a list of str instead"
        ))
    })
}

fn first_value(arrays: Arrays) -> Option<Vec<u8>> {
    let mut arrays = arrays.take(LOOKED_AT);
    guarded(|| Ok(arrays.find_map(|array| first_bytes(&array.ok()?)))).ok().flatten()
}

/// An array as it came, after a look at all that reading it relies on: offsets, keys and UTF-8.
fn checked(array: ArrayRef) -> Result<ArrayRef, String> {
    array.to_data().validate_full().map_err(|err| err.to_string())?;
    Ok(array)
}

#[expect(unsafe_code, reason = "the Arrow C interface hands over raw structs; arrow-array takes them in")]
fn read_stream(capsule: &Bound<'_, PyAny>) -> PyResult<(Field, Arrays)> {
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name holds a valid ArrowArrayStream, which is moved out of it.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.cast().as_ptr()) };
    if stream.release().is_none() {
        return Err(consumed("stream"));
    }
    if stream.get_next().is_none() {
        return Err(broke("its stream has no get_next".into()));
    }
    let reader =
        capsule.py().detach(|| guarded(|| ArrayStreamReader::try_new(stream).map_err(|err| err.to_string())));
    let reader = reader.map_err(broke)?;
    let field = reader.field().as_ref().clone();
    Ok((field, Box::new(reader.map(|array| checked(array.map_err(|err| err.to_string())?)))))
}

#[expect(unsafe_code, reason = "the Arrow C interface hands over raw structs; arrow-array takes them in")]
fn read_array(schema: &Bound<'_, PyAny>, array: &Bound<'_, PyAny>) -> PyResult<(Field, Arrays)> {
    let schema_at = schema.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_schema"))?;
    let array_at = array.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_array"))?;
    // SAFETY: capsules of these names hold valid structs of the C data interface; the array is moved out of its
    // capsule, the schema is only looked at while `schema` keeps it alive.
    let (schema, array) = unsafe {
        (schema_at.cast::<FFI_ArrowSchema>().as_ref(), FFI_ArrowArray::from_raw(array_at.cast().as_ptr()))
    };
    if array.is_released() || schema.release().is_none() {
        return Err(consumed("array"));
    }
    // In the struct they are signed.
    if isize::try_from(array.len().saturating_add(array.offset())).is_err() {
        return Err(broke("its length or offset is negative".into()));
    }
    let read = guarded(|| {
        let field = Field::try_from(schema).map_err(|err| err.to_string())?;
        // SAFETY: the array is of this schema, as the producer has handed both over together.
        let data = unsafe { from_ffi(array, schema) }.map_err(|err| err.to_string())?;
        Ok((field, checked(make_array(data))))
    });
    let (field, array) = read.map_err(broke)?;
    Ok((field, Box::new(std::iter::once(array))))
}

fn consumed(what: &str) -> PyErr {
    PyValueError::new_err(format!(
        "this Arrow {what} was read before and is empty now; give the object that it came from, or a new one"
    ))
}
