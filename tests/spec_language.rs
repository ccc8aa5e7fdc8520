//! The language: what loads, what its definition says, and that nothing a file can hold breaks the loader.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::connector::load::{Examined, examine, examine_source, load};
use forebay::connector::model::Each;
use forebay::spec::definition::{LANGUAGE, examples};
use forebay::spec::document::Document;
use forebay::spec::mistake::Code;
use forebay::spec::source::Source;
use serde_json::{Map, Value as Json, json};

const SHIPPED: &str = "connectors/auth0-log-stream/connector.yaml";

fn text(text: &str) -> Examined {
    examine_source(Source::new("spec.yaml", text), Path::new("tests/specs/spec.yaml"))
}

fn codes(examined: &Examined) -> Vec<&'static str> {
    examined.diagnostics.iter().map(|d| d.code.id()).collect()
}

#[test]
fn the_shipped_connector_loads() {
    let connector = load(Path::new("connectors/auth0-log-stream")).unwrap();
    assert_eq!(connector.name, "auth0-log-stream");
    let settings: Vec<&str> = connector.settings.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(settings, ["base_url", "authentication_type", "audience", "input_mode"]);
    let secrets: Vec<&str> = connector.secrets.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(secrets, ["client_id", "client_secret", "access_token", "monad_api_key"]);
    assert_eq!(connector.output.known_types.len(), 179);
    let stream = &connector.provision.unwrap().resources[0];
    assert_eq!(
        (stream.create.len(), stream.update.len(), stream.repair.len(), stream.delete.len()),
        (1, 1, 1, 1)
    );
    assert!(stream.find.is_some() && stream.check.is_some());
    assert!(matches!(&connector.receiver.records.each, Each::At(each) if each.len() == 2));
}

#[test]
fn the_shipped_connectors_are_without_mistakes_and_warnings() {
    for folder in std::fs::read_dir("connectors").unwrap() {
        let examined = examine(&folder.unwrap().path()).unwrap();
        assert_eq!(examined.diagnostics, [], "{}", examined.source.name);
    }
}

/// The grammar is settled for all vendors: what this version cannot run is said, and nothing else is wrong.
#[test]
fn specs_of_unlike_vendors_are_part_of_the_language() {
    let mut seen = 0;
    for file in std::fs::read_dir("tests/specs").unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        seen += 1;
        let examined = examine(&file).unwrap();
        let others: Vec<_> = examined.diagnostics.iter().filter(|d| d.code != Code::NotBuilt).collect();
        assert!(others.is_empty(), "{}: {others:#?}", file.display());
    }
    assert_eq!(seen, 6);
    // The one of them that needs nothing new compiles already.
    assert!(load(Path::new("tests/specs/event-hook.yaml")).is_ok());
}

/// Every part of the definition that describes a key, with the pointer to it.
fn keys(schema: &Json, pointer: &str, found: &mut Vec<(String, Json)>) {
    let Json::Object(map) = schema else {
        if let Json::Array(list) = schema {
            list.iter().enumerate().for_each(|(n, item)| keys(item, &format!("{pointer}/{n}"), found));
        }
        return;
    };
    for (word, value) in map {
        let below = format!("{pointer}/{}", word.replace('~', "~0").replace('/', "~1"));
        match word.as_str() {
            "properties" | "patternProperties" => {
                for (key, schema) in value.as_object().unwrap() {
                    let below = format!("{below}/{}", key.replace('~', "~0").replace('/', "~1"));
                    // `if` names keys to tell unions apart; `false` forbids one beside another.
                    if schema.is_object() && !pointer.ends_with("/if") {
                        found.push((below.clone(), schema.clone()));
                    }
                    keys(schema, &below, found);
                }
            }
            "examples" | "x-examples" | "defaultSnippets" | "enum" | "const" | "required" | "if" => {}
            "dependentSchemas" | "$defs" => {
                for (key, schema) in value.as_object().unwrap() {
                    keys(schema, &format!("{below}/{key}"), found);
                }
            }
            _ => keys(value, &below, found),
        }
    }
}

/// Every key of the language's definition, each with what it says.
pub fn all_keys() -> Vec<(String, Json)> {
    let mut found = Vec::new();
    keys(&LANGUAGE, "", &mut found);
    // The branch for singletons says only that a key is forbidden or wanted.
    assert!(found.len() > 150, "{}", found.len());
    found
}

#[test]
fn every_key_of_the_language_has_a_description_and_an_example() {
    let bare: Vec<String> = all_keys()
        .into_iter()
        .filter(|(_, schema)| {
            let described = schema["description"].as_str().is_some_and(|words| words.len() > 8);
            !described || examples(schema).is_empty()
        })
        .map(|(pointer, _)| pointer)
        .filter(|pointer| !pointer.contains("/if/") && !pointer.ends_with("/then/properties/find"))
        .collect();
    assert!(bare.is_empty(), "{bare:#?}");
}

#[test]
fn every_example_in_the_definition_is_right() {
    let mut defs: Map<String, Json> = LANGUAGE["$defs"].as_object().unwrap().clone();
    defs.insert("top".to_owned(), json!({"properties": LANGUAGE["properties"]}));
    let (mut properties, mut all) = (Map::new(), Map::new());
    for (pointer, schema) in all_keys() {
        let pointer = match pointer.strip_prefix("/properties") {
            Some(rest) => format!("/$defs/top/properties{rest}"),
            None if pointer.starts_with("/patternProperties") => continue,
            None => pointer,
        };
        for (n, example) in examples(&schema).iter().enumerate() {
            let name = format!("{pointer} #{n}");
            let reference = format!("#{}", pointer.replace('%', "%25").replace('^', "%5E"));
            properties.insert(name.clone(), json!({"$ref": reference}));
            all.insert(name, example.clone());
        }
    }
    let schema = json!({"$defs": defs, "properties": properties});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&Json::Object(all))
        .map(|e| format!("{}: {}", e.instance_path(), e.to_string().chars().take(120).collect::<String>()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_definition_is_closed_and_tells_unions_apart_by_one_key() {
    let definition = LANGUAGE.to_string();
    assert!(!definition.contains("\"oneOf\""), "an editor cannot say which branch was meant");
    assert!(!definition.contains("\"$ref\":\"http"), "nothing leads outside");
    // A map with listed keys refuses others, unless it is a part that another one closes.
    fn open(schema: &Json, pointer: &str, found: &mut Vec<String>) {
        match schema {
            Json::Object(map) => {
                let listed = map.get("properties").is_some_and(|p| {
                    p.as_object().is_some_and(|p| p.values().any(|s| s.get("description").is_some()))
                });
                let closed =
                    map.contains_key("additionalProperties") || map.contains_key("unevaluatedProperties");
                let union = map.contains_key("allOf") && map.get("required").is_some();
                if listed && !closed && !union && !pointer.ends_with("/call_keys") {
                    found.push(pointer.to_owned());
                }
                map.iter()
                    .filter(|(k, _)| *k != "examples")
                    .for_each(|(k, s)| open(s, &format!("{pointer}/{k}"), found));
            }
            Json::Array(list) => list.iter().for_each(|s| open(s, pointer, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    open(&LANGUAGE, "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn anchors_and_merge_keys_give_values_and_places() {
    let source = "base: &base {a: 1, b: {c: 00123}}\nmore:\n  <<: *base\n  a: 2\n409: x\nlist: [*base]\n";
    let (document, mistakes) = Document::parse(Source::new("x.yaml", source));
    assert_eq!(mistakes, []);
    let expected = json!({
        "base": {"a": 1, "b": {"c": "00123"}},
        "more": {"a": 2, "b": {"c": "00123"}},
        "409": "x",
        "list": [{"a": 1, "b": {"c": "00123"}}],
    });
    assert_eq!(document.values, expected);
    use forebay::spec::mistake::Place;
    use forebay::spec::path::Path;
    let at = |pointer: &str| {
        let span = document.span(&Place::value(&Path::from_pointer(pointer)));
        (span.line, span.column, source[span.start..span.end].to_owned())
    };
    assert_eq!(at("/more/a"), (4, 6, "2".to_owned()));
    assert_eq!(at("/more/b/c"), (1, 27, "00123".to_owned()), "what is merged stands where its anchor does");
    assert_eq!(at("/list/0/a"), (1, 17, "1".to_owned()), "an alias stands where its anchor does");
    assert_eq!(at("/409"), (5, 6, "x".to_owned()));
    let key = document.span(&Place::key(&Path::from_pointer("/more/b")));
    assert_eq!((key.line, key.column), (1, 20));
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_goes_off() {
    let mut bomb = "x-0: &x0 [a, a, a, a, a, a, a, a, a, a]\n".to_owned();
    for n in 1..40 {
        let aliases = vec![format!("*x{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("x-{n}: &x{n} [{aliases}]\n"));
    }
    let begun = Instant::now();
    assert_eq!(codes(&text(&bomb)), ["FB104"]);
    // The same through merge keys.
    let mut bomb = "x-0: &x0 {a: 1}\n".to_owned();
    for n in 1..60 {
        bomb.push_str(&format!("x-{n}: &x{n} {{p: *x{}, q: *x{}}}\n", n - 1, n - 1));
    }
    assert_eq!(codes(&text(&bomb)), ["FB104"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_spec_is_bounded_in_bytes_and_depth() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connector.yaml");
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(codes(&examine(&file).unwrap()), ["FB101"]);
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(codes(&examine(&file).unwrap()), ["FB101"]);
    for deep in ["[".repeat(200_000), "{a: ".repeat(100_000), "- ".repeat(200_000), "a:\n".repeat(3)] {
        let examined = text(&deep);
        assert!(examined.connector.is_none() && !examined.diagnostics.is_empty());
    }
}

#[test]
fn a_connector_is_called_like_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other-name");
    std::fs::create_dir(&other).unwrap();
    let spec = std::fs::read_to_string("tests/specs/event-hook.yaml").unwrap();
    std::fs::create_dir(other.join("files")).unwrap();
    std::fs::write(other.join("files/record.json"), "{}").unwrap();
    std::fs::write(other.join("connector.yaml"), spec).unwrap();
    assert_eq!(codes(&examine(&other).unwrap()), ["FB411"]);
}

/// Whatever is done to one key of a spec: no panic, and few words about it.
#[test]
fn one_slip_is_never_many_messages() {
    let spec = std::fs::read_to_string(SHIPPED).unwrap();
    let lines: Vec<&str> = spec.lines().collect();
    let mut many = Vec::new();
    let mut silent = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let bare = line.trim_start().trim_start_matches("- ");
        let key: String = bare.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if key.is_empty() || !bare[key.len()..].starts_with(':') {
            continue;
        }
        let renamed = line.replacen(&format!("{key}:"), &format!("{key}x:"), 1);
        let nothing = format!("{}{key}:", &line[..line.len() - bare.len()]);
        for (what, changed) in [("renamed", Some(renamed)), ("emptied", Some(nothing)), ("deleted", None)] {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            match changed {
                Some(line) => lines[n] = line,
                None => {
                    lines.remove(n);
                }
            }
            let examined = examine_source(
                Source::new(SHIPPED, &lines.join("\n")),
                Path::new("connectors/auth0-log-stream/x.yaml"),
            );
            let count = examined.diagnostics.len();
            // A heading that is gone leaves its whole block somewhere else: still not a word for every line.
            let few = if what == "deleted" { 9 } else { 2 };
            if count > few {
                let messages: Vec<&str> = examined.diagnostics.iter().map(|d| d.message.as_str()).collect();
                many.push(format!("line {} {what}: {messages:#?}", n + 1));
            }
            if what == "renamed" && count == 0 {
                silent.push(format!("{}: {line}", n + 1));
            }
        }
    }
    assert!(many.is_empty(), "many messages for one slip: {}", many.join("\n"));
    // Names and free maps can be called anything: of those nothing is said.
    assert!(silent.len() < 30, "{silent:#?}");
}

/// Any value in any place: no panic, and something is said or the spec is sound.
#[test]
fn any_value_in_any_place_is_survived() {
    let (document, _) = Document::parse(Source::read(Path::new(SHIPPED)).unwrap());
    let mut places = Vec::new();
    fn collect(value: &Json, pointer: String, places: &mut Vec<String>) {
        match value {
            Json::Object(map) => map.iter().for_each(|(k, v)| collect(v, format!("{pointer}/{k}"), places)),
            Json::Array(list) => {
                list.iter().enumerate().for_each(|(n, v)| collect(v, format!("{pointer}/{n}"), places))
            }
            _ => {}
        }
        places.push(pointer);
    }
    collect(&document.values, String::new(), &mut places);
    assert!(places.len() > 150);
    let others = [
        json!([]),
        json!([null]),
        json!({}),
        json!({"": null}),
        json!(-1),
        json!("{{ }}"),
        json!("\u{202e}{{"),
    ];
    for (n, pointer) in places.into_iter().enumerate() {
        // Each place gets nothing, and two of the others in turn.
        for value in [Json::Null, others[n % 7].clone(), others[(n + 3) % 7].clone()] {
            let mut spec = document.values.clone();
            *spec.pointer_mut(&pointer).unwrap() = value;
            let examined = examine_source(
                Source::new("x.yaml", &spec.to_string()),
                Path::new("connectors/auth0-log-stream/x.yaml"),
            );
            assert!(!codes(&examined).contains(&"FB901"), "{pointer}: {:#?}", examined.diagnostics);
        }
    }
}

fn validate(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .arg("validate")
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn validate_answers_programs_and_people() {
    let (code, out, err) = validate(&["connectors"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("ok: auth0-log-stream (connectors/auth0-log-stream/connector.yaml)"), "{out}");

    let (code, out, _) = validate(&["--format", "json", "tests/bad-specs/many.yaml", "connectors"]);
    assert_eq!(code, Some(1));
    let found: Json = serde_json::from_str(&out).unwrap();
    let places: Vec<(u64, u64, &str)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["line"].as_u64().unwrap(), d["column"].as_u64().unwrap(), d["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        places,
        [(5, 1, "FB201"), (10, 40, "FB305"), (34, 16, "FB403"), (41, 26, "FB401"), (42, 32, "FB405")]
    );
    let keys: Vec<&str> = found[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["file", "line", "column", "end_line", "end_column", "code", "severity", "message", "help"];
    assert_eq!(keys, expected);
    assert_eq!(found[0]["file"], "tests/bad-specs/many.yaml");

    let (code, out, _) = validate(&["--format", "github", "tests/bad-specs/duration.yaml"]);
    assert_eq!(code, Some(1));
    let expected =
        "::error file=tests/bad-specs/duration.yaml,line=34,col=16,endLine=34,endColumn=25,title=FB403::";
    assert!(out.starts_with(expected), "{out}");

    assert_eq!(validate(&["connectors", "no/such/folder"]).0, Some(2));
    assert_eq!(validate(&["docs-of-nothing.yaml"]).0, Some(2));
    assert_eq!(validate(&[]).0, Some(2));
    assert_eq!(validate(&["tests/bad-specs/unsigned-timestamp.yaml"]).0, Some(0), "a warning is no mistake");
}

/// The data that the facts about Auth0 came from, where they are at hand.
fn shared() -> Option<PathBuf> {
    std::env::var_os("FOREBAY_SHARED").map(PathBuf::from)
}

#[test]
fn captured_events_pass_the_schema() {
    let Some(shared) = shared() else { return };
    let schema: Json =
        serde_json::from_str(&std::fs::read_to_string("schemas/auth0-log-event.json").unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for file in std::fs::read_dir(shared.join("data/auth0/events")).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path())
            .unwrap()
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            let item: Json = serde_json::from_str(line).unwrap();
            let wrong: Vec<String> = validator.iter_errors(&item["data"]).map(|e| e.to_string()).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
            seen += 1;
        }
    }
    assert!(seen >= 98, "{seen}");
}

#[test]
fn the_bodies_that_are_sent_are_what_the_vendor_takes() {
    let Some(shared) = shared() else { return };
    use forebay::connector::model::Body;
    use forebay::connector::template::Scope;
    let api: Json = serde_json::from_str(
        &std::fs::read_to_string(shared.join("data/auth0/log-streams.openapi.json")).unwrap(),
    )
    .unwrap();
    let accepts = |component: &str, body: &Json| {
        let schema =
            json!({"$ref": format!("#/components/schemas/{component}"), "components": api["components"]});
        let wrong: Vec<String> =
            jsonschema::validator_for(&schema).unwrap().iter_errors(body).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{component}: {wrong:?}\n{body:#}");
    };
    let connector = load(Path::new("connectors/auth0-log-stream")).unwrap();
    let stream = &connector.provision.as_ref().unwrap().resources[0];
    let scope = Scope::default()
        .with("settings", json!({"base_url": "https://demo.us.auth0.com", "input_mode": "automatic"}))
        .with("secrets", json!({"monad_api_key": "0123456789abcdef"}))
        .with("state", json!({"log_stream": {"id": "lst_0000000000000001"}}))
        .with(
            "receiver",
            json!({"url": "https://logs.example.com/api/v2/http/send/a", "path": "/api/v2/http/send/a"}),
        )
        .with_vars(&connector.vars);
    let body = |call: &forebay::connector::model::Call, scope: &Scope| match &call.body {
        Body::Json(tree) => tree.render(scope).unwrap().unwrap(),
        Body::Empty | Body::Form(_) | Body::Text(_) => panic!("the body is JSON"),
    };
    let pii = json!({"log_fields": ["email"], "method": "mask"});
    for instance in [json!({"id": "a"}), json!({"id": "a", "resume_from": "2026-01-01T00:00:00Z"})] {
        let scope = scope.with("instance", instance.clone());
        let create = body(stream.create[0].call.as_ref().unwrap(), &scope);
        assert_eq!(create.get("startFrom"), instance.get("resume_from"));
        accepts("CreateLogStreamHttpRequestBody", &create);
        for current in [json!({"status": "active"}), json!({"status": "suspended", "pii_config": pii})] {
            let scope = scope.with("current", current.clone());
            for step in stream.update.iter().chain(&stream.repair) {
                let update = body(step.call.as_ref().unwrap(), &scope);
                assert_eq!(update.get("pii_config"), current.get("pii_config"));
                accepts("UpdateLogStreamRequestContent", &update);
            }
        }
    }
}
