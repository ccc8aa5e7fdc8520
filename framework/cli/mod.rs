//! The command line: one file per command. The only floor that reads the environment, prints and exits.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::error::{Error, Kind};
use crate::run::log::Filter;

mod captures;
mod completions;
mod dead_letters;
mod destroy;
mod diff;
mod docs;
mod explain;
mod explain_request;
pub mod instance;
mod instances;
mod instructions;
mod junit;
mod man;
mod new;
mod outgoing;
mod plan;
mod print;
mod process;
mod recorded;
mod request_text;
mod run;
mod schema;
mod secrets;
mod simulated;
mod sinks;
mod test;
mod torture;
mod validate;

/// What vendors push, received and kept: one YAML file per vendor, one binary.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check connectors offline: no network, no environment, no secrets
    Validate(validate::Arguments),
    /// Say what a code of `validate` means, with a bad and a good example
    Explain(explain::Arguments),
    /// Play every case of a connector
    Test(test::Arguments),
    /// Tell what becomes of one request, stage by stage, and which line of the spec decides
    ExplainRequest(explain_request::Arguments),
    /// Write the page of every connector, or say which are stale
    Docs(docs::Arguments),
    /// Say what a change of connectors means for their instances
    Diff(diff::Arguments),
    /// Show what provisioning would do and why, and write nothing anywhere
    Plan(plan::Arguments),
    /// Provision, receive, check, store and deliver: the main job
    Run(run::Arguments),
    /// Kill, starve and damage a running connector under load, and account for every event
    Torture(torture::Arguments),
    /// Print how to create the stream by hand, for instances in manual mode
    Instructions(instructions::Arguments),
    /// Remove at the vendor what this instance created
    Destroy(destroy::Arguments),
    /// List, show, retry, export or drop what could not be accepted or delivered
    DeadLetters(dead_letters::Arguments),
    /// List or drop the cursors of sinks
    Sinks(sinks::Arguments),
    /// List the values of secrets that are still accepted, or end former ones at once
    Secrets(secrets::Arguments),
    /// List or show what vendors sent in handshakes, and let a handshake in
    Captures(captures::Arguments),
    /// List, drop or rename what instances have in the store
    Instances(instances::Arguments),
    /// Write a new connector, which validates and passes its case from the start
    New(Box<new::Arguments>),
    /// Print the JSON Schema of specs (from which editors complete and check), of cases, or of what is printed as JSON
    Schema(schema::Arguments),
    /// Print what a shell sources to complete commands and flags
    Completions(completions::Arguments),
    /// Print the manual, or write its pages into a folder
    Man(man::Arguments),
}

/// The flags that make an instance out of a connector.
#[derive(Debug, Clone, Args)]
pub struct InstanceFlags {
    /// The connector's folder or its connector.yaml (may be left out with --config)
    pub path: Option<PathBuf>,
    /// A configuration file with one or many instances
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A setting's value
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
    /// Where a secret's value stands; repeat it for further values that verify, or give a file of one a line
    #[arg(long = "secret", value_name = "NAME=env:VAR|file:PATH|lines:PATH")]
    pub secrets: Vec<String>,
    /// The instance's id (default: the connector's name)
    #[arg(long)]
    pub id: Option<String>,
    /// The base of the public URL that the vendor posts to; the receiver's path is appended
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Where the store is
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Allow calls to loopback addresses, and plain http to 127.0.0.0/8 and [::1]
    #[arg(long)]
    pub allow_loopback: bool,
    /// Send outgoing calls through this proxy (one with a password: FOREBAY_PROXY)
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Trust the certificates in this PEM file too
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The log.
    #[command(flatten)]
    pub log: LogFlags,
}

/// The flags of the log, which goes to standard error.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// How logs are written to stderr
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub log_format: LogFormat,
    /// What is logged: off, error, warn, info, debug, trace, and other levels for parts: `warn,receive=debug`
    /// (default FOREBAY_LOG, else info)
    #[arg(long, value_name = "LEVEL[,PART=LEVEL]")]
    pub log_level: Option<String>,
    /// Log more: -v is debug, -vv is trace
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "log_level")]
    pub verbose: u8,
}

impl LogFlags {
    /// Returns what is logged: by the flags, else by FOREBAY_LOG, else `otherwise`.
    fn filter(&self, otherwise: impl Into<Filter>) -> Result<Filter, Error> {
        let parse = |text: &str, from: &str| {
            text.parse().map_err(|sentence: String| {
                Error::new(Kind::Configuration, sentence)
                    .at(from)
                    .help("write a level, or PART=LEVEL: `info`, `warn,receive=debug`")
            })
        };
        match (self.verbose, &self.log_level, std::env::var("FOREBAY_LOG")) {
            (0, Some(text), _) => parse(text, "--log-level"),
            (0, None, Ok(text)) if !text.trim().is_empty() => parse(&text, "FOREBAY_LOG"),
            (0, None, _) => Ok(otherwise.into()),
            (1, ..) => Ok(tracing::Level::DEBUG.into()),
            (2.., ..) => Ok(tracing::Level::TRACE.into()),
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Parses the command line, runs the command, prints what went wrong, and gives the exit code:
/// 0 ok, 1 findings, 2 usage or configuration, 3 remote or I/O.
pub fn main() -> ExitCode {
    crate::points::arm();
    let cli = Cli::parse();
    let json = cli.command.logs_json();
    let outcome = match cli.command {
        Command::Validate(arguments) => validate::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::ExplainRequest(arguments) => explain_request::run(arguments),
        Command::Docs(arguments) => docs::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Plan(arguments) => plan::run(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Torture(arguments) => torture::run(arguments),
        Command::Instructions(arguments) => instructions::run(arguments),
        Command::Destroy(arguments) => destroy::run(arguments),
        Command::DeadLetters(arguments) => dead_letters::run(arguments),
        Command::Sinks(arguments) => sinks::run(arguments),
        Command::Secrets(arguments) => secrets::run(arguments),
        Command::Captures(arguments) => captures::run(arguments),
        Command::Instances(arguments) => instances::run(arguments),
        Command::New(arguments) => new::run(*arguments),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    };
    let code = match outcome {
        Ok(code) => code,
        Err(error) => {
            match json {
                true => process::tell(&error_json(&error)),
                false => process::tell(&format!("error: {error}")),
            }
            ExitCode::from(exit_code(&error))
        }
    };
    process::last_words();
    code
}

impl Command {
    /// Whether the log of this command is JSON: its last error is then, too.
    fn logs_json(&self) -> bool {
        let log = match self {
            Self::Run(arguments) => arguments.log(),
            Self::Plan(arguments) => arguments.log(),
            Self::Destroy(arguments) => arguments.log(),
            Self::ExplainRequest(arguments) => arguments.log(),
            Self::Instructions(arguments) => arguments.log(),
            _ => return false,
        };
        log.log_format == LogFormat::Json
    }
}

/// The error that ends a command, as a line of a JSON log.
fn error_json(error: &Error) -> String {
    let mut line = json!({
        "timestamp": format!("{:.6}", jiff::Timestamp::now()),
        "level": "ERROR",
        "message": error.sentence,
        "target": "forebay::cli",
    });
    let others = [
        ("place", error.place.clone()),
        ("error", error.source.as_ref().map(|source| source.to_string())),
        ("help", error.help.clone()),
    ];
    for (name, text) in others.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        line[name] = text.into();
    }
    line.to_string()
}

fn exit_code(error: &Error) -> u8 {
    match error.kind {
        Kind::Finding => 1,
        Kind::Configuration => 2,
        Kind::Refused | Kind::Passing | Kind::Io | Kind::Bound => 3,
    }
}

/// Threads that wait for files: with a hundred sinks, a thread each would cost more than waiting for one.
const BLOCKING: usize = 16;

/// A runtime for the commands that talk to the world.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .map_err(|e| Error::new(Kind::Io, "cannot start the runtime").because(e))
}
