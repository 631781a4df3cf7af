//! Answers that repeat the request: no text of theirs that is kept may hold the token, or a piece of it.
//!
//! A piece counts too, since a text may be cut or split on its way here. What is remembered of a token is a hash of each
//! of its pieces, so that looking for it takes a time that depends on the text alone, and no token is held for it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use hashbrown::HashSet;
use serde_json::Value;

use crate::graph::json;

/// What stands in place of the token.
const BLOT: &str = "[token]";
/// The shortest piece that is blotted out. A shorter text is no real token, and may well be a word of Graph's own.
const PIECE: usize = 16;
/// Wherever a piece stands in a text, it covers one stretch of this length whole, counted from the text's start. So only
/// these are looked up; what is around them is looked at where one is known.
const STRETCH: usize = PIECE / 2;
/// Tokens that are remembered, the one in use among them. A service that repeats a token has it from a request of late.
const REMEMBERED: usize = 8;
/// No name of a member of Graph's is longer. Shorter ones are left, since a token may hold such a word, and an answer
/// whose members have lost their names means something else.
const LONGEST_NAME: usize = 64;

/// The tokens that may come back.
#[derive(Clone, Default)]
pub struct Echoes {
    /// Keyed at random, so that a hash tells nothing of what it was made of.
    hasher: RandomState,
    /// The one used last at the end.
    tokens: VecDeque<Remembered>,
    stretches: HashSet<u64>,
    pieces: HashSet<u64>,
}

/// What is known of one token: the hash of it, of each stretch and of each piece.
#[derive(Clone)]
struct Remembered {
    whole: u64,
    stretches: Vec<u64>,
    pieces: Vec<u64>,
}

impl Echoes {
    /// Whether it is the token that was remembered last.
    pub fn is_last(&self, token: &str) -> bool {
        self.tokens.back().is_some_and(|last| last.whole == self.hasher.hash_one(token))
    }

    /// Look for this token from now on; the one that was not used for the longest time may be forgotten for it.
    pub fn remember(&mut self, token: &str) {
        let whole = self.hasher.hash_one(token);
        if let Some(place) = self.tokens.iter().position(|known| known.whole == whole) {
            let known = self.tokens.remove(place);
            self.tokens.extend(known);
            return;
        }
        let hashes =
            |length| token.as_bytes().windows(length).map(|part| self.hasher.hash_one(part)).collect();
        let fresh = Remembered { whole, stretches: hashes(STRETCH), pieces: hashes(PIECE) };
        if self.tokens.len() == REMEMBERED {
            self.tokens.pop_front();
        }
        self.tokens.push_back(fresh);
        self.stretches = self.tokens.iter().flat_map(|known| &known.stretches).copied().collect();
        self.pieces = self.tokens.iter().flat_map(|known| &known.pieces).copied().collect();
    }

    /// The text with the tokens blotted out; `None` where there is nothing to blot out.
    pub fn blotted(&self, text: &str) -> Option<String> {
        // Headers are ASCII, so a token is, and a letter of more than one byte is never cut.
        self.without(text.as_bytes()).map(|clean| String::from_utf8_lossy(&clean).into_owned())
    }

    /// The same for a body. JSON may write each letter in more than one way, so its texts are looked at as they are read.
    pub fn blotted_body(&self, body: &[u8]) -> Option<Vec<u8>> {
        if !body.contains(&b'\\') && self.places(body).is_empty() {
            return None;
        }
        match serde_json::from_slice::<Value>(json::unmarked(body)) {
            Ok(mut value) => (self.blot_out(&mut value) > 0).then(|| {
                if json::has_doubled(body) {
                    // Written anew it would not contradict itself any more. This is no JSON, and so nobody's answer.
                    return BLOT.into();
                }
                // What was JSON can be written as JSON.
                serde_json::to_vec(&value).unwrap_or_default()
            }),
            Err(_) => self.without(body),
        }
    }

    /// Blot them out of each text of a value; gives how many texts held one.
    fn blot_out(&self, value: &mut Value) -> usize {
        match value {
            Value::String(text) => self.blotted(text).map_or(0, |clean| {
                *text = clean;
                1
            }),
            Value::Array(items) => items.iter_mut().map(|item| self.blot_out(item)).sum(),
            Value::Object(members) => {
                let found: usize = members.values_mut().map(|item| self.blot_out(item)).sum();
                let renamed: Vec<_> = members
                    .keys()
                    .filter(|name| name.len() > LONGEST_NAME)
                    .filter_map(|name| Some((name.clone(), self.blotted(name)?)))
                    .collect();
                let names = renamed.len();
                for (name, clean) in renamed {
                    if let Some(value) = members.remove(&name) {
                        members.insert(clean, value);
                    }
                }
                found + names
            }
            _ => 0,
        }
    }

    fn without(&self, text: &[u8]) -> Option<Vec<u8>> {
        let places = self.places(text);
        if places.is_empty() {
            return None;
        }
        let mut clean = Vec::with_capacity(text.len());
        let mut from = 0;
        for Range { start, end } in places {
            clean.extend_from_slice(text.get(from..start).unwrap_or_default());
            clean.extend_from_slice(BLOT.as_bytes());
            from = end;
        }
        clean.extend_from_slice(text.get(from..).unwrap_or_default());
        Some(clean)
    }

    /// Where pieces stand; those that touch are one.
    fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        if self.pieces.is_empty() {
            return places;
        }
        for (number, stretch) in text.chunks_exact(STRETCH).enumerate() {
            if !self.stretches.contains(&self.hasher.hash_one(stretch)) {
                continue;
            }
            let last = number * STRETCH;
            // Those that start earlier cover the stretch before this one, too.
            for start in (last + 1).saturating_sub(STRETCH)..=last {
                let end = start + PIECE;
                let is_piece = text
                    .get(start..end)
                    .is_some_and(|piece| self.pieces.contains(&self.hasher.hash_one(piece)));
                match places.last_mut() {
                    Some(place) if is_piece && start <= place.end => place.end = end,
                    _ if is_piece => places.push(start..end),
                    _ => {}
                }
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOi";

    fn knowing(tokens: &[&str]) -> Echoes {
        let mut echoes = Echoes::default();
        for token in tokens {
            echoes.remember(token);
        }
        echoes
    }

    fn blotted(text: &str) -> String {
        knowing(&[TOKEN]).blotted(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn every_place_and_every_long_piece_is_blotted_out() {
        let (head, tail) = TOKEN.split_at(16);
        for (text, clean) in [
            (String::new(), String::new()),
            ("Bearer".into(), "Bearer".into()),
            (TOKEN.into(), "[token]".into()),
            (format!("{TOKEN}{TOKEN}"), "[token]".into()),
            (format!("Bearer {TOKEN}, {TOKEN}!"), "Bearer [token], [token]!".into()),
            (format!("ä{TOKEN}ä"), "ä[token]ä".into()),
            (TOKEN[1..].into(), "[token]".into()),
            (format!("<{}…", &TOKEN[..20]), "<[token]…".into()),
            (format!("{head}\n{tail}"), format!("[token]\n{tail}")),
            (TOKEN[..15].into(), TOKEN[..15].into()),
            (format!("{} {}", &TOKEN[..15], &TOKEN[15..]), format!("{} {}", &TOKEN[..15], &TOKEN[15..])),
        ] {
            assert_eq!(blotted(&text), clean, "{text}");
        }
    }

    #[test]
    fn a_piece_is_found_wherever_it_starts() {
        for before in 0..3 * PIECE {
            for length in 0..=TOKEN.len() {
                let text = format!("{}{}", "-".repeat(before), &TOKEN[..length]);
                assert_eq!(blotted(&text) != text, length >= PIECE, "{text}");
            }
        }
    }

    #[test]
    fn a_word_is_no_token() {
        for token in ["", "responses", "status"] {
            assert_eq!(knowing(&[token]).blotted_body(b"{\"responses\": [{\"status\": 1}]}"), None);
        }
    }

    #[test]
    fn texts_of_json_are_looked_at_as_they_are_read() {
        let echoes = knowing(&[TOKEN]);
        let escaped: String = TOKEN.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
        let one_escaped = format!("\\u0065{}", &TOKEN[1..]);
        for written in [TOKEN, &escaped, &one_escaped] {
            let body =
                format!("{{\"error\": {{\"code\": [\"{written}\"], \"message\": \"bad {written}\\n\"}}}}");
            let clean: Value =
                serde_json::from_slice(&echoes.blotted_body(body.as_bytes()).unwrap()).unwrap();
            assert_eq!(
                clean,
                json!({"error": {"code": ["[token]"], "message": "bad [token]\n"}}),
                "{written}"
            );
        }
        for untouched in ["{\"a\": \"b\\n\", \"c\": 1.50}", "{\"a\": [null, true, \"\\u0065\"]}"] {
            assert_eq!(echoes.blotted_body(untouched.as_bytes()), None, "{untouched}");
        }
        let page = format!("<p title=\"\\\">{TOKEN}");
        assert_eq!(echoes.blotted_body(page.as_bytes()).unwrap(), b"<p title=\"\\\">[token]");
    }

    #[test]
    fn a_member_keeps_its_name_unless_no_name_is_that_long() {
        let token = format!("accessPackageAssignmentPolicy{}", "0123456789abcdef".repeat(5));
        let body = json!({"accessPackageAssignmentPolicy": {"id": 1}, token.clone(): 2}).to_string();
        let clean = knowing(&[&token]).blotted_body(body.as_bytes()).unwrap();
        let expected = json!({"accessPackageAssignmentPolicy": {"id": 1}, "[token]": 2});
        assert_eq!(serde_json::from_slice::<Value>(&clean).unwrap(), expected);
    }

    #[test]
    fn the_tokens_of_late_are_remembered() {
        let tokens: Vec<_> = (0..=REMEMBERED).map(|number| format!("{number:032}")).collect();
        let mut echoes = Echoes::default();
        for token in tokens.iter().take(REMEMBERED) {
            echoes.remember(token);
        }
        assert!(tokens.iter().take(REMEMBERED).all(|token| echoes.blotted(&format!("<{token}>")).is_some()));
        // One that is used again is not forgotten; the one that was used least lately is.
        echoes.remember(&tokens[0]);
        assert!(echoes.is_last(&tokens[0]));
        echoes.remember(&tokens[REMEMBERED]);
        assert!(echoes.is_last(&tokens[REMEMBERED]) && !echoes.is_last(&tokens[0]));
        let whole = |token: &String| {
            echoes.tokens.iter().any(|known| known.whole == echoes.hasher.hash_one(token.as_str()))
        };
        let remembered: Vec<_> = tokens.iter().map(whole).collect();
        assert_eq!(remembered.iter().filter(|known| !**known).count(), 1);
        assert!(!remembered[1]);
    }

    /// A token, and a text of pieces of it among others that share its letters.
    fn token_and_text() -> impl Strategy<Value = (String, String)> {
        "[ab]{16,40}|[a-zA-Z0-9._-]{16,200}".prop_flat_map(|token| {
            let letters = token.clone();
            let piece = (0..=token.len(), 0..=token.len())
                .prop_map(move |(one, other)| letters[one.min(other)..one.max(other)].to_owned());
            let part = prop_oneof![piece, "[ab]{0,20}", "[äß \n]{0,3}"];
            (Just(token), proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat()))
        })
    }

    proptest! {
        #[test]
        fn no_piece_is_left_and_nothing_else_is_lost((token, text) in token_and_text()) {
            let is_piece = |part: &[u8]| token.as_bytes().windows(PIECE).any(|piece| piece == part);
            // The plain way: whatever a piece covers goes.
            let bytes = text.as_bytes();
            let mut covered = vec![false; bytes.len()];
            for (start, part) in bytes.windows(PIECE).enumerate() {
                if is_piece(part) {
                    covered[start..start + PIECE].fill(true);
                }
            }
            let mut expected = Vec::new();
            for (place, byte) in bytes.iter().enumerate() {
                if !covered[place] {
                    expected.push(*byte);
                } else if place == 0 || !covered[place - 1] {
                    expected.extend_from_slice(BLOT.as_bytes());
                }
            }
            let clean = knowing(&[&token]).blotted(&text).unwrap_or_else(|| text.clone());
            prop_assert_eq!(clean.as_bytes(), expected.as_slice());
        }
    }
}
