//! A connector with its settings, its secrets and an id.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value as Json, json};

use url::Url;

use super::model::Connector;
use super::secret::{LiveSecret, Secret};
use super::template::Scope;
use crate::error::{Error, Kind, Result};

/// Scopes that one verification tries at most: each is rendered for each request whose keys name the request.
const MAX_SCOPES: usize = 64;

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
    /// Returns the instance as it is now, for work that outlives the request that asked for it.
    pub fn snapshot(&self) -> Self {
        Self {
            id: self.id.clone(),
            connector: self.connector.clone(),
            settings: self.settings.clone(),
            secrets: RwLock::new(self.live()),
            receiver_url: self.receiver_url.clone(),
        }
    }

    /// The names that exist everywhere: settings, secrets (the newest values), vars, instance, receiver.
    pub fn scope(&self) -> Scope {
        let live = self.live();
        self.scope_of(live.iter().map(|(name, secret)| (name, secret.current.expose())))
    }

    /// The same with every secret's value replaced by `****`: for plans and messages.
    pub fn masked_scope(&self) -> Scope {
        self.scope_of(self.live().keys().map(|name| (name, "****")))
    }

    /// The scopes by which the receiver's `verify` accepts: that of the newest values first, then those in which
    /// secrets have another value that is accepted. Each may have changed at another time, so that every
    /// combination counts; where there are more than [`MAX_SCOPES`], each secret counts alone.
    pub fn verify_scopes(&self) -> Vec<Scope> {
        self.scopes_accepting(|_, secret| secret.accepted().collect())
    }

    /// The same where former values of a secret do not count.
    pub fn verify_scopes_without(&self, former: &str) -> Vec<Scope> {
        self.scopes_accepting(|name, secret| match name == former {
            true => secret.values().collect(),
            false => secret.accepted().collect(),
        })
    }

    fn scopes_accepting(
        &self,
        accepted: impl for<'a> Fn(&str, &'a LiveSecret) -> Vec<&'a Secret>,
    ) -> Vec<Scope> {
        let live = self.live();
        let several: Vec<(&String, Vec<&Secret>)> = live
            .iter()
            .map(|(name, secret)| (name, accepted(name, secret)))
            .filter(|(_, values)| values.len() > 1)
            .collect();
        let product = several.iter().fold(1_usize, |all, (_, values)| all.saturating_mul(values.len()));
        let mut choices: Vec<BTreeMap<&String, &Secret>> = vec![BTreeMap::new()];
        if product <= MAX_SCOPES {
            for (name, values) in &several {
                let more = |chosen: &BTreeMap<_, _>| {
                    let chosen = chosen.clone();
                    values.iter().map(move |value| {
                        let mut one = chosen.clone();
                        one.insert(*name, *value);
                        one
                    })
                };
                choices = choices.iter().flat_map(more).collect();
            }
        } else {
            for (name, values) in &several {
                choices.extend(values.iter().skip(1).map(|value| BTreeMap::from([(*name, *value)])));
            }
        }
        let scope =
            |chosen: BTreeMap<&String, &Secret>| {
                self.scope_of(live.iter().map(|(name, secret)| {
                    (name, chosen.get(name).copied().unwrap_or(&secret.current).expose())
                }))
            };
        choices.into_iter().map(scope).collect()
    }

    /// Gives a secret its value, at once and alone: what was generated, or kept in the state.
    pub fn set_secret(&self, name: &str, value: Secret) {
        self.set_secrets([(name.to_owned(), LiveSecret::new(value))]);
    }

    /// Gives secrets their values, all at once.
    pub fn set_secrets(&self, secrets: impl IntoIterator<Item = (String, LiveSecret)>) {
        self.change(|live| live.extend(secrets));
    }

    /// Returns the secrets as they are now.
    pub fn live(&self) -> Arc<BTreeMap<String, LiveSecret>> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
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
