//! Secrets that nobody gives: made once, kept in the store, and the same ever after.
//!
//! `run` calls [`ensure`] before the receiver starts, so that the receiver and the vendor get one key.

use std::sync::Arc;

use super::state::{Document, Memory};
use crate::connector::instance::Instance;
use crate::connector::model::Generate;
use crate::connector::secret::{LiveSecret, Secret};
use crate::connector::settings::generate;
use crate::error::Result;
use crate::queue::State;

/// Gives the instance every secret that its spec generates and nobody gave; makes and keeps those that are
/// new. Names of those made just now are returned.
pub async fn ensure(instance: &Instance, state: Arc<dyn State>) -> Result<Vec<String>> {
    let wanted = missing(instance);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let memory = Memory::new(instance.id.clone(), state);
    let mut made = Vec::new();
    let document = memory
        .change(|document| {
            made.clear();
            for (name, how) in &wanted {
                if !document.secrets.contains_key(name) {
                    document.secrets.insert(name.clone(), generate(*how)?.expose().to_owned());
                    made.push(name.clone());
                }
            }
            Ok(())
        })
        .await?;
    recall(instance, &document);
    Ok(made)
}

/// Gives the instance the generated secrets that are kept already; makes none.
pub(super) fn recall(instance: &Instance, document: &Document) {
    for (name, _) in missing(instance) {
        if let Some(secret) = document.secrets.get(&name).and_then(|text| Secret::new(text)) {
            instance.set_secrets([(name, LiveSecret { generated: true, ..LiveSecret::new(secret) })]);
        }
    }
}

/// The secrets that are to be generated, as nobody gave them.
pub(super) fn missing(instance: &Instance) -> Vec<(String, Generate)> {
    let secrets = instance.live();
    let specs = instance.connector.secrets.iter();
    specs
        .filter(|spec| !secrets.contains_key(&spec.name))
        .filter_map(|spec| Some((spec.name.clone(), spec.generate?)))
        .collect()
}
