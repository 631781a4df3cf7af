//! JSON batching: the body of a `$batch`, and what its answer says about each part
//! (<https://learn.microsoft.com/graph/json-batching>).

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::action::Action;
use super::cloud::ApiVersion;
use super::error::ErrorBody;
use crate::assignment::AssignmentId;
use crate::text::shorten_id;

/// The most parts that Graph takes in one batch.
pub const MAX_PARTS: usize = 20;

#[derive(Serialize)]
struct Body {
    requests: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    id: String,
    method: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<ContentType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Empty>,
}

#[derive(Serialize)]
struct ContentType {
    // Written in this case: lower case was refused once (microsoft-graph-docs-contrib#8032).
    #[serde(rename = "Content-Type")]
    content_type: &'static str,
}

#[derive(Serialize)]
struct Empty {}

/// The body that does this with these assignments; the part at place `n` has the id `n + 1`.
///
/// A POST part without body and Content-Type makes Graph refuse the whole batch (msgraph-sdk-dotnet#2628),
/// so each has `{}` although the action takes none. That the action accepts `{}` is assumed.
pub fn request_body(version: ApiVersion, action: Action, ids: &[AssignmentId]) -> Vec<u8> {
    let is_post = action == Action::Reprocess;
    let requests = ids
        .iter()
        .enumerate()
        .map(|(place, id)| Part {
            id: (place + 1).to_string(),
            method: action.method(),
            url: action.path(version, *id),
            headers: is_post.then_some(ContentType { content_type: "application/json" }),
            body: is_post.then_some(Empty {}),
        })
        .collect();
    // Strings and empty objects always serialise; an empty body would be refused by the service, not executed.
    serde_json::to_vec(&Body { requests }).unwrap_or_default()
}

/// One part's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartAnswer {
    /// HTTP status of the part.
    pub status: u16,
    /// The part's `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// The part's own `request-id`, from its headers or its error body.
    pub request_id: Option<String>,
    /// The error body, empty for a success.
    pub error: ErrorBody,
    /// The body of a success; a reprocess has none.
    pub body: Option<Value>,
}

/// What a batch answer says about one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartResult {
    /// One answer, or several that agree.
    Answered(PartAnswer),
    /// No usable answer; the text says why.
    Unanswered(&'static str),
}

/// A batch answer that can't be read at all: not JSON, or not of the documented shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no batch response: {0}")]
pub struct Malformed(&'static str);

/// What a batch answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAnswer {
    /// One for each part, in the order in which they were asked.
    pub parts: Vec<PartResult>,
    /// Whether there was an answer for an id that was not asked.
    pub has_stranger: bool,
}

/// What came back for `parts` parts.
///
/// Answers may come in any order and are matched by id, which Graph compares without case.
/// An answer for an id that was not asked says nothing about ours and is passed over.
pub fn read(answer: &[u8], parts: usize) -> Result<BatchAnswer, Malformed> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| Malformed("it is not JSON"))?;
    let responses =
        answer.get("responses").and_then(Value::as_array).ok_or(Malformed("it has no list of responses"))?;
    let mut found: HashMap<usize, PartResult> = HashMap::with_capacity(parts);
    let mut has_stranger = false;
    for response in responses {
        let Some(place) = place(response).filter(|place| *place < parts) else {
            has_stranger = true;
            continue;
        };
        let read = read_part(response);
        found.entry(place).and_modify(|first| *first = reconcile(first, &read)).or_insert(read);
    }
    let parts = (0..parts)
        .map(|place| found.remove(&place).unwrap_or(PartResult::Unanswered("the batch answer left it out")))
        .collect();
    Ok(BatchAnswer { parts, has_stranger })
}

/// The place that an answer's id stands for. Our ids are digits, so case cannot matter.
fn place(response: &Value) -> Option<usize> {
    let number: usize = match response.get("id")? {
        // `+1` and `01` are numbers too, and not our ids.
        Value::String(id) => id.parse().ok().filter(|number: &usize| number.to_string() == *id)?,
        Value::Number(id) => usize::try_from(id.as_u64()?).ok()?,
        _ => return None,
    };
    number.checked_sub(1)
}

fn read_part(response: &Value) -> PartResult {
    let status = response.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    // An interim status (1XX) is not yet an answer.
    let Some(status) = status.filter(|status| (200..600).contains(status)) else {
        return PartResult::Unanswered("its part of the batch answer has no HTTP status");
    };
    let headers = response.get("headers").and_then(Value::as_object);
    let body = response.get("body").filter(|body| !body.is_null());
    let (error, body) = match body {
        Some(body) if status >= 300 => (ErrorBody::from_value(body), None),
        body => (ErrorBody::default(), body.cloned()),
    };
    PartResult::Answered(PartAnswer {
        status,
        retry_after: header(headers, "retry-after"),
        request_id: header(headers, "request-id")
            .map(|id| shorten_id(&id))
            .or_else(|| error.request_id.clone()),
        error,
        body,
    })
}

/// Header names come in either case inside a batch. A number is let through as its text.
fn header(headers: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    headers?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn reconcile(first: &PartResult, second: &PartResult) -> PartResult {
    match (first, second) {
        // Of two that agree, the one that names a wait says more.
        (PartResult::Answered(a), PartResult::Answered(b)) if a.status == b.status => {
            if a.retry_after.is_none() { second.clone() } else { first.clone() }
        }
        _ => PartResult::Unanswered("the batch answer contradicts itself about it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids(count: u128) -> Vec<AssignmentId> {
        (0..count).map(|n| AssignmentId::from(uuid::Uuid::from_u128(n))).collect()
    }

    fn statuses(answer: &Value, parts: usize) -> Vec<Option<u16>> {
        read(answer.to_string().as_bytes(), parts)
            .unwrap()
            .parts
            .into_iter()
            .map(|part| match part {
                PartResult::Answered(answer) => Some(answer.status),
                PartResult::Unanswered(_) => None,
            })
            .collect()
    }

    #[test]
    fn each_part_has_what_graph_asks_for() {
        let body: Value =
            serde_json::from_slice(&request_body(ApiVersion::V1, Action::Reprocess, &ids(2))).unwrap();
        assert_eq!(
            body,
            json!({"requests": [
                {"id": "1", "method": "POST", "headers": {"Content-Type": "application/json"}, "body": {},
                 "url": "/identityGovernance/entitlementManagement/assignments/00000000-0000-0000-0000-000000000000/reprocess"},
                {"id": "2", "method": "POST", "headers": {"Content-Type": "application/json"}, "body": {},
                 "url": "/identityGovernance/entitlementManagement/assignments/00000000-0000-0000-0000-000000000001/reprocess"},
            ]})
        );
    }

    #[test]
    fn a_read_has_neither_headers_nor_body() {
        let body: Value =
            serde_json::from_slice(&request_body(ApiVersion::Beta, Action::ReadState, &ids(1))).unwrap();
        assert_eq!(
            body,
            json!({"requests": [{"id": "1", "method": "GET",
             "url": "/identityGovernance/entitlementManagement/accessPackageAssignments/00000000-0000-0000-0000-000000000000"}]})
        );
    }

    #[test]
    fn answers_are_matched_by_id_in_any_order() {
        let answer = json!({"responses": [
            {"id": "3", "status": 404, "body": {"error": {"code": "x", "message": "y"}}},
            {"id": "1", "status": 202},
            {"id": "2", "status": 202, "body": null}]});
        assert_eq!(statuses(&answer, 3), [Some(202), Some(202), Some(404)]);
    }

    #[test]
    fn missing_doubled_and_strange_answers_settle_nothing_wrong() {
        let answer = json!({"responses": [
            {"id": "1", "status": 202}, {"id": "1", "status": 404},
            {"id": "2", "status": 202}, {"id": "2", "status": 202},
            {"id": "4", "status": "202"}]});
        assert_eq!(statuses(&answer, 4), [None, Some(202), None, None]);
        assert!(!read(answer.to_string().as_bytes(), 4).unwrap().has_stranger);
        for stranger in
            [json!({"id": "0"}), json!({"id": "9"}), json!({"id": "x"}), json!({"status": 202}), json!(7)]
        {
            let answer = json!({"responses": [{"id": "1", "status": 202}, stranger]});
            assert_eq!(statuses(&answer, 1), [Some(202)]);
            assert!(read(answer.to_string().as_bytes(), 1).unwrap().has_stranger);
        }
        let thrice = json!({"responses": [
            {"id": "1", "status": 202}, {"id": "1", "status": 404}, {"id": "1", "status": 202}]});
        assert_eq!(statuses(&thrice, 1), [None], "a contradiction is not mended by a third answer");
    }

    #[test]
    fn of_two_answers_that_agree_the_wait_is_kept() {
        let (waits, silent) = (
            json!({"id": "1", "status": 429, "headers": {"Retry-After": "7"}}),
            json!({"id": "1", "status": 429}),
        );
        for responses in [[&waits, &silent], [&silent, &waits]] {
            let answer = json!({"responses": responses}).to_string();
            let parts = read(answer.as_bytes(), 1).unwrap().parts;
            let PartResult::Answered(part) = &parts[0] else { panic!("answered") };
            assert_eq!(part.retry_after.as_deref(), Some("7"));
        }
    }

    #[test]
    fn part_headers_are_read_without_case() {
        for name in ["Retry-After", "retry-after", "RETRY-AFTER"] {
            let answer =
                json!({"responses": [{"id": "1", "status": 429, "headers": {name: "7", "Request-Id": "r"}}]});
            let parts = read(answer.to_string().as_bytes(), 1).unwrap().parts;
            let PartResult::Answered(part) = &parts[0] else { panic!("answered") };
            assert_eq!(part.retry_after.as_deref(), Some("7"));
            assert_eq!(part.request_id.as_deref(), Some("r"));
        }
    }

    #[test]
    fn what_is_no_batch_answer_is_said_to_be_none() {
        for answer in
            ["", "<html>", "[]", "null", "{}", "{\"responses\": {}}", "{\"responses\": [{\"id\": \"1\""]
        {
            assert!(read(answer.as_bytes(), 1).is_err(), "{answer}");
        }
    }

    #[test]
    fn only_our_own_ids_and_final_statuses_count() {
        for id in ["+1", "01", " 1", "1 ", "1.0", "-1", "0", ""] {
            let answer = json!({"responses": [{"id": id, "status": 202}]});
            assert_eq!(statuses(&answer, 1), [None], "{id:?}");
        }
        for status in [0, 99, 100, 103, 199, 600, 99_999] {
            let answer = json!({"responses": [{"id": "1", "status": status}]});
            assert_eq!(statuses(&answer, 1), [None], "{status}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_cut_answer_is_never_half_believed(cut in 0_usize..200) {
            let whole = json!({"responses": [{"id": "1", "status": 202, "headers": {"a": "b"}}, {"id": "2", "status": 202}]}).to_string();
            let cut = cut.min(whole.len() - 1);
            proptest::prop_assert!(read(&whole.as_bytes()[..cut], 2).is_err());
        }
    }
}
