//! The end of a recording: secrets gathered and replaced, the case drafted, played, and written where no file is lost.
//!
//! `cli` calls [`finish`] when the run has ended. A case in which a secret is still to be seen is not written.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::disguise::{Disguise, SHORTEST, telling};
use super::draft::{Draft, begin, yaml};
use super::{Book, Event, Exchange, LeftOut, Recording};
use crate::call::Transport;
use crate::connector::instance::Instance;
use crate::connector::model::{Connector, KeySource, Proof};
use crate::error::{Error, Kind, Result};
use crate::simulate::cases::{self, Updated};
use crate::simulate::configure::{self, Filled};
use crate::spec::load::values;
use crate::spec::source::MAX_BYTES;

/// Requests up to which the records of a case are written out.
const FEW: usize = 5;

/// What became of a recording.
#[derive(Debug)]
pub struct Finished {
    /// The case's file; `None` where nothing happened.
    pub file: Option<PathBuf>,
    /// Why it does not hold as it stands, where it does not.
    pub wrong: Option<String>,
    /// What was not kept.
    pub left_out: LeftOut,
}

impl Recording {
    /// Whether everything that is secret in an instance can be told from other text; asked before the run begins.
    pub fn is_possible(instance: &Instance) -> Result<()> {
        let short = |(name, value): &(String, String)| (value.len() < SHORTEST).then(|| name.clone());
        match secrets(instance).iter().find_map(short) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                Kind::Configuration,
                format!("the secret `{name}` has fewer than {SHORTEST} characters: it could not be told from other text and replaced"),
            )
            .help("record with a longer one")),
        }
    }
}

/// Names and values, also those before a change.
fn secrets(instance: &Instance) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, secret) in instance.live().iter() {
        all.extend(secret.accepted().map(|value| (name.clone(), value.expose().to_owned())));
    }
    all
}

/// Makes a case of a recording and writes it into a folder.
pub async fn finish(
    recording: &Recording,
    folder: &Path,
    scratch: &Path,
    loopback: Arc<dyn Transport>,
) -> Result<Finished> {
    let book = std::mem::take(&mut *recording.book());
    let left_out = book.left_out;
    let (Some(start), Some(instance)) = (begin(&book.events), recording.instance.get()) else {
        return Ok(Finished { file: None, wrong: None, left_out });
    };
    let (disguise, invented) = disguise(instance, &book)?;
    let stand_in = stand_in(instance, invented.clone())?;
    let state = disguise.json(&book.state);
    let spec = std::fs::read_to_string(&instance.connector.file).unwrap_or_default().to_lowercase();
    let path = instance.receiver_path()?;
    let draft = Draft { instance: &stand_in, state: &state, disguise: &disguise, spec: &spec, path: &path };
    let steps = draft.steps(&book.events)?;
    let mut case = Map::new();
    case.insert("title".to_owned(), Json::from(format!("Recorded from {} on {}", instance.id, day(start))));
    case.insert("id".to_owned(), Json::from(instance.id.as_str()));
    if let Some(url) = &instance.receiver_url {
        let base = url.as_str().strip_suffix(&path).unwrap_or(url.as_str());
        case.insert("public_url".to_owned(), Json::from(base));
    }
    case.insert("clock".to_owned(), Json::from(start.to_string()));
    case.insert("settings".to_owned(), disguise.json(&Json::Object(chosen(instance))));
    case.insert("secrets".to_owned(), json!(invented));
    let checks = instance.connector.receiver.verify.checks();
    let issuers: String =
        checks.iter().filter_map(|demand| Some(demand.proof.certificate()?.issuers.rehearsed())).collect();
    if !issuers.is_empty() {
        case.insert("issuers".to_owned(), Json::from(issuers));
    }
    case.insert("steps".to_owned(), Json::Array(steps));
    // What came out of it is filled in by playing it, and written out where it is little.
    case.insert("records".to_owned(), if book.requests > FEW { json!(0) } else { json!([]) });
    case.insert("dead_letters".to_owned(), json!([]));
    if state.as_object().is_some_and(|state| !state.is_empty()) {
        case.insert("state".to_owned(), state.clone());
    }
    let head = "# Recorded by `forebay run --record`. Secrets are replaced by invented ones; settings, hosts and events are as they\n# were: read them before you commit this.\n";
    let text = format!("{head}{}", yaml(&case));
    let (text, wrong) = held(instance, text, scratch, loopback).await?;
    if disguise.is_seen_in(&text) {
        return Err(Error::new(
            Kind::Finding,
            "the recording is not written: a secret could still be seen in it",
        )
        .help("a secret that is a part of other text cannot be replaced: record with other ones"));
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::new(Kind::Finding, "the recording is not written: a case has 1 MiB at most")
            .help("record for a shorter time"));
    }
    let file = write(folder, &format!("recorded-{}-{}", instance.id, stamp(start)), &text)?;
    Ok(Finished { file: Some(file), wrong, left_out })
}

/// The case with what came out of it, and why it does not hold, where it does not. What the run itself was told (every
/// status, what was done at the vendor) must come again.
async fn held(
    instance: &Instance,
    text: String,
    scratch: &Path,
    loopback: Arc<dyn Transport>,
) -> Result<(String, Option<String>)> {
    let connector = Arc::new(crate::connector::load::load(&instance.connector.file)?);
    let file = scratch.join("recorded.yaml");
    let updated = cases::rewritten(&connector, &file, text.clone(), scratch, loopback).await?;
    Ok(match updated {
        Updated::Left(why) => (text, Some(why)),
        Updated::Rewritten { text: new, .. } => match verdicts(&text) == verdicts(&new) {
            true => (new, None),
            false => {
                (text, Some("played again, requests or provisioning end otherwise than they did".to_owned()))
            }
        },
    })
}

/// Every status and outcome of a case, in order.
fn verdicts(text: &str) -> Vec<Json> {
    fn walk(value: &Json, found: &mut Vec<Json>) {
        match value {
            Json::Object(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        "status" | "outcome" => found.push(value.clone()),
                        "json" | "text" | "state" => {}
                        _ => walk(value, found),
                    }
                }
            }
            Json::Array(list) => list.iter().for_each(|value| walk(value, found)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(case) = values(text) {
        walk(case.get("steps").unwrap_or(&Json::Null), &mut found);
    }
    found
}

/// Everything that is secret, and the secrets that the case configures.
fn disguise(instance: &Instance, book: &Book) -> Result<(Disguise, BTreeMap<String, String>)> {
    let connector = &instance.connector;
    let mut disguise = Disguise::default();
    let mut invented: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in secrets(instance) {
        let spec = connector.secrets.iter().find(|spec| spec.name == name);
        let new = match (invented.get(&name), spec) {
            (Some(new), _) => new.clone(),
            (None, Some(spec)) => configure::invented(connector, spec)?,
            (None, None) => format!("invented-{}", name.replace('_', "-")),
        };
        invented.entry(name).or_insert_with(|| new.clone());
        disguise.add(&value, || new);
    }
    for (resource, name) in told_once(connector) {
        let value = book.state.get(&resource).and_then(|saved| saved.get(&name)).and_then(Json::as_str);
        if let Some(value) = value.filter(|_| !is_public(connector, &format!("state.{resource}.{name}"))) {
            disguise.add(value, || made_like(value, &name));
        }
    }
    for text in tokens(&book.events) {
        let number = disguise.len();
        if !disguise.holds(&text) {
            disguise.add(&text, || made_like(&text, &format!("token-{number}")));
        }
    }
    Ok((disguise, invented))
}

/// Tokens and keys that calls carry and answers hand out.
fn tokens(events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    for exchange in exchanges(events) {
        let bodies = [&exchange.request.body, &exchange.answer.body];
        for document in bodies.iter().filter_map(|body| serde_json::from_slice(body).ok()) {
            found.extend(telling(&document).into_keys());
        }
        let carried = exchange.request.headers.get("authorization").and_then(|value| value.to_str().ok());
        let carried = carried.and_then(|value| value.split_once(' '));
        found.extend(
            carried
                .filter(|(scheme, _)| !scheme.eq_ignore_ascii_case("basic"))
                .map(|(_, token)| token.to_owned()),
        );
    }
    found
}

/// What a vendor tells once, by resource and name: in an answer, or in a request that a rule captures it from.
fn told_once(connector: &Connector) -> Vec<(String, String)> {
    let resources = connector.provision.iter().flat_map(|provision| &provision.resources);
    let told = resources.flat_map(|one| one.told_once.iter().map(|name| (one.name.clone(), name.clone())));
    let captures = connector.receiver.rules.iter().flat_map(|rule| &rule.capture);
    told.chain(captures.map(|capture| (capture.resource.clone(), capture.name.clone()))).collect()
}

/// Whether a name is a public key by which the vendor's signatures are checked.
fn is_public(connector: &Connector, name: &str) -> bool {
    connector.receiver.verify.checks().iter().any(|demand| match &demand.proof {
        Proof::PublicKey { keys: KeySource::Named(_), .. } => {
            demand.proof.key_texts().iter().any(|text| text.names().iter().any(|known| known == name))
        }
        Proof::PublicKey { keys: KeySource::Fetched(_), .. }
        | Proof::Token { .. }
        | Proof::Basic { .. }
        | Proof::Hmac { .. }
        | Proof::Digest { .. }
        | Proof::Jwt(_) => false,
    })
}

/// An invention that can be a key however keys are written: hexadecimal digits, behind the prefix that the real one has.
fn made_like(real: &str, label: &str) -> String {
    let prefix = real.split_once('_').map(|(prefix, _)| prefix).filter(|prefix| prefix.len() <= 6);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, label.as_bytes());
    let digits = data_encoding::HEXLOWER.encode(digest.as_ref());
    prefix.map_or_else(|| digits.clone(), |prefix| format!("{prefix}_{digits}"))
}

/// Every call of a recording.
fn exchanges(events: &[Event]) -> Vec<&Exchange> {
    let mut found = Vec::new();
    for event in events {
        match event {
            Event::Pass(pass) => {
                for exchange in &pass.exchanges {
                    found.push(exchange);
                    found.extend(exchange.meanwhile.iter().flat_map(|one| &one.exchanges));
                }
            }
            Event::Request(incoming) => found.extend(&incoming.exchanges),
        }
    }
    found
}

/// The instance as the case configures it.
fn stand_in(instance: &Instance, secrets: BTreeMap<String, String>) -> Result<Arc<Instance>> {
    let filled = Filled { settings: chosen(instance), secrets };
    let mut made =
        configure::instance(instance.connector.clone(), instance.id.clone(), filled, "the recording")?;
    made.receiver_url.clone_from(&instance.receiver_url);
    Ok(Arc::new(made))
}

/// Settings that are not the spec's defaults.
fn chosen(instance: &Instance) -> Map<String, Json> {
    let mut settings = instance.settings.clone();
    settings.retain(|name, value| {
        let spec = instance.connector.settings.iter().find(|spec| spec.name == *name);
        spec.is_some_and(|spec| spec.default.as_ref() != Some(value))
    });
    settings
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn stamp(at: Timestamp) -> String {
    at.to_string().chars().take(19).filter(|c| !matches!(c, '-' | ':')).chain(['Z']).collect()
}

/// Writes a file that its owner alone can read, whole or not at all, under a name that nobody has.
fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let trouble = |e: std::io::Error| {
        Error::new(Kind::Io, "the recording cannot be written").at(folder.display().to_string()).because(e)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(trouble)?;
    let half = folder.join(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&half)
        .and_then(|mut file: File| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| {
        for number in 1..1000 {
            let ending = if number == 1 { String::new() } else { format!("-{number}") };
            let file = folder.join(format!("{name}{ending}.yaml"));
            match std::fs::hard_link(&half, &file) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                done => return done.map(|()| file),
            }
        }
        Err(std::io::Error::other("a thousand recordings have this name"))
    });
    let _ = std::fs::remove_file(&half);
    linked.map_err(trouble)
}
