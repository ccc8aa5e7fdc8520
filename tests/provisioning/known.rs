//! Promise: a stream that is known goes on being received whatever the vendor's API says, and what is wrong is listed.

use std::time::Duration;

use forebay::provision::What;
use serde_json::json;

use super::bench::{Bench, deeds};
use super::run::{bench, command};
use crate::main_job::event;
use crate::support::{Running, eventually, forebay, get, post, root};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Fault, Tenant};

fn revoked() -> Fault {
    Fault::Token(401, json!({"error": "access_denied", "error_description": "Unauthorized client"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn known_stream_is_received_while_credentials_fail() {
    let (tenant, folder) = bench().await;
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is created", || run.said().contains("log_stream created"));
    assert!(run.stop().success());

    (0..50).for_each(|_| tenant.inject(revoked()));
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let run = Running::start(command(&tenant, "run", folder.path()).args(["--admin-listen", &admin]), 1);
    eventually("the refusal is a condition", || run.said().contains("stream_refused"));
    let said = run.said();
    assert!(said.contains("Unauthorized client") && said.contains("next try at"), "{said}");
    let (status, _) = post(&run.urls[0], &[("x-api-key", "the-first-key")], event("1").as_bytes()).unwrap();
    assert_eq!(status, 200, "the stream is known, so that events are accepted");
    let ready = get(&format!("http://{admin}/readyz"));
    assert!(ready.contains("Unauthorized client"), "{ready}");

    // Who repairs the credentials need not restart: a new secret asks at once.
    tenant.forget_faults();
    std::fs::write(folder.path().join("key"), "the-second-key\n").unwrap();
    run.signal("HUP");
    eventually("the condition ends", || run.said().contains("condition resolved"));
    assert!(run.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn known_stream_is_received_while_the_vendor_is_down() {
    let (tenant, folder) = bench().await;
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is created", || run.said().contains("log_stream created"));
    assert!(run.stop().success());
    let mut again = command(&tenant, "run", folder.path());
    drop(tenant);
    let run = Running::start(&mut again, 1);
    eventually("the first failed call is said at once", || run.said().contains("vendor_unreachable"));
    let said = run.said();
    assert!(said.contains("could not be reached") && said.contains("(try 1, next try in"), "{said}");
    let (status, _) = post(&run.urls[0], &[("x-api-key", "the-first-key")], event("1").as_bytes()).unwrap();
    assert_eq!(status, 200);
    assert!(run.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn vendor_that_fails_is_a_condition_until_it_answers() {
    let (tenant, folder) = bench().await;
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is created", || run.said().contains("log_stream created"));
    assert!(run.stop().success());
    (0..50).for_each(|_| tenant.inject(Fault::Answer(503, json!({"message": "maintenance"}))));
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    let lines = |part: &str| {
        let said = run.said();
        let of = said.lines().filter(|line| line.contains(r#"condition="vendor_unreachable""#));
        of.filter(|line| line.contains(part)).map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("the failure is a condition", || !lines("answered 503").is_empty());
    let host = tenant.url().as_str().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let line = lines("answered 503").remove(0);
    assert!(line.contains(r#"instance="auth0-log-stream""#) && line.contains(&host), "{line}");
    tenant.forget_faults();
    eventually("it ends with the first answer", || !lines("condition resolved").is_empty());
    assert!(run.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn known_stream_is_received_while_its_new_create_is_refused() {
    let (tenant, folder) = bench().await;
    let run = Running::start(&mut command(&tenant, "run", folder.path()), 1);
    eventually("the stream is created", || run.said().contains("log_stream created"));
    assert!(run.stop().success());
    // Removed by hand while nothing ran, and the tenant takes no new one.
    let id = tenant.http_streams()[0]["id"].as_str().unwrap().to_owned();
    tenant.remove(&id);
    for _ in 0..50 {
        let refused = Fault::Answer(400, json!({"statusCode": 400, "message": "no streams on this plan"}));
        tenant.inject(Fault::On("POST".parse().unwrap(), Box::new(refused)));
    }
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let run = Running::start(command(&tenant, "run", folder.path()).args(["--admin-listen", &admin]), 1);
    eventually("the refusal is a condition", || run.said().contains("stream_refused"));
    let push = |id: &str| {
        post(&run.urls[0], &[("x-api-key", "the-first-key")], event(id).as_bytes()).map(|(status, _)| status)
    };
    assert_eq!(push("1"), Some(200), "what is on its way is accepted: {}", run.said());
    let ready = get(&format!("http://{admin}/readyz"));
    assert!(ready.contains("no streams on this plan"), "{ready}");
    // The tenant takes one again: a new secret asks at once.
    tenant.forget_faults();
    std::fs::write(folder.path().join("key"), "the-second-key\n").unwrap();
    run.signal("HUP");
    eventually("a new stream is made", || tenant.http_streams().len() == 1);
    eventually("the condition ends", || run.said().contains("condition resolved"));
    assert_eq!(push("2"), Some(200));
    assert!(run.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn known_stream_is_received_beside_one_whose_credentials_fail() {
    let (good, bad) = (Tenant::start().await, Tenant::start().await);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("key"), "the-first-key\n").unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let connector = root().join("connectors/auth0-log-stream");
    let instance = |id: &str, tenant: &Tenant| {
        format!(
            "- {{id: {id}, connector: {}, settings: {{input_mode: automatic, base_url: '{}'}}, secrets: {{monad_api_key: {{file: key}}, \
             client_id: {{env: ID}}, client_secret: {{env: SECRET}}}}, sinks: [{{name: x, file: {{path: {id}.jsonl}}}}]}}\n",
            connector.display(),
            tenant.url()
        )
    };
    let text = format!(
        "data_dir: data\nreceiver: {{listen: '127.0.0.1:0', public_url: 'https://logs.example.com'}}\n\
         admin: {{listen: '{admin}'}}\ninstances:\n{}{}",
        instance("good", &good),
        instance("bad", &bad)
    );
    std::fs::write(folder.join("forebay.yaml"), text).unwrap();
    let start = || {
        let mut command = forebay();
        command.args(["run", "--allow-loopback", "--config"]).arg(folder.join("forebay.yaml"));
        Running::start(command.env("ID", CLIENT_ID).env("SECRET", CLIENT_SECRET), 2)
    };
    let run = start();
    eventually("both are created", || run.said().matches("log_stream created").count() == 2);
    assert!(run.stop().success());

    (0..50).for_each(|_| bad.inject(revoked()));
    good.forget_requests();
    let run = start();
    eventually("the refusal is a condition", || run.said().contains("stream_refused"));
    eventually("the other stream is looked at", || !good.requests().is_empty());
    for index in [0, 1] {
        let body = event(&format!("of {index}"));
        let answer = post(&run.urls[index], &[("x-api-key", "the-first-key")], body.as_bytes());
        assert_eq!(answer.map(|(status, _)| status), Some(200), "instance {index}");
    }
    for id in ["good", "bad"] {
        let path = folder.join(format!("{id}.jsonl"));
        eventually("it is delivered", || {
            std::fs::read_to_string(&path).unwrap_or_default().lines().count() == 1
        });
    }
    let ready = get(&format!("http://{admin}/readyz"));
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let document: serde_json::Value = serde_json::from_str(ready.split_once("\r\n\r\n").unwrap().1).unwrap();
    let refused: Vec<_> = document["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|condition| condition["code"] == "stream_refused")
        .map(|condition| condition["instance"].clone())
        .collect();
    assert_eq!(refused, [json!("bad")], "{ready}");
    assert!(run.stop().success());
}

#[tokio::test]
async fn filter_that_the_vendor_refuses_is_not_carried_over() {
    let bench = Bench::start().await;
    bench.pass().await;
    let id = bench.only();
    let filters = json!([{"type": "category", "name": "auth.login.fail"}]);
    bench.tenant.change(&id, |stream| stream["filters"] = filters.clone());
    bench.pass().await;
    bench.tenant.remove(&id);
    bench.tenant.inject(Fault::On(
        "POST".parse().unwrap(),
        Box::new(Fault::Answer(400, json!({"statusCode": 400, "message": "filters/0/name is not allowed"}))),
    ));
    let report = bench.provisioner().reconcile().await.unwrap();
    assert_eq!(deeds(&report), [What::Recreated]);
    assert!(report.deeds[0].why.contains("filters/0/name is not allowed"), "{}", report.deeds[0].why);
    let made = bench.tenant.writes().into_iter().rfind(|asked| asked.method == "POST").unwrap();
    assert_eq!(made.body.get("filters"), None);
    // A refusal that has nothing to do with it is not tried twice.
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::On(
        "POST".parse().unwrap(),
        Box::new(Fault::Answer(400, json!({"statusCode": 400, "message": "no"}))),
    ));
    bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(bench.tenant.writes().len(), 1);
}

#[tokio::test]
async fn duplicate_endpoint_is_planned_and_counted() {
    let bench = Bench::start().await;
    bench.tenant.allow(3);
    bench.pass().await;
    let id = bench.only();
    let second = bench.tenant.add(bench.tenant.http_streams()[0].clone());

    let plan = bench.provisioner().plan().await.unwrap().unwrap();
    let said: Vec<&str> = plan.resources[0].deeds.iter().map(|deed| deed.why.as_str()).collect();
    assert!(said.iter().any(|why| why.contains(&second) && !why.contains(&id)), "{said:?}");

    let provisioner = bench.provisioner();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut status = provisioner.status();
    provisioner.settle(stopped.clone()).await.unwrap();
    let nudge = tokio::sync::Notify::new();
    nudge.notify_one();
    let kept = provisioner.keep(&nudge, stopped);
    let seen = async {
        let wait = status.wait_for(|status| !status.duplicates.is_empty());
        let found =
            tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap().unwrap().duplicates.clone();
        stop.send_replace(true);
        found
    };
    let (_, found) = tokio::join!(kept, seen);
    assert!(found[0].0 == "log_stream" && found[0].1.contains(&second), "{found:?}");
}
