//! `run --record`: what an instance does becomes a case that holds as it stands, and nobody finds a secret in it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use tempfile::TempDir;

use crate::support::{Running, eventually, forebay, post, root};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Tenant};

fn recorded(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort();
    files
}

/// Plays a recorded case against its connector.
fn holds(connector: &str, file: &Path) {
    let output = forebay().args(["test", "--connector", connector]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let case = std::fs::read_to_string(file).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}\n{case}");
}

/// Unlike connectors: a token in a header, HMAC, a public key that the vendor hands out, keys by URL, several resources,
/// handshakes while a call is open, a secret that is told once.
#[test]
fn a_simulated_life_is_a_case() {
    let folder = TempDir::new().unwrap();
    // Most of a life is waiting: they are lived at once.
    std::thread::scope(|scope| {
        for connector in [
            "auth0-log-stream",
            "aws-sns",
            "azure-event-grid",
            "box-webhooks",
            "github-webhooks",
            "google-pubsub-push",
            "microsoft-graph",
            "sendgrid-events",
            "stripe-events",
            "twitch-eventsub",
        ] {
            let folder = folder.path().join(connector);
            scope.spawn(move || simulated(connector, &folder));
        }
    });
}

fn simulated(connector: &str, folder: &Path) {
    let path = format!("connectors/{connector}");
    let record = folder.join("recorded");
    let output = forebay()
        .args(["run", &path, "--simulate", "--events", "5", "--data-dir"])
        .arg(folder.join("data"))
        .arg("--record")
        .arg(&record)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{connector}: {said}");
    let files = recorded(&record);
    assert_eq!(files.len(), 1, "{connector}: {said}");
    assert!(said.contains("recorded: ") && said.contains("which holds"), "{connector}: {said}");
    holds(&path, &files[0]);
}

const KEY: &str = "the-key:of+this/stream=1";

/// Runs the first connector against a tenant until it has received one event; its end, and what it said.
fn run(tenant: &Tenant, folder: &Path, data: &str, description: &str) -> (Option<i32>, String) {
    let mut command = forebay();
    command
        .args(["run", "connectors/auth0-log-stream", "--set", "input_mode=automatic", "--allow-loopback"])
        .args(["--set", &format!("base_url={}", tenant.url()), "--public-url", "https://logs.example.com"])
        .args(["--secret", "client_id=env:ID", "--secret", "client_secret=env:SECRET"])
        .args(["--secret", "monad_api_key=env:KEY", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join(data))
        .arg("--record")
        .arg(folder.join("recorded"))
        .env("ID", CLIENT_ID)
        .env("SECRET", CLIENT_SECRET)
        .env("KEY", KEY);
    let before = tenant.requests().len();
    let mut running = Running::start(&mut command, 1);
    eventually("the stream is made or adopted", || {
        tenant.requests().iter().skip(before).any(|asked| {
            asked.method == "POST" && asked.path.ends_with("log-streams") || asked.method == "PATCH"
        })
    });
    let line = format!(
        "{{\"log_id\":\"1\",\"data\":{{\"date\":\"2026-01-01T00:00:00Z\",\"type\":\"s\",\"log_id\":\"1\",\"description\":\"{description}\"}}}}\n"
    );
    let (status, _) = post(&running.urls[0], &[("x-api-key", KEY)], line.as_bytes()).unwrap();
    assert_eq!(status, 200);
    let (status, _) = post(&running.urls[0], &[("x-api-key", "a stranger's")], b"{}").unwrap();
    assert_eq!(status, 401);
    running.signal("TERM");
    let code = running.wait().code();
    eventually("it said what became of the recording", || running.said().contains("record"));
    (code, running.said())
}

/// Runs against a tenant with real secrets: created, then adopted, an event received each time; both cases hold, and
/// none of the secrets is in them.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_case_without_its_secrets() {
    let (tenant, folder) = (Tenant::start().await, TempDir::new().unwrap());
    let record = folder.path().join("recorded");
    // The key stands in the event too, in several ways.
    let description = format!("{KEY} {} {}", BASE64.encode(KEY.as_bytes()), HEXLOWER.encode(KEY.as_bytes()));
    for data in ["first", "second"] {
        let (code, said) = run(&tenant, folder.path(), data, &description);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("left out: 1 requests that were not accepted"), "{said}");
    }
    let files = recorded(&record);
    assert_eq!(files.len(), 2, "a later recording leaves an earlier one alone: {files:?}");
    let tokens: Vec<String> = tenant
        .requests()
        .iter()
        .filter_map(|asked| {
            asked.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned)
        })
        .collect();
    assert!(!tokens.is_empty());
    for file in &files {
        let case = std::fs::read_to_string(file).unwrap();
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(case.contains("log-streams") && case.contains("invented-"), "{case}");
        for secret in [KEY, CLIENT_SECRET, CLIENT_ID].into_iter().chain(tokens.iter().map(String::as_str)) {
            let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for written in [
                secret.to_owned(),
                form,
                BASE64.encode(secret.as_bytes()),
                HEXLOWER.encode(secret.as_bytes()),
            ] {
                assert!(!case.contains(&written), "{written} stands in\n{case}");
            }
        }
        holds("connectors/auth0-log-stream", file);
    }

    // The base64 of a longer text holds the key where nothing can be replaced: then nothing is written.
    let (code, said) = run(&tenant, folder.path(), "third", &BASE64.encode(format!("i:{KEY}").as_bytes()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the recording is not written: a secret could still be seen in it"), "{said}");
    assert_eq!(recorded(&record).len(), 2);
}

/// What could not be told from other text is refused before anything is done.
#[test]
fn a_short_secret_is_not_recorded() {
    let folder = TempDir::new().unwrap();
    let output = forebay()
        .args([
            "run",
            "connectors/auth0-log-stream",
            "--set",
            "input_mode=manual",
            "--secret",
            "monad_api_key=env:KEY",
        ])
        .args(["--record", "r", "--data-dir"])
        .arg(folder.path())
        .env("KEY", "short")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the secret `monad_api_key` has fewer than 6 characters"), "{said}");
    assert!(root().join("r").metadata().is_err());
}

#[test]
fn a_place_that_can_hold_no_recording_is_said_before_anything_is_received() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut command = crate::main_job::manual(folder.path());
    let output = command.arg("--record").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("recordings cannot be kept there") && !said.contains("ready:"), "{said}");
}
