//! Hours at half load with all that goes wrong on an ordinary day: files are rotated, an HTTP sink fails now and then and
//! refuses a record for good, lines come broken. Each minute memory, file handles, disk and latency are looked at.
//!
//! At the end every id is in the files once, the HTTP sink has each but those it refused, and those are dead letters.

use std::fs;
use std::io::{self, Error, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::bench::Bench;
use crate::child::Server;
use crate::forebay::Forebay;
use crate::load::{self, Load, Target};
use crate::measure;
use crate::sink::Sink;
use crate::table::{Table, short};
use crate::truth::Ids;

/// Events at full speed, to know what half of it is.
const PROBE: u64 = 300_000;
/// Beyond this rate two cores cannot compress what is rotated beside everything else.
const MOST: f64 = 30_000.0;
/// The HTTP sink answers 503 to one request in so many, and refuses one record in so many for good.
const FAILS: u64 = 50;
const POISON: u64 = 250_000;
/// Ids that a store remembers by default: until so many were sent, memory grows as it should.
const WINDOW: u64 = 1_000_000;
/// What may be added to the first third of the run before the last third counts as grown: a fifth, and this much.
const GROWTH: f64 = 1.2;
const SLACK: [f64; 4] = [8.0, 4.0, 64.0, 10.0];

/// How long, and how much.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Events a second, instead of half of what is measured first
    #[arg(long)]
    rate: Option<f64>,
    /// The binary that is run, instead of the one built here
    #[arg(long)]
    pub forebay: Option<PathBuf>,
}

/// What was seen at the end of a minute: memory, handles, disk, p99.
type Sample = [f64; 4];

/// Runs it and prints a line a minute.
pub fn soak(bench: &Bench, arguments: &Arguments) -> io::Result<()> {
    let folder = bench.scratch.folder()?;
    let sink = Sink::start()?;
    let http = format!("{{name: away, http: {{url: {}}}}}", sink.url());
    let file = "{name: archive, file: {path: {file}, rotate: {size: 256MiB}}}";
    let forebay = Forebay {
        binary: bench.binary.clone(),
        folder: folder.path().to_owned(),
        instances: 1,
        sinks: format!("[{file}, {http}]"),
    };
    let server = forebay.start()?;
    let mut run = Run { folder: folder.path(), sink: &sink, ids: Ids::default(), sent: 0, broken: 0 };

    // 1. How fast can it, on this machine, with these sinks?
    let rate = match arguments.rate {
        Some(rate) => rate,
        None => (run.probe(bench, &server)? / 2.0).min(MOST),
    };
    writeln!(io::stdout(), "{} events/s for {} minutes\n", short(rate), arguments.minutes)?;
    sink.trouble(FAILS, POISON);

    // 2. Minute by minute.
    let columns = ["minute", "memory MB", "handles", "store MB", "p99 ms", "p50 ms", "sink behind"];
    let mut table = Table::new(columns);
    let mut samples = Vec::new();
    for minute in 1..=arguments.minutes {
        let full = run.sent >= WINDOW;
        let (sample, middle) = run.minute(bench, &server, rate)?;
        let behind = run.sent - sink.got().distinct.min(run.sent);
        table.row(
            [minute.to_string()]
                .into_iter()
                .chain(sample.map(short))
                .chain([short(middle), behind.to_string()]),
        );
        bench.note(&format!(
            "minute {minute}: memory, handles, store, p99 = {}",
            sample.map(short).join(", ")
        ));
        if full {
            samples.push(sample);
        }
    }
    writeln!(io::stdout(), "{table}")?;

    // 3. The account, and what grew.
    let wrong = [run.account(server, &forebay)?, grown(&samples)].concat();
    if !wrong.is_empty() {
        return Err(Error::other(wrong.join("; ")));
    }
    let flat = if samples.len() < 3 { "too short to say whether it is flat" } else { "flat" };
    writeln!(io::stdout(), "{flat}; every record accounted for")
}

/// A soak under way.
struct Run<'a> {
    folder: &'a Path,
    sink: &'a Sink,
    /// What was found in files that are gone since.
    ids: Ids,
    sent: u64,
    broken: u64,
}

impl Run<'_> {
    /// Events a second that all sinks keep up with.
    fn probe(&mut self, bench: &Bench, server: &Server) -> io::Result<f64> {
        let begin = std::time::Instant::now();
        self.pour(bench, &server.target, PROBE, None)?;
        self.sink.wait_for(self.sent);
        Ok(PROBE as f64 / begin.elapsed().as_secs_f64())
    }

    fn pour(
        &mut self,
        bench: &Bench,
        target: &Target,
        events: u64,
        rate: Option<f64>,
    ) -> io::Result<load::Poured> {
        let load = Load { first: self.sent, events, batch: 100, connections: 8, rate };
        self.sent = load.end();
        load.pour(&bench.events, target)
    }

    /// One minute of load, and how the process is after it. Also p50, which nothing is judged by.
    fn minute(&mut self, bench: &Bench, server: &Server, rate: f64) -> io::Result<(Sample, f64)> {
        load::broken(&server.target)?;
        self.broken += 1;
        let poured = self.pour(bench, &server.target, (rate * 60.0) as u64, Some(rate))?;
        self.take_rotated()?;
        let sample = [
            measure::memory(server.pid())? as f64 / 1e6,
            fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count() as f64,
            size(&self.folder.join("data"))? / 1e6,
            poured.quantile(0.99),
        ];
        Ok((sample, poured.quantile(0.5)))
    }

    /// Counts what stands in files that were rotated and compressed, and removes them: an hour would fill the disk.
    fn take_rotated(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "gz") {
                self.ids.read(&path)?;
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Waits for the sinks, stops it, and says what does not agree.
    fn account(&mut self, server: Server, forebay: &Forebay) -> io::Result<Vec<String>> {
        self.sink.trouble(0, POISON);
        let got = self.sink.wait_for(self.sent);
        server.stop()?;
        for entry in fs::read_dir(self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A draft of a compressed file stands beside what it is made from.
            if name.starts_with("out-") && !name.ends_with(".tmp") {
                self.ids.read(&path)?;
            }
        }
        let truth = self.ids.truth(self.sent);
        let letters = dead_letters(forebay)?;
        let mut table = Table::new(["account", "records"]);
        let mut add = |name: &str, count: u64| table.row([name.to_owned(), count.to_string()]);
        add("sent and answered 2xx", self.sent);
        add("files: missing", truth.missing);
        add("files: repeated", truth.repeated);
        add("files: never sent", truth.foreign);
        add("HTTP sink: taken", got.distinct);
        add("HTTP sink: refused for good", got.poisoned);
        add("HTTP sink: came again", got.repeated);
        add("HTTP sink: requests refused for now", got.refused);
        add("broken lines sent", self.broken);
        add("dead letters", letters);
        writeln!(io::stdout(), "{table}")?;

        let mut wrong = Vec::new();
        if !truth.holds() {
            wrong.push("the files do not hold every record once".to_owned());
        }
        if got.distinct + got.poisoned != self.sent {
            wrong.push("the HTTP sink has not got every record".to_owned());
        }
        if letters != got.poisoned + self.broken {
            wrong.push("dead letters are not those that were refused or broken".to_owned());
        }
        Ok(wrong)
    }
}

/// What grew from the first third of the minutes to the last. Those in which the window of ids fills are not among them.
fn grown(steady: &[Sample]) -> Vec<String> {
    let third = (steady.len() / 3).max(1);
    let mean = |part: &[Sample], n: usize| part.iter().map(|s| s[n]).sum::<f64>() / part.len() as f64;
    let (Some(first), Some(last)) = (steady.get(..third), steady.len().checked_sub(third)) else {
        return Vec::new();
    };
    let names = ["memory", "handles", "disk", "p99"];
    (0..names.len())
        .filter_map(|n| {
            let (before, after) = (mean(first, n), mean(&steady[last..], n));
            let grew = after > before * GROWTH + SLACK[n];
            grew.then(|| format!("{} grew from {} to {}", names[n], short(before), short(after)))
        })
        .collect()
}

/// How many dead letters the store keeps, by its own command.
fn dead_letters(forebay: &Forebay) -> io::Result<u64> {
    let data = forebay.folder.join("data");
    let mut command = Command::new(&forebay.binary);
    command.args(["dead-letters", "export", "--id", "i000", "--data-dir"]).arg(data);
    let output = command.env_clear().output()?;
    if !output.status.success() {
        return Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> io::Result<f64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        // A file may go while the folder is looked at.
        sum += entry?.metadata().map_or(0, |meta| meta.len());
    }
    Ok(sum as f64)
}
