//! The connectors that ship: each has its page, cases, schema and samples, and the framework knows none of their vendors.

use std::collections::BTreeSet;
use std::path::PathBuf;

use regex::Regex;

use crate::support::{forebay, root};

/// What every connector has at least.
const CASES: usize = 6;

/// The folders under one, sorted.
fn folders(under: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(under)).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("connector.yaml").is_file())
        .collect();
    found.sort();
    assert!(found.len() >= 9, "{under} is nearly empty");
    found
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs the binary in the repository's root; what it says is the message of a failure.
fn holds(arguments: &[&str]) {
    let output = forebay().args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "forebay {}\n{out}{err}", arguments.join(" "));
}

/// Mended by the same command without `--check`.
#[test]
fn every_page_is_what_would_be_written() {
    holds(&["docs", "connectors", "--reference", "docs/spec.md", "--catalogue", "README.md", "--check"]);
}

/// For how long what tells an event apart is remembered, by default too.
#[test]
fn every_page_states_the_window_of_duplicates() {
    for folder in folders("connectors") {
        let page = text(folder.join("README.md"));
        let states = ["remembered for ", "comes within ", "none is taken for a duplicate"];
        let found = states.iter().any(|words| page.contains(words));
        assert!(found, "{} does not say for how long an id is remembered", folder.display());
    }
    let page = |name: &str| text(root().join("connectors").join(name).join("README.md"));
    let expected = "An id is remembered for 3 days, as long as the sender repeats a request, unless `queue.dedupe.age` is configured.";
    assert!(page("stripe-events").contains(expected));
    assert!(
        page("slack-events")
            .contains("An id is remembered for 1 day, unless `queue.dedupe.age` is configured.")
    );
    assert!(page("github-webhooks").contains("with the same bytes and comes within 10 minutes."));
}

#[test]
fn a_stale_page_is_named_and_is_a_finding() {
    let folder = tempfile::TempDir::new().unwrap();
    let page = folder.path().join("spec.md");
    let run = |more: &[&str]| forebay().args(["docs", "--reference"]).arg(&page).args(more).output().unwrap();
    assert_eq!(run(&["--check"]).status.code(), Some(1));
    assert!(!page.exists(), "a check wrote something");
    assert_eq!(run(&[]).status.code(), Some(0));
    assert_eq!(run(&["--check"]).status.code(), Some(0));
    std::fs::write(&page, "old").unwrap();
    let stale = run(&["--check"]);
    assert_eq!(stale.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stale.stdout).contains("spec.md"), "{stale:?}");
}

#[test]
fn every_connector_is_whole() {
    holds(&["validate", "connectors"]);
    let mut wrong = Vec::new();
    for folder in folders("connectors") {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let cases = std::fs::read_dir(folder.join("cases")).unwrap();
        let cases =
            cases.filter(|case| case.as_ref().unwrap().path().extension().is_some_and(|e| e == "yaml"));
        let count = cases.count();
        if count < CASES {
            wrong.push(format!("{name} has {count} cases, and {CASES} are the least"));
        }
        let (spec, page) = (text(folder.join("connector.yaml")), text(folder.join("README.md")));
        for key in ["\nsamples:", "\nguide:", "\nsummary:", "schema: ", "  sender:"] {
            if !spec.contains(key) {
                wrong.push(format!("{name} says nothing under `{}`", key.trim()));
            }
        }
        if !page.contains("\n## Not covered\n") {
            wrong.push(format!("{name} does not say what it leaves out: `## Not covered` in its guide"));
        }
        // What is not certain in the spec is not certain on the page.
        let doubts = |text: &str| text.to_lowercase().contains("unverified") || text.contains("ot verified");
        if doubts(&spec) && !doubts(&page) {
            wrong.push(format!("{name} calls something unverified in its spec, and not on its page"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file of the framework, whole: its comments and its unit tests as well.
fn framework() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("framework")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(root()).unwrap().display().to_string(), text(path)));
            }
        }
    }
    assert!(found.len() > 100);
    found
}

/// Every spec of a vendor that there is: the catalogue's, and those of published signatures and handshakes.
fn specs() -> Vec<String> {
    let all = ["connectors", "tests/vectors", "tests/handshakes"].into_iter().flat_map(folders);
    let whole = all.map(|folder| text(folder.join("connector.yaml")));
    let code = |spec: String| {
        let lines = spec.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    };
    whole.map(code).collect()
}

/// Everything that an expression finds in the specs, in lower case.
fn found(expression: &str) -> BTreeSet<String> {
    let expression = Regex::new(expression).unwrap();
    let captures = |spec: &String| {
        expression.captures_iter(spec).map(|found| found[1].to_lowercase()).collect::<Vec<_>>()
    };
    specs().iter().flat_map(captures).collect()
}

/// Where words stand in the framework, in any case, between no other letters, digits or hyphens.
fn named(words: &BTreeSet<String>, allowed: fn(&str, &str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in framework() {
        // The heap's box, and the library of ciphers: a type of Rust's and a crate.
        let text =
            text.replace("Box<", "").replace("Box::", "").replace("aws_lc_rs", "").replace("aws-lc-rs", "");
        let lower = text.to_lowercase();
        for word in words.iter().filter(|word| !allowed(&path, word)) {
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
            let stands = |(at, _): (usize, &str)| {
                !inside(lower[..at].chars().next_back()) && !inside(lower[at + word.len()..].chars().next())
            };
            if lower.match_indices(word.as_str()).any(stands) {
                wrong.push(format!("{path} names {word}"));
            }
        }
    }
    wrong
}

/// Vendors of our own fixtures, and names that are words: what they are called by elsewhere is looked for all the same.
const WORDS: &[&str] =
    &["many", "nobody", "anyone", "any", "the sender", "x", "generic", "standard", "webhooks"];

#[test]
fn the_framework_names_no_vendor() {
    let mut names = found(r#"(?m)^vendor: "?([^"\n#]+?)"?\s*(?:#.*)?$"#);
    let folders = folders("connectors");
    let first = |folder: &PathBuf| {
        folder.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_lowercase()
    };
    names.extend(folders.iter().map(first));
    names.retain(|name| !WORDS.contains(&name.as_str()));
    assert!(names.len() >= 20 && names.contains("auth0") && names.contains("okta"), "{names:?}");
    // Diagnostics can be written as annotations of one of them: there it is where we write to. A way to sign that
    // others took over keeps the name of who made it.
    let allowed = |path: &str, name: &str| match name {
        "github" => path.contains("spec/render/") || path.contains("cli/validate/"),
        // An element of HTML.
        "meta" => path.contains("docs/html/"),
        "aws" if path.ends_with("compile/auth/mod.rs") => true,
        // Metadata services of clouds are facts about networks: they are named where their addresses are refused.
        "aws" | "azure" | "google" => path.ends_with("call/address.rs"),
        _ => false,
    };
    let wrong: Vec<String> = named(&names, allowed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_framework_names_no_host_of_a_vendor() {
    let hosts = found(r"https?://(?:[A-Za-z0-9-]+\.)*([A-Za-z0-9-]+\.[a-z]{2,})");
    let hosts: BTreeSet<String> = hosts
        .into_iter()
        .filter(|host| !host.starts_with("example.") && !host.ends_with(".example"))
        .collect();
    assert!(hosts.len() >= 10 && hosts.contains("auth0.com"), "{hosts:?}");
    let wrong: Vec<String> = framework()
        .iter()
        .flat_map(|(path, text)| {
            let hosts = hosts.iter().filter(|host| text.to_lowercase().contains(host.as_str()));
            hosts.map(|host| format!("{path} names {host}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Headers of standards, and the names that the language's own examples use.
const HEADERS: &[&str] =
    &["authorization", "content-type", "x-api-key", "x-key", "x-signature", "x-token", "date"];

#[test]
fn the_framework_names_no_header_of_a_vendor() {
    let lists = found(r"header: (\[[^\]\n]*\]|[A-Za-z0-9-]+)");
    let mut headers: BTreeSet<String> = lists
        .iter()
        .flat_map(|list| list.trim_matches(['[', ']']).split(','))
        .map(|name| name.trim().trim_matches(['"', '\'']).to_owned())
        .collect();
    headers.extend(found(r"request\.headers\['([A-Za-z0-9-]+)'\]"));
    headers.retain(|name| name.contains('-') && !HEADERS.contains(&name.as_str()));
    assert!(headers.len() >= 30 && headers.contains("x-slack-signature"), "{headers:?}");
    // A unit test that plays a connector that ships.
    let wrong = named(&headers, |path, _| path.ends_with("receive/cancelled.rs"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
