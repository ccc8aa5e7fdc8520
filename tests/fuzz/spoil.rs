//! Ways to spoil an input that was good.

use proptest::prelude::*;
use proptest::sample::Index;

/// One change of some bytes.
#[derive(Debug, Clone)]
pub enum Spoil {
    /// Another byte.
    Put(Index, u8),
    /// Bytes that something may stumble over.
    Insert(Index, &'static [u8]),
    /// So many bytes less.
    Cut(Index, usize),
    /// A piece of it, again somewhere else.
    Copy(Index, usize, Index),
    /// Nothing behind it.
    End(Index),
}

/// What readers of text and of binary formats stumble over.
const STONES: &[&[u8]] = &[
    b"\0",
    b"\"",
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b"\t",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"#",
    b":",
    b": ",
    b"- ",
    b",",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"|",
    b">",
    b"!!binary ",
    b"!!str ",
    b"? ",
    b"---\n",
    b"...",
    b"%",
    b"~",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"0x7fffffff",
    b"18446744073709551616",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\\u0000",
    b"\\ud800",
    b"=",
    b";",
    b"/",
    b"..",
    b"*",
    b"+",
    b"(",
    b")",
    b"$",
    b"^",
    b"\x1f\x8b\x08\x00",
    b"\x28\xb5\x2f\xfd",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
];

/// Any of them.
pub fn any_spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Spoil::Put(at, byte)),
        4 => (any::<Index>(), prop::sample::select(STONES)).prop_map(|(at, stone)| Spoil::Insert(at, stone)),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Spoil::Cut(at, length)),
        2 => (any::<Index>(), 1..60_usize, any::<Index>()).prop_map(|(from, length, to)| Spoil::Copy(from, length, to)),
        1 => any::<Index>().prop_map(Spoil::End),
    ]
}

impl Spoil {
    /// The bytes with the change.
    pub fn on(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Put(at, byte) => {
                let at = place(at, bytes);
                if let Some(there) = bytes.get_mut(at) {
                    *there = *byte;
                }
            }
            Self::Insert(at, stone) => {
                let at = place(at, bytes);
                bytes.splice(at..at, stone.iter().copied());
            }
            Self::Cut(at, length) => {
                let at = place(at, bytes);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Self::Copy(from, length, to) => {
                let (from, to) = (place(from, bytes), place(to, bytes));
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                bytes.splice(to..to, piece);
            }
            Self::End(at) => bytes.truncate(place(at, bytes)),
        }
    }
}

/// Good inputs with so many changes at most; none at times.
pub fn spoiled(good: impl Strategy<Value = Vec<u8>>, most: usize) -> impl Strategy<Value = Vec<u8>> {
    (good, prop::collection::vec(any_spoil(), 0..=most)).prop_map(|(mut bytes, spoils)| {
        spoils.iter().for_each(|spoil| spoil.on(&mut bytes));
        bytes
    })
}
