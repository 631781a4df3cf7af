//! JSON from outside, read in one pass: what is wanted is taken out, everything else is passed over and never kept. An
//! answer of 8 MiB made of tiny values would take a hundred and more as a tree.

use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// No key that is looked for is longer.
const LONGEST_KEY: usize = 64;

/// What is to be made of one value, by its kind. What is not said is passed over and gives the default.
///
/// What is passed over is read all the same: it has to be JSON, no deeper than serde_json goes.
pub trait Reader<'de>: Sized {
    /// What it makes.
    type Out: Default;

    /// From an object.
    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Out, A::Error> {
        while entries.next_key_seed(Read(Skip))?.is_some() {
            entries.next_value_seed(Read(Skip))?;
        }
        Ok(Self::Out::default())
    }

    /// From a list.
    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Out, A::Error> {
        while entries.next_element_seed(Read(Skip))?.is_some() {}
        Ok(Self::Out::default())
    }

    /// From a text.
    fn text(self, _: &str) -> Self::Out {
        Self::Out::default()
    }

    /// From a number.
    fn number(self, _: Number) -> Self::Out {
        Self::Out::default()
    }

    /// From true or false.
    fn boolean(self) -> Self::Out {
        Self::Out::default()
    }

    /// From null.
    fn null(self) -> Self::Out {
        Self::Out::default()
    }
}

/// Read a whole body; `None` where it is not JSON.
pub fn read<'de, R: Reader<'de>>(body: &'de [u8], reader: R) -> Option<R::Out> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Read(reader).deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(read)
}

/// Passes over whatever comes.
#[derive(Clone, Copy)]
pub struct Skip;

impl Reader<'_> for Skip {
    type Out = ();
}

/// A text no longer than so many bytes; a longer one is none.
#[derive(Clone, Copy)]
pub struct Text(pub usize);

impl Reader<'_> for Text {
    type Out = Option<String>;

    fn text(self, text: &str) -> Option<String> {
        (text.len() <= self.0).then(|| text.to_owned())
    }
}

/// A key of an object; one that is longer than any that is looked for is none.
#[derive(Clone, Copy)]
pub struct Key;

impl Reader<'_> for Key {
    type Out = Option<String>;

    fn text(self, text: &str) -> Option<String> {
        Text(LONGEST_KEY).text(text)
    }
}

/// A number or a text, the text no longer than so many bytes.
#[derive(Clone, Copy)]
pub struct Scalar(pub usize);

/// What [`Scalar`] reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ScalarValue {
    /// Neither.
    #[default]
    Neither,
    /// A text.
    Text(String),
    /// A number.
    Number(Number),
}

impl Reader<'_> for Scalar {
    type Out = ScalarValue;

    fn text(self, text: &str) -> ScalarValue {
        if text.len() <= self.0 { ScalarValue::Text(text.to_owned()) } else { ScalarValue::Neither }
    }

    fn number(self, number: Number) -> ScalarValue {
        ScalarValue::Number(number)
    }
}

/// What serde asks for to apply a [`Reader`].
pub struct Read<R>(pub R);

impl<'de, R: Reader<'de>> DeserializeSeed<'de> for Read<R> {
    type Value = R::Out;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Out, D::Error> {
        deserializer.deserialize_any(Visit(self.0, PhantomData))
    }
}

struct Visit<'de, R>(R, PhantomData<&'de ()>);

impl<'de, R: Reader<'de>> Visitor<'de> for Visit<'de, R> {
    type Value = R::Out;

    fn expecting(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<R::Out, E> {
        Ok(self.0.boolean())
    }

    fn visit_unit<E>(self) -> Result<R::Out, E> {
        Ok(self.0.null())
    }

    fn visit_u64<E>(self, number: u64) -> Result<R::Out, E> {
        Ok(self.0.number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<R::Out, E> {
        Ok(self.0.number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<R::Out, E> {
        // JSON has neither infinity nor a number that is none.
        Ok(match Number::from_f64(number) {
            Some(number) => self.0.number(number),
            None => self.0.null(),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<R::Out, E> {
        Ok(self.0.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, entries: A) -> Result<R::Out, A::Error> {
        self.0.list(entries)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<R::Out, A::Error> {
        self.0.object(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_has_to_be_json_all_the_same() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for (body, is_json) in [
            ("{}", true),
            (r#" {"a": [1, -1, 0.5, true, null, "\u00e4", {"b": []}]} "#, true),
            ("", false),
            ("{} {}", false),
            ("{\"a\": }", false),
            ("{1: 2}", false),
            ("[1,]", false),
            ("1e999", false),
            ("\"\\ud800\"", false),
            (deep(100).as_str(), true),
            (deep(200).as_str(), false),
        ] {
            assert_eq!(read(body.as_bytes(), Skip).is_some(), is_json, "{body}");
            // The same as what makes a tree of it.
            assert_eq!(serde_json::from_str::<serde_json::Value>(body).is_ok(), is_json, "{body}");
        }
        assert!(read(b"\"\xff\"", Skip).is_none());
    }

    #[test]
    fn a_text_that_is_too_long_is_none() {
        assert_eq!(read(br#""abc""#, Text(3)), Some(Some("abc".into())));
        assert_eq!(read(br#""abcd""#, Text(3)), Some(None));
        assert_eq!(read(b"5", Text(3)), Some(None));
        assert_eq!(read(br#""abcd""#, Scalar(3)), Some(ScalarValue::Neither));
        assert_eq!(
            read(b"0.249", Scalar(3)).map(|read| format!("{read:?}")),
            Some("Number(Number(0.249))".into())
        );
    }
}
