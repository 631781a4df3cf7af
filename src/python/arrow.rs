//! Texts out of a one-column Arrow stream or array, through the PyCapsule interface and without pyarrow
//! (<https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>).

use std::sync::{Mutex, PoisonError};

use arrow_array::ArrayReader;
use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, LargeStringArray, StringArray, StringViewArray, StructArray,
    make_array,
};
use arrow_schema::DataType;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};
use uuid::Uuid;

use super::runtime;

type Arrays = Box<dyn Iterator<Item = Result<ArrayRef, String>> + Send>;

/// Iterates over lists of `str | None`, one for each chunk of the stream.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct ArrowTexts(Mutex<Arrays>);

#[pymethods]
impl ArrowTexts {
    /// Of an object with `__arrow_c_stream__` or `__arrow_c_array__`.
    #[new]
    fn new(exporter: &Bound<'_, PyAny>) -> PyResult<Self> {
        let arrays = if exporter.hasattr("__arrow_c_stream__")? {
            read_stream(&exporter.call_method0("__arrow_c_stream__")?)?
        } else {
            let (schema, array): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
                exporter.call_method0("__arrow_c_array__")?.extract()?;
            read_array(&schema, &array)?
        };
        Ok(Self(Mutex::new(arrays)))
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        // A lazy source may take its time for it; nobody else has to wait for that.
        let next = runtime::detached(py, || self.0.lock().unwrap_or_else(PoisonError::into_inner).next());
        match next {
            None => Ok(None),
            Some(Err(message)) => Err(PyValueError::new_err(format!("the Arrow stream broke: {message}"))),
            Some(Ok(array)) => PyList::new(py, texts(&array)).map(Some),
        }
    }
}

#[expect(unsafe_code, reason = "the Arrow C interface hands over raw structs; arrow-array takes them in")]
fn read_stream(capsule: &Bound<'_, PyAny>) -> PyResult<Arrays> {
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name holds a valid ArrowArrayStream, which is moved out of it.
    let reader = unsafe { ArrayStreamReader::from_raw(pointer.cast::<FFI_ArrowArrayStream>().as_ptr()) };
    let reader = reader.map_err(|err| PyValueError::new_err(err.to_string()))?;
    check(reader.field().data_type())?;
    Ok(Box::new(reader.map(|array| array.map_err(|err| err.to_string()))))
}

#[expect(unsafe_code, reason = "the Arrow C interface hands over raw structs; arrow-array takes them in")]
fn read_array(schema: &Bound<'_, PyAny>, array: &Bound<'_, PyAny>) -> PyResult<Arrays> {
    let schema = schema.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_schema"))?;
    let array = array.cast::<PyCapsule>()?.pointer_checked(Some(c"arrow_array"))?;
    // SAFETY: capsules of these names hold valid structs of the C data interface; the array is moved out of its
    // capsule, the schema is only looked at while `schema` keeps it alive.
    let data = unsafe {
        let array = FFI_ArrowArray::from_raw(array.cast().as_ptr());
        from_ffi(array, schema.cast::<FFI_ArrowSchema>().as_ref())
    };
    let data = data.map_err(|err| PyValueError::new_err(err.to_string()))?;
    check(data.data_type())?;
    Ok(Box::new(std::iter::once(Ok(make_array(data)))))
}

/// Whether ids can be in data of this type; said before anything is sent.
fn check(data_type: &DataType) -> PyResult<()> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::FixedSizeBinary(16) => Ok(()),
        DataType::Dictionary(_, values) => check(values),
        DataType::Struct(columns) => match &**columns {
            [column] => check(column.data_type()),
            columns => {
                let names: Vec<_> = columns.iter().map(|column| column.name().as_str()).collect();
                Err(PyTypeError::new_err(format!(
                    "the Arrow data has {} columns ({}); select the one that holds the ids",
                    names.len(),
                    names.join(", ")
                )))
            }
        },
        other => Err(PyTypeError::new_err(format!("the Arrow data is of type {other}; ids are strings"))),
    }
}

/// The texts of data of a type that was checked.
fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    macro_rules! strings {
        ($($kind:ty),*) => {
            $(if let Some(strings) = array.as_any().downcast_ref::<$kind>() {
                return strings.iter().map(|text| text.map(str::to_owned)).collect();
            })*
        };
    }
    strings!(StringArray, LargeStringArray, StringViewArray);
    // Without values, all keys are null, and arrow-array panics when asked for them.
    if let Some(dictionary) = array.as_any_dictionary_opt().filter(|it| !it.values().is_empty()) {
        let (keys, values) = (dictionary.keys(), texts(dictionary.values()));
        let places = dictionary.normalized_keys().into_iter().enumerate();
        return places.map(|(at, key)| values.get(key).filter(|_| keys.is_valid(at))?.clone()).collect();
    }
    if let Some(guids) = array.as_any().downcast_ref::<FixedSizeBinaryArray>() {
        // The canonical `arrow.uuid` extension type: 16 bytes, big-endian.
        let id = |bytes| Uuid::from_slice(bytes).ok().map(|id| id.to_string());
        return guids.iter().map(|bytes| bytes.and_then(id)).collect();
    }
    match array.as_any().downcast_ref::<StructArray>().map(StructArray::columns) {
        Some([column]) => texts(column),
        // Refused by `check`; a null is refused by the run.
        _ => vec![None; array.len()],
    }
}
