//! Picks: where in what came in a value stands, and how a time is written there. They can be inverted, which is what
//! the stand-in does.

use jiff::Timestamp;
use serde_json::Value as Json;

/// A JSON Pointer (RFC 6901), parsed. The empty pointer is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Pointer(pub Vec<String>);

impl Pointer {
    /// Parses RFC 6901 text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("a JSON Pointer begins with `/`: `/{text}`"));
        };
        rest.split('/')
            .map(|token| {
                let mut tail = token;
                while let Some(at) = tail.find('~') {
                    tail = &tail[at + 1..];
                    if !(tail.starts_with('0') || tail.starts_with('1')) {
                        return Err(
                            "in a JSON Pointer `~` is written `~0`, and `/` inside a name `~1`".to_owned()
                        );
                    }
                }
                Ok(token.replace("~1", "/").replace("~0", "~"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The pointer that leads where `inner` leads from where this one does.
    pub fn join(mut self, inner: &Self) -> Self {
        self.0.extend(inner.0.iter().cloned());
        self
    }

    /// The value it leads to in a document, if there is one.
    pub fn resolve<'a>(&self, document: &'a Json) -> Option<&'a Json> {
        self.0.iter().try_fold(document, |at, token| match at {
            Json::Object(map) => map.get(token),
            Json::Array(list) if token == "0" || !token.starts_with('0') => {
                token.parse::<usize>().ok().and_then(|index| list.get(index))
            }
            _ => None,
        })
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// One place in what came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// A pointer into the item (receiving) or the answer's body (provisioning).
    Item(Pointer),
    /// A pointer into the whole body.
    Body(Pointer),
    /// A header, its name in lower case.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// A field of a form.
    Form(String),
}

/// One place of an event: in its item, around it, or in the request that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventPick {
    /// A pointer into the item.
    Item(Pointer),
    /// A pointer into the element whose inner list holds the item.
    Outer(Pointer),
    /// A pointer into the record, as it came out of its layers.
    Record(Pointer),
    /// The SHA-256 of what stands at a pointer into the record.
    Hash(Pointer),
    /// The first of these headers that there is, names in lower case.
    Headers(Vec<String>),
    /// A place of the request: a header, a parameter, a field, a pointer into the whole body.
    Request(Pick),
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFormat {
    /// RFC 3339 text.
    #[default]
    Rfc3339,
    /// Seconds since 1970, number or text.
    Unix,
    /// Milliseconds since 1970, number or text.
    UnixMs,
    /// Nanoseconds since 1970, number or text.
    UnixNs,
    /// RFC 9110 HTTP-date.
    HttpDate,
}

impl TimeFormat {
    /// Reads a time; `None` where the text is none.
    pub fn read(self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Rfc3339 => text.parse().ok(),
            Self::Unix => match text.parse::<i64>() {
                Ok(seconds) => Timestamp::from_second(seconds).ok(),
                Err(_) => fraction(text, 1e3),
            },
            Self::UnixMs => match text.parse::<i64>() {
                Ok(milliseconds) => Timestamp::from_millisecond(milliseconds).ok(),
                Err(_) => fraction(text, 1.0),
            },
            Self::UnixNs => match text.parse::<i128>() {
                Ok(nanoseconds) => Timestamp::from_nanosecond(nanoseconds).ok(),
                Err(_) => fraction(text, 1e-6),
            },
            Self::HttpDate => jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()),
        }
    }
}

/// A number with a fraction, in a unit of so many milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn fraction(text: &str, milliseconds: f64) -> Option<Timestamp> {
    let value = text.parse::<f64>().ok()? * milliseconds;
    (value.abs() < 1e15).then(|| Timestamp::from_millisecond(value as i64).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_format_and_a_bad_one_is_none() {
        let same: Timestamp = "2021-11-04T00:15:10Z".parse().unwrap();
        let read = |text: &str, format| TimeFormat::read(format, text);
        assert_eq!(read("2021-11-04T00:15:10.000Z", TimeFormat::Rfc3339), Some(same));
        assert_eq!(read("2021-11-04T01:15:10+01:00", TimeFormat::Rfc3339), Some(same));
        assert_eq!(read("1635984910", TimeFormat::Unix), Some(same));
        assert_eq!(read("1635984910.0", TimeFormat::Unix), Some(same));
        assert_eq!(read("1635984910000", TimeFormat::UnixMs), Some(same));
        assert_eq!(read("1635984910000000000", TimeFormat::UnixNs), Some(same));
        assert_eq!(read("1.63598491e18", TimeFormat::UnixNs), Some(same));
        assert_eq!(read("Thu, 04 Nov 2021 00:15:10 GMT", TimeFormat::HttpDate), Some(same));
        for bad in ["", "yesterday", "NaN", "1e300", "9999999999999999999999999"] {
            for format in [
                TimeFormat::Rfc3339,
                TimeFormat::Unix,
                TimeFormat::UnixMs,
                TimeFormat::UnixNs,
                TimeFormat::HttpDate,
            ] {
                assert_eq!(read(bad, format), None, "{bad}");
            }
        }
    }
}
