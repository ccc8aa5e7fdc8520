//! `forebay captures`: values that a vendor sent in a request of its own (a handshake), and when they are let in.
//!
//! It needs only the data folder and the instance's id, and works while `run` runs. A value may be a secret: it is
//! printed by `show` alone, on standard output, and never logged.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::dead_letters::{StoreFlags, instance};
use super::print::taken;
use super::runtime;
use crate::connector::clock::{Clock, SystemClock};
use crate::connector::units::duration;
use crate::error::{Error, Kind, Result};
use crate::provision::captures::Captures;
use crate::provision::state::{Memory, Window};
use crate::queue::local::Beside;

/// How long a window may be at most: one that is forgotten lets anybody in.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Its flags.
#[derive(Debug, Args)]
#[command(after_help = "Example: a subscription whose key the vendor posts when you create it by hand:\n  \
    forebay captures open --id acme --for 10m    # then create it at the vendor\n  \
    forebay captures show subscription.token --id acme")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List captured values by name, without the values
    List,
    /// Print one captured value on standard output, once
    Show {
        /// Its name, as RESOURCE.NAME
        name: String,
        /// Print it although it was shown before
        #[arg(long)]
        again: bool,
    },
    /// Let unsigned handshakes in for a while, one value for each name
    Open {
        /// For how long, at most 24h
        #[arg(long = "for", value_name = "DURATION", default_value = "10m")]
        length: String,
    },
    /// Close the window that `open` opened
    Close,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let store = Arc::new(Beside::open(&arguments.store.data_dir)?);
    let id = instance(&store, &arguments.store)?;
    let memory = Memory::new(id.clone(), store);
    let (runtime, now) = (runtime()?, SystemClock.now());
    let text = match arguments.verb {
        Verb::List => listed(&runtime.block_on(memory.captures())?, now),
        Verb::Show { name, again } => {
            let (all, _) = runtime.block_on(memory.captures())?;
            let (key, capture) =
                all.iter().find(|((resource, known), _)| format!("{resource}.{known}") == name).ok_or_else(
                    || unknown(&name, &all.keys().map(|(r, n)| format!("{r}.{n}")).collect::<Vec<_>>()),
                )?;
            if let Some(shown) = capture.shown_seconds.filter(|_| !again) {
                let text = format!("`{name}` was shown at {}", at(shown));
                return Err(Error::new(Kind::Configuration, text).help("show it once more with --again"));
            }
            runtime.block_on(memory.note_shown(&key.0, &key.1, now.as_second()))?;
            match &capture.value {
                Json::String(text) => format!("{text}\n"),
                other => format!("{other}\n"),
            }
        }
        Verb::Open { length } => {
            let length = duration(&length)
                .filter(|length| !length.is_zero() && *length <= LONGEST)
                .ok_or_else(|| {
                    Error::new(
                        Kind::Configuration,
                        format!("--for: expected a duration of at most 24h, got `{length}`"),
                    )
                    .help("write it like 10m")
                })?;
            let from_seconds = now.as_second();
            let until_seconds =
                from_seconds.saturating_add(i64::try_from(length.as_secs().max(1)).unwrap_or(i64::MAX));
            runtime.block_on(memory.open_captures(Some(Window { from_seconds, until_seconds })))?;
            format!(
                "{id}: unsigned handshakes are let in until {}, one value for each name\n",
                at(until_seconds)
            )
        }
        Verb::Close => {
            runtime.block_on(memory.open_captures(None))?;
            format!("{id}: unsigned handshakes are let in only while an operation is open\n")
        }
    };
    let mut out = io::stdout().lock();
    taken(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

fn listed((all, window): &Captures, now: Timestamp) -> String {
    let mut text = String::new();
    for ((resource, name), capture) in all {
        text.push_str(&format!("{resource}.{name}  captured {}", at(capture.at_seconds)));
        if let Some(shown) = capture.shown_seconds {
            text.push_str(&format!("  shown {}", at(shown)));
        }
        text.push('\n');
    }
    if all.is_empty() {
        text.push_str("nothing is captured\n");
    }
    if let Some(window) = window.filter(|window| now.as_second() < window.until_seconds) {
        text.push_str(&format!("unsigned handshakes are let in until {}\n", at(window.until_seconds)));
    }
    text
}

fn unknown(name: &str, known: &[String]) -> Error {
    let text = format!("no value is captured as `{}`", crate::error::escaped(name, 100));
    let help = match known {
        [] => "nothing is captured yet: let the vendor's request in with `forebay captures open`".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    Error::new(Kind::Configuration, text).help(help)
}

fn at(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
