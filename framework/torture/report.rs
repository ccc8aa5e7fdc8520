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
    /// Records that damaged logs may have held, at most.
    pub in_logs: u64,
    /// Dead letters.
    pub letters: Letters,
    /// What the store said of losses.
    pub said: Said,
    /// What went wrong beside the sums.
    pub troubles: Vec<String>,
    /// Whether the store was damaged: then it may have forgotten places in its log.
    pub harmed: bool,
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
        let uncounted = self.missing.database.saturating_sub(self.said.lost);
        find(
            uncounted,
            "records were lost with a damaged database, and the store did not count them".to_owned(),
        );
        let in_logs = self.missing.explained(self.said.lost).1;
        find(in_logs.saturating_sub(self.in_logs), "more records are lost than damaged logs held".to_owned());
        if !self.harmed {
            find(self.stored.abs_diff(answered), "places in the log are too many or too few".to_owned());
        }
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
        let (d, a, s) = (&self.done, &self.answers, &self.said);
        let (issued, answered) = self.events;
        writeln!(f, "torture of seed {}: {:.1} s, {} rounds", self.seed, self.took.as_secs_f64(), d.rounds)?;
        let mut row = |name: &str, text: String| writeln!(f, "  {name:<10}{text}");
        row("done", format!("{} kill -9, {} SIGSTOP, {} graceful stops", d.kills, d.stops, d.graceful))?;
        row("", format!("{} rounds with a failing sink, {} with hardly any room", d.sinks, d.quotas))?;
        row("", format!("{} damaged files", d.damages))?;
        row(
            "requests",
            format!("{} answered 2xx, {} answered 503, {} not answered", a.taken, a.later, a.none),
        )?;
        row("", format!("{} with a wrong key refused", a.strangers))?;
        row("events", format!("{issued} issued, {answered} answered 2xx, {} copies on top", a.copies))?;
        row("", format!("{} places in the log", self.stored))?;
        if d.damages > 0 {
            row("store", format!("said {} times that it is damaged, counted {} as lost", s.damages, s.lost))?;
        }
        writeln!(f, "\n  {:52}| after damage", "")?;
        writeln!(
            f,
            "  {}",
            columns(["sink", "delivered", "lost", "repeated", "beyond", "counted", "in logs", "again"])
        )?;
        for SinkAccount { name, book, missing } in &self.sinks {
            let (counted, in_log) = missing.explained(s.lost);
            let figures =
                [book.delivered, missing.lost, book.again, book.beyond, counted, in_log, book.forgotten];
            writeln!(f, "  {}", line(name, figures))?;
        }
        let l = &self.letters;
        let counted = l.injured.min(s.lost_letters + l.damaged);
        let figures = [l.found, l.lost, l.again, l.beyond, counted, l.injured - counted, 0];
        writeln!(f, "  {}", line("dead", figures))?;
        let findings = self.findings();
        if findings.is_empty() {
            return write!(f, "\nnothing is lost, and nothing came again beyond what its sink allows");
        }
        write!(f, "\nfound, with everything kept in {}:", self.folder.display())?;
        findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

fn line(name: &str, figures: [u64; 7]) -> String {
    let [a, b, c, d, e, f, g] = figures.map(|figure| figure.to_string());
    columns([name, &a, &b, &c, &d, &e, &f, &g])
}

fn columns([name, a, b, c, d, e, f, g]: [&str; 8]) -> String {
    format!("{name:<12}{a:>10}{b:>10}{c:>10}{d:>10}|{e:>8}{f:>8}{g:>8}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::mark::mark_of;
    use crate::simulate::plan::Push;
    use crate::torture::books::Issued;

    fn books(records: &[&str]) -> Books {
        let mut books = Books::default();
        let good = records.iter().map(|record| mark_of(record.as_bytes())).collect();
        let issued: Issued = books.issue(Push { good, ..Push::default() });
        books.answer(&issued);
        books
    }

    fn account(books: &Books, text: &str, injured: &[u64]) -> (u64, u64, u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        std::fs::write(&path, text).unwrap();
        let book = read(&path, books, injured).unwrap();
        (books.missing(&[&book]).lost, book.beyond, book.forgotten, book.strange)
    }

    #[test]
    fn a_line_that_is_gone_or_doubled_or_changed_is_found_in_a_file() {
        let books = books(&["one", "two", "three"]);
        assert_eq!(account(&books, "one\ntwo\nthree\n", &[]), (0, 0, 0, 0));
        assert_eq!(account(&books, "one\nthree\n", &[]), (1, 0, 0, 0));
        assert_eq!(account(&books, "one\ntwo\ntwo\nthree\n", &[]), (0, 1, 0, 0));
        assert_eq!(account(&books, "one\ntw0\nthree\n", &[]), (1, 0, 0, 1));
        assert_eq!(account(&books, "", &[]), (3, 0, 0, 0));
    }

    #[test]
    fn what_stood_there_before_damage_may_come_again_behind_it() {
        let books = books(&["one", "two"]);
        assert_eq!(account(&books, "one\none\ntwo\n", &[4]), (0, 0, 1, 0));
        assert_eq!(account(&books, "one\none\none\none\ntwo\n", &[4]), (0, 1, 2, 0));
        assert_eq!(account(&books, "one\ntwo\ntwo\n", &[4]), (0, 1, 0, 0), "both behind it");
        // A line that the kill before the damage tore.
        assert_eq!(account(&books, "one\ntw\ntwo\n", &[4]), (0, 0, 0, 0));
        assert_eq!(account(&books, "one\ntwo\ntw\n", &[4]), (0, 0, 0, 1));
    }
}
