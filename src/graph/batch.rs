//! JSON batching: the body of a `$batch`; what its answer says about each part is beside it
//! (<https://learn.microsoft.com/graph/json-batching>).

mod answer;
mod body;
mod headers;

use serde::Serialize;

pub use answer::{BatchAnswer, Malformed, PartAnswer, PartResult, read};

use super::action::Action;
use super::cloud::ApiVersion;
use crate::assignment::AssignmentId;

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

/// The body that does this with these assignments; the ids of its parts are numbers from `first` on.
///
/// Numbers that no other batch has, so that an answer to that one says nothing about this one.
///
/// A POST part without body and Content-Type makes Graph refuse the whole batch (msgraph-sdk-dotnet#2628),
/// so each has `{}` although the action takes none. That the action accepts `{}` is assumed.
pub fn request_body(version: ApiVersion, action: Action, ids: &[AssignmentId], first: usize) -> Vec<u8> {
    let is_post = action == Action::Reprocess;
    let requests = ids
        .iter()
        .enumerate()
        .map(|(place, id)| Part {
            id: (first + place).to_string(),
            method: action.method(),
            url: action.path(version, *id),
            headers: is_post.then_some(ContentType { content_type: "application/json" }),
            body: is_post.then_some(Empty {}),
        })
        .collect();
    // Strings and empty objects always serialise; an empty body would be refused by the service, not executed.
    serde_json::to_vec(&Body { requests }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ids(count: u128) -> Vec<AssignmentId> {
        (0..count).map(|n| AssignmentId::from(uuid::Uuid::from_u128(n))).collect()
    }

    #[test]
    fn each_part_has_what_graph_asks_for() {
        let body: Value =
            serde_json::from_slice(&request_body(ApiVersion::V1, Action::Reprocess, &ids(2), 1)).unwrap();
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
            serde_json::from_slice(&request_body(ApiVersion::Beta, Action::ReadState, &ids(1), 40)).unwrap();
        assert_eq!(
            body,
            json!({"requests": [{"id": "40", "method": "GET",
             "url": "/identityGovernance/entitlementManagement/accessPackageAssignments/00000000-0000-0000-0000-000000000000"}]})
        );
    }
}
