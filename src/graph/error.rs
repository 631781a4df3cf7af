//! The error body of Graph: `{"error": {"code", "message", "innerError": {...}}}`.

use serde::de::MapAccess;

use super::json::{self, Key, Read, Reader, Skip};
use crate::text::{sanitize, sanitize_id};

/// How much of a message is kept; it is for people, and a service may send anything of any length.
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
        json::read(body, Envelope).unwrap_or_default()
    }

    /// What is said further in counts where nothing was said further out.
    fn or(mut self, inner: Self) -> Self {
        self.code = self.code.or(inner.code);
        self.message = self.message.or(inner.message);
        self.request_id = self.request_id.or(inner.request_id);
        self.client_request_id = self.client_request_id.or(inner.client_request_id);
        self.date = self.date.or(inner.date);
        self
    }
}

/// `{"error": ...}`.
struct Envelope;

impl<'de> Reader<'de> for Envelope {
    type Out = ErrorBody;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<ErrorBody, A::Error> {
        let mut error = ErrorBody::default();
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some("error") => error = entries.next_value_seed(Read(Level { depth: 0 }))?,
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        Ok(error)
    }
}

/// The error itself, or one inside another.
pub(super) struct Level {
    /// The outermost is 0. It has no ids of its own.
    pub depth: usize,
}

impl<'de> Reader<'de> for Level {
    type Out = ErrorBody;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<ErrorBody, A::Error> {
        let is_inner = self.depth > 0;
        let mut own = ErrorBody::default();
        // The error page spells it both ways, so both are read; the first way comes first.
        let (mut inner, mut other) = (None, None);
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            // A key that comes twice counts as it came last.
            match key.as_deref() {
                Some("code") => own.code = entries.next_value_seed(Read(Sanitized(sanitize_id)))?,
                Some("message") => {
                    own.message = entries.next_value_seed(Read(Sanitized(sanitize_message)))?
                }
                Some("request-id") if is_inner => {
                    own.request_id = entries.next_value_seed(Read(Sanitized(sanitize_id)))?;
                }
                Some("client-request-id") if is_inner => {
                    own.client_request_id = entries.next_value_seed(Read(Sanitized(sanitize_id)))?;
                }
                Some("date") if is_inner => {
                    own.date = entries.next_value_seed(Read(Sanitized(sanitize_id)))?;
                }
                Some("innerError") if self.depth < DEPTH_LIMIT => {
                    inner = Some(entries.next_value_seed(Read(Level { depth: self.depth + 1 }))?);
                }
                Some("innererror") if self.depth < DEPTH_LIMIT => {
                    other = Some(entries.next_value_seed(Read(Level { depth: self.depth + 1 }))?);
                }
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        Ok(own.or(inner.or(other).unwrap_or_default()))
    }
}

/// A text as it is kept.
struct Sanitized(fn(&str) -> String);

impl Reader<'_> for Sanitized {
    type Out = Option<String>;

    fn text(self, text: &str) -> Option<String> {
        Some(self.0(text))
    }
}

fn sanitize_message(message: &str) -> String {
    sanitize(message, MESSAGE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: &Value) -> ErrorBody {
        ErrorBody::from_slice(body.to_string().as_bytes())
    }

    #[test]
    fn both_spellings_and_nesting_are_read() {
        for key in ["innerError", "innererror"] {
            let body = json!({"error": {"code": "UnAuthorized", "message": "no", key: {
                "date": "2025-02-13T10:17:05", "request-id": "r", "client-request-id": "c"}}});
            let read = read(&body);
            assert_eq!(read.code.as_deref(), Some("UnAuthorized"));
            assert_eq!(read.message.as_deref(), Some("no"));
            assert_eq!(read.request_id.as_deref(), Some("r"));
            assert_eq!(read.client_request_id.as_deref(), Some("c"));
            assert_eq!(read.date.as_deref(), Some("2025-02-13T10:17:05"));
        }
        let nested = json!({"error": {"code": "", "message": "m", "innerError": {"code": "429",
            "innererror": {"request-id": "deep"}}}});
        let read = read(&nested);
        assert_eq!(read.code.as_deref(), Some(""), "an empty code is a code");
        assert_eq!(read.request_id.as_deref(), Some("deep"));
    }

    #[test]
    fn of_two_spellings_one_counts_and_of_two_keys_the_last() {
        for (body, code, request_id) in [
            (r#"{"error": {"innererror": {"code": "b"}, "innerError": {"code": "a"}}}"#, Some("a"), None),
            (r#"{"error": {"innerError": {"code": "a"}, "innererror": {"code": "b"}}}"#, Some("a"), None),
            (r#"{"error": {"innerError": null, "innererror": {"code": "b"}}}"#, None, None),
            (r#"{"error": {"code": "a", "code": "b"}}"#, Some("b"), None),
            (r#"{"error": {"code": "a", "code": 5}}"#, None, None),
            (r#"{"error": {"code": "a"}, "error": {"code": "b"}}"#, Some("b"), None),
            (r#"{"error": {"request-id": "out", "innerError": {"request-id": "in"}}}"#, None, Some("in")),
        ] {
            let read = ErrorBody::from_slice(body.as_bytes());
            assert_eq!((read.code.as_deref(), read.request_id.as_deref()), (code, request_id), "{body}");
        }
    }

    #[test]
    fn nesting_is_followed_so_far() {
        let nested = |levels: usize| {
            (0..levels).fold(json!({"request-id": "deep"}), |inner, _| json!({"innerError": inner}))
        };
        for (levels, found) in [(DEPTH_LIMIT, Some("deep")), (DEPTH_LIMIT + 1, None)] {
            let body = json!({"error": nested(levels)});
            assert_eq!(read(&body).request_id.as_deref(), found, "{levels}");
        }
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
        assert_eq!(read(&body).message.unwrap().chars().count(), MESSAGE_LIMIT + 1);
    }
}
