//! `forebay test`: plays the cases of connectors and their simulated lives, and says of each whether it holds.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::junit::{self, Suite};
use super::print::line;
use super::validate::specs_of;
use super::{runtime, simulated};
use crate::call::Transport;
use crate::call::transport::{HttpTransport, Options};
use crate::connector::load::{load, spec_file};
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::simulate::cases::wanting::wanting;
use crate::simulate::cases::{self, Played, Updated};
use crate::simulate::folder::Scratch;
use crate::simulate::hurry::hurry;

/// What the life of a connector is called among its cases.
const LIFE: &str = "its whole life, simulated with faults";

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connector folders, their connector.yaml, folders of connectors, or single cases (default: connectors/)
    paths: Vec<PathBuf>,
    /// Only what has this text in the connector's name, the case's file or its title
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Rewrite what the cases expect to what happened, where they could be played; shows each change
    #[arg(long)]
    update: bool,
    /// Write the outcome as JUnit XML to this file too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The connector of cases that stand elsewhere than in its folder `cases`
    #[arg(long, value_name = "PATH", requires = "paths")]
    connector: Option<PathBuf>,
}

/// Plays the cases, and of a whole connector its simulated life; exit 1 where one does not hold, or a connector has
/// none at all.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let begun = Instant::now();
    let paths = if arguments.paths.is_empty() { every_connector()? } else { meant(&arguments)? };
    let plan = plan(&paths, &arguments)?;
    let all: usize = plan.iter().map(|one| one.files.len() + usize::from(one.lives)).sum();
    if let (0, Some(filter)) = (all, &arguments.filter) {
        return Err(Error::new(
            Kind::Configuration,
            format!("no case has `{filter}` in its connector's name, its file or its title"),
        )
        .help("leave --filter out to see what there is"));
    }
    let stage = Arc::new(Stage {
        scratch: Scratch::new(&std::env::temp_dir())?,
        loopback: Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?),
        bar: bar(all),
        update: arguments.update,
        turns: (Semaphore::new(CASES), Semaphore::new(LIVES)),
    });
    let runtime = runtime()?;
    let _within = runtime.enter();
    // Most of a life is waiting: all begin at once, and are told in order.
    let lives: Vec<_> = plan
        .iter()
        .map(|one| one.lives.then(|| tokio::spawn(stage.clone().life(one.spec.clone()))))
        .collect();
    let cases: Vec<Vec<_>> = plan.iter().map(|one| stage.cases(one)).collect();
    let (mut suites, mut bare) = (Vec::new(), false);
    for ((one, cases), life) in plan.iter().zip(cases).zip(lives) {
        stage.say(&one.connector.name)?;
        let mut suite = Suite { name: one.connector.name.clone(), cases: Vec::new() };
        for (case, file) in cases.into_iter().zip(&one.files) {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            suite.cases.push(stage.told(&runtime, case, format!("{}: {name}", one.connector.name))?);
        }
        if one.bare {
            bare = true;
            stage.say(&without_cases(one))?;
        }
        if let Some(life) = life {
            suite.cases.push(stage.told(&runtime, life, format!("{}: {LIFE}", one.connector.name))?);
        }
        suites.push(suite);
    }
    stage.bar.finish_and_clear();
    if let Some(file) = &arguments.junit {
        std::fs::write(file, junit::document(&suites)).map_err(|e| {
            Error::new(Kind::Io, "the JUnit file cannot be written").at(file.display().to_string()).because(e)
        })?;
    }
    let failed: Vec<&junit::Case> =
        suites.iter().flat_map(|suite| &suite.cases).filter(|case| !case.wrong.is_empty()).collect();
    let took = begun.elapsed().as_secs_f64();
    line(format_args!("{} of {all} hold ({took:.1} s)", all - failed.len()))?;
    for case in failed.iter().filter(|_| all > 20) {
        line(format_args!("  FAIL {}", case.file))?;
    }
    Ok(if failed.is_empty() && !bare { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What is played of one path.
struct Wanted {
    connector: Arc<Connector>,
    spec: PathBuf,
    files: Vec<PathBuf>,
    /// Whether its life is played too.
    lives: bool,
    /// Whether it is a whole connector without a single case.
    bare: bool,
}

fn plan(paths: &[PathBuf], arguments: &Arguments) -> Result<Vec<Wanted>> {
    let mut plan = Vec::new();
    for path in paths {
        let (spec, files, whole) = cases_of(path, arguments.connector.as_deref())?;
        let mut connector = load(&spec)?;
        hurry(&mut connector);
        let connector = Arc::new(connector);
        let bare = whole && files.is_empty();
        let Some(filter) = &arguments.filter else {
            plan.push(Wanted { connector, spec, files, lives: whole, bare });
            continue;
        };
        let has = |text: &str| text.to_lowercase().contains(&filter.to_lowercase());
        let named = has(&connector.name);
        let wanted = |file: &PathBuf| {
            named || has(&file.display().to_string()) || cases::title(file).is_some_and(|title| has(&title))
        };
        let files: Vec<PathBuf> = files.into_iter().filter(wanted).collect();
        let lives = whole && (named || has(LIFE));
        if lives || !files.is_empty() {
            plan.push(Wanted { connector, spec, files, lives, bare: bare && named });
        }
    }
    Ok(plan)
}

/// Cases that are played at once.
const CASES: usize = 8;
/// Lives that are lived at once.
const LIVES: usize = 8;

/// What it takes to play.
struct Stage {
    scratch: Scratch,
    loopback: Arc<dyn Transport>,
    bar: ProgressBar,
    update: bool,
    /// For cases, and for lives.
    turns: (Semaphore, Semaphore),
}

/// What is said of a case, and what a report holds of it.
type Outcome = (String, junit::Case);

impl Stage {
    /// A line, above the bar where there is one.
    fn say(&self, text: &str) -> Result<()> {
        self.bar.suspend(|| line(text.trim_end_matches('\n')))
    }

    /// Waits for a case or a life, which the bar names meanwhile, and says what came of it.
    fn told(
        &self,
        runtime: &Runtime,
        playing: JoinHandle<Result<Outcome>>,
        awaited: String,
    ) -> Result<junit::Case> {
        self.bar.set_message(awaited);
        let played = runtime.block_on(playing);
        let (said, case) =
            played.map_err(|e| Error::new(Kind::Io, "a case ended by a panic").because(e))??;
        self.say(&said)?;
        Ok(case)
    }

    fn cases(self: &Arc<Self>, one: &Wanted) -> Vec<JoinHandle<Result<Outcome>>> {
        let begin = |file: &PathBuf| tokio::spawn(self.clone().case(one.connector.clone(), file.clone()));
        one.files.iter().map(begin).collect()
    }

    /// Plays one case, and rewrites it where that is asked for.
    async fn case(self: Arc<Self>, connector: Arc<Connector>, file: PathBuf) -> Result<Outcome> {
        let _turn = self.turns.0.acquire().await;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let play = || cases::play_file(&connector, &file, self.scratch.path(), self.loopback.clone());
        let mut played = play().await?;
        let mut said = String::new();
        if self.update && !played.holds() {
            said = self.rewrite(&connector, &file).await?;
            played = play().await?;
        }
        said.push_str(&played.to_string());
        self.bar.inc(1);
        let Played { title, took, .. } = &played;
        let case = junit::Case {
            name: format!("{name}: {title}"),
            file: file.display().to_string(),
            took: *took,
            wrong: played.reports(),
            is_error: played.error.is_some(),
        };
        Ok((said, case))
    }

    /// Rewrites a case, and says what became of it.
    async fn rewrite(&self, connector: &Arc<Connector>, file: &Path) -> Result<String> {
        let updated = cases::update(connector, file, self.scratch.path(), self.loopback.clone()).await?;
        let (word, lines) = match updated {
            Updated::Left(why) => ("not rewritten", why),
            Updated::Rewritten { text, diff } => {
                replace(file, &text)?;
                ("rewritten", diff.trim_end().to_owned())
            }
        };
        Ok(format!("  {word}: {}\n    {}\n", file.display(), lines.replace('\n', "\n    ")))
    }

    /// The life of a connector against its stand-in; what it told is shown where it did not come to its end.
    async fn life(self: Arc<Self>, spec: PathBuf) -> Result<Outcome> {
        let _turn = self.turns.1.acquire().await;
        let (begun, told) = (Instant::now(), Arc::new(Mutex::new(String::new())));
        let connector = load(&spec)?;
        let folder = Scratch::new(self.scratch.path())?;
        let wrong = match simulated::rehearse(connector, folder.path(), told.clone()).await {
            Ok(summary) if summary.agrees() => Vec::new(),
            Ok(summary) => summary.disagreements().to_vec(),
            Err(error) => vec![error.to_string()],
        };
        let took = begun.elapsed();
        let said = if wrong.is_empty() {
            format!("  ok   {LIFE} ({} ms)", took.as_millis())
        } else {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            format!("  FAIL {LIFE}\n{told}    {}", wrong.join("\n    "))
        };
        self.bar.inc(1);
        let file = spec.display().to_string();
        Ok((said, junit::Case { name: LIFE.to_owned(), file, took, wrong, is_error: false }))
    }
}

/// A file's text replaced as a whole: who reads it meanwhile sees the old one or the new one.
fn replace(file: &Path, text: &str) -> Result<()> {
    let beside = file.with_extension("yaml.new");
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file)).map_err(|e| {
        Error::new(Kind::Io, "the case cannot be written").at(file.display().to_string()).because(e)
    })
}

/// What is said of a connector that nobody wrote a case for.
fn without_cases(one: &Wanted) -> String {
    let folder = one.spec.parent().unwrap_or(Path::new("."));
    let path = folder.display();
    let mut text =
        "  none  there is no case in its folder `cases`, so that nothing shows what it does. It wants:\n"
            .to_owned();
    for what in wanting(&one.connector) {
        text.push_str(&format!("    - {what}\n"));
    }
    text.push_str(&format!(
        "  help: record the first one, and go on from there: forebay run {path} --simulate --events 5 --record {path}/cases\n"
    ));
    text
}

fn bar(all: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(all as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The spec that a path belongs to, the cases that it means, and whether it means the whole connector.
fn cases_of(path: &Path, connector: Option<&Path>) -> Result<(PathBuf, Vec<PathBuf>, bool)> {
    if let Some(connector) = connector {
        let files = if path.is_dir() { cases::files(path)? } else { vec![path.to_owned()] };
        return Ok((spec_file(connector), files, false));
    }
    let folder = path.parent().filter(|folder| path.is_file() && folder.ends_with("cases"));
    if let Some(folder) = folder {
        let folder = folder.parent().unwrap_or(Path::new("."));
        return Ok((folder.join("connector.yaml"), vec![path.to_owned()], false));
    }
    let spec = spec_file(path);
    Ok((spec.clone(), cases::files(&spec.with_file_name("cases"))?, true))
}

/// The paths, a folder of connectors by those that are in it.
fn meant(arguments: &Arguments) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in &arguments.paths {
        let is_folder_of_them = arguments.connector.is_none() && path.is_dir() && !spec_file(path).is_file();
        if is_folder_of_them {
            found.extend(specs_of(path)?);
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn every_connector() -> Result<Vec<PathBuf>> {
    let folder = Path::new("connectors");
    if !folder.is_dir() {
        return Err(Error::new(Kind::Configuration, "there is no folder `connectors` here")
            .help("name connectors: forebay test PATH..."));
    }
    specs_of(folder)
}
