//! JSON that came in, proven well-formed once, with the place of each of its values.
//!
//! Id, time, type and schema look at the same [`Node`]s, and each knows its own text: what was checked is what
//! is delivered. The values of a document are rows of one table, in the order of the text, so that reading a
//! document takes no memory of its own where the table is used again. Of an object that names a key twice the
//! last one counts, as it does for almost every reader downstream.

mod reading;

use std::borrow::Cow;

use serde_json::Value as Json;

use super::pick::Pointer;

/// How deep what forebay itself reads may nest: schemas' samples, texts between quotes.
const NESTING: usize = 200;

/// A document, read.
#[derive(Debug)]
pub struct Parsed<'t> {
    text: &'t str,
    rows: Vec<Row>,
}

/// A document that is kept with its text, for who looks at it again and again.
#[derive(Debug)]
pub struct Kept {
    text: String,
    rows: Vec<Row>,
}

/// The table of a document that is read no more. The next one may be written over it.
#[derive(Debug, Default)]
pub struct Rows(Vec<Row>);

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It nests deeper than was allowed.
    Deep,
    /// What is wrong with it, on one line and without the document.
    Wrong(String),
}

/// A value, or the name of one: a name stands before its value. Four bytes a place are enough: nobody takes in 4 GiB.
#[derive(Debug, Clone, Copy)]
struct Row {
    start: u32,
    end: u32,
    /// The first row that belongs to nothing in this value.
    behind: u32,
    /// Whether a text has escapes in it.
    escaped: bool,
}

impl Row {
    /// Places in a document that is shorter than 4 GiB, which has fewer values than bytes.
    fn new(start: usize, end: usize, behind: usize, escaped: bool) -> Self {
        Self { start: start as u32, end: end as u32, behind: behind as u32, escaped }
    }

    /// Says where a list or an object ends, and what comes behind all that is in it.
    fn close(&mut self, end: usize, behind: usize) {
        (self.end, self.behind) = (end as u32, behind as u32);
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deep => f.write_str("it nests too deep"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Unread {}

impl<'t> Parsed<'t> {
    /// Reads one JSON document that nests no deeper than what people write.
    pub fn read(text: &'t str) -> Result<Self, Unread> {
        Self::within(text, NESTING, &mut Rows::default())
    }

    /// Reads one JSON document into a table that was used before. `most` bounds its nesting: 0 is a scalar, 1 a flat
    /// list or object. Reading recurses so deep.
    pub fn within(text: &'t str, most: usize, rows: &mut Rows) -> Result<Self, Unread> {
        rows.0.clear();
        reading::read(text, most, &mut rows.0)?;
        Ok(Self { text, rows: std::mem::take(&mut rows.0) })
    }

    /// The table, for the next document.
    pub fn into_rows(self) -> Rows {
        Rows(self.rows)
    }

    /// The whole document.
    pub fn root(&self) -> Node<'_> {
        Node { document: Document { text: self.text, rows: &self.rows }, at: 0 }
    }
}

impl Kept {
    /// Reads one JSON document. `most` bounds its nesting. Its table has room for so many rows from the beginning: one
    /// that grows takes its memory twice for a moment.
    pub fn read(text: String, most: usize, room: usize) -> Result<Self, Unread> {
        let mut rows = Vec::with_capacity(room);
        reading::read(&text, most, &mut rows)?;
        Ok(Self { text, rows })
    }

    /// The whole document.
    pub fn root(&self) -> Node<'_> {
        self.node(0)
    }

    /// The value of a row.
    pub fn node(&self, row: usize) -> Node<'_> {
        Node { document: Document { text: &self.text, rows: &self.rows }, at: row }
    }
}

/// What the values of one document share.
#[derive(Debug, Clone, Copy)]
struct Document<'a> {
    text: &'a str,
    rows: &'a [Row],
}

/// One value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    document: Document<'a>,
    /// Its row.
    at: usize,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Shape<'a> {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text, unescaped.
    Text(Cow<'a, str>),
    /// A list.
    List(Elements<'a>),
    /// An object.
    Map(Members<'a>),
}

/// A number; text such as `1.0` and `1e3` is a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Fits 64 bits without a sign.
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    /// Everything else, with what precision a double has.
    Float(f64),
}

/// The members of an object.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a>(Node<'a>);

/// The elements of a list.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a>(Node<'a>);

impl<'a> Document<'a> {
    /// A row; of one that is not there, the end of the document.
    fn row(self, at: usize) -> Row {
        self.rows.get(at).copied().unwrap_or(Row { start: 0, end: 0, behind: u32::MAX, escaped: false })
    }
}

impl<'a> Node<'a> {
    fn row(self) -> Row {
        self.document.row(self.at)
    }

    /// Where its row stands in the document.
    pub fn row_number(self) -> usize {
        self.at
    }

    /// How many rows it takes, with all that is in it.
    pub fn rows(self) -> usize {
        (self.row().behind as usize).saturating_sub(self.at)
    }

    /// Its text, from its first byte to its last.
    pub fn raw(self) -> &'a str {
        let Row { start, end, .. } = self.row();
        self.document.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Its first byte, which tells what it is.
    pub fn first(self) -> Option<u8> {
        self.document.text.as_bytes().get(self.row().start as usize).copied()
    }

    /// What it is.
    pub fn shape(self) -> Shape<'a> {
        match self.first() {
            Some(b'{') => Shape::Map(Members(self)),
            Some(b'[') => Shape::List(Elements(self)),
            Some(b'"') => Shape::Text(self.unescaped()),
            Some(b't') => Shape::Bool(true),
            Some(b'f') => Shape::Bool(false),
            Some(b'-' | b'0'..=b'9') => Shape::Number(Number::read(self.raw())),
            Some(_) | None => Shape::Null,
        }
    }

    /// The value that a pointer leads to. Of a key that stands twice the last one counts.
    pub fn at(self, pointer: &Pointer) -> Option<Node<'a>> {
        pointer.0.iter().try_fold(self, |at, token| match at.first() {
            Some(b'{') => Members(at).get(token),
            Some(b'[') if token == "0" || !token.starts_with('0') => {
                token.parse::<usize>().ok().and_then(|index| Elements(at).get(index))
            }
            Some(_) | None => None,
        })
    }

    /// The text, where it is one.
    pub fn text(self) -> Option<Cow<'a, str>> {
        (self.first() == Some(b'"')).then(|| self.unescaped())
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.first() == Some(b'n')
    }

    /// A copy that the rest of the program can work with; for the cold path.
    pub fn to_json(self) -> Json {
        match self.shape() {
            Shape::Null => Json::Null,
            Shape::Bool(value) => Json::Bool(value),
            Shape::Number(number) => number.to_json().map_or(Json::Null, Json::Number),
            Shape::Text(text) => Json::String(text.into_owned()),
            Shape::List(list) => list.iter().map(Node::to_json).collect(),
            Shape::Map(map) => map.iter().map(|(key, value)| (key.into_owned(), value.to_json())).collect(),
        }
    }

    /// What stands between the quotes, its escapes undone.
    fn unescaped(self) -> Cow<'a, str> {
        let Row { start, end, escaped, .. } = self.row();
        if escaped {
            return Cow::Owned(reading::unescaped(self.raw()));
        }
        let between = start as usize + 1..(end as usize).saturating_sub(1);
        Cow::Borrowed(self.document.text.get(between).unwrap_or_default())
    }

    /// The bytes of a text, where none of them is an escape.
    pub fn plain_length(self) -> Option<usize> {
        let Row { start, end, escaped, .. } = self.row();
        if escaped { None } else { (end as usize).checked_sub(start as usize + 2) }
    }

    /// Whether this is what stands between the quotes. Mostly the length alone tells, or the first letter.
    fn is_named(self, name: &str) -> bool {
        let Row { start, end, escaped, .. } = self.row();
        if escaped {
            return self.unescaped() == name;
        }
        let between = (start as usize + 1)..(end as usize).saturating_sub(1);
        let known = self.document.text.as_bytes().get(between).unwrap_or_default();
        known.len() == name.len() && known.first() == name.as_bytes().first() && known == name.as_bytes()
    }

    /// The rows directly inside of it.
    fn inside(self) -> impl Iterator<Item = Node<'a>> {
        let Self { document, at } = self;
        let (mut next, end) = (at + 1, self.row().behind as usize);
        std::iter::from_fn(move || {
            let node = (next < end).then_some(Node { document, at: next })?;
            next = node.row().behind as usize;
            Some(node)
        })
    }
}

impl<'a> Members<'a> {
    /// How many there are, a name that stands twice twice.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The last member of this name.
    pub fn get(self, name: &str) -> Option<Node<'a>> {
        let mut found = None;
        for (known, value) in self.nodes() {
            if known.is_named(name) {
                found = Some(value);
            }
        }
        found
    }

    /// All of them, in order, a name that stands twice twice.
    pub fn iter(self) -> impl Iterator<Item = (Cow<'a, str>, Node<'a>)> {
        self.nodes().map(|(name, value)| (name.unescaped(), value))
    }

    /// All of them, in order, their names not unescaped.
    pub fn nodes(self) -> impl Iterator<Item = (Node<'a>, Node<'a>)> {
        let Node { document, at } = self.0;
        let (mut next, end) = (at + 1, self.0.row().behind as usize);
        std::iter::from_fn(move || {
            let name = (next < end).then_some(Node { document, at: next })?;
            let value = Node { document, at: next + 1 };
            next = value.row().behind as usize;
            Some((name, value))
        })
    }
}

impl<'a> Elements<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The element of this index.
    pub fn get(self, index: usize) -> Option<Node<'a>> {
        self.iter().nth(index)
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Node<'a>> {
        self.0.inside()
    }
}

impl Number {
    /// Reads a number of well-formed JSON.
    fn read(text: &str) -> Self {
        if let Ok(number) = text.parse() {
            return Self::Unsigned(number);
        }
        // No integer is below zero and zero: two ids, `0` and `-0`, must not become one.
        if let Ok(number) = text.parse()
            && number != 0
        {
            return Self::Signed(number);
        }
        // What a double cannot hold is the greatest that it can.
        Self::Float(text.parse::<f64>().unwrap_or_default().clamp(f64::MIN, f64::MAX))
    }

    /// As serde_json has it; `None` for a float that JSON cannot write.
    pub fn to_json(self) -> Option<serde_json::Number> {
        match self {
            Self::Unsigned(number) => Some(number.into()),
            Self::Signed(number) => Some(number.into()),
            Self::Float(number) => serde_json::Number::from_f64(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_allows_is_read() {
        for text in ["1e400", "-1e400", r#""\ud83d""#, r#"{"a\udc00":[1,18446744073709551616]}"#, " null "] {
            assert!(Parsed::read(text).is_ok(), "{text}: {:?}", Parsed::read(text));
        }
        for text in ["", "01", "1.", "+1", "1e", "[1,]", "{\"a\"}", "\"\n\"", "1 2", "nul", "\"\\x\"", "NaN"]
        {
            assert!(Parsed::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_kind() {
        let number = |text: &str| match Parsed::read(text).unwrap().root().shape() {
            Shape::Number(number) => number,
            other => panic!("{other:?}"),
        };
        assert_eq!(number("18446744073709551615"), Number::Unsigned(u64::MAX));
        assert_eq!(number("-1"), Number::Signed(-1));
        assert_eq!(number("1.0"), Number::Float(1.0));
        assert_eq!(number("-0"), Number::Float(0.0));
        assert_eq!(number("1e400"), Number::Float(f64::MAX));
    }

    #[test]
    fn every_value_knows_its_own_text_and_of_a_name_that_stands_twice_the_last_one_counts() {
        let text = " {\"a\" : [1, \"x\\\"\" ] ,\"b\":{\"c\": {} },\"n\\u0061me\":\"\\u00e9\",\"a\":true} ";
        for text in [text.to_owned(), text.replace("\\u0061", "a").replace("\\u00e9", "\u{e9}")] {
            let parsed = Parsed::read(&text).unwrap();
            let raw = |pointer: &str| parsed.root().at(&Pointer::parse(pointer).unwrap()).map(Node::raw);
            assert_eq!(raw(""), Some(text.trim()));
            assert_eq!(raw("/a"), Some("true"));
            assert_eq!(raw("/b"), Some("{\"c\": {} }"));
            assert_eq!(raw("/b/c"), Some("{}"));
            assert_eq!(raw("/b/01"), None);
            assert_eq!(
                parsed.root().at(&Pointer::parse("/name").unwrap()).unwrap().text().as_deref(),
                Some("\u{e9}")
            );
            let Shape::Map(members) = parsed.root().shape() else { panic!("an object") };
            let first = members.iter().next().unwrap().1;
            assert_eq!(first.at(&Pointer::parse("/1").unwrap()).unwrap().text().as_deref(), Some("x\""));
            assert_eq!(members.len(), 4);
        }
    }
}
