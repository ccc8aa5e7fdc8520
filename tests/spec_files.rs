//! Promise: what a connector names is read only if it lies in the connector's folder or in a `schemas` folder. A
//! connector from a pull request publishes nothing else of the machine that validates it or builds its page.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::forebay;

const CANARY: &str = "CANARY-7f31";

struct Lab {
    outer: TempDir,
    folder: PathBuf,
}

impl Lab {
    /// A connector of its own, and secrets next to it and in the environment.
    fn new(schema: &str, more: &str) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("connectors/evil");
        std::fs::create_dir_all(folder.join("cases")).unwrap();
        std::fs::write(outer.path().join("secret.txt"), format!("{CANARY} root:x:0:0\n")).unwrap();
        std::fs::write(outer.path().join("secret.json"), format!("{{\"password\": \"{CANARY}\"}}\n"))
            .unwrap();
        std::fs::write(folder.join("record.json"), "{}").unwrap();
        let spec = format!(
            "forebay: 1\nname: evil\ntitle: Evil\nvendor: Lab\nsync: incremental\nsummary: A lab receiver.\n\
             secrets: {{key: {{title: Key, description: A key.}}}}\nreceiver:\n  path: /x\n  \
             verify: {{kind: token, header: X-Key, equals: \"{{{{ secrets.key }}}}\"}}\n  decode: {{format: json}}\n  \
             respond: {{accepted: {{status: 200}}}}\n  sender: {{success: [2xx], attempts: 3, ordered: false}}\n\
             output: {{schema: {schema}}}\n{more}\n"
        );
        std::fs::write(folder.join("connector.yaml"), spec).unwrap();
        Self { outer, folder }
    }

    /// Runs a command on it, and returns the exit code and all that it said or wrote.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = forebay();
        command.current_dir(self.outer.path()).env("GITHUB_TOKEN", CANARY).args(arguments);
        let output = command.output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        for written in written(self.outer.path()) {
            said.push_str(&std::fs::read_to_string(&written).unwrap_or_default());
        }
        (output.status.code(), said)
    }

    /// Whatever is done with it, the finding names the reason and nothing of the other file is seen.
    fn assert_refused(&self, what: &str) {
        let (code, said) = self.run(&["validate", "connectors/evil"]);
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(
            said.contains("leads out of the connector's folder") || said.contains("begins at the root"),
            "{what}: {said}"
        );
        for arguments in [
            &["validate", "connectors/evil", "--format", "json"][..],
            &["docs", "connectors/evil"],
            &["docs", "connectors/evil", "--html", "site"],
            &["test", "connectors/evil"],
            &["diff", "connectors/evil", "connectors/evil"],
            &["explain-request", "connectors/evil"],
        ] {
            let (_, said) = self.run(arguments);
            assert!(!said.contains(CANARY), "{what}: {arguments:?} shows it:\n{said}");
        }
    }
}

/// The files that a command wrote below a folder: not the secrets, and no links.
fn written(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || name.starts_with("secret.") {
            continue;
        }
        if path.is_dir() { found.extend(written(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn connector_naming_files_elsewhere_is_refused() {
    let up = "../".repeat(20);
    for (what, schema, more) in [
        ("schema by ..", "../../secret.json".to_owned(), String::new()),
        ("schema in /proc", format!("{up}proc/self/environ"), String::new()),
        ("schema absolute", "/proc/self/environ".to_owned(), String::new()),
        ("sample by ..", "record.json".to_owned(), "samples: [../../secret.json]".to_owned()),
        ("guide by ..", "record.json".to_owned(), "guide: ../../secret.txt".to_owned()),
        ("guide in /proc", "record.json".to_owned(), format!("guide: {up}proc/self/environ")),
        ("guide of a neighbour", "record.json".to_owned(), "guide: ../other/guide.md".to_owned()),
    ] {
        let lab = Lab::new(&schema, &more);
        let other = lab.outer.path().join("connectors/other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("guide.md"), "not in this folder").unwrap();
        lab.assert_refused(what);
    }
}

#[test]
fn connector_naming_links_elsewhere_is_refused() {
    for (what, link, target, schema, more) in [
        ("guide", "g.md", "../../secret.txt", "record.json", "guide: g.md"),
        ("guide of /proc", "g.md", "/proc/self/environ", "record.json", "guide: g.md"),
        ("sample", "cases/s.json", "../../../secret.json", "record.json", "samples: [cases/s.json]"),
        ("schema", "s.json", "../../secret.json", "s.json", ""),
        ("folder", "more", "../..", "record.json", "samples: [more/secret.json]"),
    ] {
        let lab = Lab::new(schema, more);
        symlink(target, lab.folder.join(link)).unwrap();
        lab.assert_refused(what);
    }
}

#[test]
fn schemas_folder_is_read_and_no_link_out_of_it() {
    let lab = Lab::new("../../schemas/event.json", "");
    let schemas = lab.outer.path().join("schemas");
    std::fs::create_dir(&schemas).unwrap();
    std::fs::write(schemas.join("event.json"), "{}").unwrap();
    let (code, said) = lab.run(&["validate", "connectors/evil"]);
    assert_eq!(code, Some(0), "{said}");

    std::fs::remove_file(schemas.join("event.json")).unwrap();
    symlink("../secret.json", schemas.join("event.json")).unwrap();
    lab.assert_refused("a link in schemas");

    // A `schemas` that is itself a link leads anywhere.
    std::fs::remove_dir_all(&schemas).unwrap();
    symlink(".", &schemas).unwrap();
    let lab2 = Lab::new("../../schemas/secret.json", "");
    symlink(".", lab2.outer.path().join("schemas")).unwrap();
    lab2.assert_refused("a linked schemas");
}

#[test]
fn link_within_the_folder_is_read() {
    let lab = Lab::new("s.json", "");
    // As a mounted ConfigMap: the files are links into a folder that is swapped.
    std::fs::create_dir(lab.folder.join("..data")).unwrap();
    for file in ["connector.yaml", "record.json"] {
        std::fs::rename(lab.folder.join(file), lab.folder.join("..data").join(file)).unwrap();
    }
    symlink("..data/connector.yaml", lab.folder.join("connector.yaml")).unwrap();
    symlink("..data/record.json", lab.folder.join("s.json")).unwrap();
    let (code, said) = lab.run(&["validate", "connectors/evil"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn spec_that_is_a_link_elsewhere_shows_no_line_of_it() {
    let lab = Lab::new("record.json", "");
    std::fs::remove_file(lab.folder.join("connector.yaml")).unwrap();
    symlink("../../secret.txt", lab.folder.join("connector.yaml")).unwrap();
    lab.assert_refused("connector.yaml");
}

#[test]
fn case_naming_files_elsewhere_is_refused() {
    let lab = Lab::new("record.json", "");
    let case = "title: A body from elsewhere\nsecrets: {key: k}\nsteps:\n  - receive: {headers: {X-Key: k}, file: ../../../secret.json, reply: {status: 200}}\nrecords: 1\n";
    std::fs::write(lab.folder.join("cases/leak.yaml"), case).unwrap();
    symlink("../../../secret.txt", lab.folder.join("cases/linked.yaml")).unwrap();
    for arguments in [
        &["validate", "connectors/evil"][..],
        &["test", "connectors/evil"],
        &["test", "--update", "connectors/evil"],
    ] {
        let (code, said) = lab.run(arguments);
        assert!(code == Some(1) || code == Some(2), "{arguments:?}: {said}");
        assert!(!said.contains(CANARY), "{arguments:?}: {said}");
    }
}

#[test]
fn docs_does_not_write_through_a_link() {
    let lab = Lab::new("record.json", "");
    symlink("../../secret.txt", lab.folder.join("README.md")).unwrap();
    let (code, said) = lab.run(&["docs", "connectors/evil"]);
    assert_ne!(code, Some(0), "{said}");
    let kept = std::fs::read_to_string(lab.outer.path().join("secret.txt")).unwrap();
    assert!(kept.starts_with(CANARY), "it was written through the link: {kept}");
}
