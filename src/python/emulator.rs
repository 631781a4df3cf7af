//! The emulator as `entra_reprocess.emulator.Emulator` holds it.

use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::emulator::{Emulator, Latency, Quota, QuotaModel, Refusal, RetryAfter, Settings};

/// A running emulator.
#[pyclass(frozen, module = "entra_reprocess._native")]
pub struct NativeEmulator(Emulator);

#[pymethods]
impl NativeEmulator {
    /// Start it with the settings that `entra_reprocess.emulator` has collected.
    #[new]
    fn new(settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let emulator = Emulator::start(read_settings(settings)?)
            .map_err(|err| PyOSError::new_err(format!("the emulator cannot listen: {err}")))?;
        Ok(Self(emulator))
    }

    #[getter]
    fn url(&self) -> String {
        self.0.url()
    }

    #[getter]
    fn token(&self) -> String {
        self.0.token()
    }

    fn ids(&self) -> Vec<String> {
        self.0.ids().into_iter().map(|id| id.to_string()).collect()
    }

    fn executions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for (id, count) in self.0.executions() {
            counts.set_item(id.to_string(), count)?;
        }
        Ok(counts)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.0.counters();
        let dict = PyDict::new(py);
        for (name, count) in [
            ("http_requests", counters.http_requests),
            ("in_flight_peak", counters.in_flight_peak),
            ("batches", counters.batches),
            ("batches_refused", counters.batches_refused),
            ("parts", counters.parts),
            ("executed", counters.executed),
            ("throttled_requests", counters.throttled_requests),
            ("throttled_parts", counters.throttled_parts),
            ("writes_during_pause", counters.writes_during_pause),
            ("unauthorized", counters.unauthorized),
        ] {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

fn read_settings(given: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let default = Settings::default();
    let (shortest, longest): (f64, f64) = given.as_any().get_item("latency")?.extract()?;
    let refusal = |name: &str| -> PyResult<Refusal> {
        let (status, code, message): (u16, String, String) = given.as_any().get_item(name)?.extract()?;
        if !(400..600).contains(&status) {
            return Err(PyValueError::new_err(format!(
                "{name} has the status {status}; give one from 400 to 599"
            )));
        }
        Ok(Refusal::new(status, code, message))
    };
    Ok(Settings {
        port: given.as_any().get_item("port")?.extract()?,
        seed: given.as_any().get_item("seed")?.extract()?,
        assignments: given.as_any().get_item("assignments")?.extract()?,
        token: given.as_any().get_item("token")?.extract()?,
        forbid: given.as_any().get_item("forbid")?.extract()?,
        unknown_id: refusal("unknown_id")?,
        invalid_id: refusal("invalid_id")?,
        wrong_state: refusal("wrong_state")?,
        latency: Latency { min: seconds("latency", shortest)?, max: seconds("latency", longest)? },
        write_quota: read_quota(given)?,
        retry_after: match given.as_any().get_item("retry_after")?.extract::<String>()?.as_str() {
            "integer" => RetryAfter::Seconds,
            "decimal" => RetryAfter::Decimal,
            "date" => RetryAfter::HttpDate,
            "absent" => RetryAfter::Absent,
            other => {
                return Err(PyValueError::new_err(format!(
                    "retry_after is {other:?}; give \"integer\", \"decimal\", \"date\" or \"absent\""
                )));
            }
        },
        ..default
    })
}

fn read_quota(given: &Bound<'_, PyDict>) -> PyResult<Option<Quota>> {
    let Some((calls, per)) = given.as_any().get_item("write_quota")?.extract::<Option<(u32, f64)>>()? else {
        return Ok(None);
    };
    let per = seconds("write_quota", per)?;
    if calls == 0 || per.is_zero() {
        return Err(PyValueError::new_err("write_quota grants nothing; give (calls, seconds), both above 0"));
    }
    let burst: Option<u32> = given.as_any().get_item("burst")?.extract()?;
    let quota = match given.as_any().get_item("quota_model")?.extract::<String>()?.as_str() {
        "window" => Quota::window(calls, per),
        "bucket" => Quota {
            model: QuotaModel::Bucket { burst: burst.unwrap_or(calls).max(1) },
            ..Quota::bucket(calls, per)
        },
        other => {
            return Err(PyValueError::new_err(format!(
                "quota_model is {other:?}; give \"bucket\" or \"window\""
            )));
        }
    };
    Ok(Some(quota))
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{name} is {value}; give seconds, 0 or more")))
}
