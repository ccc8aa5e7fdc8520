//! Rules against whoever sends: floods, strangers, values that would break out, calls that hang. What the handshakes
//! of vendors look like is in tests/handshakes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::InstanceId;
use forebay::connector::model::Lifecycle;
use forebay::error::Result;
use forebay::provision::captures::{Arrival, Keeping};
use forebay::provision::state::{Memory, Operation, Pending};
use forebay::queue::limits::Limits as QueueLimits;
use forebay::queue::local::Local;
use forebay::receive::{Captured, Deeds, Endpoint, Kept, Limits, Reach, Router};
use serde_json::json;

use super::stage::{self, KEY, Stage, instance};

const VERIFY: &str =
    "  path: /in\n  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
const REST: &str = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";

fn spec(rules: &str) -> String {
    format!("{VERIFY}  rules:\n{rules}{REST}")
}

/// A vendor that counts what it is asked, and answers when it is told to.
#[derive(Default)]
struct Vendor {
    asked: Mutex<Vec<String>>,
    hold: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Transport for Vendor {
    async fn send(&self, request: Request) -> std::result::Result<Response, TransportError> {
        self.asked.lock().unwrap().push(format!("{} {}", request.method, request.url));
        let _held = self.hold.lock().await;
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        Ok(Response { status, headers, body: "{}".into() })
    }
}

/// What rules kept and asked for.
#[derive(Default)]
struct Noted {
    kept: Mutex<Vec<Kept>>,
    ran: AtomicUsize,
}

#[async_trait]
impl Deeds for Noted {
    async fn capture(&self, _: &str, values: &[Kept], _: bool) -> Result<Captured> {
        self.kept.lock().unwrap().extend(values.iter().cloned());
        Ok(Captured::Saved)
    }
    fn run(&self, _: &str, _: Lifecycle) {
        self.ran.fetch_add(1, Ordering::SeqCst);
    }
}

async fn stage_with(rules: &str, vendor: Arc<Vendor>, deeds: Option<Arc<dyn Deeds>>) -> Stage {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let reach = Reach { caller: Arc::new(Caller::new(vendor, clock.clone(), Pace::default())), deeds };
    let probe = instance(stage::connector(&spec(rules)), "probe", &[("key", KEY)]);
    Stage::reaching(probe, clock, reach).await
}

const CONFIRM: &str = "    - name: confirm\n      when: request.json.confirm is defined\n      \
     run: {call: \"GET {{ request.json.confirm }}\", only: 'https://api\\.example\\.com/confirm\\?.*'}\n      \
     respond: {status: 200}\n      sample: {json: {confirm: \"https://api.example.com/confirm?a\"}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_messages_is_a_few_calls_and_the_others_are_told_to_come_again() {
    let vendor = Arc::new(Vendor::default());
    let stage = stage_with(CONFIRM, vendor.clone(), None).await;
    let (mut good, mut later) = (0, 0);
    for n in 0..200 {
        let reply =
            stage.post(json!({"confirm": format!("https://api.example.com/confirm?n={n}")}).to_string());
        match reply.await.status {
            200 => good += 1,
            503 => later += 1,
            other => panic!("{other}"),
        }
    }
    let asked = vendor.asked.lock().unwrap().len();
    // A minute may end in the middle of it.
    assert!((30..=60).contains(&asked) && good == asked, "{asked} calls, {good} answered");
    assert_eq!(good + later, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_where_the_spec_says_and_nowhere_else() {
    let vendor = Arc::new(Vendor::default());
    let stage = stage_with(CONFIRM, vendor.clone(), None).await;
    for bad in [
        "http://api.example.com/confirm?a",
        "https://api.example.com.evil.example/confirm?a",
        "https://evil.example/?https://api.example.com/confirm?a",
        "https://api.example.com@evil.example/confirm?a",
        "https://api.example.com:8443/confirm?a",
        "https://api.example.com/../admin/confirm?a",
        "https://api.example.com/confirm/../admin?a",
        "https://api.example.com/confirm",
        "https://127.0.0.1/confirm?a",
        "https://[::1]/confirm?a",
        "file:///etc/passwd",
        "no url",
        "",
    ] {
        assert_eq!(stage.post(json!({"confirm": bad}).to_string()).await.status, 403, "{bad}");
    }
    assert_eq!(*vendor.asked.lock().unwrap(), [] as [String; 0]);
    // What is written otherwise and leads there is what is sent.
    let odd = "https://API.example.com/confirm?a";
    assert_eq!(stage.post(json!({"confirm": odd}).to_string()).await.status, 200);
    assert_eq!(*vendor.asked.lock().unwrap(), ["GET https://api.example.com/confirm?a"]);
    // Without the key nobody sets off a call.
    let body = json!({"confirm": "https://api.example.com/confirm?a"}).to_string();
    assert_eq!(stage.send(&[], body).await.status, 401);
    assert_eq!(vendor.asked.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_taken_while_a_call_hangs() {
    let vendor = Arc::new(Vendor::default());
    let stage = Arc::new(stage_with(CONFIRM, vendor.clone(), None).await);
    let held = vendor.hold.lock().await;
    let waiting = stage.clone();
    let body = json!({"confirm": "https://api.example.com/confirm?a"}).to_string();
    let confirm = tokio::spawn(async move { waiting.post(body).await.status });
    while vendor.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.post(r#"{"id":"1","type":"a"}"#).await.status, 202);
    assert!(!confirm.is_finished());
    drop(held);
    assert_eq!(confirm.await.unwrap(), 200);
}

#[tokio::test]
async fn a_value_neither_breaks_out_of_a_header_nor_grows_without_bound() {
    let rules = "    - name: header\n      method: GET\n      when: request.query.h is defined\n      verify: skip\n      \
         respond: {status: 200, headers: {X-Echo: \"{{ request.query.h }}\"}}\n      sample: {query: {h: a}}\n    \
         - name: body\n      method: PUT\n      when: request.body != ''\n      verify: skip\n      \
         respond: {status: 200, text: \"{{ request.body }}\"}\n      sample: {text: a}\n";
    let stage = stage_with(rules, Arc::default(), None).await;
    let get = async |target: &str| {
        stage.raw(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    };
    assert!(get("/in?h=good").await.contains("\r\nx-echo: good\r\n"));
    for bad in ["a%0d%0aset-cookie:%20b", "a%0ab", "a%00b", &"x".repeat(9 << 10)] {
        let answer = get(&format!("/in?h={bad}")).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{bad}: {answer}");
        assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    }
    let put = async |length: usize| {
        let request = stage::request("PUT", "/in", &[("connection", "close")], "y".repeat(length).as_bytes());
        stage.raw(request).await
    };
    let echoed = put(60 << 10).await;
    assert!(
        echoed.starts_with("HTTP/1.1 200 ") && echoed.contains("\r\nx-content-type-options: nosniff\r\n")
    );
    assert!(put(70 << 10).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn what_is_kept_is_one_text_of_bounded_size() {
    let rules = "    - name: secret\n      when: request.headers['x-secret'] is defined or request.json.secret is defined\n      \
         verify: skip\n      capture: {hook.secret: {body: /secret}}\n      respond: {status: 200}\n      \
         sample: {json: {secret: abc}}\n";
    let noted = Arc::new(Noted::default());
    let deeds: Arc<dyn Deeds> = noted.clone();
    let stage = stage_with(rules, Arc::default(), Some(deeds)).await;
    for bad in [
        json!({"secret": ""}),
        json!({"secret": null}),
        json!({"secret": {"a": 1}}),
        json!({"secret": ["a"]}),
        json!({"secret": "a\nb"}),
        json!({"secret": "s".repeat(9 << 10)}),
    ] {
        let shown = bad.to_string();
        assert_eq!(stage.send(&[], &shown).await.status, 401, "{}", &shown[..shown.len().min(40)]);
    }
    assert_eq!(*noted.kept.lock().unwrap(), []);
    assert_eq!(stage.send(&[], r#"{"secret":"good"}"#).await.status, 200);
    assert_eq!(*noted.kept.lock().unwrap(), [("secret".to_owned(), json!("good"))]);
}

#[tokio::test]
async fn a_rule_that_keeps_for_nobody_is_not_answered_with_success() {
    let rules = "    - name: secret\n      when: request.json.secret is defined\n      verify: skip\n      \
         capture: {hook.secret: {body: /secret}}\n      respond: {status: 200}\n      sample: {json: {secret: abc}}\n";
    let stage = stage_with(rules, Arc::default(), None).await;
    assert_eq!(stage.send(&[], r#"{"secret":"good"}"#).await.status, 503);
}

#[tokio::test]
async fn what_is_not_known_yet_is_ours_and_the_vendor_comes_again() {
    let rules = "    - name: told\n      when: request.json.ask is defined\n      \
         respond: {status: 200, text: \"{{ state.hook.id }}\"}\n      sample: {json: {ask: 1}}\n    \
         - name: kept\n      when: request.json.id is defined and request.json.keep is defined\n      \
         capture: {hook.id: {body: /id}}\n      respond: {status: 200}\n      sample: {json: {id: a, keep: 1}}\n";
    let stage = stage_with(rules, Arc::default(), None).await;
    assert_eq!(stage.post(r#"{"ask":1}"#).await.status, 503);
    stage.endpoint.learn(json!({"hook": {"id": "hook-1"}}));
    let reply = stage.post(r#"{"ask":1}"#).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "hook-1"));
}

#[tokio::test]
async fn a_message_that_goes_on_is_an_event_too_and_asks_for_an_operation() {
    let rules = "    - name: removed\n      when: request.json.type == 'removed'\n      run: hook.check\n      \
         sample: {json: {type: removed}}\n";
    // Without a resource there is nothing to run.
    let wrong = std::panic::catch_unwind(|| stage::connector(&spec(rules)));
    assert!(wrong.is_err());
    let provision = "provision:\n  resources:\n    hook:\n      desired: {url: \"{{ receiver.url }}\"}\n      \
         examples: {healthy: {id: 1}}\n      find: {call: GET https://api.example.com/hooks, where: item.url == receiver.url, save: {id: /id}}\n      \
         create: {call: POST https://api.example.com/hooks, json: {url: \"{{ receiver.url }}\"}, save: {id: /id}}\n      \
         check: {call: \"GET https://api.example.com/hooks/{{ state.hook.id }}\"}\n      \
         delete: {call: \"DELETE https://api.example.com/hooks/{{ state.hook.id }}\"}\nreceiver:\n";
    let connector = stage::connector_of(&format!("{provision}{}", spec(rules)));
    let noted = Arc::new(Noted::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let caller = Arc::new(Caller::new(Arc::new(Vendor::default()), clock.clone(), Pace::default()));
    let reach = Reach { caller, deeds: Some(noted.clone()) };
    let stage = Stage::reaching(instance(connector, "probe", &[("key", KEY)]), clock, reach).await;
    assert_eq!(stage.post(r#"{"id":"1","type":"removed"}"#).await.status, 202);
    assert_eq!(noted.ran.load(Ordering::SeqCst), 1);
    assert_eq!(stage.memory.bodies(), [r#"{"id":"1","type":"removed"}"#]);
    assert_eq!(stage.send(&[], r#"{"id":"2","type":"removed"}"#).await.status, 401);
    assert_eq!(noted.ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn two_instances_cannot_share_a_path_of_a_rule() {
    let rules = "    - name: there\n      method: GET\n      path: /.well-known/there\n      verify: skip\n      \
         respond: {status: 200, json: {there: true}}\n      sample: {method: GET}\n";
    let connector = stage::connector(&spec(rules).replace("path: /in", "path: /in/{{ instance.id }}"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let caller = Arc::new(Caller::new(Arc::new(Vendor::default()), clock.clone(), Pace::default()));
    let reach = Reach { caller, deeds: None };
    let endpoint = |id: &str| {
        let memory = Arc::new(stage::Memory::default());
        let one = instance(connector.clone(), id, &[("key", KEY)]);
        Endpoint::new(one, memory, clock.clone(), reach.clone(), &Limits::default()).unwrap()
    };
    assert!(Router::new([endpoint("a")]).is_ok());
    let error = Router::new([endpoint("a"), endpoint("b")]).err().expect("it was taken").to_string();
    assert!(error.contains("/.well-known/there") && error.contains('a') && error.contains('b'), "{error}");
}

/// The receiver and provisioning write one document: whatever each writes is there at the end.
#[tokio::test(flavor = "multi_thread")]
async fn what_rules_keep_and_what_provisioning_saves_do_not_overwrite_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let limits = QueueLimits { min_free: 0, ..QueueLimits::default() };
    let store = Local::open(folder.path(), limits, clock).unwrap();
    let id = InstanceId::parse("acme").unwrap();
    let (rules, provisioning) = (Memory::new(id.clone(), store.clone()), Memory::new(id, store.clone()));
    let keeping = tokio::spawn(async move {
        for n in 0..40 {
            let value = (format!("key-{n}"), json!(n));
            let kept = rules.capture("hook", &[value], arrival(100, true)).await.unwrap();
            assert_eq!(kept, Keeping::Saved);
        }
    });
    for n in 0..40 {
        let saved = provisioning.change(|document| {
            let hook = document.resources.entry("hook".to_owned()).or_default();
            hook.saved.insert(format!("id-{n}"), json!(n));
            Ok(())
        });
        saved.await.unwrap();
    }
    keeping.await.unwrap();
    let names = provisioning.read().await.unwrap().names();
    for n in 0..40 {
        assert_eq!(
            (&names["hook"][format!("key-{n}")], &names["hook"][format!("id-{n}")]),
            (&json!(n), &json!(n))
        );
    }
    store.close().await.unwrap();
}

fn arrival(at_seconds: i64, verified: bool) -> Arrival {
    Arrival { began: 0, at_seconds, verified }
}

/// An unsigned secret is taken once in each operation of the resource, and never once the instance was destroyed.
#[tokio::test]
async fn a_secret_is_taken_only_while_an_operation_is_open() {
    let state = Arc::new(crate::provisioning::bench::Remembered::default());
    let memory = Memory::new(InstanceId::parse("acme").unwrap(), state);
    let capture = async |text: &str, at| {
        memory.capture("hook", &[("key".to_owned(), json!(text))], arrival(at, false)).await
    };
    let open = |since_seconds| {
        memory.change(move |document| {
            let pending = Pending { operation: Operation::Create, done: 0, since_seconds };
            document.resources.entry("hook".to_owned()).or_default().pending = Some(pending);
            Ok(())
        })
    };
    assert_eq!(
        capture("attacker", 5).await.unwrap(),
        Keeping::Closed,
        "nothing is open: it may be anybody's"
    );
    open(9).await.unwrap();
    assert_eq!(capture("first", 10).await.unwrap(), Keeping::Saved);
    assert_eq!(capture("first", 11).await.unwrap(), Keeping::Known);
    assert_eq!(capture("attacker", 12).await.unwrap(), Keeping::Refused);
    open(20).await.unwrap();
    assert_eq!(capture("second", 21).await.unwrap(), Keeping::Saved);
    assert_eq!(capture("attacker", 22).await.unwrap(), Keeping::Refused, "one for each operation");
    assert_eq!(memory.read().await.unwrap().names()["hook"]["key"], "second");
    let destroyed = memory.change(|document| {
        document.destroyed += 1;
        document.resources.clear();
        Ok(())
    });
    destroyed.await.unwrap();
    assert!(capture("attacker", 30).await.is_err());
    assert_eq!(memory.read().await.unwrap().names(), json!({}));
}
