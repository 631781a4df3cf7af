//! Lists: the URL that asks for one, what a page says, and where the next page may be.

use std::cell::Cell;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::de::{MapAccess, SeqAccess};
use uuid::Uuid;

use super::cloud::ApiVersion;
use super::endpoint::Endpoint;
use super::json::{self, Key, Read, Reader, Skip, Text};

/// A page with more values in it than that, however nested, is none of Graph's: pages have some hundred entries, by
/// `$top` 999 at the most where a service allows that (<https://learn.microsoft.com/graph/paging>), and each of ours some
/// dozens of values. Python makes an object of each.
const MAX_VALUES: usize = 100_000;
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
        let mut states = States::default();
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some(key) if states.has(key) => states.take(key, entries.next_value_seed(Read(State))?),
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        Ok(states.name())
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
pub(super) struct States([Option<Option<String>>; 2]);

impl States {
    const NAMES: [&str; 2] = ["state", "assignmentState"];

    pub fn has(&self, key: &str) -> bool {
        Self::NAMES.contains(&key)
    }

    pub fn take(&mut self, key: &str, value: Option<String>) {
        if let Some((_, slot)) = Self::NAMES.iter().zip(&mut self.0).find(|(name, _)| **name == key) {
            *slot = Some(value);
        }
    }

    pub fn name(self) -> Option<String> {
        self.0.into_iter().flatten().next().flatten().map(|state| state_name(&state))
    }
}

/// What a page says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// It holds nothing. It may link on all the same (<https://learn.microsoft.com/graph/paging>).
    pub is_empty: bool,
    /// The link to the page after this one; `None` on the last.
    pub next_link: Option<String>,
}

impl Page {
    /// Read it.
    pub fn read(page: &[u8]) -> Result<Self, &'static str> {
        let count = Cell::new(0);
        let Parts { values, link } = json::read(page, ReadPage(&count)).ok_or("the page is not JSON")?;
        if count.get() > MAX_VALUES {
            return Err("the page holds more than any of Graph");
        }
        let is_empty = match values {
            Values::Objects { are_none } => are_none,
            Values::Other => return Err("the page has no list of objects"),
        };
        let next_link = match link {
            Link::None => None,
            Link::To(link) => Some(link),
            Link::Other => return Err("the link to the next page is no text"),
        };
        Ok(Self { is_empty, next_link })
    }
}

/// What a page is made of.
#[derive(Default)]
struct Parts {
    values: Values,
    link: Link,
}

/// Its list.
#[derive(Default)]
enum Values {
    /// Objects and nothing else.
    Objects {
        /// There is none.
        are_none: bool,
    },
    /// Something else is in it, or it is no list.
    #[default]
    Other,
}

/// Where it leads.
#[derive(Default)]
enum Link {
    #[default]
    None,
    To(String),
    Other,
}

struct ReadPage<'a>(&'a Cell<usize>);

impl<'de> Reader<'de> for ReadPage<'_> {
    type Out = Parts;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parts, A::Error> {
        let mut page = Parts::default();
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some("value") => page.values = entries.next_value_seed(Read(ReadValues(self.0)))?,
                Some("@odata.nextLink") => page.link = entries.next_value_seed(Read(ReadLink))?.0,
                _ => entries.next_value_seed(Read(Count(self.0)))?,
            }
        }
        Ok(page)
    }
}

struct ReadValues<'a>(&'a Cell<usize>);

impl<'de> Reader<'de> for ReadValues<'_> {
    type Out = Values;

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Values, A::Error> {
        let mut values = Values::Objects { are_none: true };
        while let Some(is_object) = entries.next_element_seed(Read(IsObject(self.0)))? {
            values = match values {
                Values::Objects { .. } if is_object => Values::Objects { are_none: false },
                _ => Values::Other,
            };
        }
        Ok(values)
    }
}

struct IsObject<'a>(&'a Cell<usize>);

impl<'de> Reader<'de> for IsObject<'_> {
    type Out = bool;

    fn object<A: MapAccess<'de>>(self, entries: A) -> Result<bool, A::Error> {
        Count(self.0).object(entries)?;
        Ok(true)
    }
}

/// Passes over a value, and counts it and what is in it.
struct Count<'a>(&'a Cell<usize>);

impl Count<'_> {
    fn one(&self) {
        self.0.set(self.0.get() + 1);
    }
}

impl<'de> Reader<'de> for Count<'_> {
    type Out = ();

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.one();
        while entries.next_key_seed(Read(Skip))?.is_some() {
            entries.next_value_seed(Read(Count(self.0)))?;
        }
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.one();
        while entries.next_element_seed(Read(Count(self.0)))?.is_some() {}
        Ok(())
    }

    fn text(self, _: &str) {
        self.one();
    }

    fn number(self, _: serde_json::Number) {
        self.one();
    }

    fn boolean(self) {
        self.one();
    }

    fn null(self) {
        self.one();
    }
}

/// A link; null is none.
struct ReadLink;

/// What is no text and not null is no link.
struct ReadAsLink(Link);

impl Default for ReadAsLink {
    fn default() -> Self {
        Self(Link::Other)
    }
}

impl Reader<'_> for ReadLink {
    type Out = ReadAsLink;

    fn text(self, text: &str) -> ReadAsLink {
        ReadAsLink(Link::To(text.to_owned()))
    }

    fn null(self) -> ReadAsLink {
        ReadAsLink(Link::None)
    }
}

/// A link as a URL, if it leads to the same origin and version: the token goes nowhere else.
///
/// The link is used whole; what it carries is the service's business (<https://learn.microsoft.com/graph/paging>).
pub fn follow(endpoint: &Endpoint, link: &str) -> Result<Url, &'static str> {
    let url = Url::parse(link).map_err(|_| "the link to the next page is no URL")?;
    let own = endpoint.collection("");
    let same_origin = (url.scheme(), url.host(), url.port_or_known_default())
        == (own.scheme(), own.host(), own.port_or_known_default());
    if !same_origin || !url.username().is_empty() || url.password().is_some() {
        return Err("the link to the next page leads to another origin and was not followed");
    }
    if !url.path().starts_with(&format!("/{}/", endpoint.version().segment())) {
        return Err("the link to the next page leads to another API version and was not followed");
    }
    Ok(url)
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
    fn links_lead_to_the_same_place_or_nowhere() {
        let own = endpoint(ApiVersion::V1);
        for good in [
            "https://graph.microsoft.com/v1.0/x?$skiptoken=a%2Fb",
            "https://GRAPH.microsoft.com:443/v1.0/identityGovernance/y",
        ] {
            assert!(follow(&own, good).is_ok(), "{good}");
        }
        for evil in [
            "https://evil.example/v1.0/x",
            "https://graph.microsoft.com.evil.example/v1.0/x",
            "https://graph.microsoft.com@evil.example/v1.0/x",
            "https://user@graph.microsoft.com/v1.0/x",
            "https://graph.microsoft.com:444/v1.0/x",
            "http://graph.microsoft.com/v1.0/x",
            "https://graph.microsoft.com/beta/x",
            "https://graph.microsoft.com/v1.0",
            "https://graph.microsoft.com/v1.0/../beta/x",
            "https://graph.microsoft.com/v1.0/%2e%2e/beta/x",
            "https://graph.microsoft.com/v1.01/x",
            "//evil.example/v1.0/x",
            "/v1.0/x",
            "",
        ] {
            assert!(follow(&own, evil).is_err(), "{evil}");
        }
    }

    #[test]
    fn pages_are_read_or_refused() {
        let read = |page: Value| Page::read(page.to_string().as_bytes()).map(|page| page.next_link);
        assert_eq!(read(json!({"value": []})), Ok(None));
        assert_eq!(read(json!({"value": [{}], "@odata.nextLink": "x"})), Ok(Some("x".into())));
        assert_eq!(read(json!({"value": [], "@odata.nextLink": null})), Ok(None));
        for bad in [
            json!([]),
            json!({}),
            json!({"value": {}}),
            json!({"value": [1]}),
            json!({"value": [], "@odata.nextLink": 5}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        assert!(Page::read(b"<html>").is_err());
        // Wherever they stand, and what they are.
        for value in [json!({}), json!([]), json!(0), json!(0.5), json!(true), json!(null), json!("x")] {
            let page = |count: usize| json!({"value": [{"a": vec![value.clone(); count]}]});
            // The object and the list count, too.
            assert_eq!(read(page(MAX_VALUES - 2)), Ok(None), "{value}");
            assert!(read(page(MAX_VALUES - 1)).is_err(), "{value}");
        }
        assert!(read(json!({"value": vec![json!({}); MAX_VALUES + 1]})).is_err());
        assert!(read(json!({"value": [], "other": vec![0; MAX_VALUES]})).is_err());
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
    }

    proptest::proptest! {
        #[test]
        fn no_link_leads_astray(link in ".*") {
            let own = endpoint(ApiVersion::Beta);
            if let Ok(url) = follow(&own, &link) {
                proptest::prop_assert_eq!(url.host_str(), Some("graph.microsoft.com"));
            }
        }
    }
}
