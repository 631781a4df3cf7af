//! Reading a `$batch`: what makes the whole call a 400, and the order in which its parts run.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Most parts in one batch (documented: concepts/json-batching).
pub(super) const MOST: usize = 20;

/// The gateway's word for a payload that it cannot read (observed for an empty list and for absolute URLs).
const MALFORMED: &str = "Invalid batch payload format.";

/// One part as it was sent.
#[derive(Debug)]
pub(super) struct Part {
    pub id: String,
    pub method: String,
    /// Relative, without version; the leading slash may be missing.
    pub url: String,
    pub headers: Map<String, Value>,
    pub has_body: bool,
    /// Places of the parts that have to succeed before this one.
    pub depends_on: Vec<usize>,
}

impl Part {
    /// A header of the part, its name compared without case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_str())
    }
}

#[derive(Deserialize)]
struct Envelope {
    requests: Vec<RawPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPart {
    id: Option<String>,
    method: Option<String>,
    url: Option<String>,
    headers: Option<Map<String, Value>>,
    body: Option<Value>,
    depends_on: Option<Vec<String>>,
}

/// Reads a payload; the error is the message of the 400 that refuses the whole batch.
pub(super) fn read(payload: &[u8]) -> Result<Vec<Part>, String> {
    let envelope: Envelope = serde_json::from_slice(payload).map_err(|_| MALFORMED.to_owned())?;
    // Observed: microsoftgraph/microsoftgraph-postman-collections#9 for the limit.
    match envelope.requests.len() {
        0 => return Err(MALFORMED.into()),
        1..=MOST => {}
        _ => return Err("Number of requests inside batch exceeds the limit.".into()),
    }
    let mut places = HashMap::with_capacity(envelope.requests.len());
    for (place, part) in envelope.requests.iter().enumerate() {
        let id = part.id.as_deref().filter(|id| !id.is_empty()).ok_or(MALFORMED)?;
        // Documented: ids are compared without case; the message was observed in public logs.
        if places.insert(id.to_lowercase(), place).is_some() {
            return Err(format!("Request Id {id} has to be unique in a batch."));
        }
    }
    envelope.requests.into_iter().map(|part| check(part, &places)).collect()
}

fn check(part: RawPart, places: &HashMap<String, usize>) -> Result<Part, String> {
    let (Some(id), Some(method), Some(url)) = (part.id, part.method, part.url) else {
        return Err(MALFORMED.into());
    };
    let part = Part {
        depends_on: part
            .depends_on
            .unwrap_or_default()
            .iter()
            .map(|other| places.get(&other.to_lowercase()).copied().ok_or_else(|| MALFORMED.to_owned()))
            .collect::<Result<_, _>>()?,
        id,
        method: method.to_ascii_uppercase(),
        url,
        headers: part.headers.unwrap_or_default(),
        has_body: part.body.is_some(),
    };
    // Observed: microsoftgraph/msgraph-sdk-javascript#1451 and microsoft-graph-docs-contrib#8576.
    if part.url.is_empty() || part.url.contains("://") && !part.url.starts_with('/') {
        return Err(MALFORMED.into());
    }
    // Documented: no batch within a batch; the form of the refusal is assumed.
    if part.path().trim_start_matches('/').eq_ignore_ascii_case("$batch") {
        return Err(MALFORMED.into());
    }
    // Documented by an example of concepts/json-batching, observed in microsoftgraph/msgraph-sdk-dotnet#2628.
    let writes = matches!(part.method.as_str(), "POST" | "PUT" | "PATCH");
    if writes && !(part.has_body && part.header("Content-Type").is_some()) {
        return Err(format!("Write request id : {} does not contain Content-Type header or body.", part.id));
    }
    Ok(part)
}

impl Part {
    /// The URL up to its query.
    pub(super) fn path(&self) -> &str {
        self.url.split_once('?').map_or(self.url.as_str(), |(path, _)| path)
    }
}

/// The order in which the parts run, each after those that it depends on; the error refuses the whole batch.
pub(super) fn order(parts: &[Part]) -> Result<Vec<usize>, String> {
    let mut order = Vec::with_capacity(parts.len());
    while order.len() < parts.len() {
        let before = order.len();
        for (place, part) in parts.iter().enumerate() {
            if !order.contains(&place) && part.depends_on.iter().all(|other| order.contains(other)) {
                order.push(place);
            }
        }
        if order.len() == before {
            // A circle; the form of the refusal is assumed.
            return Err(MALFORMED.into());
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(parts: Value) -> String {
        let payload = json!({ "requests": parts }).to_string();
        match read(payload.as_bytes()).and_then(|parts| order(&parts)) {
            Ok(_) => String::new(),
            Err(message) => message,
        }
    }

    fn get(id: &str) -> Value {
        json!({ "id": id, "method": "GET", "url": "/x" })
    }

    fn post(id: &str) -> Value {
        let headers = json!({ "Content-Type": "application/json" });
        json!({ "id": id, "method": "POST", "url": "/x", "headers": headers, "body": {} })
    }

    fn with(mut part: Value, key: &str, value: Value) -> Value {
        part[key] = value;
        part
    }

    #[test]
    fn good_batches_are_read() {
        let lower = with(post("2"), "headers", json!({ "content-type": "application/json" }));
        for parts in [
            json!([get("1")]),
            json!([post("1"), lower, get("3")]),
            json!([with(get("1"), "method", "get".into())]),
            json!([with(get("1"), "dependsOn", json!(["B"])), get("b")]),
            json!([with(get("1"), "url", "/x?$filter=a eq 'http://x'".into())]),
            json!([with(get("1"), "dependsOn", Value::Null)]),
            Value::Array((0..20).map(|id| post(&id.to_string())).collect()),
        ] {
            assert_eq!(refusal(parts.clone()), "", "{parts}");
        }
    }

    #[test]
    fn malformed_batches_are_refused_as_a_whole() {
        let many = Value::Array((0..21).map(|id| post(&id.to_string())).collect());
        let write = "Write request id : 1 does not contain Content-Type header or body.";
        for (parts, expected) in [
            (json!([]), MALFORMED),
            (Value::Null, MALFORMED),
            (json!([3]), MALFORMED),
            (many, "Number of requests inside batch exceeds the limit."),
            (json!([get("1"), get("1")]), "Request Id 1 has to be unique in a batch."),
            (json!([get("a"), get("A")]), "Request Id A has to be unique in a batch."),
            (json!([{ "id": "1", "method": "POST", "url": "/x" }]), write),
            (json!([with(post("1"), "headers", Value::Null)]), write),
            (json!([with(post("1"), "body", Value::Null)]), write),
            (json!([{ "method": "GET", "url": "/x" }]), MALFORMED),
            (json!([{ "id": "1", "url": "/x" }]), MALFORMED),
            (json!([{ "id": "1", "method": "GET" }]), MALFORMED),
            (json!([with(get("1"), "id", json!(1))]), MALFORMED),
            (json!([with(get("1"), "id", json!(""))]), MALFORMED),
            (json!([with(get("1"), "url", "https://graph.microsoft.com/v1.0/x".into())]), MALFORMED),
            (json!([with(post("1"), "url", "/$batch".into())]), MALFORMED),
            (json!([with(get("1"), "dependsOn", json!(["2"]))]), MALFORMED),
            (json!([with(get("1"), "dependsOn", json!(["1"]))]), MALFORMED),
        ] {
            assert_eq!(refusal(parts.clone()), expected, "{parts}");
        }
        for payload in ["", "{", "[]", "{}", "{\"requests\":{}}", "\"requests\""] {
            assert_eq!(read(payload.as_bytes()).unwrap_err(), MALFORMED, "{payload}");
        }
    }

    #[test]
    fn parts_run_after_those_they_depend_on() {
        let parts = json!([with(get("1"), "dependsOn", json!(["3"])), get("2"), get("3")]);
        let parts = read(json!({ "requests": parts }).to_string().as_bytes()).unwrap();
        let order = order(&parts).unwrap();
        assert_eq!(order, [1, 2, 0]);
    }
}
