//! What is told of each stage to whoever looks on. `accept` and `rules` call these at every stage.
//!
//! Without a witness every function returns at its first line. Nothing here decides anything: what happened is an
//! argument, and why a proof failed is asked of the very checks.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::decode::Decoded;
use super::endpoint::{Endpoint, Known};
use super::refused::Refused;
use super::request::{Head, Raw};
use super::verify::{Prover, Told as Proof};
use super::witness::{Answered, Outcome, Stage, Told, Witness};
use crate::connector::coding::Coding;
use crate::connector::model::{Decode, Rule};
use crate::connector::record::Remember;
use crate::connector::template::RequestFacts;
use crate::error::escaped;
use crate::queue::{DeadReason, Receipt};
use crate::spec::path::Path;

/// Characters of a record that are shown.
const SHOWN: usize = 160;

/// A place of the spec.
pub(super) fn place(keys: &[&str]) -> Path {
    Path(keys.iter().map(|key| (*key).to_owned()).collect())
}

fn tell(witness: &dyn Witness, stage: Stage, outcome: Outcome, sentence: String, place: Path) {
    witness.told(Told { stage, outcome, sentence, place, data: Json::Null });
}

impl Endpoint {
    /// Who wants to hear of the stages.
    fn listener(&self) -> Option<&dyn Witness> {
        self.witness.get().map(|witness| &**witness).filter(|witness| witness.wants_stages())
    }
}

/// The path is the endpoint's, and the method one of its own.
pub(super) fn routed(endpoint: &Endpoint, head: &Head) {
    let Some(witness) = endpoint.listener() else { return };
    let (id, path) = (&endpoint.instance.id, &endpoint.path);
    let rule =
        (head.path != *path).then(|| endpoint.rules().position(|(_, path)| path == head.path)).flatten();
    let (sentence, at) = match rule {
        Some(n) => (
            format!("{} {}: {id} serves a rule there", head.method, head.path),
            place(&["receiver", "rules", &n.to_string(), "path"]),
        ),
        None => (format!("{} {path}: {id} receives there", head.method), place(&["receiver", "path"])),
    };
    tell(witness, Stage::Route, Outcome::Passed, sentence, at);
}

/// What the head tells of the sender.
pub(super) fn by_head(endpoint: &Endpoint, told: &Result<Proof, Refused>) {
    let Some(witness) = endpoint.listener() else { return };
    let (outcome, sentence) = match told {
        Ok(Proof::Sender(_)) => (Outcome::Passed, "the head alone proves who sent it".to_owned()),
        Ok(Proof::Stranger(_)) => (Outcome::Noted, "the head alone tells that it is a stranger".to_owned()),
        Ok(Proof::Nothing) => {
            (Outcome::Noted, "the head alone does not tell: the proof takes the body".to_owned())
        }
        Err(refused) => (Outcome::Noted, format!("a key is not known yet: {}", refused.detail())),
    };
    tell(witness, Stage::Who, outcome, sentence, place(&["receiver", "verify"]));
}

/// The body was read.
pub(super) fn read(endpoint: &Endpoint, raw: &mut Raw, body: &Bytes) {
    if endpoint.witness.get().is_some() {
        raw.read = Some(body.clone());
    }
    let Some(witness) = endpoint.listener() else { return };
    let sentence = format!("{} bytes of body; {} are accepted", body.len(), endpoint.body);
    tell(witness, Stage::Limits, Outcome::Passed, sentence, Path::default());
}

/// A rule that the request was held against.
pub(super) fn ruled(endpoint: &Endpoint, rule: &Rule, outcome: Outcome, what: &str) {
    let Some(witness) = endpoint.listener() else { return };
    let rules = &endpoint.instance.connector.receiver.rules;
    let number = rules.iter().position(|known| std::ptr::eq(known, rule)).unwrap_or_default().to_string();
    let when = rule.when.as_ref().map(|when| format!(" `{}`", escaped(when.source(), 200)));
    let (sentence, key) = match (outcome, when) {
        (Outcome::Noted, Some(when)) => (format!("{}: {what}:{when}", rule.name), Some("when")),
        (Outcome::Noted | Outcome::Passed | Outcome::Refused, _) => (format!("{}: {what}", rule.name), None),
    };
    let mut at = place(&["receiver", "rules", &number]);
    at.0.extend(key.map(str::to_owned));
    tell(witness, Stage::Rule, outcome, sentence, at);
}

/// What each check of `verify` says, and why. The checks are pure: asked again they say the same.
pub(super) fn proofs(
    endpoint: &Endpoint,
    known: &Known,
    head: &Head,
    body: Option<&Bytes>,
    now: jiff::Timestamp,
) {
    let Some(witness) = endpoint.listener() else { return };
    let empty = Bytes::new();
    let bytes = body.unwrap_or(&empty);
    let prover = Prover {
        keys: &known.keys,
        fetched: &endpoint.fetched,
        scopes: &known.scopes,
        facts: Arc::new(RequestFacts { parsed: usize::MAX, ..endpoint.facts(head, bytes.clone()) }),
        head,
        body: bytes,
        now,
    };
    prover.account(&endpoint.instance.connector.receiver.verify, body.is_some(), &mut |told| {
        witness.told(told)
    });
}

/// The Content-Encoding of a request that is verified.
pub(super) fn inflated(endpoint: &Endpoint, coding: Option<Coding>) {
    let (Some(witness), Some(coding)) = (endpoint.listener(), coding) else { return };
    let sentence = format!("the body is compressed: {coding:?}").to_lowercase();
    tell(witness, Stage::Inflate, Outcome::Passed, sentence, Path::default());
}

/// Records and dead letters of the body.
pub(super) fn decoded(endpoint: &Endpoint, decoded: &Decoded) {
    let Some(witness) = endpoint.listener() else { return };
    let receiver = &endpoint.instance.connector.receiver;
    let format = match &receiver.decode {
        Decode::Json => "json",
        Decode::JsonLines { .. } => "json_lines",
        Decode::JsonConcat => "json_concat",
        Decode::Form { .. } => "form",
        Decode::Nothing(_) => "no body",
    };
    let (records, dead) = (decoded.records.len(), decoded.dead.len());
    let sentence = format!("read as {format}: {records} records that pass, {dead} dead letters");
    tell(witness, Stage::Decode, Outcome::Passed, sentence, place(&["receiver", "decode"]));
    for (n, record) in decoded.records.iter().enumerate() {
        let id = String::from_utf8_lossy(record.id()).into_owned();
        let kind = decoded.kinds.get(n).copied().flatten();
        let kind = kind.and_then(|kind| endpoint.types.name(kind));
        let time = record.time().map(|time| time.to_string());
        let picked = receiver.event.id.is_empty() || id.starts_with("sha256:");
        let remembered = match record.remember() {
            Remember::Window => String::new(),
            Remember::For(window) => format!(", a duplicate within {} s", window.as_secs()),
            Remember::Never => ", never a duplicate".to_owned(),
        };
        let key = if picked { "the hash of the body and the record's place in it" } else { "the id" };
        let words = [
            Some(format!(
                "record {}: passes the schema; dedupe key {} ({key}{remembered})",
                n + 1,
                escaped(&id, 120)
            )),
            time.as_ref().map(|time| format!("time {time}")),
            kind.map(|kind| format!("type {}", escaped(kind, 80))),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        let text = String::from_utf8_lossy(record.record()).into_owned();
        witness.told(Told {
            stage: Stage::Record,
            outcome: Outcome::Passed,
            sentence: format!("{}\n{}", words.join(", "), escaped(&text, SHOWN)),
            place: place(&["receiver", "event", "id"]),
            data: json!({"id": id, "time": time, "type": kind, "record": text}),
        });
    }
    for letter in &decoded.dead {
        let reason = crate::queue::local::reason_name(letter.reason);
        let at: &[&str] = match letter.reason {
            DeadReason::Schema => &["output", "schema"],
            DeadReason::Undecodable => &["receiver", "records"],
            DeadReason::TooDeep | DeadReason::IdReused | DeadReason::SinkRefused => &[],
        };
        let text = String::from_utf8_lossy(&letter.bytes).into_owned();
        witness.told(Told {
            stage: Stage::Record,
            outcome: Outcome::Refused,
            sentence: format!("dead letter, {reason}: {}\n{}", letter.detail, escaped(&text, SHOWN)),
            place: place(at),
            data: json!({"reason": reason, "detail": letter.detail, "holds": text}),
        });
    }
}

/// What the queue took charge of.
pub(super) fn stored(endpoint: &Endpoint, receipt: &Receipt) {
    let Some(witness) = endpoint.listener() else { return };
    let Receipt { stored, duplicates, dead } = receipt;
    let sentence = format!("{stored} new records, {duplicates} duplicates, {dead} dead letters");
    let data = json!({"stored": stored, "duplicates": duplicates, "dead": dead});
    witness.told(Told {
        stage: Stage::Store,
        outcome: Outcome::Passed,
        sentence,
        place: Path::default(),
        data,
    });
}

/// The end of a request.
pub(super) fn answered(endpoint: &Endpoint, raw: &Raw, answer: &Answer, refused: Option<&Refused>) {
    let Some(witness) = endpoint.witness.get() else { return };
    if let (true, Some(refused)) = (witness.wants_stages(), refused) {
        let (stage, at) = decided(refused);
        let detail = Some(refused.detail()).filter(|detail| !detail.is_empty());
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let sentence = format!("refused with {}, {}{detail}", refused.status().as_u16(), refused.reason());
        tell(&**witness, stage, Outcome::Refused, sentence, place(at));
    }
    if witness.wants_stages() {
        let at: &[&str] = if refused.is_none() { &["receiver", "respond"] } else { &[] };
        let sentence = format!(
            "{} {}",
            answer.status().as_u16(),
            escaped(&String::from_utf8_lossy(answer.body()), 2000)
        );
        let outcome = if refused.is_none() { Outcome::Passed } else { Outcome::Refused };
        tell(&**witness, Stage::Reply, outcome, sentence.trim_end().to_owned(), place(at));
    }
    let refused = refused.map(Refused::reason);
    witness.answered(&Answered { head: &raw.head, body: raw.read.as_ref(), answer, refused });
}

/// The stage that turned a request away, and what in the spec it went by.
fn decided(refused: &Refused) -> (Stage, &'static [&'static str]) {
    match refused {
        Refused::UnknownPath | Refused::Method | Refused::Ambiguous => (Stage::Route, &["receiver", "path"]),
        Refused::Rejected(_) => (Stage::Verify, &["receiver", "verify"]),
        Refused::NotReady(_) | Refused::TooMuch(_) => (Stage::Verify, &["receiver", "verify"]),
        Refused::Taken(_) | Refused::Astray(_) | Refused::Undone(_) => (Stage::Rule, &["receiver", "rules"]),
        Refused::Source(_)
        | Refused::TooLarge
        | Refused::TooSlow
        | Refused::BrokenOff
        | Refused::Crowded
        | Refused::Stopping => (Stage::Limits, &[]),
        Refused::Coding => (Stage::Inflate, &[]),
        Refused::Full { .. } | Refused::Broken(_) => (Stage::Store, &[]),
    }
}
