//! The interpreter that the module works in: the main one of the process, and no other.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Refuse the import in a sub-interpreter.
///
/// The runtime, the classes and what is cached of Python's modules exist once in a process, and would be taken down with
/// whichever interpreter ends first. Python refuses by itself where interpreters are isolated (PEP 684), and not where
/// they share their lock, as under mod_wsgi.
pub fn refuse_any_but_the_main_one(py: Python<'_>) -> PyResult<()> {
    match id(py) {
        // The main interpreter is the first of the process.
        0 => Ok(()),
        -1 => Err(PyErr::fetch(py)),
        id => Err(PyImportError::new_err(format!(
            "entra_reprocess works in the main interpreter of a process only, and this is sub-interpreter {id}; call it \
             from a thread or from another process (under mod_wsgi: WSGIApplicationGroup %{{GLOBAL}})"
        ))),
    }
}

#[expect(unsafe_code, reason = "pyo3 has no safe way to ask for the interpreter")]
fn id(_py: Python<'_>) -> i64 {
    // SAFETY: this thread is attached to an interpreter, and both functions ask for nothing else. They are part of the
    // stable ABI (https://docs.python.org/3/c-api/init.html#c.PyInterpreterState_GetID).
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) }
}
