//! An answer that repeats the request must not carry the token into a message, and from there into a report or a log.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

use crate::transport::Answer;

/// What stands in place of the token.
const BLOT: &str = "[token]";
/// A shorter text is no real token, and may well be a word of Graph's own.
const LEAST: usize = 16;

/// Blot the token out of an answer, before any text of it is kept or shortened.
pub fn blot_out(answer: &mut Answer, token: &SecretString) {
    let token = token.expose_secret();
    if token.len() < LEAST {
        return;
    }
    if let Some(body) = without(&answer.body, token.as_bytes()) {
        answer.body = body;
    }
    for text in [&mut answer.request_id, &mut answer.date, &mut answer.challenge].into_iter().flatten() {
        if text.contains(token) {
            *text = text.replace(token, BLOT);
        }
    }
}

/// A text that came encoded, so that the token in it could not be seen in the answer.
pub fn without_token<'a>(text: &'a str, token: &SecretString) -> Cow<'a, str> {
    let token = token.expose_secret();
    if token.len() < LEAST || !text.contains(token) { text.into() } else { text.replace(token, BLOT).into() }
}

/// The bytes with the token blotted out, if it is there.
fn without(bytes: &[u8], token: &[u8]) -> Option<Vec<u8>> {
    let mut places = places(bytes, token).peekable();
    places.peek()?;
    let mut clean = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for place in places {
        clean.extend_from_slice(bytes.get(from..place).unwrap_or_default());
        clean.extend_from_slice(BLOT.as_bytes());
        from = place + token.len();
    }
    clean.extend_from_slice(bytes.get(from..).unwrap_or_default());
    Some(clean)
}

/// Where the token starts. Its places never overlap.
fn places<'a>(bytes: &'a [u8], token: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(from..)?;
        let place = from + rest.windows(token.len()).position(|window| window == token)?;
        from = place + token.len();
        Some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOi";

    fn blotted(text: &str, token: &str) -> Answer {
        let mut answer = Answer {
            body: text.as_bytes().to_vec(),
            request_id: Some(text.to_owned()),
            date: Some(text.to_owned()),
            ..Answer::default()
        };
        blot_out(&mut answer, &SecretString::from(token));
        answer
    }

    #[test]
    fn every_place_is_blotted_out() {
        for (text, clean) in [
            (String::new(), String::new()),
            ("Bearer".into(), "Bearer".into()),
            (TOKEN.into(), "[token]".into()),
            (format!("{TOKEN}{TOKEN}"), "[token][token]".into()),
            (format!("Bearer {TOKEN}, {TOKEN}!"), "Bearer [token], [token]!".into()),
            (TOKEN[1..].into(), TOKEN[1..].into()),
        ] {
            let answer = blotted(&text, TOKEN);
            assert_eq!(String::from_utf8(answer.body).unwrap(), clean);
            assert_eq!(answer.request_id.as_deref(), Some(clean.as_str()));
            assert_eq!(answer.date.as_deref(), Some(clean.as_str()));
        }
    }

    #[test]
    fn a_word_is_no_token() {
        for token in ["", "responses", "status"] {
            assert_eq!(blotted("{\"responses\": [{\"status\": 1}]}", token).body.len(), 30);
        }
    }
}
