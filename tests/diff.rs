//! `forebay diff`: what a change of a shipped connector means. tests/diff/changes.yaml is the table: a change of a
//! file, and what must be found, no more and no less.

use std::path::{Path, PathBuf};
use std::process::Output;

use forebay::connector::load::load;
use forebay::diff::{Effect, diff};
use serde::Deserialize;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{forebay, root};

/// One row of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    connector: String,
    /// The file that is changed; its place from the connector's folder. Left out: connector.yaml.
    file: Option<String>,
    /// What stands there.
    from: String,
    /// What will stand there.
    to: String,
    /// Every finding: effect, subject, and words of what it says.
    found: Vec<(String, String, String)>,
    /// Whether the other way round nothing breaks.
    #[serde(default)]
    safe_back: bool,
}

/// A copy of a connector with what it refers to.
fn copy(connector: &str, to: &Path) -> PathBuf {
    let folder = to.join("connectors").join(connector);
    for (from, to) in [
        (root().join("connectors").join(connector), folder.clone()),
        (root().join("schemas"), to.join("schemas")),
    ] {
        copy_folder(&from, &to);
    }
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy_folder(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}

/// Changes a file of a copy. What is to be changed stands there.
fn change(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{}: nothing like {from:?}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn every_change_means_what_the_table_says() {
    let table = std::fs::read_to_string(root().join("tests/diff/changes.yaml")).unwrap();
    let table: Vec<Change> = serde_yaml::from_str(&table).unwrap();
    assert!(table.len() >= 50, "the table is short: {}", table.len());
    let mut wrong = Vec::new();
    for row in &table {
        let folder = TempDir::new().unwrap();
        let spec = copy(&row.connector, folder.path());
        let old = load(&spec).unwrap();
        change(&spec.join(row.file.as_deref().unwrap_or("connector.yaml")), &row.from, &row.to);
        let new = match load(&spec) {
            Ok(new) => new,
            Err(error) => {
                wrong.push(format!("{}: {:?}\n{error}", row.connector, row.to));
                continue;
            }
        };
        let found = diff(Some(&old), Some(&new));
        let fits = |(effect, about, words): &(String, String, String)| {
            found.iter().any(|finding| {
                let said = format!("{}. {}", finding.change, finding.meaning);
                finding.effect.name() == effect && finding.about == *about && said.contains(words.as_str())
            })
        };
        if !row.found.iter().all(fits) || row.found.len() != found.len() {
            wrong.push(format!("{}: {:?} -> {:?}\nfound {found:#?}", row.connector, row.from, row.to));
        }
        let back = diff(Some(&new), Some(&old));
        if back.is_empty() != found.is_empty() {
            wrong.push(format!("{}: {:?} and back is not the same", row.connector, row.to));
        }
        if row.safe_back && back.iter().any(|finding| finding.effect == Effect::Breaks) {
            wrong.push(format!("{}: {:?} taken back breaks {back:#?}", row.connector, row.to));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Words, comments, examples, the order of keys: the text differs, and nothing is meant by it.
#[test]
fn what_means_nothing_is_not_found() {
    for folder in std::fs::read_dir(root().join("connectors")).unwrap() {
        let spec = folder.unwrap().path();
        assert_eq!(diff(Some(&load(&spec).unwrap()), Some(&load(&spec).unwrap())), [], "{}", spec.display());
    }
}

fn run(old: &Path, new: &Path, more: &[&str]) -> Output {
    forebay().arg("diff").args([old, new]).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn exit_codes_tell_what_breaks() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (was, is) = (copy("slack-events", old.path()), copy("slack-events", new.path()));
    let same = run(&was, &is, &[]);
    assert_eq!((same.status.code(), said(&same).as_str()), (Some(0), "Nothing changes for an instance.\n"));
    change(&is.join("connector.yaml"), "tolerance: 5m", "tolerance: 10m");
    let weaker = run(&was, &is, &[]);
    assert_eq!(weaker.status.code(), Some(0), "{}", said(&weaker));
    assert!(said(&weaker).contains("weaker"), "{}", said(&weaker));
    let stricter = run(&is.join("connector.yaml"), &was, &[]);
    assert_eq!(stricter.status.code(), Some(1), "{}", said(&stricter));
    assert!(
        said(&stricter).ends_with("1 change breaks an instance; 0 worth a look, 0 safe.\n"),
        "{}",
        said(&stricter)
    );
    // A version that is not there.
    let nowhere = old.path().join("nowhere");
    let begun = run(&nowhere, &is, &[]);
    assert_eq!(begun.status.code(), Some(0), "{}", said(&begun));
    assert!(said(&begun).contains("it is new") && said(&begun).contains("slack.com"), "{}", said(&begun));
    assert_eq!(run(&was, &nowhere, &[]).status.code(), Some(1));
    assert_eq!(run(&nowhere, &nowhere, &[]).status.code(), Some(2));
    // A version that cannot be read: the old one is no finding about the new one.
    change(&is.join("connector.yaml"), "forebay: 1", "forebay: 7");
    assert_eq!(run(&was, &is, &[]).status.code(), Some(1));
    assert_eq!(run(&is, &was, &[]).status.code(), Some(2));
    assert_eq!(forebay().args(["diff", "connectors"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn folders_are_compared_connector_by_connector() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (folder, names) in [(&old, ["slack-events", "aws-sns"]), (&new, ["slack-events", "github-webhooks"])]
    {
        for name in names {
            copy(name, folder.path());
        }
    }
    change(&new.path().join("connectors/slack-events/connector.yaml"), "path: /slack/", "path: /<b>|`x`/");
    let (old, new) = (old.path().join("connectors"), new.path().join("connectors"));
    let json = run(&old, &new, &["--format", "json"]);
    assert_eq!(json.status.code(), Some(1), "{}", said(&json));
    let found: Json = serde_json::from_slice(&json.stdout).unwrap();
    let schema = std::fs::read_to_string(root().join("schemas/diff.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    assert!(schema.is_valid(&found), "{found:#}");
    let names: Vec<(&str, bool)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["connector"].as_str().unwrap(), one["breaks"].as_bool().unwrap()))
        .collect();
    assert_eq!(names, [("github-webhooks", false), ("slack-events", true), ("aws-sns", true)]);
    let markdown = run(&old, &new, &["--format", "markdown"]);
    assert_eq!(markdown.status.code(), Some(1));
    let markdown = said(&markdown);
    // A table of three columns in every row, whatever the spec says.
    let unescaped = |row: &str| row.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 8 && rows.iter().all(|row| unescaped(row) == 4), "{markdown}");
    assert!(markdown.contains("**Breaks an instance**") && markdown.contains("<b>"), "{markdown}");
}
