//! From the keywords of `entra_reprocess.emulator.Emulator` to the settings of the emulator.

use std::collections::HashMap;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use uuid::Uuid;

use super::numbers::{seconds, whole};
use crate::emulator::{
    AfterReprocess, AssignmentState, Latency, Quota, QuotaModel, Refusal, RetryAfter, Settings,
};

/// Seeded things at the most. Ten million assignments take a gigabyte.
const MOST: i128 = 10_000_000;
/// Calls of a quota at the most: more than anybody sends.
const MOST_CALLS: i128 = 1_000_000_000;
/// A hundred years in seconds.
const CENTURY: i128 = 36_525 * 24 * 3_600;

/// The states by the names that beta uses; v1.0 begins them with a small letter.
const STATES: [(&str, AssignmentState); 5] = [
    ("Delivering", AssignmentState::Delivering),
    ("PartiallyDelivered", AssignmentState::PartiallyDelivered),
    ("Delivered", AssignmentState::Delivered),
    ("Expired", AssignmentState::Expired),
    ("DeliveryFailed", AssignmentState::DeliveryFailed),
];

/// The name of a state.
pub fn state_name(of: AssignmentState) -> &'static str {
    STATES.iter().find(|(_, state)| *state == of).map_or("", |(name, _)| *name)
}

fn state(name: &str) -> PyResult<AssignmentState> {
    let found = STATES.iter().find(|(known, _)| *known == name);
    found.map(|(_, state)| *state).ok_or_else(|| {
        let known = STATES.map(|(name, _)| name).join(", ");
        PyValueError::new_err(format!("{name:?} is no state of an assignment; give one of {known}"))
    })
}

/// The keywords, all of which are there.
struct Given<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'py> Given<'_, 'py> {
    fn item(&self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.0.as_any().get_item(name)
    }

    fn flag(&self, name: &str) -> PyResult<bool> {
        self.item(name)?.extract()
    }

    /// A whole number within a range.
    fn number<T: TryFrom<i128>>(&self, name: &str, least: i128, most: i128) -> PyResult<T> {
        whole(name, &self.item(name)?, least..=most)
    }

    /// Seconds, where they are given.
    fn seconds(&self, name: &str) -> PyResult<Option<Duration>> {
        let value = self.item(name)?;
        (!value.is_none()).then(|| seconds(name, &value)).transpose()
    }

    /// Two values, such as the least and the most.
    fn pair(&self, name: &str, kind: &str) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        self.item(name)?
            .extract()
            .map_err(|_| PyTypeError::new_err(format!("{name} is no pair; give {kind}")))
    }

    fn text(&self, name: &str) -> PyResult<String> {
        self.item(name)?.extract()
    }

    /// Text that becomes a header and could not be sent with anything else in it.
    fn header(&self, name: &str) -> PyResult<Option<String>> {
        let text: Option<String> = self.item(name)?.extract()?;
        let fits = |text: &String| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if text.as_ref().is_none_or(fits) {
            return Ok(text);
        }
        Err(PyValueError::new_err(format!("{name} cannot be sent in a header; give printable ASCII")))
    }

    /// A GUID, or the default where it is left out.
    fn guid(&self, name: &str, default: Uuid) -> PyResult<Uuid> {
        let Some(text) = self.item(name)?.extract::<Option<String>>()? else { return Ok(default) };
        Uuid::try_parse(&text).map_err(|_| PyValueError::new_err(format!("{name} is {text:?}; give a GUID")))
    }

    fn refusal(&self, name: &str) -> PyResult<Refusal> {
        let (status, code, message): (Bound<'py, PyAny>, String, String) = self.item(name)?.extract()?;
        Ok(Refusal::new(whole(&format!("the status of {name}"), &status, 400..=599)?, code, message))
    }

    fn states(&self) -> PyResult<Vec<(AssignmentState, usize)>> {
        let mut counts: HashMap<String, Bound<'py, PyAny>> = self.item("states")?.extract()?;
        // In the order of the enumeration, so that the same mapping gives the same assignments.
        let ordered = STATES.iter().filter_map(|(name, state)| Some((name, state, counts.remove(*name)?)));
        let ordered = ordered
            .map(|(name, state, count)| Ok((*state, whole(&format!("states[{name:?}]"), &count, 0..=MOST)?)))
            .collect::<PyResult<_>>()?;
        match counts.keys().next() {
            None => Ok(ordered),
            Some(unknown) => state(unknown).map(|_| ordered),
        }
    }

    fn quota(&self, name: &str) -> PyResult<Option<Quota>> {
        if self.item(name)?.is_none() {
            return Ok(None);
        }
        let (calls, per) = self.pair(name, "(calls, seconds)")?;
        let calls = whole(&format!("the calls of {name}"), &calls, 1..=MOST_CALLS)?;
        let per = seconds(&format!("the time of {name}"), &per)?;
        if per.is_zero() {
            return Err(PyValueError::new_err(format!("the time of {name} is 0; give seconds, more than 0")));
        }
        let quota = match self.text("quota_model")?.as_str() {
            "window" => Quota::window(calls, per),
            "bucket" => Quota {
                model: QuotaModel::Bucket { burst: self.burst()?.unwrap_or(calls) },
                ..Quota::bucket(calls, per)
            },
            other => {
                return Err(PyValueError::new_err(format!(
                    "quota_model is {other:?}; give \"bucket\" or \"window\""
                )));
            }
        };
        Ok(Some(Quota {
            throttled_calls_count: self.flag("throttled_calls_count")?,
            wait: self.seconds("wait")?,
            ..quota
        }))
    }

    fn burst(&self) -> PyResult<Option<u32>> {
        let value = self.item("burst")?;
        (!value.is_none()).then(|| whole("burst", &value, 1..=MOST_CALLS)).transpose()
    }

    fn retry_after(&self) -> PyResult<RetryAfter> {
        match self.text("retry_after")?.as_str() {
            "integer" => Ok(RetryAfter::Seconds),
            "decimal" => Ok(RetryAfter::Decimal),
            "date" => Ok(RetryAfter::HttpDate),
            "absent" => Ok(RetryAfter::Absent),
            other => Err(PyValueError::new_err(format!(
                "retry_after is {other:?}; give \"integer\", \"decimal\", \"date\" or \"absent\""
            ))),
        }
    }

    fn after_reprocess(&self) -> PyResult<AfterReprocess> {
        let lasts = self.seconds("delivering")?;
        let ends = state(&self.text("ends")?)?;
        Ok(match lasts {
            None => AfterReprocess::StaysDelivered,
            Some(lasts) => AfterReprocess::Delivering { lasts, ends },
        })
    }
}

/// Reads the keywords.
pub fn read_settings(given: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let given = Given(given);
    let (shortest, longest) = given.pair("latency", "seconds, or (least, most)")?;
    let defaults = Settings::default();
    let reprocessable: Vec<String> = given.item("reprocessable")?.extract()?;
    Ok(Settings {
        port: given.number("port", 0, u16::MAX.into())?,
        tls: given.flag("tls")?,
        http2: given.flag("http2")?,
        threads: given.number("threads", 1, 64)?,
        seed: given.number("seed", 0, u64::MAX.into())?,
        token: given.text("token")?,
        tenant_id: given.guid("tenant_id", defaults.tenant_id)?,
        client_id: given.guid("client_id", defaults.client_id)?,
        client_secret: given.text("client_secret")?,
        client_certificate: given.item("client_certificate")?.extract()?,
        token_life: Duration::from_secs(given.number("token_life", 1, CENTURY)?),
        roles: given.item("roles")?.extract()?,
        assignments: given.number("assignments", 0, MOST)?,
        states: given.states()?,
        access_packages: given.number("access_packages", 1, MOST)?,
        users: given.number("users", 1, MOST)?,
        forbid: given.flag("forbid")?,
        catalog_roles_only: given.flag("catalog_roles_only")?,
        unknown_id: given.refusal("unknown_id")?,
        invalid_id: given.refusal("invalid_id")?,
        wrong_state: given.refusal("wrong_state")?,
        reprocessable: reprocessable.iter().map(|name| state(name)).collect::<PyResult<_>>()?,
        after_reprocess: given.after_reprocess()?,
        bare_targets: given.flag("bare_targets")?,
        inner_host: given.header("inner_host")?,
        accept_body: given.flag("accept_body")?,
        require_length: given.flag("require_length")?,
        write_quota: given.quota("write_quota")?,
        read_quota: given.quota("read_quota")?,
        retry_after: given.retry_after()?,
        throttle_batches: given.flag("throttle_batches")?,
        limit_percentage: given.flag("limit_percentage")?,
        throttle_scope: given.header("throttle_scope")?,
        throttle_information: given.header("throttle_information")?,
        latency: Latency { min: seconds("latency", &shortest)?, max: seconds("latency", &longest)? },
        shuffle: given.flag("shuffle")?,
        lowercase_part_headers: given.flag("lowercase_part_headers")?,
        page_size: given.number("page_size", 1, MOST)?,
        empty_first_page: given.flag("empty_first_page")?,
        next_link_base: given.item("next_link_base")?.extract()?,
        clock_skew: given.number("clock_skew", -CENTURY, CENTURY)?,
    })
}
