//! Proves that a text is JSON and opens its values. sonic-rs does the proving.
//!
//! A document is gone over once: its outermost container by [`Walk`], and what is in that by sonic-rs, whose
//! iterators check whatever they skip. What they do not check is the four digits behind `\u`: a text that has
//! any is read by sonic-rs as a whole first, and opened by [`Walk`] alone.

use memchr::memmem;
use sonic_rs::Deserialize;

use super::{Document, Inside, Member, Name, Value, place};
use crate::connector::scan::{self, Walk};

/// Reads a document: its outermost value, and whether it has to be opened the slow way.
pub(super) fn read(text: &str) -> Result<(Value, bool), String> {
    if u32::try_from(text.len()).is_err() {
        return Err("it is longer than 4 GiB".to_owned());
    }
    let start = text.len() - text.trim_start_matches(scan::BLANKS).len();
    let end = text.trim_end_matches(scan::BLANKS).len().max(start);
    if memmem::find(text.as_bytes(), b"\\u").is_none() {
        let whole = text.get(start..end).unwrap_or_default();
        if let Some(inside) = walked(text, start, end, |at| proven(text, at), named) {
            let root = Value::new(start, end);
            root.inside.get_or_init(|| Box::new(inside));
            return Ok((root, false));
        }
        if !whole.starts_with(['{', '[']) && is_scalar(whole) {
            return Ok((Value::new(start, end), false));
        }
    }
    // The slow way, which says what is wrong too.
    sonic_rs::from_str::<sonic_rs::Value>(text).or_else(|_| read_all(text)).map_err(|error| {
        let whole = error.to_string();
        let line = whole.lines().next().unwrap_or_default();
        line.trim_end_matches(':').to_owned()
    })?;
    Ok((Value::new(start, end), true))
}

/// Takes what JSON allows and few can hold: a number beyond a double, half of a surrogate pair (what is
/// left of an emoji that a vendor cut through). The record leaves as it came all the same.
fn read_all(text: &str) -> Result<sonic_rs::Value, sonic_rs::Error> {
    let mut reader = sonic_rs::Deserializer::from_str(text).utf8_lossy().use_rawnumber();
    let value = sonic_rs::Value::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn is_scalar(text: &str) -> bool {
    sonic_rs::from_str::<sonic_rs::LazyValue<'_>>(text).is_ok()
}

/// Opens the container that begins at `start` and ends at `end`: what its values and names are, and where each
/// value ends, the two functions say. `None` where it is none, or something is wrong.
fn walked(
    text: &str,
    start: usize,
    end: usize,
    value: impl Fn(usize) -> Option<Value>,
    name: impl Fn(&str, usize) -> Option<Name>,
) -> Option<Inside> {
    let open = *text.as_bytes().get(start)?;
    let mut walk = Walk::new(text.get(..end)?, start, open)?;
    let (mut members, mut elements) = (Vec::new(), Vec::new());
    while !walk.is_over()? {
        let quoted = walk.before_value()?;
        let value = value(walk.here()?)?;
        walk.go_to(value.end as usize);
        match quoted {
            Some((from, to)) => members.push(Member { name: name(text.get(from..to)?, from)?, value }),
            None => elements.push(value),
        }
    }
    Some(if open == b'{' { Inside::Members(members) } else { Inside::Elements(elements) })
}

/// One value of the outermost container, proven and, where it is a container, opened.
fn proven(text: &str, at: usize) -> Option<Value> {
    let (inside, end) = match text.as_bytes().get(at)? {
        b'{' => checked_members(text, at)?,
        b'[' => checked_elements(text, at)?,
        _ => {
            let end = scan::end_of_value(text.as_bytes(), at)?.0;
            return is_scalar(text.get(at..end)?).then(|| Value::new(at, end));
        }
    };
    let value = Value::new(at, end);
    value.inside.get_or_init(|| Box::new(inside));
    Some(value)
}

/// The members of the object that begins there, all below them checked, and where it ends.
fn checked_members(text: &str, start: usize) -> Option<(Inside, usize)> {
    let mut members = Vec::with_capacity(16);
    let mut end = start + 1;
    for member in sonic_rs::to_object_iter(text.get(start..)?) {
        let (name, value) = member.ok()?;
        let raw = value.as_raw_cow();
        let at = offset(text, &raw)?;
        end = at + raw.len();
        let name = match name {
            std::borrow::Cow::Borrowed(name) => {
                let at = offset(text, name)?;
                Name::Plain(place(at), place(at + name.len()))
            }
            std::borrow::Cow::Owned(name) => Name::Unescaped(name.into()),
        };
        members.push(Member { name, value: Value::new(at, end) });
    }
    Some((Inside::Members(members), closed(text, end, b'}')?))
}

/// The elements of the list that begins there, all below them checked, and where it ends.
fn checked_elements(text: &str, start: usize) -> Option<(Inside, usize)> {
    let mut elements = Vec::new();
    let mut end = start + 1;
    for element in sonic_rs::to_array_iter(text.get(start..)?) {
        let element = element.ok()?;
        let raw = element.as_raw_cow();
        let at = offset(text, &raw)?;
        end = at + raw.len();
        elements.push(Value::new(at, end));
    }
    Some((Inside::Elements(elements), closed(text, end, b']')?))
}

/// Where a part of a text begins in it.
fn offset(text: &str, part: &str) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (at + part.len() <= text.len()).then_some(at)
}

/// Behind the bracket that closes a container whose last value ends at `at`.
fn closed(text: &str, at: usize, bracket: u8) -> Option<usize> {
    let rest = text.as_bytes().get(at..)?;
    let blanks = rest.iter().take_while(|byte| scan::blank(**byte)).count();
    (rest.get(blanks) == Some(&bracket)).then_some(at + blanks + 1)
}

/// A name that begins there, quotes and all, proven.
fn named(quoted: &str, at: usize) -> Option<Name> {
    let plain = quoted.get(1..quoted.len().checked_sub(1)?)?;
    if plain.bytes().any(|byte| byte == b'\\' || byte < b' ') {
        let name: String = sonic_rs::from_str(quoted).ok()?;
        return Some(Name::Unescaped(name.into()));
    }
    Some(Name::Plain(place(at + 1), place(at + 1 + plain.len())))
}

/// Opens a container of a document that was proven. What is odd about it the reader took, and so does this.
pub(super) fn open(document: Document<'_>, value: &Value) -> Inside {
    let (start, end) = (value.start as usize, value.end as usize);
    let opened = if document.odd {
        opened_slowly(document.text, start, end)
    } else if document.text.as_bytes().get(start) == Some(&b'{') {
        checked_members(document.text, start).map(|(inside, _)| inside)
    } else {
        checked_elements(document.text, start).map(|(inside, _)| inside)
    };
    // Every byte was proven when the document was read. Were it not so, there would be nothing inside, which a
    // schema refuses, and nobody's process would end.
    opened.unwrap_or(Inside::Members(Vec::new()))
}

/// Without a second look at what is in its values.
fn opened_slowly(text: &str, start: usize, end: usize) -> Option<Inside> {
    let value = |at| Some(Value::new(at, scan::end_of_value(text.as_bytes(), at)?.0));
    walked(text, start, end, value, |quoted, _| Some(Name::Unescaped(unescaped(quoted).into())))
}

/// A text between its quotes with its escapes undone; half a surrogate pair becomes U+FFFD.
pub(super) fn unescaped(quoted: &str) -> String {
    let read = sonic_rs::from_str(quoted).or_else(|_| {
        let mut reader = sonic_rs::Deserializer::from_str(quoted).utf8_lossy();
        String::deserialize(&mut reader)
    });
    read.unwrap_or_else(|_| quoted.to_owned())
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
        fn what_is_proven_here_the_whole_reader_takes_and_reads_alike(text in spoiled()) {
            let whole = sonic_rs::from_str::<sonic_rs::Value>(&text).is_ok() || super::read_all(&text).is_ok();
            let parsed = Parsed::read(&text);
            prop_assert_eq!(parsed.is_ok(), whole, "{}", text);
            if let (Ok(parsed), Ok(json)) = (parsed, serde_json::from_str::<serde_json::Value>(&text)) {
                prop_assert_eq!(parsed.root().to_json(), json, "{}", text);
            }
        }
    }
}
