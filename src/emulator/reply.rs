//! One answer, plain or as a part of a batch, and the error bodies of Graph.

use serde_json::{Map, Value, json};

use super::settings::Refusal;

/// What an answer repeats about its request.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// `request-id`, given by the service.
    pub request_id: String,
    /// `client-request-id`, as the client sent it, else equal to `request-id`
    /// (observed: microsoftgraph/msgraph-metadata#327).
    pub client_request_id: String,
    /// UTC without a zone (observed: the samples of concepts/json-batching).
    pub date: String,
}

/// What follows the header block.
#[derive(Debug, PartialEq)]
pub(super) enum Payload {
    Empty,
    Json(Value),
    /// JSON that is written already.
    Written(Vec<u8>),
    Text(String),
}

/// One answer.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub status: u16,
    /// Headers of this answer beyond those that all answers carry.
    pub headers: Vec<(&'static str, String)>,
    pub payload: Payload,
}

impl Reply {
    /// A status without headers and body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), payload: Payload::Empty }
    }

    /// 200 with this body.
    pub(super) fn json(body: Value) -> Self {
        Self { payload: Payload::Json(body), ..Self::empty(200) }
    }

    /// An error with the body that all Graph errors have.
    pub(super) fn error(status: u16, code: &str, message: &str, trace: &Trace) -> Self {
        let inner = json!({
            "date": trace.date,
            "request-id": trace.request_id,
            "client-request-id": trace.client_request_id,
        });
        let error = json!({ "error": { "code": code, "message": message, "innerError": inner } });
        Self { payload: Payload::Json(error), ..Self::empty(status) }
    }

    /// An error whose form was set.
    pub(super) fn refusal(refusal: &Refusal, trace: &Trace) -> Self {
        Self::error(refusal.status, &refusal.code, &refusal.message, trace)
    }

    /// 400 with the code that the gateway uses for calls it cannot read.
    pub(super) fn bad_request(message: &str, trace: &Trace) -> Self {
        Self::error(400, "BadRequest", message, trace)
    }

    /// 429 as the throttling page shows it; there `innerError` repeats code and status.
    pub(super) fn throttled(trace: &Trace) -> Self {
        let mut reply = Self::error(429, "TooManyRequests", "Please retry again later.", trace);
        if let Payload::Json(body) = &mut reply.payload
            && let Some(Value::Object(inner)) = body.pointer_mut("/error/innerError")
        {
            inner.insert("code".into(), "429".into());
            inner.insert("message".into(), "Please retry after".into());
            inner.insert("status".into(), "429".into());
        }
        reply
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer as a part of a batch: `id`, `status`, `headers`, and `body` where there is one.
    pub(super) fn into_part(self, id: &str, lowercase: bool) -> Value {
        let mut headers = Map::new();
        let mut add = |name: &str, value: String| {
            let name = if lowercase { name.to_ascii_lowercase() } else { name.to_owned() };
            headers.insert(name, value.into());
        };
        for (name, value) in self.headers {
            add(name, value);
        }
        let body = match self.payload {
            Payload::Empty => None,
            Payload::Json(body) => Some(("application/json", body)),
            Payload::Written(body) => {
                Some(("application/json", serde_json::from_slice(&body).unwrap_or_default()))
            }
            Payload::Text(text) => Some(("text/plain", text.into())),
        };
        let mut part = Map::new();
        part.insert("id".into(), id.into());
        part.insert("status".into(), self.status.into());
        if let Some((kind, body)) = body {
            add("Content-Type", kind.into());
            part.insert("body".into(), body);
        }
        part.insert("headers".into(), headers.into());
        part.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        Trace { request_id: "r".into(), client_request_id: "c".into(), date: "2025-02-13T10:17:05".into() }
    }

    #[test]
    fn errors_have_the_body_of_graph() {
        let inner = json!({ "date": "2025-02-13T10:17:05", "request-id": "r", "client-request-id": "c" });
        assert_eq!(
            Reply::error(404, "", "gone", &trace()).payload,
            Payload::Json(json!({ "error": { "code": "", "message": "gone", "innerError": inner } })),
        );
    }

    #[test]
    fn parts_carry_a_body_and_its_type_only_where_there_is_one() {
        let accepted = Reply::empty(202).into_part("1", false);
        assert_eq!(accepted, json!({ "id": "1", "status": 202, "headers": {} }));
        let throttled = Reply::throttled(&trace()).with("Retry-After", "7").into_part("a", false);
        assert_eq!(throttled["headers"], json!({ "Retry-After": "7", "Content-Type": "application/json" }));
        assert_eq!(throttled["body"]["error"]["innerError"]["status"], "429");
        let lower = Reply::throttled(&trace()).with("Retry-After", "7").into_part("a", true);
        assert_eq!(lower["headers"], json!({ "retry-after": "7", "content-type": "application/json" }));
    }
}
