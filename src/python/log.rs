//! The way of a call's records to Python's `logging`: taken and emitted in a thread that is in the interpreter anyway.

use std::sync::Arc;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::runtime::Visit;
use crate::log::{Exchange, Level, Record, Sink};

/// The functions of `entra_reprocess._logging`: `level()` and `emit(level, text, fields)`.
static FUNCTIONS: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

fn functions(py: Python<'_>) -> PyResult<&(Py<PyAny>, Py<PyAny>)> {
    FUNCTIONS.get_or_try_init(py, || {
        let module = py.import("entra_reprocess._logging")?;
        Ok((module.getattr("level")?.unbind(), module.getattr("emit")?.unbind()))
    })
}

/// The records of one call. Calling it emits them, so that it can be a future's callback too.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeLog {
    sink: Arc<Sink>,
}

impl NativeLog {
    /// For a call that begins now.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self { sink: Arc::new(Sink::new(level(py)?)) })
    }

    /// Where the call tells to.
    pub fn sink(&self) -> Option<Arc<Sink>> {
        Some(self.sink.clone())
    }

    /// Emit what waits, and ask anew what is wanted.
    ///
    /// A handler or filter that raises ends no call and costs no line but its own; only what is meant to end a program
    /// is passed on, and then what comes after it waits for the next time.
    pub fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let _visit = Visit::new(py);
        let (mut records, dropped) = self.sink.take();
        while let Some(record) = records.pop_front() {
            if let Err(err) = forgive(py, emit(py, &record)) {
                self.sink.put_back(records, dropped);
                return Err(err);
            }
        }
        let result = if dropped > 0 { forgive(py, emit_dropped(py, dropped)) } else { Ok(()) };
        self.sink.set_level(level(py)?);
        result
    }
}

/// Tell of an error and go on, unless it is meant to end the program.
fn forgive(py: Python<'_>, result: PyResult<()>) -> PyResult<()> {
    match result {
        Err(err) if err.is_instance_of::<PyException>(py) => {
            err.write_unraisable(py, None);
            Ok(())
        }
        result => result,
    }
}

/// Log a line at WARNING, in the thread that calls. What a handler raises is treated as `NativeLog::flush` does it.
#[pyfunction]
pub fn warn(py: Python<'_>, text: String) -> PyResult<()> {
    let _visit = Visit::new(py);
    forgive(py, call(py, Level::Warning, text, PyDict::new(py)))
}

#[pymethods]
impl NativeLog {
    fn __call__(&self, py: Python<'_>, _future: &Bound<'_, PyAny>) -> PyResult<()> {
        self.flush(py)
    }
}

fn level(py: Python<'_>) -> PyResult<Level> {
    let wanted: u8 = functions(py)?.0.call0(py)?.extract(py)?;
    Ok(match wanted {
        ..=10 => Level::Debug,
        11..=30 => Level::Warning,
        31.. => Level::Off,
    })
}

fn emit(py: Python<'_>, record: &Record) -> PyResult<()> {
    let fields = PyDict::new(py);
    let (level, text) = match record {
        Record::Exchange(exchange) => {
            fields.set_item("method", exchange.method.as_str())?;
            fields.set_item("route", &exchange.route)?;
            fields.set_item("status", exchange.result.as_ref().ok())?;
            fields.set_item("error", exchange.result.as_ref().err())?;
            fields.set_item("items", exchange.items)?;
            fields.set_item("request_id", &exchange.request_id)?;
            fields.set_item("client_request_id", exchange.client_request_id.to_string())?;
            fields.set_item("duration", exchange.took.as_secs_f64())?;
            (Level::Debug, line(exchange))
        }
        Record::Pause { wait, throttled } => {
            fields.set_item("pause", wait.as_secs_f64())?;
            fields.set_item("throttled", throttled)?;
            let why = if *throttled { "Graph throttles" } else { "Graph is in trouble" };
            (Level::Warning, format!("{why}: nothing is sent for {:.1} s", wait.as_secs_f64()))
        }
    };
    call(py, level, text, fields)
}

fn emit_dropped(py: Python<'_>, dropped: u64) -> PyResult<()> {
    let fields = PyDict::new(py);
    fields.set_item("dropped", dropped)?;
    let text =
        format!("{dropped} more exchanges went unlogged, since they came faster than they could be logged");
    call(py, Level::Debug, text, fields)
}

fn call(py: Python<'_>, level: Level, text: String, fields: Bound<'_, PyDict>) -> PyResult<()> {
    functions(py)?.1.call1(py, (level as u8, text, fields)).map(drop)
}

fn line(exchange: &Exchange) -> String {
    let Exchange { method, route, items, result, request_id, client_request_id, took } = exchange;
    let answer = match result {
        Ok(status) => status.to_string(),
        Err(why) => format!("no usable answer ({why})"),
    };
    format!(
        "{method} {route}: {answer} in {:.3} s, items {items}, request-id {}, client-request-id {client_request_id}",
        took.as_secs_f64(),
        request_id.as_deref().unwrap_or("none"),
    )
}
