//! The operator's listener and the log: what they show, and that nothing from outside bends them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay::condition::{Code, Subject};
use forebay::connector::clock::Clock;
use forebay::connector::instance::InstanceId;
use forebay::deliver::SinkStatus;
use forebay::run::admin::{Admin, serve, start};
use forebay::run::health::{Health, StreamStatus};
use forebay::run::{log, metrics as described};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }
}

struct Desk {
    address: std::net::SocketAddr,
    health: Arc<Health>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Desk {
    async fn open(metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(Health::default());
        let (stop, shutdown) = watch::channel(false);
        let admin = Admin { health: health.clone(), metrics: Arc::new(metrics), clock: Arc::new(Noon) };
        Self { address, health, stop, task: tokio::spawn(serve(listener, admin, shutdown)) }
    }

    /// Status and body of a request.
    async fn ask(&self, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Json) {
        let (status, body) = self.ask(&format!("GET {path}")).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

#[tokio::test]
async fn healthz_fails_only_for_what_a_restart_cures() {
    let desk = Desk::open(String::new).await;
    let (status, body) = desk.get("/healthz").await;
    assert_eq!((status, &body["status"], &body["conditions"]), (200, &json!("ok"), &json!([])));
    for code in Code::ALL {
        desk.health.conditions.raise(*code, Subject::process(), "observed");
        let (status, body) = desk.get("/healthz").await;
        if code.restart_cures() {
            assert_eq!((status, &body["status"]), (503, &json!("failing")), "{code:?}");
            assert_eq!(body["conditions"][0]["code"], code.name(), "{body}");
        } else {
            assert_eq!((status, &body["conditions"]), (200, &json!([])), "{code:?}");
        }
        desk.health.conditions.clear(*code, &Subject::process());
    }
    assert_eq!(desk.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn readyz_says_for_each_instance_what_is_not_ready() {
    let desk = Desk::open(String::new).await;
    let (status, body) = desk.get("/readyz").await;
    assert_eq!((status, &body["ready"], &body["state"]), (503, &json!(false), &json!("starting")));
    desk.health.receiving();
    desk.health.stream(&id("acme"), StreamStatus::Pending);
    desk.health.stream(&id("other"), StreamStatus::Manual);
    let (status, body) = desk.get("/readyz").await;
    assert_eq!((status, &body["ready"], &body["conditions"]), (200, &json!(true), &json!([])), "{body}");
    desk.health.event(&id("acme"), "2026-11-22T11:59:30Z".parse().unwrap());
    desk.health.event(&id("acme"), "2026-11-22T11:59:00Z".parse().unwrap());
    desk.health.rejection(&id("acme"), "2026-11-22T11:58:00Z".parse().unwrap(), "wrong key\u{1b}[2J");
    let (said, status) = watch::channel(SinkStatus::Well);
    desk.health.sink(&id("acme"), "siem", status);
    said.send(SinkStatus::Blocked("401".to_owned())).unwrap();
    desk.health.stream(&id("acme"), StreamStatus::Unwell("suspended".to_owned()));
    let subject = Subject::instance("acme").sink("siem");
    desk.health.conditions.raise(Code::SinkBlocked, subject, "401");
    let (status, body) = desk.get("/readyz").await;
    assert_eq!((status, &body["ready"], &body["state"]), (200, &json!(true), &json!("running")), "{body}");
    assert_eq!(
        body["instances"]["acme"],
        json!({
            "ready": true,
            "stream": "unwell",
            "stream_reason": "suspended",
            "renewal": null,
            "expires": null,
            "last_event": "2026-11-22T11:59:30Z",
            "last_event_age_seconds": 30.0,
            "last_rejection": {"at": "2026-11-22T11:58:00Z", "reason": "wrong key\\u{1b}[2J"},
            "sinks": {"siem": {"status": "blocked", "reason": "401"}},
        })
    );
    let condition = &body["conditions"][0];
    assert!(condition["since"].is_string(), "{condition}");
    for (key, value) in [
        ("code", json!("sink_blocked")),
        ("severity", json!("error")),
        ("instance", json!("acme")),
        ("sink", json!("siem")),
        ("item", json!(null)),
        ("message", json!("401")),
        ("action", json!(Code::SinkBlocked.action())),
    ] {
        assert_eq!(condition[key], value, "{key}");
    }
    desk.health.stopping();
    let (status, body) = desk.get("/readyz").await;
    assert_eq!((status, &body["ready"], &body["state"]), (503, &json!(false), &json!("stopping")));
    assert_eq!(body["instances"]["other"]["ready"], false);
}

#[tokio::test]
async fn readyz_is_503_only_while_no_instance_takes_events() {
    let desk = Desk::open(String::new).await;
    desk.health.receiving();
    desk.health.stream(&id("acme"), StreamStatus::Manual);
    desk.health.stream(&id("other"), StreamStatus::Manual);
    for code in Code::ALL {
        desk.health.conditions.raise(*code, Subject::process(), "observed");
        let (status, body) = desk.get("/readyz").await;
        assert_eq!(status, if code.refuses_events() { 503 } else { 200 }, "{code:?}");
        assert_eq!(body["conditions"][0]["code"], code.name(), "listed whatever the status");
        desk.health.conditions.clear(*code, &Subject::process());
    }
    let refuses = |instance: &str| {
        desk.health.conditions.raise(Code::QueueRefuses, Subject::instance(instance), "its share is full");
    };
    refuses("acme");
    let (status, body) = desk.get("/readyz").await;
    assert_eq!((status, &body["ready"]), (200, &json!(true)), "the other one takes events");
    assert_eq!(body["instances"]["acme"]["ready"], false);
    assert_eq!(body["instances"]["other"]["ready"], true);
    refuses("other");
    assert_eq!(desk.get("/readyz").await.0, 503);
    desk.health.conditions.clear(Code::QueueRefuses, &Subject::instance("acme"));
    assert_eq!(desk.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn only_what_is_there_is_answered() {
    let desk = Desk::open(String::new).await;
    assert_eq!(desk.ask("GET /").await.0, 404);
    assert_eq!(desk.ask("GET /metrics/").await.0, 404);
    assert_eq!(desk.ask("POST /healthz").await.0, 405);
    assert_eq!(desk.ask("HEAD /healthz").await, (200, String::new()));
    assert_eq!(desk.ask(&format!("GET /{}", "x".repeat(20_000))).await.0, 431);
    desk.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), desk.task).await.expect("it stops").unwrap();
    assert!(TcpStream::connect(desk.address).await.is_err());
}

#[tokio::test]
async fn silent_connections_do_not_delay_health() {
    let desk = Desk::open(String::new).await;
    let mut silent = Vec::new();
    for n in 0..300 {
        silent.push(TcpStream::connect(desk.address).await.unwrap());
        if n % 50 == 49 {
            let before = Instant::now();
            assert_eq!(desk.get("/healthz").await.0, 200);
            assert!(before.elapsed() < Duration::from_secs(1), "{:?} after {n}", before.elapsed());
        }
    }
}

/// The listener has a thread of its own: it answers though every thread of the process is busy with one request.
#[test]
fn health_answers_while_no_task_of_the_process_runs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (stop, shutdown) = watch::channel(false);
    let (address, ended) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(String::new));
        let admin = Admin { health, metrics, clock: Arc::new(Noon) };
        (address, start(listener, admin, shutdown).unwrap())
    });
    let (release, busy) = std::sync::mpsc::channel::<()>();
    let (begun, works) = std::sync::mpsc::channel();
    let work = runtime.spawn(async move {
        begun.send(()).unwrap();
        let _ = busy.recv();
    });
    works.recv().unwrap();
    let health = crate::support::HealthWatch::start(&address);
    std::thread::sleep(Duration::from_secs(2));
    health.within_a_second();
    drop(release);
    stop.send(true).unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), ended).await }).unwrap().unwrap();
    runtime.block_on(work).unwrap();
    assert!(std::net::TcpStream::connect(&address).is_err(), "the listener is closed");
}

#[tokio::test]
async fn metrics_come_in_prometheus_text_with_the_gauges_of_the_moment() {
    // The only test that installs one; where tests share a process, others count into it too.
    let handle = described::install().unwrap();
    let desk = Desk::open(move || handle.render()).await;
    metrics::counter!("forebay_delivered_total", "instance" => "acme", "sink" => "siem").increment(3);
    desk.health.stream(&id("metered"), StreamStatus::Unwell("suspended".to_owned()));
    desk.health.event(&id("metered"), "2026-11-22T11:59:30Z".parse().unwrap());
    desk.health.conditions.raise(Code::SinkBlocked, Subject::instance("metered").sink("siem"), "401");
    desk.health.conditions.raise(Code::QueueRefuses, Subject::process(), "full");
    let (status, text) = desk.ask("GET /metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# HELP forebay_delivered_total Records that are safe in a sink",
        "# TYPE forebay_delivered_total counter",
        r#"forebay_delivered_total{instance="acme",sink="siem"} 3"#,
        r#"forebay_stream_status{instance="metered",status="unwell"} 1"#,
        r#"forebay_stream_status{instance="metered",status="active"} 0"#,
        r#"forebay_last_event_age_seconds{instance="metered"} 30"#,
        r#"forebay_condition{code="sink_blocked",severity="error",instance="metered",sink="siem"} 1"#,
        r#"forebay_condition{code="queue_refuses",severity="error",instance="",sink=""} 1"#,
        "forebay_ready 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    desk.health.conditions.clear(Code::QueueRefuses, &Subject::process());
    desk.health.receiving();
    let (_, text) = desk.ask("GET /metrics").await;
    for line in [
        r#"forebay_condition{code="sink_blocked",severity="error",instance="metered",sink="siem"} 1"#,
        r#"forebay_condition{code="queue_refuses",severity="error",instance="",sink=""} 0"#,
        "forebay_ready 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

/// All `.rs` files below a folder.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_metric_that_is_counted_is_described() {
    let mut texts = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/framework")), &mut texts);
    let mut counted = BTreeSet::new();
    for text in texts.iter().filter(|text| !text.contains("pub const METRICS")) {
        for (at, _) in text.match_indices("\"forebay_") {
            counted.insert(text[at + 1..].split('"').next().unwrap());
        }
    }
    let described: BTreeSet<&str> = described::METRICS.iter().map(|metric| metric.0).collect();
    assert_eq!(described.len(), described::METRICS.len(), "no name comes twice");
    let missing: Vec<_> = counted.difference(&described).collect();
    assert!(missing.is_empty(), "describe in framework/run/metrics.rs: {missing:?}");
}

fn logged(format: log::Format, say: impl FnOnce()) -> String {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let out: Arc<Mutex<dyn Write + Send>> = kept.clone();
    tracing::subscriber::with_default(log::subscriber(out, format, tracing::Level::INFO), say);
    let text = kept.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

/// Lines that were not written are counted under one name, and only where there are some.
#[test]
fn suppressed_lines_have_one_name_in_the_log() {
    let mut found = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/framework")), &mut found);
    for text in &found {
        let old = |line: &&str| line.contains(" unsaid,") || line.contains(" unsaid =");
        assert_eq!(text.lines().find(old), None, "the field is called `suppressed`");
        // A count is a field only where it is some: `(suppressed > 0).then_some(suppressed)`.
        let logs = text.contains(" suppressed, ") && text.contains("tracing::warn!(");
        let head = text.lines().next().unwrap_or_default();
        assert!(!logs || text.contains("(suppressed > 0).then_some(suppressed)"), "suppressed=0: {head}");
    }
}

#[test]
fn text_from_outside_cannot_break_a_line_of_the_log_nor_steer_a_terminal() {
    let outside = "no\n2026 ERROR forged\r\u{1b}[2J\u{9b}1m \u{202e}txet";
    let say = || tracing::warn!(target: "forebay::receive", instance = "acme", reason = outside, "rejected {outside}");
    for format in [log::Format::Human, log::Format::Json] {
        let text = logged(format, say);
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.ends_with('\n'));
        let line = text.trim_end_matches('\n');
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(line.contains("rejected") && line.contains("forged") && line.contains("acme"), "{line}");
    }
    let document: Json = serde_json::from_str(&logged(log::Format::Json, say)).unwrap();
    assert_eq!(document["reason"], outside, "as JSON nothing is lost");
    assert_eq!((&document["level"], &document["instance"]), (&json!("WARN"), &json!("acme")));
}

#[test]
fn the_log_tells_our_events_from_info_on_and_only_warnings_of_the_libraries_below() {
    let text = logged(log::Format::Human, || {
        tracing::info!(target: "forebay::run", "ours");
        tracing::debug!(target: "forebay::run", "too fine");
        tracing::info!(target: "hyper::proto", "authorization: Bearer x");
        tracing::warn!(target: "rustls", "theirs");
    });
    assert!(text.contains("ours") && text.contains("theirs"), "{text}");
    assert!(!text.contains("too fine") && !text.contains("Bearer"), "{text}");
}
