//! What a simulation shows: a bar while it lives, and a table at its end.
//!
//! Made by the life of a simulation, printed by `cli`. The bar is drawn on a terminal alone.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::ledger::{Counts, Ledger};
use crate::error::escaped;
use crate::run::world::Say;

/// Characters of a record that are shown.
const SHOWN: usize = 160;

/// The progress of a simulation.
#[derive(Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar of so many events (0: nobody knows how many), drawn only on a terminal.
    pub fn new(terminal: bool, events: u64) -> Self {
        let bar = match (terminal, events) {
            (false, _) => ProgressBar::hidden(),
            (true, 0) => ProgressBar::no_length(),
            (true, events) => ProgressBar::new(events),
        };
        if let Ok(style) =
            ProgressStyle::with_template("{bar:32} {pos}/{len} delivered, {per_sec}, {elapsed}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many are delivered.
    pub fn at(&self, delivered: u64) {
        if delivered > 0 {
            self.0.set_position(delivered);
        }
    }

    /// Lines for people that do not run into the bar.
    pub fn beside(&self, say: Say) -> Say {
        let bar = self.0.clone();
        Arc::new(move |line| bar.suspend(|| say(line)))
    }

    /// Takes it off the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// The end of a simulation in numbers.
#[derive(Debug)]
pub struct Summary {
    counts: Counts,
    removed: u64,
    left: Option<usize>,
    handshakes: usize,
    took: Duration,
    file: PathBuf,
    first: Option<Vec<String>>,
    disagreements: Vec<String>,
}

impl Summary {
    /// Closes the books. `removed` are the copies that the instance says it removed, `left` the resources still
    /// at the vendor where some were provisioned, `handshakes` those that went well and what was wrong with others, `first` records to show, and `others` what is to be said of
    /// the sinks whose records are not checked.
    pub fn of(
        ledger: &Ledger,
        (removed, left, handshakes): (u64, Option<usize>, (usize, Vec<String>)),
        took: Duration,
        (file, first): (PathBuf, Option<Vec<String>>),
        others: Vec<String>,
    ) -> Self {
        let mut disagreements = ledger.disagreements(removed);
        disagreements.extend(others);
        let (handshakes, wrong) = handshakes;
        disagreements
            .extend(wrong.into_iter().map(|wrong| format!("a handshake was not answered well: {wrong}")));
        if let Some(left) = left.filter(|left| *left > 0) {
            disagreements.push(format!("{left} resources are left at the vendor after destroy"));
        }
        Self { counts: ledger.counts, removed, left, handshakes, took, file, first, disagreements }
    }

    /// What does not agree, a sentence each.
    pub fn disagreements(&self) -> &[String] {
        &self.disagreements
    }

    /// Whether every record is accounted for, and nothing is left at the vendor.
    pub fn agrees(&self) -> bool {
        self.disagreements.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        let mut row = |name: &str, number: u64, note: &str| {
            writeln!(f, "{}", format!("  {name:<14}{number:>10}  {note}").trim_end())
        };
        row("events sent", c.events, "distinct")?;
        row("duplicates", c.duplicates, &format!("sent on top, {} removed", self.removed))?;
        row("broken", c.broken, "sent on top")?;
        row("delivered", c.delivered, &format!("to {}", self.file.display()))?;
        row("dead-lettered", c.dead, "")?;
        row("rejected", c.rejected, "")?;
        row("requests", c.requests, &format!("{} of them retries", c.retries))?;
        if self.handshakes > 0 {
            row("handshakes", self.handshakes as u64, "answered as promised")?;
        }
        if let Some(left) = self.left {
            row("left over", left as u64, "at the vendor, after destroy")?;
        }
        writeln!(f, "  {:<14}{:>10}", "time", format!("{:.1} s", self.took.as_secs_f64()))?;
        for record in self.first.iter().flatten() {
            writeln!(f, "  > {}", escaped(record, SHOWN))?;
        }
        match self.agrees() {
            true => write!(f, "sums agree, record by record: sent = delivered + duplicates + dead-lettered"),
            false => {
                write!(f, "sums do not agree:")?;
                self.disagreements.iter().try_for_each(|what| write!(f, "\n  {what}"))
            }
        }
    }
}
