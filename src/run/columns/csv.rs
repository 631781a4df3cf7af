//! A report as CSV, to be read by programs and by spreadsheets.

use std::borrow::Cow;
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};

use super::Columns;

/// The columns by name.
const HEADER: [&str; 11] = [
    "id",
    "index",
    "status",
    "http_status",
    "code",
    "message",
    "request_id",
    "client_request_id",
    "attempts",
    "elapsed",
    "finished_at",
];

impl Columns {
    /// Write these rows as CSV (RFC 4180) with a header line.
    pub fn write_csv(&self, rows: &[u32], to: impl Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(to);
        csv.write_record(HEADER)?;
        for row in rows {
            let outcome = self.outcome(*row);
            csv.write_record([
                &*defused(&outcome.id.to_string()),
                &outcome.index.to_string(),
                outcome.status.name(),
                &outcome.http_status.map(|status| status.to_string()).unwrap_or_default(),
                &defused(outcome.code.as_deref().unwrap_or_default()),
                &defused(outcome.message.as_deref().unwrap_or_default()),
                &defused(outcome.request_id.as_deref().unwrap_or_default()),
                &outcome.client_request_id.map(|id| id.to_string()).unwrap_or_default(),
                &outcome.attempts.to_string(),
                &format!("{:.3}", outcome.elapsed.as_secs_f64()),
                &utc(outcome.finished_at),
            ])?;
        }
        csv.flush()
    }
}

/// A text of others as a cell that no spreadsheet takes for a formula: with a single quote before what could begin one
/// (<https://owasp.org/www-community/attacks/CSV_Injection>). Blanks before that are passed over, as some programs do.
fn defused(text: &str) -> Cow<'_, str> {
    let begins = |char| matches!(char, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    if text.starts_with(['\t', '\r', '\n']) || text.trim_start().starts_with(begins) {
        return Cow::Owned(format!("'{text}"));
    }
    Cow::Borrowed(text)
}

/// A time as ISO 8601 in UTC, to the millisecond.
fn utc(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::assignment::AssignmentId;
    use crate::outcome::{Outcome, OutcomeId, Status};

    fn written(columns: &Columns) -> String {
        let mut text = Vec::new();
        columns.write_csv(columns.places(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let mut columns = Columns::default();
        let id = AssignmentId::from(Uuid::from_u128(2));
        columns.add(id);
        columns.settle(
            0,
            &Outcome {
                index: 0,
                id: OutcomeId::Valid(id),
                status: Status::NotFound,
                http_status: Some(404),
                code: Some("ResourceNotFound".into()),
                message: Some("it's \"gone\", says\nGraph".into()),
                request_id: Some("-r".into()),
                client_request_id: Some(Uuid::from_u128(5)),
                attempts: 2,
                elapsed: Duration::from_millis(1_500),
                finished_at: 1_795_456_789_123_456,
            },
        );
        assert_eq!(
            written(&columns),
            "id,index,status,http_status,code,message,request_id,client_request_id,attempts,elapsed,finished_at\n\
             00000000-0000-0000-0000-000000000002,0,not_found,404,ResourceNotFound,\"it's \"\"gone\"\", says\nGraph\",'-r,\
             00000000-0000-0000-0000-000000000005,2,1.500,2026-11-23T17:59:49.123Z\n"
        );
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, cell) in [
            ("", ""),
            ("a=1", "a=1"),
            ("'=1", "'=1"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\ta", "'\ta"),
            ("\ra", "'\ra"),
            ("\na", "'\na"),
            ("  =1", "'  =1"),
            ("\u{a0}=1", "'\u{a0}=1"),
            ("＝1", "'＝1"),
        ] {
            assert_eq!(defused(text), cell);
        }
        let mut columns = Columns::default();
        columns.add_invalid(&"=cmd|' /C calc'!A0".into());
        assert!(written(&columns).contains("\n'=cmd|' /C calc'!A0,0,"));
    }
}
