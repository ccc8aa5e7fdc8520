//! Lifecycle messages through the binary: they make it look at the vendor, and a flood of them is one look.

use std::path::Path;

use serde_json::json;

use crate::support::{Running, eventually, forebay, post, root};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Tenant};

const RULE: &str = "  rules:\n    - name: removed\n      when: request.json.notice == 'removed'\n      \
     run: log_stream.check\n      respond: {status: 200}\n      sample: {json: {notice: removed}}\n  decode:";

/// The first connector, with a message that says that its stream is gone.
fn connector(folder: &Path) {
    let from = root().join("connectors/auth0-log-stream");
    let to = folder.join("connectors/auth0-log-stream");
    std::fs::create_dir_all(to.join("cases")).unwrap();
    crate::support::copy_schemas(folder);
    for file in ["event-types.yaml", "guide.md", "cases/sample.json"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let spec = std::fs::read_to_string(from.join("connector.yaml")).unwrap();
    let changed = spec.replacen("  decode:", RULE, 1).replace("every: 5m", "every: 24h");
    assert_ne!(spec.len(), changed.len());
    std::fs::write(to.join("connector.yaml"), changed).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lifecycle_messages_is_one_look_and_none_after_destroy() {
    let (tenant, folder) = (Tenant::start().await, tempfile::tempdir().unwrap());
    connector(folder.path());
    let command = |verb: &str| {
        let mut command = forebay();
        command.arg(verb).arg(folder.path().join("connectors/auth0-log-stream"));
        command.args(["--allow-loopback", "--public-url", "https://logs.example.com"]);
        command.args(["--set", "input_mode=automatic", "--set"]).arg(format!("base_url={}", tenant.url()));
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.env("FOREBAY_SECRET_CLIENT_ID", CLIENT_ID);
        command.env("FOREBAY_SECRET_CLIENT_SECRET", CLIENT_SECRET);
        command.env("FOREBAY_SECRET_MONAD_API_KEY", "key-of-the-test-0001");
        command
    };
    let run = Running::start(command("run").args(["--listen", "127.0.0.1:0"]), 1);
    eventually("the stream is created", || run.said().contains("log_stream created"));
    let id = tenant.http_streams()[0]["id"].as_str().unwrap().to_owned();
    tenant.remove(&id);
    tenant.forget_requests();

    // Who has not the key asks for nothing.
    let message = json!({"notice": "removed"}).to_string();
    assert_eq!(post(&run.urls[0], &[], message.as_bytes()).unwrap().0, 401);
    for _ in 0..200 {
        let headers = [("x-api-key", "key-of-the-test-0001")];
        assert_eq!(post(&run.urls[0], &headers, message.as_bytes()).unwrap().0, 200);
    }
    eventually("the stream is made again", || tenant.http_streams().len() == 1);
    // One look: by id, by `find`, and the create. Whatever comes within the calm after it waits.
    let looks = || tenant.requests().iter().filter(|asked| asked.path.starts_with("/api/")).count();
    eventually("what was asked for is done", || run.said().contains("recreated"));
    assert!(looks() <= 4, "{:#?}", tenant.requests());

    // Destroyed beside it: messages make nothing anew.
    let mut destroy = command("destroy");
    let output = tokio::task::spawn_blocking(move || destroy.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tenant.forget_requests();
    let headers = [("x-api-key", "key-of-the-test-0001")];
    assert_eq!(post(&run.urls[0], &headers, message.as_bytes()).unwrap().0, 200);
    eventually("run says that it stops", || run.said().contains("somebody ran `destroy`"));
    assert_eq!((looks(), tenant.http_streams().len()), (0, 0));
    assert_eq!(run.stop().code(), Some(0));
}
