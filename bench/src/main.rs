//! Measures Forebay on this machine and prints what it found as tables. `bench/run` builds and starts it.
//!
//! In reading order: `events` and `load` make requests; `child`, `baseline` and `forebay` are the servers; `measure` and
//! `truth` look at them from outside; `round` is one server under one load; `compare`, `scale` and `startup` are the
//! tables, `targets` what their figures have to be.

mod baseline;
mod bench;
mod child;
mod compare;
mod events;
mod forebay;
mod load;
mod measure;
mod round;
mod scale;
mod sink;
mod soak;
mod startup;
mod table;
mod targets;
mod truth;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use bench::{Bench, Scratch};
use events::Events;
use round::Shape;
use targets::Targets;

/// Measures Forebay on this machine, against servers that promise less, and prints tables.
#[derive(Debug, Parser)]
#[command(name = "bench/run")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What is measured; everything where nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often; medians are printed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Events at 100 a request; 1 a request takes a tenth
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    events: u64,
    /// Seconds at half load, where the latency is measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Fail where a target is missed
    #[arg(long)]
    check: bool,
    /// Forebay alone, without the servers that it is compared with
    #[arg(long)]
    only: bool,
    /// The binary that is measured, instead of the one built here
    #[arg(long)]
    forebay: Option<PathBuf>,
    /// Another build of Forebay, measured in the same runs
    #[arg(long)]
    against: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A server to compare with; the benchmark starts it itself
    #[command(hide = true)]
    Baseline { work: baseline::Work },
    /// Hours at half load: is anything not flat? `bench/soak` builds and starts it
    Soak(soak::Arguments),
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// 100 a request on 8 connections
    #[value(name = "100")]
    Hundred,
    /// 1 a request on 8 connections
    #[value(name = "1x8")]
    One,
    /// 1 a request on 64 connections
    #[value(name = "1x64")]
    OneMany,
    /// The cost of an event from ten thousand of them to as many as `--events` says
    Flat,
    /// The cost of an event with 1 to 100 instances in one process
    Instances,
    /// A start with a million undelivered records
    Start,
    /// The memory of a process that does nothing
    Idle,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.role {
        Some(Role::Baseline { work }) => baseline::serve(*work),
        Some(Role::Soak(soak)) => bench(&arguments, soak.forebay.clone()).and_then(|b| soak::soak(&b, soak)),
        None => measure_all(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for, with the binary beside this one where no other is named.
fn bench(arguments: &Arguments, named: Option<PathBuf>) -> io::Result<Bench> {
    Ok(Bench {
        binary: named
            .map_or_else(|| Ok(std::env::current_exe()?.with_file_name("forebay")), io::Result::Ok)?,
        against: arguments.against.clone(),
        only: arguments.only,
        runs: arguments.runs,
        events: Events::read()?,
        scratch: Scratch::new()?,
    })
}

fn measure_all(arguments: Arguments) -> io::Result<()> {
    let bench = bench(&arguments, arguments.forebay.clone())?;
    let parts = if arguments.parts.is_empty() { Part::value_variants() } else { &arguments.parts };
    let mut targets = Targets::default();
    for part in parts {
        part.measure(&bench, arguments.events, arguments.seconds, &mut targets)?;
    }
    writeln!(io::stdout(), "{targets}")?;
    if arguments.check && !targets.met() {
        return Err(io::Error::other("a target is missed"));
    }
    Ok(())
}

impl Part {
    fn measure(self, bench: &Bench, events: u64, seconds: f64, targets: &mut Targets) -> io::Result<()> {
        let shape = |batch, connections, events| Shape { batch, connections, events, seconds };
        match self {
            Self::Hundred => {
                let figures = compare::compare(bench, shape(100, 8, events))?;
                targets.add("CPU us/event, 100 a request", targets::CPU_HUNDRED, figures.cpu);
                targets.add("events/s, 100 a request", targets::RATE, figures.rate);
                targets.add("p99 ms at half load, 100 a request", targets::P99, figures.latency[1]);
                targets.add("peak MB, 100 a request", targets::PEAK, figures.peak / 1e6);
            }
            Self::One => drop(compare::compare(bench, shape(1, 8, events / 10))?),
            Self::OneMany => {
                let figures = compare::compare(bench, shape(1, 64, events / 10))?;
                targets.add("CPU us/event, 1 a request, 64 connections", targets::CPU_ONE, figures.cpu);
                targets.add(
                    "p99 ms at half load, 1 a request, 64 connections",
                    targets::P99,
                    figures.latency[1],
                );
            }
            Self::Flat => {
                let name = format!("dearest / cheapest, 10 k to {} events", table::short(events as f64));
                targets.add(&name, targets::FLAT, scale::events(bench, events)?);
            }
            Self::Instances => {
                let ratio = scale::instances(bench, events)?;
                targets.add("dearest / cheapest, 1 to 100 instances", targets::FLAT, ratio);
            }
            Self::Start => {
                let seconds = startup::start(bench, events)?;
                let name = format!("s to start with {} undelivered", table::short(events as f64));
                targets.add(&name, targets::START, seconds);
            }
            Self::Idle => targets.add("idle MB", targets::IDLE, scale::idle(bench)?),
        }
        Ok(())
    }
}
