//! `forebay plan`: what provisioning would do and why, on stdout. It writes nothing anywhere.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value as Json;
use tracing::Level;

use super::instance::{Ask, Purpose, configure, environment};
use super::print::{line, print};
use super::process::{forbid_core_dumps, start_log};
use super::{InstanceFlags, LogFlags, outgoing, runtime};
use crate::connector::clock::SystemClock;
use crate::connector::instance::{Instance, InstanceId};
use crate::error::{Error, Kind, Result, escaped};
use crate::provision::Provisioner;
use crate::provision::drift::Difference;
use crate::provision::manual::{Keys, instructions};
use crate::provision::plan::{Plan, Planned};
use crate::queue::State;
use crate::queue::local::Beside;
use crate::run::startup_checks;

/// The longest value that a difference shows, in characters.
const SHOWN: usize = 200;

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

/// Runs it. Every instance is planned; the first one that could not be looked at is the error.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let log = &arguments.instance.log;
    start_log(log.log_format, log.filter(Level::WARN)?)?;
    forbid_core_dumps();
    let ask = Ask {
        flags: &arguments.instance,
        listen: None,
        admin_listen: None,
        to: &[],
        rotation_overlap: None,
        purpose: Purpose::Run,
    };
    let configuration = configure(&ask, &environment())?;
    let caller = outgoing::caller(&configuration.outgoing)?;
    let state = kept(&configuration.data_dir)?;
    let mut trouble = None;
    for (instance, age, window) in startup_checks::short_windows(&configuration) {
        line(format_args!(
            "{instance}: ids are forgotten after {}, and its sender repeats a request for up to {}: raise queue.dedupe.age",
            startup_checks::shown(age),
            startup_checks::shown(window)
        ))?;
    }
    for configured in &configuration.instances {
        let instance = configured.instance.clone();
        let provisioner =
            Provisioner::new(instance.clone(), caller.clone(), state.clone(), Arc::new(SystemClock));
        match runtime()?.block_on(provisioner.plan())? {
            Some(plan) => {
                print(text(&instance.id, &plan))?;
                trouble = trouble.or(plan.trouble);
            }
            None => print(manual(&instance)?)?,
        }
    }
    trouble.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// What the instances know: the store of the data folder, where there is one.
fn kept(folder: &Path) -> Result<Arc<dyn State>> {
    match Beside::open(folder) {
        Ok(store) => Ok(Arc::new(store)),
        // Nothing was ever kept there, and a plan does not begin it.
        Err(_) if !Beside::exists(folder) => Ok(Arc::new(Nothing)),
        Err(error) => Err(error),
    }
}

/// The state of instances that never ran.
struct Nothing;

#[async_trait]
impl State for Nothing {
    async fn load(&self, _: &InstanceId) -> Result<Option<Json>> {
        Ok(None)
    }
    async fn save(&self, _: &InstanceId, _: Option<&Json>, _: &Json) -> Result<bool> {
        let text = "a plan writes nothing here, and the token of this connector's auth has to be kept";
        Err(Error::new(Kind::Configuration, text)
            .help("start `forebay run` once: from then on a plan uses what is kept"))
    }
    async fn latest_event_time(&self, _: &InstanceId) -> Result<Option<Timestamp>> {
        Ok(None)
    }
}

fn manual(instance: &Instance) -> Result<String> {
    let text = instructions(instance, Keys::Masked)?;
    Ok(format!("{}: nothing would be provisioned: a person does it.\n\n{}\n", instance.id, lines(&text, "")))
}

/// The plan of one instance, for people.
fn text(id: &InstanceId, plan: &Plan) -> String {
    let mut out = format!("{id}\n");
    for planned in &plan.resources {
        resource(&mut out, planned);
    }
    scopes(&mut out, plan);
    out
}

fn resource(out: &mut String, planned: &Planned) {
    for (n, deed) in planned.deeds.iter().enumerate() {
        let _ = writeln!(out, "\n{}: {} ({})", escaped(&planned.title, 80), deed.what.intent(), deed.why);
        if n == 0 {
            for difference in &planned.differences {
                let _ = writeln!(out, "  {}", place(difference));
            }
        }
        for call in &deed.calls {
            let _ = write!(out, "\n{}", lines(call, "  "));
        }
    }
}

/// One place: how it is, and how it would be.
fn place(difference: &Difference) -> String {
    let shown = |value: &Option<Json>| match value {
        Some(value) => escaped(&value.to_string(), SHOWN),
        None => "nothing".to_owned(),
    };
    let note = difference.note.map_or_else(String::new, |note| format!(" ({note})"));
    let at = escaped(&difference.place.to_string(), SHOWN);
    format!("{at}: {} -> {}{note}", shown(&difference.current), shown(&difference.desired))
}

fn scopes(out: &mut String, plan: &Plan) {
    if plan.needed.is_empty() {
        return;
    }
    let missing = plan.missing();
    let _ = match (&plan.held, missing.is_empty()) {
        (None, _) => writeln!(
            out,
            "\nscopes: the calls need {}; what the token has cannot be told",
            plan.needed.join(" ")
        ),
        (Some(_), true) => {
            writeln!(out, "\nscopes: the token has what the calls need: {}", plan.needed.join(" "))
        }
        (Some(_), false) => writeln!(
            out,
            "\nscopes: the token lacks {}; the calls need {}: grant what is missing to the application",
            missing.join(" "),
            plan.needed.join(" ")
        ),
    };
}

/// Text of several lines, made safe for a terminal line by line.
fn lines(text: &str, indent: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{indent}{}", escaped(line, usize::MAX));
        out
    })
}
