//! Boundary: what `forebay validate` says to programs: JSON, SARIF, annotations, exit codes, and which stream says
//! what.

use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::{forebay, root};

mod allowing;
mod mending;
mod offline;

/// What a run said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn validate(arguments: &[&str]) -> Said {
    let output = forebay().arg("validate").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder with a connector that is valid, and its file.
fn connector() -> (TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("acme-events");
    std::fs::create_dir(&folder).unwrap();
    for name in ["record.json", "sample.json"] {
        std::fs::copy(root().join("tests/bad-specs/files").join(name), folder.join(name)).unwrap();
    }
    let file = folder.join("connector.yaml");
    std::fs::write(&file, forebay::spec::explanation::MINIMAL).unwrap();
    (outer, file)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The same spec with an example of docs/errors.md laid over it.
fn write(file: &Path, example: &str) {
    std::fs::write(file, forebay::spec::explanation::whole(example)).unwrap();
}

/// A signature that does not sign its timestamp: a warning.
const WARNING: &str = "receiver:\n  verify:\n    kind: hmac\n    hash: sha256\n    key: \"{{ secrets.hook_key }}\"\n    \
                       message: \"{{ request.body }}\"\n    timestamp: {header: x-time, format: unix, tolerance: 5m}\n    \
                       signature: {header: x-signature, encoding: hex}\n";

/// Holds a value against a schema of the repository.
fn fits(schema: &str, value: &Json) {
    let mut schema: Json =
        serde_json::from_str(&std::fs::read_to_string(root().join(schema)).unwrap()).unwrap();
    // One pattern of SARIF's, that of a language's name, has a bracket that only JavaScript reads; we name no language.
    for of in ["run", "toolComponent"] {
        if let Some(language) = schema.pointer_mut(&format!("/definitions/{of}/properties/language")) {
            language.as_object_mut().unwrap().remove("pattern");
        }
    }
    let validator = jsonschema::options().build(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).take(5).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn json_is_what_its_schema_says() {
    let said =
        validate(&["--format", "json", "tests/bad-specs/many.yaml", "tests/bad-specs/duplicate-key.yaml"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let found: Json = serde_json::from_str(&said.out).unwrap();
    fits("schemas/findings.json", &found);
    let first = &found[0];
    assert_eq!(first["file"], "tests/bad-specs/many.yaml");
    assert_eq!(
        (&first["line"], &first["column"], &first["end_line"], &first["end_column"]),
        (&json!(5), &json!(1), &json!(5), &json!(7))
    );
    let keys: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    let nine = ["file", "line", "column", "end_line", "end_column", "code", "severity", "message", "help"];
    assert_eq!(keys, nine);
    assert_eq!(found.as_array().unwrap().last().unwrap()["file"], "tests/bad-specs/duplicate-key.yaml");

    // Without findings it is an array all the same.
    let said = validate(&["--format", "json", "connectors"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "[]\n", ""));
}

#[test]
fn every_wrong_spec_gives_json_and_sarif_that_fit_their_schemas() {
    let mut paths: Vec<String> = std::fs::read_dir(root().join("tests/bad-specs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| shown(&path).to_owned())
        .collect();
    paths.sort();
    let run = |format: &str| {
        let mut arguments = vec!["--format", format];
        arguments.extend(paths.iter().map(String::as_str));
        let said = validate(&arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
        serde_json::from_str::<Json>(&said.out).unwrap()
    };
    let (found, log) = (run("json"), run("sarif"));
    fits("schemas/findings.json", &found);
    fits("tests/findings/sarif-schema-2.1.0.json", &log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let active: Vec<&Json> = results.iter().filter(|result| result.get("suppressions").is_none()).collect();
    assert_eq!(active.len(), found.as_array().unwrap().len());
    for (result, finding) in active.iter().zip(found.as_array().unwrap()) {
        assert_eq!(result["ruleId"], finding["code"]);
        let rule = &log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], finding["code"]);
        let anchor = format!("docs/errors.md#{}", rule["id"].as_str().unwrap().to_lowercase());
        assert!(rule["helpUri"].as_str().unwrap().ends_with(&anchor), "{rule}");
        let region = &result["locations"][0]["physicalLocation"]["region"];
        assert_eq!(
            (&region["startLine"], &region["startColumn"], &region["endLine"], &region["endColumn"]),
            (&finding["line"], &finding["column"], &finding["end_line"], &finding["end_column"])
        );
        assert_eq!(result["level"], finding["severity"]);
    }
}

#[test]
fn sarif_has_related_places_fixes_and_what_is_allowed() {
    let (outer, file) = connector();
    let text = std::fs::read_to_string(&file).unwrap().replace("title: Acme Events", "titel: Äcmé Events")
        + "\nx-ü: 1\n";
    std::fs::write(&file, text + "vendor: Twice\n").unwrap();
    let run = |file: &Path| {
        let mut command = forebay();
        command.current_dir(outer.path()).args(["validate", "--format", "sarif", shown(file)]);
        let log: Json = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        fits("tests/findings/sarif-schema-2.1.0.json", &log);
        log["runs"][0].clone()
    };
    let relative = Path::new("./acme-events/connector.yaml");
    let run_of_twice = run(relative);
    assert_eq!(run_of_twice["columnKind"], "unicodeCodePoints");
    let result = &run_of_twice["results"][0];
    assert_eq!(result["ruleId"], "FB103");
    let related = &result["relatedLocations"][0];
    assert_eq!(related["message"]["text"], "it stands here first");
    assert_eq!(related["physicalLocation"]["region"]["startLine"], 4);
    assert_eq!(
        related["physicalLocation"]["artifactLocation"],
        json!({"uri": "acme-events/connector.yaml", "uriBaseId": "%SRCROOT%"})
    );

    let text = std::fs::read_to_string(&file).unwrap().replace("vendor: Twice\n", "");
    std::fs::write(&file, &text).unwrap();
    let result = run(&file)["results"][0].clone();
    let change = &result["fixes"][0]["artifactChanges"][0];
    let uri = change["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/acme-events/connector.yaml"), "{uri}");
    let one = &change["replacements"][0];
    assert_eq!(
        (&one["insertedContent"]["text"], &one["deletedRegion"]["startLine"]),
        (&json!("title"), &json!(3))
    );

    write(
        &file,
        &WARNING.replace("    timestamp", "    # forebay: allow FB504 Acme signs no time\n    timestamp"),
    );
    let result = run(&file)["results"][0].clone();
    assert_eq!(
        (&result["ruleId"], &result["suppressions"]),
        (&json!("FB504"), &json!([{"kind": "inSource", "justification": "Acme signs no time"}]))
    );
}

#[test]
fn annotations_are_escaped_and_name_related_places() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("a,b: 100%.yaml");
    std::fs::copy(root().join("tests/bad-specs/duplicate-key.yaml"), &file).unwrap();
    let mut command = forebay();
    command.current_dir(outer.path()).args(["validate", "--format", "github", "a,b: 100%.yaml"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let (properties, message) = line.strip_prefix("::error ").unwrap().split_once("::").unwrap();
    let properties: Vec<&str> = properties.split(',').collect();
    assert_eq!(properties[0], "file=a%2Cb%3A 100%25.yaml");
    assert_eq!(properties[1..], ["line=6", "col=1", "endLine=6", "endColumn=6", "title=FB103"]);
    let lines: Vec<&str> = message.split("%0A").collect();
    assert_eq!(lines[0], "the key `title` stands twice in one map");
    assert_eq!(lines[1], "a,b: 100%25.yaml:4:1: it stands here first");
    assert!(lines[2].starts_with("help: YAML would keep one of them"), "{message}");
}

#[test]
fn what_cannot_be_read_is_a_finding_and_the_others_are_still_checked() {
    let (outer, file) = connector();
    let latin = outer.path().join("latin.yaml");
    std::fs::write(&latin, b"forebay: 1\ntitle: Caf\xe9\n").unwrap();
    let said =
        validate(&["--format", "json", shown(&latin), "tests/bad-specs/duplicate-key.yaml", shown(&file)]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let found: Json = serde_json::from_str(&said.out).unwrap();
    fits("schemas/findings.json", &found);
    let codes: Vec<&str> =
        found.as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["FB101", "FB103"]);

    // A path that leads to no spec is a mistake of the command line: it is said beside the findings, not among them.
    let empty = tempfile::tempdir().unwrap();
    for nothing in [Path::new("no/such/path"), empty.path()] {
        let said = validate(&["--format", "json", shown(nothing), "tests/bad-specs/duplicate-key.yaml"]);
        assert_eq!(said.code, Some(2));
        assert!(said.err.starts_with("error: ") && said.err.contains(shown(nothing)), "{}", said.err);
        let found: Json = serde_json::from_str(&said.out).unwrap();
        assert_eq!(found[0]["code"], "FB103");
    }
}

#[test]
fn warnings_fail_only_where_they_are_denied() {
    let (_outer, file) = connector();
    write(&file, WARNING);
    let said = validate(&[shown(&file)]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.starts_with("warning[FB504]: "), "{}", said.out);
    assert!(said.out.contains("connector.yaml): 1 warning\n"), "{}", said.out);
    for format in ["human", "json", "sarif", "github"] {
        let said = validate(&["--deny-warnings", "--format", format, shown(&file)]);
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{format}");
    }
    write(&file, "title: Acme\n");
    assert_eq!(validate(&["--deny-warnings", shown(&file)]).code, Some(0));

    let said = validate(&["tests/bad-specs/many.yaml", "tests/bad-specs/unsigned-timestamp.yaml"]);
    assert_eq!(said.code, Some(1));
    let last = said.out.lines().last().unwrap();
    assert!(last.starts_with("in all: ") && last.contains(" errors, 1 warning"), "{last}");
}

/// What people see under `ok:` is a notice on a pull request; formats for findings have findings alone.
#[test]
fn hosts_and_scopes_are_notices_on_a_pull_request() {
    let human = validate(&["connectors/auth0-log-stream"]).out;
    let listed: Vec<&str> = human.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(listed[0].starts_with("calls: ") && listed[1].starts_with("needs: "), "{human}");
    let said = validate(&["--format", "github", "connectors/auth0-log-stream"]);
    let file = "connectors/auth0-log-stream/connector.yaml";
    let wanted = format!("::notice file={file},line=1,title=auth0-log-stream::{}\n", listed.join("%0A"));
    assert_eq!((said.code, said.out), (Some(0), wanted));

    // One that is wrong has errors, and nothing is told of it that may be wrong too.
    let said = validate(&["--format", "github", "tests/bad-specs/pointer.yaml"]);
    assert!(said.out.starts_with("::error ") && !said.out.contains("::notice"), "{}", said.out);
}

/// Editors and commit hooks name the file that was changed.
#[test]
fn a_case_is_checked_with_its_connector() {
    let (_outer, file) = connector();
    let cases = file.parent().unwrap().join("cases");
    std::fs::create_dir(&cases).unwrap();
    let case = cases.join("one.yaml");
    std::fs::write(
        &case,
        "title: One\nsettings: {base_ulr: https://a.example/}\nsteps: [{clock: 2026-01-01T00:00:00Z}]\n",
    )
    .unwrap();
    let said = validate(&["--format", "json", shown(&case), shown(&file)]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let found: Json = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found[0]["code"], &found[0]["file"]), (&json!("FB412"), &json!(shown(&case))));
}
