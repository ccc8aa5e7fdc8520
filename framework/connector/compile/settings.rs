//! Settings and secrets: what a person fills in.

use serde_json::{Map, Value as Json};

use super::at::At;
use super::compiler::Compiler;
use super::names::Here;
use crate::connector::model::{Encoding, Generate, Required, SecretSpec, Setting};
use crate::spec::mistake::{Code, Mistake, Place};

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
        self.regex(at, "pattern");
        self.contradictions(at, "default");
        let schema: Map<String, Json> = SCHEMA_WORDS
            .iter()
            .filter_map(|word| Some(((*word).to_owned(), at.value.get(word)?.clone())))
            .collect();
        let kind: Map<String, Json> =
            schema.iter().filter(|(word, _)| *word == "type").map(|(w, v)| (w.clone(), v.clone())).collect();
        for item in at.get("enum").iter().flat_map(At::items) {
            self.value_fits(&item, "value", &kind);
        }
        self.fits(at, "default", &schema);
        self.fits(at, "example", &schema);
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
        self.regex(at, "pattern");
        self.contradictions(at, "generate");
        SecretSpec {
            name: name.to_owned(),
            title: at.text_of("title").unwrap_or(name).to_owned(),
            description: at.text_of("description").unwrap_or_default().to_owned(),
            pattern: at.text_of("pattern").map(str::to_owned),
            placeholder: at.text_of("placeholder").map(str::to_owned),
            required: self.required(at),
            required_note: at.text_of("required_note").map(str::to_owned),
            generate: at.get("generate").map(|at| self.generate(&at)),
        }
    }

    /// What is always required is never made up for, and is required once.
    fn contradictions(&mut self, at: &At<'_>, otherwise: &str) {
        if at.flag("required") && at.has("required_when") {
            self.report(
                Mistake::new(
                    Code::Contradiction,
                    Place::key(&at.path.join("required_when")),
                    "what is always required is not required under a condition",
                )
                .help("keep `required` or `required_when`")
                .related(Place::key(&at.path.join("required")), "always, it says here"),
            );
        }
        if at.flag("required") && at.has(otherwise) {
            let message = format!("what is always given has no use for `{otherwise}`");
            self.report(
                Mistake::new(Code::Contradiction, Place::key(&at.path.join(otherwise)), message)
                    .help(format!("remove `required: true`, or `{otherwise}`")),
            );
        }
    }

    /// A value of a setting that the spec itself gives.
    fn fits(&mut self, at: &At<'_>, key: &str, schema: &Map<String, Json>) {
        if let Some(value) = at.get(key) {
            self.value_fits(&value, key, schema);
        }
    }

    fn value_fits(&mut self, value: &At<'_>, what: &str, schema: &Map<String, Json>) {
        let mut schema = schema.clone();
        schema.remove("format");
        let Ok(validator) = forebay_json_schema::compile(&Json::Object(schema)) else {
            return;
        };
        if let Err(wrong) = validator.validate(value.value) {
            let message = format!("the {what} does not fit its own setting: {wrong}");
            self.report(
                Mistake::new(Code::BadDefault, Place::value(&value.path), message)
                    .help("change it, or what the setting says of its type, enum, pattern or items"),
            );
        }
    }

    fn generate(&mut self, at: &At<'_>) -> Generate {
        if at.text_of("encoding") == Some("uuid") {
            if let Some(bytes) = at.get("bytes") {
                self.report(
                    Mistake::new(
                        Code::Contradiction,
                        Place::key(&bytes.path),
                        "a UUID has 16 bytes, whatever this says",
                    )
                    .help("remove `bytes`, or take another encoding"),
                );
            }
            return Generate::Uuid;
        }
        let count = at.value.get("bytes").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        let encoding = encoding(at.text_of("encoding")).unwrap_or(Encoding::Base64Url);
        Generate::Bytes { count: count.unwrap_or(32), encoding }
    }

    fn required(&mut self, at: &At<'_>) -> Required {
        if let Some(when) = at.get("required_when") {
            return self.condition(&when, Here::Settings).map_or(Required::Yes, Required::When);
        }
        if at.flag("required") { Required::Yes } else { Required::No }
    }
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
