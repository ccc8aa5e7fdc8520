//! A case as written: one behaviour of a connector, recorded. The player is in `simulate`.
//!
//! [`read`] checks a case against schemas/case.json first, so that every mistake is named by its key; the
//! types below then take what is left without another question.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use data_encoding::BASE64;
use forebay_json_schema::Validator;
use forebay_json_schema::error::ValidationErrorKind;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::document::Document;
use super::load;
use super::mistake::Place;
use super::path::Path;
use super::source::Source;
use crate::error::{Error, Kind, Result, escaped};

/// The language of cases; shipped with the program.
pub const SCHEMA: &str = include_str!("../../schemas/case.json");

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(SCHEMA).expect("schemas/case.json is JSON");
    forebay_json_schema::compile(&schema).expect("schemas/case.json is a schema")
});

/// The language of cases, compiled.
pub fn validator() -> &'static Validator {
    &VALIDATOR
}

/// One case.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// What it shows.
    pub title: String,
    /// The instance's id.
    pub id: Option<String>,
    /// The base of the receiver's public URL.
    pub public_url: Option<String>,
    /// When it plays.
    pub clock: Option<String>,
    /// The instance's settings.
    #[serde(default)]
    pub settings: Map<String, Json>,
    /// The instance's secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Roots in PEM that the case trusts besides the connector's.
    pub issuers: Option<String>,
    /// What happens.
    pub steps: Vec<Step>,
    /// What comes out for the sinks.
    pub records: Option<Records>,
    /// Every dead letter at the end.
    pub dead_letters: Option<Vec<DeadLetter>>,
    /// What is saved at the end.
    #[serde(default)]
    pub state: Map<String, Json>,
}

/// One thing that happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Provision once.
    Reconcile(Provisioning),
    /// Remove what was made.
    Destroy(Provisioning),
    /// A request of the vendor.
    Receive(Box<Receive>),
    /// Another time.
    Clock(String),
    /// An operator lets unsigned requests give values for so long.
    Capture(String),
}

/// Calls that are made, and what comes of them.
#[derive(Debug, Clone, Deserialize)]
pub struct Provisioning {
    /// The calls, with their answers.
    pub exchanges: Vec<Exchange>,
    /// What was done.
    pub outcome: Option<Vec<String>>,
    /// What the error says, where it must fail.
    pub error: Option<Vec<String>>,
}

/// One call and its answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Exchange {
    /// The call that must be made.
    pub request: Wanted,
    /// What the vendor sends us while it has not answered yet.
    #[serde(default)]
    pub meanwhile: Vec<Receive>,
    /// What the vendor answered.
    pub answer: Answer,
}

/// A call that must be made.
#[derive(Debug, Clone, Deserialize)]
pub struct Wanted {
    /// `METHOD URL`.
    pub call: String,
    /// Headers; `None` must not be there.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// The whole JSON body.
    #[serde(default, deserialize_with = "there")]
    pub json: Option<Json>,
    /// The whole form body.
    pub form: Option<BTreeMap<String, OneOrMany>>,
    /// The whole body.
    pub text: Option<String>,
}

/// A field of a form, or a header.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// Once.
    One(String),
    /// Repeated.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn values(&self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value.clone()],
            Self::Many(values) => values.clone(),
        }
    }
}

/// What the vendor answered.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as JSON.
    #[serde(default, deserialize_with = "there")]
    pub json: Option<Json>,
    /// The body as text.
    pub text: Option<String>,
    /// The body as bytes.
    pub base64: Option<Base64>,
}

/// Bytes, written in base64 (RFC 4648), padded.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Base64(pub Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let compact: String = text.split_whitespace().collect();
        BASE64.decode(compact.as_bytes()).map(Self).map_err(|e| format!("this is no base64: {e}"))
    }
}

/// A request of the vendor, and the reply that it must get.
#[derive(Debug, Clone, Deserialize)]
pub struct Receive {
    /// POST where it is not stated.
    pub method: Option<String>,
    /// Path and query; the receiver's where it is not stated.
    pub path: Option<String>,
    /// The headers.
    #[serde(default)]
    pub headers: BTreeMap<String, OneOrMany>,
    /// The body as JSON.
    #[serde(default, deserialize_with = "there")]
    pub json: Option<Json>,
    /// The body as lines.
    pub lines: Option<Vec<Json>>,
    /// The body as text.
    pub text: Option<String>,
    /// The body as bytes.
    pub base64: Option<Base64>,
    /// The body is this file.
    pub file: Option<String>,
    /// What the receiver asks the vendor before it replies.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
    /// The reply.
    pub reply: Option<Answer>,
    /// The operations that it asks for: RESOURCE.OPERATION.
    #[serde(default)]
    pub runs: Vec<String>,
}

/// What comes out for the sinks.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Records {
    /// So many.
    Count(u64),
    /// These, in order: text byte for byte, anything else by value.
    These(Vec<Json>),
}

/// A dead letter that must be there.
#[derive(Debug, Clone, Deserialize)]
pub struct DeadLetter {
    /// Why it is one.
    pub reason: String,
    /// What it holds, byte for byte.
    pub holds: Option<String>,
    /// What its reason says, among other things.
    pub detail: Option<String>,
}

/// `json: null` is a body, and no `json` is none.
fn there<'de, D: serde::Deserializer<'de>>(input: D) -> std::result::Result<Option<Json>, D::Error> {
    Json::deserialize(input).map(Some)
}

/// A case from its text; `place` is the file. All mistakes are in the error, each with its key.
pub fn read(text: &str, place: &str) -> Result<Case> {
    let wrong = |sentence: String| Error::new(Kind::Finding, sentence).at(place);
    let values = load::values(text).map_err(|mistake| wrong(mistake.message))?;
    let (document, _) = Document::parse(Source::new(place, text));
    let mistakes: Vec<String> = validator()
        .iter_errors(&values)
        .map(|error| {
            let pointer = error.instance_path().to_string();
            let path = Path::from_pointer(&pointer);
            let at = match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected } if !unexpected.is_empty() => {
                    Place::key(&path.join(unexpected[0].clone()))
                }
                _ => Place::value(&path),
            };
            let line = document.span(&at).line;
            let said = match error.kind() {
                ValidationErrorKind::FalseSchema => "there is a body already: one is enough".to_owned(),
                _ => error.to_string(),
            };
            format!("line {line}: {}: {}", key(&path), escaped(&said, 300))
        })
        .collect();
    if !mistakes.is_empty() {
        return Err(wrong(mistakes.join("\n  ")).help("schemas/case.json describes every key of a case"));
    }
    serde_json::from_value(values).map_err(|e| wrong("this is no case".to_owned()).because(e))
}

/// A place of a case as a person reads it: `steps[0].receive`.
pub fn key(path: &Path) -> String {
    let mut text = String::new();
    for part in &path.0 {
        match part.parse::<usize>() {
            Ok(index) => text.push_str(&format!("[{index}]")),
            Err(_) if text.is_empty() => text.push_str(part),
            Err(_) => text.push_str(&format!(".{part}")),
        }
    }
    if text.is_empty() { "the case".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_by_its_key() {
        let text = "title: x\nsteps:\n  - reconcile: {exchanges: [{request: {call: nowhere}, answer: {status: 2}}]}\n  - recieve: {}\n";
        let error = read(text, "a.yaml").unwrap_err().to_string();
        assert!(error.starts_with("a.yaml: "), "{error}");
        assert!(error.contains("steps[0].reconcile.exchanges[0].request.call"), "{error}");
        assert!(error.contains("steps[0].reconcile.exchanges[0].answer.status"), "{error}");
        assert!(error.contains("line 4: steps[1]: "), "{error}");
        let text = "title: x\nsteps:\n  - receive:\n      json: 1\n      text: a\n";
        let error = read(text, "a.yaml").unwrap_err().to_string();
        assert!(error.contains("line 5: steps[0].receive.text: there is a body already"), "{error}");
        let text = "title: x\nsteps:\n  - receive: {base64: a}\n";
        assert!(read(text, "a.yaml").unwrap_err().to_string().contains("this is no base64"));
        let error = read("title: x\nsteps: []\nrecrods: 1\n", "a.yaml").unwrap_err().to_string();
        assert!(error.contains("line 3: the case: ") && error.contains("recrods"), "{error}");
    }
}
