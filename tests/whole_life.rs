//! The built binary against a strict tenant: both ends of a stream, from the first token to destroy.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::main_job::event;
use crate::support::{Running, eventually, forebay, post};
use crate::tenant::Tenant;

/// A command about the Auth0 connector in automatic mode against `tenant`, all inside `folder`.
fn automatic(verb: &str, tenant: &Tenant, folder: &Path) -> Command {
    let mut command = forebay();
    command
        .args([verb, "connectors/auth0-log-stream", "--id", "acme", "--allow-loopback"])
        .args(["--set", "input_mode=automatic", "--set", &format!("base_url={}", tenant.url())])
        .args(["--secret", "client_id=env:ID", "--secret", "client_secret=env:SECRET"])
        .args(["--secret", &format!("monad_api_key=file:{}", folder.join("key").display())])
        .args(["--public-url", "https://logs.example.com"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env("ID", crate::tenant::CLIENT_ID)
        .env("SECRET", crate::tenant::CLIENT_SECRET);
    if !folder.join("key").exists() {
        std::fs::write(folder.join("key"), "first-key\n").unwrap();
    }
    command
}

fn run(tenant: &Tenant, folder: &Path) -> Running {
    let mut command = automatic("run", tenant, folder);
    command
        .args(["--listen", "127.0.0.1:0"])
        .arg("--to")
        .arg(format!("file:{}", folder.join("out.jsonl").display()));
    Running::start(&mut command, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn create_then_keep_with_no_write_then_rotate_then_destroy() {
    let tenant = Tenant::start().await;
    tenant.add(crate::tenant::eventbridge());
    let folder = TempDir::new().unwrap();

    // The first run creates, and receives with the key that the vendor was given.
    let running = run(&tenant, folder.path());
    eventually("the stream is created", || tenant.http_streams().len() == 1);
    let stream = tenant.http_streams().remove(0);
    assert_eq!(stream["sink"]["httpEndpoint"], "https://logs.example.com/api/v2/http/send/acme");
    assert_eq!(stream["sink"]["httpCustomHeaders"][0], json!({"header": "x-api-key", "value": "first-key"}));
    let (status, _) = post(&running.urls[0], &[("x-api-key", "first-key")], event("1").as_bytes()).unwrap();
    assert_eq!(status, 200);
    assert_eq!(running.stop().code(), Some(0));

    // The second run finds all as it should be, and writes nothing.
    tenant.forget_requests();
    let running = run(&tenant, folder.path());
    eventually("the stream is looked at", || {
        tenant.requests().iter().any(|r| r.path.contains("log-streams"))
    });

    // A changed key: the old one and the new one are taken, the vendor gets the new one, the old one is dropped.
    std::fs::write(folder.path().join("key"), "second-key\n").unwrap();
    assert!(tenant.writes().is_empty(), "a second run wrote: {:?}", tenant.writes());
    running.signal("HUP");
    eventually("the vendor has the new key", || {
        tenant.http_streams()[0]["sink"]["httpCustomHeaders"][0]["value"] == "second-key"
    });
    let (status, _) = post(&running.urls[0], &[("x-api-key", "second-key")], event("2").as_bytes()).unwrap();
    assert_eq!(status, 200);
    let (status, _) = post(&running.urls[0], &[("x-api-key", "first-key")], event("3").as_bytes()).unwrap();
    assert_eq!(status, 200, "pushes under way still carry the old key");
    eventually("the old key is dropped", || {
        post(&running.urls[0], &[("x-api-key", "first-key")], event("3").as_bytes()).unwrap().0 == 401
    });

    // Destroy beside the run: it removes ours only, and the run does not make it anew.
    let output = automatic("destroy", &tenant, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(tenant.http_streams().is_empty());
    assert_eq!(tenant.streams().len(), 1, "the stream of another type is still there");
    assert_eq!(running.stop().code(), Some(0));
    assert!(tenant.http_streams().is_empty());
    tenant.assert_no_strange_request();
    for secret in ["first-key", "second-key", crate::tenant::CLIENT_SECRET] {
        assert!(!String::from_utf8_lossy(&output.stderr).contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_data_dir_adopts_what_is_there_and_plan_writes_nothing() {
    let tenant = Tenant::start().await;
    let folder = TempDir::new().unwrap();
    let running = run(&tenant, folder.path());
    eventually("the stream is created", || tenant.http_streams().len() == 1);
    running.stop();
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    tenant.forget_requests();

    let output = automatic("plan", &tenant, folder.path()).output().unwrap();
    let plan = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(plan.contains("adopt"), "{plan}");
    assert!(!plan.contains("first-key") && !plan.contains(crate::tenant::CLIENT_SECRET), "{plan}");
    assert!(tenant.writes().is_empty(), "plan wrote {:?}", tenant.writes());
    assert!(!folder.path().join("data").exists(), "plan left something behind");

    let running = run(&tenant, folder.path());
    eventually("adopted, and updated once", || !tenant.writes().is_empty());
    assert_eq!(tenant.http_streams().len(), 1);
    running.stop();
    tenant.assert_no_strange_request();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_ends_a_single_instance_with_3_and_says_what_to_do() {
    let tenant = Tenant::start().await;
    tenant.grant(&["read:log_streams"]);
    let folder = TempDir::new().unwrap();
    let output = automatic("run", &tenant, folder.path()).args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Insufficient scope"), "{said}");
    assert!(said.contains("create:log_streams"), "{said}");
    assert!(tenant.http_streams().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_on_one_listener_and_a_refused_one_does_not_stop_the_other() {
    let (good, bad) = (Tenant::start().await, Tenant::start().await);
    bad.grant(&["read:log_streams"]);
    let folder = TempDir::new().unwrap();
    let root = crate::support::root().display();
    let instance = |id: &str, tenant: &Tenant| {
        format!(
            "  - id: {id}\n    connector: {root}/connectors/auth0-log-stream\n    settings: {{input_mode: automatic, base_url: \"{}\"}}\n    \
             secrets: {{client_id: {{env: ID}}, client_secret: {{env: SECRET}}, monad_api_key: {{env: KEY}}}}\n    \
             sinks: [{{name: archive, file: {{path: {id}.jsonl}}}}]\n",
            tenant.url()
        )
    };
    let config = format!(
        "data_dir: data\nreceiver: {{listen: 127.0.0.1:0, public_url: https://logs.example.com}}\ninstances:\n{}{}",
        instance("good", &good),
        instance("bad", &bad)
    );
    std::fs::write(folder.path().join("forebay.yaml"), config).unwrap();
    let mut command = forebay();
    command.args(["run", "--allow-loopback", "--config"]).arg(folder.path().join("forebay.yaml"));
    command
        .env("ID", crate::tenant::CLIENT_ID)
        .env("SECRET", crate::tenant::CLIENT_SECRET)
        .env("KEY", "shared-key");
    let running = Running::start(&mut command, 2);
    eventually("the good tenant has a stream", || good.http_streams().len() == 1);
    eventually("the refusal is said", || running.said().contains("Insufficient scope"));
    let url = running.urls.iter().find(|url| url.ends_with("/good")).unwrap();
    let (status, _) = post(url, &[("x-api-key", "shared-key")], event("1").as_bytes()).unwrap();
    assert_eq!(status, 200);
    eventually("the record of the good one", || {
        std::fs::read_to_string(folder.path().join("good.jsonl")).is_ok_and(|text| text.lines().count() == 1)
    });
    assert_eq!(running.stop().code(), Some(0));
}
