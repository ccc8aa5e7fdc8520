//! Every case of every connector, played; and cases that must fail, each for its own reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay::call::transport::{HttpTransport, Options};
use forebay::connector::load::load;
use forebay::simulate::cases::{Played, files, play_file};

use crate::support::{forebay, root};

fn play(connector: &Path, file: &Path, scratch: &Path) -> Played {
    let connector = Arc::new(load(connector).unwrap());
    let loopback = HttpTransport::new(Options { allow_loopback: true, ..Options::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(play_file(&connector, file, scratch, Arc::new(loopback))).unwrap()
}

fn connectors() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("connectors")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Plays every case of these, and says how many there were.
fn all_hold(connectors: &[PathBuf]) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let mut failed = String::new();
    let mut played = 0;
    for connector in connectors {
        for file in files(&connector.join("cases")).unwrap() {
            let one = play(connector, &file, scratch.path());
            played += 1;
            if !one.holds() {
                failed.push_str(&one.to_string());
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "a case left its store behind");
    played
}

#[test]
fn every_case_of_every_connector_holds() {
    let played = all_hold(&connectors());
    assert!(played >= 15, "only {played} cases were found");
}

/// Signatures that vendors published, or made from those: each gets the verdict that the vendor's own library
/// gives, by a spec alone.
#[test]
fn every_published_signature_gets_its_verdict() {
    let entries = std::fs::read_dir(root().join("tests/vectors")).unwrap();
    let folders =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("connector.yaml").is_file());
    let mut folders: Vec<PathBuf> = folders.collect();
    folders.sort();
    assert_eq!(all_hold(&folders), 56);
}

/// Handshakes of unlike vendors, each as its own documents or libraries show it, by a spec alone: fifteen that are
/// collected, and those beyond them.
#[test]
fn every_handshake_is_answered_by_a_spec() {
    let folders = handshakes();
    assert_eq!(folders.len(), 23, "{folders:?}");
    assert_eq!(all_hold(&folders), 25);
}

/// Every one of them is performed by the stand-in, which takes no other answer than the one that is promised.
#[test]
fn the_stand_in_performs_every_handshake() {
    let mut performed = 0;
    for folder in handshakes() {
        let connector = load(&folder).unwrap();
        if connector.samples.is_empty() || connector.receiver.rules.is_empty() {
            continue;
        }
        performed += connector.receiver.rules.len();
        let data = tempfile::tempdir().unwrap();
        let life = forebay()
            .args(["run", "--simulate", "--events", "20", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .arg(&folder)
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&life.stdout).into_owned() + &String::from_utf8_lossy(&life.stderr);
        assert_eq!(life.status.code(), Some(0), "{}: {said}", folder.display());
        let row = format!("{:<14}{:>10}  answered as promised", "handshakes", connector.receiver.rules.len());
        assert!(said.contains(&row), "{}: no `{row}` in\n{said}", folder.display());
    }
    assert!(performed >= 20, "only {performed} handshakes were performed");
}

fn handshakes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/handshakes")).unwrap();
    let folders =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("connector.yaml").is_file());
    let mut folders: Vec<PathBuf> = folders.collect();
    folders.sort();
    folders
}

/// A case of the first connector, changed by one replacement, and what the report must say then.
const SPOILED: &[(&str, &str, &str, &[&str])] = &[
    (
        "create",
        "name: acme-logs\n              type",
        "name: other\n              type",
        &["steps[0].reconcile.exchanges[1].request differs", "- /name: \"other\"", "+ /name: \"acme-logs\""],
    ),
    (
        "create",
        "httpContentFormat: JSONLINES\n",
        "httpContentFormat: JSONLINES\n                more: 1\n",
        &["- /sink/more: 1"],
    ),
    ("create", "Bearer token-of-this-case}}", "Bearer another}}", &["headers.authorization"]),
    ("create", "outcome: [kept]", "outcome: [updated]", &["steps[2].reconcile.outcome"]),
    (
        "create",
        "state: {log_stream: null}",
        "state: {log_stream: {id: lst_1}}",
        &["state.log_stream differs"],
    ),
    (
        "limit-reached",
        "Delete one under",
        "Delete two under",
        &["steps[0].reconcile.error", "Delete two under"],
    ),
    ("scope-missing", "status: 403", "status: 200", &["steps[0].reconcile"]),
    (
        "wrong-key",
        "{status: 404}",
        "{status: 200}",
        &["steps[8].receive.reply differs", "- status: 200", "+ status: 404"],
    ),
    (
        "duplicates",
        "reason: id_reused",
        "reason: schema",
        &["dead_letters[0] differs", "+ reason: id_reused"],
    ),
    (
        "duplicates",
        "\"type\":\"s\",\"log_id\":\"7\"}']\n",
        "\"type\": \"s\",\"log_id\":\"7\"}']\n",
        &["records[0] differs"],
    ),
    (
        "body-formats",
        "count: 0",
        "count: 1",
        &["steps[6].receive.reply differs", "- /count: 1", "+ /count: 0"],
    ),
    ("broken-line", "records: 99", "records: 100", &["records: - 100 + 99"]),
    ("schema", "detail: /date", "detail: /time", &["dead_letters[0] differs"]),
    (
        "busy",
        "        - request: *create\n",
        "        - request: *list\n",
        &["exchanges[3].request differs", "- call: GET"],
    ),
    ("gone", "startFrom: \"2026-03-01T09:55:00Z\"", "startFrom: \"2026-03-01T10:00:00Z\"", &["/startFrom"]),
    (
        "adopt",
        "exchanges: []",
        "exchanges: [{request: {call: \"DELETE https://x.example/\"}, answer: {status: 204}}]",
        &["steps[1].destroy.exchanges: the call was not made: DELETE https://x.example/"],
    ),
    ("wrong-key", "steps:", "stepps:", &["wrong-key.yaml", "stepps"]),
    ("wrong-key", "input_mode: manual", "input_mode: [", &["wrong-key.yaml", "YAML"]),
];

#[test]
fn a_case_that_does_not_hold_says_where_and_what() {
    let folder = root().join("connectors/auth0-log-stream");
    let scratch = tempfile::tempdir().unwrap();
    for (name, old, new, says) in SPOILED {
        let text = std::fs::read_to_string(folder.join(format!("cases/{name}.yaml"))).unwrap();
        assert!(text.contains(old), "{name} does not hold {old:?}");
        let spoiled = scratch.path().join(format!("{name}.yaml"));
        std::fs::write(&spoiled, text.replacen(old, new, 1)).unwrap();
        std::fs::copy(folder.join("cases/hundred-lines.jsonl"), scratch.path().join("hundred-lines.jsonl"))
            .unwrap();
        let played = play(&folder, &spoiled, scratch.path());
        let report = played.to_string();
        for text in *says {
            assert!(report.contains(text), "{name}: {text:?} is not in\n{report}");
        }
        assert!(!played.holds());
    }
}

#[test]
fn test_plays_one_case_or_all_and_its_exit_code_tells() {
    let one = forebay().args(["test", "connectors/auth0-log-stream/cases/create.yaml"]).output().unwrap();
    let said = String::from_utf8_lossy(&one.stdout);
    assert_eq!(one.status.code(), Some(0), "{said}");
    assert!(said.contains("1 of 1 hold"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("auth0-log-stream");
    std::fs::create_dir_all(copy.join("cases")).unwrap();
    std::fs::create_dir_all(folder.path().join("schemas")).unwrap();
    let from = root().join("connectors/auth0-log-stream");
    for file in ["event-types.yaml", "guide.md", "cases/sample.json"] {
        std::fs::copy(from.join(file), copy.join(file)).unwrap();
    }
    let spec = std::fs::read_to_string(from.join("connector.yaml")).unwrap();
    std::fs::write(copy.join("connector.yaml"), spec.replace("../../schemas/", "../schemas/")).unwrap();
    let schema = "schemas/auth0-log-event.json";
    std::fs::copy(root().join(schema), folder.path().join(schema)).unwrap();
    let case = std::fs::read_to_string(from.join("cases/wrong-key.yaml")).unwrap();
    std::fs::write(copy.join("cases/wrong-key.yaml"), case.replace("{status: 404}", "{status: 204}"))
        .unwrap();
    let all = forebay().arg("test").arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&all.stdout);
    assert_eq!(all.status.code(), Some(1), "{said}");
    assert!(said.contains("ok   its whole life"), "{said}");
    assert!(said.contains("FAIL wrong-key") && said.contains("1 of 2 hold"), "{said}");
}

/// Bodies that the cases demand of our calls, against the vendor's own description of its API. Extra: only where
/// that description is at hand.
#[test]
fn bodies_of_the_cases_are_what_the_vendors_own_description_allows() {
    let Some(shared) = crate::support::shared() else { return };
    let text = std::fs::read_to_string(shared.join("data/auth0/log-streams.openapi.json")).unwrap();
    let api: serde_json::Value = serde_json::from_str(&text).unwrap();
    let schema = |name: &str| {
        let mut whole = api.clone();
        whole["$ref"] = format!("#/components/schemas/{name}").into();
        jsonschema::draft202012::new(&whole).unwrap()
    };
    let create = schema("CreateLogStreamRequestContent");
    let update = schema("UpdateLogStreamRequestContent");
    assert!(!update.is_valid(&serde_json::json!({"type": "http"})), "the description is not read as one");
    let mut seen = (0, 0);
    for file in files(&root().join("connectors/auth0-log-stream/cases")).unwrap() {
        let case = forebay::spec::case::read(&std::fs::read_to_string(&file).unwrap(), "case").unwrap();
        for step in &case.steps {
            let forebay::spec::case::Step::Reconcile(provisioning) = step else { continue };
            for exchange in &provisioning.exchanges {
                let (call, body) = (&exchange.request.call, &exchange.request.json);
                let Some(body) = body else { continue };
                // What a case has the vendor refuse as malformed is not allowed, and is sent all the same: a filter that
                // a person had set and the vendor no longer takes.
                if exchange.answer.status == 400 {
                    continue;
                }
                let validator = if call.starts_with("POST ") { &create } else { &update };
                let wrong: Vec<String> = validator.iter_errors(body).map(|e| e.to_string()).collect();
                assert!(wrong.is_empty(), "{}: {call}: {wrong:?}", file.display());
                if call.starts_with("POST ") { seen.0 += 1 } else { seen.1 += 1 }
            }
        }
    }
    assert!(seen.0 >= 5 && seen.1 >= 3, "{seen:?}");
}
