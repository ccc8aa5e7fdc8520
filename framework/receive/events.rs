//! What tells an event from others: its id, its time, its type, by the spec's picks.
//!
//! `decode` calls it for every record. A bad time is no error, and neither is a missing id: a hash of the
//! body and the record's place in it stands in, the same on every machine and on every day.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::request::{Found, Head};
use crate::connector::node::{Node, Number, Shape};
use crate::connector::pick::{Pick, Pointer, TimeFormat};
use crate::connector::scan;

/// The longest id that is kept as it is; a longer one is hashed.
const LONGEST_ID: usize = 512;

/// An item as the picks see it.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    /// The item, read.
    pub tree: Node<'a>,
    /// The body it came in.
    pub body: &'a Bytes,
    /// The head of its request; `None` for a dead letter that is decoded again.
    pub head: Option<&'a Head>,
}

/// The picked id: the parts joined by `|`, so that no two lists of parts make the same id. `None` where a
/// part is missing or empty. An id that is the request's and not the item's is told apart by the item's
/// place in the body.
pub(super) fn id(item: Item<'_>, picks: &[Pick], index: usize) -> Option<Bytes> {
    let mut joined = match picks {
        [] => return None,
        [pick] => match text_at(item, pick)? {
            // Mostly it stands in the body as it is, and needs no memory of its own.
            Cow::Borrowed(text) if text.len() <= LONGEST_ID && matches!(pick, Pick::Item(_)) => {
                return Some(
                    part_of(item.body, text).unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes())),
                );
            }
            text => text.into_owned(),
        },
        many => {
            let mut joined = String::new();
            for (n, pick) in many.iter().enumerate() {
                if n > 0 {
                    joined.push('|');
                }
                joined.push_str(&text_at(item, pick)?.replace('\\', "\\\\").replace('|', "\\|"));
            }
            joined
        }
    };
    if index > 0 && !picks.iter().any(|pick| matches!(pick, Pick::Item(_))) {
        joined.push_str(&format!("#{index}"));
    }
    if joined.len() > LONGEST_ID {
        return Some(Bytes::from(format!("sha256:{}", hash(joined.as_bytes()))));
    }
    (!joined.is_empty()).then(|| Bytes::from(joined))
}

/// A text as a part of the body, where it is one.
fn part_of(body: &Bytes, text: &str) -> Option<Bytes> {
    let start = (text.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let end = start + text.len();
    (end <= body.len()).then(|| body.slice(start..end))
}

/// What stands in for an id that the vendor did not send.
pub(super) fn stand_in(body_hash: &str, index: usize) -> Bytes {
    Bytes::from(format!("sha256:{body_hash}:{index}"))
}

/// SHA-256, in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// The time of the event: the first pick that is there and is a time.
pub(super) fn time(item: Item<'_>, picks: &[Pick], format: TimeFormat) -> Option<Timestamp> {
    picks.iter().find_map(|pick| text_at(item, pick)).and_then(|text| parse_time(&text, format))
}

/// The type of the event: the first pick that is there.
pub(super) fn kind<'a>(item: Item<'a>, picks: &[Pick]) -> Option<Cow<'a, str>> {
    picks.iter().find_map(|pick| text_at(item, pick))
}

fn text_at<'a>(item: Item<'a>, pick: &Pick) -> Option<Cow<'a, str>> {
    let text = match pick {
        Pick::Item(pointer) => in_tree(item, pointer)?,
        Pick::Body(_) | Pick::Header(_) | Pick::Query(_) | Pick::Form(_) => {
            match item.head?.pick(pick, item.body) {
                Found::One(Cow::Borrowed(bytes)) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
                Found::One(Cow::Owned(bytes)) => Cow::Owned(String::from_utf8(bytes).ok()?),
                Found::Nothing | Found::Several => return None,
            }
        }
    };
    (!text.is_empty()).then_some(text)
}

fn in_tree<'a>(item: Item<'a>, pointer: &Pointer) -> Option<Cow<'a, str>> {
    let found = item.tree.at(pointer)?;
    match found.shape() {
        // A text that could not be read whole is taken as it is written: two ids must not become one.
        Shape::Text(text) if text.contains('\u{fffd}') => Some(Cow::Borrowed(found.raw())),
        Shape::Text(text) => Some(Cow::Borrowed(text)),
        Shape::Number(Number::Unsigned(number)) => Some(Cow::Owned(number.to_string())),
        Shape::Number(Number::Signed(number)) => Some(Cow::Owned(number.to_string())),
        // A double cannot hold every number that a vendor may write.
        Shape::Number(Number::Float(_)) => Some(Cow::Borrowed(found.raw())),
        Shape::Null | Shape::Bool(_) | Shape::List(_) | Shape::Map(_) => None,
    }
}

/// The text of a scalar that was cut out: of a text without its quotes, of a number as it stands.
pub(super) fn scalar(text: &str) -> Option<Cow<'_, str>> {
    match text.as_bytes().first()? {
        b'"' => scan::unescaped(text),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

/// Reads a time; `None` where the text is none.
pub(super) fn parse_time(text: &str, format: TimeFormat) -> Option<Timestamp> {
    match format {
        TimeFormat::Rfc3339 => text.parse().ok(),
        TimeFormat::Unix => match text.parse::<i64>() {
            Ok(seconds) => Timestamp::from_second(seconds).ok(),
            Err(_) => fraction(text, 1e3),
        },
        TimeFormat::UnixMs => match text.parse::<i64>() {
            Ok(milliseconds) => Timestamp::from_millisecond(milliseconds).ok(),
            Err(_) => fraction(text, 1.0),
        },
        TimeFormat::HttpDate => jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()),
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
        let read = |text: &str, format| parse_time(text, format);
        assert_eq!(read("2021-11-04T00:15:10.000Z", TimeFormat::Rfc3339), Some(same));
        assert_eq!(read("2021-11-04T01:15:10+01:00", TimeFormat::Rfc3339), Some(same));
        assert_eq!(read("1635984910", TimeFormat::Unix), Some(same));
        assert_eq!(read("1635984910.0", TimeFormat::Unix), Some(same));
        assert_eq!(read("1635984910000", TimeFormat::UnixMs), Some(same));
        assert_eq!(read("Thu, 04 Nov 2021 00:15:10 GMT", TimeFormat::HttpDate), Some(same));
        for bad in ["", "yesterday", "NaN", "1e300", "99999999999999999999"] {
            for format in [TimeFormat::Rfc3339, TimeFormat::Unix, TimeFormat::UnixMs, TimeFormat::HttpDate] {
                assert_eq!(read(bad, format), None, "{bad}");
            }
        }
    }
}
