//! What an editor shows a spec's author: yaml-language-server itself, driven over stdio, with the schemas of the
//! repository. Every spec and case is free of findings, a wrong key is an error at its line, and what is offered for
//! completion are the known keys, each with its description, that make good YAML when they are taken.
//!
//! Needs node, and `npm ci` in tests/editor, which ./test.sh does; without node nothing here is tested.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use forebay::spec::definition::LANGUAGE;
use forebay::spec::document::Document;
use forebay::spec::source::Source;
use serde_json::{Value as Json, json};

use crate::spec_language::all_keys;
use crate::support::root;

/// Whether this machine has node. Where it has, the language server must be there too.
fn is_ready() -> bool {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !node.is_ok_and(|status| status.success()) {
        println!("without node nothing is tested here");
        return false;
    }
    let server = root().join("tests/editor/node_modules/yaml-language-server");
    assert!(
        server.is_dir(),
        "the language server is missing: ./test.sh installs it, or `npm ci` in tests/editor"
    );
    true
}

/// What the language server says of these documents.
fn looked_at(documents: &[Json]) -> Vec<Json> {
    let mut node = Command::new("node")
        .arg(root().join("tests/editor/drive.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    input.write_all(json!(documents).to_string().as_bytes()).unwrap();
    drop(input);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A document whose cursors are at each `|`.
fn document(path: &str, text: &str) -> Json {
    let mut at = Vec::new();
    let mut clean = String::new();
    for (n, part) in text.split('|').enumerate() {
        if n > 0 {
            at.push(json!([clean.matches('\n').count(), clean.rsplit('\n').next().unwrap().len()]));
        }
        clean.push_str(part);
    }
    json!({"uri": uri(&root().join(path)), "text": clean, "at": at})
}

/// A spec that says nothing else, with cursors.
fn spec(n: usize, text: &str) -> Json {
    let first = "# yaml-language-server: $schema=../../schemas/connector.json\nforebay: 1\n";
    document(&format!("connectors/edited-{n}/connector.yaml"), &format!("{first}{text}"))
}

/// The labels that are offered at the only cursor, each checked for what it says and inserts.
fn offered(result: &Json) -> Vec<String> {
    let items = result["completions"][0].as_array().unwrap();
    let label = |item: &Json| item["label"].as_str().unwrap().to_owned();
    for item in items {
        assert!(item["says"].as_str().is_some_and(|says| !says.is_empty()), "{} says nothing", item["label"]);
        assert_eq!(item["unparsable"], "", "{} makes bad YAML", item["label"]);
    }
    items.iter().map(label).collect()
}

#[test]
fn every_spec_and_every_case_is_free_of_findings() {
    if !is_ready() {
        return;
    }
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(root().join("connectors")).unwrap() {
        let folder = entry.unwrap().path();
        let mut files = vec![folder.join("connector.yaml")];
        let cases = std::fs::read_dir(folder.join("cases")).unwrap().map(|entry| entry.unwrap().path());
        files.extend(cases.filter(|path| path.extension().is_some_and(|e| e == "yaml")));
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            // Without its first line an editor would not know what it is.
            let first = text.lines().next().unwrap_or_default();
            let schema =
                first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{file:?}"));
            assert!(file.parent().unwrap().join(schema).is_file(), "{file:?}: {schema}");
            documents.push(json!({"uri": uri(&file), "text": text}));
        }
    }
    assert!(documents.len() > 100);
    for (document, result) in documents.iter().zip(looked_at(&documents)) {
        assert_eq!(result["diagnostics"], json!([]), "{}", document["uri"]);
    }
}

#[test]
fn a_wrong_key_is_an_error_at_its_line() {
    if !is_ready() {
        return;
    }
    let good = std::fs::read_to_string(root().join("connectors/github-webhooks/connector.yaml")).unwrap();
    let case = std::fs::read_to_string(root().join("connectors/github-webhooks/cases/ping.yaml")).unwrap();
    let wrong = [
        ("connectors/a/connector.yaml", good.replacen("  decode:", "  verfy: x\n  decode:", 1), "  verfy: x"),
        (
            "connectors/b/connector.yaml",
            good.replacen("    kind: hmac", "    kind: hmac\n    heder: x", 1),
            "    heder: x",
        ),
        (
            "connectors/c/connector.yaml",
            good.replacen("    kind: hmac", "    kind: hmca", 1),
            "    kind: hmca",
        ),
        (
            "connectors/d/connector.yaml",
            good.replacen("decode: {format: json}", "decode: {format: jsn}", 1),
            "  decode: {format: jsn}",
        ),
        ("connectors/e/cases/ping.yaml", case.replacen("steps:", "setings: {}\nsteps:", 1), "setings: {}"),
    ];
    let documents: Vec<Json> =
        wrong.iter().map(|(path, text, _)| document(path, &text.replace('|', "/"))).collect();
    for ((_, text, line), result) in wrong.iter().zip(looked_at(&documents)) {
        let at =
            text.lines().position(|known| known == *line).unwrap_or_else(|| panic!("{line} is not there"));
        let errors = result["diagnostics"].as_array().unwrap();
        assert!(!errors.is_empty(), "{line} is no error");
        for error in errors {
            assert_eq!(error["severity"], 1, "{error}");
            assert_eq!(error["range"]["start"]["line"], at, "{line}: {error}");
        }
    }
}

#[test]
fn the_known_keys_are_offered_with_what_they_mean() {
    if !is_ready() {
        return;
    }
    let resource = "provision:\n  resources:\n    hook:\n";
    let places: &[(&str, &[&str])] = &[
        ("|", &["name", "settings", "secrets", "vars", "auth", "provision", "receiver", "output", "samples"]),
        ("receiver:\n  |", &["path", "verify", "rules", "decode", "records", "event", "respond", "sender"]),
        ("receiver:\n  verify:\n    kind: |", &["token", "basic", "hmac", "public_key", "jwt", "any_of"]),
        (
            "receiver:\n  verify:\n    kind: hmac\n    |",
            &["hash", "key", "message", "signature", "timestamp"],
        ),
        ("receiver:\n  verify:\n    kind: token\n    |", &["header", "query", "equals", "scheme"]),
        (
            "receiver:\n  rules:\n    - |",
            &["name", "when", "verify", "respond", "ignore", "capture", "sample"],
        ),
        ("receiver:\n  respond:\n    accepted:\n      |", &["status", "headers", "json", "text"]),
        ("settings:\n  a:\n    |", &["title", "type", "description", "required_when", "default"]),
        ("secrets:\n  a:\n    |", &["title", "description", "generate"]),
        (
            "auth:\n  a:\n    kind: |",
            &["bearer", "basic", "headers", "oauth2_client_credentials", "exchange"],
        ),
        ("auth:\n  a:\n    kind: bearer\n    |", &["token"]),
        ("auth:\n  a:\n    kind: exchange\n    |", &["call", "token", "expires", "use"]),
        (
            &format!("{resource}      |"),
            &["desired", "find", "create", "update", "check", "delete", "singleton"],
        ),
        (&format!("{resource}      create:\n        |"), &["call", "json", "form", "save", "scope"]),
        (&format!("{resource}      find:\n        |"), &["call", "items", "where", "pages"]),
        (
            &format!("{resource}      find:\n        pages:\n          kind: |"),
            &["cursor", "link_header", "page"],
        ),
        ("output:\n  |", &["schema", "known_types", "headers", "envelope"]),
        // What holds templates is offered in quotes.
        ("vars: |", &["an example"]),
        ("receiver:\n  verify: |", &["an example"]),
        ("receiver:\n  records:\n    each: |", &["an example", "example 2", "example 3"]),
        ("auth:\n  a:\n    kind: exchange\n    use_query: |", &["an example"]),
        (&format!("{resource}      create:\n        graphql: |"), &["an example"]),
    ];
    let documents: Vec<Json> = places.iter().enumerate().map(|(n, (text, _))| spec(n, text)).collect();
    for ((text, known), result) in places.iter().zip(looked_at(&documents)) {
        let labels = offered(&result);
        for key in *known {
            assert!(labels.iter().any(|label| label == key), "{text:?} offers no {key}: {labels:?}");
        }
    }
}

#[test]
fn the_keys_of_a_case_are_offered_and_a_key_tells_what_it_is() {
    if !is_ready() {
        return;
    }
    let first = "# yaml-language-server: $schema=../../../schemas/case.json\n";
    let places: &[(&str, &[&str])] = &[
        ("|", &["title", "settings", "secrets", "steps", "records", "dead_letters", "state"]),
        ("title: x\nsteps:\n  - |", &["receive", "reconcile", "destroy", "clock"]),
        ("title: x\nsteps:\n  - receive:\n      |", &["headers", "json", "text", "reply"]),
    ];
    let mut documents: Vec<Json> = places
        .iter()
        .enumerate()
        .map(|(n, (text, _))| {
            document(&format!("connectors/edited/cases/{n}.yaml"), &format!("{first}{text}"))
        })
        .collect();
    documents.push(spec(99, "receiver:\n  ver|ify: {}\n"));
    let results = looked_at(&documents);
    for ((text, known), result) in places.iter().zip(&results) {
        let labels = offered(result);
        for key in *known {
            assert!(labels.iter().any(|label| label == key), "{text:?} offers no {key}: {labels:?}");
        }
    }
    let hover = results.last().unwrap()["hovers"][0].as_str().unwrap();
    assert!(hover.contains("before anything is parsed"), "{hover}");
}

/// A value as an editor puts it into a file: block style, and nothing in quotes that does not bring its own.
fn put_in(value: &Json, indent: usize, out: &mut String) {
    let begin = format!("\n{:indent$}", "");
    let mut part = |lead: String, value: &Json| {
        out.push_str(&format!("{begin}{lead}"));
        put_in(value, indent + 2, out);
    };
    match value {
        Json::Object(map) => map.iter().for_each(|(key, value)| part(format!("{key}: "), value)),
        Json::Array(list) => list.iter().for_each(|value| part("- ".to_owned(), value)),
        Json::String(text) => out.push_str(text),
        Json::Null | Json::Bool(_) | Json::Number(_) => out.push_str(&value.to_string()),
    }
}

/// What YAML makes of a value that is put in so; a number and its text are the same to the language.
fn read_back(value: &Json) -> Option<Json> {
    let mut text = "value: ".to_owned();
    put_in(value, 2, &mut text);
    let (document, mistakes) = Document::parse(Source::new("put-in", &text));
    mistakes.is_empty().then(|| as_texts(&document.values["value"]))
}

fn as_texts(value: &Json) -> Json {
    match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), as_texts(value))).collect(),
        Json::Array(list) => list.iter().map(as_texts).collect(),
        Json::Number(number) => Json::from(number.to_string()),
        Json::Null | Json::Bool(_) | Json::String(_) => value.clone(),
    }
}

/// The text that a snippet's body stands for: `$` and `\` are escaped in it.
fn snippet(body: &Json) -> Json {
    match body {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), snippet(value))).collect(),
        Json::Array(list) => list.iter().map(snippet).collect(),
        Json::String(text) => Json::from(text.replace("\\$", "$").replace("\\\\", "\\")),
        Json::Null | Json::Bool(_) | Json::Number(_) => body.clone(),
    }
}

/// Editors put maps and lists into a file as they stand in the definition: YAML must read there what is meant. Where it
/// would not, the examples have a word that editors do not know, and snippets in quotes.
#[test]
fn what_an_editor_puts_in_is_what_the_example_says() {
    let mut wrong = Vec::new();
    let parts = LANGUAGE["$defs"].as_object().unwrap().iter();
    let parts = parts.map(|(name, part)| (format!("/$defs/{name}"), part.clone()));
    for (pointer, schema) in all_keys().into_iter().chain(parts) {
        let list = |word: &str| schema[word].as_array().cloned().unwrap_or_default();
        let (offered, hidden, snippets) = (list("examples"), list("x-examples"), list("defaultSnippets"));
        for example in offered.iter().filter(|example| example.is_object() || example.is_array()) {
            if read_back(example).as_ref() != Some(&as_texts(example)) {
                wrong.push(format!("{pointer}: {example} is read otherwise"));
            }
        }
        let bodies: Vec<Option<Json>> =
            snippets.iter().map(|one| read_back(&snippet(&one["body"]))).collect();
        let meant: Vec<Option<Json>> = hidden.iter().map(|example| Some(as_texts(example))).collect();
        // Lists of maps are what the language server cannot put in at all.
        let maps = hidden.iter().any(|example| example.as_array().is_some_and(|list| list[0].is_object()));
        if bodies != meant && !(maps && bodies.is_empty()) {
            wrong.push(format!("{pointer}: snippets {bodies:?} for {meant:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
