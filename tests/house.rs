//! The structure of the house, held by tests: floors import downward only, heavy crates are imported in one
//! place, every file says what it is, and no file outgrows its subject.

use std::path::{Path, PathBuf};

/// The floors from the lowest to the highest: a floor imports from itself and from those before it.
const FLOORS: &[&str] = &[
    "error",
    "condition",
    "files",
    "points",
    "spec",
    "connector",
    "call",
    "queue",
    "provision",
    "receive",
    "deliver",
    "docs",
    "diff",
    "run",
    "simulate",
    "new",
    "torture",
    "cli",
];

/// Floors of one height, which do not know of each other.
const STRANGERS: &[(&str, &str)] = &[
    ("queue", "call"),
    ("provision", "receive"),
    ("provision", "deliver"),
    ("receive", "provision"),
    ("receive", "deliver"),
    ("deliver", "provision"),
    ("deliver", "receive"),
    ("docs", "queue"),
    ("docs", "receive"),
    ("docs", "deliver"),
    ("diff", "queue"),
    ("diff", "receive"),
    ("diff", "deliver"),
];

/// A heavy crate and where alone it may be named.
const ONE_PLACE: &[(&str, &[&str])] = &[
    ("reqwest::", &["call/transport.rs"]),
    ("warp::", &["receive/server.rs"]),
    ("minijinja::", &["connector/template", "connector/scope", "connector/filters", "new/template.rs"]),
    ("serde_yaml::", &["spec/load.rs"]),
    ("saphyr_parser::", &["spec/"]),
    ("rusqlite::", &["queue/local"]),
    ("forebay_json_schema::", &["spec/", "connector/"]),
    ("pulldown_cmark::", &["docs/html/"]),
    ("annotate_snippets::", &["spec/"]),
    ("webpki::", &["connector/certificates.rs"]),
    ("x509_cert::", &["connector/certificates.rs"]),
    ("regex_syntax::", &["connector/compile/verify/keys.rs"]),
    ("indicatif::", &["simulate/", "cli/"]),
    ("clap::", &["cli/"]),
    ("std::env::", &["cli/"]),
    ("fail::", &["points.rs"]),
    ("zeroize::", &["connector/secret.rs"]),
];

fn under(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    walk(&root, &mut found);
    found.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_owned(), text)).collect()
}

/// The product.
pub fn sources() -> Vec<(PathBuf, String)> {
    let found = under("framework");
    assert!(found.len() > 20, "the house is empty");
    found
}

/// The code of a file without its comments and without its own tests.
pub fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn floors_import_downward_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(floor) = path.components().next().and_then(|c| c.as_os_str().to_str()) else { continue };
        let Some(height) = FLOORS.iter().position(|f| *f == floor.trim_end_matches(".rs")) else { continue };
        for (n, line) in code(&text).lines().enumerate() {
            for (other_height, other) in FLOORS.iter().enumerate() {
                let named =
                    line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other};"));
                let stranger = STRANGERS.contains(&(FLOORS[height], other));
                if named && (other_height > height || stranger) {
                    wrong.push(format!("{}:~{}: {}", path.display(), n + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point upward or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn heavy_crates_are_named_in_one_place() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let shown = path.to_string_lossy().replace('\\', "/");
        for (name, places) in ONE_PLACE {
            if code(&text).contains(name) && !places.iter().any(|place| shown.starts_with(place)) {
                wrong.push(format!("{shown} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_keeps_to_its_subject() {
    let mut wrong = Vec::new();
    let bench = under("bench");
    assert!(bench.len() > 5, "the benchmark is not where it was");
    for (path, text) in sources().into_iter().chain(bench) {
        if !text.starts_with("//!") {
            wrong.push(format!("{} has no //! header", path.display()));
        }
        if text.lines().count() > 500 {
            wrong.push(format!("{} has more than 500 lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
