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
