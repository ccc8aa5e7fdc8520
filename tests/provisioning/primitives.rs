//! Every primitive of provisioning, in small specs of vendors that are nobody: their cases hold, and their lives
//! run against the stand-in, through the built binary.

use std::path::PathBuf;
use std::sync::Arc;

use forebay::connector::clock::SystemClock;
use forebay::connector::instance::InstanceId;
use forebay::connector::load::load;
use forebay::simulate::answer::Incoming;
use forebay::simulate::configure::{fill, instance};
use forebay::simulate::faults::Faults;
use forebay::simulate::vendor::Vendor;
use serde_json::{Value as Json, json};

use crate::support::{forebay, root};

fn specs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/provisioning/specs")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 5, "{found:?}");
    found
}

#[test]
fn specs_of_every_primitive_hold_their_cases_and_live_their_lives() {
    let output = forebay().arg("validate").args(specs()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let output = forebay().arg("test").args(specs()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("its whole life").count(), specs().len(), "{said}");
}

/// A vendor whose operations all begin by cloning a version, and that answers 500 to whatever it does not like.
#[test]
fn delete_saves_and_accepted_statuses_are_answers() {
    let folder = "tests/provisioning/cases-only/versions";
    let output = forebay().args(["validate", folder]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for case in ["delete-saves", "accepted-status"] {
        let output = forebay().arg("test").arg(format!("{folder}/cases/{case}.yaml")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains(&format!("ok   {case}: ")),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_person_is_told_what_to_do_where_there_is_no_api() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = forebay();
    command.args(["plan", "tests/provisioning/specs/register", "--public-url", "https://in.example.com"]);
    let output = command.arg("--data-dir").arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Sign in to https://north.register.example"), "{said}");
    assert!(said.contains("address  https://in.example.com/register/register"), "{said}");
}

/// What the stand-in of a spec answers, signed as the spec says: status, headers and body.
struct Asker {
    vendor: Arc<Vendor>,
    host: &'static str,
    signature: (&'static str, String),
}

impl Asker {
    fn of(spec: &str, host: &'static str, sign: fn(&str) -> (&'static str, String)) -> Self {
        let connector = Arc::new(load(&root().join("tests/provisioning/specs").join(spec)).unwrap());
        let filled = fill(&connector, Default::default(), Default::default(), true).unwrap();
        let id = InstanceId::parse(spec).unwrap();
        let instance = instance(connector, id, filled, "the test").unwrap();
        let instance = instance.at_base(&"https://forebay.example".parse().unwrap()).unwrap();
        let token = instance.secrets.read().unwrap()["token"].current.expose().to_owned();
        let vendor = Vendor::new(Arc::new(instance), Arc::new(SystemClock), Faults::none(), None).unwrap();
        Self { vendor, host, signature: sign(&token) }
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Vec<(String, String)>, Json) {
        let request = http::Request::builder().method(method).uri(path).header("host", self.host);
        let request = request.header(self.signature.0, &self.signature.1).header("content-type", kind);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let answer = self.vendor.answer(&Incoming::read(&parts, body.as_bytes().to_vec().into()));
        (answer.status, answer.headers, answer.body.unwrap_or(Json::Null))
    }

    fn json(&self, method: &str, path: &str, body: &str) -> (u16, Json) {
        let (status, _, body) = self.ask(method, path, "application/json", body);
        (status, body)
    }
}

fn basic(token: &str) -> (&'static str, String) {
    ("authorization", format!("Basic {}", data_encoding::BASE64.encode(format!("us:{token}").as_bytes())))
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

#[test]
fn the_stand_in_keeps_the_order_of_steps_and_is_as_slow_as_vendors_are() {
    let vendor = Asker::of("pipes", "plumber.example", basic);
    let to = "https://forebay.example/pipes/pipes";
    let pipe = json!({"to": to, "format": "list", "password": "a-word"});
    let (status, made) = vendor.json("POST", "/pipes", &pipe.to_string());
    assert_eq!(status, 201, "{made}");
    assert_eq!(made.get("password"), None, "what is written is not shown: {made}");
    let one = format!("/pipes/{}", made["id"].as_str().unwrap());
    assert_eq!(vendor.json("POST", &format!("{one}/open"), "").0, 409, "`dry` comes first");
    let progress = |_| vendor.json("GET", &format!("{one}/works"), "").1["progress"].clone();
    let seen: Vec<Json> = (0..4).map(progress).collect();
    assert!(seen[0] != "done" && seen[1] != "done" && seen[2] == "done" && seen[3] == "done", "{seen:?}");
    assert_eq!(vendor.json("POST", &format!("{one}/open"), "").0, 200, "`tell` may be left out");
    let other = json!({"to": to, "password": "a-word", "format": "lines"});
    assert_eq!(vendor.json("PATCH", &one, &other.to_string()).0, 400, "`format` is no field of an update");
    assert_eq!(vendor.json("GET", "/pipes?pages=1", "").0, 400, "a parameter that nobody knows");
    assert_eq!(vendor.json("DELETE", &one, "").0, 409, "`close` comes first");
    assert_eq!(vendor.json("POST", &format!("{one}/close"), "").0, 200);
    assert_eq!(vendor.json("DELETE", &one, "").0, 204);
    assert_eq!(vendor.vendor.count(), 0);
}

#[test]
fn a_check_that_asks_as_a_step_does_is_answered_alike_and_what_is_ready_stays_so() {
    let vendor = Asker::of("lamps", "lamps.example", basic);
    let lamp = json!({"to": "https://forebay.example/lamps/lamps", "password": "a-word"});
    let (status, made) = vendor.json("POST", "/lamps", &lamp.to_string());
    assert_eq!(status, 201, "{made}");
    let one = format!("/lamps?id={}", made["lamps"][0]["id"].as_str().unwrap());
    let state = |_| vendor.json("GET", &one, "").1["lamps"][0]["state"].clone();
    let seen: Vec<Json> = (0..5).map(state).collect();
    assert_eq!(seen, ["lit", "lit", "burning", "burning", "burning"]);
}

#[test]
fn the_stand_in_tells_a_key_once_and_forgets_what_ran_out() {
    let vendor = Asker::of("relays", "relays.example", bearer);
    let relay = json!({"endpoint": "https://forebay.example/relays/relays", "format": "json"}).to_string();
    let (status, headers, made) = vendor.ask("POST", "/relays", "application/json", &relay);
    assert_eq!(status, 201, "{made}");
    assert!(headers.iter().any(|(name, value)| name == "x-relay-key" && !value.is_empty()), "{headers:?}");
    let one = format!("/relays/{}", made["uid"].as_str().unwrap());
    let (status, headers, _) = vendor.ask("GET", &one, "application/json", "");
    assert_eq!((status, headers.iter().any(|(name, _)| name == "x-relay-key")), (200, false));
    // Its end is what the vendor says, and then it is gone.
    let end: jiff::Timestamp = made["until"].as_str().unwrap().parse().unwrap();
    assert!(end > jiff::Timestamp::now());
    crate::support::eventually("it ran out", || {
        let gone = vendor.json("GET", &one, "").0 == 404;
        assert!(!gone || jiff::Timestamp::now() >= end, "it was gone before its end");
        gone
    });
    // Pages: what others have stands before ours, and the last page leads nowhere.
    let (_, made) = vendor.json("POST", "/relays", &relay);
    let (mut path, mut seen) = ("/relays".to_owned(), Vec::new());
    loop {
        let (status, page) = vendor.json("GET", &path, "");
        assert_eq!(status, 200, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["uid"].clone()));
        let Some(next) = page["links"]["next"].as_str() else { break };
        path = next.strip_prefix("https://relays.example").unwrap().to_owned();
    }
    assert!(seen.len() >= 3 && seen.last() == Some(&made["uid"]), "{seen:?}");
}
