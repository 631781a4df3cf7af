//! The id of an access package assignment: a GUID, checked before anything goes on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::{sanitize, shorten};

/// How many characters of a refused input are kept to show it again.
const SHOWN: usize = 64;

/// A well-formed assignment id. It displays as lower-case 8-4-4-4-12, the only form that is ever sent.
///
/// Graph types the id as a string with no format; all published and observed ones are GUIDs
/// (<https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AssignmentId(Uuid);

impl AssignmentId {
    /// Read an id in one of the forms that admins paste: with hyphens or without, in any case, braced or `urn:uuid:`,
    /// with blanks and invisible characters around it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let stripped = text.trim_matches(is_blank);
        if stripped.is_empty() {
            return Err(InvalidId::empty());
        }
        let lower = stripped.to_ascii_lowercase();
        let bare = lower
            .strip_prefix("urn:uuid:")
            .or_else(|| lower.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')))
            .unwrap_or(&lower);
        Self::bare(bare).ok_or_else(|| InvalidId::malformed(stripped))
    }

    /// 36 characters are 8-4-4-4-12, and 32 have no hyphens; the parser alone would let other forms through.
    fn bare(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|_| matches!(text.len(), 32 | 36)).map(Self)
    }

    /// The GUID that a longer text, such as a URL, ends in.
    fn last_in(text: &str) -> Option<Self> {
        let words = text.rsplit(|char: char| !char.is_ascii_hexdigit() && char != '-');
        words.filter(|word| word.len() == 36).find_map(Self::bare)
    }

    /// The GUID itself.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for AssignmentId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for AssignmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// An input that is no assignment id: what was given, shortened, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidId {
    /// The input, cut to a length that can be shown.
    pub shown: String,
    /// Which value, what is wrong with it, and the form that is asked for.
    pub reason: String,
}

impl InvalidId {
    /// For an empty cell: a text without anything to see, or no value at all.
    pub fn empty() -> Self {
        let reason =
            "assignment id is empty, as a cell without a value is; fill it in, or leave it out".into();
        Self { shown: String::new(), reason }
    }

    fn malformed(text: &str) -> Self {
        let shown = shorten(text, SHOWN);
        let fault = match AssignmentId::last_in(text) {
            Some(id) => format!("is no GUID by itself; if {id} is meant, give that alone"),
            None => "is no GUID of the form 8-4-4-4-12, like d82eb508-acc4-43cc-bcf1-7c1c4a2c073b".to_owned(),
        };
        Self { reason: format!("assignment id {shown:?} {fault}"), shown: sanitize(text, SHOWN) }
    }

    /// For a value that is not text at all, such as a number; `shown` is its printed form.
    pub fn of_type(shown: &str, type_name: &str) -> Self {
        Self::of_value(shown, type_name, "give a str or a uuid.UUID")
    }

    /// For bytes; `shown` is their printed form.
    pub fn of_bytes(shown: &str, type_name: &str, bytes: &[u8]) -> Self {
        match readings(bytes) {
            Some(readings) => {
                let remedy = format!(
                    "16 raw bytes do not say in which order they are: {readings}; give the one that is meant"
                );
                Self::of_value(shown, type_name, &remedy)
            }
            None => Self::of_value(shown, type_name, "decode it to a str"),
        }
    }

    /// For a value of a type that is no id; `shown` is its printed form.
    pub fn of_value(shown: &str, type_name: &str, remedy: &str) -> Self {
        let shown = sanitize(shown, SHOWN);
        Self { reason: format!("assignment id {shown} is of type {type_name}; {remedy}"), shown }
    }
}

/// White space, and what Unicode has of width zero: marks of byte order, joiners, marks of direction. Web pages, mails
/// and spreadsheets put them around what is copied out of them.
fn is_blank(char: char) -> bool {
    char.is_whitespace()
        || matches!(
            char,
            '\u{1c}'..='\u{1f}' // white space to Python's str.strip
                | '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// What 16 raw bytes can mean. RFC 9562 has them in network order; .NET orders the first three groups the other way round
/// (<https://learn.microsoft.com/dotnet/api/system.guid.tobytearray>), which is another GUID.
pub fn readings(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.try_into().ok()?;
    let (network, dotnet) = (Uuid::from_bytes(bytes), Uuid::from_bytes_le(bytes));
    Some(format!("{network} in network order, {dotnet} in that of .NET's Guid.ToByteArray"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b";

    #[test]
    fn every_accepted_form_becomes_the_same_text() {
        for form in [
            PLAIN,
            "D82EB508-ACC4-43CC-BCF1-7C1C4A2C073B",
            "{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}",
            "{D82EB508-ACC4-43CC-BCF1-7C1C4A2C073B}",
            "urn:uuid:d82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
            "URN:UUID:D82EB508-ACC4-43CC-BCF1-7C1C4A2C073B",
            "d82eb508acc443ccbcf17c1c4a2c073b",
            "{D82EB508ACC443CCBCF17C1C4A2C073B}",
            "urn:uuid:d82eb508acc443ccbcf17c1c4a2c073b",
            " d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\t",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\r\n",
            "\u{feff}d82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
            "\u{a0}{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}\u{3000}",
            "\u{200b}d82eb508acc443ccbcf17c1c4a2c073b\u{200d}\u{2060}",
            "\u{202a}d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\u{202c}\u{200e}\u{1f}",
        ] {
            assert_eq!(AssignmentId::parse(form).unwrap().to_string(), PLAIN, "{form}");
        }
    }

    #[test]
    fn nothing_else_is_an_id() {
        let long = "d".repeat(1_000_000);
        for text in [
            "",
            " ",
            "../groups",
            "\u{feff}\u{200b}\u{a0}\r\n",
            "d82eb508acc443ccbcf17c1c4a2c073",
            "d82eb508-acc4-43cc-bcf1\u{200b}-7c1c4a2c073b",
            "d82eb508acc4-43cc-bcf1-7c1c4a2c073b",
            "{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}",
            "{{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}}",
            "urn:uuid:{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\r\nX-Evil: 1",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\0",
            "d82eb508%2dacc4-43cc-bcf1-7c1c4a2c073b",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073g",
            "ｄ82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
            &long,
        ] {
            let refused = AssignmentId::parse(text).unwrap_err();
            assert!(refused.shown.chars().count() <= SHOWN + 1);
            assert!(refused.reason.len() < 500, "{}", refused.reason);
        }
    }

    #[test]
    fn the_reason_names_the_remedy() {
        let reason = |text: &str| AssignmentId::parse(text).unwrap_err().reason;
        assert!(reason("").contains("is empty"));
        assert!(reason("\u{feff} \n").contains("is empty"));
        assert!(reason("x").contains("8-4-4-4-12"));
        assert!(InvalidId::of_type("42", "int").reason.contains("42 is of type int"));
        for text in [
            format!(
                "https://graph.example/v1.0/identityGovernance/entitlementManagement/assignments/{PLAIN}"
            ),
            format!("https://portal.example/#view/package/00000000-0000-4000-8000-000000000001/{PLAIN}/"),
            format!("/assignments('{}')?$expand=target", PLAIN.to_uppercase()),
            format!("{PLAIN}/reprocess"),
            format!("\"{PLAIN}\","),
        ] {
            assert!(reason(&text).contains(&format!("if {PLAIN} is meant")), "{}", reason(&text));
        }
    }

    #[test]
    fn raw_bytes_are_named_in_both_orders() {
        let bytes: Vec<u8> = (0..16).collect();
        let refused = InvalidId::of_bytes("b'...'", "bytes", &bytes);
        assert!(refused.reason.contains("00010203-0405-0607-0809-0a0b0c0d0e0f"), "{}", refused.reason);
        assert!(refused.reason.contains("03020100-0504-0706-0809-0a0b0c0d0e0f"), "{}", refused.reason);
        assert!(InvalidId::of_bytes("b'x'", "bytes", b"x").reason.contains("decode"));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in ".*", bits: u128) {
            if let Ok(id) = AssignmentId::parse(&text) {
                proptest::prop_assert_eq!(AssignmentId::parse(&id.to_string()).unwrap(), id);
            }
            let id = AssignmentId::from(Uuid::from_u128(bits));
            proptest::prop_assert_eq!(AssignmentId::parse(&id.to_string().to_uppercase()).unwrap(), id);
        }
    }
}
