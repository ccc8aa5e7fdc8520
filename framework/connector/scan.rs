//! Where values begin and end in JSON text: no recursion, no tree, however deep it nests.
//!
//! `receive` cuts large and deep bodies into items with it and learns how deep each nests before the reader, which
//! recurses, sees it. It checks only what stands between the values: what is inside them the reader checks.

use std::borrow::Cow;

use memchr::memchr2;

use super::node::Parsed;
use super::pick::Pointer;

/// One value, cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span<'a> {
    /// Its text, from its first byte to its last.
    pub text: &'a str,
    /// How deep it nests: 0 for a scalar, 1 for a flat list or object.
    pub depth: usize,
}

/// The text is not what its first byte promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn;

/// White space as JSON has it.
pub(crate) const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Whether a byte is white space as JSON has it.
pub(crate) fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The text without white space at its ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(BLANKS)
}

/// Returns the bytes without white space before them. `[u8]::trim_ascii_start` takes a form feed too, which JSON does
/// not: a body of form feeds would be no body.
pub(crate) fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !blank(*byte)).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

/// Returns the bytes without white space behind them.
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !blank(*byte)).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// The one value that the text is; nothing but white space may stand around it.
pub(crate) fn whole(text: &str) -> Result<Span<'_>, Torn> {
    let text = trim(text);
    let (end, depth) = end_of_value(text.as_bytes(), 0).ok_or(Torn)?;
    if end == text.len() { Ok(Span { text, depth }) } else { Err(Torn) }
}

/// The value that a pointer leads to. Of a name that stands twice the last one counts, as in the tree.
pub(crate) fn find<'a>(text: &'a str, pointer: &Pointer) -> Result<Option<Span<'a>>, Torn> {
    let mut at = whole(text)?;
    for token in &pointer.0 {
        let next = match at.text.as_bytes().first() {
            Some(b'{') => last_member(at.text, token)?,
            Some(b'[') if token == "0" || !token.starts_with('0') => match token.parse::<usize>() {
                Ok(index) => elements(at.text).nth(index).transpose()?,
                Err(_) => None,
            },
            _ => None,
        };
        match next {
            Some(span) => at = span,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The member of an object that stands alone; of a name that stands twice the last one.
pub(crate) fn last_member<'a>(object: &'a str, name: &str) -> Result<Option<Span<'a>>, Torn> {
    let mut found = None;
    for member in members(object) {
        let (key, value) = member?;
        if unescaped(key).ok_or(Torn)? == name {
            found = Some(value);
        }
    }
    Ok(found)
}

/// A name or text between its quotes, unescaped. `None` where its escapes are none.
pub(crate) fn unescaped(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        let parsed = Parsed::read(quoted).ok()?;
        parsed.root().text().map(|text| Cow::Owned(text.into_owned()))
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The elements of a list that stands alone, in order.
pub(crate) fn elements(list: &str) -> impl Iterator<Item = Result<Span<'_>, Torn>> {
    values(list, b'[').map(|step| step.map(|(_, value)| value))
}

/// The members of an object that stands alone, in order: the quoted name, and the value.
pub(crate) fn members(object: &str) -> impl Iterator<Item = Result<(&str, Span<'_>), Torn>> {
    values(object, b'{')
}

/// The values of a container that stands alone, each with its quoted name.
fn values(text: &str, open: u8) -> impl Iterator<Item = Result<(&str, Span<'_>), Torn>> {
    let mut walk = Walk::new(text, 0, open);
    let mut torn = walk.is_none();
    std::iter::from_fn(move || {
        if std::mem::take(&mut torn) {
            return Some(Err(Torn));
        }
        match step(walk.as_mut()?) {
            Some(Some(value)) => Some(Ok(value)),
            Some(None) => None,
            None => {
                walk = None;
                Some(Err(Torn))
            }
        }
    })
}

/// The next value; `Some(None)` after the last; `None` where the text is torn.
fn step<'a>(walk: &mut Walk<'a>) -> Option<Option<(&'a str, Span<'a>)>> {
    if walk.is_over()? {
        return Some(None);
    }
    let name = walk.before_value()?.map_or(Some(""), |(start, end)| walk.text.get(start..end))?;
    let start = walk.here()?;
    let (end, depth) = end_of_value(walk.text.as_bytes(), start)?;
    walk.go_to(end);
    Some(Some((name, Span { text: walk.text.get(start..end)?, depth })))
}

/// A walk over one container: over the punctuation between its values. Whoever walks says where each value ends.
/// `None` of any step: the text is torn.
pub(crate) struct Walk<'a> {
    text: &'a str,
    at: usize,
    close: u8,
    first: bool,
}

impl<'a> Walk<'a> {
    /// Over the container that begins at `start` with this bracket and ends where the text does.
    pub(crate) fn new(text: &'a str, start: usize, open: u8) -> Option<Self> {
        let close = match open {
            b'{' => b'}',
            b'[' => b']',
            _ => return None,
        };
        (text.as_bytes().get(start) == Some(&open)).then(|| Self { text, at: start + 1, close, first: true })
    }

    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !blank(*byte))?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Whether the last bracket is reached. Nothing may follow it.
    pub(crate) fn is_over(&mut self) -> Option<bool> {
        if self.peek()? != self.close {
            return Some(false);
        }
        (self.at + 1 == self.text.len()).then_some(true)
    }

    /// Goes over what stands before the next value: a comma, a name and its colon. Says where the name stands,
    /// quotes and all; a list has none.
    pub(crate) fn before_value(&mut self) -> Option<Option<(usize, usize)>> {
        if !self.first {
            self.take(b',')?;
        }
        self.first = false;
        if self.close != b'}' {
            return Some(None);
        }
        self.peek()?;
        let start = self.at;
        let end = end_of_text(self.text.as_bytes(), start)?;
        self.at = end;
        self.take(b':')?;
        Some(Some((start, end)))
    }

    /// Where the next value begins.
    pub(crate) fn here(&mut self) -> Option<usize> {
        self.peek().map(|_| self.at)
    }

    /// Goes behind a value.
    pub(crate) fn go_to(&mut self, end: usize) {
        self.at = end;
    }
}

/// Behind the last byte of the value that begins at `start`, and how deep it nests.
pub(crate) fn end_of_value(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    match bytes.get(start)? {
        b'"' => end_of_text(bytes, start).map(|end| (end, 0)),
        b'{' | b'[' => end_of_container(bytes, start),
        _ => {
            let rest = bytes.get(start..)?;
            let len = rest.iter().position(|byte| blank(*byte) || matches!(byte, b',' | b']' | b'}'));
            let len = len.unwrap_or(rest.len());
            (len > 0).then_some((start + len, 0))
        }
    }
}

fn end_of_container(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let (mut depth, mut deepest, mut at) = (0_usize, 0, start);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = end_of_text(bytes, at)?;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((at + 1, deepest));
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Behind the closing quote of the text that begins at `start`.
fn end_of_text(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            // What is escaped is one byte at least; the reader looks at the rest.
            _ => at += 2,
        }
    }
}

/// The text of a scalar that was cut out: of a text without its quotes, of a number as it stands.
pub fn scalar(text: &str) -> Option<Cow<'_, str>> {
    match text.as_bytes().first()? {
        b'"' => unescaped(text),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &str) -> Result<Vec<&str>, Torn> {
        elements(list).map(|span| span.map(|span| span.text)).collect()
    }

    #[test]
    fn a_list_is_cut_at_its_own_commas() {
        assert_eq!(
            texts(r#"[ 1 ,"a,]\"", [2,3],{"b":[4]} ]"#),
            Ok(vec!["1", r#""a,]\"""#, "[2,3]", r#"{"b":[4]}"#])
        );
        assert_eq!(texts("[]"), Ok(vec![]));
        assert_eq!(texts("[ ]"), Ok(vec![]));
    }

    #[test]
    fn a_torn_list_is_torn() {
        for torn in ["", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]x", "{}", "[\"a]", "[[1]", "1"] {
            assert_eq!(texts(torn), Err(Torn), "{torn}");
        }
    }

    #[test]
    fn of_a_name_that_stands_twice_the_last_one_counts() {
        let doc = r#"{"a":1,"b":{"c":[10,{"d":2}]},"\u0061":3}"#;
        let at = |pointer: &str| find(doc, &Pointer::parse(pointer).unwrap()).unwrap().map(|span| span.text);
        assert_eq!(at("/a"), Some("3"));
        assert_eq!(at("/b/c/1/d"), Some("2"));
        assert_eq!(at("/b/c/01"), None);
        assert_eq!(at("/b/x"), None);
        assert_eq!(at(""), Some(doc));
    }

    #[test]
    fn a_million_brackets_are_only_counted() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(whole(&deep).map(|span| span.depth), Ok(1_000_000));
        assert_eq!(whole(&deep[..1_500_000]), Err(Torn));
    }
}
