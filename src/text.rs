//! Texts of any length, made fit to be shown.

/// The first `most` characters of a text, with a sign where it was cut.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The same text in one line: what would break it, steer a terminal or turn its order around is shown as an escape, as
/// Python writes it. A service, or whoever wrote the ids, could otherwise forge lines of a log, or hide what stands in one.
pub fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, char| {
        match char {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if char.is_control() => line.push_str(&format!("\\x{:02x}", u32::from(char))),
            _ if steers(char) => line.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => line.push(char),
        }
        line
    })
}

/// Whether a character that is no control character breaks lines, or turns the order of those around it
/// (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>, and those that are deprecated).
const fn steers(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
    )
}

/// A text of others as it is kept: in one line, and not longer than so many characters.
pub fn sanitize(text: &str, most: usize) -> String {
    // Cut before as well, so that a text of a megabyte is not escaped for nothing.
    shorten(&one_line(&shorten(text, most)), most)
}

/// The most characters of an id or a code of the service that are kept; Graph's own have some dozens.
const LONGEST_ID: usize = 200;

/// An id or a code of the service, which may send anything of any length.
pub fn sanitize_id(id: &str) -> String {
    sanitize(id, LONGEST_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_steers_a_terminal() {
        for (text, shown) in [
            ("", ""),
            ("plain, ä, 日本, 👩‍💻, e\u{301}", "plain, ä, 日本, 👩‍💻, e\u{301}"),
            ("a\nb\r\nc\td", "a\\nb\\r\\nc\\td"),
            ("\u{1b}[2J\u{7}\0\u{7f}", "\\x1b[2J\\x07\\x00\\x7f"),
            ("\u{9b}31m\u{85}", "\\x9b31m\\x85"),
            ("\u{202e}drow\u{202c}\u{2066}\u{2069}\u{200f}", "\\u202edrow\\u202c\\u2066\\u2069\\u200f"),
            ("\u{2028}\u{2029}", "\\u2028\\u2029"),
        ] {
            assert_eq!(one_line(text), shown);
            assert_eq!(one_line(shown), shown, "once is enough");
        }
    }

    #[test]
    fn a_sanitized_text_has_its_length() {
        assert_eq!(sanitize("abc", 3), "abc");
        assert_eq!(sanitize("abcd", 3), "abc…");
        assert_eq!(sanitize("\u{1b}\u{1b}", 5), "\\x1b\\…");
        assert_eq!(sanitize(&"\n".repeat(1_000_000), 4), "\\n\\n…");
    }
}
