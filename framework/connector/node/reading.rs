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
    let mut reader = Reader { bytes: text.as_bytes(), rows: std::mem::take(rows), why: Why::Deep };
    let outcome = reader.document(most);
    *rows = reader.rows;
    outcome.map_err(|Stop| match reader.why {
        Why::Deep => Unread::Deep,
        Why::Wrong(at, what) => Unread::Wrong(said(text, at, what)),
    })
}

/// Why reading ended early.
enum Why {
    /// It nests deeper than it may.
    Deep,
    /// What is wrong, and before which byte.
    Wrong(usize, &'static str),
}

/// Reading ended early. The reader knows why: what each step returns stays small.
struct Stop;

struct Reader<'a> {
    bytes: &'a [u8],
    rows: Vec<Row>,
    why: Why,
}

impl Reader<'_> {
    fn document(&mut self, most: usize) -> Result<(), Stop> {
        let (start, first) = self.token(0);
        let end = self.value(start, first, most)?;
        let (end, _) = self.token(end);
        if end == self.bytes.len() { Ok(()) } else { self.wrong(end, "nothing may follow the value") }
    }

    /// The value that begins there, with this byte. Says where it ends.
    fn value(&mut self, at: usize, first: u8, room: usize) -> Result<usize, Stop> {
        match first {
            b'"' => self.text(at),
            b'{' => self.object(at, room),
            b'[' => self.list(at, room),
            b't' => self.word(at, b"true"),
            b'f' => self.word(at, b"false"),
            b'n' => self.word(at, b"null"),
            b'-' | b'0'..=b'9' => self.number(at),
            _ => self.wrong(at, "a value is missing"),
        }
    }

    fn object(&mut self, start: usize, room: usize) -> Result<usize, Stop> {
        let (row, room) = self.open(start, room)?;
        let (mut at, mut byte) = self.token(start + 1);
        if byte != b'}' {
            loop {
                if byte != b'"' {
                    return self.wrong(at, "a name in quotes is missing");
                }
                at = self.text(at)?;
                (at, byte) = self.token(at);
                if byte != b':' {
                    return self.wrong(at, "a colon is missing");
                }
                (at, byte) = self.token(at + 1);
                at = self.value(at, byte, room)?;
                (at, byte) = self.token(at);
                match byte {
                    b',' => (at, byte) = self.token(at + 1),
                    b'}' => break,
                    _ => return self.wrong(at, "a comma or `}` is missing"),
                }
            }
        }
        self.close(row, at + 1);
        Ok(at + 1)
    }

    fn list(&mut self, start: usize, room: usize) -> Result<usize, Stop> {
        let (row, room) = self.open(start, room)?;
        let (mut at, mut byte) = self.token(start + 1);
        if byte != b']' {
            loop {
                at = self.value(at, byte, room)?;
                (at, byte) = self.token(at);
                match byte {
                    b',' => (at, byte) = self.token(at + 1),
                    b']' => break,
                    _ => return self.wrong(at, "a comma or `]` is missing"),
                }
            }
        }
        self.close(row, at + 1);
        Ok(at + 1)
    }

    /// Begins the row of a list or an object.
    fn open(&mut self, start: usize, room: usize) -> Result<(usize, usize), Stop> {
        let Some(room) = room.checked_sub(1) else {
            self.why = Why::Deep;
            return Err(Stop);
        };
        let row = self.rows.len();
        self.row(start, start, false);
        Ok((row, room))
    }

    /// Ends it.
    fn close(&mut self, row: usize, end: usize) {
        let behind = self.rows.len();
        if let Some(row) = self.rows.get_mut(row) {
            row.close(end, behind);
        }
    }

    /// A text or a name, from quote to quote. Of what is read most are texts: with a call for each, reading would take a
    /// twelfth longer.
    #[inline(always)]
    fn text(&mut self, start: usize) -> Result<usize, Stop> {
        let at = self.plain(start + 1);
        if self.byte(at) == b'"' {
            self.row(start, at + 1, false);
            return Ok(at + 1);
        }
        self.escaped_text(start, at)
    }

    /// The same of a text in which something else stands there first.
    #[inline(never)]
    fn escaped_text(&mut self, start: usize, mut at: usize) -> Result<usize, Stop> {
        loop {
            match self.byte(at) {
                b'"' => break,
                b'\\' => {
                    at = self.escape(at)?;
                    at = self.plain(at);
                }
                _ if at < self.bytes.len() => {
                    return self.wrong(at, "a control character stands in a text");
                }
                _ => return self.wrong(at, "the quote that ends a text is missing"),
            }
        }
        self.row(start, at + 1, true);
        Ok(at + 1)
    }

    /// The first byte from here on that is a quote, a backslash or a control character; else the end. Eight bytes at
    /// once, as records are mostly text.
    fn plain(&self, at: usize) -> usize {
        let (words, rest) = self.bytes.get(at..).unwrap_or_default().as_chunks();
        let mut at = at;
        for word in words {
            let found = not_plain(u64::from_le_bytes(*word));
            if found != 0 {
                return at + (found.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')).unwrap_or(rest.len())
    }

    /// An escape: a backslash and what belongs to it.
    fn escape(&mut self, at: usize) -> Result<usize, Stop> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => {
                let digits = self.bytes.get(at + 2..at + 6).unwrap_or_default();
                let whole = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
                if whole { Ok(at + 6) } else { self.wrong(at, "four hex digits follow `\\u`") }
            }
            _ => self.wrong(at, "a backslash escapes nothing here"),
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
        self.row(start, at, false);
        Ok(at)
    }

    /// One digit or more.
    fn digits(&mut self, start: usize) -> Result<usize, Stop> {
        let mut at = start;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at > start { Ok(at) } else { self.wrong(at, "a digit is missing") }
    }

    fn word(&mut self, at: usize, word: &[u8]) -> Result<usize, Stop> {
        let end = at + word.len();
        if self.bytes.get(at..end) != Some(word) {
            return self.wrong(at, "a value is missing");
        }
        self.row(at, end, false);
        Ok(end)
    }

    /// Writes down a value, or the name of one. Of a list or an object the rest is not known yet.
    fn row(&mut self, start: usize, end: usize, escaped: bool) {
        let behind = self.rows.len() + 1;
        self.rows.push(Row::new(start, end, behind, escaped));
    }

    /// The first byte from here on that is no white space, and where it stands.
    fn token(&self, mut at: usize) -> (usize, u8) {
        let mut byte = self.byte(at);
        while matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
            byte = self.byte(at);
        }
        (at, byte)
    }

    /// The byte there; zero, which stands nowhere in JSON, behind the last one.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    #[cold]
    fn wrong<T>(&mut self, at: usize, what: &'static str) -> Result<T, Stop> {
        self.why = Why::Wrong(at, what);
        Err(Stop)
    }
}

/// A one in each byte.
const EACH: u64 = u64::from_le_bytes([1; 8]);
/// The highest bit of each byte.
const HIGH: u64 = EACH << 7;

/// The highest bit of each byte that is a quote, a backslash or a control character. Above the lowest of them it may
/// be wrong: only that one counts.
fn not_plain(word: u64) -> u64 {
    // With this bit turned over, a quote (0x22) stands right above the control characters, and a space does not.
    let quote_or_control = (word ^ (EACH * 2)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
    (quote_or_control | backslash) & !word & HIGH
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

    #[test]
    fn every_byte_of_a_text_is_plain_or_not_wherever_it_stands() {
        for byte in 0..0x80_u8 {
            for before in 0..20 {
                let text = format!(
                    "\"{}{}{}\"",
                    "a\u{e9}".repeat(before),
                    char::from(byte),
                    "~".repeat(19 - before)
                );
                let plain = !matches!(byte, 0..b' ' | b'"' | b'\\');
                assert_eq!(Parsed::read(&text).is_ok(), plain, "{text:?}");
            }
        }
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
