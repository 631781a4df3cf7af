//! Query options: reading them from a URL, and writing them back into the link to the next page.

/// The options of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub filter: Option<String>,
    pub select: Option<Vec<String>>,
    pub expand: Vec<Expand>,
    pub top: Option<usize>,
    pub count: bool,
    pub skiptoken: Option<String>,
    /// All options but the token, decoded and in their order, for the next link.
    carried: Vec<(String, String)>,
}

/// One navigation property to be included.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expand {
    pub name: String,
    pub select: Option<Vec<String>>,
}

impl Options {
    /// Reads a query. Only `allowed` options are served: the reference page names `$select`, `$filter` and
    /// `$expand`, other options stem from generated descriptions only. The error is the message of a 400.
    pub(super) fn read(query: &str, allowed: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !name.starts_with('$') {
                continue;
            }
            let lower = name.to_ascii_lowercase();
            if !allowed.contains(&lower.as_str()) {
                return Err(format!("The query option '{name}' is not supported here."));
            }
            let wrong = || format!("The value of the query option '{name}' is not valid.");
            match lower.as_str() {
                "$filter" => options.filter = Some(value.clone()),
                "$select" => options.select = Some(names(&value)),
                "$expand" => options.expand = expand(&value).ok_or_else(wrong)?,
                "$top" => {
                    let top = value.parse().ok().filter(|top| *top > 0);
                    options.top = Some(top.ok_or_else(wrong)?);
                }
                "$count" => options.count = value.parse().map_err(|_| wrong())?,
                _ => {
                    options.skiptoken = Some(value);
                    continue;
                }
            }
            options.carried.push((name, value));
        }
        Ok(options)
    }

    /// The query of the next page: the other options as they were, and the token.
    pub(super) fn next(&self, token: &str) -> String {
        let mut query = String::new();
        for (name, value) in &self.carried {
            query += &format!("{name}={}&", encode(value));
        }
        query + "$skiptoken=" + token
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Reads `target,accessPackage($select=id,displayName)`; None if it is not of that form.
fn expand(list: &str) -> Option<Vec<Expand>> {
    let mut found = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let end = rest.find([',', '(']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let mut select = None;
        let mut after = after.trim_start();
        if let Some(inner) = after.strip_prefix('(') {
            let (inner, behind) = inner.split_once(')')?;
            let (option, value) = inner.split_once('=')?;
            if !option.trim().eq_ignore_ascii_case("$select") {
                return None;
            }
            select = Some(names(value));
            after = behind.trim_start();
        }
        if name.trim().is_empty() {
            return None;
        }
        found.push(Expand { name: name.trim().to_owned(), select });
        rest = match after.strip_prefix(',') {
            Some(more) => Some(more.trim_start()).filter(|more| !more.is_empty())?,
            None if after.is_empty() => "",
            None => return None,
        };
    }
    Some(found)
}

/// Undoes percent encoding, a plus standing for a space.
pub(super) fn decode(text: &str) -> Result<String, String> {
    let wrong = || "The query is not encoded correctly.".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let high = digit().ok_or_else(wrong)?;
                let low = digit().ok_or_else(wrong)?;
                u8::try_from(high * 16 + low).map_err(|_| wrong())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Percent-encodes all but unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["$filter", "$select", "$expand", "$top", "$count", "$skiptoken"];

    fn expanded(name: &str, select: Option<&[&str]>) -> Expand {
        let select = select.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Expand { name: name.into(), select }
    }

    #[test]
    fn options_are_read_and_carried_to_the_next_page() {
        let query = "%24filter=state+eq%20'a%26b'&$select=id,%20state&$expand=target,accessPackage($select=id)\
                     &$top=5&$count=true&client=x&$skiptoken=abc";
        let options = Options::read(query, ALL).unwrap();
        assert_eq!(options.filter.as_deref(), Some("state eq 'a&b'"));
        assert_eq!(options.select, Some(vec!["id".into(), "state".into()]));
        assert_eq!(options.expand, [expanded("target", None), expanded("accessPackage", Some(&["id"]))]);
        assert_eq!((options.top, options.count, options.skiptoken.as_deref()), (Some(5), true, Some("abc")));
        let next = options.next("def");
        assert!(next.starts_with("$filter=state%20eq%20%27a%26b%27&$select="), "{next}");
        let again = Options::read(&next, ALL).unwrap();
        assert_eq!(again, Options { skiptoken: Some("def".into()), ..options });
        assert_eq!(Options::read("", ALL).unwrap().next("t"), "$skiptoken=t");
    }

    #[test]
    fn expansions_are_read() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("*", Some(vec![expanded("*", None)])),
            ("a($select=b,c) , d", Some(vec![expanded("a", Some(&["b", "c"])), expanded("d", None)])),
            ("a(", None),
            ("a($select)", None),
            ("a($filter=b)", None),
            ("a,", None),
            (",a", None),
            ("a()b", None),
            ("a($select=b)c", None),
        ] {
            assert_eq!(expand(text), expected, "{text}");
        }
    }

    #[test]
    fn bad_queries_are_refused() {
        for query in
            ["$orderby=id", "$top=0", "$top=x", "$count=1", "$filter=%4", "$filter=%zz", "$filter=%ff"]
        {
            assert!(Options::read(query, ALL).is_err(), "{query}");
        }
        assert!(Options::read("$top=1", &["$filter"]).is_err());
    }
}
