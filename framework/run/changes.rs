//! What changed in the configuration file since the process read it. None of that is loaded while it runs: it is logged
//! at SIGHUP and is the condition `restart_needed` as long as it holds.
//!
//! `host` starts [`watch`] if there is a file; [`Written`] holds what was read at the start. Values are never shown: only
//! the keys that differ. Secrets are not part of the file, and those that it names are read again by `rotation`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::watch;

use crate::condition::{Code, Conditions, Subject};
use crate::error::Result;
use crate::spec::load;

/// How often the file is compared without a signal.
const EVERY: Duration = Duration::from_secs(60);
/// Keys that are named in one message.
const NAMED: usize = 10;

/// The configuration file as it was at the start.
#[derive(Debug, Clone)]
pub struct Written {
    path: PathBuf,
    document: Json,
}

impl Written {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), document: document(path)? })
    }

    /// Returns the keys that differ now, in the order of the file.
    fn changes(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        compare("", &self.document, &document(&self.path)?, &mut found);
        Ok(found)
    }
}

fn document(path: &Path) -> Result<Json> {
    let place = path.display().to_string();
    let unread = |error: std::io::Error| {
        crate::error::Error::new(crate::error::Kind::Configuration, "the configuration cannot be read")
            .at(&place)
            .because(error)
    };
    let text = std::fs::read_to_string(path).map_err(unread)?;
    load::from_yaml(&text, &place)
}

/// Collects the paths of what differs. Items of a list are known by their `id` or `name`.
fn compare(at: &str, old: &Json, new: &Json, found: &mut Vec<String>) {
    match (old, new) {
        (Json::Object(old), Json::Object(new)) => {
            let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                let inner = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let (old, new) = (old.get(key).unwrap_or(&Json::Null), new.get(key).unwrap_or(&Json::Null));
                compare(&inner, old, new, found);
            }
        }
        (Json::Array(old), Json::Array(new)) if is_named(old) && is_named(new) => {
            for item in old {
                let inner = format!("{at}[{}]", name(item).unwrap_or_default());
                match new.iter().find(|one| name(one) == name(item)) {
                    Some(one) => compare(&inner, item, one, found),
                    None => found.push(format!("{inner} (removed)")),
                }
            }
            let added = new.iter().filter(|one| old.iter().all(|item| name(item) != name(one)));
            found.extend(added.map(|one| format!("{at}[{}] (added)", name(one).unwrap_or_default())));
        }
        (old, new) if old != new => found.push(at.to_owned()),
        _ => {}
    }
}

fn name(item: &Json) -> Option<&str> {
    ["id", "name", "connector"].iter().find_map(|key| item.get(key)).and_then(Json::as_str)
}

fn is_named(items: &[Json]) -> bool {
    items.iter().all(|item| name(item).is_some())
}

/// Compares at every signal and now and then, until the process stops.
pub(super) async fn watch(
    written: Written,
    conditions: Arc<Conditions>,
    mut signal: watch::Receiver<u64>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let asked = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            changed = signal.changed() => if changed.is_ok() { true } else { return },
            () = tokio::time::sleep(EVERY) => false,
        };
        let look = written.clone();
        match tokio::task::spawn_blocking(move || look.changes()).await {
            Ok(Ok(changes)) => report(&written.path, &changes, &conditions, asked),
            Ok(Err(error)) if asked => {
                tracing::warn!(%error, "the configuration could not be read again; the running one stays");
            }
            // Somebody may be writing it.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

fn report(path: &Path, changes: &[String], conditions: &Conditions, asked: bool) {
    let file = path.display();
    if changes.is_empty() {
        conditions.clear(Code::RestartNeeded, &Subject::process());
        if asked {
            tracing::info!(%file, "configuration read: nothing changed since the start");
        }
        return;
    }
    let mut named = changes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if changes.len() > NAMED {
        named.push_str(&format!(" and {} more", changes.len() - NAMED));
    }
    if asked {
        tracing::info!(%file, changes = named, "configuration read: these changes need a restart");
    }
    conditions.raise(
        Code::RestartNeeded,
        Subject::process(),
        format!("{file} differs from the configuration that runs: {named}"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "queue: {max_bytes: 10GiB}\ninstances:\n  - id: acme\n    connector: a\n    sinks:\n      \
                        - {name: archive, file: {path: a.jsonl, rotate: {size: 1GiB}}}\n  - {id: other, connector: a}\n";

    fn changes(text: &str) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("forebay.yaml");
        std::fs::write(&path, FILE).unwrap();
        let written = Written::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        written.changes().unwrap()
    }

    #[test]
    fn changes_are_named_by_their_keys_and_never_by_their_values() {
        assert_eq!(changes(FILE), [""; 0]);
        assert_eq!(
            changes(&FILE.replace("10GiB", "5GiB").replace("size: 1GiB", "size: 2GiB")),
            ["queue.max_bytes", "instances[acme].sinks[archive].file.rotate.size"]
        );
        assert_eq!(
            changes(&FILE.replace("id: other", "id: third")),
            ["instances[other] (removed)", "instances[third] (added)"]
        );
        assert_eq!(changes(&format!("{FILE}admin: {{listen: \":9100\"}}\n")), ["admin"]);
    }

    #[test]
    fn changed_file_is_a_condition_until_it_is_as_before() {
        let conditions = Conditions::default();
        report(Path::new("f.yaml"), &["queue.max_bytes".to_owned()], &conditions, false);
        let listed = conditions.list();
        assert_eq!(listed[0].code, Code::RestartNeeded);
        assert_eq!(listed[0].message, "f.yaml differs from the configuration that runs: queue.max_bytes");
        report(Path::new("f.yaml"), &[], &conditions, true);
        assert_eq!(conditions.list(), []);
    }
}
