//! What `forebay new` wants to know: one question for each flag, with what it takes, and what stands where nobody says.
//!
//! Called by `cli/new.rs`, which has the flags and the terminal. A question is asked only where the answers before it
//! leave something to know.

use std::collections::BTreeMap;

use url::Url;

use super::takes::NONE;
pub use super::takes::Takes;
use crate::error::{Error, Kind, Result};

/// How a vendor proves that a request is from it.
pub const VERIFY: &[&str] = &["hmac", "token", "basic", "public_key", "jwt"];
/// Who makes the key that sender and receiver share.
pub const KEY: &[&str] = &["forebay", "vendor"];
/// How the calls to the vendor's API are signed.
pub const AUTH: &[&str] = &["bearer", "basic", "headers", "oauth2_client_credentials", "none"];
/// The hash of an HMAC.
pub const HASH: &[&str] = &["sha256", "sha1", "sha384", "sha512"];
/// How a signature is written.
pub const ENCODING: &[&str] = &["hex", "base64", "base64url"];
/// How a body is read.
pub const BODY: &[&str] = &["json", "json_lines"];
/// How a time is written.
pub const TIME_FORMAT: &[&str] = &["rfc3339", "unix", "unix_ms"];

/// The answers so far, by the question's name.
pub type Answers = BTreeMap<&'static str, String>;

/// One thing that has to be known.
pub struct Question {
    /// Its name, which is the flag's.
    pub name: &'static str,
    /// What a person is asked.
    pub ask: &'static str,
    /// What answers it.
    pub takes: Takes,
    /// What stands where nobody says.
    default: fn(&Answers) -> String,
    /// When it is asked: the question before it, and the answers to that one that leave something to know.
    only: Option<(&'static str, &'static [&'static str])>,
}

/// All questions, in the order in which they are asked.
pub const QUESTIONS: &[Question] = &[
    Question {
        name: "title",
        ask: "What do people call the stream?",
        takes: Takes::Line,
        default: title,
        only: None,
    },
    Question { name: "vendor", ask: "Who sends it?", takes: Takes::Line, default: vendor, only: None },
    Question {
        name: "summary",
        ask: "What does it do, in one sentence?",
        takes: Takes::Line,
        default: summary,
        only: None,
    },
    Question {
        name: "api",
        ask: "Is there an API that makes the webhook? The URL of the list of webhooks",
        takes: Takes::UrlOrNone,
        default: none,
        only: None,
    },
    Question {
        name: "auth",
        ask: "How are calls to the API signed?",
        takes: Takes::Choice(AUTH),
        default: |_| "bearer".to_owned(),
        only: Some(("api", &["https:"])),
    },
    Question {
        name: "auth-header",
        ask: "Which header carries the API key?",
        takes: Takes::Header,
        default: |_| "X-Api-Key".to_owned(),
        only: Some(("auth", &["headers"])),
    },
    Question {
        name: "token-url",
        ask: "Where is the access token fetched?",
        takes: Takes::Url,
        default: token_url,
        only: Some(("auth", &["oauth2_client_credentials"])),
    },
    Question {
        name: "verify",
        ask: "How does a request prove who sent it?",
        takes: Takes::Choice(VERIFY),
        default: |_| "hmac".to_owned(),
        only: None,
    },
    Question {
        name: "key",
        ask: "Who makes the key that both know?",
        takes: Takes::Choice(KEY),
        default: key,
        only: Some(("verify", &["hmac", "token"])),
    },
    Question {
        name: "header",
        ask: "Which header carries the proof?",
        takes: Takes::Header,
        default: header,
        only: Some(("verify", &["hmac", "token", "public_key"])),
    },
    Question {
        name: "hash",
        ask: "Which hash does the HMAC have?",
        takes: Takes::Choice(HASH),
        default: |_| "sha256".to_owned(),
        only: Some(("verify", &["hmac"])),
    },
    Question {
        name: "encoding",
        ask: "How is the signature written?",
        takes: Takes::Choice(ENCODING),
        default: encoding,
        only: Some(("verify", &["hmac", "public_key"])),
    },
    Question {
        name: "prefix",
        ask: "What stands before the signature?",
        takes: Takes::MarkOrNone,
        default: none,
        only: Some(("verify", &["hmac", "public_key"])),
    },
    Question {
        name: "timestamp",
        ask: "Where is the time that is signed with the body?",
        takes: Takes::TimeOrNone,
        default: none,
        only: Some(("verify", &["hmac", "public_key"])),
    },
    Question {
        name: "pair",
        ask: "What is the signature called beside that time?",
        takes: Takes::Header,
        default: |_| "v1".to_owned(),
        only: Some(("timestamp", &["pair:"])),
    },
    Question {
        name: "keys-url",
        ask: "Where are the keys of the tokens published (JWKS)?",
        takes: Takes::Url,
        default: keys_url,
        only: Some(("verify", &["jwt"])),
    },
    Question {
        name: "body",
        ask: "How is the body written?",
        takes: Takes::Choice(BODY),
        default: |_| "json".to_owned(),
        only: None,
    },
    Question {
        name: "each",
        ask: "Where in the body is the list of events, or the one event?",
        takes: Takes::PointerOrNone,
        default: none,
        only: Some(("body", &["json"])),
    },
    Question {
        name: "id",
        ask: "Where is the id of an event?",
        takes: Takes::PlaceOrNone,
        default: |_| "/id".to_owned(),
        only: None,
    },
    Question {
        name: "time",
        ask: "Where does an event say when it happened?",
        takes: Takes::PointerOrNone,
        default: |_| "/created_at".to_owned(),
        only: None,
    },
    Question {
        name: "time-format",
        ask: "How is that time written?",
        takes: Takes::Choice(TIME_FORMAT),
        default: |_| "rfc3339".to_owned(),
        only: Some(("time", &["/"])),
    },
    Question {
        name: "type",
        ask: "Where does an event say what happened?",
        takes: Takes::PlaceOrNone,
        default: |_| "/type".to_owned(),
        only: None,
    },
];

impl Question {
    /// Whether the answers so far leave it open.
    pub fn is_open(&self, answers: &Answers) -> bool {
        self.only.is_none_or(|(before, these)| {
            answers.get(before).is_some_and(|answer| these.iter().any(|this| begins(answer, this)))
        })
    }

    /// What stands where nobody says.
    pub fn default(&self, answers: &Answers) -> String {
        (self.default)(answers)
    }
}

/// Whether an answer is this word, or begins so where the word is the beginning of something.
fn begins(answer: &str, word: &str) -> bool {
    if word.ends_with(['/', ':']) { answer.starts_with(word) } else { answer == word }
}

/// All answers: those that are given, which are checked, then what `ask` gets of a person, then the defaults.
/// `ask` gives `None` where nobody is there to be asked.
pub fn answer(
    name: &str,
    given: &BTreeMap<&'static str, String>,
    mut ask: impl FnMut(&Question, &str) -> Result<Option<String>>,
) -> Result<(Answers, Vec<&'static str>)> {
    let mut answers = Answers::from([("name", name.to_owned())]);
    let mut assumed = Vec::new();
    for question in QUESTIONS {
        let open = question.is_open(&answers);
        let text = match (given.get(question.name), open) {
            (Some(_), false) => return Err(pointless(question)),
            (None, false) => continue,
            (Some(text), true) => text.clone(),
            (None, true) => {
                let default = question.default(&answers);
                ask(question, &default)?.unwrap_or_else(|| {
                    assumed.push(question.name);
                    default
                })
            }
        };
        question.takes.check(&text).map_err(|why| {
            Error::new(
                Kind::Configuration,
                format!("--{} cannot be `{}`: {why}", question.name, crate::error::escaped(&text, 60)),
            )
        })?;
        answers.insert(question.name, text);
    }
    Ok((answers, assumed))
}

fn pointless(question: &Question) -> Error {
    let (before, these) = question.only.unwrap_or(("", &[]));
    let these: Vec<&str> =
        these.iter().map(|this| if this.ends_with(['/', ':']) { "other than none" } else { this }).collect();
    Error::new(Kind::Configuration, format!("--{} says nothing here", question.name))
        .help(format!("it goes with --{before} {}", these.join(" or ")))
}

fn none(_: &Answers) -> String {
    NONE.to_owned()
}

/// `acme-audit-events` becomes `Acme Audit Events`.
fn title(answers: &Answers) -> String {
    let name = answers.get("name").map(String::as_str).unwrap_or_default();
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('-').filter_map(capital).collect::<Vec<_>>().join(" ")
}

fn vendor(answers: &Answers) -> String {
    title(answers).split(' ').next().unwrap_or_default().to_owned()
}

fn summary(answers: &Answers) -> String {
    format!(
        "Receives the events of {} as they occur.",
        answers.get("vendor").map(String::as_str).unwrap_or_default()
    )
}

/// Where there is an API we make the key and tell it; by hand a vendor mostly shows its own.
fn key(answers: &Answers) -> String {
    let by_hand = answers.get("api").is_some_and(|api| api == NONE);
    if by_hand { "vendor" } else { "forebay" }.to_owned()
}

fn header(answers: &Answers) -> String {
    let token = answers.get("verify").is_some_and(|verify| verify == "token");
    if token { "X-Api-Key" } else { "X-Signature" }.to_owned()
}

fn encoding(answers: &Answers) -> String {
    let hmac = answers.get("verify").is_some_and(|verify| verify == "hmac");
    if hmac { "hex" } else { "base64" }.to_owned()
}

/// The root of the API's host, or of one that is nobody's (RFC 2606).
fn origin(answers: &Answers) -> String {
    let api = answers.get("api").and_then(|api| Url::parse(api).ok());
    let host = api.as_ref().and_then(Url::host_str).unwrap_or("vendor.example");
    format!("https://{host}")
}

fn token_url(answers: &Answers) -> String {
    format!("{}/oauth/token", origin(answers))
}

fn keys_url(answers: &Answers) -> String {
    format!("{}/.well-known/jwks.json", origin(answers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new::takes::LONGEST;

    fn answered(given: &[(&'static str, &str)]) -> Result<(Answers, Vec<&'static str>)> {
        let given = given.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        answer("acme-audit-events", &given, |_, _| Ok(None))
    }

    #[test]
    fn defaults_come_from_the_name_and_from_the_answers_before() {
        let (answers, assumed) = answered(&[]).unwrap();
        assert_eq!(answers["title"], "Acme Audit Events");
        assert_eq!(answers["summary"], "Receives the events of Acme as they occur.");
        assert_eq!((answers["key"].as_str(), answers["header"].as_str()), ("vendor", "X-Signature"));
        assert!(assumed.contains(&"verify") && !assumed.contains(&"auth"));
        let api = ("api", "https://api.acme.example:8443/v1/hooks");
        let (answers, assumed) =
            answered(&[api, ("auth", "oauth2_client_credentials"), ("verify", "token")]).unwrap();
        assert_eq!(answers["token-url"], "https://api.acme.example/oauth/token");
        assert_eq!((answers["key"].as_str(), answers["header"].as_str()), ("forebay", "X-Api-Key"));
        assert!(!assumed.contains(&"verify") && assumed.contains(&"token-url"));
    }

    #[test]
    fn what_the_answers_before_rule_out_is_refused() {
        let error = answered(&[("verify", "token"), ("hash", "sha1")]).unwrap_err();
        assert!(error.to_string().contains("--hash says nothing here"), "{error}");
        assert!(error.to_string().contains("--verify hmac"), "{error}");
        let error = answered(&[("auth", "basic")]).unwrap_err();
        assert!(error.to_string().contains("--api other than none"), "{error}");
    }

    #[test]
    fn each_kind_of_answer_is_checked() {
        for (name, bad) in [
            ("title", "  "),
            ("title", "two\nlines"),
            ("vendor", "{{ settings.x }}"),
            ("verify", "magic"),
            ("header", "X Y"),
            ("prefix", "\""),
            ("prefix", "{{"),
            ("timestamp", "none or so"),
            ("id", "id"),
            ("id", "header:"),
            ("id", "/a b"),
            ("time", "/"),
            ("api", "http://api.example.com"),
            ("api", "https://api.example.com/?a=b"),
            ("api", "https://api.example.com/{{ x }}"),
            ("api", "https://me:secret@api.example.com/"),
        ] {
            let error = answered(&[(name, bad)]).unwrap_err();
            assert!(error.to_string().contains(&format!("--{name} cannot be")), "{name}: {error}");
        }
        assert!(answered(&[("title", &"x".repeat(LONGEST + 1))]).is_err());
    }
}
