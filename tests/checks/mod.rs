//! What holds for every input, however odd: driven by proptest in `tests/properties.rs` and by libFuzzer in `fuzz/`.

use entra_reprocess::assignment::AssignmentId;
use entra_reprocess::graph::batch::{self, PartResult};
use entra_reprocess::graph::challenge;
use entra_reprocess::graph::cloud::{ApiVersion, Cloud};
use entra_reprocess::graph::endpoint::Endpoint;
use entra_reprocess::graph::error::ErrorBody;
use entra_reprocess::graph::{listing, retry_after};
use serde_json::Value;

/// The most characters of a code or an id of the service that are kept, and of a message; with the sign of a cut.
const MOST: usize = 201;
const MOST_OF_A_MESSAGE: usize = 1_001;

/// Takes any bytes, and panics where something does not hold.
pub type Check = fn(&[u8]);

/// One check for each parser of what comes from outside, by name.
pub const ALL: [(&str, Check); 6] = [
    ("batch", batch),
    ("error_body", error_body),
    ("retry_after", retry_after),
    ("id", id),
    ("next_link", next_link),
    ("challenge", challenge),
];

/// The first byte says how many parts were asked for, the rest is the answer.
pub fn batch(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else { return };
    let asked = usize::from(*first) % batch::MAX_PARTS + 1;
    let Ok(read) = batch::read(answer, 1..asked + 1) else { return };
    assert_eq!(read.parts.len(), asked, "each part that was asked for has one result");
    // Without the byte order mark that RFC 8259 (8.1) lets a reader pass over.
    let answer = answer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(answer);
    let body: Value = serde_json::from_slice(answer).expect("what was read is JSON");
    let responses = body["responses"].as_array().expect("with a list of responses");
    for (place, part) in read.parts.iter().enumerate() {
        let PartResult::Answered(part) = part else { continue };
        assert!((200..600).contains(&part.status), "{}", part.status);
        is_short(part.request_id.as_deref(), MOST);
        is_bounded(&part.error);
        // An outcome is never guessed: somebody said so, under exactly this id.
        let ours = (place + 1).to_string();
        let named = |response: &&Value| match &response["id"] {
            Value::String(id) => *id == ours,
            id => id.as_u64() == Some(place as u64 + 1),
        };
        let mut said = responses.iter().filter(named).map(|response| response["status"].as_u64());
        assert!(said.all(|status| status == Some(part.status.into())), "all answers of the part agree");
        assert!(responses.iter().any(|response| named(&response)), "part {ours} was not answered");
    }
}

/// An error body.
pub fn error_body(data: &[u8]) {
    is_bounded(&ErrorBody::from_slice(data));
}

fn is_bounded(error: &ErrorBody) {
    is_short(error.message.as_deref(), MOST_OF_A_MESSAGE);
    for text in [&error.code, &error.request_id, &error.client_request_id, &error.date] {
        is_short(text.as_deref(), MOST);
    }
}

fn is_short(text: Option<&str>, most: usize) {
    assert!(text.is_none_or(|text| text.chars().count() <= most), "a service cannot make us keep any length");
}

/// The value of a `Retry-After`, and after a line feed a `Date`.
pub fn retry_after(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (value, date) = text.split_once('\n').unwrap_or((&text, ""));
    let wait = retry_after::parse(value, retry_after::answered_at(Some(date)));
    // Never early: whole seconds are taken as they stand.
    if let Ok(seconds) = value.trim().parse::<u32>() {
        assert_eq!(wait.map(|wait| wait.as_secs_f64()), Some(f64::from(seconds)));
    }
}

/// A text that may be an assignment id.
pub fn id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match AssignmentId::parse(&text) {
        Ok(id) => {
            let sent = id.to_string();
            assert_eq!(sent.len(), 36);
            assert!(
                sent.bytes()
                    .all(|byte| byte == b'-' || byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
            );
            assert_eq!(AssignmentId::parse(&sent).ok(), Some(id), "it leads back to itself");
            let digits = |text: &str| text.to_ascii_lowercase().replace('-', "");
            assert!(digits(&text).contains(&digits(&sent)), "nothing was made up");
        }
        Err(refused) => {
            is_short(Some(&refused.shown), 65);
            is_short(Some(&refused.reason), 1_000);
            assert!(!refused.reason.contains(['\r', '\n', '\0']), "it can stand in one line");
        }
    }
}

/// A page of a list, or else a link by itself.
pub fn next_link(data: &[u8]) {
    let link = match listing::Page::read(data).map(|page| page.next_link) {
        Ok(Ok(Some(link))) => link,
        // It is the last one, or what it links to is no text.
        Ok(_) => return,
        Err(_) => String::from_utf8_lossy(data).into_owned(),
    };
    for (base, version) in
        [(None, ApiVersion::V1), (None, ApiVersion::Beta), (Some("http://127.0.0.1:8080"), ApiVersion::Beta)]
    {
        let endpoint = Endpoint::new(Cloud::Global, base, version).expect("a good endpoint");
        let url = match listing::follow(&endpoint, &link) {
            Ok(url) => url,
            Err(wrong) => {
                is_short(Some(&wrong), 500);
                assert!(!wrong.contains(char::is_control), "it can stand in one line");
                continue;
            }
        };
        let own = endpoint.batch();
        assert_eq!(url.origin(), own.origin(), "the token goes nowhere else");
        assert!(url.username().is_empty() && url.password().is_none());
        assert!(url.path().starts_with(&format!("/{}/", version.segment())));
        // What a client sends is the URL as it prints: it must not be read differently then.
        let again = listing::follow(&endpoint, url.as_str()).expect("it still leads to the same place");
        assert_eq!(again, url);
    }
}

/// The value of a `WWW-Authenticate`.
pub fn challenge(data: &[u8]) {
    if let Some(claims) = challenge::claims(&String::from_utf8_lossy(data)) {
        let value: Value = serde_json::from_str(&claims).expect("claims are JSON");
        assert!(value.is_object());
    }
}
