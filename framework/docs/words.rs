//! How values of a spec are said in a sentence: texts, picks, durations, statuses.

use std::time::Duration;

use super::markdown::code;
use crate::connector::model::{Connector, Encoding, Hash, StatusRange};
use crate::connector::pick::{EventPick, Pick, Pointer, TimeFormat};
use crate::connector::template::{Condition, Text};

/// A text: by the title of the setting or secret that it is, else as it is written.
pub fn text(connector: &Connector, text: &Text) -> String {
    if let Some(literal) = text.literal() {
        return code(literal);
    }
    let source = text.source();
    let lone = source.starts_with("{{") && source.ends_with("}}") && source.matches("{{").count() == 1;
    let names = given(connector, &text.names());
    match names.as_slice() {
        [one] if lone => one.clone(),
        _ => code(source),
    }
}

/// The settings and secrets among names, by their titles.
pub fn given(connector: &Connector, names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for name in names {
        let said = match name.split('.').collect::<Vec<_>>().as_slice() {
            ["secrets", name, ..] => connector
                .secrets
                .iter()
                .find(|s| s.name == *name)
                .map(|s| format!("the secret *{}*", s.title)),
            ["settings", name, ..] => connector
                .settings
                .iter()
                .find(|s| s.name == *name)
                .map(|s| format!("the setting *{}*", s.title)),
            _ => None,
        };
        found.extend(said.filter(|said| !found.contains(said)));
    }
    found
}

/// A condition over settings in words, where it only compares them; else as it is written.
pub fn condition(connector: &Connector, condition: &Condition) -> String {
    let said = condition.equalities().map(|pairs| {
        let pair = |(name, value): &(String, serde_json::Value)| {
            let name = name.strip_prefix("settings.")?;
            let setting = connector.settings.iter().find(|setting| setting.name == name)?;
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some(format!("{} is {}", setting.title, code(&value)))
        };
        pairs.iter().map(pair).collect::<Option<Vec<_>>>()
    });
    said.flatten().map_or_else(|| code(condition.source()), |pairs| pairs.join(" and "))
}

/// A place of a request.
pub fn pick(pick: &Pick) -> String {
    match pick {
        Pick::Item(pointer) => format!("{} of the item", place(pointer)),
        Pick::Body(pointer) => format!("{} of the body", place(pointer)),
        Pick::Header(name) => format!("the header {}", code(name)),
        Pick::Query(name) => format!("the parameter {} of the address", code(name)),
        Pick::Form(name) => format!("the field {} of the form", code(name)),
    }
}

/// A place of an event.
pub fn event_pick(event: &EventPick) -> String {
    match event {
        EventPick::Item(pointer) => place(pointer),
        EventPick::Outer(pointer) => format!("{} around the item", place(pointer)),
        EventPick::Record(pointer) => format!("{} of the record", place(pointer)),
        EventPick::Hash(pointer) if pointer.0.is_empty() => "a hash of the record".to_owned(),
        EventPick::Hash(pointer) => format!("a hash of {} of the record", place(pointer)),
        EventPick::Headers(names) => {
            let names: Vec<String> = names.iter().map(|name| code(name)).collect();
            format!("the first there is of the headers {}", names.join(", "))
        }
        EventPick::Request(place) => pick(place),
    }
}

/// A pointer.
pub fn place(pointer: &Pointer) -> String {
    if pointer.0.is_empty() { "the whole".to_owned() } else { code(&pointer.to_string()) }
}

/// A duration in the largest unit that is whole.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    if seconds == 0 || duration.subsec_millis() > 0 {
        return format!("{} ms", duration.as_millis());
    }
    let whole = |(size, _): &&(u64, &str)| seconds.is_multiple_of(*size);
    let (size, name) = units.iter().find(whole).copied().unwrap_or((1, "second"));
    let count = seconds / size;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// Statuses: `2xx`, or single ones.
pub fn statuses(ranges: &[StatusRange]) -> Vec<String> {
    let said = |range: &StatusRange| match (range.0, range.1) {
        (from, to) if from == to => from.to_string(),
        (from, to) if from % 100 == 0 && to == from + 99 => format!("{}xx", from / 100),
        (from, to) => format!("{from} to {to}"),
    };
    ranges.iter().map(said).collect()
}

/// How bytes are written.
pub fn encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Hex => "hexadecimal",
        Encoding::Base64 => "base64",
        Encoding::Base64Url => "base64url",
    }
}

/// How a time is written.
pub fn time(format: TimeFormat) -> &'static str {
    match format {
        TimeFormat::Rfc3339 => "RFC 3339",
        TimeFormat::Unix => "seconds since 1970",
        TimeFormat::UnixMs => "milliseconds since 1970",
        TimeFormat::UnixNs => "nanoseconds since 1970",
        TimeFormat::HttpDate => "an HTTP date",
    }
}

/// A hash.
pub fn hash(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha1 => "SHA-1",
        Hash::Sha256 => "SHA-256",
        Hash::Sha384 => "SHA-384",
        Hash::Sha512 => "SHA-512",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_in_its_largest_whole_unit() {
        let said = |ms| duration(Duration::from_millis(ms));
        assert_eq!(said(1_500), "1500 ms");
        assert_eq!(said(1_000), "1 second");
        assert_eq!(said(90_000), "90 seconds");
        assert_eq!(said(604_800_000), "7 days");
    }
}
