//! `forebay secrets`: which former values of secrets are still accepted, and ending them at once.
//!
//! It needs only the data folder, and works while `run` runs, which notices within a second. It never shows a value.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::dead_letters::{StoreFlags, instance};
use super::print::{line, taken};
use super::runtime;
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result, escaped};
use crate::provision::state::Memory;
use crate::queue::local::Beside;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every secret that verifies requests, with the number of values that are accepted
    List,
    /// Stop accepting the former values of a secret at once: one has leaked
    End {
        /// The secret's name; `receiver.url` is the public URL
        name: String,
    },
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let store = Arc::new(Beside::open(&arguments.store.data_dir)?);
    match arguments.verb {
        Verb::List => {
            let instances = match &arguments.store.id {
                Some(_) => vec![instance(&store, &arguments.store)?],
                None => store.instances()?,
            };
            taken(list(&store, &instances)?)?;
        }
        Verb::End { name } => end(&store, &instance(&store, &arguments.store)?, &name)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(store: &Arc<Beside>, instances: &[InstanceId]) -> Result<io::Result<()>> {
    let runtime = runtime()?;
    let mut lines = Vec::new();
    for id in instances {
        let document = runtime.block_on(Memory::new(id.clone(), store.clone()).read())?;
        for (name, overlap) in document.rotations.overlaps() {
            let until = match (overlap.former, overlap.unconfirmed, overlap.until_seconds) {
                (0, ..) => String::new(),
                (_, true, _) => "until the vendor has confirmed the new value".to_owned(),
                (_, false, until) => until
                    .and_then(|at| Timestamp::from_second(at).ok())
                    .map_or_else(String::new, |at| format!("until {at}")),
            };
            let name = escaped(&name, 80);
            let (id, given, former) = (id.as_str(), overlap.given, overlap.former);
            lines.push(format!("{id:<20}  {name:<20}  {given:>5}  {former:>6}  {until}"));
        }
    }
    let mut out = io::stdout().lock();
    if lines.is_empty() {
        return Ok(writeln!(out, "no secrets that verify requests"));
    }
    let heading = format!("{:<20}  {:<20}  {:>5}  {:>6}  accepted", "instance", "secret", "given", "former");
    Ok(writeln!(out, "{heading}")
        .and_then(|()| lines.iter().try_for_each(|line| writeln!(out, "{}", line.trim_end())))
        .and_then(|()| out.flush()))
}

fn end(store: &Arc<Beside>, id: &InstanceId, name: &str) -> Result<()> {
    let memory = Memory::new(id.clone(), store.clone());
    let shown = escaped(name, 80);
    let mut ended = None;
    runtime()?.block_on(memory.change(|document| {
        ended = document.rotations.end(name);
        Ok(())
    }))?;
    match ended {
        None => Err(Error::new(Kind::Configuration, format!("`{id}` keeps no values of a secret `{shown}`"))
            .help("`forebay secrets list` shows what there is")),
        Some(0) => line(format_args!("{id}: the secret `{shown}` has no former value that is accepted")),
        Some(count) => {
            let when = match store.runner() {
                Some(pid) => format!("; process {pid} stops accepting them within a second"),
                None => String::new(),
            };
            line(format_args!("{id}: ended {count} former value(s) of the secret `{shown}`{when}"))
        }
    }
}
