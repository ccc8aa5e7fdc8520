//! Who the client of a request is: the other end of its connection, or what a trusted proxy says of it.
//!
//! `serving` asks for every connection and every request. The answer decides whose share of the listener a request
//! takes (an IPv4 address, an IPv6 /64) and whether `allowed_sources` admits it. A header is believed only on a
//! connection of a trusted proxy, and only as far as trusted proxies wrote it: from the right.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A block of addresses, written as a CIDR or as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Tells whether an address is inside. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        one.or_else(|_| text.parse::<IpNet>()).map(|net| Self(net.trunc())).map_err(|_| ())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proxies before a listener.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Whether every connection begins with a PROXY protocol header.
    pub protocol: bool,
    /// Whose headers are believed.
    pub trusted: Vec<Network>,
}

/// Whose share of the listener something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Group {
    /// One IPv4 address.
    V4(u32),
    /// A /64 of IPv6, which is what one subscriber has.
    V6(u64),
    /// A trusted proxy itself, which has no limit of its own.
    Proxy,
    /// A client that a trusted proxy could not name: all of them share one limit.
    Unknown,
}

impl From<IpAddr> for Group {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Who sent a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address; `None` if a trusted proxy named none.
    pub(super) address: Option<IpAddr>,
    pub(super) group: Group,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl Client {
    /// The client at the other end of a connection.
    pub(super) fn direct(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address: Some(address), group: address.into() }
    }

    const UNKNOWN: Self = Self { address: None, group: Group::Unknown };
}

impl Proxies {
    /// Tells whether an address is a trusted proxy's.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The client of a connection whose other end has this address.
    pub(super) fn of_connection(&self, address: IpAddr) -> Client {
        let client = Client::direct(address);
        if self.trusts(address) { Client { group: Group::Proxy, ..client } } else { client }
    }

    /// The client of a request on a connection of that client: the rightmost address in `Forwarded` or
    /// `X-Forwarded-For` that no trusted proxy has. Headers of others are not looked at.
    ///
    /// If both headers are there and differ, a proxy wrote one of them and passed on the other as the client sent it:
    /// which one cannot be told, and the client counts as unknown.
    pub(super) fn of_request(&self, connection: Client, headers: &HeaderMap) -> Client {
        if connection.group != Group::Proxy {
            return connection;
        }
        let lines = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().ok());
        let forwarded = headers.contains_key(FORWARDED).then(|| {
            self.rightmost(connection, lines(FORWARDED.as_str()).map(|line| line.and_then(forwarded)))
        });
        let x_forwarded = headers.contains_key(X_FORWARDED_FOR).then(|| {
            self.rightmost(connection, lines(X_FORWARDED_FOR).map(|line| line.map(x_forwarded_for)))
        });
        match (forwarded, x_forwarded) {
            (None, None) => connection,
            (Some(one), None) | (None, Some(one)) => one,
            (Some(one), Some(other)) if one == other => one,
            (Some(_), Some(_)) => Client::UNKNOWN,
        }
    }

    /// `lines` are the lines of one header, each with its members from the left; `None` is a line or a member that names
    /// no address.
    fn rightmost(
        &self,
        connection: Client,
        lines: impl DoubleEndedIterator<Item = Option<Vec<Option<IpAddr>>>>,
    ) -> Client {
        let mut last = connection;
        for line in lines.rev() {
            let Some(members) = line else { return Client::UNKNOWN };
            for member in members.into_iter().rev() {
                match member {
                    None => return Client::UNKNOWN,
                    Some(address) if self.trusts(address) => {
                        last = Client { address: Some(address.to_canonical()), group: Group::Proxy };
                    }
                    Some(address) => return Client::direct(address),
                }
            }
        }
        last
    }
}

/// The members of one line of `X-Forwarded-For`: addresses, some with a port.
fn x_forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(node).collect()
}

/// The `for` of each element of one line of `Forwarded` (RFC 7239); `None` for a line that is none.
fn forwarded(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut members = Vec::new();
    let mut rest = line;
    loop {
        let (element, next) = cut(rest, ',')?;
        members.push(of_element(element)?);
        match next {
            Some(next) => rest = next,
            None => return Some(members),
        }
    }
}

/// The address that an element gives for `for`. The outer `None` is an element that is none.
fn of_element(element: &str) -> Option<Option<IpAddr>> {
    let (mut found, mut rest) = (None, element);
    loop {
        let (pair, next) = cut(rest, ';')?;
        if let Some((name, value)) = pair.split_once('=')
            && name.trim().eq_ignore_ascii_case("for")
        {
            // Of two in one element nobody can tell which one the proxy meant.
            if found.is_some() {
                return None;
            }
            let value = value.trim();
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            found = Some(node(quoted.unwrap_or(value)));
        }
        match next {
            Some(next) => rest = next,
            None => return Some(found.flatten()),
        }
    }
}

/// Splits at the first separator outside of quotes. `None`: a quote is not closed.
fn cut(text: &str, separator: char) -> Option<(&str, Option<&str>)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                return Some((text.get(..at)?, text.get(at + c.len_utf8()..)));
            }
            _ => {}
        }
    }
    (!quoted).then_some((text, None))
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:47011`, `2001:db8::1`, `[2001:db8::1]:47011`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !(port.is_empty() || port.starts_with(':')) {
            return None;
        }
        return address.parse().ok().map(IpAddr::V6);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    address.parse().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|text| text.parse().unwrap()).to_vec();
        Proxies { protocol: false, trusted }
    }

    fn client(from: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let proxies = proxies();
        let found = proxies.of_request(proxies.of_connection(from.parse().unwrap()), &map);
        let limit = if found.group == Group::Proxy { " (proxy)" } else { "" };
        format!("{found}{limit}")
    }

    #[test]
    fn client_is_the_rightmost_address_that_no_trusted_proxy_has() {
        let xff = "x-forwarded-for";
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            // No trusted proxy: what it says does not count.
            ("192.0.2.9", &[(xff, "198.51.100.1")], "192.0.2.9"),
            ("192.0.2.9", &[("forwarded", "for=198.51.100.1")], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1 (proxy)"),
            ("::ffff:10.0.0.1", &[(xff, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "6.6.6.6, 198.51.100.1, 10.9.9.9")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "6.6.6.6"), (xff, "198.51.100.1:4711")], "198.51.100.1"),
            ("10.0.0.1", &[(xff, "10.1.1.1, 10.2.2.2")], "10.1.1.1 (proxy)"),
            ("10.0.0.1", &[(xff, "198.51.100.1, unknown")], "unknown"),
            ("10.0.0.1", &[(xff, "198.51.100.1,")], "unknown"),
            ("10.0.0.1", &[(xff, "[2001:db8::5]:80")], "2001:db8::5"),
            (
                "10.0.0.1",
                &[("forwarded", r#"for=6.6.6.6;proto=https, for="[2001:db8::5]:80""#)],
                "2001:db8::5",
            ),
            ("10.0.0.1", &[("forwarded", r#"by=10.0.0.1;For="198.51.100.1:80""#)], "198.51.100.1"),
            ("10.0.0.1", &[("forwarded", "for=_hidden")], "unknown"),
            ("10.0.0.1", &[("forwarded", "proto=https")], "unknown"),
            // What the client sent must not hide what the proxy wrote.
            ("10.0.0.1", &[("forwarded", r#"for="6.6.6.6, for=198.51.100.1"#)], "unknown"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6"), (xff, "198.51.100.1")], "unknown"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1"), (xff, "198.51.100.1")], "198.51.100.1"),
        ];
        for (from, headers, expected) in cases {
            assert_eq!(client(from, headers), *expected, "{from} {headers:?}");
        }
    }

    #[test]
    fn groups_are_ipv4_addresses_and_ipv6_subnets_of_64_bits() {
        let group = |text: &str| Group::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("2001:db8:0:1::1"), group("2001:db8:0:1:ffff::"));
        assert_ne!(group("2001:db8:0:1::1"), group("2001:db8:0:2::1"));
    }

    #[test]
    fn networks_are_cidrs_or_addresses() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.77/24", "192.0.2.1", "192.0.3.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::/32", "2001:db8:1::", "2001:db9::"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
        ] {
            let network: Network = text.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}");
        }
        for text in ["", "192.0.2.0/33", "192.0.2", "example.com", "2001:db8::/129", "1.2.3.4/ 8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_header_panics_and_none_gets_past_the_address_that_the_proxy_added(
            sent in "[ -~]{0,60}|([a-z=\";:,.0-9\\[\\]\\\\ ]{0,40})",
        ) {
            let added = "198.51.100.1";
            // As proxies do: a line of its own, or on the same line.
            for headers in [
                vec![("x-forwarded-for", sent.clone()), ("x-forwarded-for", added.to_owned())],
                vec![("x-forwarded-for", format!("{sent}, {added}"))],
                vec![("forwarded", sent.clone()), ("forwarded", format!("for={added}"))],
                vec![("forwarded", format!("{sent}, for={added}"))],
            ] {
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let found = client("10.0.0.1", &headers);
                prop_assert!(found == added || found == "unknown", "{:?}: {}", headers, found);
            }
        }
    }
}
