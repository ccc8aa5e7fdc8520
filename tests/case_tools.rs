//! `forebay test` as a tool: which cases it plays, how it rewrites them, what it tells CI, and what it says of a connector
//! that has none.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::{forebay, root};

/// Runs `forebay test` in a folder; exit code, and what it said.
fn test(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output: Output = forebay().current_dir(folder).arg("test").args(arguments).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

/// A copy of a connector with these cases alone, in a folder that has the schemas too.
fn copy(connector: &str, cases: &[&str]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    crate::support::copy_schemas(folder.path());
    let from = root().join("connectors").join(connector);
    let to = folder.path().join("connectors").join(connector);
    std::fs::create_dir_all(to.join("cases")).unwrap();
    for entry in std::fs::read_dir(&from).unwrap().chain(std::fs::read_dir(from.join("cases")).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(&from).unwrap().to_owned();
        let case = path.extension().is_some_and(|e| e == "yaml") && name.starts_with("cases");
        if path.is_file() && (!case || cases.contains(&path.file_stem().unwrap().to_str().unwrap())) {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
    (folder, to)
}

fn spoil(file: &Path, changes: &[(&str, &str)]) -> String {
    let good = std::fs::read_to_string(file).unwrap();
    let spoiled = changes.iter().fold(good.clone(), |text, (old, new)| {
        assert!(text.contains(old), "{} does not hold {old:?}", file.display());
        text.replacen(old, new, 1)
    });
    std::fs::write(file, spoiled).unwrap();
    good
}

/// What is replaced in a case's text, and by what.
type Changes = &'static [(&'static str, &'static str)];

/// Cases spoiled in what they expect: rewritten, each is byte for byte what it was.
#[test]
fn update_rewrites_what_differs_and_nothing_else() {
    let spoiled: &[(&str, &str, Changes)] = &[
        ("auth0-log-stream", "wrong-key", &[("{status: 404}", "{status: 200}")]),
        ("auth0-log-stream", "body-formats", &[("count: 0", "count: 7")]),
        ("auth0-log-stream", "broken-line", &[("records: 99", "records: 100")]),
        (
            "auth0-log-stream",
            "create",
            &[("name: acme-logs\n              type", "name: other\n              type")],
        ),
        (
            "auth0-log-stream",
            "create",
            &[
                ("outcome: [kept]", "outcome: [updated]"),
                ("state: {log_stream: null}", "state: {log_stream: {id: lst_9}}"),
            ],
        ),
        (
            "github-webhooks",
            "octokit",
            &[("\"record\":{\"foo\":\"bar\"}}'", "\"record\":{\"foo\":\"baz\"}}'")],
        ),
        (
            "github-webhooks",
            "published-signature",
            &[(
                "{reason: undecodable, holds: \"Hello, World!\"}",
                "{reason: schema, holds: \"Hello, World!\"}",
            )],
        ),
        (
            "github-webhooks",
            "adopt",
            &[(
                "PATCH https://api.github.com/repos/acme/website/hooks/7",
                "PATCH https://api.github.com/repos/acme/website/hooks/8",
            )],
        ),
        ("microsoft-graph", "lifecycle", &[("runs: [", "runs: [subscription.check, ")]),
    ];
    for (connector, case, changes) in spoiled {
        let (folder, to) = copy(connector, &[case]);
        let file = to.join(format!("cases/{case}.yaml"));
        let good = spoil(&file, changes);
        let path = format!("connectors/{connector}/cases/{case}.yaml");
        let (code, said) = test(folder.path(), &[&path]);
        assert_eq!(code, 1, "{connector} {case}: the spoiled case holds\n{said}");
        let (code, said) = test(folder.path(), &[&path, "--update"]);
        assert_eq!(code, 0, "{connector} {case}:\n{said}");
        assert!(said.contains("rewritten: ") && said.contains("    @@ "), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), good, "{connector} {case}\n{said}");
    }
}

/// What cannot be played, and what would be a success that nobody saw, stays as it is.
#[test]
fn update_invents_no_success() {
    let spoiled: &[(&str, &str, Changes, &str)] = &[
        // A call without a recorded answer.
        (
            "auth0-log-stream",
            "busy",
            &[("        - request: *create\n", "        - request: *list\n")],
            "a person must look at this",
        ),
        // It fails, and nobody expected that.
        ("auth0-log-stream", "scope-missing", &[("error:", "outcome: []\n      # error:")], ""),
        (
            "auth0-log-stream",
            "limit-reached",
            &[("Delete one under", "Delete two under")],
            "a person must look at this",
        ),
        ("auth0-log-stream", "wrong-key", &[("input_mode: manual", "input_mode: [")], "cannot be played"),
        (
            "auth0-log-stream",
            "wrong-key",
            &[("input_mode: manual", "input_mode: sideways")],
            "cannot be played",
        ),
    ];
    for (connector, case, changes, says) in spoiled {
        let (folder, to) = copy(connector, &[case]);
        let file = to.join(format!("cases/{case}.yaml"));
        spoil(&file, changes);
        let before = std::fs::read_to_string(&file).unwrap();
        let (code, said) =
            test(folder.path(), &[&format!("connectors/{connector}/cases/{case}.yaml"), "--update"]);
        assert_eq!(code, 1, "{case}: {said}");
        assert!(said.contains("not rewritten: ") && said.contains(says), "{case}: {said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "{case}");
    }
}

#[test]
fn a_filter_picks_by_connector_file_and_title() {
    for (filter, held) in [
        ("octokit", "1 of 1 hold"),
        ("switched off, and whose", "1 of 1 hold"),
        ("GITHUB-web", "9 of 9 hold"),
    ] {
        let (code, said) = test(root(), &["connectors/github-webhooks", "--filter", filter]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(held), "{filter}: {said}");
    }
    let (code, said) = test(root(), &["connectors/github-webhooks", "--filter", "no such thing"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no case has `no such thing`"), "{said}");
}

/// Python's own parser reads the file back.
#[test]
fn junit_is_xml_that_others_read() {
    let (folder, to) = copy("auth0-log-stream", &["wrong-key", "schema"]);
    spoil(
        &to.join("cases/wrong-key.yaml"),
        &[("title: ", "title: \"<&> \\u0001 'quoted' ]]>\" #"), ("{status: 404}", "{status: 200}")],
    );
    std::fs::write(to.join("cases/odd.yaml"), "steps: [").unwrap();
    let (code, said) = test(folder.path(), &["--junit", "out.xml"]);
    assert_eq!(code, 1, "{said}");
    let script = "import sys, json, xml.etree.ElementTree as E\n\
        r = E.parse(sys.argv[1]).getroot()\n\
        print(json.dumps([r.tag, r.attrib['tests'], r.attrib['failures'], r.attrib['errors'], float(r.attrib['time']) > 0,\n\
        [[s.attrib['name'], [[c.attrib['name'], [[e.tag, e.text] for e in c]] for c in s]] for s in r]]))";
    let python =
        Command::new("python3").args(["-c", script]).arg(folder.path().join("out.xml")).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let read: serde_json::Value = serde_json::from_slice(&python.stdout).unwrap();
    assert_eq!(read[0], "testsuites");
    assert_eq!(
        (&read[1], &read[2], &read[3], &read[4]),
        (&"4".into(), &"1".into(), &"1".into(), &true.into())
    );
    let cases = read[5][0][1].as_array().unwrap();
    let of = |name: &str| cases.iter().find(|case| case[0].as_str().unwrap().starts_with(name)).unwrap();
    assert_eq!(of("wrong-key")[0], "wrong-key: <&> \\u{1} 'quoted' ]]>");
    assert_eq!(of("wrong-key")[1][0][0], "failure");
    assert!(of("wrong-key")[1][0][1].as_str().unwrap().contains("- status: 200\n  + status: 404"), "{read}");
    assert_eq!(of("odd")[1][0][0], "error");
    assert_eq!(of("schema")[1], serde_json::json!([]));
    assert_eq!(of("its whole life")[1], serde_json::json!([]));
}

/// A connector that nothing is shown of is a finding, and is told what it wants.
#[test]
fn a_connector_without_cases_is_told_which_it_wants() {
    let (folder, _) = copy("box-webhooks", &[]);
    let (code, said) = test(folder.path(), &["connectors/box-webhooks"]);
    assert_eq!(code, 1, "{said}");
    for part in [
        "there is no case in its folder `cases`",
        "is not there and is created",
        "is there already and is adopted",
        "a request with a wrong signature",
        "is replayed when its time of signing is too old",
        "an event that comes twice",
        "--simulate --events 5 --record connectors/box-webhooks/cases",
        "ok   its whole life, simulated with faults",
        "1 of 1 hold",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains("the rule"), "it has no rules: {said}");
}

/// Every difference is said with the step and the line of the case that expects otherwise, and what nobody sees is shown.
#[test]
fn a_difference_is_told_with_its_line() {
    let (folder, to) = copy("github-webhooks", &["octokit"]);
    let file = to.join("cases/octokit.yaml");
    spoil(&file, &[("\"record\":{\"foo\":\"bar\"}}'", "\"record\":{\"foo\": \"bar\"}}'")]);
    let line = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .position(|line| line.contains("\"foo\": \"bar\"}}"))
        .unwrap()
        + 1;
    let (code, said) = test(folder.path(), &["connectors/github-webhooks", "--filter", "octokit"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!("octokit.yaml:{line}: records[0] differs (- expected, + came):")),
        "{said}"
    );
    assert!(said.contains("bytes: the same values, written otherwise"), "{said}");
    assert!(said.contains("- bytes: …") && said.contains("+ bytes: …"), "{said}");
}

/// What a sender must not learn, who writes the case has to: why a request was refused, and what an answer lacks.
#[test]
fn the_reason_is_told_beside_the_difference() {
    let (folder, to) = copy("github-webhooks", &["octokit", "create"]);
    spoil(&to.join("cases/octokit.yaml"), &[("sha256=4864", "sha256=0000")]);
    let (code, said) = test(folder.path(), &["connectors/github-webhooks/cases/octokit.yaml"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("+ status: 401") && !said.contains("mysecret"), "{said}");
    assert!(
        said.contains("why: hmac: what stands in the header `x-hub-signature-256` is no signature of this"),
        "{said}"
    );
    let spec = to.join("connector.yaml");
    let text = std::fs::read_to_string(&spec).unwrap();
    let (before, create) = text.split_once("      create:").unwrap();
    let wrapped = create.replacen("save: {id: /id}", "save: {id: /hook/id}", 1);
    assert_ne!(create, wrapped);
    std::fs::write(&spec, format!("{before}      create:{wrapped}")).unwrap();
    let (code, said) = test(folder.path(), &["connectors/github-webhooks/cases/create.yaml"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("201 Created: the answer has nothing to save as `id`"), "{said}");
}

/// A folder of connectors is its connectors, as it is to `validate` and `docs`.
#[test]
fn a_folder_of_connectors_is_taken() {
    let (folder, _) = copy("github-webhooks", &["ping"]);
    let (code, said) = test(folder.path(), &["connectors", "--filter", "ping"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("github-webhooks\n  ok   ping"), "{said}");
    let (code, said) = test(folder.path(), &["schemas"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("or a folder of connectors"), "{said}");
}

/// Bodies that are no text, a header that comes twice, and one body alone.
#[test]
fn a_case_sends_any_bytes_and_any_headers() {
    let (folder, to) = copy("auth0-log-stream", &[]);
    let line =
        "{\"log_id\":\"1\",\"data\":{\"date\":\"2026-01-01T00:00:00Z\",\"type\":\"s\",\"log_id\":\"1\"}}";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, line.as_bytes()).unwrap();
    let body = data_encoding::BASE64.encode(&gzip.finish().unwrap());
    let case = |body: &str, key: &str, status: u16| {
        format!(
            "title: x\nsettings: {{input_mode: manual}}\nsecrets: {{monad_api_key: k}}\nsteps:\n  - receive: {{headers: {{x-api-key: {key}, content-encoding: gzip}}, {body}, reply: {{status: {status}}}}}\n"
        )
    };
    let file = to.join("cases/a.yaml");
    let play = |text: String| {
        std::fs::write(&file, text).unwrap();
        test(folder.path(), &["connectors/auth0-log-stream/cases/a.yaml"])
    };
    let (code, said) = play(case(&format!("base64: {body}"), "k", 200));
    assert_eq!(code, 0, "{said}");
    let (code, said) = play(case(&format!("base64: {body}"), "[k, k]", 401));
    assert_eq!(code, 0, "{said}");
    let (code, said) = play(case("text: a, json: 1", "k", 200));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("steps[0].receive.text: there is a body already: one is enough"), "{said}");
    let (code, said) = play(
        "title: x\nsettings: {input_mode: manual}\nsecrets: {monad_api_key: k}\nsteps:\n  - receive: {}\n"
            .to_owned(),
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("- status: 2xx, since none is stated") && said.contains("+ status: 401"), "{said}");
}
