//! Proves that a text is JSON (RFC 8259) and writes down where its values stand: one pass, one row a value.
//!
//! Only `node` calls it. It builds nothing: numbers and escapes are proven here and read where somebody looks. It takes
//! what JSON allows and few can hold: a number beyond a double, half of a surrogate pair (what is left of an emoji
//! that a vendor cut through), a name that stands twice.

use super::{Row, Unread};

/// Reads a document into rows: a value's row, then the rows of what is in it. `most` bounds the nesting: 0 is a scalar.
pub(super) fn read(text: &str, most: usize, rows: &mut Vec<Row>) -> Result<(), Unread> {
    if u32::try_from(text.len()).is_err() {
        return Err(Unread::Wrong("it is longer than 4 GiB".to_owned()));
    }
    let mut reader = Reader { bytes: text.as_bytes(), rows };
    match reader.document(most) {
        Ok(()) => Ok(()),
        Err(Stop::Deep) => Err(Unread::Deep),
        Err(Stop::Wrong(at, what)) => Err(Unread::Wrong(said(text, at, what))),
    }
}

/// Where reading ended early.
enum Stop {
    /// It nests deeper than it may.
    Deep,
    /// What is wrong, and before which byte.
    Wrong(usize, &'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    rows: &'a mut Vec<Row>,
}

impl Reader<'_> {
    fn document(&mut self, most: usize) -> Result<(), Stop> {
        let start = self.blanks(0);
        let end = self.value(start, most)?;
        let end = self.blanks(end);
        if end == self.bytes.len() { Ok(()) } else { Err(Stop::Wrong(end, "nothing may follow the value")) }
    }

    /// The value that begins there. Says where it ends.
    fn value(&mut self, at: usize, room: usize) -> Result<usize, Stop> {
        match self.byte(at) {
            b'"' => self.text(at),
            b'{' => self.container(at, room, Self::members),
            b'[' => self.container(at, room, Self::elements),
            b't' => self.word(at, b"true"),
            b'f' => self.word(at, b"false"),
            b'n' => self.word(at, b"null"),
            b'-' | b'0'..=b'9' => self.number(at),
            _ => Err(Stop::Wrong(at, "a value is missing")),
        }
    }

    fn container(
        &mut self,
        at: usize,
        room: usize,
        inside: fn(&mut Self, usize, usize) -> Result<usize, Stop>,
    ) -> Result<usize, Stop> {
        let room = room.checked_sub(1).ok_or(Stop::Deep)?;
        let row = self.rows.len();
        self.rows.push(Row::new(at, at, row, false));
        let end = inside(self, at + 1, room)?;
        let behind = self.rows.len();
        if let Some(row) = self.rows.get_mut(row) {
            *row = Row::new(at, end, behind, false);
        }
        Ok(end)
    }

    /// What follows `{`, with the bracket that closes it.
    fn members(&mut self, at: usize, room: usize) -> Result<usize, Stop> {
        let mut at = self.blanks(at);
        if self.byte(at) == b'}' {
            return Ok(at + 1);
        }
        loop {
            if self.byte(at) != b'"' {
                return Err(Stop::Wrong(at, "a name in quotes is missing"));
            }
            at = self.text(at)?;
            at = self.blanks(at);
            if self.byte(at) != b':' {
                return Err(Stop::Wrong(at, "a colon is missing"));
            }
            at = self.blanks(at + 1);
            at = self.value(at, room)?;
            at = self.blanks(at);
            match self.byte(at) {
                b',' => at = self.blanks(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(Stop::Wrong(at, "a comma or `}` is missing")),
            }
        }
    }

    /// What follows `[`, with the bracket that closes it.
    fn elements(&mut self, at: usize, room: usize) -> Result<usize, Stop> {
        let mut at = self.blanks(at);
        if self.byte(at) == b']' {
            return Ok(at + 1);
        }
        loop {
            at = self.value(at, room)?;
            at = self.blanks(at);
            match self.byte(at) {
                b',' => at = self.blanks(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(Stop::Wrong(at, "a comma or `]` is missing")),
            }
        }
    }

    /// A text or a name, from quote to quote.
    fn text(&mut self, start: usize) -> Result<usize, Stop> {
        let mut at = start + 1;
        let mut escaped = false;
        loop {
            at = self.plain(at);
            match self.byte(at) {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                _ if at < self.bytes.len() => {
                    return Err(Stop::Wrong(at, "a control character stands in a text"));
                }
                _ => return Err(Stop::Wrong(at, "the quote that ends a text is missing")),
            }
        }
        self.scalar(start, at + 1, escaped);
        Ok(at + 1)
    }

    /// The first byte from here on that is a quote, a backslash or a control character; else the end. Eight bytes at
    /// once, as records are mostly text.
    fn plain(&self, mut at: usize) -> usize {
        while let Some(word) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let word = u64::from_le_bytes(*word);
            let found = below_space(word) | zeros(word ^ (EACH * 0x22)) | zeros(word ^ (EACH * 0x5c));
            if found != 0 {
                return at + (found.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        let rest = self.bytes.get(at..).unwrap_or_default();
        at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')).unwrap_or(rest.len())
    }

    /// An escape: a backslash and what belongs to it.
    fn escape(&self, at: usize) -> Result<usize, Stop> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => {
                let digits = self.bytes.get(at + 2..at + 6).unwrap_or_default();
                let whole = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
                if whole { Ok(at + 6) } else { Err(Stop::Wrong(at, "four hex digits follow `\\u`")) }
            }
            _ => Err(Stop::Wrong(at, "a backslash escapes nothing here")),
        }
    }

    fn number(&mut self, start: usize) -> Result<usize, Stop> {
        let mut at = start + usize::from(self.byte(start) == b'-');
        at = match self.byte(at) {
            b'0' => at + 1,
            _ => self.digits(at)?,
        };
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            at = self.digits(at + 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-')))?;
        }
        self.scalar(start, at, false);
        Ok(at)
    }

    /// One digit or more.
    fn digits(&self, start: usize) -> Result<usize, Stop> {
        let mut at = start;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at > start { Ok(at) } else { Err(Stop::Wrong(at, "a digit is missing")) }
    }

    fn word(&mut self, at: usize, word: &[u8]) -> Result<usize, Stop> {
        let end = at + word.len();
        if self.bytes.get(at..end) != Some(word) {
            return Err(Stop::Wrong(at, "a value is missing"));
        }
        self.scalar(at, end, false);
        Ok(end)
    }

    fn scalar(&mut self, start: usize, end: usize, escaped: bool) {
        let behind = self.rows.len() + 1;
        self.rows.push(Row::new(start, end, behind, escaped));
    }

    fn blanks(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
        }
        at
    }

    /// The byte there; zero, which stands nowhere in JSON, behind the last one.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }
}

/// A one in each byte.
const EACH: u64 = u64::from_le_bytes([1; 8]);
/// The highest bit of each byte.
const HIGH: u64 = EACH << 7;

/// The highest bit of each byte that is zero. Above the lowest of them it may be wrong: only that one counts.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(EACH) & !word & HIGH
}

/// The same of each byte below a space.
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(EACH * 0x20) & !word & HIGH
}

/// A sentence for people: what is wrong and where, without the document.
fn said(text: &str, at: usize, what: &str) -> String {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    format!("{what} at line {line} column {}", at - begin + 1)
}

/// A text between its quotes with its escapes undone; half a surrogate pair becomes U+FFFD.
pub(super) fn unescaped(quoted: &str) -> String {
    let mut rest = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut whole = String::with_capacity(rest.len());
    while let Some((plain, escape)) = rest.split_once('\\') {
        whole.push_str(plain);
        let mut letters = escape.chars();
        let undone = match letters.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (letter, behind) = unit(letters.as_str());
                whole.push(letter);
                rest = behind;
                continue;
            }
            Some(letter) => letter,
            None => break,
        };
        whole.push(undone);
        rest = letters.as_str();
    }
    whole.push_str(rest);
    whole
}

/// What the four digits after `\u` stand for, with the other half where they are the first of a surrogate pair, and
/// what follows them.
fn unit(digits: &str) -> (char, &str) {
    let hex = |text: &str| u32::from_str_radix(text.get(..4)?, 16).ok();
    let behind = digits.get(4..).unwrap_or_default();
    let Some(code) = hex(digits) else { return (char::REPLACEMENT_CHARACTER, behind) };
    if let 0xd800..0xdc00 = code
        && let Some(second) = behind.strip_prefix("\\u")
        && let Some(low @ 0xdc00..0xe000) = hex(second)
    {
        let code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (letter, second.get(4..).unwrap_or_default());
    }
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), behind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::connector::node::Parsed;

    fn documents() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "null",
            "true",
            "0",
            "-3",
            "12",
            "1.5",
            "1e2",
            "\"\"",
            "\"a\"",
            "\"\u{e9}\"",
            "\"\\n\\\"\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00x\"",
            "\"a long text of more than eight letters, \u{1f600} and a quote \\\" at its end\\\"\"",
            "1e400",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 24, 4, |inner| {
            let name = prop::sample::select(vec!["a", "b", "\\n", "\\u0061"]);
            let member = (name, inner.clone()).prop_map(|(name, value)| format!("\"{name}\" :{value}"));
            prop_oneof![
                prop::collection::vec(member, 0..4)
                    .prop_map(|members| format!("{{{} }}", members.join(", "))),
                prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[ {}]", elements.join(" ,"))),
            ]
        })
    }

    /// A document in which some characters were taken out, doubled or replaced.
    fn spoiled() -> impl Strategy<Value = String> {
        let wrong = prop::sample::select("\"\\{}[]:,0-.eutx \n\u{1}\u{e9}".chars().collect::<Vec<_>>());
        (documents(), prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, wrong), 0..3)).prop_map(
            |(document, changes)| {
                let mut chars: Vec<char> = document.chars().collect();
                for (index, change, wrong) in changes {
                    let at = index.index(chars.len() + 1);
                    match change {
                        0 => chars.insert(at, wrong),
                        1 if at < chars.len() => drop(chars.remove(at)),
                        _ if at < chars.len() => chars[at] = wrong,
                        _ => {}
                    }
                }
                chars.into_iter().collect()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn another_reader_takes_and_refuses_the_same_and_reads_alike(text in spoiled()) {
            let parsed = Parsed::read(&text);
            let other = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(parsed.is_ok(), other.is_ok(), "{} {:?}", text, parsed);
            if let (Ok(parsed), Ok(json)) = (parsed, serde_json::from_str::<serde_json::Value>(&text)) {
                prop_assert_eq!(parsed.root().to_json(), json, "{}", text);
            }
        }
    }
}
