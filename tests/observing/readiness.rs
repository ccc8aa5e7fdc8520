//! What makes a process ready or not: a queue that refuses, a thread that ended, dead letters that take their room.

use forebay::condition::Code;
use serde_json::json;
use tempfile::TempDir;

use super::{ask, condition, configured, held, port};
use crate::main_job::{KEY, event};
use crate::support::{Running, eventually, forebay, get, post};

#[test]
fn queue_that_refuses_is_not_ready_and_says_why() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    // More than is free, and not more than there is, which would end the start.
    let disk = rustix::fs::statvfs(folder.path()).unwrap();
    let queue = format!("queue: {{min_free: {}}}\n", disk.f_blocks * disk.f_frsize - 1);
    let mut command = configured(folder.path(), port, &queue, sink);
    let running = Running::start(&mut command, 1);
    // Before the first event meets it.
    eventually("it is not ready", || ask(port, "readyz").0 == 503);
    let (_, body) = ask(port, "readyz");
    let refuses = condition(&body, "queue_refuses").unwrap();
    let message = refuses["message"].as_str().unwrap();
    assert!(message.contains("must stay free (queue.min_free)"), "{message}");
    assert_eq!((&body["ready"], &body["instances"]["acme"]["ready"]), (&json!(false), &json!(false)));
    let (status, _) = post(&running.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    assert_eq!(status, 503);
    assert_eq!(ask(port, "healthz").0, 200, "a restart cures nothing");
    let metrics = get(&format!("http://127.0.0.1:{port}/metrics"));
    let line = r#"forebay_condition{code="queue_refuses",severity="error",instance="",sink=""} 1"#;
    assert!(metrics.contains(line) && metrics.contains("forebay_ready 0"), "{metrics}");
    eventually("the refusal is shown", || {
        !ask(port, "readyz").1["instances"]["acme"]["last_rejection"].is_null()
    });
    let said = running.said();
    assert!(said.contains(r#"condition="queue_refuses""#) && said.contains("must stay free"), "{said}");
}

#[test]
fn queue_that_takes_again_is_ready_again_without_traffic() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    // A store of 1 MiB, and a sink that takes nothing until its folder can be written.
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let sink = "{name: archive, file: {path: place/out.jsonl}}";
    let mut command = configured(folder.path(), port, "queue: {max_bytes: 1MiB, min_free: 0}\n", sink);
    let running = Running::start(&mut command, 1);
    std::fs::rename(&place, folder.path().join("gone")).unwrap();
    let mut number = 0;
    let mut state = 1_u64;
    eventually("it is full", || {
        let mut pad = String::new();
        for _ in 0..3000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pad.push_str(&format!("{:016x}", state));
        }
        number += 1;
        let body =
            event(&number.to_string()).replace(r#""type":"s""#, &format!(r#""type":"s","pad":"{pad}""#));
        post(&running.urls[0], &[("x-api-key", KEY)], body.as_bytes()).unwrap().0 == 503
    });
    let (status, body) = ask(port, "readyz");
    assert_eq!(status, 503, "{body}");
    assert!(
        condition(&body, "queue_refuses").unwrap()["message"].as_str().unwrap().contains("queue.max_bytes")
    );
    let blocked = condition(&body, "sink_blocked").unwrap();
    assert_eq!((&blocked["instance"], &blocked["sink"]), (&json!("acme"), &json!("archive")));
    assert!(blocked["message"].as_str().unwrap().contains("tried again"), "{blocked}");
    assert_eq!(body["instances"]["acme"]["sinks"]["archive"]["status"], "blocked");
    std::fs::rename(folder.path().join("gone"), &place).unwrap();
    eventually("it is ready again", || ask(port, "readyz").0 == 200);
    let (_, body) = ask(port, "readyz");
    assert_eq!((condition(&body, "queue_refuses"), condition(&body, "sink_blocked")), (None, None));
    assert!(running.said().contains("condition resolved"));
}

#[test]
fn writer_thread_that_ended_fails_healthz() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    let mut command = configured(folder.path(), port, "", sink);
    // The events' own commit is the one that panics: those of the start have no plan.
    command.env("FAILPOINTS", "commit.planned=20*off->panic");
    let running = Running::start(&mut command, 1);
    assert_eq!(ask(port, "healthz").0, 200);
    let mut number = 0;
    eventually("the thread that writes has ended", || {
        number += 1;
        post(&running.urls[0], &[("x-api-key", KEY)], event(&number.to_string()).as_bytes());
        ask(port, "healthz").0 == 503
    });
    let (_, body) = ask(port, "healthz");
    assert_eq!(condition(&body, "writer_stopped").unwrap()["severity"], "error");
    let (status, body) = ask(port, "readyz");
    assert_eq!((status, condition(&body, "writer_stopped").is_some()), (503, true));
}

#[test]
fn dead_letters_that_fill_their_room_are_a_condition_and_good_events_flow() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    let mut command =
        configured(folder.path(), port, "queue: {max_bytes: 8MiB, min_free: 0, dead_share: 1}\n", sink);
    let running = Running::start(&mut command, 1);
    let mut number = 0;
    eventually("the room of dead letters is full", || {
        number += 1;
        let body = format!(r#"{{"log_id":"{number}","data":{{"type":"s","pad":"{}"}}}}"#, "x".repeat(10_000));
        post(&running.urls[0], &[("x-api-key", KEY)], body.as_bytes()).unwrap().0 == 503
    });
    let (status, body) = ask(port, "readyz");
    assert_eq!(status, 200, "good events are taken: {body}");
    let full = condition(&body, "dead_letters_full").unwrap();
    assert_eq!(full["instance"], "acme");
    assert!(full["message"].as_str().unwrap().contains("queue.dead_share is 1 %"), "{full}");
    assert_eq!(post(&running.urls[0], &[("x-api-key", KEY)], event("good").as_bytes()).unwrap().0, 200);
    eventually("they are growing", || condition(&ask(port, "readyz").1, "dead_letters_growing").is_some());
    let metrics = get(&format!("http://127.0.0.1:{port}/metrics"));
    assert!(metrics.contains(
        r#"forebay_condition{code="dead_letters_full",severity="error",instance="acme",sink=""} 1"#
    ));
    let mut drop = forebay();
    drop.args(["dead-letters", "drop", "--all", "--id", "acme", "--data-dir"])
        .arg(folder.path().join("data"));
    assert!(drop.status().unwrap().success());
    eventually("there is room again", || held(port, Code::DeadLettersFull).is_empty());
}

#[test]
fn changed_configuration_is_named_at_sighup_and_is_a_condition() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl, rotate: {size: 1GiB}}}";
    let running = Running::start(&mut configured(folder.path(), port, "", sink), 1);
    running.signal("HUP");
    eventually("nothing changed", || running.said().contains("nothing changed since the start"));
    configured(folder.path(), port, "", &sink.replace("1GiB", "2GiB"));
    running.signal("HUP");
    let key = "instances[acme].sinks[archive].file.rotate.size";
    eventually("the change is named", || running.said().contains(key));
    let (status, body) = ask(port, "readyz");
    assert_eq!(status, 200);
    let restart = condition(&body, "restart_needed").unwrap();
    assert!(restart["message"].as_str().unwrap().contains(key), "{restart}");
    configured(folder.path(), port, "", sink);
    running.signal("HUP");
    eventually("it is gone", || condition(&ask(port, "readyz").1, "restart_needed").is_none());
}
