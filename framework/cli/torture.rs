//! `forebay torture`: nothing lost, nothing twice, shown on this machine and reproduced by its seed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Map;

use super::print::line;
use super::process::{bind, say, start_log, stops};
use super::{LogFormat, runtime};
use crate::call::transport::{HttpTransport, Options};
use crate::connector::clock::{Clock, SystemClock};
use crate::connector::load;
use crate::connector::model::Connector;
use crate::connector::settings::{self, Given};
use crate::error::{Error, Kind, Result, escaped};
use crate::simulate::folder::Folder;
use crate::torture::life::{self, Torture};
use crate::torture::schedule;

/// The folder of a torture, below the data folder.
const FOLDER: &str = "torture";
/// The longest torture that makes sense: the books have memory for so many events.
const MOST_MINUTES: f64 = 24.0 * 60.0;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The connector's folder or its connector.yaml
    path: PathBuf,
    /// How long the faults go on, in minutes; fractions too
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    minutes: f64,
    /// The same schedule of faults again
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A setting's value; what is not given is made up
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Where the folder `torture` is made anew
    #[arg(long, value_name = "DIR", default_value = ".forebay")]
    data_dir: PathBuf,
    /// One more file that records go to and that is accounted for, repeatable
    #[arg(long, value_name = "file:PATH")]
    to: Vec<String>,
    /// Faults to leave out, repeatable
    #[arg(long, value_name = "FAULT")]
    without: Vec<Fault>,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// kill -9
    Kill,
    /// SIGSTOP
    Stop,
    /// A sink that fails or is slow
    Sinks,
    /// A store without room
    Quota,
    /// Pushes that are duplicated, reordered, malformed, or of a stranger
    Pushes,
    /// Connections that break in the middle of a body
    Connections,
    /// Damaged files of the store
    Damage,
}

impl From<Fault> for schedule::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Kill => Self::Kill,
            Fault::Stop => Self::Stop,
            Fault::Sinks => Self::Sinks,
            Fault::Quota => Self::Quota,
            Fault::Pushes => Self::Pushes,
            Fault::Connections => Self::Connections,
            Fault::Damage => Self::Damage,
        }
    }
}

/// Runs it; exit 1 where something is lost or came again.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let usage = |sentence: String, help: &str| Error::new(Kind::Configuration, sentence).help(help);
    if !(arguments.minutes > 0.0 && arguments.minutes <= MOST_MINUTES) {
        let sentence = format!("--minutes is {}, which is no length of a torture", arguments.minutes);
        return Err(usage(sentence, "give minutes, or a part of one: 10, or 0.5"));
    }
    let mut files = Vec::new();
    for to in &arguments.to {
        let path = to.strip_prefix("file:").filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| {
            let sentence = format!("--to is `{}`, which cannot be accounted for", escaped(to, 120));
            usage(sentence, "write file:PATH; an HTTP sink that fails is there in any case")
        })?;
        files.push(
            std::path::absolute(path)
                .map_err(|e| Error::new(Kind::Io, "the place of --to is unknown").at(path).because(e))?,
        );
    }
    let connector = load::load(&arguments.path)?;
    let settings = given(&connector, &arguments.settings)?;
    let program = std::env::current_exe()
        .map_err(|e| Error::new(Kind::Io, "this program does not find itself").because(e))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let seed = arguments.seed.unwrap_or_else(|| clock.now().as_microsecond().unsigned_abs() % 1_000_000);
    start_log(LogFormat::Human, tracing::Level::WARN)?;
    runtime()?.block_on(async {
        let report = life::run(Torture {
            connector,
            settings,
            files,
            folder: Folder::open(&arguments.data_dir, FOLDER)?,
            lasts: Duration::from_secs_f64(arguments.minutes * 60.0),
            seed,
            without: arguments.without.iter().copied().map(schedule::Fault::from).collect(),
            program,
            listener: bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?,
            loopback: Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?),
            clock,
            say: say(),
            shutdown: stops(None)?,
        })
        .await?;
        line(&report)?;
        Ok(if report.findings().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

/// The settings that were given, as the connector understands them.
fn given(connector: &Connector, texts: &[String]) -> Result<Map<String, serde_json::Value>> {
    let mut given = Map::new();
    for text in texts {
        let wrong =
            |sentence: String| Error::new(Kind::Configuration, sentence).help("write --set NAME=VALUE");
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| wrong(format!("--set is `{}`, which has no `=`", escaped(text, 80))))?;
        let setting = connector
            .settings
            .iter()
            .find(|setting| setting.name == name)
            .ok_or_else(|| wrong(format!("the connector has no setting `{}`", escaped(name, 80))))?;
        let value = settings::value(setting, &Given::Text(value.to_owned()))
            .map_err(|fault| wrong(format!("the setting `{name}` {}", fault.sentence)))?;
        given.insert(name.to_owned(), value);
    }
    Ok(given)
}
