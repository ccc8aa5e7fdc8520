//! A connector with its settings, its secrets and an id.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use serde_json::{Map, Value as Json};

use super::model::Connector;
use super::secret::LiveSecret;
use super::template::Scope;

/// The id of an instance: `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// Takes a text that has the shape of an id; `None` when it has not.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().copied().is_some_and(letter) && bytes.last().copied().is_some_and(letter);
        let whole = bytes.len() <= 63 && bytes.iter().all(|b| letter(*b) || *b == b'-');
        (ends && whole).then(|| Self(text.into()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for InstanceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A connector with its settings, its secrets and an id.
#[derive(Debug)]
pub struct Instance {
    /// Who it is.
    pub id: InstanceId,
    /// What it runs.
    pub connector: Arc<Connector>,
    /// Checked, defaults filled in.
    pub settings: Map<String, Json>,
    /// Checked; what is generated is added once the state is known. They change at run time (rotation).
    pub secrets: RwLock<Arc<BTreeMap<String, LiveSecret>>>,
    /// The public URL of the receiver, path included; `None` where no public URL was given.
    pub receiver_url: Option<url::Url>,
}

impl Instance {
    /// The names that exist everywhere: settings, secrets (the newest values), vars, instance, receiver.
    pub fn scope(&self) -> Scope {
        todo!()
    }
    /// The same with every secret's value replaced by `****`: for plans and messages.
    pub fn masked_scope(&self) -> Scope {
        todo!()
    }
}
