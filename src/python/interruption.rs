//! Exceptions of Python code that nobody asked to run: an id's `__repr__`, its `__class__`.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// The first exception that is meant to end the program, such as `KeyboardInterrupt` or `SystemExit`.
#[derive(Default)]
pub struct Interruption(Option<PyErr>);

impl Interruption {
    /// The value; of an ordinary exception nothing is kept.
    pub fn heed<T>(&mut self, py: Python<'_>, result: PyResult<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(err) => {
                if self.0.is_none() && !err.is_instance_of::<PyException>(py) {
                    self.0 = Some(err);
                }
                None
            }
        }
    }

    /// Raise it, once all that must not be lost is in its place.
    pub fn raise(self) -> PyResult<()> {
        self.0.map_or(Ok(()), Err)
    }
}
