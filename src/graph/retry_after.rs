//! The `Retry-After` header: seconds, whole or with a fraction, or an HTTP date.

use std::time::{Duration, SystemTime};

/// The wait that a `Retry-After` asks for, or `None` where the value means nothing.
///
/// A date counts from `answered_at`, the response's own `Date`, so that a wrong local clock changes nothing.
/// Graph documents whole seconds; an older page shows a fraction (<https://learn.microsoft.com/graph/throttling>),
/// and HTTP allows dates (RFC 9110, 10.2.3). A huge number stays huge: the caller decides what is too long.
pub fn parse(value: &str, answered_at: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        if seconds.is_nan() || seconds < 0.0 {
            return None;
        }
        return Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(answered_at).unwrap_or(Duration::ZERO))
}

/// The time at which an answer was given: its `Date` header, or the local clock without a readable one.
pub fn answered_at(date: Option<&str>) -> SystemTime {
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn every_form_has_its_meaning() {
        let at = answered_at(Some(DATE));
        for (value, wait) in [
            ("10", Some(10.0)),
            (" 10 ", Some(10.0)),
            ("0", Some(0.0)),
            ("2.128", Some(2.128)),
            ("0.249", Some(0.249)),
            ("86400", Some(86_400.0)),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("5,5", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10.0)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10.0)),
            ("Sun Nov  6 08:49:47 1994", Some(10.0)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0.0)),
        ] {
            assert_eq!(parse(value, at).map(|wait| wait.as_secs_f64()), wait, "{value:?}");
        }
    }

    #[test]
    fn an_absurd_number_is_longer_than_any_patience() {
        for value in ["1e30", "inf", "99999999999999999999999999"] {
            assert_eq!(parse(value, SystemTime::now()), Some(Duration::MAX), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn it_never_panics(value in ".*", date in ".*") {
            parse(&value, answered_at(Some(&date)));
        }
    }
}
