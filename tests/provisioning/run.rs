//! The same life as `forebay run` lives it, through the binary.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::bench::ENDPOINT;
use crate::support::{Running, eventually, forebay};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Tenant, eventbridge};

/// `forebay run` or `forebay destroy` against the tenant, with everything in a folder.
pub fn command(tenant: &Tenant, verb: &str, folder: &Path) -> Command {
    let mut command = forebay();
    command.args([verb, "connectors/auth0-log-stream", "--allow-loopback"]);
    command.args(["--public-url", "https://logs.example.com", "--set", "input_mode=automatic"]);
    command.arg("--set").arg(format!("base_url={}", tenant.url()));
    command.arg("--data-dir").arg(folder.join("data"));
    command.arg("--secret").arg(format!("monad_api_key=file:{}", folder.join("key").display()));
    command.env("FOREBAY_SECRET_CLIENT_ID", CLIENT_ID).env("FOREBAY_SECRET_CLIENT_SECRET", CLIENT_SECRET);
    if verb == "run" {
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--to").arg(format!("file:{}", folder.join("out.jsonl").display()));
    }
    command
}

pub async fn bench() -> (Tenant, tempfile::TempDir) {
    let tenant = Tenant::start().await;
    tenant.add(eventbridge());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "the-first-key\n").unwrap();
    (tenant, folder)
}

fn key(tenant: &Tenant) -> String {
    tenant
        .http_streams()
        .first()
        .map(|stream| stream["sink"]["httpCustomHeaders"][0]["value"].as_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_creates_keeps_takes_a_new_key_and_notices_destroy() {
    let (tenant, folder) = bench().await;
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    // Stopped between the vendor's answer and the last save, the next run would end the create without a look.
    eventually("the stream is created", || run.said().contains("log_stream created"));
    assert_eq!(tenant.http_streams()[0]["sink"]["httpEndpoint"], ENDPOINT);
    assert!(run.stop().success());

    // A second run writes nothing at the vendor.
    tenant.forget_requests();
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is looked at", || {
        tenant.requests().iter().any(|asked| asked.path.starts_with("/api/") && asked.status == 200)
    });
    std::fs::write(folder.path().join("key"), "the-second-key\n").unwrap();
    run.signal("HUP");
    eventually("the vendor has the new key", || key(&tenant) == "the-second-key");
    assert_eq!(tenant.writes().len(), 1, "one PATCH, and nothing before it");

    // Destroyed beside it: the next look (a new key asks for one) makes nothing anew.
    let mut destroy = command(&tenant, "destroy", folder.path());
    let output = tokio::task::spawn_blocking(move || destroy.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(tenant.http_streams().len(), 0);
    tenant.forget_requests();
    std::fs::write(folder.path().join("key"), "the-third-key\n").unwrap();
    run.signal("HUP");
    eventually("run says that it stops", || run.said().contains("somebody ran `destroy`"));
    assert_eq!(tenant.requests().len(), 0);
    assert!(run.stop().success());
    tenant.assert_no_strange_request();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_refusal_ends_run_with_3_and_says_what_to_do() {
    let (tenant, folder) = bench().await;
    tenant.add(eventbridge());
    let mut run = command(&tenant, "run", folder.path());
    let output = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("You have reached the maximum number of log streams"), "{said}");
    assert!(said.contains("Delete one under Monitoring > Log Streams"), "{said}");
    assert!(!said.contains("the-first-key") && !said.contains(CLIENT_SECRET), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_data_dir_adopts_and_a_suspended_stream_is_repaired() {
    let (tenant, folder) = bench().await;
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is created", || tenant.http_streams().len() == 1);
    assert!(run.stop().success());
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let id = tenant.http_streams()[0]["id"].as_str().unwrap().to_owned();
    tenant.change(&id, |stream| stream["status"] = json!("suspended"));
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is active again", || tenant.http_streams()[0]["status"] == "active");
    assert!(run.stop().success());
    assert_eq!(tenant.http_streams().len(), 1);
    assert_eq!(tenant.http_streams()[0]["id"], id.as_str());
}
