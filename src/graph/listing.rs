//! Lists: the URL that asks for one, and the state of an assignment; what a page says is beside it.

mod page;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::de::MapAccess;
use uuid::Uuid;

use super::cloud::ApiVersion;
use super::endpoint::Endpoint;
use super::json::{self, Key, Once, Read, Reader, Skip, Text};

pub use page::{Page, follow, shown};

/// A state is a word.
const LONGEST_STATE: usize = 200;

/// All but what RFC 3986 leaves unreserved. A space becomes `%20`, never `+`.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The states of an assignment, as the v1.0 enumeration writes them
/// (<https://learn.microsoft.com/graph/api/resources/accesspackageassignment>).
pub const STATES: [&str; 5] = ["delivering", "partiallyDelivered", "delivered", "expired", "deliveryFailed"];

/// Which assignments are asked for; what is given has to hold all at once.
#[derive(Clone, Debug, Default)]
pub struct AssignmentFilter {
    /// Of this access package.
    pub access_package: Option<Uuid>,
    /// Of the subject with this object id.
    pub target: Option<Uuid>,
    /// By this policy.
    pub policy: Option<Uuid>,
    /// In this state, as [`STATES`] has it.
    pub state: Option<String>,
    /// Any other OData expression.
    pub other: Option<String>,
}

impl AssignmentFilter {
    /// The OData expression, if there is one.
    ///
    /// The names are those of the reference pages' examples, `objectid` in lower case included
    /// (<https://learn.microsoft.com/graph/api/entitlementmanagement-list-assignments>). The one for policies is
    /// documented for beta; on v1.0 it follows the name of the relationship.
    fn expression(&self, version: ApiVersion) -> Option<String> {
        let (state, policy) = match version {
            ApiVersion::Beta => ("assignmentState", "accessPackageAssignmentPolicy/id"),
            ApiVersion::V1 => ("state", "assignmentPolicy/id"),
        };
        let id = |name: &str, value: Option<Uuid>| {
            value.map(|value| format!("{name} eq {}", quoted(&value.to_string())))
        };
        let terms = [
            id("accessPackage/id", self.access_package),
            id("target/objectid", self.target),
            id(policy, self.policy),
            self.state.as_ref().map(|value| format!("{state} eq {}", quoted(&capitalised(value)))),
            self.other.as_ref().map(|other| format!("({other})")),
        ];
        let terms: Vec<String> = terms.into_iter().flatten().collect();
        (!terms.is_empty()).then(|| terms.join(" and "))
    }
}

/// The first page of assignments. What the package's objects are made of is expanded; on beta the ids of package and
/// policy come by themselves.
pub fn assignments(endpoint: &Endpoint, filter: &AssignmentFilter) -> Url {
    let version = endpoint.version();
    let expand = match version {
        ApiVersion::Beta => "target,accessPackage",
        ApiVersion::V1 => "target,accessPackage,assignmentPolicy",
    };
    with_query(endpoint.collection(version.collection()), filter.expression(version).as_deref(), Some(expand))
}

/// The first page of access packages
/// (<https://learn.microsoft.com/graph/api/entitlementmanagement-list-accesspackages>).
pub fn access_packages(endpoint: &Endpoint, name: Option<&str>) -> Url {
    let filter = name.map(|name| format!("displayName eq {}", quoted(name)));
    with_query(endpoint.collection("accessPackages"), filter.as_deref(), None)
}

fn with_query(mut url: Url, filter: Option<&str>, expand: Option<&str>) -> Url {
    let options = [("$filter", filter), ("$expand", expand)];
    let query: Vec<String> = options
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", utf8_percent_encode(value?, VALUE))))
        .collect();
    url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
    url
}

/// A text as an OData literal: in single quotes, those inside doubled (OData 4.01 URL conventions, 5.1.1.14.1).
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `delivered` as `Delivered`, the way the reference pages filter by it.
fn capitalised(state: &str) -> String {
    let mut letters = state.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// A state in whatever case and version as [`STATES`] writes it; others are given back as they came, since the
/// enumeration may grow.
pub fn state_name(text: &str) -> String {
    STATES
        .iter()
        .find(|state| state.eq_ignore_ascii_case(text))
        .map_or_else(|| text.to_owned(), ToString::to_string)
}

/// The state in an assignment: `state` on v1.0, `assignmentState` on beta.
pub fn state_of(assignment: &[u8]) -> Option<String> {
    json::read(assignment, Assignment)?
}

struct Assignment;

impl<'de> Reader<'de> for Assignment {
    type Out = Option<String>;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<String>, A::Error> {
        let (mut states, mut is_error) = (States::default(), false);
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some("error") => {
                    is_error = true;
                    entries.next_value_seed(Read(Skip))?;
                }
                Some(key) if states.has(key) => states.take(key, entries.next_value_seed(Read(State))?),
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        Ok(states.name().filter(|_| !is_error))
    }
}

/// The text of a state; any kind but a text is none.
pub(super) struct State;

impl Reader<'_> for State {
    type Out = Option<String>;

    fn text(self, text: &str) -> Option<String> {
        Text(LONGEST_STATE).text(text)
    }
}

/// What the two names of a state stood for; the one of v1.0 comes first if it is there, whatever stands under it.
#[derive(Default)]
pub(super) struct States([Once<Option<String>>; 2]);

impl States {
    const NAMES: [&str; 2] = ["state", "assignmentState"];

    pub fn has(&self, key: &str) -> bool {
        Self::NAMES.contains(&key)
    }

    pub fn take(&mut self, key: &str, value: Option<String>) {
        if let Some((_, slot)) = Self::NAMES.iter().zip(&mut self.0).find(|(name, _)| **name == key) {
            slot.put(value);
        }
    }

    pub fn name(self) -> Option<String> {
        let first = self.0.into_iter().find(|state| *state != Once::Absent)?;
        first.found().flatten().map(|state| state_name(&state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::cloud::Cloud;
    use serde_json::{Value, json};

    fn endpoint(version: ApiVersion) -> Endpoint {
        Endpoint::new(Cloud::Global, None, version).unwrap()
    }

    fn query(url: &Url) -> Vec<(String, String)> {
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn filters_are_those_of_the_reference_pages() {
        let filter = AssignmentFilter {
            access_package: Some(Uuid::from_u128(1)),
            target: Some(Uuid::from_u128(2)),
            policy: Some(Uuid::from_u128(3)),
            state: Some("partiallyDelivered".into()),
            other: Some("accessPackage/displayName eq 'a' or true".into()),
        };
        let url = assignments(&endpoint(ApiVersion::Beta), &filter);
        assert_eq!(url.path(), "/beta/identityGovernance/entitlementManagement/accessPackageAssignments");
        assert_eq!(
            query(&url)[0].1,
            "accessPackage/id eq '00000000-0000-0000-0000-000000000001' \
             and target/objectid eq '00000000-0000-0000-0000-000000000002' \
             and accessPackageAssignmentPolicy/id eq '00000000-0000-0000-0000-000000000003' \
             and assignmentState eq 'PartiallyDelivered' and (accessPackage/displayName eq 'a' or true)"
        );
        let filter = AssignmentFilter { state: Some("delivered".into()), ..AssignmentFilter::default() };
        let url = assignments(&endpoint(ApiVersion::V1), &filter);
        assert_eq!(
            url.as_str(),
            "https://graph.microsoft.com/v1.0/identityGovernance/entitlementManagement/assignments\
             ?$filter=state%20eq%20%27Delivered%27&$expand=target%2CaccessPackage%2CassignmentPolicy"
        );
    }

    #[test]
    fn a_name_cannot_leave_its_quotes_or_its_parameter() {
        let name = "O'Brien & Söhne' or 1 eq 1 #+%";
        let url = access_packages(&endpoint(ApiVersion::Beta), Some(name));
        assert_eq!(
            query(&url),
            [("$filter".into(), "displayName eq 'O''Brien & Söhne'' or 1 eq 1 #+%'".into())]
        );
        assert!(!url.as_str().contains('+') && url.fragment().is_none());
        assert_eq!(access_packages(&endpoint(ApiVersion::V1), None).query(), None);
    }

    #[test]
    fn states_have_one_spelling() {
        let state_of = |assignment: Value| state_of(assignment.to_string().as_bytes());
        assert_eq!(state_of(json!({"state": "delivered"})).as_deref(), Some("delivered"));
        assert_eq!(
            state_of(json!({"assignmentState": "PartiallyDelivered"})).as_deref(),
            Some("partiallyDelivered")
        );
        assert_eq!(state_of(json!({"assignmentState": "SomethingNew"})).as_deref(), Some("SomethingNew"));
        assert_eq!(state_of(json!({"id": "x"})), None);
        assert_eq!(state_of(json!({"assignmentState": "delivered", "state": 5})), None);
        assert_eq!(state_of(json!("delivered")), None);
        for contradicting in [
            r#"{"state": "delivered", "state": "expired"}"#,
            r#"{"state": "delivered", "stat\u0065": "expired"}"#,
            r#"{"assignmentState": "Delivered", "assignmentState": "Expired"}"#,
            r#"{"state": null, "state": "delivered", "assignmentState": "Delivered"}"#,
        ] {
            assert_eq!(super::state_of(contradicting.as_bytes()), None, "{contradicting}");
        }
        let twice_unasked = br#"{"assignmentState": "x", "assignmentState": "y", "state": "delivered"}"#;
        assert_eq!(super::state_of(twice_unasked).as_deref(), Some("delivered"));
    }
}
