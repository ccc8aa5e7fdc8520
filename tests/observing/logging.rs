//! What the log says, at which level and in which format, and what a start that fails says to do.

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{plain, run_plain};
use crate::main_job::{KEY, event, manual};
use crate::support::{Running, eventually, forebay, post};

#[test]
fn dead_letters_are_a_warning_with_the_command_and_counted_apart() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut run_plain(folder.path()), 1);
    let send = |body: &str| post(&running.urls[0], &[("x-key", KEY)], body.as_bytes()).unwrap();
    let (status, answer) = send(r#"{"id":"1"}"#);
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer, json!({"status": "success", "accepted": 1, "duplicates": 0, "dead": 0}));
    for n in 0..3 {
        let (status, answer) = send(&format!(r#"{{"other":{n}}}"#));
        let answer: Json = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["accepted"], &answer["dead"]), (200, &json!(0), &json!(1)));
    }
    let said = running.said();
    let warned: Vec<&str> = said.lines().filter(|line| line.contains("became dead letters")).collect();
    assert_eq!(warned.len(), 1, "one line a minute: {said}");
    let show = r#"show="forebay dead-letters list --id plain""#;
    assert!(warned[0].contains("WARN") && warned[0].contains(show), "{}", warned[0]);
    assert!(warned[0].contains(r#"reason="schema""#) && warned[0].contains("count=1"), "{}", warned[0]);
    let first: Vec<&str> = said.lines().filter(|line| line.contains("first events received")).collect();
    assert_eq!(first.len(), 1, "{said}");
    assert!(first[0].contains("INFO") && first[0].contains(r#"instance="plain""#), "{}", first[0]);
}

#[test]
fn log_level_comes_from_flags_then_from_the_environment() {
    let said = |flags: &[&str], variable: Option<&str>| {
        let folder = TempDir::new().unwrap();
        let mut command = run_plain(folder.path());
        command.args(flags);
        if let Some(filter) = variable {
            command.env("FOREBAY_LOG", filter);
        }
        let mut running = Running::start(&mut command, 1);
        post(&running.urls[0], &[("x-key", KEY)], br#"{"id":"1"}"#).unwrap();
        post(&format!("{}x", running.urls[0]), &[("x-key", KEY)], b"{}").unwrap();
        // A thread of its own writes the log: it is whole once the process has ended.
        running.signal("TERM");
        assert!(running.wait().success());
        running.said()
    };
    assert!(said(&[], None).contains("INFO first events received"));
    let quiet = said(&[], Some("error"));
    assert_eq!(quiet.lines().count(), 1, "the ready line alone: {quiet}");
    assert!(said(&["--log-level", "info"], Some("error")).contains("INFO first events received"));
    assert!(said(&["-v"], Some("error")).contains("INFO first events received"));
    for (flags, variable) in [(&["--log-level", "loud"][..], None), (&[][..], Some("hyper=trace"))] {
        let folder = TempDir::new().unwrap();
        let mut command = run_plain(folder.path());
        command.args(flags).envs(variable.map(|filter| ("FOREBAY_LOG", filter)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unknown") && said.contains("expected"), "{said}");
    }
}

#[test]
fn json_log_is_json_from_the_first_line_to_the_last_error() {
    let folder = TempDir::new().unwrap();
    let mut command = run_plain(folder.path());
    command.args(["--log-format", "json", "--public-url", "https://logs.example.com"]);
    let running = Running::try_start(&mut command, 0);
    let ready = || running.said().lines().any(|line| line.contains("ready: receiving plain at http://"));
    eventually("the ready line is there", ready);
    running.signal("TERM");
    eventually("it says that it stops", || running.said().contains("stopping"));
    let said = running.said();
    let lines: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line["url"] == "https://logs.example.com/in"), "{said}");
    // An error that ends the start: no secret.
    let mut command = forebay();
    let spec = folder.path().join("plain");
    let output = command.arg("run").arg(spec).args(["--log-format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("key"), "{last}");
}

#[test]
fn instructions_are_printed_once_and_by_a_command() {
    let folder = TempDir::new().unwrap();
    let start = || {
        let mut command = manual(folder.path());
        command.args(["--public-url", "https://logs.example.com"]);
        Running::start(&mut command, 1)
    };
    let first = start();
    eventually("the instructions", || first.said().contains("curl"));
    assert!(
        first.said().contains(r#"url="https://logs.example.com/api/v2/http/send/acme""#),
        "{}",
        first.said()
    );
    post(&first.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    assert!(first.stop().success());
    let second = start();
    eventually("the command is named", || second.said().contains("`forebay instructions`"));
    assert!(!second.said().contains("curl"), "{}", second.said());
    assert!(second.said().contains("https://logs.example.com/api/v2/http/send/acme"));
    let mut command = forebay();
    command
        .args(["instructions", "connectors/auth0-log-stream", "--set", "input_mode=manual", "--id", "acme"])
        .args(["--secret", "monad_api_key=env:KEY", "--public-url", "https://logs.example.com"])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .env("KEY", KEY);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("curl"), "{text}");
    assert!(!text.contains(KEY), "no terminal, no key: {text}");
}

/// A command that runs as a user without rights, where this test has those of root.
fn as_nobody(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    if rustix::process::geteuid().is_root() { command.uid(65534).gid(65534) } else { command }
}

#[test]
fn permission_denied_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("held.jsonl"), "").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The binary may be below a folder that this user cannot enter.
    let binary = folder.path().join("forebay");
    std::fs::copy(env!("CARGO_BIN_EXE_forebay"), &binary).unwrap();
    let spec = plain(folder.path());
    std::fs::set_permissions(closed.join("held.jsonl"), std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = |data: &Path, more: &[&str]| {
        let mut command = Command::new(&binary);
        command.env_clear().env("KEY", KEY).current_dir(&open).stdin(std::process::Stdio::null());
        command
            .arg("run")
            .arg(&spec)
            .args(["--secret", "key=env:KEY"])
            .arg("--data-dir")
            .arg(data)
            .args(more);
        let output = as_nobody(&mut command).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let user = if rustix::process::geteuid().is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    let any = ["--listen", "127.0.0.1:0"];
    let text = said(&closed.join("data"), &any);
    assert!(text.contains(&format!("user {user} may not create or change the data folder")), "{text}");
    assert!(text.contains("mkdir -p") && text.contains(&format!("chown {user}:")), "{text}");
    let to = |path: &Path| format!("file:{}", path.display());
    for (path, why) in [
        (closed.join("new.jsonl"), "cannot create a file in"),
        (closed.join("held.jsonl"), "cannot append to this file"),
        (closed.clone(), "this is a folder"),
        (folder.path().join("missing/new.jsonl"), "the folder of the file does not exist"),
    ] {
        let text = said(&open.join("data"), &[&any[..], &["--to", &to(&path)]].concat());
        assert!(text.contains(why) && text.contains("help:"), "{why}: {text}");
    }
    // Containers may open low ports to everybody.
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if start.trim() == "1024" {
        let text = said(&open.join("data"), &["--listen", "127.0.0.1:443"]);
        assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }
}
