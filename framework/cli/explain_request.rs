//! `forebay explain-request`: what becomes of one request, stage by stage, with the line of the spec that decided.
//!
//! The request goes through the very code of the receiver, over a store in a folder that is removed afterwards. Nothing is
//! sent unless `--online` is given, and nothing of a running instance is changed: of its store the state alone is read.

use std::io::Read;
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::instance::{Ask, Purpose, configure, environment};
use super::print::print;
use super::process::start_log;
use super::request_text::{self, Flags};
use super::{InstanceFlags, LogFlags, outgoing, runtime};
use crate::call::caller::Caller;
use crate::call::retry::Pace;
use crate::call::{Request, Response, Transport, TransportError};
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::error::{Error, Kind, Result};
use crate::provision::state::Saved;
use crate::provision::{Provisioner, secrets};
use crate::queue::State;
use crate::queue::limits::Limits;
use crate::queue::local::{Beside, Local};
use crate::receive::{self, Answered, Endpoint, Outcome, Reach, Router, Stage, Told, Witness};
use crate::run::config::Configuration;
use crate::run::ruling::Ruling;
use crate::simulate::folder::Scratch;
use crate::spec::document::Document;
use crate::spec::mistake::Place;
use crate::spec::path::Path as SpecPath;
use crate::spec::source::Source;

/// Bytes that a request may have.
const MOST: u64 = 64 << 20;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    instance: InstanceFlags,
    /// The request as text: request line, headers, a blank line, the body; or the body alone. `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The method, where the file does not say (default POST)
    #[arg(long)]
    method: Option<String>,
    /// One more header, repeatable
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// When it came, where that is not now: signatures grow old
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Fetch the keys that the vendor publishes, and make the calls that a rule makes
    #[arg(long)]
    online: bool,
    /// For people, or one JSON document
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
}

impl Arguments {
    /// Returns the flags of the log.
    pub(super) fn log(&self) -> &LogFlags {
        &self.instance.log
    }
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person at a terminal.
    Human,
    /// One JSON document.
    Json,
}

/// Tells what becomes of it; exit 1 if it is not accepted, or if all that it brings is dead letters.
pub fn run(mut arguments: Arguments) -> Result<ExitCode> {
    let log = &arguments.instance.log;
    start_log(log.log_format, log.filter(tracing::Level::ERROR)?)?;
    // Where a file names the instances PATH is left out, and the one word that is there is the request's.
    if arguments.instance.config.is_some() && arguments.file == FilePath::new("-") {
        let path = arguments.instance.path.take_if(|path| !is_connector(path));
        arguments.file = path.unwrap_or(arguments.file);
    }
    let ask = Ask {
        flags: &arguments.instance,
        listen: None,
        admin_listen: None,
        to: &[],
        rotation_overlap: None,
        purpose: Purpose::Explain,
    };
    let mut configuration = configure(&ask, &environment())?;
    let instance = only(&mut configuration)?;
    let flags = Flags { method: arguments.method.as_deref(), headers: &arguments.headers };
    let request = request_text::parse(&read(&arguments.file)?, &flags, &instance.receiver_path()?)?;
    let at = arguments.at.unwrap_or_else(Timestamp::now);
    let look = Look { configuration: &configuration, instance: &instance, at, online: arguments.online };
    let runtime = runtime()?;
    let seen = runtime.block_on(look.at(request.clone()))?;
    let hint = match seen.without_line_break(&request) {
        Some(shorter) => runtime.block_on(look.at(shorter))?.accepted.then_some(LINE_BREAK),
        None => None,
    };
    let source = Source::read(&instance.connector.file)
        .map_err(|why| Error::new(Kind::Configuration, "the spec cannot be read").because(why))?;
    let (document, _) = Document::parse(source);
    match arguments.format {
        Format::Human => print(seen.human(&document, &request, at, hint))?,
        Format::Json => print(format_args!("{:#}\n", seen.json(&document, at, hint)))?,
    }
    Ok(if seen.accepted && !seen.delivers_nothing() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn is_connector(path: &FilePath) -> bool {
    path.is_dir() || path.file_name().is_some_and(|name| name == "connector.yaml")
}

/// What an editor adds to a body, and a signature does not cover.
const LINE_BREAK: &str = "without the line break at the end of the file it is accepted: editors add one, and the signature does not cover it";

fn read(file: &FilePath) -> Result<Vec<u8>> {
    let place = file.display().to_string();
    let trouble = |e: std::io::Error| {
        Error::new(Kind::Configuration, "the request cannot be read").at(&place).because(e)
    };
    let mut bytes = Vec::new();
    if file == FilePath::new("-") {
        std::io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes).map_err(trouble)?;
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
            .map_err(trouble)?;
    }
    if bytes.len() as u64 > MOST {
        return Err(Error::new(Kind::Configuration, "a request has 64 MiB at most").at(place));
    }
    Ok(bytes)
}

fn only(configuration: &mut Configuration) -> Result<Arc<Instance>> {
    let mut instances = std::mem::take(&mut configuration.instances);
    let one = instances.pop().filter(|_| instances.is_empty());
    one.map(|one| one.instance).ok_or_else(|| {
        Error::new(Kind::Configuration, "a request comes to one instance").help("pick one by --id ID")
    })
}

/// A time that stands.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A way out that leads nowhere.
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let host = request.url.host_str().unwrap_or_default();
        let sentence = format!("{} to {host} is not sent: --online sends it", request.method);
        Err(TransportError { sent: false, passing: false, sentence })
    }
}

/// Hears of every stage.
#[derive(Default)]
struct Heard(Mutex<Vec<Told>>);

impl Witness for Heard {
    fn wants_stages(&self) -> bool {
        true
    }

    fn told(&self, told: Told) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    fn answered(&self, _: &Answered<'_>) {}
}

/// One look at a request.
struct Look<'a> {
    configuration: &'a Configuration,
    instance: &'a Arc<Instance>,
    at: Timestamp,
    online: bool,
}

/// What was seen.
struct Seen {
    told: Vec<Told>,
    answer: http::Response<Bytes>,
    accepted: bool,
}

impl Look<'_> {
    async fn at(&self, request: http::Request<Bytes>) -> Result<Seen> {
        let scratch = Scratch::new(&std::env::temp_dir())?;
        let clock: Arc<dyn Clock> = Arc::new(At(self.at));
        let store = Local::open(
            scratch.path(),
            Limits { min_free: 0, ..self.configuration.queue.clone() },
            clock.clone(),
        )?;
        store.register_sinks(&self.instance.id, &["explained".to_owned()]).await?;
        let state: Arc<dyn State> = store.clone();
        self.copy_state(&state).await?;
        secrets::ensure(self.instance, state.clone()).await?;
        let caller = match self.online {
            true => outgoing::caller(&self.configuration.outgoing)?,
            false => Arc::new(Caller::new(Arc::new(Nowhere), clock.clone(), Pace::default())),
        };
        let provisioner = Provisioner::new(self.instance.clone(), caller.clone(), state, clock.clone());
        let memory = provisioner.memory();
        memory.read().await?;
        let mut saved = memory.saved();
        let ruling = Ruling::new(self.instance.clone(), memory, clock.clone()).await?;
        let reach = Reach { caller, deeds: Some(ruling) };
        let limits = self.configuration.receive.clone();
        let endpoint = Endpoint::new(self.instance.clone(), store.clone(), clock, reach, &limits)?;
        let heard = Arc::new(Heard::default());
        endpoint.watched_by(heard.clone());
        let Saved { now, before } = saved.borrow_and_update().clone();
        endpoint.learn_both(now, before);
        let learner = endpoint.clone();
        let learning = tokio::spawn(async move {
            while saved.changed().await.is_ok() {
                let Saved { now, before } = saved.borrow_and_update().clone();
                learner.learn_both(now, before);
            }
        });
        let router = Arc::new(Router::new([endpoint.clone()])?);
        let paths = router.paths();
        let answer = receive::explain(router, limits, request).await;
        learning.abort();
        store.close().await?;
        let mut told = std::mem::take(&mut *heard.0.lock().unwrap_or_else(PoisonError::into_inner));
        if told.is_empty() {
            told = nobody(&paths, &answer);
        }
        let accepted = told.iter().any(|told| told.stage == Stage::Reply && told.outcome == Outcome::Passed);
        Ok(Seen { told, answer, accepted })
    }

    /// What the instance learned where it runs: a key may be among it.
    async fn copy_state(&self, state: &Arc<dyn State>) -> Result<()> {
        let folder = &self.configuration.data_dir;
        if Beside::exists(folder)
            && let Some(document) = Beside::open(folder)?.load(&self.instance.id).await?
        {
            state.save(&self.instance.id, None, &document).await?;
        }
        Ok(())
    }
}

/// What is told of a request that reaches no instance, so that nobody hears of it.
fn nobody(paths: &[String], answer: &http::Response<Bytes>) -> Vec<Told> {
    let place = SpecPath(vec!["receiver".to_owned(), "path".to_owned()]);
    let refused =
        |stage, sentence, place| Told { stage, outcome: Outcome::Refused, sentence, place, data: Json::Null };
    let reply = format!("{} {}", answer.status().as_u16(), String::from_utf8_lossy(answer.body()));
    vec![
        refused(Stage::Route, format!("nothing is received there, but at {}", paths.join(", ")), place),
        refused(Stage::Reply, reply, SpecPath::default()),
    ]
}

impl Seen {
    /// Returns a count of the receipt: `stored`, `duplicates` or `dead`.
    fn count(&self, of: &str) -> u64 {
        let receipt = self.told.iter().rev().find(|told| told.stage == Stage::Store);
        receipt.and_then(|told| told.data.get(of)).and_then(Json::as_u64).unwrap_or(0)
    }

    /// Whether it is accepted and everything that it brought is a dead letter.
    fn delivers_nothing(&self) -> bool {
        self.accepted && self.count("stored") == 0 && self.count("duplicates") == 0 && self.count("dead") > 0
    }

    /// Returns the last line for people.
    fn verdict(&self) -> String {
        let (stored, dead) = (self.count("stored"), self.count("dead"));
        let letters = format!("{dead} dead letter{}", if dead == 1 { "" } else { "s" });
        let records = format!("{stored} record{}", if stored == 1 { " is" } else { "s are" });
        match self.accepted {
            false => "not accepted".to_owned(),
            true if self.delivers_nothing() => format!("accepted, and nothing of it is delivered: {letters}"),
            true if dead > 0 => format!("accepted: {records} delivered, and {letters}"),
            true => "accepted".to_owned(),
        }
    }

    /// The same request without the line break at its end, where that may be what is wrong.
    fn without_line_break(&self, request: &http::Request<Bytes>) -> Option<http::Request<Bytes>> {
        let unproven =
            self.told.iter().any(|told| told.stage == Stage::Verify && told.outcome == Outcome::Refused);
        let body = request.body().strip_suffix(b"\n").filter(|_| unproven && !self.accepted)?;
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        Some(request.clone().map(|whole| whole.slice_ref(body)))
    }

    fn human(
        &self,
        document: &Document,
        request: &http::Request<Bytes>,
        at: Timestamp,
        hint: Option<&str>,
    ) -> String {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers().len());
        let mut out =
            format!("{method} {uri}, {headers} headers, {} bytes of body, at {at}\n\n", request.body().len());
        for told in &self.told {
            let word = match told.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Refused => "FAIL",
                Outcome::Noted => "-   ",
            };
            let sentence = told.sentence.replace('\n', "\n              ");
            out.push_str(&format!("{word}  {:<7} {sentence}\n", told.stage.name()));
            if let Some((place, line)) = place_of(document, told) {
                out.push_str(&format!("              {place} | {line}\n"));
            }
        }
        out.push_str(&format!("\n{}\n", self.verdict()));
        if let Some(hint) = hint {
            out.push_str(&format!("  help: {hint}\n"));
        }
        out
    }

    fn json(&self, document: &Document, at: Timestamp, hint: Option<&str>) -> Json {
        let stage = |told: &Told| {
            let span = (!told.place.0.is_empty()).then(|| document.span(&Place::value(&told.place)));
            json!({
                "stage": told.stage.name(),
                "outcome": told.outcome.name(),
                "says": told.sentence,
                "key": span.as_ref().map(|_| told.place.to_string()),
                "file": span.as_ref().map(|_| document.source.name.clone()),
                "line": span.as_ref().map(|span| span.line),
                "column": span.as_ref().map(|span| span.column),
                "data": told.data,
            })
        };
        let headers: serde_json::Map<String, Json> = self
            .answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        json!({
            "accepted": self.accepted,
            "stored": self.count("stored"),
            "duplicates": self.count("duplicates"),
            "dead_letters": self.count("dead"),
            "at": at.to_string(),
            "stages": self.told.iter().map(stage).collect::<Vec<_>>(),
            "reply": {
                "status": self.answer.status().as_u16(),
                "headers": headers,
                "body": String::from_utf8_lossy(self.answer.body()),
            },
            "help": hint,
        })
    }
}

/// Where in the spec it was decided, and the line that stands there.
fn place_of(document: &Document, told: &Told) -> Option<(String, String)> {
    if told.place.0.is_empty() {
        return None;
    }
    let span = document.span(&Place::value(&told.place));
    let line = document.source.text.get(document.source.line_of(span.start))?.trim().to_owned();
    Some((format!("{}:{}:{}", document.source.name, span.line, span.column), line))
}
