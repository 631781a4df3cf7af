//! What nobody may see: tokens, URLs that may hold a password, and whatever else was given as a credential.
//!
//! It is no `str`: the operations of one, and what takes its text apart without asking it (`"".join`, `re`, an encoder),
//! would give plain texts, and tools that show the locals of a traceback slice long ones.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use secrecy::SecretString;

const HIDDEN: &str = "<hidden>";

/// Holds a value that only native code and [`reveal`] get at. Two that hold the same text are equal, and two that hold
/// the same object.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct Secret(Py<PyAny>);

#[pymethods]
impl Secret {
    #[new]
    fn new(value: Bound<'_, PyAny>) -> Self {
        // Hidden twice is hidden once.
        match value.cast::<Self>() {
            Ok(hidden) => Self(hidden.get().0.clone_ref(value.py())),
            Err(_) => Self(value.unbind()),
        }
    }

    /// Whether it is a `str`.
    #[getter]
    fn is_text(&self, py: Python<'_>) -> bool {
        self.text(py).is_some()
    }

    /// The name of its type.
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.bind(py).get_type().name()?.to_string())
    }

    /// Whether it is a text of visible ASCII characters, as a token is.
    fn is_visible_ascii(&self, py: Python<'_>) -> bool {
        let text = self.text(py);
        let text = text.as_ref().and_then(|text| text.to_str().ok());
        text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
    }

    /// Whether there is anything in it.
    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        self.0.bind(py).is_truthy()
    }

    fn __repr__(&self) -> &'static str {
        HIDDEN
    }

    fn __format__(&self, _spec: &Bound<'_, PyAny>) -> &'static str {
        HIDDEN
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.text(py).map_or_else(|| Ok(self.0.as_ptr() as isize), |text| text.hash())
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let other = other.get();
        match (self.text(py), other.text(py)) {
            (Some(one), Some(other)) => one.as_any().eq(other),
            _ => Ok(self.0.is(&other.0)),
        }
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'_, PyAny>) -> Bound<'py, Self> {
        slf
    }
}

impl Secret {
    fn text<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.0.bind(py).cast::<PyString>().ok().cloned()
    }
}

/// What is hidden, unless it is a text: that stays as it is. For a credential, whose methods are called.
#[pyfunction]
pub fn reveal<'py>(secret: &Bound<'py, Secret>) -> Bound<'py, PyAny> {
    let py = secret.py();
    match secret.get().text(py) {
        Some(_) => secret.clone().into_any(),
        None => secret.get().0.bind(py).clone(),
    }
}

/// The text of a value that may be hidden. The error names no part of it, as that of Python's own decoder would.
pub fn text_of(value: &Bound<'_, PyAny>, name: &str) -> PyResult<SecretString> {
    let py = value.py();
    let text = match value.cast::<Secret>() {
        Ok(hidden) => hidden.get().text(py),
        Err(_) => value.cast::<PyString>().ok().cloned(),
    };
    let text = text.as_ref().and_then(|text| text.to_str().ok());
    text.map(SecretString::from)
        .ok_or_else(|| PyValueError::new_err(format!("{name} has characters that no UTF-8 text has")))
}
