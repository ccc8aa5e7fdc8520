//! The PROXY protocol header, versions 1 and 2, as HAProxy's `proxy-protocol.txt` describes it.
//!
//! `serving` reads it off a connection before anything else, TLS included, where the configuration requires it. It is
//! never guessed: a connection that begins otherwise is closed. Not one byte past the header is read.
//!
//! - Version 1 is a line of 107 bytes at most: `PROXY TCP4 source destination port port\r\n`, or `PROXY UNKNOWN …`.
//! - Version 2 is 12 fixed bytes, version and command, family, the length of the rest in 16 bits, addresses, and
//!   further fields that are passed over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a line of version 1, with its end.
const LINE: usize = 107;
/// Bytes after the first 16 of version 2 that are taken: addresses and the fields that load balancers add.
const REST: usize = 4 << 10;

/// Reads the header: the client's address, or `None` if the proxy speaks for itself (a health check).
///
/// # Errors
/// What comes is no header, or the connection broke.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<IpAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let [command, family, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > REST {
            return Err(wrong("the header is longer than 4 KiB"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return second(command, family, &rest).map_err(wrong);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(wrong("there is no PROXY protocol header"));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE {
            return Err(wrong("the line is longer than 107 bytes"));
        }
        line.push(stream.read_u8().await?);
    }
    first(&line).map_err(wrong)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A whole line of version 1.
fn first(line: &[u8]) -> Result<Option<IpAddr>, &'static str> {
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n"));
    let mut words = line.ok_or("the line is no text")?.split(' ').skip(1);
    let (family, source, destination) = (words.next(), words.next(), words.next());
    let ports = [words.next(), words.next()];
    let address = |text: Option<&str>| -> Option<IpAddr> {
        match family? {
            "TCP4" => text?.parse().ok().map(IpAddr::V4),
            "TCP6" => text?.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let source = address(source).ok_or("the source is no address of its family")?;
    address(destination).ok_or("the destination is no address of its family")?;
    let port = |text: Option<&str>| text.is_some_and(|text| text.parse::<u16>().is_ok());
    if !ports.into_iter().all(port) || words.next().is_some() {
        return Err("the ports are none");
    }
    Ok(Some(source))
}

/// Version 2 after its first 16 bytes.
fn second(command: u8, family: u8, rest: &[u8]) -> Result<Option<IpAddr>, &'static str> {
    match command {
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err("version or command is unknown"),
    }
    match family {
        // TCP over IPv4: two addresses and two ports.
        0x11 => match rest {
            [a, b, c, d, _, _, _, _, _, _, _, _, ..] => Ok(Some(Ipv4Addr::new(*a, *b, *c, *d).into())),
            _ => Err("the addresses are cut"),
        },
        0x21 => match (rest.first_chunk::<16>(), rest.len() >= 36) {
            (Some(source), true) => Ok(Some(Ipv6Addr::from(*source).into())),
            _ => Err("the addresses are cut"),
        },
        // No family: the proxy does not know.
        0x00 => Ok(None),
        _ => Err("the family is neither TCP over IPv4 nor TCP over IPv6"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of bytes, and how many are left.
    fn header(bytes: &[u8]) -> Option<(Option<String>, usize)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest)).ok()?;
        Some((read.map(|address| address.to_string()), rest.len()))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn headers_of_both_versions_give_the_source_and_leave_what_follows() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 1, 187];
        let six = [&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 20]].concat();
        let more = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n".to_vec(), Some("2001:db8::1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("192.0.2.1")),
            (v2(0x21, 0x11, &more), Some("192.0.2.1")),
            (v2(0x21, 0x21, &six), Some("2001:db8::1")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
        ] {
            let shown = bytes.escape_ascii().to_string();
            let followed = [&bytes[..], b"POST"].concat();
            assert_eq!(header(&followed), Some((expected.map(str::to_owned), 4)), "{shown}");
            for end in 0..bytes.len() {
                assert_eq!(header(&bytes[..end]), None, "{shown} cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 1];
        for bytes in [
            b"POST / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\n\n\n\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 10.0.0.1 1234 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1234\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 99999\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 443 5\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 10.0.0.1 1234 443\r\n".to_vec(),
            long.into_bytes(),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &four),
            v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert_eq!(header(&bytes), None, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(start in 0..3_usize, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let begin: &[u8] = [&b""[..], b"PROXY ", SIGNATURE].get(start).copied().unwrap_or_default();
            let _ = header(&[begin, &bytes].concat());
        }
    }
}
