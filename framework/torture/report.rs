//! The account: every sum of a torture, what is wrong with it, and the table for people.
//!
//! Made by the life of a torture at its end, printed by `cli`.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::books::{Answers, Books, Letters, Missing, SinkBook};
use super::child::Said;
use crate::error::{Error, Kind, Result};

/// What was done to the child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Rounds.
    pub rounds: u64,
    /// kill -9.
    pub kills: u64,
    /// SIGSTOP.
    pub stops: u64,
    /// Graceful stops.
    pub graceful: u64,
    /// Rounds in which the sink failed.
    pub sinks: u64,
    /// Rounds in which the store had hardly any room.
    pub quotas: u64,
    /// Damaged files.
    pub damages: u64,
}

/// One sink's part of the account.
#[derive(Debug)]
pub struct SinkAccount {
    /// Its name.
    pub name: String,
    /// What stands in it.
    pub book: SinkBook,
    /// What is missing in it.
    pub missing: Missing,
}

/// The account.
#[derive(Debug)]
pub struct Report {
    /// The seed, to have it all again.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// What was done.
    pub done: Done,
    /// How requests were answered.
    pub answers: Answers,
    /// Distinct events that were made, and those that were answered 2xx.
    pub events: (u64, u64),
    /// Records that got a place in the log; more than the events where damage made it forget some.
    pub stored: u64,
    /// The sinks.
    pub sinks: Vec<SinkAccount>,
    /// What is missing in any of them.
    pub missing: Missing,
    /// Dead letters.
    pub letters: Letters,
    /// What the store said of losses.
    pub said: Said,
    /// What went wrong beside the sums.
    pub troubles: Vec<String>,
    /// Where everything is kept.
    pub folder: PathBuf,
}

impl Report {
    /// What is wrong, one sentence each; empty: nothing is.
    pub fn findings(&self) -> Vec<String> {
        let (issued, answered) = self.events;
        let mut findings = self.troubles.clone();
        let mut find = |many: u64, what: String| {
            if many > 0 {
                findings.push(format!("{many} {what}"));
            }
        };
        for SinkAccount { name, book, missing } in &self.sinks {
            find(missing.lost, format!("records were answered 2xx and are not in the sink `{name}`"));
            find(book.beyond, format!("records came again to the sink `{name}`, and must not"));
            find(book.strange, format!("records in the sink `{name}` were never sent"));
        }
        let unsaid = self.missing.must_be_said.saturating_sub(self.said.lost);
        find(unsaid, "records were lost with a damaged database, and the store did not say so".to_owned());
        let l = &self.letters;
        find(l.lost, "broken events were answered 2xx and are in no dead letter".to_owned());
        find(l.beyond, "dead letters are there more often than they were sent".to_owned());
        find(l.strange, "dead letters hold what is good, or was never sent".to_owned());
        find(self.answers.wrong, "good pushes were refused with another status than 503".to_owned());
        find(self.answers.let_in, "pushes with a wrong key were taken".to_owned());
        find(issued.saturating_sub(answered), "events were not answered 2xx until the end".to_owned());
        find(self.said.panics, "panics".to_owned());
        findings
    }
}

/// Reads what stands in the file of a sink. `injured` is how long the file was, to the end of its last whole
/// line, each time the store was damaged: from there on it may have forgotten what stands before.
pub fn read(path: &Path, books: &Books, injured: &[u64]) -> Result<SinkBook> {
    let io = |e: std::io::Error| {
        Error::new(Kind::Io, "the sink's file cannot be read").at(path.display().to_string()).because(e)
    };
    let mut book = SinkBook::default();
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(book),
        opened => opened.map_err(io)?,
    };
    let mut injuries = injured.iter().peekable();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut at, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(io)? as u64;
        if length == 0 {
            return Ok(book);
        }
        let mut torn = false;
        while injuries.next_if(|injury| **injury <= at).is_some_and(|injury| {
            torn |= *injury == at;
            true
        }) {
            book.forgive();
        }
        let record = line.strip_suffix(b"\n").unwrap_or(&line);
        match books.number(record) {
            // A kill tore this line, and the damage kept the sink from knowing it for its own.
            None if torn => {}
            number => book.take(number),
        }
        if let Some(number) = books.number(record) {
            book.settle(number);
        }
        at += length;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (d, a, l) = (&self.done, &self.answers, &self.letters);
        let (issued, answered) = self.events;
        writeln!(f, "torture of seed {}: {:.1} s, {} rounds", self.seed, self.took.as_secs_f64(), d.rounds)?;
        writeln!(
            f,
            "  done      {} kill -9, {} SIGSTOP, {} graceful stops, {} rounds with a failing sink, {} without room, {} damaged files",
            d.kills, d.stops, d.graceful, d.sinks, d.quotas, d.damages
        )?;
        writeln!(
            f,
            "  requests  {} answered 2xx, {} answered 503, {} without an answer, {} with a wrong key refused",
            a.taken, a.later, a.none, a.strangers
        )?;
        writeln!(
            f,
            "  events    {issued} issued, {answered} answered, {} copies on top, {} stored",
            a.copies, self.stored
        )?;
        writeln!(
            f,
            "  dead      {} broken events answered, {} dead-lettered, {} of them again",
            l.expected, l.found, l.again
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "  {:<12}{:>10}{:>10}{:>16}{:>16}{:>10}{:>10}",
            "sink", "delivered", "lost", "lost to damage", "of it untold", "repeated", "beyond"
        )?;
        for SinkAccount { name, book, missing } in &self.sinks {
            writeln!(
                f,
                "  {:<12}{:>10}{:>10}{:>16}{:>16}{:>10}{:>10}",
                name,
                book.delivered,
                missing.lost,
                missing.must_be_said + missing.cannot_be_told,
                missing.cannot_be_told,
                book.again,
                book.beyond
            )?;
        }
        writeln!(f)?;
        if d.damages > 0 {
            writeln!(
                f,
                "  the store said {} times that something is damaged, and counted {} records as lost",
                self.said.damages, self.said.lost
            )?;
        }
        let findings = self.findings();
        if findings.is_empty() {
            return write!(
                f,
                "nothing that was answered is lost, and nothing came again beyond what its sink allows"
            );
        }
        write!(f, "found, with everything kept in {}:", self.folder.display())?;
        findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}
