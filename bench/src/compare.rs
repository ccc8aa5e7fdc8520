//! The table of servers: each under the same load, in turn, several times; medians, and ratios to the one that reads
//! only. Forebay stands there twice: what its two rows differ by is what a difference means.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::baseline::Work;
use crate::bench::Bench;
use crate::child::Server;
use crate::forebay::Forebay;
use crate::round::{Figures, Shape, round};
use crate::table::{Table, median, short};

/// Who is measured.
#[derive(Debug, Clone)]
enum Subject {
    Baseline(Work),
    Forebay(PathBuf),
}

/// A row: its name, who, and what was measured of it in each run.
struct Row {
    name: String,
    subject: Subject,
    runs: Vec<Figures>,
}

impl Row {
    fn new(name: &str, subject: Subject) -> Self {
        Self { name: name.to_owned(), subject, runs: Vec::new() }
    }

    fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(self.runs.iter().map(figure))
    }
}

/// Measures all servers under one load and prints their table. Returns what Forebay came to.
pub fn compare(bench: &Bench, shape: Shape) -> io::Result<Figures> {
    let mut rows = Vec::new();
    if !bench.only {
        rows.push(Row::new("read only (warp)", Subject::Baseline(Work::Read)));
        rows.push(Row::new("read + parse (warp, sonic-rs)", Subject::Baseline(Work::Parse)));
    }
    rows.push(Row::new("**Forebay**", Subject::Forebay(bench.binary.clone())));
    if !bench.only {
        rows.push(Row::new("Forebay again", Subject::Forebay(bench.binary.clone())));
    }
    if let Some(against) = &bench.against {
        rows.push(Row::new(&format!("{}", against.display()), Subject::Forebay(against.clone())));
    }
    for run in 1..=bench.runs {
        for row in &mut rows {
            bench.note(&format!(
                "{} a request, {} connections, run {run}: {}",
                shape.batch, shape.connections, row.name
            ));
            row.runs.push(measure(bench, &row.subject, shape)?);
        }
    }
    let reader = rows.first().filter(|_| !bench.only).map_or(f64::NAN, |row| row.median(|f| f.cpu));
    writeln!(io::stdout(), "{}", table(&rows, reader, shape))?;
    let forebay =
        rows.iter().find(|row| matches!(row.subject, Subject::Forebay(_))).expect("a row of Forebay");
    Ok(Figures {
        cpu: forebay.median(|f| f.cpu),
        rate: forebay.median(|f| f.rate),
        latency: [0, 1, 2].map(|n| forebay.median(|f| f.latency[n])),
        peak: forebay.median(|f| f.peak),
        handed: forebay.median(|f| f.handed),
        stored: forebay.median(|f| f.stored),
    })
}

fn measure(bench: &Bench, subject: &Subject, shape: Shape) -> io::Result<Figures> {
    match subject {
        Subject::Baseline(work) => round(&baseline(*work)?, &[], shape, &bench.events),
        Subject::Forebay(binary) => {
            let folder = bench.scratch.folder()?;
            let forebay = Forebay::to_files(binary, folder.path().to_owned(), 1);
            let server = forebay.start()?;
            let figures = round(&server, &forebay.files(), shape, &bench.events)?;
            server.stop()?;
            Ok(figures)
        }
    }
}

fn baseline(work: Work) -> io::Result<Server> {
    let own: PathBuf = std::env::current_exe()?;
    Server::start(Command::new(&own).args(["baseline", work.name()]), 1)
}

fn table(rows: &[Row], reader: f64, shape: Shape) -> Table {
    let title = format!("{} a request, {} connections", shape.batch, shape.connections);
    let mut table = Table::new([
        title.as_str(),
        "CPU us/event",
        "x read",
        "runs",
        "events/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "peak MB",
        "written/byte",
        "to disk/byte",
    ]);
    for row in rows {
        let cpu = row.median(|f| f.cpu);
        let (least, most) = row.runs.iter().fold((f64::MAX, 0_f64), |(l, m), f| (l.min(f.cpu), m.max(f.cpu)));
        let mut cells = vec![
            row.name.clone(),
            short(cpu),
            short(cpu / reader),
            format!("{} to {}", short(least), short(most)),
            short(row.median(|f| f.rate)),
        ];
        cells.extend((0..3).map(|n| short(row.median(|f| f.latency[n]))));
        cells.push(short(row.median(|f| f.peak) / 1e6));
        cells.push(short(row.median(|f| f.handed)));
        cells.push(short(row.median(|f| f.stored)));
        table.row(cells);
    }
    table
}
