//! The headers of a part, in all their spellings.
//!
//! The page shows an object of texts (<https://learn.microsoft.com/graph/json-batching>). What stands before or in place
//! of Graph may write them as its own types come out as JSON: .NET's `HttpResponseHeaders` as a list of `Key` and
//! `Value`, where the value is a list; others as names and values, as pairs, or as lines.

use serde::de::{MapAccess, SeqAccess};

use crate::graph::json::{Key, Read, Reader, Scalar, ScalarValue, Skip};

/// A header of a part that is longer is taken for none. Claims challenges have some kilobytes.
const LONGEST_HEADER: usize = 64 * 1024;

/// The headers of a part that matter.
#[derive(Default)]
pub struct Headers {
    pub retry_after: Header,
    pub request_id: Header,
    pub challenge: Header,
}

impl Headers {
    /// The one of this name, if it matters; names come in either case.
    fn named(&mut self, name: &str) -> Option<&mut Header> {
        [
            ("retry-after", &mut self.retry_after),
            ("request-id", &mut self.request_id),
            ("www-authenticate", &mut self.challenge),
        ]
        .into_iter()
        .find_map(|(known, header)| name.eq_ignore_ascii_case(known).then_some(header))
    }
}

/// A header under the spelling that comes first in the alphabet; names come in either case inside a batch.
#[derive(Default)]
pub struct Header(Option<(String, ScalarValue)>);

impl Header {
    fn found(&mut self, name: String, value: ScalarValue) {
        if self.0.as_ref().is_none_or(|(known, _)| name <= *known) {
            self.0 = Some((name, value));
        }
    }

    /// A number is let through as its text.
    pub fn text(self) -> Option<String> {
        match self.0?.1 {
            ScalarValue::Text(text) => Some(text),
            ScalarValue::Number(number) => Some(number.to_string()),
            ScalarValue::Neither => None,
        }
    }
}

/// Reads them in any of their spellings.
pub struct ReadHeaders;

impl<'de> Reader<'de> for ReadHeaders {
    type Out = Headers;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::default();
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            let wanted = key.as_deref().and_then(|key| headers.named(key));
            match (wanted, key) {
                (Some(header), Some(key)) => {
                    header.found(key, entries.next_value_seed(Read(FieldValue(LONGEST_HEADER)))?);
                }
                _ => entries.next_value_seed(Read(Skip))?,
            }
        }
        Ok(headers)
    }

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::default();
        while let Some(fields) = entries.next_element_seed(Read(Listed(LONGEST_HEADER)))? {
            for (name, value) in fields {
                if let Some(header) = headers.named(&name) {
                    header.found(name, value);
                }
            }
        }
        Ok(headers)
    }
}

/// The value of a header: a text or a number, or a list of those, which mean the same as one text with commas
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-5.3>). A text that is longer than so many bytes is none.
#[derive(Clone, Copy)]
struct FieldValue(usize);

impl<'de> Reader<'de> for FieldValue {
    type Out = ScalarValue;

    fn text(self, text: &str) -> ScalarValue {
        Scalar(self.0).text(text)
    }

    fn number(self, number: serde_json::Number) -> ScalarValue {
        ScalarValue::Number(number)
    }

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<ScalarValue, A::Error> {
        let mut all = ScalarValue::Neither;
        while let Some(value) = entries.next_element_seed(Read(Scalar(self.0)))? {
            all = match (all, value) {
                (ScalarValue::Neither, value) => value,
                (all, ScalarValue::Neither) => all,
                (all, value) => Scalar(self.0).text(&format!("{}, {}", shown(&all), shown(&value))),
            };
        }
        Ok(all)
    }
}

fn shown(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Text(text) => text.clone(),
        ScalarValue::Number(number) => number.to_string(),
        ScalarValue::Neither => String::new(),
    }
}

/// One entry of a list of headers, as names with their values: `{"name": ..., "value": ...}`, `{"Key": ..., "Value":
/// [...]}`, `{"Retry-After": "10"}`, `["Retry-After", "10"]` or `"Retry-After: 10"`.
#[derive(Clone, Copy)]
struct Listed(usize);

impl<'de> Reader<'de> for Listed {
    type Out = Vec<(String, ScalarValue)>;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Out, A::Error> {
        let (mut name, mut value, mut fields) = (None, None, Vec::new());
        while let Some(key) = entries.next_key_seed(Read(Key))? {
            match key.as_deref().map(str::to_ascii_lowercase).as_deref() {
                Some("name" | "key") => name = Some(entries.next_value_seed(Read(FieldValue(self.0)))?),
                Some("value" | "values") => value = Some(entries.next_value_seed(Read(FieldValue(self.0)))?),
                Some(_) => {
                    let found = entries.next_value_seed(Read(FieldValue(self.0)))?;
                    fields.extend(key.filter(|_| fields.len() < MOST_FIELDS).map(|key| (key, found)));
                }
                None => entries.next_value_seed(Read(Skip))?,
            }
        }
        if let (Some(ScalarValue::Text(name)), Some(value)) = (name, value) {
            fields.push((name, value));
        }
        Ok(fields)
    }

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Out, A::Error> {
        let name = entries.next_element_seed(Read(Scalar(self.0)))?;
        let value = entries.next_element_seed(Read(FieldValue(self.0)))?;
        Skip.list(entries)?;
        Ok(match (name, value) {
            (Some(ScalarValue::Text(name)), Some(value)) => vec![(name, value)],
            _ => Vec::new(),
        })
    }

    fn text(self, text: &str) -> Self::Out {
        let field = text.split_once(':').filter(|_| text.len() <= self.0);
        field
            .map(|(name, value)| (name.trim().to_owned(), ScalarValue::Text(value.trim().to_owned())))
            .into_iter()
            .collect()
    }
}

/// An entry is one header; in an object that has more, so many are looked at.
const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::json;
    use serde_json::{Value, json};

    fn fields(entry: &Value) -> Vec<(String, String)> {
        let fields = json::read(entry.to_string().as_bytes(), Listed(40)).unwrap();
        fields.into_iter().map(|(name, value)| (name, shown(&value))).collect()
    }

    #[test]
    fn every_spelling_of_an_entry_is_read() {
        for entry in [
            json!({"name": "A", "value": "1"}),
            json!({"Key": "A", "Value": ["1"]}),
            json!({"VALUES": [1], "NAME": "A"}),
            json!({"A": "1"}),
            json!({"A": [1]}),
            json!(["A", "1"]),
            json!(["A", 1, "more"]),
            json!(["A", ["1"]]),
            json!("A: 1"),
            json!("A:1 "),
        ] {
            assert_eq!(fields(&entry), [("A".to_owned(), "1".to_owned())], "{entry}");
        }
        let two = fields(&json!({"A": ["1", null, "2"], "B": 3}));
        assert_eq!(two, [("A".into(), "1, 2".into()), ("B".into(), "3".into())]);
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for entry in [
            json!(7),
            json!(null),
            json!([]),
            json!(["A"]),
            json!([7, "1"]),
            json!({"name": 7, "value": "1"}),
            json!({"name": "A"}),
            json!("A"),
            json!(format!("A: {}", "1".repeat(40))),
        ] {
            assert_eq!(fields(&entry), [], "{entry}");
        }
    }
}
