//! What is printed for a person who looks after the vendor's side: at the start, and when a secret changed.
//!
//! `provisioning` calls [`Reader::explain`] for each instance in manual mode, `rotation` calls [`ask_to_change`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use super::world::Say;
use crate::connector::instance::{Instance, InstanceId};
use crate::provision::manual::{self, Keys};

/// Whether there is anything to say: without a call of the vendor's there is only where a key is made here.
fn has_instructions(instance: &Instance) -> bool {
    let made_here = instance.connector.secrets.iter().any(|secret| secret.generate.is_some());
    // A handshake that nobody signs has to be let in first.
    let mut rules = instance.connector.receiver.rules.iter();
    let captures = rules.any(|rule| !rule.verified && !rule.capture.is_empty());
    instance.connector.provision.is_some() || made_here || captures
}

/// Asks the person who looks after the vendor's side to give it a secret that changed. A key that was generated here is
/// in a file for them, unless a terminal showed it.
pub(super) fn ask_to_change(instance: &Instance, name: &str, overlap: Duration, keys: Option<&Path>) {
    let overlap_s = overlap.as_secs();
    info!(instance = %instance.id, secret = name, overlap_s, "give the vendor the new value: the former one is accepted for the overlap");
    if let Some(folder) = keys.filter(|_| has_instructions(instance))
        && let Err(error) = manual::instructions(instance, Keys::InFiles(folder))
    {
        warn!(instance = %instance.id, secret = name, %error, "the file of the key holds the former value");
    }
}

/// Where instructions go.
pub(super) struct Reader {
    /// Plain lines.
    pub say: Say,
    /// Whether texts of several lines may stand among them.
    pub plain: bool,
    /// Whether a person reads them at a terminal, and may see a key in clear.
    pub terminal: bool,
    /// Where keys are put otherwise.
    pub folder: PathBuf,
    /// Instances that have received something already, now or before a restart.
    pub received: BTreeSet<InstanceId>,
}

impl Reader {
    /// Says how a person creates the stream; of one that has received something, only which command says so.
    pub(super) fn explain(&self, instance: &Instance) {
        if !has_instructions(instance) {
            return;
        }
        let keys = if self.terminal { Keys::InClear } else { Keys::InFiles(&self.folder) };
        // Also if the text is not shown: the files of the keys hold the values of now.
        match manual::instructions(instance, keys) {
            Ok(_) if self.received.contains(&instance.id) => {
                info!(instance = %instance.id, "manual mode: `forebay instructions` prints how the stream is created");
            }
            Ok(text) if self.plain => (self.say)(&text),
            Ok(text) => {
                info!(instance = %instance.id, instructions = text, "create the stream at the vendor")
            }
            Err(error) => warn!(instance = %instance.id, %error, "cannot say how to create the stream"),
        }
    }

    /// Where keys are put for a person; nowhere where a terminal shows them.
    pub(super) fn keys(&self) -> Option<PathBuf> {
        (!self.terminal).then(|| self.folder.clone())
    }
}
