//! JSON that came in, proven well-formed once, and opened only where somebody looks.
//!
//! Id, time, type and schema look at the same [`Node`]s, and each knows its own text: what was checked is what
//! is delivered. An object is opened one level at a time; what nobody asks for costs no memory. Of an object that
//! names a key twice the last one counts, as it does for almost every reader downstream. Reading recurses:
//! whoever calls [`Parsed::read`] bounds the nesting first.

mod reading;

use std::borrow::Cow;
use std::cell::OnceCell;

use memchr::memchr;
use serde_json::Value as Json;

use super::pick::Pointer;

/// A document, read.
#[derive(Debug)]
pub struct Parsed<'t> {
    text: Cow<'t, str>,
    root: Value,
    /// Whether it holds what only the slow way can open: `\u`, behind which half a surrogate pair may stand.
    odd: bool,
}

/// A value by its place in the text. Four bytes are enough: nobody takes in 4 GiB.
#[derive(Debug)]
struct Value {
    start: u32,
    end: u32,
    inside: OnceCell<Box<Inside>>,
}

/// What is in a value, once somebody looked.
#[derive(Debug)]
enum Inside {
    Members(Vec<Member>),
    Elements(Vec<Value>),
    /// A text whose escapes are undone.
    Text(String),
}

#[derive(Debug)]
struct Member {
    name: Name,
    value: Value,
}

#[derive(Debug)]
enum Name {
    /// As it is written between its quotes.
    Plain(u32, u32),
    /// With its escapes undone.
    Unescaped(Box<str>),
}

impl<'t> Parsed<'t> {
    /// Reads one JSON document; the error says what is wrong, on one line and without the document.
    pub fn read(text: &'t str) -> Result<Self, String> {
        let (root, odd) = reading::read(text)?;
        Ok(Self { text: Cow::Borrowed(text), root, odd })
    }

    /// The whole document.
    pub fn root(&self) -> Node<'_> {
        Node { document: Document { text: &self.text, odd: self.odd }, value: &self.root }
    }
}

impl Parsed<'static> {
    /// A document that is one text.
    pub fn text(text: &str) -> Self {
        let root = Value::new(0, text.len() + 2);
        // What stands between the quotes is never looked at: the text is there already.
        let quoted = format!("\"{text}\"");
        root.inside.get_or_init(|| Box::new(Inside::Text(text.to_owned())));
        Self { text: Cow::Owned(quoted), root, odd: false }
    }
}

/// What the values of one document share.
#[derive(Debug, Clone, Copy)]
struct Document<'a> {
    text: &'a str,
    odd: bool,
}

/// One value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    document: Document<'a>,
    value: &'a Value,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'a> {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text, unescaped.
    Text(&'a str),
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

/// The members of an object, which is opened when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a>(Node<'a>);

/// The elements of a list, which is opened when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a>(Node<'a>);

impl Value {
    fn new(start: usize, end: usize) -> Self {
        Self { start: place(start), end: place(end), inside: OnceCell::new() }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a body is bounded far below 4 GiB")
}

impl<'a> Document<'a> {
    fn slice(self, start: u32, end: u32) -> &'a str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl<'a> Node<'a> {
    /// Its text, from its first byte to its last.
    pub fn raw(self) -> &'a str {
        self.document.slice(self.value.start, self.value.end)
    }

    /// What it is.
    pub fn shape(self) -> Shape<'a> {
        match self.raw().as_bytes().first() {
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
        pointer.0.iter().try_fold(self, |at, token| match at.shape() {
            Shape::Map(members) => members.get(token),
            Shape::List(list) if token == "0" || !token.starts_with('0') => {
                token.parse::<usize>().ok().and_then(|index| list.get(index))
            }
            Shape::List(_) | Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) => None,
        })
    }

    /// The text, where it is one.
    pub fn text(self) -> Option<&'a str> {
        self.raw().starts_with('"').then(|| self.unescaped())
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.raw().starts_with('n')
    }

    /// A copy that the rest of the program can work with; for the cold path.
    pub fn to_json(self) -> Json {
        match self.shape() {
            Shape::Null => Json::Null,
            Shape::Bool(value) => Json::Bool(value),
            Shape::Number(number) => number.to_json().map_or(Json::Null, Json::Number),
            Shape::Text(text) => Json::String(text.to_owned()),
            Shape::List(list) => list.iter().map(Node::to_json).collect(),
            Shape::Map(map) => map.iter().map(|(key, value)| (key.to_owned(), value.to_json())).collect(),
        }
    }

    /// Where the value lies in memory: one place, one value, as long as the document lives.
    pub(super) fn address(self) -> usize {
        std::ptr::from_ref(self.value) as usize
    }

    fn unescaped(self) -> &'a str {
        let written = self.raw().get(1..self.raw().len().saturating_sub(1)).unwrap_or_default();
        let open = || Box::new(Inside::Text(reading::unescaped(self.raw())));
        match self.value.inside.get() {
            None if memchr(b'\\', written.as_bytes()).is_none() => written,
            None | Some(_) => match &**self.value.inside.get_or_init(open) {
                Inside::Text(text) => text,
                Inside::Members(_) | Inside::Elements(_) => written,
            },
        }
    }

    fn inner(self, value: &'a Value) -> Node<'a> {
        Node { document: self.document, value }
    }

    fn members(self) -> &'a [Member] {
        match &**self.value.inside.get_or_init(|| Box::new(reading::open(self.document, self.value))) {
            Inside::Members(members) => members,
            Inside::Elements(_) | Inside::Text(_) => &[],
        }
    }

    fn elements(self) -> &'a [Value] {
        match &**self.value.inside.get_or_init(|| Box::new(reading::open(self.document, self.value))) {
            Inside::Elements(elements) => elements,
            Inside::Members(_) | Inside::Text(_) => &[],
        }
    }
}

impl<'a> Members<'a> {
    /// How many there are, a name that stands twice twice.
    pub fn len(self) -> usize {
        self.0.members().len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The last member of this name.
    pub fn get(self, name: &str) -> Option<Node<'a>> {
        let mut from_the_end = self.0.members().iter().rev();
        from_the_end.find(|member| self.name(member) == name).map(|member| self.0.inner(&member.value))
    }

    /// All of them, in order, a name that stands twice twice.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        self.0.members().iter().map(move |member| (self.name(member), self.0.inner(&member.value)))
    }

    fn name(self, member: &'a Member) -> &'a str {
        match &member.name {
            Name::Plain(start, end) => self.0.document.slice(*start, *end),
            Name::Unescaped(name) => name,
        }
    }
}

impl<'a> Elements<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.0.elements().len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The element of this index.
    pub fn get(self, index: usize) -> Option<Node<'a>> {
        self.0.elements().get(index).map(|value| self.0.inner(value))
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Node<'a>> {
        self.0.elements().iter().map(move |value| self.0.inner(value))
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

    /// Its text, for people and for the schema's arithmetic.
    pub fn text(self) -> Cow<'static, str> {
        match self {
            Self::Unsigned(number) => number.to_string().into(),
            Self::Signed(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
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
            assert_eq!(parsed.root().at(&Pointer::parse("/name").unwrap()).unwrap().text(), Some("\u{e9}"));
            let Shape::Map(members) = parsed.root().shape() else { panic!("an object") };
            let first = members.iter().next().unwrap().1;
            assert_eq!(first.at(&Pointer::parse("/1").unwrap()).unwrap().text(), Some("x\""));
            assert_eq!(members.len(), 4);
        }
    }
}
