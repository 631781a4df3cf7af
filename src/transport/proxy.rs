//! Which proxy is on the way. One that was asked for and cannot be understood is refused, never passed over: the
//! request would go out directly, where somebody meant it not to.

use std::sync::Arc;

use reqwest::{Proxy, Url};
use secrecy::{ExposeSecret, SecretString};

use super::no_proxy;
use super::tunnel::Tunnels;

/// The variables that name a proxy for https, the first one that is set decides. `HTTP_PROXY` is for plain http, which
/// never leaves the machine here.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// The variables that name what goes around that proxy, likewise.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The way to the service.
pub(super) enum Way {
    /// Straight.
    Direct,
    /// As the system is set up, on the platforms that have such settings; straight on the others.
    System,
    /// Through a proxy.
    Through {
        /// As the HTTP client takes it.
        proxy: Box<Proxy>,
        /// Host and port, without user and password.
        shown: String,
        /// What is known of its tunnels, unless it is one of SOCKS.
        tunnels: Option<Arc<Tunnels>>,
    },
}

/// The way to `origin`. The text of an error repeats no part of the proxy's URL, which may hold a password.
pub(super) fn way(given: Option<&SecretString>, origin: &Url) -> Result<Way, String> {
    // Plain http is for this machine; a proxy would see the token.
    if origin.scheme() == "http" {
        return match given {
            None => Ok(Way::Direct),
            Some(_) => Err("proxy is set, but base_url is plain http, whose token a proxy would see; \
                            leave proxy out, or give an https base_url"
                .into()),
        };
    }
    if let Some(given) = given {
        return through("proxy", given.expose_secret(), origin);
    }
    // Decided once: no request leaves the origin.
    if set(EXCEPTIONS).is_some_and(|(_, list)| no_proxy::excepts(list.expose_secret(), origin)) {
        return Ok(Way::Direct);
    }
    match set(VARIABLES) {
        Some((name, value)) => through(name, value.expose_secret(), origin),
        None => Ok(Way::System),
    }
}

/// The first of these variables that is set; an empty one is not.
fn set<const N: usize>(names: [&'static str; N]) -> Option<(&'static str, SecretString)> {
    names.into_iter().find_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some((name, SecretString::from(value.to_string_lossy().into_owned())))
    })
}

fn through(name: &str, text: &str, origin: &Url) -> Result<Way, String> {
    let url = parse(text).ok_or_else(|| {
        let wanted = format!(
            "{name} is not the URL of a proxy; give one like \"http://proxy.example:8080\" (schemes: {})",
            SCHEMES.join(", ")
        );
        if !text.contains('@') {
            return wanted;
        }
        // A URL ends its host at these, whatever stands before an @ behind them
        // (<https://url.spec.whatwg.org/#authority-state>).
        let written = [('\\', "%5C"), ('/', "%2F"), ('?', "%3F"), ('#', "%23")];
        let inside = text.split_once("://").map_or(text, |(_, rest)| rest);
        let inside = inside.rsplit_once('@').map_or("", |(inside, _)| inside);
        let found: Vec<_> = written
            .iter()
            .filter(|(letter, _)| inside.contains(*letter))
            .map(|(letter, code)| format!("{code} for {letter}"))
            .collect();
        match found.as_slice() {
            [] => wanted,
            _ if inside.contains('\\') => format!(
                "{wanted}; it has a backslash in the user or the password: write {}, as in \
                 http://DOMAIN%5Cuser:password@proxy.example:8080",
                found.join(", ")
            ),
            _ => format!("{wanted}; in the user and the password write {}", found.join(", ")),
        }
    })?;
    let shown = match (url.host_str().unwrap_or_default(), url.port_or_known_default()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let tunnels = url.scheme().starts_with("http").then(|| Arc::new(Tunnels::new(&url, name, origin)));
    let proxy = Proxy::all(url).map_err(|_| format!("{name} is not the URL of a proxy"))?;
    Ok(Way::Through { proxy: Box::new(proxy), shown, tunnels })
}

/// The URL of a proxy without user and password, for what outlives the process; `None` if it is none that can be used.
///
/// Another parser than the one that makes the connection could see another user in it, or none.
pub fn without_user(text: &str) -> Option<String> {
    let mut url = parse(text)?;
    if url.username().is_empty() && url.password().is_none() {
        return Some(text.to_owned());
    }
    (url.set_username("").is_ok() && url.set_password(None).is_ok()).then(|| url.into())
}

/// The URL of a proxy; without a scheme it is http, as curl has it.
fn parse(text: &str) -> Option<Url> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).ok()?;
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    (SCHEMES.contains(&url.scheme()) && has_host && is_bare).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_scheme_a_host_and_nothing_behind_it() {
        let origin = Url::parse("https://graph.example").unwrap();
        for (good, shown) in [
            ("http://proxy.example:8080", "proxy.example:8080"),
            ("proxy.example:8080", "proxy.example:8080"),
            ("proxy.example", "proxy.example:80"),
            ("https://user:p%40ss@proxy.example/", "proxy.example:443"),
            ("user:canary@proxy.example:3128", "proxy.example:3128"),
            ("socks5h://127.0.0.1:1080", "127.0.0.1:1080"),
            (" http://[::1]:8080 ", "[::1]:8080"),
        ] {
            let Way::Through { shown: found, .. } = through("proxy", good, &origin).unwrap() else {
                panic!("{good}")
            };
            assert_eq!(found, shown, "{good}");
        }
        for bad in [
            "",
            " ",
            "http://",
            "ftp://user:canary@proxy.example",
            "http://user:canary@[bad",
            "http://user:canary@proxy.example:port",
            "http://user:canary@proxy.example/path",
            "http://user:can/ary@proxy.example",
            "http://user:can#ary@proxy.example",
            "http://user:can?ary@proxy.example",
            "file:///etc/passwd",
            "://",
        ] {
            let Err(text) = through("proxy", bad, &origin) else { panic!("{bad} was taken") };
            assert!(text.starts_with("proxy is not the URL") && !text.contains("can"), "{text}");
        }
    }

    #[test]
    fn a_letter_that_a_url_cannot_hold_is_named_and_nothing_else_of_it() {
        let origin = Url::parse("https://graph.example").unwrap();
        for (bad, told) in [
            (
                "http://DOMAIN\\user:canary@proxy.example:8080",
                "a backslash in the user or the password: write %5C for \\,",
            ),
            ("DOMAIN\\user:canary@proxy.example:8080", "write %5C for \\,"),
            ("https://user:can\\ary@proxy.example", "write %5C for \\,"),
            ("http://DOMAIN\\user:can/ary#@proxy.example", "write %5C for \\, %2F for /, %23 for #, as in"),
            ("http://user:can#ary@proxy.example", "write %23 for #"),
            ("http://user:can?a/ry@proxy.example", "write %2F for /, %3F for ?"),
        ] {
            let Err(text) = through("HTTPS_PROXY", bad, &origin) else { panic!("{bad} was taken") };
            assert!(
                text.starts_with("HTTPS_PROXY is not the URL of a proxy") && text.contains(told),
                "{text}"
            );
            assert!(!text.contains("can") && !text.contains("ary"), "{text}");
        }
        assert!(through("proxy", "http://DOMAIN%5Cuser:canary@proxy.example:8080", &origin).is_ok());
    }

    #[test]
    fn what_outlives_the_process_holds_no_user() {
        let origin = Url::parse("https://graph.example").unwrap();
        for (given, kept) in [
            ("http://proxy.example:8080", Some("http://proxy.example:8080")),
            (" proxy.example:8080", Some(" proxy.example:8080")),
            ("http://user:canary@proxy.example:3128", Some("http://proxy.example:3128/")),
            ("user:canary@proxy.example:3128", Some("http://proxy.example:3128/")),
            ("canary@proxy.example:3128", Some("http://proxy.example:3128/")),
            (":canary@proxy.example:3128", Some("http://proxy.example:3128/")),
            (" http://user:can%40ary@proxy.example ", Some("http://proxy.example/")),
            ("http:user:canary@proxy.example:3128", Some("http://proxy.example:3128/")),
            ("http:///user:canary@proxy.example:3128", Some("http://proxy.example:3128/")),
            ("http:\\\\user:canary@proxy.example:3128", None),
            ("ht\ntp://us\ter:can\nary@proxy.example:3128", Some("http://proxy.example:3128/")),
            ("socks5h://user:canary@proxy.example:1", Some("socks5h://proxy.example:1")),
            ("socks5h://user:canary@proxy.example", Some("socks5h://proxy.example")),
            ("ftp://user:canary@proxy.example", None),
        ] {
            assert_eq!(without_user(given).as_deref(), kept, "{given:?}");
            let same = |kept: &str| match (through("p", given, &origin), through("p", kept, &origin)) {
                (Ok(Way::Through { shown: one, .. }), Ok(Way::Through { shown: other, .. })) => one == other,
                _ => false,
            };
            assert!(kept.is_none_or(same), "{given:?} leads where {kept:?} does");
        }
    }

    #[test]
    fn plain_http_goes_through_no_proxy() {
        let local = Url::parse("http://127.0.0.1:1").unwrap();
        assert!(matches!(way(None, &local), Ok(Way::Direct)));
        let Err(text) = way(Some(&"http://user:canary@127.0.0.1:2".into()), &local) else { panic!() };
        assert!(text.contains("plain http") && !text.contains("canary"), "{text}");
    }
}
