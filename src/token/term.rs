//! When a token is asked anew, and when it is no longer used: functions of values.

use std::time::Duration;

/// Before its end a token is asked anew by this much, as azure-core does
/// (<https://learn.microsoft.com/python/api/azure-core/azure.core.credentials.accesstokeninfo>).
const MARGIN: Duration = Duration::from_secs(300);
/// But a token of a short life is used for most of it.
const MARGIN_SHARE: u32 = 4;
/// How long after a fetch the next one waits at the least, as azure-core does it; a share of a short life.
const PAUSE: Duration = Duration::from_secs(30);
/// The same where almost nothing of the life is left.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// When a token of unknown life is asked anew. Token providers keep their own cache, so asking often is cheap.
const UNKNOWN_REFRESH: Duration = Duration::from_secs(60);
/// How long it is used, if asking anew fails: azure-core's margin, within which a provider may have given it.
const UNKNOWN_LIFE: Duration = MARGIN;
/// No token lives longer (a CAE token ends after 28 hours); a larger number is a mistake of the source.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// When a token is asked anew, and when it is no longer used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term<T> {
    pub refresh: T,
    pub end: T,
}

/// From now on: when a token is asked anew, and when it ends.
pub(super) fn term(expires_on: Option<i64>, refresh_on: Option<i64>, now: Duration) -> Term<Duration> {
    let until = |unix: i64| {
        let at = Duration::from_secs(u64::try_from(unix).unwrap_or_default());
        at.saturating_sub(now).min(LONGEST_LIFE)
    };
    let wanted = refresh_on.map(until);
    match expires_on.map(until) {
        Some(end) => {
            // In its last moments it is only used up: a source that gives the same one again is not to be hurried.
            let latest = (end - MARGIN.min(end / MARGIN_SHARE)).max(SHORTEST_PAUSE.min(end));
            Term { refresh: wanted.map_or(latest, |wanted| wanted.max(pause(end)).min(latest)), end }
        }
        None => {
            let refresh = wanted.map_or(UNKNOWN_REFRESH, |wanted| wanted.max(PAUSE));
            Term { refresh, end: refresh - UNKNOWN_REFRESH.min(refresh) + UNKNOWN_LIFE }
        }
    }
}

/// How long to leave the source alone, with so much of the token's life left.
pub(super) fn pause(left: Duration) -> Duration {
    PAUSE.min(left / MARGIN_SHARE).max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_refreshed_when_its_source_says_or_in_time_before_its_end() {
        for (expires_on, refresh_on, refresh, end) in [
            (None, None, 60.0, 300.0),
            (Some(4_600), None, 3_300.0, 3_600.0),
            (Some(2_200), None, 900.0, 1_200.0),
            (Some(1_300), None, 225.0, 300.0),
            (Some(1_005), None, 3.75, 5.0),
            (Some(900), None, 0.0, 0.0),
            (Some(-5), None, 0.0, 0.0),
            (Some(i64::MAX), None, 7.0 * 24.0 * 3_600.0 - 300.0, 7.0 * 24.0 * 3_600.0),
            (Some(4_600), Some(2_800), 1_800.0, 3_600.0),
            // Too late, and long ago: a source that says so is not asked with each request.
            (Some(4_600), Some(4_599), 3_300.0, 3_600.0),
            (Some(4_600), Some(5), 30.0, 3_600.0),
            (Some(1_008), Some(5), 2.0, 8.0),
            (None, Some(2_800), 1_800.0, 2_040.0),
            (None, Some(5), 30.0, 300.0),
        ] {
            let Term { refresh: a, end: b } = term(expires_on, refresh_on, Duration::from_secs(1_000));
            assert_eq!((a.as_secs_f64(), b.as_secs_f64()), (refresh, end), "{expires_on:?} {refresh_on:?}");
        }
        let last = term(Some(1_001), None, Duration::from_millis(1_000_900));
        assert_eq!(last, Term { refresh: Duration::from_millis(100), end: Duration::from_millis(100) });
    }
}
