//! The catalogue in HTML, as it is written for the shipped connectors and for a hostile one: well-formed, whole,
//! loading nothing, and without a word of a spec that is anything but text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use regex::Regex;
use tempfile::TempDir;

use crate::support::{forebay, root};

fn write(connectors: &Path, folder: &Path, more: &[&str]) -> Output {
    forebay().arg("docs").arg(connectors).arg("--html").arg(folder).args(more).output().unwrap()
}

/// Every page of a catalogue, by its place.
fn pages(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for place in [folder.to_owned(), folder.join("connectors")] {
        for path in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_file() {
                let place = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(place, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Copies of the connectors that ship, and one whose every word is hostile.
fn copied(hostile: bool) -> TempDir {
    let folder = TempDir::new().unwrap();
    crate::support::copy_schemas(folder.path());
    let target = folder.path().join("connectors");
    let names: Vec<String> = if hostile { vec!["aws-sns".to_owned()] } else { shipped() };
    for name in names {
        let (from, to) = (root().join("connectors").join(&name), target.join(&name));
        std::fs::create_dir_all(to.join("cases")).unwrap();
        for part in ["", "cases"] {
            for path in std::fs::read_dir(from.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_file() {
                    std::fs::copy(&path, to.join(part).join(path.file_name().unwrap())).unwrap();
                }
            }
        }
    }
    folder
}

fn shipped() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("connectors")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The elements that have no end.
const VOID: [&str; 6] = ["meta", "input", "br", "hr", "img", "link"];

/// Every tag of a page, in order, its style and script left out; panics where one is not closed in its place.
fn tags(place: &str, page: &str) -> Vec<(String, String)> {
    let inner = Regex::new("(?s)(<style>|<script>).*?(</style>|</script>)").unwrap();
    let page = inner.replace_all(page, "$1$2");
    let tag = Regex::new(r#"<(/?)([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*/?>"#).unwrap();
    let (mut open, mut found, mut covered) = (Vec::new(), Vec::new(), 0);
    for hit in tag.captures_iter(&page) {
        covered += 1;
        let name = hit[2].to_owned();
        if &hit[1] == "/" {
            assert_eq!(open.pop().as_ref(), Some(&name), "{place}: </{name}> closes nothing: {open:?}");
        } else {
            if !VOID.contains(&name.as_str()) {
                open.push(name.clone());
            }
            found.push((name, hit[3].to_owned()));
        }
    }
    assert_eq!(open, Vec::<String>::new(), "{place}: left open");
    let brackets = page.matches('<').count() - page.matches("<!DOCTYPE").count();
    assert_eq!(brackets, covered, "{place}: a `<` that begins no tag");
    found
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    attributes.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}

/// What holds of every page, whatever stands in it.
fn sound(pages: &BTreeMap<String, String>) {
    let named = Regex::new(r#"\s([a-z-]+)(?:="[^"]*")?"#).unwrap();
    for (place, page) in pages {
        let tags = tags(place, page);
        let names: Vec<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
        for forbidden in ["img", "link", "iframe", "object", "embed", "base", "form", "svg", "video"] {
            assert!(!names.contains(&forbidden), "{place}: <{forbidden}>");
        }
        for once in ["main", "h1", "title", "header", "footer", "style"] {
            assert_eq!(names.iter().filter(|name| **name == once).count(), 1, "{place}: <{once}>");
        }
        let scripts = names.iter().filter(|name| **name == "script").count();
        assert_eq!(scripts, usize::from(place == "index.html"), "{place}");
        let policy = tags.iter().find_map(|(_, attributes)| {
            attributes.contains("Content-Security-Policy").then(|| attribute(attributes, "content").unwrap())
        });
        assert!(policy.unwrap().starts_with("default-src 'none'; style-src 'sha256-"), "{place}");
        let mut ids = BTreeSet::new();
        for (name, attributes) in &tags {
            for word in named.captures_iter(attributes).map(|hit| hit[1].to_owned()) {
                let forbidden = word.starts_with("on") || ["src", "srcset", "style"].contains(&word.as_str());
                assert!(!forbidden, "{place}: <{name}{attributes}>");
            }
            if let Some(id) = attribute(attributes, "id") {
                assert!(ids.insert(id), "{place}: the id {id} stands twice");
            }
            if name == "th" {
                assert_eq!(attribute(attributes, "scope"), Some("col"), "{place}");
            }
        }
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(!style.contains("url(") && !style.contains("@import"), "{place}");
        let links = tags.iter().filter(|(name, _)| name == "a");
        for target in links.map(|(_, attributes)| attribute(attributes, "href").unwrap()) {
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match (file, place.strip_prefix("connectors/")) {
                ("", _) => place.clone(),
                (file, Some(_)) => match file.strip_prefix("../") {
                    Some(above) => above.to_owned(),
                    None => format!("connectors/{file}"),
                },
                (file, None) => file.to_owned(),
            };
            let there = pages.get(&file).unwrap_or_else(|| panic!("{place}: {target} leads nowhere"));
            let known = anchor.is_empty() || there.contains(&format!(" id=\"{anchor}\""));
            assert!(known, "{place}: {target} leads nowhere in it");
        }
    }
}

#[test]
fn the_catalogue_is_whole_and_loads_nothing() {
    let (connectors, folder) = (copied(false), TempDir::new().unwrap());
    let output = write(&connectors.path().join("connectors"), folder.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let pages = pages(folder.path());
    sound(&pages);
    let names = shipped();
    assert_eq!(pages.len(), names.len() + 1);
    let index = &pages["index.html"];
    for name in &names {
        assert_eq!(index.matches(&format!("href=\"connectors/{name}.html\"")).count(), 1, "{name}");
        // A page holds all words of the Markdown that is beside the spec.
        let markdown =
            std::fs::read_to_string(root().join("connectors").join(name).join("README.md")).unwrap();
        let page = text_of(&pages[&format!("connectors/{name}.html")]);
        let headings = markdown.lines().filter_map(|line| line.strip_prefix("## "));
        for heading in headings {
            assert!(page.contains(heading), "{name} lacks {heading}");
        }
        let rows = markdown.lines().filter(|line| line.starts_with("| `")).count();
        let cells = pages[&format!("connectors/{name}.html")].matches("<td>").count();
        assert!(cells >= rows * 2, "{name}: {cells} cells of {rows} rows");
    }
    // What it is searched by: name, vendor, how it is proven, kinds of event.
    let words = |name: &str| {
        let before = index.split(&format!("href=\"connectors/{name}.html\"")).next().unwrap();
        before.rsplit("data-words=\"").next().unwrap().split('"').next().unwrap().to_owned()
    };
    for (name, word) in [
        ("auth0-log-stream", "success login"),
        ("auth0-log-stream", "made by forebay"),
        ("github-webhooks", "hmac sha-256"),
        ("aws-sns", "public-key"),
        ("google-pubsub-push", "json web token"),
        ("microsoft-graph", "microsoft"),
    ] {
        assert!(words(name).contains(word), "{name}: {}", words(name));
    }
    stale(&connectors.path().join("connectors"), folder.path());
}

/// The text of a page without its tags.
fn text_of(page: &str) -> String {
    let text = Regex::new("<[^>]*>").unwrap().replace_all(page, "").into_owned();
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

/// `--check` tells what is stale and what is left over, and changes nothing; without it both are mended.
fn stale(connectors: &Path, folder: &Path) {
    assert!(write(connectors, folder, &["--check"]).status.success());
    let left = folder.join("connectors/gone-webhooks.html");
    std::fs::copy(folder.join("connectors/aws-sns.html"), &left).unwrap();
    std::fs::write(folder.join("connectors/own.html"), "a page of somebody's own").unwrap();
    std::fs::write(folder.join("index.html"), "old").unwrap();
    let check = write(connectors, folder, &["--check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1));
    assert!(said.contains("left over: ") && said.contains("stale: ") && left.exists(), "{said}");
    assert!(write(connectors, folder, &[]).status.success());
    assert!(!left.exists() && folder.join("connectors/own.html").exists());
    assert!(write(connectors, folder, &["--check"]).status.success());
}

#[test]
fn a_hostile_spec_is_text_and_nothing_else() {
    let (connectors, folder) = (copied(true), TempDir::new().unwrap());
    let spec = connectors.path().join("connectors/aws-sns/connector.yaml");
    let bad = "<script>alert(1)</script> \\\"' onload=x --> </style></title> <img src=https://evil.example/x.png> \
               [a](javascript:alert(1)) ![b](https://evil.example/y.png) | `c";
    let mut text = std::fs::read_to_string(&spec).unwrap();
    for line in [
        "title: AWS SNS",
        "vendor: AWS",
        "summary: Receives what an AWS SNS topic publishes, as it is published.",
        "    title: Topic ARN",
    ] {
        assert!(text.contains(line), "{line}");
        let key = line.split(": ").next().unwrap();
        text = text.replacen(line, &format!("{key}: \"{bad}\""), 1);
    }
    std::fs::write(&spec, text).unwrap();
    let guide = spec.with_file_name("guide.md");
    let written = std::fs::read_to_string(&guide).unwrap();
    std::fs::write(
        &guide,
        format!("{written}\n## {}\n\n{0}\n\n<iframe src=x>\n<b onclick=x>y</b>\n", bad.replace('\\', "")),
    )
    .unwrap();
    let output = write(&connectors.path().join("connectors"), folder.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let pages = pages(folder.path());
    sound(&pages);
    for (place, page) in &pages {
        assert!(page.contains("&lt;script&gt;alert(1)"), "{place} does not show the title");
        assert!(!page.contains("<script>alert") && !page.contains("href=\"javascript"), "{place}");
    }
}
