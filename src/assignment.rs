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
    /// Read an id in one of the forms that admins paste: hyphenated in any case, braced, or `urn:uuid:`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let lower = text.to_ascii_lowercase();
        let bare = lower
            .strip_prefix("urn:uuid:")
            .or_else(|| lower.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')))
            .unwrap_or(&lower);
        // 36 is 8-4-4-4-12; the parser alone would let other forms through.
        match Uuid::try_parse(bare) {
            Ok(id) if bare.len() == 36 => Ok(Self(id)),
            _ => Err(InvalidId::malformed(text)),
        }
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
    fn malformed(text: &str) -> Self {
        let shown = shorten(text, SHOWN);
        let fault = if text.is_empty() {
            "is empty"
        } else if text.trim() != text {
            "has whitespace around it; strip it"
        } else {
            "is no GUID of the form 8-4-4-4-12, like d82eb508-acc4-43cc-bcf1-7c1c4a2c073b"
        };
        Self { reason: format!("assignment id {shown:?} {fault}"), shown: sanitize(text, SHOWN) }
    }

    /// For a value that is not text at all, such as a number; `shown` is its printed form.
    pub fn of_type(shown: &str, type_name: &str) -> Self {
        let shown = sanitize(shown, SHOWN);
        Self {
            reason: format!("assignment id {shown} is of type {type_name}; give a str or a uuid.UUID"),
            shown,
        }
    }
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
            "d82eb508acc443ccbcf17c1c4a2c073b",
            "{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}",
            "{{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}}",
            "{d82eb508acc443ccbcf17c1c4a2c073b}",
            "urn:uuid:{d82eb508-acc4-43cc-bcf1-7c1c4a2c073b}",
            "urn:uuid:d82eb508acc443ccbcf17c1c4a2c073b",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\r\nX-Evil: 1",
            "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b\n",
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
        assert!(reason(&format!("{PLAIN}\n")).contains("strip it"));
        assert!(reason("x").contains("8-4-4-4-12"));
        assert!(InvalidId::of_type("42", "int").reason.contains("42 is of type int"));
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
