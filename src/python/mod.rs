//! The Python binding, and the only pyo3 code: conversions and the runtime, no decisions about Graph.

mod arrow;
mod asking;
mod client;
mod convert;
mod credential;
mod credential_task;
#[cfg(feature = "emulator")]
mod emulator;
#[cfg(feature = "emulator")]
mod emulator_settings;
mod errors;
mod interpreter;
mod interruption;
mod listing;
mod log;
mod report;
mod run;
mod runtime;

use pyo3::prelude::*;

/// The native half of the package `entra_reprocess`; its public half is written in Python.
#[pyo3::pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // First of all: a class that is made for the wrong interpreter stays so for the whole process.
    interpreter::refuse_any_but_the_main_one(module.py())?;
    module.add_class::<arrow::ArrowTexts>()?;
    module.add_class::<client::NativeClient>()?;
    #[cfg(feature = "emulator")]
    module.add_class::<emulator::NativeEmulator>()?;
    module.add_class::<listing::NativeListing>()?;
    module.add_class::<report::NativeReport>()?;
    module.add_class::<run::NativeRun>()?;
    module.add_function(wrap_pyfunction!(log::warn, module)?)?;
    let shut_down = wrap_pyfunction!(runtime::shut_down, module)?;
    module.add_function(shut_down.clone())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    // Futures that still run when the interpreter goes would crash it.
    module.py().import("atexit")?.call_method1("register", (shut_down,))?;
    Ok(())
}
