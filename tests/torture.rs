//! Promise: `forebay torture` accounts for every id. It passes where nothing is lost, and it finds what is lost
//! and what came twice.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::{eventually, forebay};

/// A torture of so many minutes in a folder.
fn torture(folder: &Path, minutes: &str, more: &[&str]) -> Command {
    torture_of("connectors/auth0-log-stream", folder, minutes, more)
}

fn torture_of(connector: &str, folder: &Path, minutes: &str, more: &[&str]) -> Command {
    let mut command = forebay();
    command.args(["torture", connector, "--minutes", minutes, "--data-dir"]);
    command.arg(folder).args(more);
    command
}

/// A figure of the table: the row of a name, and a column.
fn figure(output: &Output, row: &str, column: usize) -> u64 {
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let line =
        table.lines().find(|line| line.trim_start().starts_with(&format!("{row} "))).unwrap_or_default();
    let figures: Vec<&str> = line.split([' ', '|']).filter(|word| !word.is_empty()).collect();
    figures.get(column).and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no {row}:\n{table}"))
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stderr), text(&output.stdout))
}

#[test]
fn nothing_is_lost_and_nothing_twice_under_every_fault() {
    let folder = TempDir::new().unwrap();
    let output = torture(folder.path(), "0.25", &["--seed", "3"]).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for fault in [
        "Refuses",
        "Hangs",
        "BreaksOff",
        "Slow",
        "SIGSTOP",
        "SIGTERM",
        "hardly any room",
        "kill -9",
        "forebay.db: a bit",
        "forebay.db: ",
        "forebay.db-wal: a bit",
        "half a frame added",
    ] {
        assert!(told.contains(fault), "no `{fault}` in\n{told}");
    }
    assert!(figure(&output, "done", 1) >= 8, "{told}");
    assert!(figure(&output, "http", 1) > 1000, "hardly any load\n{told}");
}

#[test]
fn without_damage_every_answered_event_is_in_every_sink_whatever_the_connector() {
    // Signed with a time, always provisioned, a document with items in it, an order to keep.
    let folder = TempDir::new().unwrap();
    let more = ["--seed", "4", "--without", "damage", "--set", "region=south"];
    let output = torture_of("tests/specs/harbour-alerts", folder.path(), "0.1", &more).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let issued = figure(&output, "events", 1);
    assert!(issued > 500, "{}", told(&output));
    for sink in ["http", "file"] {
        let row: Vec<u64> = (1..8).map(|column| figure(&output, sink, column)).collect();
        assert_eq!([row[0], row[1], row[3]], [issued, 0, 0], "{}", told(&output));
        assert_eq!(row[4..], [0, 0, 0], "nothing was damaged: {}", told(&output));
    }
    assert_eq!(figure(&output, "file", 3), 0, "a file never has a record twice: {}", told(&output));
    assert!(std::fs::read_to_string(folder.path().join("torture/forebay.yaml")).unwrap().contains("south"));
}

#[test]
fn an_interrupted_torture_still_gives_its_account() {
    let folder = TempDir::new().unwrap();
    let mut command = torture(folder.path(), "10", &["--seed", "6"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let records = folder.path().join("torture/records.jsonl");
    eventually("records", || std::fs::metadata(&records).is_ok_and(|data| data.len() > 0));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(figure(&output, "file", 1) > 0);
}

/// Starts a torture without damage and with a file of the test's, lets `tamper` at the file once it has some
/// records, and gives the outcome.
fn tampered(tamper: impl FnOnce(&Path)) -> Output {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.jsonl");
    let to = format!("file:{}", file.display());
    let mut command = torture(folder.path(), "0.05", &["--seed", "5", "--without", "damage", "--to", &to]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("records in the file", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 20)
    });
    tamper(&file);
    child.wait_with_output().unwrap()
}

#[test]
fn a_record_that_vanishes_from_a_sink_is_found() {
    let output = tampered(|file| {
        let first = std::fs::read_to_string(file).unwrap().lines().next().unwrap().len();
        let handle = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        handle.write_all_at(&vec![b' '; first], 0).unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        told(&output).contains("1 records were answered 2xx and are not in the sink `file-2`"),
        "{}",
        told(&output)
    );
}

#[test]
fn a_record_that_stands_twice_in_a_file_is_found() {
    let output = tampered(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        let line = format!("{}\n", text.lines().next().unwrap());
        std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("1 records came again to the sink `file-2`"), "{}", told(&output));
}

#[test]
fn the_child_ends_with_a_torture_that_is_killed() {
    let folder = TempDir::new().unwrap();
    let mut command = torture(folder.path(), "1", &["--without", "kill"]);
    let mut torture = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lock = folder.path().join("torture/lock");
    let mut child = String::new();
    eventually("a child that runs", || {
        child = std::fs::read_to_string(&lock).unwrap_or_default().trim().to_owned();
        !child.is_empty() && Path::new("/proc").join(&child).exists()
    });
    torture.kill().unwrap();
    torture.wait().unwrap();
    eventually("the end of the child", || !Path::new("/proc").join(&child).exists());
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let folder = TempDir::new().unwrap();
    for (minutes, more, said) in [
        ("0", &[][..], "--minutes is 0"),
        ("NaN", &[], "--minutes is NaN"),
        ("1", &["--to", "stdout"], "cannot be accounted for"),
        ("1", &["--set", "nonsense=1"], "has no setting `nonsense`"),
        ("1", &["--without", "mercy"], "invalid value 'mercy'"),
    ] {
        let output = torture(folder.path(), minutes, more).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains(said), "{}", told(&output));
    }
}
