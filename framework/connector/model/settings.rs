//! What a person fills in: settings and secrets, and when they must be given.

use serde_json::Value as Json;

use crate::connector::template::Condition;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in `settings.NAME`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// One or two sentences.
    pub description: String,
    /// Its JSON Schema: type, format, pattern, enum, items.
    pub schema: Json,
    /// The value where none was given.
    pub default: Option<Json>,
    /// An example for the docs.
    pub example: Option<Json>,
    /// What stands in the docs and in the curl of manual mode where nothing was given.
    pub placeholder: Option<String>,
    /// When it must be given.
    pub required: Required,
    /// What the docs say of it being required, where that is less than the rule.
    pub required_note: Option<String>,
}

/// When a setting or a secret must be given.
#[derive(Debug)]
pub enum Required {
    /// Never.
    No,
    /// Always.
    Yes,
    /// When this holds of the settings.
    When(Condition),
}

/// One secret.
#[derive(Debug)]
pub struct SecretSpec {
    /// Its name in `secrets.NAME`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// One or two sentences.
    pub description: String,
    /// The pattern its text must match (linear-time regex), anchored by the spec's author.
    pub pattern: Option<String>,
    /// What stands where nothing was given.
    pub placeholder: Option<String>,
    /// When it must be given.
    pub required: Required,
    /// What the docs say of it being required.
    pub required_note: Option<String>,
    /// How it is made where it is neither required nor given.
    pub generate: Option<Generate>,
}

/// How a secret is made.
#[derive(Debug, Clone, Copy)]
pub enum Generate {
    /// Bytes of randomness.
    Bytes {
        /// How many.
        count: usize,
        /// How they are written.
        encoding: Encoding,
    },
    /// A UUID of version 4 (RFC 9562 section 5.4).
    Uuid,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal; read in any case, written in lower case.
    Hex,
    /// Base64 with padding (RFC 4648 section 4); read without it too.
    Base64,
    /// URL-safe base64 without padding (RFC 4648 section 5); read with it too.
    Base64Url,
}
