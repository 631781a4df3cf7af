//! Which hosts NO_PROXY sends around the proxy. There is no standard: this takes what curl (its manual, under "--noproxy"
//! and "Environment") and Python's requests take, ports included.

use std::net::IpAddr;

use reqwest::Url;

/// Whether a list of exceptions names the origin. Entries stand between commas or spaces: `*` for all, a name with or
/// without a leading dot for itself and what is below it, an address, a network like 10.0.0.0/8; each, but `*`, with a
/// port or without one, for all ports.
pub(super) fn excepts(list: &str, origin: &Url) -> bool {
    let Some(host) = origin.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let port = origin.port_or_known_default();
    list.split(|sign: char| sign == ',' || sign.is_whitespace()).filter(|entry| !entry.is_empty()).any(
        |entry| {
            if entry == "*" {
                return true;
            }
            let (wanted, at) = split(entry);
            (at.is_none() || at == port) && is_host(wanted, host)
        },
    )
}

/// An entry as host and port. An address of version 6 has a port only behind brackets.
fn split(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        return match rest.strip_prefix(':').map(str::parse) {
            Some(Ok(port)) => (address, Some(port)),
            // A network may stand in brackets, too; what else is behind them makes it no entry at all.
            None if rest.is_empty() => (address, None),
            _ => (entry, None),
        };
    }
    match entry.split_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) if !host.is_empty() => (host, Some(port)),
            _ => (entry, None),
        },
        None => (entry, None),
    }
}

fn is_host(wanted: &str, host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match wanted.split_once('/') {
            Some((network, length)) => is_within(address, network, length),
            None => wanted.parse() == Ok(address),
        };
    }
    let name = wanted.trim_start_matches('.').trim_end_matches('.');
    if name.is_empty() {
        return false;
    }
    let Some(start) = host.len().checked_sub(name.len()) else { return false };
    let (above, end) = (host.get(..start), host.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(name))
        && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// Whether an address lies in a network, whose bits beyond `length` do not matter.
fn is_within(address: IpAddr, network: &str, length: &str) -> bool {
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let beyond = u32::MAX.checked_shr(length).unwrap_or(0);
            length <= 32 && address.to_bits() | beyond == network.to_bits() | beyond
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let beyond = u128::MAX.checked_shr(length).unwrap_or(0);
            length <= 128 && address.to_bits() | beyond == network.to_bits() | beyond
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_list_names_goes_around() {
        for (origin, list, around) in [
            ("https://graph.example", "", false),
            ("https://graph.example", " , ,", false),
            ("https://graph.example", "*", true),
            ("https://graph.example", "other.example,*", true),
            ("https://graph.example", "graph.example", true),
            ("https://graph.example", "GRAPH.Example", true),
            ("https://graph.example", "graph.example.", true),
            ("https://graph.example.", "graph.example", true),
            ("https://graph.example", ".graph.example", true),
            ("https://graph.example", "example", true),
            ("https://graph.example", ".example", true),
            ("https://graph.example", "raph.example", false),
            ("https://graph.example", "a.graph.example", false),
            ("https://graph.example", "graph.example.org", false),
            ("https://graph.example", ".", false),
            ("https://graph.example", "a, graph.example", true),
            ("https://graph.example", "a graph.example b", true),
            ("https://graph.example", "a,\tgraph.example", true),
            ("https://graph.example", "graph.example:443", true),
            ("https://graph.example", ".example:443", true),
            ("https://graph.example", "graph.example:8443", false),
            ("https://graph.example:8443", "graph.example:8443", true),
            ("https://graph.example:8443", "graph.example:443", false),
            ("https://graph.example:8443", "graph.example", true),
            ("https://graph.example", "graph.example:", false),
            ("https://graph.example", "graph.example:https", false),
            ("https://graph.example", ":443", false),
            ("https://graph.example", "https://graph.example", false),
            ("https://10.1.2.3", "10.1.2.3", true),
            ("https://10.1.2.3", "10.1.2.3:443", true),
            ("https://10.1.2.3", "10.1.2.3:80", false),
            ("https://10.1.2.3", "10.0.0.0/8", true),
            ("https://10.1.2.3", "10.1.2.3/32", true),
            ("https://10.1.2.3", "10.1.2.2/32", false),
            ("https://10.1.2.3", "11.0.0.0/8", false),
            ("https://10.1.2.3", "0.0.0.0/0", true),
            ("https://10.1.2.3", "10.0.0.0/33", false),
            ("https://10.1.2.3", "10.0.0.0/x", false),
            ("https://10.1.2.3", "2.3", false),
            ("https://10.1.2.3", "::/0", false),
            ("https://[fd00::1]", "fd00::1", true),
            ("https://[fd00::1]", "FD00:0::1", true),
            ("https://[fd00::1]", "[fd00::1]", true),
            ("https://[fd00::1]", "[fd00::1]:443", true),
            ("https://[fd00::1]", "[fd00::1]:8443", false),
            ("https://[fd00::1]:8443", "[fd00::1]:8443", true),
            ("https://[fd00::1]", "[fd00::1]x", false),
            ("https://[fd00::1]", "fd00::/16", true),
            ("https://[fd00::1]", "fd00::1/128", true),
            ("https://[fd00::1]", "fd01::/16", false),
            ("https://[fd00::1]", "fd00::/129", false),
            ("https://[fd00::1]", "::2", false),
        ] {
            assert_eq!(excepts(list, &Url::parse(origin).unwrap()), around, "{origin} in {list:?}");
        }
    }
}
