//! Texts of any length, made fit to be shown.

/// The first `most` characters of a text, with a sign where it was cut.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The same text in one line: what would break it, or steer a terminal, is shown as an escape.
pub fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, char| {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            line.extend(char.escape_unicode());
        } else {
            line.push(char);
        }
        line
    })
}

/// The most characters of an id or a code of the service that are kept; Graph's own have some dozens.
const LONGEST_ID: usize = 200;

/// An id or a code of the service, which may send any length.
pub fn shorten_id(id: &str) -> String {
    shorten(id, LONGEST_ID)
}
