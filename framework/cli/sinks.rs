//! `forebay sinks`: where each sink stands, and dropping the cursors of sinks that were removed.
//!
//! It needs only the data folder, and works while `run` runs.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::dead_letters::{StoreFlags, instance};
use super::print::taken;
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result, escaped};
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
    /// Every sink with its position and how far it is behind
    List,
    /// Drop a removed sink's cursor and free the records that only it needs
    Drop {
        /// The sink's name
        name: String,
    },
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let store = Beside::open(&arguments.store.data_dir)?;
    let mut out = io::stdout().lock();
    let written = match arguments.verb {
        Verb::List => {
            let instances = match &arguments.store.id {
                Some(_) => vec![instance(&store, &arguments.store)?],
                None => store.instances()?,
            };
            list(&store, &instances, &mut out)?
        }
        Verb::Drop { name } => {
            let instance = instance(&store, &arguments.store)?;
            remove(&store, &instance, &name, &mut out)?
        }
    };
    taken(written.and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

fn list(store: &Beside, instances: &[InstanceId], out: &mut dyn Write) -> Result<io::Result<()>> {
    let mut lines = Vec::new();
    for instance in instances {
        for sink in store.sinks(instance)? {
            let (name, position) = (escaped(&sink.sink, 200), sink.cursor.position.0);
            let (behind, removed) = (sink.behind, if sink.registered { "" } else { "  (removed)" });
            lines.push(format!(
                "{:<20}  {name:<20}  {position:>12}  {behind:>12}{removed}",
                instance.as_str()
            ));
        }
    }
    if lines.is_empty() {
        return Ok(writeln!(out, "no sinks"));
    }
    let heading = format!("{:<20}  {:<20}  {:>12}  {:>12}", "instance", "sink", "position", "behind");
    Ok(writeln!(out, "{heading}").and_then(|()| lines.iter().try_for_each(|line| writeln!(out, "{line}"))))
}

fn remove(store: &Beside, instance: &InstanceId, name: &str, out: &mut dyn Write) -> Result<io::Result<()>> {
    let sinks = store.sinks(instance)?;
    let shown = escaped(name, 200);
    let Some(sink) = sinks.iter().find(|sink| sink.sink == name) else {
        return Err(Error::new(Kind::Configuration, format!("`{instance}` has no sink `{shown}`"))
            .help("`forebay sinks list` shows what there is"));
    };
    if let (true, Some(pid)) = (sink.registered, store.runner()) {
        return Err(Error::new(
            Kind::Configuration,
            format!("process {pid} delivers to the sink `{shown}` of `{instance}`"),
        )
        .help("take the sink out of that run's configuration first"));
    }
    store.drop_sink(instance, name)?;
    Ok(writeln!(out, "dropped the sink `{shown}` of {instance}; it was {} records behind", sink.behind))
}
