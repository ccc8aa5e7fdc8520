//! The built binary between a strict tenant and pushes: a key that changes, and two tenants on one listener.

use std::path::Path;
use std::process::Command;

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
        .args(["--listen", "127.0.0.1:0", "--rotation-overlap", "3s"])
        .arg("--to")
        .arg(format!("file:{}", folder.join("out.jsonl").display()));
    Running::start(&mut command, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn former_key_is_accepted_for_the_overlap_after_confirmation() {
    let tenant = Tenant::start().await;
    let folder = TempDir::new().unwrap();
    let running = run(&tenant, folder.path());
    eventually("the create is saved", || running.said().contains("log_stream created"));
    let push =
        |key: &str, id: &str| post(&running.urls[0], &[("x-api-key", key)], event(id).as_bytes()).unwrap().0;
    assert_eq!(push("first-key", "1"), 200);
    assert_eq!(push("second-key", "2"), 401);

    std::fs::write(folder.path().join("key"), "second-key\n").unwrap();
    running.signal("HUP");
    eventually("the vendor has the new key", || {
        tenant.http_streams()[0]["sink"]["httpCustomHeaders"][0]["value"] == "second-key"
    });
    assert_eq!(push("second-key", "2"), 200);
    assert_eq!(push("first-key", "3"), 200, "pushes under way still carry the old key");
    eventually("the vendor confirmed it", || running.said().contains("the vendor has the newest values"));
    eventually("the overlap ends", || push("first-key", "3") == 401);
    assert_eq!(push("second-key", "4"), 200);
    assert!(!running.said().contains("first-key") && !running.said().contains("second-key"));
    assert_eq!(running.stop().code(), Some(0));
    tenant.assert_no_strange_request();
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
