//! Wall-clock texts: the zone-less stamp of error bodies, and the RFC 3339 form of entities.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock, moved by `skew` seconds.
pub(super) fn now(skew: i64) -> SystemTime {
    let by = Duration::from_secs(skew.unsigned_abs());
    let now = SystemTime::now();
    let moved = if skew < 0 { now.checked_sub(by) } else { now.checked_add(by) };
    moved.unwrap_or(now)
}

/// `2025-02-13T10:17:05`: UTC without a zone, as `innerError.date` is written.
pub(super) fn stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// `2025-02-13T10:17:05Z`, as entities carry their times; `seconds` since 1970.
pub(super) fn rfc3339(seconds: u64) -> String {
    stamp(UNIX_EPOCH + Duration::from_secs(seconds)) + "Z"
}

/// The Gregorian date of a day counted from 1970-01-01; years begin in March here, so leap days fall last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era_day = days % 146_097;
    let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let from_march = (5 * year_day + 2) / 153;
    let day = year_day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era_year + days / 146_097 * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_graph_writes_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_739_441_825, "2025-02-13T10:17:05Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }

    #[test]
    fn skew_moves_the_clock_both_ways() {
        let day = Duration::from_secs(86_000);
        assert!(now(86_400).duration_since(SystemTime::now()).unwrap() > day);
        assert!(SystemTime::now().duration_since(now(-86_400)).unwrap() > day);
    }
}
