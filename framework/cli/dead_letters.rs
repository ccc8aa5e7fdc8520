//! `forebay dead-letters`: what could not be accepted or delivered, listed, shown, sent again, exported, dropped.
//!
//! It needs only the data folder and the instance's id, and works while `run` runs. It never decodes or delivers
//! anything itself: `retry` leaves a mark that `run` finds within a second.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use data_encoding::BASE64;
use serde_json::{Map, Value as Json, json};

use super::print::taken;
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result, escaped};
use crate::queue::DeadReason;
use crate::queue::local::{Beside, Filter, Stored, reason_name, what_name};

/// Letters that one read of the store lists.
const PAGE: usize = 1000;
/// Characters of a detail in a listing.
const DETAIL: usize = 80;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    store: StoreFlags,
}

/// Which store, and which instance in it.
#[derive(Debug, Args)]
pub(super) struct StoreFlags {
    /// Where the store is
    #[arg(long, value_name = "DIR", default_value = ".forebay", global = true)]
    pub(super) data_dir: PathBuf,
    /// The instance's id (may be left out where the store has only one)
    #[arg(long, global = true)]
    pub(super) id: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// One line for each dead letter
    List(Which),
    /// One dead letter with its reason and its bytes
    Show {
        /// Its number
        number: i64,
        /// The bytes alone, exactly as they are
        #[arg(long)]
        raw: bool,
    },
    /// Decode bodies again under today's spec, and give a record to the sink that refused it
    Retry(Chosen),
    /// Dead letters as JSON Lines, whole
    Export(Which),
    /// Remove dead letters for good
    Drop(Chosen),
}

/// Letters that are looked at.
#[derive(Debug, Args)]
struct Which {
    /// Only those of this reason
    #[arg(long)]
    reason: Option<Reason>,
    /// Only those that this sink refused
    #[arg(long)]
    sink: Option<String>,
}

/// Letters that something is done with.
#[derive(Debug, Args)]
struct Chosen {
    /// Their numbers
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    numbers: Vec<i64>,
    /// All of them, or all that --reason and --sink leave
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
}

/// A reason, as it is written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Reason {
    Undecodable,
    Schema,
    TooDeep,
    IdReused,
    SinkRefused,
}

impl Which {
    fn filter(&self) -> Filter {
        let reason = self.reason.map(|reason| match reason {
            Reason::Undecodable => DeadReason::Undecodable,
            Reason::Schema => DeadReason::Schema,
            Reason::TooDeep => DeadReason::TooDeep,
            Reason::IdReused => DeadReason::IdReused,
            Reason::SinkRefused => DeadReason::SinkRefused,
        });
        Filter { reason, sink: self.sink.clone() }
    }
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let store = Beside::open(&arguments.store.data_dir)?;
    let instance = instance(&store, &arguments.store)?;
    let mut out = io::stdout().lock();
    let written = match arguments.verb {
        Verb::List(which) => list(&store, &instance, &which.filter(), &mut out)?,
        Verb::Show { number, raw } => show(&store, &instance, number, raw, &mut out)?,
        Verb::Retry(chosen) => retry(&store, &instance, &chosen, &mut out)?,
        Verb::Export(which) => export(&store, &instance, &which.filter(), &mut out)?,
        Verb::Drop(chosen) => remove(&store, &instance, &chosen, &mut out)?,
    };
    taken(written.and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

/// The instance that is meant: the one that is named, or the only one there is.
pub(super) fn instance(store: &Beside, flags: &StoreFlags) -> Result<InstanceId> {
    let known = store.instances()?;
    let names = || known.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ");
    match (&flags.id, known.as_slice()) {
        (Some(id), _) => known.iter().find(|known| known.as_str() == id).cloned().ok_or_else(|| {
            Error::new(Kind::Configuration, format!("the store knows no instance `{}`", escaped(id, 80)))
                .at(flags.data_dir.display().to_string())
                .help(if known.is_empty() {
                    "it has none yet".to_owned()
                } else {
                    format!("it has: {}", names())
                })
        }),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Error::new(Kind::Configuration, "the store knows no instance yet")
            .at(flags.data_dir.display().to_string())),
        (None, _) => Err(Error::new(Kind::Configuration, "the store has several instances")
            .at(flags.data_dir.display().to_string())
            .help(format!("say which with --id: {}", names()))),
    }
}

/// Calls `f` for every letter, without its bytes, page by page.
fn each(
    store: &Beside,
    instance: &InstanceId,
    filter: &Filter,
    mut f: impl FnMut(&Stored) -> Result<io::Result<()>>,
) -> Result<io::Result<()>> {
    let mut after = 0;
    loop {
        let page = store.letters(instance, filter, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(Ok(())) };
        after = last.number;
        for stored in &page {
            if let Err(e) = f(stored)? {
                return Ok(Err(e));
            }
        }
    }
}

fn list(
    store: &Beside,
    instance: &InstanceId,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    let mut any = false;
    let written = each(store, instance, filter, |stored| {
        let letter = &stored.letter;
        let heading =
            if any { "" } else { "number  time                  what    reason        bytes  why\n" };
        any = true;
        let sink = letter.sink.as_deref().map(|sink| format!("{}: ", escaped(sink, 60))).unwrap_or_default();
        let waits = if stored.retry { " (waits to be sent again)" } else { "" };
        Ok(writeln!(
            out,
            "{heading}{:>6}  {:<20}  {:<6}  {:<12}  {:>5}  {sink}{}{waits}",
            stored.number,
            letter.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            what_name(letter.what),
            reason_name(letter.reason),
            stored.size,
            escaped(&letter.detail, DETAIL),
        ))
    })?;
    Ok(written.and_then(|()| if any { Ok(()) } else { writeln!(out, "no dead letters") }))
}

fn show(
    store: &Beside,
    instance: &InstanceId,
    number: i64,
    raw: bool,
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    let stored = store.letter(instance, number)?.ok_or_else(|| missing(instance, &[number]))?;
    if stored.damaged {
        return Err(Error::new(
            Kind::Io,
            format!("the bytes of dead letter {number} are damaged on the disk"),
        ));
    }
    let letter = &stored.letter;
    if raw {
        return Ok(out.write_all(&letter.bytes));
    }
    let lines = [
        ("reason", reason_name(letter.reason).to_owned()),
        ("why", escaped(&letter.detail, 1000)),
        ("what", what_name(letter.what).to_owned()),
        ("time", letter.at.to_string()),
        ("sink", letter.sink.as_deref().map_or("-".to_owned(), |sink| escaped(sink, 200))),
        ("id", letter.id.as_deref().map_or("-".to_owned(), |id| escaped(&String::from_utf8_lossy(id), 200))),
        ("bytes", stored.size.to_string()),
        ("retry", if stored.retry { "waits to be sent again" } else { "not asked for" }.to_owned()),
    ];
    Ok(writeln!(out, "dead letter {number} of {instance}")
        .and_then(|()| lines.iter().try_for_each(|(name, value)| writeln!(out, "  {name:<7} {value}")))
        .and_then(|()| writeln!(out, "\n{}", printable(&letter.bytes))))
}

/// Bytes from outside, safe for a terminal and whole: lines stay lines, the rest that is no text is escaped.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (n, line) in chunk.valid().split('\n').enumerate() {
            if n > 0 {
                text.push('\n');
            }
            text.push_str(&escaped(line, usize::MAX));
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

fn export(
    store: &Beside,
    instance: &InstanceId,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    each(store, instance, filter, |head| {
        // It may have gone since it was listed.
        let Some(stored) = store.letter(instance, head.number)? else { return Ok(Ok(())) };
        let letter = &stored.letter;
        let mut line = Map::new();
        line.insert("number".to_owned(), json!(stored.number));
        line.insert("instance".to_owned(), json!(instance.as_str()));
        line.insert("what".to_owned(), json!(what_name(letter.what)));
        line.insert("reason".to_owned(), json!(reason_name(letter.reason)));
        line.insert("why".to_owned(), json!(letter.detail));
        line.insert("time".to_owned(), json!(letter.at.to_string()));
        if stored.damaged {
            line.insert("damaged".to_owned(), json!(true));
        }
        line.insert("sink".to_owned(), json!(letter.sink));
        put(&mut line, "id", letter.id.as_deref());
        put(&mut line, "bytes", Some(&letter.bytes));
        Ok(writeln!(out, "{}", Json::Object(line)))
    })
}

/// Text under `name`, what is no text as base64 under `name_base64`.
fn put(line: &mut Map<String, Json>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => _ = line.insert(name.to_owned(), Json::Null),
        Some(Ok(text)) => _ = line.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => {
            _ = line.insert(format!("{name}_base64"), json!(BASE64.encode(bytes.unwrap_or_default())));
        }
    }
}

/// The numbers that are meant.
fn chosen(store: &Beside, instance: &InstanceId, chosen: &Chosen) -> Result<Vec<i64>> {
    if !chosen.all {
        return Ok(chosen.numbers.clone());
    }
    let mut numbers = Vec::new();
    let listed = each(store, instance, &chosen.which.filter(), |stored| {
        numbers.push(stored.number);
        Ok(Ok(()))
    })?;
    debug_assert!(listed.is_ok(), "nothing was written");
    Ok(numbers)
}

fn retry(
    store: &Beside,
    instance: &InstanceId,
    which: &Chosen,
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    let numbers = chosen(store, instance, which)?;
    let gone = in_portions(&numbers, |portion| store.retry(instance, portion))?;
    let asked = numbers.len() - gone.len();
    let when = match store.runner() {
        Some(pid) => format!("process {pid} takes them up within a second"),
        None => "no `forebay run` runs on this store: they are taken up by the next one".to_owned(),
    };
    let said = if asked == 0 {
        writeln!(out, "nothing to send again")
    } else {
        writeln!(out, "{asked} to be sent again; {when}")
    };
    let said = match said {
        Ok(()) => waiting(store, instance, &numbers, out)?,
        Err(error) => Err(error),
    };
    // Of those that `--all` found, some may have been decoded again or dropped meanwhile.
    if gone.is_empty() || which.all { Ok(said) } else { Err(missing(instance, &gone)) }
}

/// Says which of these letters nobody takes up: those of sinks that the last `run` did not have.
fn waiting(
    store: &Beside,
    instance: &InstanceId,
    numbers: &[i64],
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    let sinks = store.sinks(instance)?.into_iter().filter(|sink| sink.registered);
    let sinks: BTreeSet<String> = sinks.map(|sink| sink.sink).collect();
    let numbers: BTreeSet<i64> = numbers.iter().copied().collect();
    let mut of_none: BTreeMap<String, usize> = BTreeMap::new();
    let listed = each(store, instance, &Filter::default(), |stored| {
        if let Some(sink) = stored.letter.sink.as_ref().filter(|sink| !sinks.contains(*sink))
            && numbers.contains(&stored.number)
        {
            *of_none.entry(sink.clone()).or_default() += 1;
        }
        Ok(Ok(()))
    })?;
    debug_assert!(listed.is_ok(), "nothing was written");
    Ok(of_none.into_iter().try_for_each(|(sink, count)| {
        writeln!(out, "{count} of them wait for a sink `{sink}`, which the last run did not have: configure it again, or drop them")
    }))
}

fn remove(
    store: &Beside,
    instance: &InstanceId,
    which: &Chosen,
    out: &mut dyn Write,
) -> Result<io::Result<()>> {
    let numbers = chosen(store, instance, which)?;
    let gone = in_portions(&numbers, |portion| store.drop_letters(instance, portion))?;
    let said = writeln!(out, "{} dropped", numbers.len() - gone.len());
    // Of those that `--all` found, some may have been decoded again or dropped meanwhile.
    if gone.is_empty() || which.all { Ok(said) } else { Err(missing(instance, &gone)) }
}

/// Short transactions, so that a `run` beside us never waits long.
fn in_portions(numbers: &[i64], f: impl Fn(&[i64]) -> Result<Vec<i64>>) -> Result<Vec<i64>> {
    let mut gone = Vec::new();
    for portion in numbers.chunks(PAGE) {
        gone.extend(f(portion)?);
    }
    Ok(gone)
}

fn missing(instance: &InstanceId, numbers: &[i64]) -> Error {
    let more = numbers.len().saturating_sub(10);
    let mut numbers = numbers.iter().take(10).map(i64::to_string).collect::<Vec<_>>().join(", ");
    if more > 0 {
        numbers.push_str(&format!(" and {more} more"));
    }
    Error::new(Kind::Configuration, format!("`{instance}` has no dead letter {numbers}"))
        .help("`forebay dead-letters list` shows what there is")
}
