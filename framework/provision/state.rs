//! What an instance learned about the vendor's side, as one JSON document in the store.
//!
//! Everything that provisioning must know after a restart stands here, generated secrets too; the store is
//! readable by its owner alone. Two processes may write it (`run`, and `destroy` beside it), so every change
//! is made to what was just loaded and saved against it; nothing is locked while a call is on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;

use super::drift::Applied;
use super::fingerprint::Key;
use super::rotation::Rotations;
use crate::call::keep::{Keep, Kept};
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result};
use crate::queue::{Save, State};

/// The version of the document that this program writes.
const VERSION: u32 = 1;

/// How often a change is tried against somebody else's writes.
const CHANGES: u32 = 32;

/// How much longer each try waits than the one before it.
const PAUSE: Duration = Duration::from_millis(1);

/// The document.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The version of its shape.
    pub version: u32,
    /// How often the instance was destroyed: who sees it grow stops provisioning.
    #[serde(default)]
    pub destroyed: u64,
    /// The key of the fingerprints.
    pub key: String,
    /// Secrets that were generated, by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The values of secrets that verify requests, given and former, by name.
    #[serde(default, skip_serializing_if = "Rotations::is_empty")]
    pub rotations: Rotations,
    /// What auths saved, by name. It outlives `destroy`: what the person gave may be used up.
    #[serde(default)]
    pub auths: BTreeMap<String, Kept>,
    /// What is known of each resource, by name.
    #[serde(default)]
    pub resources: BTreeMap<String, ResourceState>,
    /// Why provisioning was last refused; `None` since it went well.
    #[serde(default)]
    pub refusal: Option<Refused>,
    /// When unsigned requests may give values, by an operator's word.
    #[serde(default)]
    pub captures: Option<Window>,
}

/// What is known of one resource.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceState {
    /// The values that calls saved: `state.RESOURCE.NAME`.
    #[serde(default)]
    pub saved: Map<String, Json>,
    /// The values that rules of the receiver kept: `state.RESOURCE.NAME` too.
    #[serde(default)]
    pub captured: BTreeMap<String, Capture>,
    /// Whose it is; `None` while there is none.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Whether this instance had one before: then a new one resumes where events stopped.
    #[serde(default)]
    pub existed: bool,
    /// The operation under way.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// The one that is being replaced: deleted once the new one is there.
    #[serde(default)]
    pub old: Option<Old>,
    /// The one that the vendor said is gone, as it was known: it comes back, or is removed once another is there.
    #[serde(default)]
    pub gone: Option<Box<ResourceState>>,
    /// From when to when it lives, where calls saved that.
    #[serde(default)]
    pub lifetime: Option<Lifetime>,
    /// When it was made or last renewed, in seconds since 1970.
    #[serde(default)]
    pub renewed_seconds: Option<i64>,
    /// Fingerprints of the secrets that were last sent.
    #[serde(default)]
    pub applied: Applied,
    /// As it was last seen, without secrets: what a person set by hand is given to the next one.
    #[serde(default)]
    pub current: Option<Json>,
    /// The drift that the last update was to mend.
    #[serde(default)]
    pub mended: Option<Mended>,
}

/// A value that a rule kept.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// The value.
    pub value: Json,
    /// When it was kept, in seconds since 1970.
    pub at_seconds: i64,
    /// When it was shown to an operator.
    #[serde(default)]
    pub shown_seconds: Option<i64>,
}

/// The time in which an operator lets unsigned requests give values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it was opened, in seconds since 1970.
    pub from_seconds: i64,
    /// When it ends.
    pub until_seconds: i64,
}

/// A resource that is being replaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Old {
    /// Its saved values.
    pub saved: Map<String, Json>,
    /// How many steps of its delete are done.
    #[serde(default)]
    pub done: usize,
    /// It is replaced because it would run out: how many seconds it stays beside the new one.
    #[serde(default)]
    pub overlap_seconds: Option<i64>,
    /// When the new one was there, in seconds since 1970; `None` before.
    #[serde(default)]
    pub since_seconds: Option<i64>,
}

/// From when to when a resource lives, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// When its end was saved.
    pub from_seconds: i64,
    /// Its end, as the vendor says.
    pub until_seconds: i64,
}

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// This instance made it.
    Created,
    /// It was there.
    Adopted,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Made.
    Create,
    /// Taken over.
    Adopt,
    /// Brought to what is desired.
    Update,
    /// Made healthy.
    Repair,
    /// Kept from running out.
    Renew,
    /// Removed.
    Delete,
}

/// An operation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Which.
    pub operation: Operation,
    /// How many of its steps are done.
    pub done: usize,
    /// When it was begun, or last gone on with, in seconds since 1970.
    #[serde(default)]
    pub since_seconds: i64,
}

impl Pending {
    /// Whether it is this operation.
    pub fn is(&self, operation: Operation) -> bool {
        self.operation == operation
    }
}

/// A drift that was mended, to see whether the vendor took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mended {
    /// The fingerprint of the differences.
    pub drift: String,
    /// When, in seconds since 1970.
    pub at_seconds: i64,
}

/// Why the vendor refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When, in seconds since 1970.
    pub at_seconds: i64,
    /// The sentence, escaped.
    pub sentence: String,
}

impl Operation {
    /// As it is called in the spec and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Update => "update",
            Self::Repair => "repair",
            Self::Renew => "renew",
            Self::Delete => "delete",
        }
    }
}

impl Document {
    /// An empty one, with a key of its own.
    fn new() -> Result<Self> {
        Ok(Self {
            version: VERSION,
            destroyed: 0,
            key: Key::generate()?,
            secrets: BTreeMap::new(),
            rotations: Rotations::default(),
            auths: BTreeMap::new(),
            resources: BTreeMap::new(),
            refusal: None,
            captures: None,
        })
    }

    fn parse(json: &Json) -> Result<Self> {
        let version = json.get("version").and_then(Json::as_u64).unwrap_or_default();
        if version > u64::from(VERSION) {
            return Err(Error::new(Kind::Io, "the state of this instance was written by a newer forebay")
                .help("run that version, or take another --data-dir"));
        }
        serde_json::from_value(json.clone())
            .map_err(|e| Error::new(Kind::Io, "the state of this instance cannot be read").because(e))
    }

    /// What is known of a resource; nothing is, of one that is new.
    pub fn resource(&self, name: &str) -> ResourceState {
        self.resources.get(name).cloned().unwrap_or_default()
    }

    /// The values that templates call `state`.
    pub fn names(&self) -> Json {
        let known = |(name, resource): (&String, &ResourceState)| {
            let known = resource.known();
            (!known.is_empty()).then(|| (name.clone(), Json::Object(known)))
        };
        Json::Object(self.resources.iter().filter_map(known).collect())
    }
}

impl ResourceState {
    /// Whether one exists or existed, as far as this instance knows.
    pub(super) fn is_known(&self) -> bool {
        let Self { saved, captured, origin, existed, old, gone, .. } = self;
        origin.is_some()
            || *existed
            || old.is_some()
            || gone.is_some()
            || !saved.is_empty()
            || !captured.is_empty()
    }

    /// Whether its removal was begun.
    pub(super) fn is_being_removed(&self) -> bool {
        self.pending.is_some_and(|pending| pending.is(Operation::Delete))
    }
}

impl Document {
    /// The same with the values of what was replaced, or said to be gone; `None` where nothing was, or it is
    /// removed.
    fn names_before(&self) -> Option<Json> {
        let mut names = self.names();
        let mut any = false;
        for (name, resource) in &self.resources {
            let old = resource.old.as_ref().map(|old| old.saved.clone());
            let gone = resource.gone.as_ref().filter(|gone| !gone.is_being_removed());
            if let Some(before) = old.or_else(|| Some(gone?.known())) {
                names[name] = Json::Object(before);
                any = true;
            }
        }
        any.then_some(names)
    }
}

/// What is saved, as the receiver needs it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// `state` of the spec's templates.
    pub now: Json,
    /// The same with what was replaced in its old place, while that still sends.
    pub before: Option<Json>,
}

/// The document of one instance, in its store.
#[derive(Clone)]
pub struct Memory {
    instance: InstanceId,
    state: Arc<dyn State>,
    /// What is saved in the document when it was last read or written.
    saved: watch::Sender<Saved>,
}

impl Memory {
    /// The memory of an instance.
    pub fn new(instance: InstanceId, state: Arc<dyn State>) -> Self {
        Self { instance, state, saved: watch::Sender::new(Saved { now: json!({}), before: None }) }
    }

    /// The document as it is; writes nothing, and an instance that knows nothing has an empty one.
    pub async fn read(&self) -> Result<Document> {
        let document = match self.state.load(&self.instance).await? {
            Some(json) => Document::parse(&json)?,
            None => Document::new()?,
        };
        self.tell(&document);
        Ok(document)
    }

    /// What is saved, as it becomes known.
    pub fn saved(&self) -> watch::Receiver<Saved> {
        self.saved.subscribe()
    }

    fn tell(&self, document: &Document) {
        let known = Saved { now: document.names(), before: document.names_before() };
        self.saved.send_if_modified(|saved| {
            let changed = *saved != known;
            *saved = known;
            changed
        });
    }

    /// Changes the document, whoever else writes it, and gives it as it is then. What the change refuses is
    /// not written; a change that changes nothing writes nothing.
    pub async fn change<F>(&self, mut change: F) -> Result<Document>
    where
        F: FnMut(&mut Document) -> Result<()> + Send,
    {
        for lost in 0..CHANGES {
            // Two that write in step lose to each other for ever: whoever lost waits a little longer each time.
            tokio::time::sleep(PAUSE * lost).await;
            let (document, save) = self.prepare(&mut change).await?;
            let Some(Save { was, document: json, .. }) = save else { return Ok(document) };
            if self.state.save(&self.instance, was.as_ref(), &json).await? {
                self.tell(&document);
                return Ok(document);
            }
        }
        Err(Error::new(Kind::Passing, "the state of this instance changes faster than it can be written"))
    }

    /// [`Memory::change`] for many instances of one store: what changes is synced together.
    pub async fn change_all<F>(mut changes: Vec<(Self, F)>) -> Result<Vec<Document>>
    where
        F: FnMut(&mut Document) -> Result<()> + Send,
    {
        let Some((Self { state, .. }, _)) = changes.first() else { return Ok(Vec::new()) };
        let state = state.clone();
        let (mut documents, mut changed, mut saves) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (memory, change)) in changes.iter_mut().enumerate() {
            let (document, save) = memory.prepare(change).await?;
            documents.push(document);
            if let Some(save) = save {
                changed.push(index);
                saves.push(save);
            }
        }
        if saves.is_empty() {
            return Ok(documents);
        }
        for (index, saved) in changed.into_iter().zip(state.save_all(saves).await?) {
            let (Some((memory, change)), Some(document)) = (changes.get_mut(index), documents.get_mut(index))
            else {
                continue;
            };
            if saved {
                memory.tell(document);
            } else {
                *document = memory.change(change).await?;
            }
        }
        Ok(documents)
    }

    /// The document after a change, and what has to be saved if that changed it.
    async fn prepare<F>(&self, change: &mut F) -> Result<(Document, Option<Save>)>
    where
        F: FnMut(&mut Document) -> Result<()> + Send,
    {
        let was = self.state.load(&self.instance).await?;
        let before = was.as_ref().map(Document::parse).transpose()?;
        let mut document = before.clone().map_or_else(Document::new, Ok)?;
        change(&mut document)?;
        if before.as_ref() == Some(&document) {
            return Ok((document, None));
        }
        let json = serde_json::to_value(&document)
            .map_err(|e| Error::new(Kind::Io, "the state of this instance cannot be written").because(e))?;
        Ok((document, Some(Save { instance: self.instance.clone(), was, document: json })))
    }

    /// The latest event time that was committed.
    pub async fn latest_event_time(&self) -> Result<Option<Timestamp>> {
        self.state.latest_event_time(&self.instance).await
    }
}

#[async_trait]
impl Keep for Memory {
    async fn read(&self, auth: &str) -> Result<Option<Kept>> {
        Ok(Memory::read(self).await?.auths.remove(auth))
    }

    async fn replace(&self, auth: &str, was: Option<&Kept>, kept: &Kept) -> Result<bool> {
        let mut replaced = false;
        self.change(|document| {
            replaced = document.auths.get(auth) == was;
            if replaced {
                document.auths.insert(auth.to_owned(), kept.clone());
            }
            Ok(())
        })
        .await?;
        Ok(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_be_gone_is_heard_until_it_is_removed() {
        let saved = |key: &str| Map::from_iter([("key".to_owned(), json!(key))]);
        let mut gone = ResourceState { saved: saved("first"), ..ResourceState::default() };
        let before = |gone: &ResourceState| {
            let state = ResourceState { gone: Some(Box::new(gone.clone())), ..ResourceState::default() };
            let mut document = Document::new().expect("a key");
            document.resources.insert("hook".to_owned(), state);
            document.names_before()
        };
        assert_eq!(before(&gone), Some(json!({"hook": {"key": "first"}})));
        gone.pending = Some(Pending { operation: Operation::Update, done: 1, since_seconds: 0 });
        assert_eq!(before(&gone), Some(json!({"hook": {"key": "first"}})));
        gone.pending = Some(Pending { operation: Operation::Delete, done: 0, since_seconds: 0 });
        assert_eq!(before(&gone), None);
    }
}
