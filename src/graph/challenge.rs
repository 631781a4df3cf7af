//! Claims challenges: what a 401, or a 403 of Conditional Access, says in `WWW-Authenticate`.
//!
//! Graph refuses a token that an event has overtaken (a password was reset, a policy was changed) and names the claims
//! that the next one has to have (<https://learn.microsoft.com/entra/identity-platform/claims-challenge>).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json;

/// Both alphabets of base64 with or without padding: azure-core decodes one form of it, Kiota the other.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// The claims that a header asks for, decoded: a JSON object as the credential takes it.
///
/// `None` for a header without such a challenge, or with one that cannot be read; then the 401 is an ordinary one.
pub fn claims(header: &str) -> Option<String> {
    challenges(header).into_iter().find_map(|challenge| {
        let wanted = challenge.scheme.eq_ignore_ascii_case("Bearer")
            // Kiota does without `error`, azure-core insists on it; another error is about something else.
            && challenge.get("error").is_none_or(|error| error.eq_ignore_ascii_case("insufficient_claims"));
        challenge.get("claims").filter(|_| wanted).and_then(decode)
    })
}

/// The schemes that a header names.
pub fn schemes(header: &str) -> Vec<String> {
    challenges(header).into_iter().map(|challenge| challenge.scheme).collect()
}

fn decode(claims: &str) -> Option<String> {
    let standard = claims.trim().replace('-', "+").replace('_', "/");
    let text = String::from_utf8(json::unmarked(&STANDARD.decode(standard).ok()?).to_owned()).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    value.is_object().then_some(text)
}

/// One scheme with its parameters, in their order.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The challenges of a header, which separates them by commas, as it does their parameters
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1>). What fits no form is passed over.
fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = Cursor(header);
    loop {
        rest.skip(|letter| letter == ',' || is_blank(letter));
        let name = rest.take(is_token);
        if name.is_empty() {
            // A stray letter; without this the same one would be looked at for ever.
            if rest.next().is_none() {
                return found;
            }
            continue;
        }
        let behind = Cursor(rest.0.trim_start_matches(is_blank));
        if let Some(mut value) = behind.after('=') {
            value.skip(is_blank);
            let value = value.value(&mut rest);
            if let Some(challenge) = found.last_mut() {
                challenge.parameters.push((name.to_owned(), value));
            }
        } else {
            rest = behind;
            found.push(Challenge { scheme: name.to_owned(), parameters: Vec::new() });
            // The other form of a challenge, base64 without a name, is a single one and none that matters here.
            let mut token = Cursor(rest.0);
            token.take(|letter| is_token(letter) || letter == '/');
            token.skip(|letter| letter == '=');
            let after = token.0.trim_start_matches(is_blank);
            if after.is_empty() || after.starts_with(',') {
                rest = token;
            }
        }
    }
}

/// What is left of a header.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<char> {
        let mut letters = self.0.chars();
        let next = letters.next();
        self.0 = letters.as_str();
        next
    }

    fn skip(&mut self, of: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(of);
    }

    fn take(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|letter| !of(letter)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn after(&self, letter: char) -> Option<Self> {
        self.0.strip_prefix(letter).map(Self)
    }

    /// A value, quoted or not; `rest` goes on behind it. Quotes that are never closed end with the header.
    fn value(mut self, rest: &mut Self) -> String {
        let value = match self.after('"') {
            Some(mut quoted) => {
                let mut value = String::new();
                while let Some(letter) = quoted.next() {
                    match letter {
                        '"' => break,
                        '\\' => value.extend(quoted.next()),
                        letter => value.push(letter),
                    }
                }
                self = quoted;
                value
            }
            // Base64 without quotes breaks the form, and is understood all the same.
            None => self.take(|letter| letter != ',' && !is_blank(letter)).to_owned(),
        };
        *rest = self;
        value
    }
}

const fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose as base64s;
    use proptest::prelude::*;

    const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1502185177"}}}"#;

    /// Its base64 has a letter of each alphabet that the other has not, and padding.
    const BOTH: &str = r#"{"access_token":{"x":{"value":"~~~???>>"}}}"#;

    #[test]
    fn challenges_are_found_in_every_form() {
        let plain = base64s::STANDARD.encode(CLAIMS);
        let graph = format!(
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
             client_id=\"00000003-0000-0000-c000-000000000000\", errorDescription=\"Continuous access evaluation \
             resulted in challenge with result: InteractionRequired, and code: X\", error=\"insufficient_claims\", \
             claims=\"{plain}\""
        );
        for (header, what) in [
            (graph, "the form of Graph, with commas and an equals sign in quotes"),
            (format!("Bearer error=\"insufficient_claims\", claims=\"{plain}\""), "short"),
            (format!("Bearer claims=\"{plain}\", error=\"insufficient_claims\""), "another order"),
            (format!("bearer CLAIMS=\"{plain}\",Error=insufficient_claims"), "case, no blank, no quotes"),
            (format!("Bearer claims={plain}"), "neither quotes nor error"),
            (
                format!("Bearer  claims = \"{plain}\" ,, error = \"insufficient_claims\" ,"),
                "odd blanks and commas",
            ),
            (
                format!("Negotiate, Basic realm=\"a, Bearer b\", Bearer claims=\"{plain}\""),
                "several challenges",
            ),
            (format!("NTLM TlRMTVNTUAAB/+==, Bearer claims=\"{plain}\""), "behind one with base64"),
            (format!("Bearer claims=\"{plain}\", PoP nonce=\"x\", claims=\"bm8=\""), "before another scheme"),
            (
                format!("Bearer error=\"invalid_token\", Bearer claims=\"{plain}\""),
                "the second of two bearers",
            ),
            (format!("Bearer realm=\"say \\\"claims=\\\\\\\"\", claims=\"{plain}\""), "escaped quotes"),
            (format!("Bearer claims=\"{plain}"), "quotes that are never closed"),
        ] {
            assert_eq!(claims(&header).as_deref(), Some(CLAIMS), "{what}: {header}");
        }
    }

    #[test]
    fn both_alphabets_are_read_with_and_without_padding() {
        let [standard, url] = [base64s::STANDARD.encode(BOTH), base64s::URL_SAFE.encode(BOTH)];
        assert!(standard.contains('/') && standard.contains('+') && standard.ends_with('='));
        for encoded in [&*standard, &*url, standard.trim_end_matches('='), url.trim_end_matches('=')] {
            assert_eq!(claims(&format!("Bearer claims=\"{encoded}\"")).as_deref(), Some(BOTH), "{encoded}");
        }
    }

    #[test]
    fn everything_else_is_an_ordinary_refusal() {
        let plain = base64s::STANDARD.encode(CLAIMS);
        for header in [
            "",
            "Bearer",
            "Bearer realm=\"\"",
            "Bearer error=\"insufficient_claims\"",
            "Bearer claims=\"\"",
            "Bearer claims=\"%%%\"",
            "Bearer claims=\"WzFd\"",
            "Bearer claims=\"/w==\"",
            &format!("Basic claims=\"{plain}\""),
            &format!("claims=\"{plain}\""),
            &format!("Bearer error=\"invalid_token\", claims=\"{plain}\""),
            &format!("Bearer realm=\"claims={plain}\""),
            &format!("Bearer xclaims=\"{plain}\""),
        ] {
            assert_eq!(claims(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_hang(header in "\\PC*") {
            claims(&header);
        }

        #[test]
        fn nor_do_pieces_of_real_ones(pieces in prop::collection::vec(
            prop::sample::select(vec!["Bearer", " ", ",", "=", "\"", "\\", "claims", "e30=", "error", "ä"]), 0..40,
        )) {
            claims(&pieces.concat());
        }

        #[test]
        fn any_claims_come_through(
            value in "\\PC{0,40}", url in any::<bool>(), padded in any::<bool>(), quoted in any::<bool>(), at in 0_usize..4,
        ) {
            let text = serde_json::json!({ "access_token": { "x": { "value": value } } }).to_string();
            let mut encoded = if url { base64s::URL_SAFE } else { base64s::STANDARD }.encode(&text);
            if !padded {
                encoded.truncate(encoded.trim_end_matches('=').len());
            }
            let mut parameters = vec!["realm=\"\"", "error=\"insufficient_claims\"", "x=\"a=b, c\""];
            let wanted = if quoted { format!("claims=\"{encoded}\"") } else { format!("claims={encoded}") };
            parameters.insert(at, &wanted);
            prop_assert_eq!(claims(&format!("Bearer {}", parameters.join(", "))), Some(text));
        }
    }
}
