//! JSON that came in, read once into a tree that id, time, type and schema all look at.
//!
//! sonic-rs does the reading. Of an object that names a key twice the last one counts, as it does for
//! almost every reader downstream; `receive` cuts records out by the same rule, so that what was checked
//! is what is delivered. The reader recurses: whoever calls [`Parsed::read`] bounds the nesting first.

use std::borrow::Cow;

use serde_json::Value as Json;
use sonic_rs::{Array, Deserialize, JsonContainerTrait, JsonType as Kind, JsonValueTrait, Object, Value};

use super::pick::Pointer;

/// A document, read.
#[derive(Debug)]
pub struct Parsed(Value);

impl Parsed {
    /// Reads one JSON document; the error says what is wrong, on one line and without the document.
    pub fn read(text: &str) -> Result<Self, String> {
        sonic_rs::from_str(text).or_else(|_| Self::read_all(text)).map(Self).map_err(|error| {
            let whole = error.to_string();
            let line = whole.lines().next().unwrap_or_default();
            line.trim_end_matches(':').to_owned()
        })
    }

    /// Takes what JSON allows and few can hold: a number beyond a double, half of a surrogate pair (what is
    /// left of an emoji that a vendor cut through). The record leaves as it came all the same.
    fn read_all(text: &str) -> Result<Value, sonic_rs::Error> {
        let mut reader = sonic_rs::Deserializer::from_str(text).utf8_lossy().use_rawnumber();
        let value = Value::deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// A document that is one text.
    pub fn text(text: &str) -> Self {
        Self(Value::from(text))
    }

    /// The whole document.
    pub fn root(&self) -> Node<'_> {
        Node(&self.0)
    }
}

/// One value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a>(&'a Value);

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
    List(&'a Array),
    /// An object.
    Map(&'a Object),
}

/// A number as the reader keeps it; text such as `1.0` and `1e3` is a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Fits 64 bits without a sign.
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    /// Everything else, with what precision a double has.
    Float(f64),
}

impl<'a> Node<'a> {
    /// What it is.
    pub fn shape(self) -> Shape<'a> {
        match self.0.get_type() {
            Kind::Null => Shape::Null,
            Kind::Boolean => Shape::Bool(self.0.as_bool().unwrap_or_default()),
            Kind::Number => Shape::Number(self.number()),
            Kind::String => self.0.as_str().map_or(Shape::Null, Shape::Text),
            Kind::Array => self.0.as_array().map_or(Shape::Null, Shape::List),
            Kind::Object => self.0.as_object().map_or(Shape::Null, Shape::Map),
        }
    }

    fn number(self) -> Number {
        if let Some(number) = self.0.as_u64() {
            Number::Unsigned(number)
        } else if let Some(number) = self.0.as_i64() {
            Number::Signed(number)
        } else if let Some(number) = self.0.as_f64() {
            Number::Float(number)
        } else {
            let text = self.0.as_raw_number().map(|raw| raw.as_str().to_owned()).unwrap_or_default();
            let whole = text.parse().map(Number::Unsigned).or_else(|_| text.parse().map(Number::Signed));
            // What a double cannot hold is the greatest that it can.
            whole.unwrap_or_else(|_| {
                Number::Float(text.parse::<f64>().unwrap_or_default().clamp(f64::MIN, f64::MAX))
            })
        }
    }

    /// The value that a pointer leads to. Of a key that stands twice the last one counts.
    pub fn at(self, pointer: &Pointer) -> Option<Node<'a>> {
        pointer.0.iter().try_fold(self, |at, token| match at.shape() {
            Shape::Map(map) => member(map, token),
            Shape::List(list) if token == "0" || !token.starts_with('0') => {
                token.parse::<usize>().ok().and_then(|index| list.as_slice().get(index)).map(Node)
            }
            Shape::List(_) | Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) => None,
        })
    }

    /// The text, where it is one.
    pub fn text(self) -> Option<&'a str> {
        self.0.as_str()
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// A copy that the rest of the program can work with; for the cold path.
    pub fn to_json(self) -> Json {
        match self.shape() {
            Shape::Null => Json::Null,
            Shape::Bool(value) => Json::Bool(value),
            Shape::Number(number) => number.to_json().map_or(Json::Null, Json::Number),
            Shape::Text(text) => Json::String(text.to_owned()),
            Shape::List(list) => list.iter().map(|value| Node(value).to_json()).collect(),
            Shape::Map(map) => {
                map.iter().map(|(key, value)| (key.to_owned(), Node(value).to_json())).collect()
            }
        }
    }

    /// Where the value lies in memory: one place, one value, as long as the document lives.
    pub(super) fn address(self) -> usize {
        std::ptr::from_ref(self.0) as usize
    }
}

/// The last member of this name.
pub(super) fn member<'a>(map: &'a Object, name: &str) -> Option<Node<'a>> {
    map.iter().filter(|(key, _)| *key == name).last().map(|(_, value)| Node(value))
}

/// The members of an object, in order, a name that stands twice twice.
pub(super) fn members(map: &Object) -> impl Iterator<Item = (&str, Node<'_>)> {
    map.iter().map(|(key, value)| (key, Node(value)))
}

/// The elements of a list.
pub(super) fn elements(list: &Array) -> std::iter::Map<std::slice::Iter<'_, Value>, fn(&Value) -> Node<'_>> {
    fn wrap(value: &Value) -> Node<'_> {
        Node(value)
    }
    list.as_slice().iter().map(wrap as fn(&Value) -> Node<'_>)
}

impl Number {
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
        assert_eq!(number("1e400"), Number::Float(f64::MAX));
    }
}
