//! Requests that hold several items: rules per item do their work, and the other items are delivered.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::model::Lifecycle;
use forebay::error::Result;
use forebay::receive::{Captured, Deeds, Kept, Reach};
use serde_json::json;

use super::stage::{self, KEY, Stage};

struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _: Request) -> std::result::Result<Response, TransportError> {
        panic!("no call is made")
    }
}

/// What rules kept and asked for. One value of a name is kept, and another one refused.
#[derive(Default)]
struct Noted {
    kept: Mutex<Vec<Kept>>,
    ran: Mutex<Vec<String>>,
}

#[async_trait]
impl Deeds for Noted {
    async fn capture(&self, _: &str, values: &[Kept], _: bool) -> Result<Captured> {
        let mut kept = self.kept.lock().unwrap();
        if kept.iter().any(|(name, value)| values.iter().any(|(n, v)| n == name && v != value)) {
            return Ok(Captured::Refused);
        }
        kept.extend(values.iter().cloned());
        Ok(Captured::Saved)
    }
    fn run(&self, resource: &str, operation: Lifecycle) {
        self.ran.lock().unwrap().push(format!("{resource}.{}", operation.name()));
    }
}

const SPEC: &str = "  path: /in\n  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n  rules:\n    \
    - name: expiring\n      per: item\n      when: item.lifecycle == 'expiring'\n      run: hook.check\n      \
      ignore: true\n      sample: {json: {value: [{lifecycle: expiring}]}}\n    \
    - name: handle\n      per: item\n      when: item.handle is defined\n      capture: {hook.handle: /handle}\n      \
      sample: {json: {value: [{handle: a}]}}\n  \
  decode: {format: json}\n  records: {each: /value}\n  event: {id: /id}\n  respond: {accepted: {status: 202, json: {n: \"{{ batch.accepted }}\"}}}\n";

/// What `run` names.
const PROVISION: &str = "provision:\n  resources:\n    hook:\n      desired: {url: \"{{ receiver.url }}\"}\n      \
    find: {call: \"GET https://api.example.com/hooks\", where: item.url == receiver.url, save: {id: /id}}\n      \
    create: {call: \"POST https://api.example.com/hooks\", json: {url: \"{{ receiver.url }}\"}, save: {id: /id}}\n      \
    check: {call: \"GET https://api.example.com/hooks/{{ state.hook.id }}\", every: 5m}\n      \
    delete: {call: \"DELETE https://api.example.com/hooks/{{ state.hook.id }}\"}\n";

async fn stage_with(spec: &str, noted: Arc<Noted>) -> Stage {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let caller = Arc::new(Caller::new(Arc::new(Nowhere), clock.clone(), Pace::default()));
    let probe = stage::instance(
        stage::connector_of(&format!("{PROVISION}receiver:\n{spec}")),
        "probe",
        &[("key", KEY)],
    );
    Stage::reaching(probe, clock, Reach { caller, deeds: Some(noted) }).await
}

#[tokio::test]
async fn rule_per_item_runs_once_and_delivers_other_items() {
    let noted = Arc::new(Noted::default());
    let stage = stage_with(SPEC, noted.clone()).await;
    let body = json!({"value": [
        {"id": "1", "type": "changed"},
        {"lifecycle": "expiring"},
        {"id": "2", "type": "changed", "handle": "h-1"},
        {"lifecycle": "expiring"},
        {"id": "3", "type": 7},
    ]});
    let reply = stage.post(body.to_string()).await;
    assert_eq!((reply.status, reply.json()["n"].as_u64()), (202, Some(3)), "two records and a dead letter");
    assert_eq!(stage.memory.ids(), ["1", "2"]);
    assert_eq!(stage.memory.letters().len(), 1);
    assert_eq!(*noted.ran.lock().unwrap(), ["hook.check"], "once for a request");
    assert_eq!(*noted.kept.lock().unwrap(), [("handle".to_owned(), json!("h-1"))]);
}

#[tokio::test]
async fn request_of_ignored_items_is_answered_as_accepted() {
    let noted = Arc::new(Noted::default());
    let stage = stage_with(SPEC, noted.clone()).await;
    let reply = stage.post(json!({"value": [{"lifecycle": "expiring"}]}).to_string()).await;
    assert_eq!((reply.status, reply.json()["n"].as_u64()), (202, Some(0)));
    assert!(stage.memory.bodies().is_empty());
    assert_eq!(noted.ran.lock().unwrap().len(), 1);
    // A request that is not verified sets off nothing.
    let reply = stage.send(&[], json!({"value": [{"lifecycle": "expiring"}]}).to_string()).await;
    assert_eq!((reply.status, noted.ran.lock().unwrap().len()), (401, 1));
}

#[tokio::test]
async fn captured_value_that_differs_loses_no_item() {
    let noted = Arc::new(Noted::default());
    let stage = stage_with(SPEC, noted.clone()).await;
    let item = |id: &str, handle: &str| json!({"id": id, "type": "s", "handle": handle});
    let body = json!({"value": [item("1", "a"), item("2", "b"), item("3", "a")]});
    assert_eq!(stage.post(body.to_string()).await.status, 202);
    assert_eq!(stage.memory.ids(), ["1", "2", "3"]);
    assert!(noted.kept.lock().unwrap().iter().all(|(_, value)| *value == json!("a")));
}

#[tokio::test]
async fn rule_per_item_sees_items_of_every_line() {
    let noted = Arc::new(Noted::default());
    let spec =
        SPEC.replace("format: json}", "format: json_lines}").replace("  records: {each: /value}\n", "");
    let spec = spec.replace("{value: [{lifecycle: expiring}]}", "{lifecycle: expiring}");
    let spec = spec.replace("{value: [{handle: a}]}", "{handle: a}");
    let stage = stage_with(&spec, noted.clone()).await;
    let body = "{\"id\":\"1\",\"type\":\"s\"}\n{\"lifecycle\":\"expiring\"}\nbroken\n{\"id\":\"2\",\"type\":\"s\"}\n";
    assert_eq!(stage.post(body).await.status, 202);
    assert_eq!(stage.memory.ids(), ["1", "2"]);
    assert_eq!((noted.ran.lock().unwrap().len(), stage.memory.letters().len()), (1, 1));
}

/// The removed value reaches no record and no dead letter, and every other byte stays.
#[tokio::test]
async fn removed_value_reaches_no_record_and_no_dead_letter() {
    let parts = "receiver:\n  path: /in\n  verify: {kind: token, each: /value, item: /state, equals: \"{{ secrets.key }}\"}\n  \
        decode: {format: json}\n  records: {each: /value}\n  event: {id: /id}\n";
    let connector = stage::connector_with(parts, ", remove: [/state]");
    let stage = Stage::with(
        stage::instance(connector, "probe", &[("key", KEY)]),
        forebay::receive::Limits::default(),
        None,
    )
    .await;
    let body = format!(
        "{{\"value\":[{{\"id\":\"1\", \"state\" : \"{KEY}\" ,\"type\":\"s\",\"n\":1.0}},{{\"state\":\"{KEY}\",\"id\":\"2\",\"type\":5}}]}}"
    );
    assert_eq!(stage.send(&[], body).await.status, 200);
    assert_eq!(stage.memory.bodies(), ["{\"id\":\"1\" ,\"type\":\"s\",\"n\":1.0}"]);
    let letters = stage.memory.letters();
    assert_eq!(
        letters.iter().map(|letter| &letter.bytes[..]).collect::<Vec<_>>(),
        [b"{\"id\":\"2\",\"type\":5}"]
    );
    assert!(!letters[0].detail.contains(KEY));
}

/// Events come by the methods that the spec names, and rules by theirs.
#[tokio::test]
async fn receiver_accepts_methods_that_spec_declares() {
    let rule = "  rules:\n    - name: gone\n      method: DELETE\n      path: /gone\n      verify: skip\n      \
        respond: {status: 204}\n      sample: {method: DELETE}\n";
    let spec = format!(
        "  path: /in\n  methods: [POST, PATCH, DELETE]\n  verify: {{kind: token, header: x-api-key, equals: \"{{{{ secrets.key }}}}\"}}\n{rule}  \
         decode: {{format: json}}\n  event: {{id: /id}}\n"
    );
    let stage = Stage::probe(&spec).await;
    for (n, method) in ["POST", "PATCH", "DELETE"].iter().enumerate() {
        let body = format!("{{\"id\":\"{n}\",\"type\":\"s\"}}");
        let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
        let bytes = stage::request(method, "/in", &[("x-api-key", KEY)], body.as_bytes());
        assert_eq!(stage::exchange(&mut stream, &bytes).await.status, 200, "{method}");
    }
    assert_eq!(stage.memory.ids(), ["0", "1", "2"]);
    for (method, path, status) in [("PUT", "/in", 405), ("DELETE", "/gone", 204), ("PATCH", "/gone", 405)] {
        let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
        let reply = stage::exchange(&mut stream, &stage::request(method, path, &[], b"")).await;
        assert_eq!(reply.status, status, "{method} {path}");
        if status == 405 && path == "/in" {
            assert_eq!(reply.header("allow"), Some("POST, PATCH, DELETE"));
        }
    }
}

/// Two branches for each level: a nested record would be evaluated 2^50 times. Nothing waits for it.
#[tokio::test]
async fn record_that_takes_too_many_steps_is_a_dead_letter() {
    let schema = r##"{"$defs": {"n": {"type": "object", "properties": {"c": {"oneOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}}}},
        "$ref": "#/$defs/n"}"##;
    let parts = "receiver:\n  path: /in\n  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n  \
        decode: {format: json_lines}\n  event: {id: /id}\n";
    let connector = stage::connector_checking(parts, "", schema);
    let probe = stage::instance(connector, "probe", &[("key", KEY)]);
    let stage = Stage::with(probe, forebay::receive::Limits::default(), None).await;
    let nested = |depth: usize| (0..depth).fold("{}".to_owned(), |inner, _| format!("{{\"c\":{inner}}}"));
    // Small enough for the thread that serves, too long for it, and too long for any.
    let lines = [3, 12, 50].map(|depth| format!("{{\"id\":\"{depth}\",\"c\":{}}}", nested(depth)));
    let begun = std::time::Instant::now();
    for line in &lines {
        assert_eq!(stage.post(format!("{{\"id\":\"plain{}\"}}\n{line}", line.len())).await.status, 200);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let letters = stage.memory.letters();
    let last = letters.last().unwrap();
    assert!(last.detail.contains("steps for it, which is the bound"), "{}", last.detail);
    assert_eq!(&last.bytes[..], lines[2].as_bytes());
    // What the schema itself refuses is told as ever: both branches hold.
    assert!(letters.iter().rev().skip(1).all(|letter| letter.detail.contains("oneOf")), "{letters:?}");
    assert_eq!(stage.memory.bodies().len(), 3, "the plain ones");
}

/// An endpoint with a store and a clock of its own, asked without a socket.
fn kept_at_home(
    event: &str,
    queue: Arc<dyn forebay::queue::Queue>,
    clock: Arc<dyn Clock>,
) -> (Arc<forebay::receive::Endpoint>, Arc<forebay::receive::Router>) {
    let spec = format!(
        "  path: /in\n  verify: {{kind: token, header: x-api-key, equals: \"{{{{ secrets.key }}}}\"}}\n  decode: {{format: json}}\n{event}"
    );
    let probe = stage::instance(stage::connector(&spec), "probe", &[("key", KEY)]);
    let limits = forebay::receive::Limits::default();
    let endpoint = forebay::receive::Endpoint::new(probe, queue, clock, stage::nowhere(), &limits).unwrap();
    let router = Arc::new(forebay::receive::Router::new([endpoint.clone()]).unwrap());
    (endpoint, router)
}

fn notice(body: &str) -> http::Request<bytes::Bytes> {
    let request = http::Request::post("/in").header("x-api-key", KEY);
    request.body(bytes::Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

/// A notice says nothing of its own: the same bytes an hour later are another event.
#[tokio::test]
async fn event_without_id_is_remembered_for_ten_minutes() {
    use crate::queue::{Hand, START};
    let body = "{\"type\":\"SYNC_UPDATES_AVAILABLE\"}";
    for (event, minutes, stored) in [
        ("", 9, 1),
        ("", 11, 2),
        ("  event: {dedupe: off}\n", 0, 2),
        ("  event: {id: /id, dedupe: {without_id: off}}\n", 0, 2),
        ("  event: {dedupe: {window: 2m}}\n", 3, 2),
        ("  event: {id: /type, dedupe: {window: 2m}}\n", 1, 1),
        ("  event: {id: /type, dedupe: {window: 2m}}\n", 3, 2),
        ("  event: {id: /type}\n", 60, 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Hand::at(START);
        let local = crate::queue::local(folder.path(), clock.clone());
        let (endpoint, router) = kept_at_home(event, local, clock.clone());
        for later in [0, minutes] {
            clock.step(later * 60);
            let answer = forebay::receive::explain(router.clone(), Default::default(), notice(body)).await;
            assert_eq!(answer.status(), 200);
        }
        let tally = endpoint.tally();
        assert_eq!((tally.stored, tally.duplicates), (stored, 2 - stored), "{event} after {minutes} minutes");
    }
}

#[tokio::test]
async fn request_that_is_dropped_while_it_is_stored_is_counted() {
    let memory = Arc::new(stage::Memory::default());
    let (endpoint, router) = kept_at_home("  event: {id: /id}\n", memory.clone(), Arc::new(SystemClock));
    let held = memory.hold.lock().await;
    let request =
        forebay::receive::explain(router, Default::default(), notice("{\"id\":\"1\",\"type\":\"s\"}"));
    let dropped = tokio::time::timeout(std::time::Duration::from_millis(50), request).await;
    assert!(dropped.is_err() && endpoint.tally().stored == 0);
    drop(held);
    for _ in 0..500 {
        if endpoint.tally().stored == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!((endpoint.tally().stored, memory.ids()), (1, vec!["1".to_owned()]));
}

/// Numbers that no double holds, and the order of keys, in everything that a spec builds.
#[tokio::test]
async fn built_records_keep_digits_and_order_of_keys() {
    let verify = "  path: /in\n  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
    let built = format!(
        "{verify}  decode: {{format: none, record: {{type: s, n: \"{{{{ request.json.n }}}}\", all: \"{{{{ request.json }}}}\"}}}}\n  \
         event: {{id: {{hash: \"\"}}}}\n"
    );
    let stage = Stage::probe(&built).await;
    let body = r#"{"z":18118260000000000001234567,"n":1e400,"a":[12.50,-0,1.0],"m":{"y":0.1,"b":1E3}}"#;
    assert_eq!(stage.post(body).await.status, 200);
    assert_eq!(stage.memory.bodies(), [format!(r#"{{"type":"s","n":1e400,"all":{body}}}"#)]);
    let listed = format!(
        "{verify}  decode: {{format: json}}\n  records: {{each: {{value: \"{{{{ request.json.b + request.json.a }}}}\"}}}}\n  event: {{id: /id}}\n"
    );
    let parts = format!("receiver:\n{listed}simulate: {{json: {{b: [], a: \"{{{{ items }}}}\"}}}}\n");
    let probe = stage::instance(stage::connector_of(&parts), "probe", &[("key", KEY)]);
    let stage = Stage::with(probe, forebay::receive::Limits::default(), None).await;
    let (one, two) = (
        r#"{"id":18118260000000000001234567,"type":"s","x":1.10}"#,
        r#"{"id":18118260000000000001234568,"type":"s"}"#,
    );
    assert_eq!(stage.post(format!(r#"{{"a":[{two}],"b":[{one}]}}"#)).await.status, 200);
    assert_eq!(stage.memory.bodies(), [one, two]);
    assert_eq!(stage.memory.ids(), ["18118260000000000001234567", "18118260000000000001234568"]);
}
