//! Durations, sizes and the places of secrets as forebay.yaml writes them.
//!
//! By hand, so that what is wrong is said in the words of the file and a secret in the wrong place is not
//! printed. Called by serde alone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::connector::secret::MAX_VALUES;
use crate::connector::units;
use crate::error::escaped;
use crate::receive::Network;

/// Where a secret is to be found.
#[derive(Debug, Clone)]
pub enum Source {
    /// In a variable of the environment.
    Env(String),
    /// In a file.
    File(PathBuf, Lines),
}

/// What several lines of a file with a secret mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lines {
    /// Nothing was said: several lines are one value where it is PEM or JSON, and refused otherwise.
    #[default]
    Unsaid,
    /// `each_line: true`: each line is a value of its own.
    Each,
    /// `each_line: false`: they are one value.
    Whole,
}

/// Where the values of one secret are to be found: one place, or a list of places.
#[derive(Debug, Clone)]
pub struct Places(pub Vec<Source>);

/// A URL as it is written, or where it is to be found because it holds a secret.
#[derive(Debug, Clone)]
pub enum UrlPlace {
    /// The URL itself.
    Written(String),
    /// Where it is.
    At(Source),
}

/// How a place is written.
const HOW: &str = "write {env: VAR} or {file: PATH}";

fn in_clear<E: de::Error>() -> E {
    E::custom(format!("a secret does not stand in the configuration itself: {HOW}"))
}

/// A duration as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("`{text}` is no duration: write 250ms, 30s, 5m, 2h or 7d"));
        units::duration(&text).map(Self).ok_or_else(wrong)
    }
}

/// A number of bytes as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: 64KiB, 16MiB, 10GiB, or a number of bytes")
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                let wrong = || {
                    E::custom(format!("`{text}` is no size: write 64KiB, 16MiB, 10GiB or a number of bytes"))
                };
                units::bytes(text).map(Size).ok_or_else(wrong)
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// A block of addresses as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block(pub(super) Network);

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A visitor, and no text that is read first: an error then stands at the block, and not at its list.
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Block;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a block of addresses: 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Block, E> {
                let wrong = || {
                    let text = escaped(text, 80);
                    E::custom(format!(
                        "`{text}` is no block of addresses: write 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"
                    ))
                };
                text.parse().map(Block).map_err(|()| wrong())
            }
        }
        deserializer.deserialize_str(Reads)
    }
}

impl<'de> Deserialize<'de> for Source {
    /// By hand: serde's own message about a text in this place would print it, and it may be the secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Source;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(HOW)
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Source, E> {
                Err(in_clear())
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Source, E> {
                self.visit_str("")
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Source, E> {
                self.visit_str("")
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Source, E> {
                self.visit_str("")
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Source, E> {
                self.visit_str("")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Source, E> {
                Err(E::custom(format!("a secret's place is missing: {HOW}")))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
                let wrong = || de::Error::custom(format!("a secret has one place: {HOW}"));
                let (mut source, mut each_line) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "env" | "file" if source.is_some() => return Err(wrong()),
                        "env" => source = Some(Source::Env(map.next_value()?)),
                        "file" => source = Some(Source::File(map.next_value()?, Lines::Unsaid)),
                        "each_line" => each_line = Some(map.next_value::<bool>()?),
                        _ => return Err(de::Error::unknown_field(&key, &["env", "file", "each_line"])),
                    }
                }
                match (source.ok_or_else(wrong)?, each_line) {
                    (source, None) => Ok(source),
                    (Source::File(path, _), Some(true)) => Ok(Source::File(path, Lines::Each)),
                    (Source::File(path, _), Some(false)) => Ok(Source::File(path, Lines::Whole)),
                    (Source::Env(_), Some(_)) => {
                        Err(de::Error::custom("`each_line` is for files: {file: PATH, each_line: true}"))
                    }
                }
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Places;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the place of a secret, or a list of places: {HOW}")
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Places, E> {
                Err(in_clear())
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Places, E> {
                Err(in_clear())
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Places, E> {
                Err(in_clear())
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Places, E> {
                Err(in_clear())
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Places, E> {
                Err(in_clear())
            }
            fn visit_unit<E: de::Error>(self) -> Result<Places, E> {
                Err(E::custom(format!("a secret's place is missing: {HOW}")))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Places, A::Error> {
                let source = Source::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Places(vec![source]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Places, A::Error> {
                let mut places = Vec::new();
                while let Some(source) = list.next_element()? {
                    places.push(source);
                    if places.len() > MAX_VALUES {
                        let what = format!("a secret has at most {MAX_VALUES} values");
                        return Err(de::Error::custom(what));
                    }
                }
                if places.is_empty() {
                    return Err(de::Error::custom(format!("a secret's place is missing: {HOW}")));
                }
                Ok(Places(places))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl<'de> Deserialize<'de> for UrlPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = UrlPlace;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or where it stands because it holds a secret: {env: VAR} or {file: PATH}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<UrlPlace, E> {
                Ok(UrlPlace::Written(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UrlPlace, A::Error> {
                Source::deserialize(de::value::MapAccessDeserializer::new(map)).map(UrlPlace::At)
            }
        }
        deserializer.deserialize_any(Reads)
    }
}
