//! The stand-in vendor: as strict as the spec, for any spec, and a whole life against it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::SystemClock;
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::load::load;
use forebay::provision::state::Memory;
use forebay::simulate::answer::Incoming;
use forebay::simulate::configure::{self, fill};
use forebay::simulate::faults::Faults;
use forebay::simulate::hurry::Tempo;
use forebay::simulate::ledger::Ledger;
use forebay::simulate::plan::Plan;
use forebay::simulate::sender::Sender;
use forebay::simulate::vendor::Vendor;
use forebay::simulate::wire::Wire;
use serde_json::{Value as Json, json};

use crate::support::{forebay, root};

const AUTH0: &str = "connectors/auth0-log-stream";
const HARBOUR: &str = "tests/specs/harbour-alerts";
const TENANT: &str = "tenantdomain.example";

/// An instance of a connector, configured as a simulation configures it.
fn instance(folder: &str) -> Arc<Instance> {
    let connector = Arc::new(load(&root().join(folder)).unwrap());
    let filled = fill(&connector, Default::default(), Default::default(), true).unwrap();
    let id = InstanceId::parse(&connector.name).unwrap();
    let instance = configure::instance(connector, id, filled, "the test").unwrap();
    Arc::new(instance.at_base(&"https://forebay.example".parse().unwrap()).unwrap())
}

fn vendor(folder: &str) -> Arc<Vendor> {
    Vendor::new(instance(folder), Arc::new(SystemClock), Faults::none(), None).unwrap()
}

/// A request to the vendor and its answer: status and body.
pub fn ask(
    vendor: &Vendor,
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Json) {
    let mut request = http::Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let answer = vendor.answer(&Incoming::read(&parts, body.as_bytes().to_vec().into()));
    (answer.status, answer.body.unwrap_or(Json::Null))
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");

pub fn secret(vendor: &Vendor, name: &str) -> String {
    vendor.instance().secrets.read().unwrap()[name].current.expose().to_owned()
}

fn token_form(vendor: &Vendor, secret: &str) -> String {
    let id = self::secret(vendor, "client_id");
    let audience = format!("https://{TENANT}/api/v2/");
    form(&[
        ("grant_type", "client_credentials"),
        ("client_id", &id),
        ("client_secret", secret),
        ("audience", &audience),
    ])
}

fn bearer(vendor: &Vendor) -> String {
    let body = token_form(vendor, &secret(vendor, "client_secret"));
    let (status, answer) = ask(vendor, "POST", TENANT, "/oauth/token", &[FORM], &body);
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")), "{answer}");
    assert!(answer["expires_in"].as_u64().unwrap() > 0);
    format!("Bearer {}", answer["access_token"].as_str().unwrap())
}

#[test]
fn a_simulation_chooses_what_makes_provisioning_run() {
    let connector = load(&root().join(AUTH0)).unwrap();
    let filled = fill(&connector, Default::default(), Default::default(), true).unwrap();
    assert_eq!(filled.settings["input_mode"], "automatic");
    assert_eq!(filled.settings["base_url"], format!("https://{TENANT}/"));
    assert_eq!(filled.settings.get("authentication_type"), None, "a default is no choice");
    let made: Vec<&String> = filled.secrets.keys().collect();
    assert_eq!(made, ["client_id", "client_secret", "monad_api_key"]);
    let mut given = serde_json::Map::new();
    given.insert("input_mode".into(), "manual".into());
    let filled =
        fill(&connector, given, [("monad_api_key".to_owned(), "mine".to_owned())].into(), true).unwrap();
    assert_eq!(filled.settings["input_mode"], "manual", "what was given stands");
    assert_eq!(filled.secrets["monad_api_key"], "mine");
}

#[test]
fn the_stand_in_gives_a_token_only_to_who_has_the_secret_and_asks_as_the_spec_says() {
    let vendor = vendor(AUTH0);
    let good = token_form(&vendor, &secret(&vendor, "client_secret"));
    let at = |method: &str, headers: &[(&str, &str)], body: &str| {
        ask(&vendor, method, TENANT, "/oauth/token", headers, body).0
    };
    assert_eq!(at("POST", &[FORM], &good), 200);
    assert_eq!(at("POST", &[FORM], &token_form(&vendor, "wrong")), 401);
    assert_eq!(at("POST", &[JSON], &good), 400, "a form that says it is JSON");
    assert_eq!(at("GET", &[FORM], &good), 405);
    assert_eq!(at("POST", &[FORM], &good.replace("client_credentials", "password")), 400);
    assert_eq!(at("POST", &[FORM], &good.replace("api%2Fv2", "api%2Fv3")), 403, "another audience");
    assert_eq!(at("POST", &[FORM], &format!("{good}&more=1")), 400);
}

#[test]
fn the_stand_in_is_as_strict_as_the_spec() {
    let vendor = vendor(AUTH0);
    let token = bearer(&vendor);
    let key = secret(&vendor, "monad_api_key");
    let streams = "/api/v2/log-streams";
    let signed = [("authorization", token.as_str()), JSON];
    let at = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        ask(&vendor, method, TENANT, path, headers, body)
    };
    let stream = json!({
        "name": "auth0-log-stream", "type": "http",
        "sink": {
            "httpEndpoint": "https://forebay.example/api/v2/http/send/auth0-log-stream", "httpContentType": "application/json",
            "httpContentFormat": "JSONLINES", "httpCustomHeaders": [{"header": "x-api-key", "value": key}],
        },
    });
    let body = stream.to_string();
    // Who asks.
    let (status, answer) = at("POST", streams, &[JSON], &body);
    assert_eq!(
        (status, &answer["message"]),
        (401, &json!("Invalid token")),
        "in the place that the spec names"
    );
    assert_eq!(at("POST", streams, &[("authorization", "Bearer guessed"), JSON], &body).0, 401);
    assert_eq!(at("GET", streams, &[], "").0, 401);
    // What is where.
    assert_eq!(at("GET", "/api/v2/users", &signed, "").0, 404);
    assert_eq!(at("PUT", streams, &signed, &body).0, 405);
    assert_eq!(ask(&vendor, "GET", "elsewhere.example", streams, &signed, "").0, 404, "another host");
    assert_eq!(at("GET", "/api/v2/log-streams/lst_0000000000000001", &signed, "").0, 404);
    // Which shape.
    assert_eq!(at("POST", streams, &[signed[0], ("content-type", "text/plain")], &body).0, 400);
    assert_eq!(at("POST", streams, &signed, "{").0, 400);
    let mut more = stream.clone();
    more["status"] = json!("active");
    let (status, answer) = at("POST", streams, &signed, &more.to_string());
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().unwrap().contains("/status"), "{answer}");
    let mut less = stream.clone();
    less["sink"].as_object_mut().unwrap().remove("httpEndpoint");
    assert_eq!(at("POST", streams, &signed, &less.to_string()).0, 400);
    assert_eq!(vendor.count(), 0, "nothing was made by all this");
    // Made twice is two.
    let (status, made) = at("POST", streams, &signed, &body);
    assert!((200..300).contains(&status), "{made}");
    let (_, again) = at("POST", streams, &signed, &body);
    assert_ne!(made["id"], again["id"]);
    assert_eq!(made["status"], "active");
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("lst_") && id.len() == 20, "{id}");
    let (_, list) = at("GET", streams, &signed, "");
    let ours = list.as_array().unwrap().iter().filter(|item| item["name"] == stream["name"]);
    assert_eq!(ours.count(), 2);
    assert!(list.as_array().unwrap().len() > 2, "others have streams there, too");
    assert!(vendor.knows_receiver());
    // Changed at the top level, shown, removed once.
    let one = format!("{streams}/{id}");
    assert_eq!(at("PATCH", &one, &signed, r#"{"status":"paused"}"#).0, 400, "no call of the spec sends this");
    assert_eq!(at("PATCH", &one, &signed, r#"{"status":"active"}"#).0, 200, "this is `repair`");
    let update = json!({"name": "renamed", "sink": stream["sink"]}).to_string();
    assert_eq!(at("PATCH", &one, &signed, &update).0, 200, "this is `update`");
    let shown = at("GET", &one, &signed, "").1;
    assert_eq!(
        (&shown["name"], &shown["type"], &shown["id"]),
        (&json!("renamed"), &json!("http"), &made["id"])
    );
    assert_eq!(at("DELETE", &one, &signed, "").0, 204);
    assert_eq!(at("DELETE", &one, &signed, "").0, 404);
    assert_eq!(vendor.count(), 1);
}

#[test]
fn another_spec_makes_another_vendor() {
    let vendor = vendor(HARBOUR);
    let host = "api.north.harbour.example";
    let hooks = "/v3/acct-7/hooks";
    let login = data_encoding::BASE64.encode(format!("acct-7:{}", secret(&vendor, "password")).as_bytes());
    let basic = format!("Basic {login}");
    let signed = [("authorization", basic.as_str()), ("x-harbour-version", "3"), FORM];
    let key = secret(&vendor, "signing_key");
    let body = form(&[
        ("label", "harbour-alerts"),
        ("target", "https://forebay.example/harbour/harbour-alerts"),
        ("topics", "arrivals"),
        ("topics", "departures"),
        ("key", &key),
    ]);
    let (status, answer) = ask(&vendor, "POST", host, hooks, &[signed[0], FORM], &body);
    assert_eq!(status, 400, "a header is missing: {answer}");
    assert!(answer["fault"]["text"].is_string(), "{answer}");
    let (status, answer) = ask(&vendor, "POST", host, hooks, &signed, &body);
    assert!((200..300).contains(&status), "{answer}");
    let number = answer["hook"]["number"].as_u64().unwrap();
    assert!(vendor.knows_receiver());
    let (_, list) = ask(&vendor, "GET", host, hooks, &signed[..2], "");
    let ours = list["page"]["hooks"].as_array().unwrap().iter().find(|hook| hook["number"] == number);
    assert_eq!(ours.unwrap()["topics"], json!(["arrivals", "departures"]));
    let one = format!("{hooks}/{number}");
    let (_, shown) = ask(&vendor, "GET", host, &one, &signed[..2], "");
    assert_eq!(shown["hook"]["state"], "ON");
    assert!(vendor.is_well().unwrap());
    assert!(vendor.suspend());
    assert!(!vendor.is_well().unwrap());
    assert_eq!(ask(&vendor, "POST", host, &format!("{one}/start"), &signed[..2], "").0, 200);
    assert!(vendor.is_well().unwrap(), "repaired");
    assert_eq!(ask(&vendor, "DELETE", host, &one, &signed[..2], "").0, 204);
    assert_eq!(vendor.count(), 0);
}

#[test]
fn a_connector_without_samples_cannot_be_simulated_and_says_why() {
    let mut connector = load(Path::new(&root().join(AUTH0))).unwrap();
    connector.samples.clear();
    let error = forebay::simulate::plan::Plan::new(&connector, jiff::Timestamp::UNIX_EPOCH, 10).unwrap_err();
    assert!(error.to_string().contains("samples"), "{error}");
}

/// The client's secret of every simulation of the first connector.
const SECRET: &str = "sesame-of-the-simulation";

/// What a simulation said and its exit code. No secret is ever in it.
fn simulate(folder: &str, data: &Path, flags: &[&str]) -> (i32, String, String) {
    let mut command = forebay();
    command.args(["run", folder, "--simulate", "--data-dir"]).arg(data).args(flags);
    if folder == AUTH0 {
        command.env("FOREBAY_SECRET_CLIENT_SECRET", SECRET);
    }
    let out = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "a secret was printed");
    (out.status.code().unwrap(), stdout, stderr)
}

/// The number in a row of the summary.
fn row(said: &str, name: &str) -> u64 {
    let line = said.lines().find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no row {name:?} in\n{said}"));
    line.trim_start()[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_whole_life_needs_no_account_and_ends_with_sums_that_agree() {
    let data = tempfile::tempdir().unwrap();
    let (code, stdout, said) = simulate(AUTH0, data.path(), &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stdout, "", "records go to a file where no sink is named");
    for line in [
        "ready: receiving auth0-log-stream at http://127.0.0.1:",
        "POST tenantdomain.example/oauth/token -> 200 (token)",
        "POST tenantdomain.example/api/v2/log-streams -> 201 (create log_stream)",
        "destroyed: log_stream",
        "sums agree",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let rows = ["events sent", "duplicates", "broken", "delivered", "dead-lettered", "rejected", "left over"];
    assert_eq!(rows.map(|name| row(&said, name)), [1000, 50, 10, 1000, 10, 0, 0], "{said}");
    assert!(said.contains("50 removed"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("  > {")).count(), 3, "three records are shown");
    // The file holds what was sent, each event once, and nothing else is in the data folder.
    let records = std::fs::read_to_string(data.path().join("simulate/records.jsonl")).unwrap();
    let ids: std::collections::BTreeSet<String> = records
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).unwrap()["log_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((records.lines().count(), ids.len()), (1000, 1000));
    let names: Vec<_> = std::fs::read_dir(data.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["simulate"], "the real state is not touched");
    // The next one begins with nothing.
    let (code, _, said) = simulate(AUTH0, data.path(), &["--events", "7"]);
    assert_eq!((code, row(&said, "delivered")), (0, 7), "{said}");
    let records = std::fs::read_to_string(data.path().join("simulate/records.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 7);
}

/// A secret that comes back in every body is in no record, no line of the log and no summary.
#[test]
fn client_state_is_in_no_output_of_a_simulation() {
    const STATE: &str = "state-of-the-simulation-0123456789";
    let data = tempfile::tempdir().unwrap();
    for flags in [&["--faults"][..], &["--to", "stdout"]] {
        let mut command = forebay();
        command.args([
            "run",
            "connectors/microsoft-graph",
            "--simulate",
            "--events",
            "60",
            "-v",
            "--data-dir",
        ]);
        command.arg(data.path()).args(flags).env("FOREBAY_SECRET_CLIENT_STATE", STATE);
        let out = command.output().unwrap();
        let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
        assert_eq!(out.status.code(), Some(0), "{said}");
        assert_eq!(row(&said, "delivered"), 60, "{said}");
        assert!(!said.contains(STATE) && !said.contains("clientState\": \""), "{said}");
        let records = std::fs::read_to_string(data.path().join("simulate/records.jsonl")).unwrap_or_default();
        assert!(!records.contains(STATE) && !records.contains("clientState"), "{records}");
        assert!(said.contains("subscriptionId"), "records are shown: {said}");
    }
}

#[test]
fn a_life_with_faults_comes_to_the_same_end() {
    let data = tempfile::tempdir().unwrap();
    let (code, _, said) = simulate(AUTH0, data.path(), &["--faults", "--events", "300"]);
    assert_eq!(code, 0, "{said}");
    let count = |what: &str| said.matches(what).count();
    assert_eq!(count("api/v2/log-streams -> 429"), 2, "the list and the create, once each: {said}");
    assert_eq!(count("-> 401"), 2, "of the fault, and of tokens that end before the end: {said}");
    assert_eq!(count("/oauth/token -> 200"), 3, "a new token after each 401: {said}");
    assert_eq!(count("api/v2/log-streams -> 201"), 1, "one create: {said}");
    assert!(
        said.lines().any(|l| l.contains("PATCH") && l.ends_with("-> 200 (repair log_stream)")),
        "the suspended stream: {said}"
    );
    assert_eq!([row(&said, "events sent"), row(&said, "delivered")], [300, 300], "{said}");
    assert_eq!([row(&said, "broken"), row(&said, "dead-lettered")], [8, 8], "3 lines and 5 ids: {said}");
}

#[test]
fn any_spec_can_be_simulated() {
    for flags in [&["--events", "250"][..], &["--events", "250", "--faults"][..]] {
        let data = tempfile::tempdir().unwrap();
        let (code, _, said) = simulate(HARBOUR, data.path(), flags);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("POST api.north.harbour.example/v3/acct-7/hooks -> 201"), "{said}");
        assert_eq!([row(&said, "events sent"), row(&said, "delivered")], [250, 250], "{said}");
        assert_eq!(row(&said, "broken"), row(&said, "dead-lettered"), "{said}");
        assert!(row(&said, "duplicates") > 5 && row(&said, "broken") > 0, "{said}");
        assert_eq!(said.contains("/start -> 200"), flags.len() == 3, "suspended and started: {said}");
    }
}

/// What the receiver verifies the stand-in signs: a connector for every way to do it, each simulated.
#[test]
fn the_stand_in_signs_what_verify_checks() {
    let mut folders: Vec<_> =
        std::fs::read_dir(root().join("tests/signers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 9);
    for folder in folders {
        let data = tempfile::tempdir().unwrap();
        let (code, out, said) = simulate(folder.to_str().unwrap(), data.path(), &["--events", "40"]);
        assert_eq!(code, 0, "{}\n{out}\n{said}", folder.display());
        let rows = ["events sent", "delivered", "rejected"];
        assert_eq!(rows.map(|name| row(&said, name)), [40, 40, 0], "{said}");
    }
}

#[test]
fn a_sink_that_loses_records_is_found_out() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("mine.jsonl");
    let (path, away) = (file.clone(), data.path().join("taken"));
    // Somebody takes the file away while records are written to it.
    let thief = std::thread::spawn(move || {
        crate::support::eventually("a record in the file", || {
            std::fs::metadata(&path).is_ok_and(|m| m.len() > 0)
        });
        std::fs::rename(&path, &away).unwrap();
    });
    let to = format!("file:{}", file.display());
    let (code, _, said) = simulate(AUTH0, data.path(), &["--events", "3000", "--to", &to]);
    thief.join().unwrap();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("sums do not agree"), "{said}");
    assert!(said.contains("gone from it") || said.contains("neither delivered"), "{said}");
}

#[test]
fn sinks_that_were_named_get_the_records_too() {
    let data = tempfile::tempdir().unwrap();
    let (code, stdout, said) = simulate(AUTH0, data.path(), &["--events", "50", "--to", "stdout"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stdout.lines().count(), 50);
    let checked = std::fs::read_to_string(data.path().join("simulate/records.jsonl")).unwrap();
    assert_eq!(checked, stdout, "and the books look at a file of their own");
}

#[test]
fn a_sink_that_refuses_everything_is_no_success() {
    let data = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/in", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 1 << 16]);
            let _ = stream.write_all(b"HTTP/1.1 400 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let (code, _, said) = simulate(AUTH0, data.path(), &["--events", "3", "--to", &to, "--allow-loopback"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("3 records did not get to the sink `http://127.0.0.1"), "{said}");
}

#[test]
fn in_manual_mode_the_vendor_pushes_and_nothing_is_provisioned() {
    let data = tempfile::tempdir().unwrap();
    let (code, _, said) = simulate(AUTH0, data.path(), &["--events", "50", "--set", "input_mode=manual"]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("stand-in:"), "{said}");
    assert_eq!(row(&said, "delivered"), 50, "{said}");
}

#[test]
fn a_folder_that_no_simulation_made_is_not_wiped() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("simulate")).unwrap();
    let treasure = data.path().join("simulate/treasure");
    std::fs::write(&treasure, "mine").unwrap();
    let (code, _, said) = simulate(AUTH0, data.path(), &["--events", "5"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("not made by a simulation"), "{said}");
    assert_eq!(std::fs::read_to_string(treasure).unwrap(), "mine");
}

#[test]
fn an_endless_simulation_ends_at_a_signal_with_sums_that_agree() {
    let data = tempfile::tempdir().unwrap();
    let mut command = forebay();
    command.args(["run", AUTH0, "--simulate", "--events", "0", "--data-dir"]).arg(data.path());
    let mut running = crate::support::Running::start(&mut command, 1);
    let file = data.path().join("simulate/records.jsonl");
    crate::support::eventually("records", || std::fs::metadata(&file).is_ok_and(|m| m.len() > 100_000));
    running.signal("TERM");
    let status = running.wait();
    let said = running.said();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(row(&said, "events sent"), row(&said, "delivered"), "{said}");
    assert!(said.contains("destroyed: log_stream"), "{said}");
}

/// A receiver and a sink in one: each record is in the sink, and seen there, before the request is answered.
struct AtOnce {
    ledger: Arc<Mutex<Ledger>>,
    seen: Mutex<HashSet<String>>,
}

#[async_trait]
impl Transport for AtOnce {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let lines = std::str::from_utf8(&request.body).unwrap().lines();
        let items =
            lines.filter_map(|line| serde_json::from_str::<Json>(line).ok()).flat_map(|line| match line {
                Json::Array(items) => items,
                item => vec![item],
            });
        for item in items {
            let record = item.get("data").unwrap_or(&item).to_string();
            if self.seen.lock().unwrap().insert(item["log_id"].to_string()) {
                self.ledger.lock().unwrap().deliver(record.as_bytes());
            }
        }
        Ok(Response { status: http::StatusCode::OK, headers: Default::default(), body: Default::default() })
    }
}

/// Out of order, a copy may be out of the sink before what it is a copy of is sent: it was never sent, then, and the
/// original is missing for ever, as long as only what is on its way stands in the books.
#[tokio::test]
async fn a_copy_that_overtakes_its_original_is_in_the_books() {
    let instance = instance(AUTH0);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let wire = Wire {
        transport: Arc::new(AtOnce { ledger: ledger.clone(), seen: Mutex::default() }),
        receiver: ([127, 0, 0, 1], 9).into(),
        public_url: instance.receiver_url.clone().unwrap(),
        clock: Arc::new(SystemClock),
        memory: Memory::new(instance.id.clone(), Arc::new(crate::provisioning::bench::Remembered::default())),
        instance: instance.clone(),
    };
    let sender = Arc::new(Sender {
        wire: Arc::new(wire),
        ledger: ledger.clone(),
        shuffle: true,
        tempo: Tempo::REHEARSED,
    });
    let mut plan = Plan::new(&instance.connector, jiff::Timestamp::now(), 10).unwrap();
    let (_go, shutdown) = tokio::sync::watch::channel(false);
    sender.pour(&mut plan, 400, &shutdown).await.unwrap();
    let ledger = ledger.lock().unwrap();
    assert!(ledger.counts.duplicates > 10, "{:?}", ledger.counts);
    assert_eq!((ledger.counts.delivered, ledger.under_way()), (400, 0), "{:?}", ledger.counts);
}
