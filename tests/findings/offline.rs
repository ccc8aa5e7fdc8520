//! Promise: `validate` and `explain` need no network, no environment and no secrets. Shown by their system calls.

use std::process::{Command, Stdio};

use crate::support::{forebay, needs_strace, root};

/// The system calls of one command that have to do with the network, in an environment with nothing in it.
fn network(arguments: &[&str]) -> (Option<i32>, String) {
    needs_strace();
    let outer = tempfile::tempdir().unwrap();
    let trace = outer.path().join("trace");
    let plain = forebay();
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-e", "trace=%network", "-o"]).arg(&trace).arg(plain.get_program());
    command.args(arguments).current_dir(root()).env_clear().stdin(Stdio::null());
    let output = command.output().unwrap();
    let calls = std::fs::read_to_string(&trace).unwrap();
    let calls = calls.lines().filter(|line| !line.contains("+++ exited")).collect::<Vec<_>>().join("\n");
    (output.status.code(), calls)
}

#[test]
fn nothing_is_looked_up_and_no_socket_is_opened() {
    assert_eq!(network(&["validate", "connectors"]), (Some(0), String::new()));
    let remote = "tests/bad-specs/remote-schema.yaml";
    for format in ["human", "json", "sarif", "github"] {
        assert_eq!(network(&["validate", "--format", format, remote]), (Some(1), String::new()));
    }
    assert_eq!(network(&["explain", "FB407"]), (Some(0), String::new()));
    // The trace would show it: a run that listens opens sockets.
    let (_, calls) = network(&[
        "run",
        "connectors/auth0-log-stream",
        "--simulate",
        "--events",
        "1",
        "--data-dir",
        "/dev/null/x",
    ]);
    assert!(calls.contains("socket("), "{calls}");
}
