//! Whether an answer is the one to this request: by the id of the request that it repeats.
//!
//! HTTP/1.1 has nothing but the order in which answers come. A server or proxy that answers one request twice shifts all
//! later ones on that connection: each request is then told what became of the one before it. Graph repeats
//! `client-request-id` in a header and in the `innerError` of an error
//! (<https://learn.microsoft.com/graph/best-practices-concept>, <https://learn.microsoft.com/graph/errors>).

use reqwest::header::HeaderMap;
use uuid::Uuid;

use crate::graph::error::ErrorBody;

/// What an answer calls the request that it is for, if that is not `ours`; for people.
///
/// Without our id on its way to Graph, as behind a gateway that drops it, the id that comes back equals Graph's own
/// `request-id` (observed, microsoftgraph/msgraph-metadata#327), which says nothing. In a list that a gateway made
/// longer, ours is enough.
pub(super) fn other_in_headers(headers: &HeaderMap, ours: Uuid) -> Option<String> {
    let named = |name| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty())
    };
    let own: Vec<&str> = named("request-id").collect();
    let mut other = None;
    for echo in named("client-request-id") {
        if is(echo, ours) {
            return None;
        }
        if !own.iter().any(|own| own.eq_ignore_ascii_case(echo)) {
            other = other.or(Some(echo));
        }
    }
    // Only an id is shown: a header may hold anything.
    other.map(|other| {
        Uuid::try_parse(other).map_or_else(|_| "an id that is no GUID".to_owned(), |id| id.to_string())
    })
}

/// The same for an error body. In there, what is no GUID is a placeholder of a server for tests: no request of ours has
/// such an id. What the parts of a batch say of themselves is not looked at, since each is a request of its own.
pub(super) fn other_in_error(error: &ErrorBody, ours: Uuid) -> Option<String> {
    let echo = error.client_request_id.as_deref()?.trim();
    let is_own = error.request_id.as_deref().is_some_and(|own| own.trim().eq_ignore_ascii_case(echo));
    let other = Uuid::try_parse(echo).ok().filter(|echo| *echo != ours && !is_own)?;
    Some(other.to_string())
}

/// In whatever spelling.
fn is(echo: &str, ours: Uuid) -> bool {
    Uuid::try_parse(echo).is_ok_and(|echo| echo == ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    const OURS: Uuid = Uuid::from_u128(0xd82e_b508_acc4_43cc_bcf1_7c1c_4a2c_073b);
    const THEIRS: &str = "00000000-1111-4111-8111-000000000000";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn our_id_in_any_spelling_is_ours_and_no_id_is_none() {
        let ours = OURS.to_string();
        let upper = ours.to_uppercase();
        let both = format!("{THEIRS}, {ours}");
        let braced = format!("{{{ours}}}");
        for pairs in [
            vec![],
            vec![("client-request-id", ours.as_str())],
            vec![("Client-Request-Id", upper.as_str())],
            vec![("client-request-id", braced.as_str())],
            vec![("client-request-id", both.as_str())],
            vec![("client-request-id", THEIRS), ("client-request-id", ours.as_str())],
            vec![("client-request-id", "")],
            vec![("client-request-id", " , ")],
            // Behind a gateway that drops ours.
            vec![("client-request-id", THEIRS), ("request-id", THEIRS)],
            vec![("client-request-id", "ABC"), ("request-id", "abc")],
        ] {
            assert_eq!(other_in_headers(&headers(&pairs), OURS), None, "{pairs:?}");
        }
    }

    #[test]
    fn another_id_is_another_one() {
        for (pairs, shown) in [
            (vec![("client-request-id", THEIRS)], THEIRS),
            (vec![("client-request-id", THEIRS), ("request-id", "r")], THEIRS),
            (vec![("client-request-id", "r"), ("client-request-id", THEIRS), ("request-id", "r")], THEIRS),
            (vec![("client-request-id", "canary")], "an id that is no GUID"),
        ] {
            assert_eq!(other_in_headers(&headers(&pairs), OURS).as_deref(), Some(shown), "{pairs:?}");
        }
    }

    #[test]
    fn an_error_says_so_with_a_guid() {
        let error = |echo: &str, own: &str| ErrorBody {
            client_request_id: Some(echo.to_owned()),
            request_id: Some(own.to_owned()),
            ..ErrorBody::default()
        };
        assert_eq!(other_in_error(&ErrorBody::default(), OURS), None);
        for (echo, own) in [(OURS.to_string().to_uppercase().as_str(), "r"), ("c-1", "r"), (THEIRS, THEIRS)] {
            assert_eq!(other_in_error(&error(echo, own), OURS), None, "{echo}");
        }
        assert_eq!(other_in_error(&error(THEIRS, "r"), OURS).as_deref(), Some(THEIRS));
    }
}
