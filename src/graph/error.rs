//! The error body of Graph: `{"error": {"code", "message", "innerError": {...}}}`.

use serde_json::Value;

use crate::text::{shorten, shorten_id};

/// How much of a message is kept; it is for people, and a service may send any length.
const MESSAGE_LIMIT: usize = 1_000;
/// How deep nested inner errors are followed.
const DEPTH_LIMIT: usize = 16;

/// What an error body says. Everything is optional: a proxy may answer in Graph's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// Graph's code; the empty string is one (<https://learn.microsoft.com/graph/json-batching> shows it with a 403).
    pub code: Option<String>,
    /// For people. It may change at any time, so nothing branches on it (<https://learn.microsoft.com/graph/errors>).
    pub message: Option<String>,
    /// The service's id of the request.
    pub request_id: Option<String>,
    /// Our id of the request, echoed.
    pub client_request_id: Option<String>,
    /// When it happened, as the service wrote it; observed without a zone.
    pub date: Option<String>,
}

impl ErrorBody {
    /// Read a body's bytes; anything but the documented shape gives an empty result.
    pub fn from_slice(body: &[u8]) -> Self {
        serde_json::from_slice(body).map(|value| Self::from_value(&value)).unwrap_or_default()
    }

    /// Read a parsed body, as the parts of a `$batch` have it.
    pub fn from_value(body: &Value) -> Self {
        let Some(error) = body.get("error") else { return Self::default() };
        let mut read = Self {
            code: text(error, "code").map(shorten_id),
            message: text(error, "message").map(shorten_message),
            ..Self::default()
        };
        let mut level = inner(error);
        for _ in 0..DEPTH_LIMIT {
            let Some(current) = level else { break };
            fill(&mut read.code, text(current, "code").map(shorten_id));
            fill(&mut read.message, text(current, "message").map(shorten_message));
            fill(&mut read.request_id, text(current, "request-id").map(shorten_id));
            fill(&mut read.client_request_id, text(current, "client-request-id").map(shorten_id));
            fill(&mut read.date, text(current, "date").map(shorten_id));
            level = inner(current);
        }
        read
    }
}

/// The nested object: the error page spells it both ways, so both are read.
fn inner(error: &Value) -> Option<&Value> {
    error.get("innerError").or_else(|| error.get("innererror"))
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn shorten_message(message: &str) -> String {
    shorten(message, MESSAGE_LIMIT)
}

fn fill(slot: &mut Option<String>, value: Option<String>) {
    if slot.is_none() {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_and_nesting_are_read() {
        for key in ["innerError", "innererror"] {
            let body = json!({"error": {"code": "UnAuthorized", "message": "no", key: {
                "date": "2025-02-13T10:17:05", "request-id": "r", "client-request-id": "c"}}});
            let read = ErrorBody::from_value(&body);
            assert_eq!(read.code.as_deref(), Some("UnAuthorized"));
            assert_eq!(read.message.as_deref(), Some("no"));
            assert_eq!(read.request_id.as_deref(), Some("r"));
            assert_eq!(read.client_request_id.as_deref(), Some("c"));
            assert_eq!(read.date.as_deref(), Some("2025-02-13T10:17:05"));
        }
        let nested = json!({"error": {"code": "", "message": "m", "innerError": {"code": "429",
            "innererror": {"request-id": "deep"}}}});
        let read = ErrorBody::from_value(&nested);
        assert_eq!(read.code.as_deref(), Some(""), "an empty code is a code");
        assert_eq!(read.request_id.as_deref(), Some("deep"));
    }

    #[test]
    fn anything_else_is_empty_and_never_a_panic() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "{\"error\":null}",
            "{\"error\":\"x\"}",
            "<html>",
            "{\"error\":{\"code\":5}}",
        ] {
            assert_eq!(ErrorBody::from_slice(body.as_bytes()), ErrorBody::default(), "{body}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let body = json!({"error": {"code": "x", "message": "ä".repeat(100_000)}});
        assert_eq!(ErrorBody::from_value(&body).message.unwrap().chars().count(), MESSAGE_LIMIT + 1);
    }
}
