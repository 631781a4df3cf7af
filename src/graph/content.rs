//! What the body of a success holds. Not every success is Graph's: a captive portal answers 200 in its place.

use serde::de::{MapAccess, SeqAccess};

use super::json::{self, Key, Read, Reader, Skip};

/// What a body holds, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Nothing: no body, or `{}`, `null`, an empty text, or an object with nothing but OData's annotations of itself
    /// (<https://docs.oasis-open.org/odata/odata-json-format/v4.01/odata-json-format-v4.01.html#sec_ControlInformation>).
    Nothing,
    /// An object with an `error`.
    Error,
    /// Other JSON.
    #[default]
    Something,
    /// A web page.
    WebPage,
    /// Anything else.
    Text,
}

impl Content {
    /// What a whole answer holds.
    pub fn of(body: &[u8]) -> Self {
        let text = json::unmarked(body).trim_ascii_start();
        match text.first() {
            None => Self::Nothing,
            Some(b'<') => Self::WebPage,
            Some(_) => json::read(body, ReadContent).unwrap_or(Self::Text),
        }
    }

    /// In words.
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Error => "an error",
            Self::Something => "JSON of another kind",
            Self::WebPage => "a web page",
            Self::Text => "a text",
        }
    }
}

/// Why a success that should hold something else is not trusted to be Graph's.
pub fn mistaken(status: u16, body: &[u8], expected: &str) -> String {
    format!(
        "the answer ({status}) is {}, where Graph sends {expected}; check base_url and proxy, and whether the network \
         wants somebody to sign in first",
        Content::of(body).name()
    )
}

/// Tells what a value holds.
#[derive(Clone, Copy)]
pub struct ReadContent;

impl ReadContent {
    /// What the name of a member makes of an object that held so much before it.
    pub fn member(before: Content, name: Option<&str>) -> Content {
        match (before, name) {
            (Content::Error, _) | (_, Some("error")) => Content::Error,
            (before, Some(name)) if name.starts_with("@odata.") => before,
            _ => Content::Something,
        }
    }
}

impl<'de> Reader<'de> for ReadContent {
    type Out = Content;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut content = Content::Nothing;
        while let Some(name) = entries.next_key_seed(Read(Key))? {
            content = Self::member(content, name.as_deref());
            entries.next_value_seed(Read(Skip))?;
        }
        Ok(content)
    }

    fn list<A: SeqAccess<'de>>(self, entries: A) -> Result<Content, A::Error> {
        Skip.list(entries)?;
        Ok(Content::Something)
    }

    fn text(self, text: &str) -> Content {
        match text.trim_start().chars().next() {
            None => Content::Nothing,
            Some('<') => Content::WebPage,
            Some(_) => Content::Something,
        }
    }

    fn null(self) -> Content {
        Content::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_a_kind() {
        for (body, content) in [
            ("", Content::Nothing),
            (" \r\n", Content::Nothing),
            ("\u{feff}", Content::Nothing),
            ("{}", Content::Nothing),
            ("\u{feff} { } \n", Content::Nothing),
            ("null", Content::Nothing),
            ("\"\"", Content::Nothing),
            (r#"{"@odata.context": "https://graph.microsoft.com/beta/$metadata#x"}"#, Content::Nothing),
            (r#"{"@odata.context": "x", "id": "y"}"#, Content::Something),
            (r#"{"id": "x"}"#, Content::Something),
            (r#"{"": null}"#, Content::Something),
            ("[]", Content::Something),
            ("0", Content::Something),
            ("false", Content::Something),
            ("\"PGh0bWw+\"", Content::Something),
            ("\"<html>\"", Content::WebPage),
            (r#"{"error": {"code": "x"}}"#, Content::Error),
            (r#"{"error": null}"#, Content::Error),
            (r#"{"a": 1, "error": {}, "b": 2}"#, Content::Error),
            ("<html>", Content::WebPage),
            ("\u{feff}\n<!DOCTYPE html>", Content::WebPage),
            ("<?xml version=\"1.0\"?><html/>", Content::WebPage),
            ("Please sign in", Content::Text),
            ("{", Content::Text),
            ("{} {}", Content::Text),
            ("\0", Content::Text),
        ] {
            assert_eq!(Content::of(body.as_bytes()), content, "{body:?}");
        }
    }
}
