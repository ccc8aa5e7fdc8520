//! The main job through the built binary: what is posted comes out of the sink byte for byte, once, and
//! what cannot be accepted is kept with its reason.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Running, eventually, forebay, post, shared};

/// The key that the vendor sends.
pub const KEY: &str = "the-key-of-this-test";

/// `forebay run` of the Auth0 connector in manual mode, with one file sink, all inside `folder`.
pub fn manual(folder: &Path) -> Command {
    let mut command = forebay();
    command
        .args(["run", "connectors/auth0-log-stream", "--set", "input_mode=manual"])
        .args(["--secret", "monad_api_key=env:KEY", "--listen", "127.0.0.1:0"])
        .args(["--id", "acme"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--to")
        .arg(format!("file:{}", folder.join("out.jsonl").display()))
        .env("KEY", KEY);
    command
}

/// An event as the vendor sends it, with an id of its own.
pub fn event(id: &str) -> String {
    format!(
        r#"{{"log_id":"{id}","data":{{"date":"2026-03-01T10:00:00.000Z","type":"s","elapsed":1.0,"at":1635984900418,"log_id":"{id}"}}}}"#
    )
}

fn record(id: &str) -> String {
    format!(
        r#"{{"date":"2026-03-01T10:00:00.000Z","type":"s","elapsed":1.0,"at":1635984900418,"log_id":"{id}"}}"#
    )
}

fn delivered(folder: &Path) -> Vec<String> {
    std::fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn dead_letters(folder: &Path, verb: &[&str]) -> String {
    let output = forebay()
        .arg("dead-letters")
        .args(verb)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--id", "acme"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_posted_comes_out_of_the_file_sink_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut manual(folder.path()), 1);
    assert!(running.urls[0].ends_with("/api/v2/http/send/acme"), "{:?}", running.urls);

    let body = format!("{}\n{}\r\n\n{}", event("1"), event("2"), event("3"));
    let (status, answer) = post(&running.urls[0], &[("x-api-key", KEY)], body.as_bytes()).unwrap();
    assert_eq!((status, answer.as_str()), (200, r#"{"status":"success","count":3}"#));

    eventually("three records in the file", || delivered(folder.path()).len() == 3);
    assert_eq!(delivered(folder.path()), [record("1"), record("2"), record("3")]);
    assert_eq!(running.stop().code(), Some(0), "a graceful stop by signal is a success");
}

#[test]
fn who_does_not_show_the_key_stores_nothing() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut manual(folder.path()), 1);
    let url = &running.urls[0];
    for headers in [
        &[][..],
        &[("x-api-key", "wrong")],
        &[("x-api-key", "")],
        &[("authorization", "wrong")],
        &[("authorization", "Basic the-key-of-this-test")],
        &[("x-api-kex", KEY)],
    ] {
        let (status, answer) = post(url, headers, event("1").as_bytes()).unwrap();
        assert_eq!(status, 401, "{headers:?}");
        assert!(answer.len() < 100 && !answer.contains("key"), "the caller learns nothing: {answer}");
    }
    let (status, _) = post(url, &[("x-api-key", KEY)], event("2").as_bytes()).unwrap();
    assert_eq!(status, 200);
    eventually("the one good record", || !delivered(folder.path()).is_empty());
    assert!(!running.said().contains(KEY), "the key is in the log");
    running.stop();
    assert_eq!(delivered(folder.path()), [record("2")]);
    assert_eq!(dead_letters(folder.path(), &["list"]).matches("undecodable").count(), 0);
}

#[test]
fn one_broken_line_among_a_hundred_is_one_dead_letter_and_ninety_nine_records() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut manual(folder.path()), 1);
    let lines: Vec<String> = (0..100)
        .map(|n| if n == 41 { r#"{"log_id":"41","data":{"type":"#.to_owned() } else { event(&n.to_string()) })
        .collect();
    let (status, answer) =
        post(&running.urls[0], &[("x-api-key", KEY)], lines.join("\n").as_bytes()).unwrap();
    assert_eq!((status, answer.as_str()), (200, r#"{"status":"success","count":99,"dead":1}"#));
    eventually("ninety-nine records", || delivered(folder.path()).len() == 99);

    // While `run` runs: another process reads the same store.
    let list = dead_letters(folder.path(), &["list"]);
    let number = list
        .split_whitespace()
        .find(|word| word.parse::<u64>().is_ok())
        .expect("a number in the list")
        .to_owned();
    let shown = dead_letters(folder.path(), &["show", &number]);
    assert!(shown.contains("undecodable"), "{shown}");
    assert!(shown.contains(r#"{"log_id":"41","data":{"type":"#), "{shown}");
    running.stop();
}

#[test]
fn a_second_run_of_the_same_data_dir_is_refused_with_the_first_ones_pid() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut manual(folder.path()), 1);
    let second = manual(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&running.pid().to_string()), "{said}");
}

#[test]
fn what_is_missing_is_said_all_at_once_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let output = forebay()
        .args([
            "run",
            "connectors/auth0-log-stream",
            "--set",
            "input_mode=automatic",
            "--set",
            "base_ulr=https://a.example",
        ])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for name in ["base_url", "base_ulr", "client_id", "client_secret", "monad_api_key", "public"] {
        assert!(said.contains(name), "{name} is not mentioned in:\n{said}");
    }
    assert!(output.stdout.is_empty());
    assert!(!folder.path().join("data").exists(), "something was started");
}

#[test]
fn a_port_in_use_is_an_error_and_not_a_healthy_process() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = manual(folder.path()).args(["--listen", &format!("127.0.0.1:{port}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "the flag was given twice");
    let mut command = forebay();
    command
        .args([
            "run",
            "connectors/auth0-log-stream",
            "--set",
            "input_mode=manual",
            "--secret",
            "monad_api_key=env:KEY",
        ])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .env("KEY", KEY);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&port.to_string()));
}

#[test]
fn stdout_carries_records_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let mut command = forebay();
    command
        .args([
            "run",
            "connectors/auth0-log-stream",
            "--set",
            "input_mode=manual",
            "--secret",
            "monad_api_key=env:KEY",
        ])
        .args(["--listen", "127.0.0.1:0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .env("KEY", KEY);
    let running = Running::start(&mut command, 1);
    post(&running.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    eventually("the record on stdout", || running.wrote().ends_with('\n'));
    assert_eq!(running.wrote(), record("1") + "\n");
    for line in running.said().lines().filter(|line| !line.starts_with("ready: ")) {
        assert!(line.starts_with('{') && line.ends_with('}'), "no JSON: {line}");
    }
}

/// The captured events of real tenants: 97 lines with 96 ids, one of which comes twice with different bytes.
#[test]
fn captured_events_come_out_as_their_data_however_they_are_posted() {
    let Some(shared) = shared() else { return };
    let mut lines = Vec::new();
    for file in ["captured-2021.jsonl", "sample-2026.jsonl"] {
        let text = std::fs::read_to_string(shared.join("data/auth0/events").join(file)).unwrap();
        lines.extend(text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned));
    }
    assert_eq!(lines.len(), 98);
    // `"data":` is followed by the record up to the envelope's last brace.
    let mut seen = std::collections::HashSet::new();
    let mut expected = Vec::new();
    for line in &lines {
        let id = line.split('"').nth(3).unwrap();
        if seen.insert(id) {
            let from = line.find(r#""data":"#).unwrap() + 7;
            expected.push(line[from..line.len() - 1].to_owned());
        }
    }
    assert_eq!(expected.len(), 97);
    let bodies: [(&str, Vec<String>); 3] = [
        ("lines", vec![lines.join("\n")]),
        ("array", vec![format!("[{}]", lines.join(","))]),
        ("one by one", lines.clone()),
    ];
    for (name, bodies) in bodies {
        let folder = TempDir::new().unwrap();
        let running = Running::start(&mut manual(folder.path()), 1);
        for body in bodies {
            let (status, _) = post(&running.urls[0], &[("x-api-key", KEY)], body.as_bytes()).unwrap();
            assert_eq!(status, 200, "{name}");
        }
        eventually("97 records", || delivered(folder.path()).len() >= 97);
        running.stop();
        assert!(delivered(folder.path()) == expected, "{name}: the bytes differ");
        let list = dead_letters(folder.path(), &["list"]);
        assert_eq!(list.matches("id reused").count(), 1, "{name}: {list}");
    }
}

#[test]
fn a_key_that_is_made_here_is_told_to_whoever_has_to_enter_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = forebay();
    command
        .args(["run", "connectors/generic-http", "--listen", "127.0.0.1:0", "--id", "acme", "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--set", "authentication=token", "--set", "header=x-key"]);
    let running = Running::start(&mut command, 1);
    let file = folder.path().join("data/acme-secret.key");
    eventually("the key is told", || running.said().contains("note: the key stands in"));
    let said = running.said();
    assert!(said.contains("endpoint: https://YOUR-HOST/in/acme\n"), "{said}");
    assert!(said.contains(&format!("secret: what stands in {}\n", file.display())), "{said}");
    let key = std::fs::read_to_string(&file).unwrap();
    assert_eq!(key.len(), 64);
    assert!(!said.contains(&key), "the key itself is told");
    let (status, body) = post(&running.urls[0], &[("x-key", &key)], br#"{"n":1}"#).unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(running.stop().success());
}

#[test]
fn secret_that_was_given_is_written_nowhere_by_manual_mode() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "the first key of this test").unwrap();
    // An earlier version left a copy behind.
    let copy = folder.path().join("data/acme-monad_api_key.key");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(&copy, "the first key of this test").unwrap();
    let mut command = forebay();
    command
        .args(["run", "connectors/auth0-log-stream", "--set", "input_mode=manual", "--listen", "127.0.0.1:0"])
        .args(["--id", "acme", "--data-dir"])
        .arg(folder.path().join("data"))
        .arg("--secret")
        .arg(format!("monad_api_key=file:{}", secret.display()));
    let running = Running::start(&mut command, 1);
    eventually("the instructions are given", || running.said().contains("YOUR-MONAD-API-KEY"));
    std::fs::write(&secret, "the second key of this test").unwrap();
    running.signal("HUP");
    eventually("it is said", || running.said().contains("give the vendor the new value"));
    assert!(!copy.exists(), "the copy is still there");
    assert!(!running.said().contains("key of this test"));
    assert!(running.stop().success());
}

#[test]
fn a_file_in_the_place_of_the_data_folder_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "no folder").unwrap();
    let output = manual(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("wants a folder, and this is none") && said.contains("--data-dir"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("data")).unwrap(), "no folder");
}

/// The bundled sample is an example of what a sender may send, and says nothing of what the operator's sender does.
#[test]
fn generic_http_starts_with_pointers_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = forebay();
    command
        .args(["run", "connectors/generic-http", "--listen", "127.0.0.1:0", "--id", "acme", "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--set", "authentication=token", "--set", "header=x-key", "--secret", "secret=env:KEY"])
        .args(["--set", "id_at=/event_id", "--set", "time_at=/timestamp", "--set", "type_at=/event/type"])
        .env("KEY", KEY);
    let running = Running::start(&mut command, 1);
    let body = br#"{"event_id":"7","timestamp":"2026-03-01T10:00:00Z","event":{"type":"made"}}"#;
    assert_eq!(post(&running.urls[0], &[("x-key", KEY)], body).unwrap().0, 200);
    assert_eq!(post(&running.urls[0], &[("x-key", KEY)], body).unwrap().0, 200);
    eventually("the event comes out", || running.wrote().contains("event_id"));
    assert_eq!(running.wrote().matches("event_id").count(), 1, "the id is where the setting says");
    assert!(running.stop().success());
}
