//! What the answer to a `$batch` says about each part (<https://learn.microsoft.com/graph/json-batching>).

use std::collections::HashMap;
use std::ops::Range;

use serde::de::{MapAccess, SeqAccess};

use super::body::{Body, ReadBody};
use super::headers::{Headers, ReadHeaders};
use crate::graph::content::Content;
use crate::graph::error::ErrorBody;
use crate::graph::json::{self, Key, Once, Read, Reader, Scalar, ScalarValue, Skip};
use crate::text::sanitize_id;

/// More answers than that are none to a batch of ours, even if it answers each part many times.
const MAX_RESPONSES: usize = 1_000;
/// Our ids are numbers.
const LONGEST_ID: usize = 20;

/// One part's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartAnswer {
    /// HTTP status of the part.
    pub status: u16,
    /// The part's `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// The part's own `request-id`, from its headers or its error body.
    pub request_id: Option<String>,
    /// The part's `WWW-Authenticate`, as sent.
    pub challenge: Option<String>,
    /// The error body, empty for a success.
    pub error: ErrorBody,
    /// The state that the body of a success names; a reprocess has none.
    pub state: Option<String>,
    /// What the body holds.
    pub content: Content,
}

/// What a batch answer says about one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartResult {
    /// One answer, or several that agree.
    Answered(Box<PartAnswer>),
    /// No usable answer; the text says why.
    Unanswered(&'static str),
    /// No answer.
    LeftOut,
}

/// A batch answer that can't be read at all: not JSON, or not of the documented shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer is no batch response: {0}; check base_url and proxy, and whether the network wants somebody to sign in first"
)]
pub struct Malformed(&'static str);

/// What a batch answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAnswer {
    /// One for each part, in the order in which they were asked.
    pub parts: Vec<PartResult>,
    /// Whether there was an answer for an id that was not asked.
    pub has_stranger: bool,
}

impl BatchAnswer {
    /// Whether any part was answered.
    pub fn has_answers(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, PartResult::Answered(_)))
    }
}

/// What came back for the parts with these numbers.
///
/// Answers may come in any order and are matched by id, which Graph compares without case.
/// An answer for an id that was not asked says nothing about ours and is passed over.
pub fn read(answer: &[u8], numbers: Range<usize>) -> Result<BatchAnswer, Malformed> {
    match json::read(answer, Answer { numbers: numbers.clone() }) {
        None => Err(Malformed("it is not JSON")),
        Some(Once::Twice) => Err(Malformed("it has two lists of responses")),
        Some(Once::Absent | Once::Found(None)) => Err(Malformed("it has no list of responses")),
        Some(Once::Found(Some(list))) if list.count > MAX_RESPONSES => {
            Err(Malformed("it has far more responses than a batch has parts"))
        }
        Some(Once::Found(Some(mut list))) => {
            let parts =
                numbers.map(|number| list.found.remove(&number).unwrap_or(PartResult::LeftOut)).collect();
            Ok(BatchAnswer { parts, has_stranger: list.has_stranger })
        }
    }
}

/// The whole answer.
struct Answer {
    numbers: Range<usize>,
}

impl<'de> Reader<'de> for Answer {
    type Out = Once<Option<List>>;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Out, A::Error> {
        let mut list = Once::default();
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some("responses") => list.put(entries.next_value_seed(Read(Responses(&self.numbers)))?),
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        Ok(list)
    }
}

/// The answers, as far as they were read.
#[derive(Default)]
struct List {
    found: HashMap<usize, PartResult>,
    has_stranger: bool,
    count: usize,
}

struct Responses<'a>(&'a Range<usize>);

impl<'de> Reader<'de> for Responses<'_> {
    type Out = Option<List>;

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Option<List>, A::Error> {
        let mut list = List::default();
        while list.count <= MAX_RESPONSES {
            let Some(response) = entries.next_element_seed(Read(Response))? else {
                return Ok(Some(list));
            };
            list.count += 1;
            let Some(One { numbers, result }) = response.filter(|response| !response.numbers.is_empty())
            else {
                list.has_stranger = true;
                continue;
            };
            for number in numbers {
                if self.0.contains(&number) {
                    let first = list.found.entry(number);
                    first
                        .and_modify(|first| *first = reconcile(first, &result))
                        .or_insert_with(|| result.clone());
                } else {
                    list.has_stranger = true;
                }
            }
        }
        Skip.list(entries)?;
        Ok(Some(list))
    }
}

/// One answer: the number that is its id, and what it says.
struct One {
    /// None without an id that could be ours, and several where it has more than one.
    numbers: Vec<usize>,
    result: PartResult,
}

struct Response;

impl<'de> Reader<'de> for Response {
    type Out = Option<One>;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Out, A::Error> {
        let (mut numbers, mut ids) = (Vec::new(), 0);
        let (mut status, mut headers, mut body) = (Once::default(), Once::default(), Once::default());
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref() {
                Some("id") => {
                    ids += 1;
                    numbers.extend(number(&entries.next_value_seed(Read(Scalar(LONGEST_ID)))?));
                }
                Some("status") => status.put(entries.next_value_seed(Read(Scalar(0)))?),
                Some("headers") => headers.put(entries.next_value_seed(Read(ReadHeaders))?),
                Some("body") => body.put(entries.next_value_seed(Read(ReadBody))?),
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        let result = if ids > 1 || status.is_twice() || headers.is_twice() || body.is_twice() {
            PartResult::Unanswered("its part of the batch answer has two members of the same name")
        } else {
            let (status, headers) = (status.found().unwrap_or_default(), headers.found().unwrap_or_default());
            part(&status, headers, body.found().unwrap_or_default())
        };
        Ok(Some(One { numbers, result }))
    }
}

/// The number that an answer's id is. Our ids are digits, so case cannot matter.
fn number(id: &ScalarValue) -> Option<usize> {
    match id {
        // `+1` and `01` are numbers too, and not our ids.
        ScalarValue::Text(id) => id.parse().ok().filter(|number: &usize| number.to_string() == *id),
        ScalarValue::Number(id) => usize::try_from(id.as_u64()?).ok(),
        ScalarValue::Neither => None,
    }
}

fn part(status: &ScalarValue, headers: Headers, body: Body) -> PartResult {
    let status = match status {
        ScalarValue::Number(status) => status.as_u64().and_then(|status| u16::try_from(status).ok()),
        _ => None,
    };
    // An interim status (1XX) is not yet an answer.
    let Some(status) = status.filter(|status| (200..600).contains(status)) else {
        return PartResult::Unanswered("its part of the batch answer has no HTTP status");
    };
    let (error, state) = if status >= 300 { (body.error, None) } else { (ErrorBody::default(), body.state) };
    PartResult::Answered(Box::new(PartAnswer {
        status,
        retry_after: headers.retry_after.text(),
        request_id: headers.request_id.text().map(|id| sanitize_id(&id)).or_else(|| error.request_id.clone()),
        challenge: headers.challenge.text(),
        error,
        state,
        content: body.content,
    }))
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
    use serde_json::{Value, json};

    fn statuses(answer: &Value, parts: usize) -> Vec<Option<u16>> {
        read(answer.to_string().as_bytes(), parts)
            .unwrap()
            .parts
            .into_iter()
            .map(|part| match part {
                PartResult::Answered(answer) => Some(answer.status),
                PartResult::Unanswered(_) | PartResult::LeftOut => None,
            })
            .collect()
    }

    fn read(answer: &[u8], parts: usize) -> Result<BatchAnswer, Malformed> {
        super::read(answer, 1..parts + 1)
    }

    #[test]
    fn the_answer_to_another_batch_is_none_to_this_one() {
        let answer = br#"{"responses": [{"id": "1", "status": 202}, {"id": "22", "status": 202}]}"#;
        let read = super::read(answer, 21..23).unwrap();
        assert!(read.has_stranger);
        assert!(matches!(read.parts.as_slice(), [PartResult::LeftOut, PartResult::Answered(_)]));
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

    #[test]
    fn a_flood_of_answers_is_none_of_ours() {
        let answer = |count: usize| {
            let responses: Vec<_> = (0..count).map(|_| json!({"id": "1", "status": 202})).collect();
            json!({"responses": responses}).to_string()
        };
        assert!(read(answer(MAX_RESPONSES).as_bytes(), 1).is_ok());
        let refused = read(answer(MAX_RESPONSES + 1).as_bytes(), 1).unwrap_err();
        assert!(refused.to_string().contains("far more responses"), "{refused}");
    }

    #[test]
    fn the_order_of_the_keys_does_not_matter() {
        let part = |text: &str| {
            let answer = format!("{{\"responses\": [{text}]}}");
            read(answer.as_bytes(), 1).unwrap().parts.remove(0)
        };
        let one = part(
            r#"{"id": "1", "status": 404, "headers": {"Retry-After": 7}, "body": {"error": {"code": "x"}, "state": "y"}}"#,
        );
        let other = part(
            r#"{"body": {"state": "y", "error": {"code": "x"}}, "headers": {"Retry-After": 7}, "status": 404, "id": 1}"#,
        );
        assert_eq!(one, other);
        let PartResult::Answered(one) = one else { panic!("answered") };
        assert_eq!((one.error.code.as_deref(), one.state.as_deref()), (Some("x"), None));
        assert_eq!(one.retry_after.as_deref(), Some("7"));
        let read =
            part(r#"{"body": {"assignmentState": "Delivered", "state": null}, "status": 200, "id": 1}"#);
        let PartResult::Answered(read) = read else { panic!("answered") };
        assert_eq!(read.state, None, "a state that is there and no text hides the other");
        let read = part(r#"{"body": {"assignmentState": "Delivered"}, "status": 200, "id": 1}"#);
        let PartResult::Answered(read) = read else { panic!("answered") };
        assert_eq!(read.state.as_deref(), Some("delivered"));
    }

    #[test]
    fn names_that_come_twice_settle_nothing() {
        assert!(read(br#"{"responses": [{"id": "1", "status": 202}], "responses": []}"#, 1).is_err());
        assert!(read(br#"{"responses": [], "responses": 5}"#, 1).is_err());
        for part in [
            r#"{"id": "1", "status": 202, "status": 404}"#,
            r#"{"id": "1", "status": 404, "\u0073tatus": 202}"#,
            r#"{"id": "1", "id": "2", "status": 202}"#,
            r#"{"id": "9", "id": "1", "status": 202}"#,
            r#"{"id": "1", "status": 202, "body": {}, "body": {"error": {}}}"#,
            r#"{"id": "1", "status": 429, "headers": {"Retry-After": "1"}, "headers": {}}"#,
        ] {
            let answer = format!(r#"{{"responses": [{{"id": "3", "status": 202}}, {part}]}}"#);
            let parts = read(answer.as_bytes(), 3).unwrap().parts;
            assert!(matches!(&parts[0], PartResult::Unanswered(why) if why.contains("same name")), "{part}");
            // It spoils no other part, unless it names that one, too.
            assert!(matches!(&parts[2], PartResult::Answered(_)), "{part}");
        }
        let of_two = br#"{"responses": [{"id": "1", "id": "2", "status": 202}, {"id": "2", "status": 404}]}"#;
        assert!(read(of_two, 2).unwrap().parts.iter().all(|part| matches!(part, PartResult::Unanswered(_))));
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
