//! Whether the cost of an event stays what it is: with more events, and with more instances in one process. And what a
//! process costs that does nothing.

use std::fs::File;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use crate::bench::Bench;
use crate::forebay::Forebay;
use crate::measure;
use crate::round::{Figures, Shape, round};
use crate::table::{Table, median, short};

/// How long a process is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// Events after which one hiccup of the machine is not the figure. Ten thousand are over in a twentieth of a second.
const LONG: u64 = 1_000_000;
/// Processes instead of one where a run has fewer events, at most: the median is over more of them.
const SHORT_RUNS: u64 = 5;
/// Instances in one process.
const INSTANCES: [usize; 3] = [1, 10, 100];

/// CPU an event from ten thousand events to `most`, each in a process of its own. Returns the dearest over the cheapest.
pub fn events(bench: &Bench, most: u64) -> io::Result<f64> {
    let counts = [10_000, 100_000, 1_000_000, 10_000_000].into_iter().filter(|count| *count <= most);
    let cases = counts.map(|count| (format!("{} events", short(count as f64)), 1, count));
    flat(bench, "cost over events", cases.collect())
}

/// CPU an event with 1, 10 and 100 instances. Returns the dearest over the cheapest.
pub fn instances(bench: &Bench, events: u64) -> io::Result<f64> {
    let cases = INSTANCES.map(|instances| (format!("{instances} instances"), instances, events));
    flat(bench, "cost over instances", cases.to_vec())
}

fn flat(bench: &Bench, title: &str, cases: Vec<(String, usize, u64)>) -> io::Result<f64> {
    let mut table = Table::new([title, "CPU us/event", "runs", "events/s", "peak MB"]);
    // A run of each in turn, so that a slow minute of the machine is everybody's.
    let mut runs: Vec<Vec<Figures>> = cases.iter().map(|_| Vec::new()).collect();
    for run in 1..=bench.runs {
        for ((name, instances, events), runs) in cases.iter().zip(&mut runs) {
            bench.note(&format!("{name}, run {run}"));
            for _ in 0..(LONG / events).clamp(1, SHORT_RUNS) {
                let folder = bench.scratch.folder()?;
                let forebay = Forebay::to_files(&bench.binary, folder.path().to_owned(), *instances);
                let server = forebay.start()?;
                let shape = Shape { batch: 100, connections: 8, events: *events, seconds: 0.0 };
                runs.push(round(&server, &forebay.files(), shape, &bench.events)?);
                server.stop()?;
            }
        }
    }
    let mut costs = Vec::new();
    for ((name, ..), runs) in cases.into_iter().zip(runs) {
        let cpu = median(runs.iter().map(|f| f.cpu));
        let (least, most) = runs.iter().fold((f64::MAX, 0_f64), |(l, m), f| (l.min(f.cpu), m.max(f.cpu)));
        let (rate, peak) = (median(runs.iter().map(|f| f.rate)), median(runs.iter().map(|f| f.peak)));
        table.row([
            name,
            short(cpu),
            format!("{} to {}", short(least), short(most)),
            short(rate),
            short(peak / 1e6),
        ]);
        costs.push(cpu);
    }
    writeln!(io::stdout(), "{table}")?;
    let (least, most) = costs.iter().fold((f64::MAX, 0_f64), |(l, m), cost| (l.min(*cost), m.max(*cost)));
    Ok(most / least)
}

/// Megabytes of a process that receives and got nothing yet, its program read from the disk as at a machine's start: of a
/// file that was written a moment ago the kernel maps more than is used.
pub fn idle(bench: &Bench) -> io::Result<f64> {
    let mut runs = Vec::new();
    for _ in 0..bench.runs {
        let folder = bench.scratch.folder()?;
        let program = File::open(&bench.binary)?;
        program.sync_all()?;
        rustix::fs::fadvise(&program, 0, None, rustix::fs::Advice::DontNeed)?;
        let server = Forebay::to_files(&bench.binary, folder.path().to_owned(), 1).start()?;
        thread::sleep(IDLE);
        runs.push(measure::memory(server.pid())? as f64 / 1e6);
        server.stop()?;
    }
    Ok(median(runs))
}
