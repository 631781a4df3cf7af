//! The Python binding, and the only pyo3 code: conversions and the runtime, no decisions about Graph.

mod arrow;
mod arrow_column;
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
mod listing;
mod log;
mod numbers;
mod report;
mod run;
mod runtime;
mod secret;

/// The native half of the package `entra_reprocess`; its public half is written in Python.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::arrow::ArrowTexts;
    #[pymodule_export]
    use super::client::NativeClient;
    #[cfg(feature = "emulator")]
    #[pymodule_export]
    use super::emulator::NativeEmulator;
    #[pymodule_export]
    use super::listing::NativeListing;
    #[pymodule_export]
    use super::log::warn;
    #[pymodule_export]
    use super::report::NativeReport;
    #[pymodule_export]
    use super::run::NativeRun;
    #[pymodule_export]
    use super::runtime::shut_down;
    #[pymodule_export]
    use super::secret::{Secret, reveal};

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::{PyAnyMethods, PyModuleMethods};
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // Futures that still run when the interpreter goes would crash it.
        let shut_down = module.getattr("shut_down")?;
        module.py().import("atexit")?.call_method1("register", (shut_down,))?;
        Ok(())
    }
}
