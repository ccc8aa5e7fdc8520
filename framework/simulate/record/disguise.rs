//! What is secret in a recording, replaced by what is invented: the same secret by the same invention wherever it stands,
//! however it is written; and the look that finds one that was missed.
//!
//! `finish` gathers the secrets: those of the instance, what the vendor told once, every token that was sent or answered.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use serde_json::{Map, Value as Json};

/// Shorter values cannot be told from other text.
pub const SHORTEST: usize = 6;

/// Secrets and what stands for each.
#[derive(Default)]
pub struct Disguise {
    /// Real, invented; the longest first.
    pairs: Vec<(String, String)>,
}

impl Disguise {
    /// One secret more. What is known, or too short to be told from other text, is passed over.
    pub fn add(&mut self, real: &str, invented: impl FnOnce() -> String) {
        if real.len() < SHORTEST || self.pairs.iter().any(|(known, new)| known == real || new == real) {
            return;
        }
        self.pairs.push((real.to_owned(), invented()));
        self.pairs.sort_by_key(|(real, _)| std::cmp::Reverse(real.len()));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether a text holds one as it is.
    pub fn holds(&self, text: &str) -> bool {
        self.pairs.iter().any(|(real, _)| text.contains(real))
    }

    /// A text with every secret in it replaced.
    pub fn text(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (real, invented)| {
            let (old, new) = (forms(real), forms(invented));
            old.iter().zip(&new).fold(text, |text, (old, new)| text.replace(old, new))
        })
    }

    /// The value of a header: HTTP Basic is opened first.
    pub fn header(&self, value: &str) -> String {
        let opened = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let pair = opened.and_then(|(scheme, pair)| {
            let pair = String::from_utf8(BASE64.decode(pair.trim().as_bytes()).ok()?).ok()?;
            Some(format!("{scheme} {}", BASE64.encode(self.text(&pair).as_bytes())))
        });
        pair.unwrap_or_else(|| self.text(value))
    }

    /// A document with every secret in its keys and texts replaced.
    pub fn json(&self, value: &Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.text(text)),
            Json::Array(list) => Json::Array(list.iter().map(|one| self.json(one)).collect()),
            Json::Object(map) => Json::Object(
                map.iter().map(|(key, one)| (self.text(key), self.json(one))).collect::<Map<_, _>>(),
            ),
            Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        }
    }

    /// Whether a secret stands in a text however it may be written: the last look before anything is written down.
    pub fn is_seen_in(&self, text: &str) -> bool {
        self.pairs.iter().any(|(real, _)| {
            let percent = |all: bool| -> String {
                let plain = |b: &u8| !all && b.is_ascii_alphanumeric();
                real.bytes()
                    .map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") })
                    .collect()
            };
            let mut written = forms(real);
            written.extend([percent(false), percent(true)]);
            written.extend((0..3).flat_map(|shift| shifted(real.as_bytes(), shift)));
            let lower = text.to_lowercase();
            written.iter().any(|form| !form.is_empty() && text.contains(form.as_str()))
                || lower.contains(&percent(false).to_lowercase())
        })
    }
}

/// A value in the ways it is replaced in: as it is, in a form, in a path, as JSON writes it, in base64 and in hexadecimal.
fn forms(value: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = Json::from(value).to_string();
    let bytes = value.as_bytes();
    vec![
        value.to_owned(),
        form.replace('+', "%20"),
        form,
        json.trim_matches('"').to_owned(),
        BASE64.encode(bytes),
        BASE64_NOPAD.encode(bytes),
        BASE64URL_NOPAD.encode(bytes),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
    ]
}

/// The base64 of a value that stands `shift` bytes into something else: what of it is the same whatever stands around.
fn shifted(value: &[u8], shift: usize) -> Vec<String> {
    let padded = [&[0_u8; 2][..shift.min(2)], value].concat();
    let whole = padded.len() / 3 * 3;
    [BASE64_NOPAD, BASE64URL_NOPAD]
        .iter()
        .filter_map(|encoding| {
            let text = encoding.encode(padded.get(..whole)?);
            // The first characters hold bits of what stands before.
            text.get(if shift == 0 { 0 } else { 4 }..).filter(|text| text.len() >= 8).map(str::to_owned)
        })
        .collect()
}

/// Values in a document whose keys say that they are secret: tokens and keys that a vendor hands out.
pub fn telling(document: &Json) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(document, &mut found);
    found
}

fn walk(value: &Json, found: &mut BTreeMap<String, String>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(text) if is_telling(key) && text.len() >= 8 => {
                        found.insert(text.clone(), key.clone());
                    }
                    other => walk(other, found),
                }
            }
        }
        Json::Array(list) => list.iter().for_each(|value| walk(value, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn is_telling(key: &str) -> bool {
    let key = key.to_lowercase().replace(['-', '_'], "");
    ["token", "secret", "password", "apikey", "privatekey", "signingkey", "credential"]
        .iter()
        .any(|word| key.ends_with(word))
        && !key.contains("page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_replaced_and_found_however_it_is_written() {
        let mut disguise = Disguise::default();
        let real = "s3cr\"t/+ü value";
        disguise.add(real, || "invented-1".to_owned());
        for written in forms(real) {
            let text = format!("a {written} b");
            assert!(disguise.is_seen_in(&text), "{text}");
            assert!(!disguise.is_seen_in(&disguise.text(&text)), "{text}");
        }
        for before in ["", "i", "id", "id:", "id::"] {
            let pair = BASE64.encode(format!("{before}{real}:x").as_bytes());
            assert!(disguise.is_seen_in(&format!("Basic {pair}")), "{before}");
            let header = disguise.header(&format!("Basic {pair}"));
            assert_eq!(
                header,
                format!("Basic {}", BASE64.encode(format!("{before}invented-1:x").as_bytes()))
            );
            assert!(!disguise.is_seen_in(&header));
        }
        assert_eq!(disguise.json(&json!({"a": [real, 1]})), json!({"a": ["invented-1", 1]}));
        disguise.add("short", || unreachable!("it is too short"));
    }

    #[test]
    fn keys_tell_what_is_secret() {
        let found = telling(
            &json!({"access_token": "0123456789", "token_type": "Bearer", "next_page_token": "0123456789ab", "a": [{"clientSecret": "abcdefghi"}]}),
        );
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["0123456789", "abcdefghi"]);
    }
}
