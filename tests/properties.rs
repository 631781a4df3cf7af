//! What holds for every input: random ones, odd ones, and the seeds of the fuzzer.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in tests, which does not reach the helpers between them"
)]

mod checks;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// Text that is nearly right: pieces of what a service sends, in any order.
fn nearly(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(str::to_owned),
        1 => ".{0,3}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"id\":",
    "\"1\"",
    "\"2\"",
    "1",
    "\"+1\"",
    "\"01\"",
    "\"status\":",
    "202",
    "429",
    "100",
    "99999",
    "-1",
    "null",
    "\"headers\":",
    "{\"Retry-After\":\"1\"}",
    "\"body\":",
    "\"error\":",
    "\"code\":",
    "\"message\":",
    "\"innerError\":",
    "\"request-id\":",
    "\"responses\":",
    "{\"responses\":[",
    "]}",
    "\"x\"",
    "{\"id\":\"1\",\"status\":202}",
    "{\"id\":\"2\",\"status\":404}",
    "{\"id\":\"1\",\"status\":500}",
];
const WAITS: &[&str] = &[
    "0",
    "1",
    "9",
    ".",
    "-",
    "e",
    "+",
    "NaN",
    "inf",
    " ",
    ",",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "\n",
    "GMT",
    "_",
];
const IDS: &[&str] = &[
    "d82eb508-acc4-43cc-bcf1-7c1c4a2c073b",
    "D82EB508-ACC4-43CC-BCF1-7C1C4A2C073B",
    "{",
    "}",
    "urn:uuid:",
    "URN:UUID:",
    "d82eb508acc443ccbcf17c1c4a2c073b",
    "../",
    "%2e",
    "\r\n",
    "\0",
    " ",
    "-",
    "0",
];
const LINKS: &[&str] = &[
    "https://",
    "http://",
    "graph.microsoft.com",
    "127.0.0.1:8080",
    "/v1.0/",
    "/beta/",
    "@",
    ":443",
    ".",
    "..",
    "/",
    "\\",
    "?",
    "#",
    "%2e",
    "%2f",
    "%5c",
    "\t",
    "\n",
    " ",
    "evil.example",
    "user:pass@",
    "$skiptoken=1",
    "xn--",
    "//",
];
const CHALLENGES: &[&str] = &[
    "Bearer ",
    "Basic ",
    "PoP ",
    "claims=",
    "\"",
    "eyJhIjp7fX0=",
    "eyJhIjp7fX0",
    ",",
    " ",
    "=",
    "error=",
    "\"insufficient_claims\"",
    "realm=\"\"",
    "\\",
    "authorization_uri=\"https://x\"",
    "-",
    "_",
    "\"\\\"\"",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_break_nothing(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (_, check) in checks::ALL {
            check(&data);
        }
    }

    #[test]
    fn batch_answers(first in any::<u8>(), text in nearly(JSON), wrapped in any::<bool>()) {
        let text = if wrapped { format!("{{\"responses\":[{}]}}", text.trim_matches(',')) } else { text };
        checks::batch(&[&[first], text.as_bytes()].concat());
    }

    #[test]
    fn batch_answers_of_any_statuses(
        first in any::<u8>(),
        parts in proptest::collection::vec((0_u8..25, 0_u32..70_000, any::<bool>()), 0..60),
    ) {
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(id, status, text)| match text {
                true => format!("{{\"id\":\"{id}\",\"status\":{status}}}"),
                false => format!("{{\"id\":{id},\"status\":{}}}", 200 + status % 3),
            })
            .collect();
        checks::batch(&[&[first], format!("{{\"responses\":[{}]}}", parts.join(",")).as_bytes()].concat());
    }

    #[test]
    fn error_bodies(text in nearly(JSON), long in 0_usize..3_000) {
        checks::error_body(text.as_bytes());
        let long = "é".repeat(long);
        let inner = format!("{{\"request-id\":\"{long}\",\"client-request-id\":\"{long}\",\"date\":\"{long}\"}}");
        let body = format!("{{\"error\":{{\"code\":\"{long}\",\"message\":\"{long}\",\"innerError\":{inner}}}}}");
        checks::error_body(body.as_bytes());
        checks::batch(format!("\0{{\"responses\":[{{\"id\":\"1\",\"status\":400,\"body\":{body}}}]}}").as_bytes());
    }

    #[test]
    fn waits(text in nearly(WAITS), seconds in any::<u32>()) {
        checks::retry_after(text.as_bytes());
        checks::retry_after(seconds.to_string().as_bytes());
    }

    #[test]
    fn ids(text in nearly(IDS)) {
        checks::id(text.as_bytes());
    }

    #[test]
    fn links(text in nearly(LINKS)) {
        checks::next_link(text.as_bytes());
        let page = serde_json::json!({"value": [], "@odata.nextLink": text});
        checks::next_link(page.to_string().as_bytes());
    }

    #[test]
    fn challenges(text in nearly(CHALLENGES)) {
        checks::challenge(text.as_bytes());
    }
}

#[test]
fn the_seeds_of_the_fuzzer_pass() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, check) in checks::ALL {
        let files: Vec<_> = fs::read_dir(seeds.join(name)).unwrap().collect();
        assert!(!files.is_empty(), "{name} has no seeds");
        for file in files {
            check(&fs::read(file.unwrap().path()).unwrap());
        }
        assert!(
            seeds.parent().unwrap().join(format!("fuzz_targets/{name}.rs")).exists(),
            "{name} is not fuzzed"
        );
    }
}
