//! `forebay instructions`: how to create the stream by hand, for instances in manual mode. On stdout; it changes nothing.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::instance::{Ask, Purpose, configure, environment};
use super::print::print;
use super::process::start_log;
use super::{InstanceFlags, LogFlags, runtime};
use crate::error::{Error, Kind, Result};
use crate::provision::manual::{Keys, instructions};
use crate::provision::secrets;
use crate::queue::local::Beside;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    instance: InstanceFlags,
}

impl Arguments {
    /// Returns the flags of the log.
    pub(super) fn log(&self) -> &LogFlags {
        &self.instance.log
    }
}

/// Prints them for every instance. Keys are printed at a terminal; otherwise they are put into files of the data folder,
/// mode 0600, whose paths are printed.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let log = &arguments.instance.log;
    start_log(log.log_format, log.filter(tracing::Level::WARN)?)?;
    let ask = Ask {
        flags: &arguments.instance,
        listen: None,
        admin_listen: None,
        to: &[],
        rotation_overlap: None,
        purpose: Purpose::Run,
    };
    let configuration = configure(&ask, &environment())?;
    let folder = &configuration.data_dir;
    for configured in &configuration.instances {
        let instance = &configured.instance;
        if let Some(url) = &instance.receiver_url {
            print(format_args!("{}: the vendor posts to {url}\n", instance.id))?;
        }
        if configured.automatic {
            print(format_args!("{}: automatic mode: Forebay creates the stream itself\n\n", instance.id))?;
            continue;
        }
        let made_here = instance.connector.secrets.iter().any(|secret| secret.generate.is_some());
        if made_here {
            if !Beside::exists(folder) {
                return Err(Error::new(Kind::Configuration, "the keys are not made yet")
                    .at(folder.display().to_string())
                    .help("start `forebay run` once with the same --data-dir: it makes and keeps them"));
            }
            runtime()?.block_on(secrets::ensure(instance, Arc::new(Beside::open(folder)?)))?;
        }
        let keys = match std::io::stdout().is_terminal() {
            true => Keys::InClear,
            false => Keys::InFiles(folder),
        };
        print(format_args!("{}\n\n", instructions(instance, keys)?))?;
    }
    Ok(ExitCode::SUCCESS)
}
