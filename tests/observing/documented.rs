//! That every condition and every key of `/readyz` is documented, and that a test names every condition.

use forebay::condition::Code;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{ask, condition, configured, port};
use crate::main_job::{KEY, event};
use crate::support::{Running, eventually, post, root};

/// The rows of the table of conditions in docs/operating.md: code, severity, action.
fn documented() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (_, after) = text.split_once("## Conditions").expect("the section is there");
    let section = after.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.trim_end_matches(" |").split(" | ").map(|cell| cell.replace('`', "")).collect())
        .collect()
}

/// Replaces the rows of the table.
fn write_table(rows: &[Vec<String>]) {
    let path = root().join("docs/operating.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("## Conditions").unwrap();
    let (section, rest) = after.split_once("\n## ").unwrap();
    let kept: Vec<&str> = section.lines().filter(|line| !line.starts_with("| `")).collect();
    let rows = rows
        .iter()
        .map(|row| format!("| `{}` | {} | {} | {} | {} |\n", row[0], row[1], row[2], row[3], row[4]));
    let section = format!("{}\n", kept.join("\n")).replacen(
        "|---|---|---|---|---|\n",
        &format!("|---|---|---|---|---|\n{}", rows.collect::<String>()),
        1,
    );
    std::fs::write(path, format!("{before}## Conditions{}\n\n## {rest}", section.trim_end())).unwrap();
}

/// The keys of a document, down to its leaves; of a map of instances or sinks those of any.
fn keys(at: &str, document: &Json, found: &mut std::collections::BTreeSet<String>) {
    match document {
        Json::Object(map) => {
            for (key, value) in map {
                let key = if at.ends_with("instances") || at.ends_with("sinks") { "*" } else { key };
                keys(&format!("{at}.{key}"), value, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| keys(&format!("{at}[]"), item, found)),
        _ => drop(found.insert(at.to_owned())),
    }
}

#[test]
fn readyz_of_the_docs_has_the_keys_of_a_real_one() {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let example: Json = serde_json::from_str(example).unwrap();
    let (folder, port) = (TempDir::new().unwrap(), port());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let siem = format!("http://{}/in", closed.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in closed.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 65536]);
            let _ = stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let sink = format!("{{name: siem, http: {{url: '{siem}', batch: {{age: 250ms}}}}}}");
    let mut command = configured(folder.path(), port, "", &sink);
    command.arg("--allow-loopback");
    let running = Running::start(&mut command, 1);
    post(&running.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    post(&running.urls[0], &[("x-api-key", "wrong")], event("1").as_bytes()).unwrap();
    eventually("the sink is blocked", || condition(&ask(port, "readyz").1, "sink_blocked").is_some());
    eventually("the rejection is shown", || {
        !ask(port, "readyz").1["instances"]["acme"]["last_rejection"].is_null()
    });
    let (status, real) = ask(port, "readyz");
    assert_eq!(status, 200);
    let (mut shown, mut there) = Default::default();
    keys("", &example, &mut shown);
    keys("", &real, &mut there);
    assert_eq!(shown, there);
    let message = condition(&real, "sink_blocked").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("answered 401 Unauthorized; they wait and are tried again"), "{message}");
    assert!(running.said().contains(Code::SinkBlocked.action()));
}

#[test]
fn every_condition_is_in_the_table_of_the_docs() {
    let shown = |text: &str| text.replace('`', "");
    let expected: Vec<Vec<String>> = Code::ALL
        .iter()
        .map(|code| {
            let effect = match (code.restart_cures(), code.refuses_events()) {
                (true, _) => "/healthz and /readyz fail",
                (false, true) => "/readyz fails",
                (false, false) => "listed",
            };
            vec![
                code.name().to_owned(),
                code.severity().name().to_owned(),
                effect.to_owned(),
                shown(code.meaning()),
                shown(code.action()),
            ]
        })
        .collect();
    if std::env::var_os("FOREBAY_UPDATE_DOCS").is_some() {
        write_table(&expected);
    }
    let rows: String = expected
        .iter()
        .map(|row| format!("| `{}` | {} | {} | {} | {} |\n", row[0], row[1], row[2], row[3], row[4]))
        .collect();
    assert_eq!(documented(), expected, "the table in docs/operating.md is to be:\n{rows}");
}

/// Files whose tests raise conditions themselves, as examples: what they name is not shown to be raised.
const EXAMPLES: &[&str] = &["framework/condition/tests.rs", "tests/admin.rs"];

#[test]
fn every_condition_is_named_in_a_test() {
    let mut texts = Vec::new();
    let mut folders = vec![root().join("tests"), root().join("framework")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_example = EXAMPLES.iter().any(|example| path.ends_with(example));
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !is_example {
                let text = std::fs::read_to_string(&path).unwrap();
                let product = path.starts_with(root().join("framework")) && !path.ends_with("tests.rs");
                let tests = if product {
                    text.split_once("#[cfg(test)]").map(|(_, t)| t.to_owned())
                } else {
                    Some(text)
                };
                texts.extend(tests);
            }
        }
    }
    // A code may begin with the whole of another.
    let names = |text: &str, word: &str| {
        text.split(word).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let named = |code: &Code| {
        texts.iter().any(|text| {
            names(text, &format!("Code::{code:?}")) || text.contains(&format!("\"{}\"", code.name()))
        })
    };
    let missing: Vec<&str> = Code::ALL.iter().filter(|code| !named(code)).map(|code| code.name()).collect();
    assert_eq!(missing, [""; 0], "a condition needs a test that has it raised");
}
