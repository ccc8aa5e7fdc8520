//! `forebay instances`: what each instance has in the store; and freeing or renaming what a removed or renamed one left.
//!
//! It needs only the data folder, and works while `run` runs on it with other instances.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

use super::print::{line, taken};
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result, escaped};
use crate::queue::local::{Beside, Holding};

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Where the store is
    #[arg(long, value_name = "DIR", default_value = ".forebay", global = true)]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List every instance of the store and what it holds
    List {
        /// How it is printed
        #[arg(long, default_value = "human")]
        format: Format,
    },
    /// Remove everything that an instance has in the store
    ///
    /// Its records, cursors, dead letters, remembered ids, state and the files of its keys. Refused while the instance
    /// runs, and while it has records or dead letters that nobody got. Run `forebay destroy` first where Forebay created
    /// the stream at the vendor: what is known of it is removed too.
    ///
    /// Example: forebay instances drop acme --data-dir /var/lib/forebay
    #[command(verbatim_doc_comment)]
    Drop {
        /// The instance's id
        id: String,
        /// Drop records and dead letters that nobody got, too
        #[arg(long)]
        force: bool,
    },
    /// Give an instance another id
    ///
    /// Its records, cursors, dead letters, remembered ids, state and the files of its keys go with it: nothing is
    /// delivered again. Stop `run` first, rename, change the id in the configuration, and start again.
    ///
    /// Example: forebay instances rename acme acme-eu --data-dir /var/lib/forebay
    #[command(verbatim_doc_comment)]
    Rename {
        /// The id that it has
        old: String,
        /// The id that it gets
        new: String,
        /// Drop what the store holds under the new id
        #[arg(long)]
        force: bool,
    },
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A table.
    Human,
    /// One JSON document.
    Json,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let folder = &arguments.data_dir;
    let store = Beside::open(folder)?;
    match arguments.verb {
        Verb::List { format } => list(&store, format)?,
        Verb::Drop { id, force } => remove(&store, folder, &id, force)?,
        Verb::Rename { old, new, force } => rename(&store, folder, &old, &new, force)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(store: &Beside, format: Format) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    for holding in store.holdings()? {
        let bytes = store.bytes(&holding.instance)?;
        rows.push((holding, bytes));
    }
    let written = match format {
        Format::Json => {
            let instances: Vec<Json> = rows.iter().map(|(holding, bytes)| json_of(holding, *bytes)).collect();
            writeln!(out, "{:#}", json!({"instances": instances}))
        }
        Format::Human if rows.is_empty() => writeln!(out, "no instances"),
        Format::Human => writeln!(
            out,
            "{:<20}  {:>12}  {:>14}  {:>12}  {:<5}",
            "instance", "undelivered", "bytes", "dead letters", "state"
        )
        .and_then(|()| {
            rows.iter().try_for_each(|(holding, bytes)| {
                let state = if holding.state { "yes" } else { "no" };
                let removed = if holding.registered { "" } else { "  (removed)" };
                let (id, undelivered, letters) = (&holding.instance, holding.undelivered, holding.letters);
                writeln!(
                    out,
                    "{:<20}  {undelivered:>12}  {bytes:>14}  {letters:>12}  {state:<5}{removed}",
                    id.as_str()
                )
            })
        }),
    };
    taken(written.and_then(|()| out.flush()))
}

fn json_of(holding: &Holding, bytes: u64) -> Json {
    json!({
        "instance": holding.instance.as_str(),
        "undelivered": holding.undelivered,
        "bytes": bytes,
        "dead_letters": holding.letters,
        "state": holding.state,
        "removed": !holding.registered,
    })
}

fn remove(store: &Beside, folder: &Path, id: &str, force: bool) -> Result<()> {
    let holding = find(store, id)?;
    idle(store, &holding)?;
    if holding.is_missed() && !force {
        return Err(Error::new(
            Kind::Configuration,
            format!("`{}` has {}", holding.instance, missed(&holding)),
        )
        .help("start it again to deliver them, or drop them with --force"));
    }
    store.drop_instance(&holding.instance)?;
    for key in keys(folder, &holding.instance) {
        std::fs::remove_file(&key).map_err(|error| failed("the key cannot be removed", &key, error))?;
    }
    line(format_args!("dropped {}; it had {}", holding.instance, missed(&holding)))
}

fn rename(store: &Beside, folder: &Path, old: &str, new: &str, force: bool) -> Result<()> {
    let holding = find(store, old)?;
    let Some(to) = InstanceId::parse(new) else {
        return Err(Error::new(
            Kind::Configuration,
            format!("`{}` is no id of an instance", escaped(new, 80)),
        )
        .help("use lower-case letters, digits and `-`, 63 at most, and no `-` at the ends"));
    };
    if to == holding.instance {
        return Err(
            Error::new(Kind::Configuration, format!("`{to}` is its id already")).help("give another id")
        );
    }
    idle(store, &holding)?;
    if let Some(there) = store.holdings()?.into_iter().find(|there| there.instance == to) {
        idle(store, &there)?;
        let empty = !there.is_missed() && !there.state && !there.received;
        if !empty && !force {
            return Err(Error::new(Kind::Configuration, format!("the store has an instance `{to}` already"))
                .at(folder.display().to_string())
                .help(format!(
                    "it has {}, and its own ids and state: drop them with --force, or give another id",
                    missed(&there)
                )));
        }
        store.drop_instance(&to)?;
    }
    store.rename_instance(&holding.instance, &to)?;
    for key in keys(folder, &holding.instance) {
        let name = key.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix(holding.instance.as_str()).unwrap_or_default();
        let moved = folder.join(format!("{to}{rest}"));
        std::fs::rename(&key, &moved).map_err(|error| failed("the key cannot be renamed", &key, error))?;
    }
    line(format_args!("renamed {} to {to}; it has {}", holding.instance, missed(&holding)))
}

/// The instance that is meant.
fn find(store: &Beside, id: &str) -> Result<Holding> {
    let holdings = store.holdings()?;
    let names: Vec<&str> = holdings.iter().map(|holding| holding.instance.as_str()).collect();
    let help =
        if names.is_empty() { "it has none".to_owned() } else { format!("it has: {}", names.join(", ")) };
    holdings.iter().find(|holding| holding.instance.as_str() == id).cloned().ok_or_else(|| {
        Error::new(Kind::Configuration, format!("the store knows no instance `{}`", escaped(id, 80)))
            .help(help)
    })
}

/// Refuses where a process runs with the instance.
fn idle(store: &Beside, holding: &Holding) -> Result<()> {
    let (true, Some(pid)) = (holding.registered, store.runner()) else { return Ok(()) };
    let sentence = format!("process {pid} runs with the instance `{}`", holding.instance);
    Err(Error::new(Kind::Configuration, sentence).help("stop that process first"))
}

/// What nobody got.
fn missed(holding: &Holding) -> String {
    format!("{} undelivered records and {} dead letters", holding.undelivered, holding.letters)
}

/// The files in the data folder that hold keys of an instance for a person to copy: `ID-NAME.key`.
fn keys(folder: &Path, instance: &InstanceId) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let own = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let secret = name
            .and_then(|name| name.strip_prefix(instance.as_str()))
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(".key"));
        // Names of secrets have no `-`, which tells `a` and its `b_c` from `a-b` and its `c`.
        secret.is_some_and(|secret| !secret.is_empty() && !secret.contains('-'))
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(own).collect()
}

fn failed(sentence: &str, path: &Path, error: io::Error) -> Error {
    Error::new(Kind::Io, sentence).at(path.display().to_string()).because(error)
}
