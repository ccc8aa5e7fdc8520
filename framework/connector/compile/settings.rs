//! Settings and secrets: what a person fills in.

use serde_json::{Map, Value as Json};

use super::names::Here;
use super::reader::{At, Compiler};
use crate::connector::model::{Encoding, Generate, Required, SecretSpec, Setting};

/// The keys of a setting that are words of JSON Schema.
const SCHEMA_WORDS: &[&str] = &["type", "format", "pattern", "enum", "items"];

impl Compiler {
    /// All settings, in the order of the spec.
    pub fn settings(&mut self, top: &At<'_>) -> Vec<Setting> {
        top.get("settings")
            .map(|at| at.entries().map(|(name, at)| self.setting(name, &at)).collect())
            .unwrap_or_default()
    }

    fn setting(&mut self, name: &str, at: &At<'_>) -> Setting {
        let schema: Map<String, Json> = SCHEMA_WORDS
            .iter()
            .filter_map(|word| Some(((*word).to_owned(), at.value.get(word)?.clone())))
            .collect();
        Setting {
            name: name.to_owned(),
            title: at.text_of("title").unwrap_or(name).to_owned(),
            description: at.text_of("description").unwrap_or_default().to_owned(),
            schema: Json::Object(schema),
            default: at.value.get("default").cloned(),
            example: at.value.get("example").cloned(),
            placeholder: at.text_of("placeholder").map(str::to_owned),
            required: self.required(at),
            required_note: at.text_of("required_note").map(str::to_owned),
        }
    }

    /// All secrets, in the order of the spec.
    pub fn secrets(&mut self, top: &At<'_>) -> Vec<SecretSpec> {
        top.get("secrets")
            .map(|at| at.entries().map(|(name, at)| self.secret(name, &at)).collect())
            .unwrap_or_default()
    }

    fn secret(&mut self, name: &str, at: &At<'_>) -> SecretSpec {
        SecretSpec {
            name: name.to_owned(),
            title: at.text_of("title").unwrap_or(name).to_owned(),
            description: at.text_of("description").unwrap_or_default().to_owned(),
            pattern: at.text_of("pattern").map(str::to_owned),
            placeholder: at.text_of("placeholder").map(str::to_owned),
            required: self.required(at),
            required_note: at.text_of("required_note").map(str::to_owned),
            generate: at.get("generate").map(|at| generate(&at)),
        }
    }

    fn required(&mut self, at: &At<'_>) -> Required {
        if let Some(when) = at.get("required_when") {
            return self.condition(&when, Here::Settings).map_or(Required::Yes, Required::When);
        }
        if at.flag("required") { Required::Yes } else { Required::No }
    }
}

fn generate(at: &At<'_>) -> Generate {
    let bytes =
        at.value.get("bytes").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(32);
    Generate { bytes, encoding: encoding(at.text_of("encoding")).unwrap_or(Encoding::Base64Url) }
}

/// The encoding of a name.
pub fn encoding(name: Option<&str>) -> Option<Encoding> {
    match name? {
        "hex" => Some(Encoding::Hex),
        "base64" => Some(Encoding::Base64),
        "base64url" => Some(Encoding::Base64Url),
        _ => None,
    }
}
