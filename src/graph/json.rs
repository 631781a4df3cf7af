//! JSON from outside, read in one pass: what is wanted is taken out, everything else is passed over and never kept. An
//! answer of 8 MiB made of tiny values would take a hundred and more as a tree.

use std::cell::Cell;
use std::fmt::{self, Formatter};
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;

use hashbrown::HashSet;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// No key that is looked for is longer.
const LONGEST_KEY: usize = 64;
/// It is no part of the text behind it, and a reader may pass over it (<https://www.rfc-editor.org/rfc/rfc8259#section-8.1>).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

/// A body without the byte order mark that may stand in front of it.
pub fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// Read a whole body; `None` where it is not JSON.
pub fn read<'de, R: Reader<'de>>(body: &'de [u8], reader: R) -> Option<R::Out> {
    let mut json = serde_json::Deserializer::from_slice(unmarked(body));
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

/// What a name of an object stands for. One that comes twice contradicts itself, and every reader takes another of the
/// two (<https://www.rfc-editor.org/rfc/rfc8259#section-4>), so neither counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Once<T> {
    /// It does not come.
    #[default]
    Absent,
    /// It comes once.
    Found(T),
    /// It comes more than once.
    Twice,
}

impl<T> Once<T> {
    /// It comes, with this value.
    pub fn put(&mut self, value: T) {
        *self = if matches!(self, Self::Absent) { Self::Found(value) } else { Self::Twice };
    }

    /// Whether it comes more than once.
    pub const fn is_twice(&self) -> bool {
        matches!(self, Self::Twice)
    }

    /// The value, if it comes once.
    pub fn found(self) -> Option<T> {
        if let Self::Found(value) = self { Some(value) } else { None }
    }
}

/// Passes over values, counts them, and sees whether a name comes twice in one object, however deep.
pub struct Tally {
    most: usize,
    count: Cell<usize>,
    has_doubled: Cell<bool>,
    /// Keyed at random, so that nobody can make two names look alike.
    hasher: RandomState,
}

impl Tally {
    /// Beyond so many values, names are not looked at any more.
    pub fn new(most: usize) -> Self {
        Self { most, count: Cell::new(0), has_doubled: Cell::new(false), hasher: RandomState::new() }
    }

    /// Whether there were more values than that.
    pub const fn is_over(&self) -> bool {
        self.count.get() > self.most
    }

    /// Whether an object had two members of the same name.
    pub const fn has_doubled(&self) -> bool {
        self.has_doubled.get()
    }

    fn one(&self) {
        self.count.set(self.count.get() + 1);
    }
}

/// Whether a body has an object with two members of the same name.
pub fn has_doubled(body: &[u8]) -> bool {
    let tally = Tally::new(usize::MAX);
    read(body, &tally).is_some() && tally.has_doubled()
}

impl<'de> Reader<'de> for &Tally {
    type Out = ();

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.one();
        let mut names = HashSet::new();
        while let Some(name) = entries.next_key_seed(Read(Hashed(&self.hasher)))? {
            if !self.is_over() && !names.insert(name) {
                self.has_doubled.set(true);
            }
            entries.next_value_seed(Read(self))?;
        }
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.one();
        while entries.next_element_seed(Read(self))?.is_some() {}
        Ok(())
    }

    fn text(self, _: &str) {
        self.one();
    }

    fn number(self, _: Number) {
        self.one();
    }

    fn boolean(self) {
        self.one();
    }

    fn null(self) {
        self.one();
    }
}

/// The hash of a text.
struct Hashed<'a>(&'a RandomState);

impl Reader<'_> for Hashed<'_> {
    type Out = u64;

    fn text(self, text: &str) -> u64 {
        self.0.hash_one(text)
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
    fn what_may_stand_around_a_text_is_passed_over() {
        for (body, is_json) in [
            ("\u{feff}{}", true),
            ("\u{feff} \r\n\t{} \r\n\t", true),
            // The mark comes once, first, and not alone.
            ("\u{feff}\u{feff}{}", false),
            (" \u{feff}{}", false),
            ("{}\u{feff}", false),
            ("\u{feff}", false),
            // No white space of JSON.
            ("\u{a0}{}", false),
            ("\u{c}{}", false),
            ("{}\0", false),
        ] {
            assert_eq!(read(body.as_bytes(), Skip).is_some(), is_json, "{body:?}");
        }
        let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&utf16, Skip).is_none(), "JSON between systems is UTF-8");
    }

    #[test]
    fn a_name_that_comes_twice_is_seen_at_any_depth() {
        for (body, has_doubled) in [
            (r#"{"a": 1, "b": {"a": 1}, "A": [{"a": 1}, {"a": 1}]}"#, false),
            (r#"{"a": 1, "a": 1}"#, true),
            (r#"{"a": 1, "\u0061": 2}"#, true),
            (r#"[{"b": [{"c": {"": 1, "": 2}}]}]"#, true),
        ] {
            let tally = Tally::new(100);
            read(body.as_bytes(), &tally).unwrap();
            assert_eq!(tally.has_doubled(), has_doubled, "{body}");
        }
        let tally = Tally::new(2);
        read(br#"[1, {"a": 1}]"#, &tally).unwrap();
        assert!(tally.is_over());
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
