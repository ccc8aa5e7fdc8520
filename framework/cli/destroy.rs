//! `forebay destroy`: removes at the vendor what this instance created. It works beside a running `run`, which
//! notices it.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::instance::{Ask, Purpose, configure, environment};
use super::print::line;
use super::process::{forbid_core_dumps, start_log};
use super::{InstanceFlags, LogFlags, outgoing, runtime};
use crate::connector::clock::SystemClock;
use crate::error::Result;
use crate::provision::Provisioner;
use crate::queue::local::Beside;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Remove what this instance adopted too, though it did not make it
    #[arg(long)]
    adopted: bool,
}

impl Arguments {
    /// Returns the flags of the log.
    pub(super) fn log(&self) -> &LogFlags {
        &self.instance.log
    }
}

/// Runs it, for every instance that is configured. The first refusal ends it; what was removed is forgotten.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let log = &arguments.instance.log;
    start_log(log.log_format, log.filter(tracing::Level::WARN)?)?;
    forbid_core_dumps();
    let ask = Ask {
        flags: &arguments.instance,
        listen: None,
        admin_listen: None,
        to: &[],
        rotation_overlap: None,
        purpose: Purpose::Destroy,
    };
    let configuration = configure(&ask, &environment())?;
    let caller = outgoing::caller(&configuration.outgoing)?;
    let runtime = runtime()?;
    // Opened beside a `run`; where there is no store, no instance of it can have made anything.
    let store = Beside::exists(&configuration.data_dir).then(|| Beside::open(&configuration.data_dir));
    let store = store.transpose()?.map(Arc::new);
    for configured in &configuration.instances {
        let instance = configured.instance.clone();
        let id = instance.id.clone();
        let report = match &store {
            None => None,
            Some(store) => {
                let provisioner =
                    Provisioner::new(instance, caller.clone(), store.clone(), Arc::new(SystemClock));
                Some(runtime.block_on(provisioner.destroy(arguments.adopted))?)
            }
        };
        match report {
            Some(report) if !report.deeds.is_empty() => {
                for deed in &report.deeds {
                    line(format_args!("{id}: {deed}"))?;
                }
            }
            Some(_) | None => line(format_args!(
                "{id}: nothing to remove: {} knows of nothing at the vendor",
                configuration.data_dir.display()
            ))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
