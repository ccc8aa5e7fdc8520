//! Manual mode: what a person has to do at the vendor, with the finished curl of the vendor's own create call.
//!
//! `run` prints it where `provision.when` does not hold. The key is in it only where a terminal is asked for
//! it; else it stands in a file that its owner alone can read, and the curl reads it from there.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::plan::with_placeholders;
use crate::call::curl::curl;
use crate::call::mask::MASK;
use crate::connector::instance::Instance;
use crate::connector::model::{Proof, Provision};
use crate::connector::pick::Pick;
use crate::connector::secret::{LiveSecret, Secret};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// Where a fetched token would stand.
const TOKEN: &str = "YOUR-TOKEN";

/// How a person learns the keys.
#[derive(Debug, Clone, Copy)]
pub enum Keys<'a> {
    /// They are printed: the reader sits at a terminal.
    InClear,
    /// They are masked: nobody asked for them.
    Masked,
    /// Those that were generated here are put into files of this folder, mode 0600, and the paths are printed. Those
    /// that somebody gave are not written: they are where they came from.
    InFiles(&'a Path),
}

/// What to do at the vendor, some lines of text. It is safe to print where the keys may be seen.
pub fn instructions(instance: &Instance, keys: Keys) -> Result<String> {
    let lacks = lacking(instance);
    let markers = Markers::of(instance);
    let scope = scope(instance, &markers)?;
    let connector = &instance.connector;
    let mut text =
        format!("{}: create the stream at {}, then it is received here.\n", instance.id, connector.vendor);
    let mut commands = String::new();
    match &connector.provision {
        Some(Provision { manual: Some(words), .. }) => {
            commands.push_str(&format!("\n{}\n", words.render(&scope)?))
        }
        Some(provision) => {
            let scope = scope.with("state", with_placeholders(json!({}), provision));
            for command in creates(instance, provision, &scope)? {
                commands.push_str(&format!("\n{command}\n"));
            }
        }
        None => {
            commands.push_str(&format!("\nendpoint: {}\n", receiver_url(instance)?));
            for marker in &markers.0 {
                commands.push_str(&format!("{}: {}\n", marker.name, marker.text));
            }
        }
    }
    let in_shell = connector.provision.is_some();
    let (commands, notes) = markers.resolve(commands, keys, instance, in_shell)?;
    text.push_str(&commands);
    for line in lacks.into_iter().chain(notes).chain(takes_key_in(instance)).chain(captured(instance)) {
        text.push_str(&format!("\nnote: {line}"));
    }
    if commands.contains(TOKEN) {
        text.push_str(&format!("\nnote: put a token of {} in the place of {TOKEN}", connector.vendor));
    }
    Ok(text)
}

fn creates(instance: &Instance, provision: &Provision, scope: &Scope) -> Result<Vec<String>> {
    let mut commands = Vec::new();
    for resource in &provision.resources {
        let desired = resource.desired.render(scope)?.unwrap_or_else(|| json!({}));
        let scope = scope.with("desired", desired).with("current", json!({}));
        for call in resource.create.iter().filter_map(|step| step.call.as_ref()) {
            commands.push(curl(&instance.connector, call, &scope, TOKEN)?);
        }
    }
    Ok(commands)
}

/// Where the key may come, if there are several places: a dashboard may offer another one than the API.
fn takes_key_in(instance: &Instance) -> Option<String> {
    let checks = instance.connector.receiver.verify.checks();
    let headers: Vec<String> = checks
        .iter()
        .filter_map(|check| match &check.proof {
            Proof::Token { place: Pick::Header(name), .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    (headers.len() > 1)
        .then(|| format!("the key is accepted in any of these headers: {}", headers.join(", ")))
}

/// What to do about a key that the vendor sends in an unsigned request of its own.
fn captured(instance: &Instance) -> Option<String> {
    let rules = &instance.connector.receiver.rules;
    let name = rules
        .iter()
        .filter(|rule| !rule.verified)
        .flat_map(|rule| &rule.capture)
        .map(|capture| format!("{}.{}", capture.resource, capture.name))
        .next()?;
    let id = &instance.id;
    Some(format!(
        "the vendor sends {name} in a request that nobody signs: let it in with `forebay captures open --id {id}` just \
         before you create the stream; `forebay captures show {name} --id {id}` prints it if the vendor asks for it"
    ))
}

/// What nobody gave, and what to do about it.
fn lacking(instance: &Instance) -> Vec<String> {
    let mut lacks = Vec::new();
    if !has_public_url(instance) {
        lacks.push(
            "no public https URL was given: put one in front of this receiver, and give it with --public-url"
                .to_owned(),
        );
    }
    for setting in &instance.connector.settings {
        if let Some(placeholder) = &setting.placeholder
            && !instance.settings.contains_key(&setting.name)
        {
            lacks.push(format!("{} was not given: put yours in the place of {placeholder}", setting.name));
        }
    }
    lacks
}

fn has_public_url(instance: &Instance) -> bool {
    instance.receiver_url.as_ref().is_some_and(|url| url.scheme() == "https")
}

fn receiver_url(instance: &Instance) -> Result<String> {
    match &instance.receiver_url {
        Some(url) if url.scheme() == "https" => Ok(url.to_string()),
        Some(_) | None => Ok(format!("https://YOUR-HOST{}", instance.receiver_path()?)),
    }
}

/// The names of the curl: placeholders stand where nothing was given, markers where a secret stands.
fn scope(instance: &Instance, markers: &Markers) -> Result<Scope> {
    let connector = &instance.connector;
    let mut settings = instance.settings.clone();
    for setting in &connector.settings {
        if let Some(placeholder) = &setting.placeholder
            && !settings.contains_key(&setting.name)
        {
            settings.insert(setting.name.clone(), json!(placeholder));
        }
    }
    let mut secrets = Map::new();
    for secret in &connector.secrets {
        if let Some(placeholder) = &secret.placeholder {
            secrets.insert(secret.name.clone(), json!(placeholder));
        }
    }
    secrets.extend(markers.0.iter().map(|marker| (marker.name.clone(), json!(marker.text))));
    let receiver = json!({"url": receiver_url(instance)?, "path": instance.receiver_path()?});
    Ok(instance
        .scope()
        .with("settings", Json::Object(settings))
        .with("secrets", Json::Object(secrets))
        .with("receiver", receiver))
}

/// Words that stand for the secrets until it is known how they are shown.
struct Markers(Vec<Marker>);

struct Marker {
    name: String,
    text: String,
    secret: Secret,
    /// Whether it was made here, so that nobody else has it.
    generated: bool,
}

impl Markers {
    fn of(instance: &Instance) -> Self {
        let secrets = instance.live();
        let marker = |(n, (name, secret)): (usize, (&String, &LiveSecret))| Marker {
            name: name.clone(),
            // Plain letters, so that no encoding of the call changes them.
            text: format!("forebaysecretnumber{n}x"),
            secret: secret.current.clone(),
            generated: secret.generated,
        };
        Self(secrets.iter().enumerate().map(marker).collect())
    }

    /// The text with every secret that is used in it shown, and what to say about that. `in_shell`: it stands in
    /// single quotes of a shell wherever a secret is.
    fn resolve(
        &self,
        mut text: String,
        keys: Keys,
        instance: &Instance,
        in_shell: bool,
    ) -> Result<(String, Vec<String>)> {
        let mut notes = Vec::new();
        for marker in self.0.iter().filter(|marker| text.contains(&marker.text)).collect::<Vec<_>>() {
            let shown = match keys {
                Keys::InClear if in_shell => marker.secret.expose().replace('\'', r"'\''"),
                Keys::InClear => marker.secret.expose().to_owned(),
                Keys::Masked => MASK.to_owned(),
                Keys::InFiles(folder) if !marker.generated => {
                    let placeholder = format!("YOUR-{}", marker.name.to_ascii_uppercase().replace('_', "-"));
                    remove(&key_file(folder, instance, &marker.name))?;
                    notes.push(format!(
                        "put the secret `{}`, which you gave this instance, in the place of {placeholder}",
                        marker.name
                    ));
                    placeholder
                }
                Keys::InFiles(folder) => {
                    let path = key_file(folder, instance, &marker.name);
                    write(&path, marker.secret.expose())?;
                    notes.push(format!("the key stands in {} (mode 0600)", path.display()));
                    if in_shell {
                        format!("'\"$(cat {})\"'", quoted(&path))
                    } else {
                        format!("what stands in {}", path.display())
                    }
                }
            };
            text = text.replace(&marker.text, &shown);
        }
        Ok((text, notes))
    }
}

/// The file of a key that was generated here.
fn key_file(folder: &Path, instance: &Instance, name: &str) -> PathBuf {
    folder.join(format!("{}-{name}.key", instance.id))
}

/// Removes the file of a key that somebody gave, which earlier versions wrote.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Io, "the file with a copy of the key cannot be removed")
                .at(path.display().to_string())
                .because(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// A file that its owner alone can read, new or anew.
fn write(path: &PathBuf, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |e: std::io::Error| {
        Error::new(Kind::Io, "the key cannot be written").at(path.display().to_string()).because(e)
    };
    // A file that is there may have any mode: it is replaced, not written into.
    let fresh = path.with_extension("key.new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}
