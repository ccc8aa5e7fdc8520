//! Picks inverted: where the runtime reads a value, the stand-in writes one.
//!
//! Called by the stand-in's answers and by the maker of events. Never reads a spec and never fails: what
//! cannot be reached is made.

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::connector::pick::TimeFormat;

/// Replaces every leaf that equals `old`, so that an id that stands in several places stays one id.
pub fn replace_equal(document: &mut Json, old: &Json, new: &Json) {
    match document {
        Json::Array(list) => list.iter_mut().for_each(|item| replace_equal(item, old, new)),
        Json::Object(map) => map.values_mut().for_each(|item| replace_equal(item, old, new)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            if document == old {
                *document = new.clone();
            }
        }
    }
}

/// A new id that looks like the example: as long, digits where it ends in digits, a UUID where it is one,
/// a number where it is a number. Different numbers give different ids.
pub fn fresh_like(example: Option<&Json>, number: u64) -> Json {
    match example {
        Some(Json::Number(old)) => Json::from(old.as_u64().unwrap_or(0).wrapping_add(number)),
        Some(Json::String(old)) => Json::String(fresh_text(old, number)),
        Some(Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_)) | None => {
            Json::String(format!("{number:016}"))
        }
    }
}

fn fresh_text(old: &str, number: u64) -> String {
    if is_uuid(old) {
        return format!("{}{:012x}", &old[..24], number & 0xffff_ffff_ffff);
    }
    let digits = old.chars().rev().take_while(char::is_ascii_digit).count();
    if digits > 0 {
        return fill(old, digits, &number.to_string());
    }
    let hex = old.chars().rev().take_while(char::is_ascii_hexdigit).count();
    if hex >= 16 {
        return fill(old, hex, &format!("{number:x}"));
    }
    format!("{old}-{number}")
}

/// The example with the last of its `width` closing characters (all ASCII) replaced. The tail has one length
/// for all numbers of a run, so that what is kept of the example can never make two ids equal.
fn fill(old: &str, width: usize, tail: &str) -> String {
    let padded = format!("{tail:0>0$}", width.min(16));
    let kept = old.len() - width.min(padded.len());
    format!("{}{padded}", &old[..kept])
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(n, c)| match n {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// A time as the vendor writes it; text stays text and a number a number where the example says so.
pub fn write_time(format: TimeFormat, at: Timestamp, example: Option<&Json>) -> Json {
    let number = |value: i64| match example {
        Some(Json::String(_)) => Json::String(value.to_string()),
        Some(_) | None => Json::from(value),
    };
    match format {
        TimeFormat::Rfc3339 => Json::String(format!("{at:.3}")),
        TimeFormat::Unix => number(at.as_second()),
        TimeFormat::UnixMs => number(at.as_millisecond()),
        TimeFormat::UnixNs => number(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)),
        TimeFormat::HttpDate => Json::String(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fresh_ids_look_like_the_example_and_never_meet() {
        for example in [
            json!("lst_0000000000012345"),
            json!("12345"),
            json!("900202302111115369612345678901234567890123456789"),
            json!("who8vt36qfNpCGz9H1e6"),
            json!("DG0123456789abcdef0123456789abcdef"),
            json!("0b2f6c1e-9f53-4a0e-8d4e-0d6c3f2f7a11"),
            json!(17),
            json!("plain"),
        ] {
            let ids: std::collections::BTreeSet<String> =
                (1..2000).map(|n| fresh_like(Some(&example), n).to_string()).collect();
            assert_eq!(ids.len(), 1999, "{example}");
        }
        assert_eq!(fresh_like(Some(&json!("lst_0000000000012345")), 7), json!("lst_0000000000000007"));
    }

    #[test]
    fn an_id_that_stands_twice_changes_twice() {
        let mut item = json!({"log_id": "1", "data": {"log_id": "1", "other": "11"}});
        replace_equal(&mut item, &json!("1"), &json!("2"));
        assert_eq!(item, json!({"log_id": "2", "data": {"log_id": "2", "other": "11"}}));
    }
}
