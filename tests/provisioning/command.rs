//! `forebay plan` and `forebay destroy`, as a person runs them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::support::{forebay, root};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Tenant, eventbridge};

const KEY: &str = "the-key-that-auth0-must-show";

/// Runs a command of the binary against the tenant.
async fn forebay_for(tenant: &Tenant, verb: &'static str, data_dir: &Path, more: &[&str]) -> Output {
    let mut command: Command = forebay();
    command.args([verb, "connectors/auth0-log-stream", "--allow-loopback"]);
    command.args(["--public-url", "https://logs.example.com", "--set", "input_mode=automatic"]);
    command.arg("--set").arg(format!("base_url={}", tenant.url()));
    command.arg("--data-dir").arg(data_dir).args(more);
    command.env("FOREBAY_SECRET_CLIENT_ID", CLIENT_ID).env("FOREBAY_SECRET_CLIENT_SECRET", CLIENT_SECRET);
    command.env("FOREBAY_SECRET_MONAD_API_KEY", KEY);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a run would leave behind, without one.
async fn provisioned(tenant: &Tenant, data_dir: &Path) {
    use forebay::connector::clock::SystemClock;
    use std::sync::Arc;
    let mut bench = super::bench::Bench::start().await;
    bench.settings.insert("base_url".to_owned(), json!(tenant.url()));
    let store = forebay::queue::local::Local::open(
        data_dir,
        forebay::queue::limits::Limits::default(),
        Arc::new(SystemClock),
    )
    .unwrap();
    let state: Arc<dyn forebay::queue::State> = store.clone();
    let provisioner =
        forebay::provision::Provisioner::new(bench.instance(), bench.caller(), state, Arc::new(SystemClock));
    provisioner.reconcile().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_the_create_with_secrets_masked_and_leaves_no_trace() {
    let tenant = Tenant::start().await;
    tenant.add(eventbridge());
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let output = forebay_for(&tenant, "plan", &data_dir, &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output).replace(&tenant.url(), "http://TENANT/");
    insta::assert_snapshot!(text);
    assert!(!data_dir.exists(), "a plan does not make the data folder");
    assert!(tenant.writes().is_empty());
    assert!(!text.contains(KEY) && !text.contains(CLIENT_SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_drift_field_by_field() {
    let tenant = Tenant::start().await;
    let folder = tempfile::tempdir().unwrap();
    provisioned(&tenant, folder.path()).await;
    let id = tenant.http_streams()[0]["id"].as_str().unwrap().to_owned();
    tenant.change(&id, |stream| {
        stream["name"] = json!("by\u{1b}[31m hand");
        stream["status"] = json!("suspended");
        stream["pii_config"] = json!({"log_fields": ["email"], "method": "hash", "algorithm": "xxhash"});
        stream["sink"]["httpCustomHeaders"][0]["value"] = json!("somebody else's key");
    });
    tenant.grant(&["read:log_streams", "create:log_streams"]);
    tenant.forget_requests();
    let store = std::fs::read(folder.path().join("forebay.db")).unwrap_or_default();
    let output = forebay_for(&tenant, "plan", folder.path(), &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    insta::assert_snapshot!(stdout(&output).replace(&tenant.url(), "http://TENANT/"));
    assert!(!stdout(&output).contains("somebody else's key"));
    assert!(tenant.writes().is_empty());
    assert_eq!(std::fs::read(folder.path().join("forebay.db")).unwrap_or_default(), store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_refused_says_why_and_exits_3_and_a_wrong_configuration_2() {
    let tenant = Tenant::start().await;
    tenant.grant(&["create:log_streams"]);
    let folder = tempfile::tempdir().unwrap();
    let output = forebay_for(&tenant, "plan", folder.path(), &[]).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("Insufficient scope, expected any of: read:log_streams"));
    assert!(
        stdout(&output).contains("the token lacks read:log_streams update:log_streams delete:log_streams")
    );
    let output = forebay_for(&tenant, "plan", folder.path(), &["--set", "input_mode=sometimes"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_in_manual_mode_says_what_a_person_does() {
    let output = forebay()
        .args(["plan", "connectors/auth0-log-stream", "--set", "input_mode=manual"])
        .args(["--data-dir", "target/never-made"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("curl ") && text.contains("\"value\": \"****\""), "{text}");
    assert!(text.contains("no public https URL was given"), "{text}");
    assert!(!root().join("target/never-made").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_removes_what_was_made_and_says_so() {
    let tenant = Tenant::start().await;
    tenant.add(eventbridge());
    let folder = tempfile::tempdir().unwrap();
    let output = forebay_for(&tenant, "destroy", &folder.path().join("none"), &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("nothing to remove"));
    assert!(!folder.path().join("none").exists());

    provisioned(&tenant, folder.path()).await;
    let output = forebay_for(&tenant, "destroy", folder.path(), &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "auth0-log-stream: log_stream deleted\n");
    assert_eq!(tenant.streams().len(), 1);
    let output = forebay_for(&tenant, "destroy", folder.path(), &["--adopted"]).await;
    assert!(stdout(&output).contains("nothing to remove"));
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_leaves_what_was_adopted_and_exits_3_where_it_is_refused() {
    let tenant = Tenant::start().await;
    let folder = tempfile::tempdir().unwrap();
    provisioned(&tenant, folder.path()).await;
    let other = tempfile::tempdir().unwrap();
    provisioned(&tenant, other.path()).await;
    let output = forebay_for(&tenant, "destroy", other.path(), &[]).await;
    assert!(stdout(&output).contains("left alone: it was there before this instance"), "{}", stdout(&output));
    assert_eq!(tenant.streams().len(), 1);
    tenant.grant(&["read:log_streams"]);
    let output = forebay_for(&tenant, "destroy", other.path(), &["--adopted"]).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("Insufficient scope, expected any of: delete:log_streams"));
    tenant.grant(&crate::tenant::SCOPES);
    let output = forebay_for(&tenant, "destroy", other.path(), &["--adopted"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(tenant.streams().len(), 0);
}
