//! Where values begin and end in JSON text: no recursion, no tree, however deep it nests.
//!
//! `decode` cuts bodies into items and items into records with it, and learns how deep each nests before
//! the reader, which recurses, sees it. It checks only what stands between the values it cuts out; what is
//! inside them the reader checks.

use std::borrow::Cow;

use crate::connector::node::Parsed;
use crate::connector::pick::Pointer;

/// One value, cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span<'a> {
    /// Its text, from its first byte to its last.
    pub text: &'a str,
    /// How deep it nests: 0 for a scalar, 1 for a flat list or object.
    pub depth: usize,
}

/// The text is not what its first byte promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn;

/// White space as JSON has it.
pub(super) fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The text without white space at its ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// The one value that the text is; nothing but white space may stand around it.
pub(super) fn whole(text: &str) -> Result<Span<'_>, Torn> {
    let text = trim(text);
    let (end, depth) = end_of_value(text.as_bytes(), 0).ok_or(Torn)?;
    if end == text.len() { Ok(Span { text, depth }) } else { Err(Torn) }
}

/// The value that a pointer leads to. Of a name that stands twice the last one counts, as in the tree.
pub(super) fn find<'a>(text: &'a str, pointer: &Pointer) -> Result<Option<Span<'a>>, Torn> {
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

fn last_member<'a>(object: &'a str, name: &str) -> Result<Option<Span<'a>>, Torn> {
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
pub(super) fn unescaped(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        let parsed = Parsed::read(quoted).ok()?;
        parsed.root().text().map(|text| Cow::Owned(text.to_owned()))
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The elements of a list that stands alone, in order.
pub(super) fn elements(list: &str) -> impl Iterator<Item = Result<Span<'_>, Torn>> {
    Walk::new(list, b'[', b']').map(|step| step.map(|(_, value)| value))
}

/// The members of an object that stands alone, in order: the quoted name, and the value.
pub(super) fn members(object: &str) -> impl Iterator<Item = Result<(&str, Span<'_>), Torn>> {
    Walk::new(object, b'{', b'}')
}

/// A walk over one container: over its values and the punctuation between them.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    close: u8,
    first: bool,
    over: bool,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, open: u8, close: u8) -> Self {
        let at = usize::from(text.as_bytes().first() == Some(&open));
        // A text that does not begin with its bracket yields one `Torn`: `step` finds nothing to stand on.
        Self { text, at, close, first: true, over: false }
    }

    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !blank(*byte))?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self) -> Option<Span<'a>> {
        self.peek()?;
        let (end, depth) = end_of_value(self.text.as_bytes(), self.at)?;
        let text = self.text.get(self.at..end)?;
        self.at = end;
        Some(Span { text, depth })
    }

    /// The next value; `Some(None)` after the last; `None` where the text is torn.
    fn step(&mut self) -> Option<Option<(&'a str, Span<'a>)>> {
        if self.at == 0 {
            return None;
        }
        if self.peek()? == self.close {
            // Only white space may follow the last bracket.
            return (self.at + 1 == self.text.len()).then_some(None);
        }
        if !self.first {
            self.take(b',')?;
        }
        self.first = false;
        let mut key = "";
        if self.close == b'}' {
            let start = {
                self.peek()?;
                self.at
            };
            self.at = end_of_text(self.text.as_bytes(), start)?;
            key = self.text.get(start..self.at)?;
            self.take(b':')?;
        }
        self.value().map(|value| Some((key, value)))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<(&'a str, Span<'a>), Torn>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.step() {
            Some(Some(step)) => Some(Ok(step)),
            Some(None) => {
                self.over = true;
                None
            }
            None => {
                self.over = true;
                Some(Err(Torn))
            }
        }
    }
}

/// Behind the last byte of the value that begins at `start`, and how deep it nests.
fn end_of_value(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
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
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            // What is escaped is one byte at least; the reader looks at the rest.
            _ => at += 2,
        }
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
