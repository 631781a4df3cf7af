//! A page of a list, and where its link to the next one may lead (<https://learn.microsoft.com/graph/paging>).

use reqwest::Url;
use serde::de::{MapAccess, SeqAccess};

use crate::graph::endpoint::Endpoint;
use crate::graph::json::{self, Key, Once, Read, Reader, Tally};
use crate::text::{one_line, shorten};

/// A page with more values in it than that, however nested, is none of Graph's: pages have some hundred entries, by
/// `$top` 999 at the most where a service allows that (<https://learn.microsoft.com/graph/paging>), and each of ours some
/// dozens of values. Python makes an object of each.
const MAX_VALUES: usize = 100_000;
/// How much of a link is shown.
const SHOWN: usize = 200;

/// What a page says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// It holds nothing. It may link on all the same (<https://learn.microsoft.com/graph/paging>).
    pub is_empty: bool,
    /// The link to the page after this one; `None` on the last, and for what is no link what is wrong with it. That
    /// takes nothing from the objects of the page itself.
    pub next_link: Result<Option<String>, &'static str>,
}

impl Page {
    /// Read it.
    pub fn read(page: &[u8]) -> Result<Self, &'static str> {
        let tally = Tally::new(MAX_VALUES);
        let Parts { values, link } = json::read(page, ReadPage(&tally)).ok_or("is not JSON")?;
        if tally.is_over() {
            return Err("holds more than any of Graph");
        }
        if values.is_twice() || tally.has_doubled() {
            // Python would take the last one without a word.
            return Err("holds an object with two members of the same name, which contradict each other");
        }
        let is_empty = match values.found() {
            Some(Values::Objects { are_none }) => are_none,
            _ => return Err("has no list of objects"),
        };
        let next_link = match link {
            Once::Absent | Once::Found(Link::None) => Ok(None),
            Once::Found(Link::To(link)) => Ok(Some(link)),
            Once::Found(Link::Other(kind)) => Err(kind),
            Once::Twice => Err("there are two of it"),
        };
        Ok(Self { is_empty, next_link })
    }
}

/// What a page is made of.
#[derive(Default)]
struct Parts {
    values: Once<Values>,
    link: Once<Link>,
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

struct ReadPage<'a>(&'a Tally);

impl<'de> Reader<'de> for ReadPage<'_> {
    type Out = Parts;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parts, A::Error> {
        let mut page = Parts::default();
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some("value") => page.values.put(entries.next_value_seed(Read(ReadValues(self.0)))?),
                Some("@odata.nextLink") => page.link.put(entries.next_value_seed(Read(ReadLink))?),
                _ => entries.next_value_seed(Read(self.0))?,
            }
        }
        Ok(page)
    }
}

struct ReadValues<'a>(&'a Tally);

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

struct IsObject<'a>(&'a Tally);

impl<'de> Reader<'de> for IsObject<'_> {
    type Out = bool;

    fn object<A: MapAccess<'de>>(self, entries: A) -> Result<bool, A::Error> {
        self.0.object(entries)?;
        Ok(true)
    }
}

/// Where a page leads: to nowhere if it is null, and if it is no text, its kind.
enum Link {
    None,
    To(String),
    Other(&'static str),
}

impl Default for Link {
    fn default() -> Self {
        Self::Other("it is a list or an object and no text")
    }
}

struct ReadLink;

impl Reader<'_> for ReadLink {
    type Out = Link;

    fn text(self, text: &str) -> Link {
        Link::To(text.to_owned())
    }

    fn number(self, _: serde_json::Number) -> Link {
        Link::Other("it is a number and no text")
    }

    fn boolean(self) -> Link {
        Link::Other("it is true or false and no text")
    }

    fn null(self) -> Link {
        Link::None
    }
}

/// A link as a URL, if it leads to the same origin and version: the token goes nowhere else. An error says what is wrong.
///
/// The link is used whole; what it carries is the service's business (<https://learn.microsoft.com/graph/paging>). The
/// links of Graph are absolute URLs. An empty text is no sign of the end either: OData leaves the link out then
/// (<https://docs.oasis-open.org/odata/odata-json-format/v4.01/odata-json-format-v4.01.html#sec_ControlInformationnextLinkodatanextLink>),
/// so taking it for one might lose the rest of the list without a word.
pub fn follow(endpoint: &Endpoint, link: &str) -> Result<Url, String> {
    let Ok(url) = Url::parse(link) else {
        return Err(format!("{} is no absolute URL", shown(link)));
    };
    let own = endpoint.collection("");
    let same_origin = (url.scheme(), url.host(), url.port_or_known_default())
        == (own.scheme(), own.host(), own.port_or_known_default());
    let wrong = if !same_origin {
        format!("leads to another origin than {}", own.origin().ascii_serialization())
    } else if !url.username().is_empty() || url.password().is_some() {
        "names a user".to_owned()
    } else if !url.path().starts_with(&format!("/{}/", endpoint.version().segment())) {
        format!("leads to another API version than {}", endpoint.version().segment())
    } else {
        return Ok(url);
    };
    Err(format!("{} {wrong}", shown(link)))
}

/// A link for people: without its query, which may hold a skip token or a name, and without a user and a password.
pub fn shown(link: &str) -> String {
    let (bare, cut) = link.split_once(['?', '#']).map_or((link, ""), |(bare, _)| (bare, "?…"));
    let bare = match (bare.rsplit_once('@'), bare.split_once("//")) {
        (Some((_, rest)), Some((scheme, _))) => format!("{scheme}//{rest}"),
        (Some((_, rest)), None) => rest.to_owned(),
        (None, _) => bare.to_owned(),
    };
    format!("\"{}{cut}\"", shorten(&one_line(&bare), SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::cloud::{ApiVersion, Cloud};
    use serde_json::{Value, json};

    fn endpoint(version: ApiVersion) -> Endpoint {
        Endpoint::new(Cloud::Global, None, version).unwrap()
    }

    fn read(page: &Value) -> Result<Page, &'static str> {
        Page::read(page.to_string().as_bytes())
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
        let page = |is_empty, next_link| Ok(Page { is_empty, next_link });
        assert_eq!(read(&json!({"value": []})), page(true, Ok(None)));
        assert_eq!(
            read(&json!({"value": [{}], "@odata.nextLink": "x"})),
            page(false, Ok(Some("x".to_owned())))
        );
        assert_eq!(read(&json!({"value": [], "@odata.nextLink": null})), page(true, Ok(None)));
        for bad in [json!([]), json!({}), json!({"value": {}}), json!({"value": [1]}), json!({"error": {}})] {
            assert!(read(&bad).is_err(), "{bad}");
        }
        assert!(Page::read(b"<html>").is_err());
        // Wherever they stand, and what they are.
        for value in [json!({}), json!([]), json!(0), json!(0.5), json!(true), json!(null), json!("x")] {
            let page = |count: usize| json!({"value": [{"a": vec![value.clone(); count]}]});
            // The object and the list count, too.
            assert!(read(&page(MAX_VALUES - 2)).is_ok(), "{value}");
            assert!(read(&page(MAX_VALUES - 1)).is_err(), "{value}");
        }
        assert!(read(&json!({"value": vec![json!({}); MAX_VALUES + 1]})).is_err());
        assert!(read(&json!({"value": [], "other": vec![0; MAX_VALUES]})).is_err());
    }

    #[test]
    fn a_bad_link_takes_nothing_from_its_page() {
        for (link, wrong) in [
            ("5", "a number"),
            ("true", "true or false"),
            ("[]", "a list or an object"),
            (r#"{"href": "x"}"#, "a list or an object"),
            (r#""x", "@odata.nextLink": "x""#, "two of it"),
            (r#""x", "@odata.next\u004cink": null"#, "two of it"),
        ] {
            let page = format!(r#"{{"@odata.nextLink": {link}, "value": [{{}}]}}"#);
            let read = Page::read(page.as_bytes()).unwrap();
            assert!(!read.is_empty && read.next_link.unwrap_err().contains(wrong), "{page}");
        }
    }

    #[test]
    fn names_that_come_twice_spoil_a_page() {
        for page in [
            r#"{"value": [{}], "value": [{}]}"#,
            r#"{"value": [{"id": "a", "id": "b"}]}"#,
            r#"{"value": [{"id": "a", "\u0069d": "b"}]}"#,
            r#"{"value": [{}, {"target": {"objectId": "a", "objectId": "b"}}]}"#,
        ] {
            assert!(Page::read(page.as_bytes()).unwrap_err().contains("two members"), "{page}");
        }
        assert!(Page::read(br#"{"value": [{"id": "a", "ID": "b"}, {"id": "a"}]}"#).is_ok());
    }

    #[test]
    fn a_link_is_shown_without_what_it_may_hide() {
        for (link, text) in [
            ("https://evil.example/v1.0/x?$filter=a&$skiptoken=b", "\"https://evil.example/v1.0/x?…\""),
            ("https://user:canary@evil.example/x#canary", "\"https://evil.example/x?…\""),
            ("user:canary@evil.example", "\"evil.example\""),
            ("/beta/x?canary", "\"/beta/x?…\""),
            ("", "\"\""),
            ("a\u{1b}[31m\nb", "\"a\\x1b[31m\\nb\""),
        ] {
            assert_eq!(shown(link), text);
        }
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), SHOWN + 3);
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
