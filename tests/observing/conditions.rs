//! Conditions of the whole process, each raised on the built binary and ended by what its action asks for.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay::condition::{Code, Subject};
use tempfile::TempDir;

use super::{configured, held, keyed, port};
use crate::main_job::{KEY, event};
use crate::support::{Running, eventually, forebay, post, root};

#[test]
fn body_limit_below_the_senders_is_a_condition_of_its_instance() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("forebay.yaml");
    let start = |limits: &str| {
        let port = port();
        let connectors = root().join("connectors");
        let text = format!(
            "data_dir: data\nreceiver: {{listen: 127.0.0.1:0{limits}}}\nadmin: {{listen: 127.0.0.1:{port}}}\n\
             instances:\n  - {{id: fire, connector: {0}/aws-data-firehose, secrets: {{access_key: {{env: KEY}}}}, \
             sinks: [{{name: a, file: {{path: a.jsonl}}}}]}}\n  - {{id: plain, connector: {0}/generic-http, \
             secrets: {{secret: {{env: KEY}}}}, sinks: [{{name: b, file: {{path: b.jsonl}}}}]}}\n",
            connectors.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = forebay();
        command.args(["run", "--config"]).arg(&config).env("KEY", KEY);
        (Running::start(&mut command, 2), port)
    };
    // The sender declares 64 MiB.
    let (running, port) = start(", limits: {body: 1MiB}");
    let message = "receiver.limits.body is below what the sender declares: expected 67108864 bytes at least; larger \
                   bodies are refused with 413";
    assert_eq!(held(port, Code::BodyLimitLow), [(Subject::instance("fire"), message.to_owned())]);
    assert!(running.stop().success());
    for limits in ["", ", limits: {body: 64MiB, in_flight: 256MiB}"] {
        let (running, port) = start(limits);
        assert_eq!(held(port, Code::BodyLimitLow), [], "{limits}");
        assert!(running.stop().success());
    }
}

#[test]
fn delivered_instance_removed_is_a_leftover_until_dropped() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("k-acme"), KEY).unwrap();
    std::fs::write(path("k-globex"), KEY).unwrap();
    let running = Running::start(&mut keyed(folder.path(), port, "", &["acme", "globex"]), 2);
    assert_eq!(post(&running.urls[0], &[("x-api-key", KEY)], br#"{"id":1}"#).unwrap().0, 200);
    let delivered = || std::fs::read_to_string(path("acme.jsonl")).is_ok_and(|text| !text.is_empty());
    eventually("it is delivered", delivered);
    assert_eq!(held(port, Code::InstanceLeftover), [], "it is configured");
    assert!(running.stop().success());
    let running = Running::start(&mut keyed(folder.path(), port, "", &["globex"]), 1);
    eventually("what is left is reported", || !held(port, Code::InstanceLeftover).is_empty());
    let message =
        "the configuration has no instance `acme`, and the store holds its cursors, its ids and its state";
    assert_eq!(held(port, Code::InstanceLeftover), [(Subject::instance("acme"), message.to_owned())]);
    assert_eq!(held(port, Code::InstanceRemoved), [], "nothing of it is missed");
    let mut drop = forebay();
    drop.args(["instances", "drop", "acme", "--data-dir"]).arg(path("data"));
    assert!(drop.status().unwrap().success());
    eventually("the condition ends", || held(port, Code::InstanceLeftover).is_empty());
    assert!(running.stop().success());
}

/// That it ends an hour later is tested in `run/leftovers.rs`.
#[test]
fn ids_forgotten_for_want_of_room_are_a_condition() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    let mut command = configured(folder.path(), port, "queue: {dedupe: {count: 20}}\n", sink);
    let running = Running::start(&mut command, 1);
    let send = |from: usize, to: usize| {
        for n in from..to {
            let id = format!("id-{n}");
            let (status, _) = post(&running.urls[0], &[("x-api-key", KEY)], event(&id).as_bytes()).unwrap();
            assert_eq!(status, 200);
        }
    };
    send(0, 20);
    assert_eq!(held(port, Code::IdsForgottenEarly), [], "all have room");
    send(20, 30);
    eventually("it is reported", || !held(port, Code::IdsForgottenEarly).is_empty());
    let [(about, message)] = &held(port, Code::IdsForgottenEarly)[..] else { panic!("one of the instance") };
    assert_eq!(*about, Subject::instance("acme"));
    let ends = "for want of room (queue.dedupe.count), and its sender may repeat them for longer: an event that comes \
                again then is delivered again";
    assert!(
        message.starts_with("ids of `acme` were forgotten after ") && message.ends_with(ends),
        "{message}"
    );
    // It is true: the first id is not known any more, and the last one is.
    let lines =
        || std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap_or_default().lines().count();
    send(29, 30);
    send(0, 1);
    eventually("the forgotten one is delivered again", || lines() >= 31);
    assert!(running.stop().success());
    assert_eq!(lines(), 31);
}

#[test]
fn sink_that_fails_is_a_condition_until_it_takes_records() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let well = Arc::new(AtomicBool::new(false));
    let takes = well.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}\n") {
                match stream.read(&mut chunk) {
                    Ok(n @ 1..) => request.extend_from_slice(&chunk[..n]),
                    Ok(0) | Err(_) => break,
                }
            }
            let status = if takes.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    let sink = format!("{{name: siem, http: {{url: '{url}', batch: {{age: 50ms}}}}}}");
    let mut command = configured(folder.path(), port, "", &sink);
    let running = Running::start(command.arg("--allow-loopback"), 1);
    assert_eq!(held(port, Code::SinkRetrying), []);
    post(&running.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    eventually("the failure is reported", || !held(port, Code::SinkRetrying).is_empty());
    let [(about, message)] = &held(port, Code::SinkRetrying)[..] else { panic!("one of the sink") };
    assert_eq!(*about, Subject::instance("acme").sink("siem"));
    assert!(message.starts_with("the sink failed: ") && message.contains("503"), "{message}");
    assert_eq!(held(port, Code::SinkBlocked), [], "no operator has to act");
    well.store(true, Ordering::SeqCst);
    eventually("the condition ends", || held(port, Code::SinkRetrying).is_empty());
    assert!(running.stop().success());
}
