//! Durations, sizes and the places of secrets as forebay.yaml writes them.
//!
//! By hand, so that what is wrong is said in the words of the file and a secret in the wrong place is not
//! printed. Called by serde alone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::connector::units;

/// Where a secret is to be found.
#[derive(Debug, Clone)]
pub enum Source {
    /// In a variable of the environment.
    Env(String),
    /// In a file.
    File(PathBuf),
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

impl<'de> Deserialize<'de> for Source {
    /// By hand: serde's own message about a text in this place would print it, and it may be the secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        const HOW: &str = "write {env: VAR} or {file: PATH}";
        impl<'de> Visitor<'de> for Reads {
            type Value = Source;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(HOW)
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Source, E> {
                Err(E::custom(format!("a secret does not stand in the configuration itself: {HOW}")))
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
                let key: String = map.next_key()?.ok_or_else(wrong)?;
                let source = match key.as_str() {
                    "env" => Source::Env(map.next_value()?),
                    "file" => Source::File(map.next_value()?),
                    _ => return Err(de::Error::unknown_field(&key, &["env", "file"])),
                };
                if map.next_key::<String>()?.is_some() {
                    return Err(wrong());
                }
                Ok(source)
            }
        }
        deserializer.deserialize_any(Reads)
    }
}
