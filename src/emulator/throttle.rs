//! The headers by which a quota shows itself, as functions of values.

use std::time::{Duration, SystemTime};

use super::settings::RetryAfter;

/// The value of `Retry-After` for a wait that begins `at` the server's time; never shorter than the wait.
pub(super) fn retry_after(form: RetryAfter, wait: Duration, at: SystemTime) -> Option<String> {
    match form {
        RetryAfter::Seconds => Some(wait.as_nanos().div_ceil(1_000_000_000).max(1).to_string()),
        RetryAfter::Decimal => {
            let millis = wait.as_nanos().div_ceil(1_000_000);
            Some(format!("{}.{:03}", millis / 1000, millis % 1000))
        }
        RetryAfter::HttpDate => {
            // An HTTP date has whole seconds and is cut when written: almost one more rounds it up.
            let until = at.checked_add(wait.saturating_add(Duration::from_nanos(999_999_999)))?;
            Some(httpdate::fmt_http_date(until))
        }
        RetryAfter::Absent => None,
    }
}

/// The value of `x-ms-throttle-limit-percentage`: only above 0.8, at the most 1.8 (documented: throttling-limits).
pub(super) fn percentage(used: f64) -> Option<String> {
    (used > 0.8).then(|| format!("{:.2}", used.min(1.8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn waits_are_rounded_up() {
        let at = UNIX_EPOCH + Duration::from_secs(1_739_441_825);
        for (form, millis, expected) in [
            (RetryAfter::Seconds, 0, Some("1")),
            (RetryAfter::Seconds, 1000, Some("1")),
            (RetryAfter::Seconds, 1001, Some("2")),
            (RetryAfter::Decimal, 2128, Some("2.128")),
            (RetryAfter::Decimal, 7, Some("0.007")),
            (RetryAfter::HttpDate, 10_000, Some("Thu, 13 Feb 2025 10:17:15 GMT")),
            (RetryAfter::HttpDate, 10_001, Some("Thu, 13 Feb 2025 10:17:16 GMT")),
            (RetryAfter::Absent, 10_000, None),
        ] {
            assert_eq!(retry_after(form, Duration::from_millis(millis), at).as_deref(), expected);
        }
    }

    #[test]
    fn the_percentage_comes_only_above_its_threshold() {
        for (used, expected) in [(0.5, None), (0.8, None), (0.9, Some("0.90")), (2.0, Some("1.80"))] {
            assert_eq!(percentage(used).as_deref(), expected);
        }
    }
}
