//! Faults that other products shipped and that no other test here names: docs/reliability.md lists them all.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use forebay::run::log::{Format, subscriber};
use tempfile::TempDir;

use crate::main_job::{KEY, event, manual};
use crate::receiving::stage::{self, Stage};
use crate::support::{Running, forebay, post, root};

#[test]
fn validate_asks_neither_the_environment_nor_the_network() {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let plain = forebay();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=socket,connect,sendto", "-o"]).arg(&trace);
    command.arg(plain.get_program()).args(["validate", "connectors/auth0-log-stream"]);
    // No variable at all: neither a secret nor a setting is there to be looked at.
    command.env_clear().current_dir(root()).stdin(Stdio::null());
    let output = command.output().expect("strace is needed: install it");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = std::fs::read_to_string(trace).unwrap();
    assert!(!calls.contains("AF_INET"), "{calls}");
}

#[tokio::test]
async fn a_line_far_longer_than_64_kib_is_a_record_like_any_other() {
    let stage = Stage::auth0().await;
    let long = "x".repeat(3 << 20);
    let record = format!(r#"{{"log_id":"1","date":"d","type":"s","description":"{long}"}}"#);
    let body = format!("{}\n{{\"log_id\":\"1\",\"data\":{record}}}\n{}", event("0"), event("2"));
    assert_eq!(stage.post(&body).await.status, 200);
    assert_eq!(stage.memory.ids(), ["0", "1", "2"]);
    assert_eq!(stage.memory.bodies()[1], record);
}

#[tokio::test]
async fn no_log_of_ours_shows_at_any_level_what_a_request_showed_as_its_key() {
    const GUESS: &str = "a-guess-that-is-wrong";
    let out = Arc::new(Mutex::new(Vec::new()));
    let log = subscriber(out.clone(), Format::Human, tracing::Level::TRACE);
    // See tests/calls/judging.rs: with a single subscriber a place may be taken for one nobody listens to.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _guard = tracing::subscriber::set_default(log);
    let stage = Stage::auth0().await;
    assert_eq!(stage.post(event("1")).await.status, 200);
    for name in ["x-api-key", "authorization", "cookie"] {
        let reply = stage.send(&[(name, GUESS)], event("2")).await;
        assert_eq!(reply.status, 401);
        assert!(!reply.body.contains(GUESS));
    }
    let query = format!("{}?key={GUESS}", stage.endpoint.path);
    stage.raw(stage::request("POST", &query, &[("connection", "close")], b"")).await;
    let log = String::from_utf8(out.lock().unwrap().clone()).unwrap();
    assert!(log.contains("request not accepted") && log.contains("key_wrong"), "{log}");
    assert!(!log.contains(GUESS) && !log.contains(stage::KEY), "{log}");
}

#[test]
fn every_refusal_is_counted_by_its_reason() {
    let folder = TempDir::new().unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let running = Running::start(manual(folder.path()).args(["--admin-listen", &admin]), 1);
    let url = &running.urls[0];
    post(url, &[], b"").unwrap();
    post(url, &[("x-api-key", "wrong")], b"").unwrap();
    post(url, &[("x-api-key", KEY), ("x-api-key", KEY)], b"").unwrap();
    post(url, &[("x-api-key", KEY), ("content-encoding", "br")], b"x").unwrap();
    post(&format!("{url}/beyond"), &[("x-api-key", KEY)], b"").unwrap();
    post(url, &[("two words", "x")], b"").unwrap();
    let host = admin.clone();
    let counted = || crate::support::get(&format!("http://{host}/metrics"));
    for (instance, reason) in [
        ("acme", "key_missing"),
        ("acme", "key_wrong"),
        ("acme", "key_several"),
        ("acme", "content_encoding"),
        ("", "unknown_path"),
        ("", "head_malformed"),
    ] {
        let line = format!("forebay_rejected_total{{instance=\"{instance}\",reason=\"{reason}\"}} 1\n");
        crate::support::eventually(&line, || counted().contains(&line));
    }
}

/// Secrets have no `==`: the one way to compare one with what came takes the same time whatever it is.
#[test]
fn what_was_shown_is_compared_with_a_secret_in_constant_time_alone() {
    let text = |path: &str| std::fs::read_to_string(root().join("framework").join(path)).unwrap();
    let secret = text("connector/secret.rs");
    let matches = secret.split("pub fn matches").nth(1).unwrap().split('}').next().unwrap();
    assert!(matches.contains("constant_time::verify_slices_are_equal"), "{matches}");
    for derived in secret.lines().filter(|line| line.contains("derive(")) {
        assert!(!derived.contains("PartialEq"), "{derived}");
    }
    for (file, how) in [
        ("token.rs", ".matches("),
        ("signed.rs", "verify_slices_are_equal("),
        ("jwt.rs", "hmac::verify("),
        ("public_key.rs", ".verify(message, tag)"),
    ] {
        assert!(text(&format!("receive/verify/{file}")).contains(how), "{file} compares in another way");
    }
    let folder = std::fs::read_dir(root().join("framework/receive/verify")).unwrap();
    let verify: String =
        folder.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap() + "\n").collect();
    for line in verify.lines() {
        assert!(!(line.contains("expose()") && line.contains("==")), "{line}");
    }
}
