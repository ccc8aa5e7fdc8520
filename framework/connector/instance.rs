//! A connector with its settings, its secrets and an id.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value as Json, json};

use url::Url;

use super::model::Connector;
use super::secret::{LiveSecret, Secret};
use super::template::Scope;
use crate::error::{Error, Kind, Result};

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
    pub receiver_url: Option<Url>,
}

impl Instance {
    /// The names that exist everywhere: settings, secrets (the newest values), vars, instance, receiver.
    pub fn scope(&self) -> Scope {
        let live = self.live();
        self.scope_of(live.iter().map(|(name, secret)| (name, secret.current.expose())))
    }

    /// The same with every secret's value replaced by `****`: for plans and messages.
    pub fn masked_scope(&self) -> Scope {
        self.scope_of(self.live().keys().map(|name| (name, "****")))
    }

    /// The scopes by which the receiver's `verify` accepts: that of the newest values, and while secrets are
    /// being changed those in which one of them, or all of them, still have the value before.
    pub fn verify_scopes(&self) -> Vec<Scope> {
        let live = self.live();
        let changing: Vec<&String> =
            live.iter().filter(|(_, secret)| secret.previous.is_some()).map(|(name, _)| name).collect();
        let mut scopes = vec![self.scope()];
        for name in &changing {
            scopes.push(self.scope_before(&live, &[name]));
        }
        if changing.len() > 1 {
            scopes.push(self.scope_before(&live, &changing));
        }
        scopes
    }

    /// The scope in which these secrets have the value before.
    fn scope_before(&self, live: &BTreeMap<String, LiveSecret>, names: &[&String]) -> Scope {
        self.scope_of(live.iter().map(|(name, secret)| {
            let before = secret.previous.as_ref().filter(|_| names.contains(&name));
            (name, before.unwrap_or(&secret.current).expose())
        }))
    }

    /// Gives a secret its value, at once and alone: what was generated, or kept in the state.
    pub fn set_secret(&self, name: &str, value: Secret) {
        self.change(|live| {
            live.insert(name.to_owned(), LiveSecret { current: value, previous: None });
        });
    }

    /// Gives a secret a new value while the one before stays good for the receiver, until
    /// [`retire`](Self::retire). Whether it is another value at all.
    pub fn rotate_secret(&self, name: &str, value: Secret) -> bool {
        let mut changed = false;
        self.change(|live| {
            let previous = live.get(name).map(|secret| secret.current.clone());
            changed = previous.as_ref().is_none_or(|old| !old.matches(value.expose().as_bytes()));
            if changed {
                live.insert(name.to_owned(), LiveSecret { current: value, previous });
            }
        });
        changed
    }

    /// Drops the value before: the vendor has the newest.
    pub fn retire(&self, name: &str) {
        self.change(|live| {
            if let Some(secret) = live.get_mut(name) {
                secret.previous = None;
            }
        });
    }

    /// The path that the vendor posts to, from the spec's `receiver.path`.
    pub fn receiver_path(&self) -> Result<String> {
        let scope = Scope::default()
            .with("settings", Json::Object(self.settings.clone()))
            .with("instance", json!({"id": self.id.as_str()}))
            .with_vars(&self.connector.vars);
        let path = self.connector.receiver.path.render(&scope)?;
        Ok(if path.starts_with('/') { path } else { format!("/{path}") })
    }

    /// The same instance with its receiver at another public base; the receiver's path is appended to it.
    pub fn at_base(&self, base: &Url) -> Result<Self> {
        let path = self.receiver_path()?;
        let url = format!("{}{path}", base.as_str().trim_end_matches('/'));
        let url = Url::parse(&url)
            .map_err(|e| Error::new(Kind::Configuration, format!("`{url}` is no URL")).because(e))?;
        Ok(Self {
            id: self.id.clone(),
            connector: self.connector.clone(),
            settings: self.settings.clone(),
            secrets: RwLock::new(self.live()),
            receiver_url: Some(url),
        })
    }

    fn live(&self) -> Arc<BTreeMap<String, LiveSecret>> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, with: impl FnOnce(&mut BTreeMap<String, LiveSecret>)) {
        let mut guard = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        with(Arc::make_mut(&mut guard));
    }

    fn scope_of<'a>(&self, secrets: impl Iterator<Item = (&'a String, &'a str)>) -> Scope {
        let secrets: Map<String, Json> =
            secrets.map(|(name, value)| (name.clone(), Json::from(value))).collect();
        let mut receiver = Map::new();
        if let Some(url) = &self.receiver_url {
            receiver.insert("url".to_owned(), Json::from(url.as_str()));
        }
        if let Ok(path) = self.receiver_path() {
            receiver.insert("path".to_owned(), Json::from(path));
        }
        Scope::default()
            .with("settings", Json::Object(self.settings.clone()))
            .with("secrets", Json::Object(secrets))
            .with("instance", json!({"id": self.id.as_str()}))
            .with("receiver", Json::Object(receiver))
            .with_vars(&self.connector.vars)
    }
}
