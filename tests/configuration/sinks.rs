//! Sinks: what they are called, and those that cannot work, or would write into one file or into the store.

use std::path::Path;

use super::{AUTH0, SECRETS, configured, refused};

#[test]
fn sinks_that_cannot_work_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("file:{}", folder.path().join("events.jsonl").display());
    let nowhere = format!("file:{}", folder.path().join("no/such/folder/events.jsonl").display());
    let manual = [AUTH0, "--set", "input_mode=manual"];
    let with = |sinks: &[&str]| {
        let to = sinks.iter().flat_map(|sink| ["--to", *sink]);
        manual.into_iter().chain(to).map(str::to_owned).collect::<Vec<_>>()
    };
    let said = |sinks: &[&str]| refused(&with(sinks).iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert!(said(&[&nowhere]).contains("the folder of the file does not exist"));
    assert!(said(&["https://me:hidden@siem.example.com/"]).contains("a user or a password"));
    assert!(!said(&["https://me:hidden@siem.example.com/"]).contains("hidden"));
    let other = file.replace("events.jsonl", "./events.jsonl");
    assert!(said(&[&file, &other]).contains("another sink writes to"));
}

#[test]
fn sinks_on_one_file_by_other_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = |name: &str| format!("file:{}", at(name).display());
    std::fs::create_dir(at("sub")).unwrap();
    std::os::unix::fs::symlink(at("out.jsonl"), at("link.jsonl")).unwrap();
    std::os::unix::fs::symlink("link.jsonl", at("twice.jsonl")).unwrap();
    std::os::unix::fs::symlink("sub", at("other")).unwrap();
    std::fs::write(at("there.jsonl"), "").unwrap();
    std::fs::hard_link(at("there.jsonl"), at("hard.jsonl")).unwrap();
    let said = |one: &str, other: &str, data: &Path| {
        let data = data.display().to_string();
        let (one, other) = (file(one), file(other));
        let arguments =
            [AUTH0, "--set", "input_mode=manual", "--data-dir", &data, "--to", &one, "--to", &other];
        configured(&arguments, SECRETS).map(drop).map_err(|error| error.to_string())
    };
    let data = at("data");
    let aliases = [
        ("out.jsonl", "sub/../out.jsonl"),
        ("out.jsonl", "link.jsonl"),
        ("twice.jsonl", "out.jsonl"),
        ("sub/new.jsonl", "other/new.jsonl"),
        ("there.jsonl", "hard.jsonl"),
    ];
    for (one, other) in aliases {
        let said = said(one, other, &data).unwrap_err();
        assert!(said.contains("another sink writes to"), "{one} {other}: {said}");
    }
    said("out.jsonl", "sub/out.jsonl", &data).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(&data, at("alias")).unwrap();
    std::fs::write(data.join("forebay.db"), "").unwrap();
    std::fs::hard_link(data.join("forebay.db"), at("hard.db")).unwrap();
    for name in ["data/forebay.db", "data/forebay.db-wal", "data/lock", "alias/made", "hard.db"] {
        let said = said(name, "out.jsonl", &data).unwrap_err();
        assert!(said.contains("is a file of the store"), "{name}: {said}");
    }
    said("data/out.jsonl", "out.jsonl", &data).unwrap();
}

#[test]
fn a_sink_of_a_flag_is_called_by_its_target() {
    let manual = [AUTH0, "--set", "input_mode=manual"];
    let names = |to: &[&str]| -> Vec<String> {
        let to: Vec<&str> = to.iter().flat_map(|to| ["--to", to]).collect();
        let made = configured(&[&manual[..], &to].concat(), &[]).unwrap();
        made.instances[0].sinks.iter().map(|sink| sink.name.clone()).collect()
    };
    assert_eq!(names(&["stdout", "file:/var/a.jsonl"]), ["stdout", "file:/var/a.jsonl"]);
    let named = names(&["https://siem.example.com:8443/in?source=hush"]);
    assert!(named[0].starts_with("https://siem.example.com:8443/in#"), "{named:?}");
    assert!(!named[0].contains("hush"));
}
