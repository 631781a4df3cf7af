//! Numbers as Python gives them, of any size and kind, checked against the range of a setting.

use std::ops::RangeInclusive;
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// Longer waits are mistakes, and would overflow the arithmetic of clocks.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A whole number within a range.
pub fn whole<T: TryFrom<i128>>(
    name: &str,
    value: &Bound<'_, PyAny>,
    range: RangeInclusive<i128>,
) -> PyResult<T> {
    let wanted =
        || format!("give a whole number from {} to {}", grouped(*range.start()), grouped(*range.end()));
    match read::<i128>(name, value, "a whole number")? {
        Some(number) if range.contains(&number) => T::try_from(number)
            .map_err(|_| PyValueError::new_err(format!("{name} is {number}; {}", wanted()))),
        Some(number) => Err(PyValueError::new_err(format!("{name} is {number}; {}", wanted()))),
        None => Err(PyValueError::new_err(format!("{name} is far out of range; {}", wanted()))),
    }
}

/// Seconds, 0 or more and at most a year.
pub fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let wanted = "give seconds, 0 or more and at most a year";
    let Some(number) = read::<f64>(name, value, "seconds")? else {
        return Err(PyValueError::new_err(format!("{name} is far out of range; {wanted}")));
    };
    Duration::try_from_secs_f64(number)
        .ok()
        .filter(|wait| *wait <= LONGEST)
        .ok_or_else(|| PyValueError::new_err(format!("{name} is {number}; {wanted}")))
}

/// The number, or `None` where it is too large for one of this kind.
fn read<'py, T>(name: &str, value: &Bound<'py, PyAny>, kind: &str) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    let refused = || {
        let given = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{name} is of type {given}; give {kind}"))
    };
    // A bool is an int to Python, and never what was meant.
    if value.is_instance_of::<PyBool>() {
        return Err(refused());
    }
    match extracted(value) {
        Err(err) if err.is_instance_of::<PyTypeError>(value.py()) => Err(refused()),
        read => read,
    }
}

/// A number, or `None` where it is larger than any of its type; Python's have no end.
pub fn extracted<'py, T>(value: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    match value.extract() {
        Ok(number) => Ok(Some(number)),
        Err(err) if err.is_instance_of::<PyOverflowError>(value.py()) => Ok(None),
        Err(err) => Err(err),
    }
}

/// With commas between thousands.
fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { String::from("-") } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (-999, "-999"),
            (1_000, "1,000"),
            (-12_345, "-12,345"),
            (u64::MAX.into(), "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
