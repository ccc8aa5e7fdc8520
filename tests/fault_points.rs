//! Promise: acked = delivered + duplicates + dead-lettered, and nothing twice in a file, when the process is
//! killed at a chosen point of its work: around the commit, the checkpoint, the sink's write, the cursor, the trim,
//! the opening, the mending. The points are in the tests' build alone.

mod accounts;
mod clock;
mod mending;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use self::accounts::Accounts;
use crate::main_job::{KEY, event};
use crate::support::{Running, eventually, forebay, post};

/// Every point, by the test that kills the process there. What is not reached fails its test, and a point that is
/// in no list fails the last test of this file.
const COMMIT: &[&str] = &["commit.begin", "commit.planned", "commit.done", "commit.answered"];
const STORE: &[&str] = &["checkpoint.begin", "checkpoint.done", "trim.begin", "trim.done"];
const SINK: &[&str] = &["sink.begin", "file.written", "file.synced", "cursor.begin", "cursor.saved"];
const ROTATION: &[&str] = &["rotate.aside", "rotate.packed", "rotate.named"];
const REOPEN: &[&str] = &["reopen.begin", "reopen.emptied", "reopen.done"];
const START_AND_END: &[&str] = &["open.checked", "close.said"];

/// Kills at a point, at its first visit under load and at a later one, and accounts for everything.
fn killed_at(points: &[&str], visits: &[u32]) {
    for point in points {
        for visit in visits {
            let mut accounts = Accounts::new();
            accounts.run_until_killed(&format!("{point}={visit}*off->return"));
            accounts.settle(&format!("killed at {point}, visit {}", visit + 1), |_| {});
        }
    }
}

#[test]
fn a_kill_before_in_and_after_the_commit_loses_nothing_acked() {
    killed_at(COMMIT, &[5, 24]);
}

#[test]
fn a_kill_around_a_checkpoint_or_a_trim_loses_nothing_acked() {
    killed_at(STORE, &[3]);
}

#[test]
fn a_kill_around_the_sinks_write_or_its_cursor_neither_loses_nor_repeats() {
    killed_at(SINK, &[2, 9]);
}

#[test]
fn a_kill_in_the_middle_of_a_rotation_neither_loses_nor_repeats() {
    killed_at(ROTATION, &[1]);
}

#[test]
fn a_kill_while_the_store_is_opened_again_after_a_failed_commit_loses_nothing_acked() {
    for point in REOPEN {
        let mut accounts = Accounts::new();
        let refused = accounts.run_until_killed(&format!("commit.fails=9*off->1*return->off;{point}=return"));
        assert!(refused > 0, "the failed commit was not answered with a refusal");
        accounts.settle(&format!("killed at {point}"), |_| {});
    }
}

#[test]
fn a_kill_at_the_start_or_at_the_end_loses_nothing_acked() {
    for point in START_AND_END {
        let mut accounts = Accounts::new();
        accounts.run_and_stop("");
        // At the start it is killed before it is ready; else when it is asked to stop.
        accounts.run_and_stop(&format!("{point}=return"));
        accounts.settle(&format!("killed at {point}"), |_| {});
    }
}

#[test]
fn records_that_no_thread_could_be_started_for_are_written_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = forebay();
    command
        .args(["run", "connectors/auth0-log-stream", "--set", "input_mode=manual", "--listen", "127.0.0.1:0"])
        .args(["--secret", "monad_api_key=env:KEY", "--data-dir"])
        .arg(folder.path().join("data"))
        .env("KEY", KEY)
        .env("FAILPOINTS", "stdout.thread=2*return->1*off->2*return->off");
    let running = Running::start(&mut command, 1);
    for n in 0..20 {
        let (status, body) =
            post(&running.urls[0], &[("x-api-key", KEY)], event(&format!("id-{n}")).as_bytes()).unwrap();
        assert_eq!(status, 200, "{body}");
    }
    let ids = |n: usize| running.wrote().matches(&format!("\"log_id\":\"id-{n}\"")).count();
    eventually("every record is written", || (0..20).all(|n| ids(n) >= 1));
    assert!((0..20).all(|n| ids(n) == 1), "{}", running.wrote());
    assert!(running.stop().success());
}

/// The points that the framework's files name, with these words before them.
fn named(before: &str) -> BTreeSet<String> {
    fn walk(folder: &Path, before: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, before, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&crate::support::root().join("framework"), before, &mut found);
    found
}

#[test]
fn every_point_has_its_kill() {
    let steps = crate::provisioning::killed::POINTS;
    // The token that a refresh brought is killed where it is kept by the test of calls that renew.
    let auth: &[&str] = &["auth.kept"];
    let killed =
        [COMMIT, STORE, SINK, ROTATION, REOPEN, START_AND_END, mending::POINTS, steps, auth].concat();
    let killed: BTreeSet<String> = killed.into_iter().map(str::to_owned).collect();
    assert_eq!(named("points::reached(\""), killed);
    let failing = ["commit.fails", "stdout.thread"].map(str::to_owned);
    assert_eq!(named("points::failing(\""), BTreeSet::from(failing));
}

/// What `cargo run --release` builds has no fault points; the tests' build has them. The binary itself is looked
/// at where it was built beside this one, as `.ci/run` does before the tests.
#[test]
fn an_ordinary_build_has_no_fault_points() {
    let tree = |edges: &str| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["tree", "--offline", "--locked", "--prefix", "none", "--edges", edges]);
        let output = command.current_dir(crate::support::root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().any(|line| line.starts_with("fail v"))
    };
    assert!(!tree("normal,build"), "an ordinary build depends on the fault points");
    assert!(tree("normal,build,dev"), "the tests' build lacks the fault points");
    let armed = |binary: &Path| {
        let bytes = std::fs::read(binary).unwrap();
        bytes.windows(10).any(|window| window == b"FAILPOINTS")
    };
    let tested = Path::new(env!("CARGO_BIN_EXE_forebay"));
    assert!(armed(tested), "the binary under test has no fault points");
    let released = tested.parent().unwrap().with_file_name("release").join("forebay");
    if released.exists() {
        assert!(!armed(&released), "{} has fault points", released.display());
    }
}
