//! Which addresses a call may connect to: public ones, and loopback where the instance allows it.
//!
//! `transport` asks here for every address that a name resolved to and for every literal one in a URL.
//! The lists are those of the IANA special-purpose registries (RFC 6890 and its updates), and the metadata services of
//! clouds that have a public number. Those of Alibaba (100.100.100.200), Oracle (192.0.0.192), AWS (fd00:ec2::254),
//! Google (fd20:ce::254) and all at 169.254/16 lie in special-purpose blocks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether it is what `--allow-loopback` admits: 127.0.0.0/8 and ::1, and no other way to write them.
pub fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
    }
}

/// Why an address is refused; `None` where it may be connected to.
pub fn refused(ip: IpAddr, allow_loopback: bool) -> Option<&'static str> {
    if is_loopback(ip) {
        return (!allow_loopback).then_some("loopback");
    }
    match ip {
        IpAddr::V4(ip) => refused_v4(ip),
        IpAddr::V6(ip) => refused_v6(ip),
    }
}

fn refused_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [0, ..] => Some("unspecified"),
        [10, ..] | [192, 168, ..] => Some("private"),
        [172, b, ..] if (16..32).contains(&b) => Some("private"),
        [100, b, ..] if (64..128).contains(&b) => Some("shared (carrier-grade NAT)"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local"),
        // IETF protocol assignments, documentation, 6to4 relays, benchmarking: nobody's public server.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("reserved")
        }
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        // Azure's wire server and metadata host: a public number that every virtual machine reaches on its own host.
        [168, 63, 129, 16] => Some("a cloud's metadata service"),
        _ => None,
    }
}

fn refused_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let segments = ip.segments();
    if let Some(inner) = embedded(ip) {
        // The packet ends at the IPv4 address inside, so that one decides.
        return refused_v4(inner).map(|_| "one that hides a refused IPv4 address");
    }
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [a, ..] if a & 0xfe00 == 0xfc00 => Some("private (unique local)"),
        [a, ..] if a & 0xffc0 == 0xfe80 => Some("link-local"),
        [a, ..] if a & 0xff00 == 0xff00 => Some("multicast"),
        // Teredo, ORCHID, benchmarking and the like (2001::/23), documentation (2001:db8::/32, 3fff::/20).
        [0x2001, b, ..] if b < 0x0200 || b == 0x0db8 => Some("reserved"),
        [0x3fff, b, ..] if b < 0x1000 => Some("reserved"),
        // Only 2000::/3 is handed out for public use.
        [a, ..] if a & 0xe000 != 0x2000 => Some("reserved"),
        _ => None,
    }
}

/// The IPv4 address inside a mapped (RFC 4291), compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056) address.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(four(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(four(high, low)),
        [0x2002, high, low, ..] => Some(four(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, allow_loopback: bool) -> Option<&'static str> {
        refused(text.parse().expect("an address"), allow_loopback)
    }

    #[test]
    fn what_is_not_public_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "64:ff9b::168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:0a00:0001::1",
            "2002:7f00:0001::1",
            "2001:0:53aa:64c::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(check(text, false).is_some(), "{text} got through");
            let loopback = text == "::1" || text.starts_with("127.");
            assert_eq!(check(text, true).is_none(), loopback, "{text} with loopback allowed");
        }
    }

    #[test]
    fn what_is_public_is_not() {
        for text in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "169.253.1.1",
            "168.63.129.15",
            "168.63.129.17",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:0101:0101::1",
            "2a00:1450::1",
        ] {
            assert_eq!(check(text, false), None, "{text}");
        }
    }
}
