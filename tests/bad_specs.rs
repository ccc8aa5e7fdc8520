//! Every wrong spec in tests/bad-specs gets the diagnostics that its snapshot shows: the right mistakes, once
//! each, at the right place, with help. A new case is a new file.

use std::path::{Path, PathBuf};

use forebay::connector::load::examine;
use forebay::spec::mistake::Code;
use forebay::spec::render;

fn cases() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/bad-specs")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn wrong_specs_get_their_diagnostics() {
    let cases = cases();
    assert!(cases.len() >= 25, "{} cases", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = show(case);
        // Every case is compared before the first difference fails the test.
        let compared = std::panic::catch_unwind(|| insta::assert_snapshot!(name.clone(), shown));
        failed.extend(compared.err().map(|_| name));
    }
    assert!(failed.is_empty(), "these differ from their snapshots: {}", failed.join(", "));
}

fn show(case: &Path) -> String {
    let examined = examine(case).unwrap();
    assert!(!examined.diagnostics.is_empty(), "{} is not wrong", case.display());
    for diagnostic in &examined.diagnostics {
        assert!(diagnostic.help.is_some(), "{}: no help for `{}`", case.display(), diagnostic.message);
    }
    render::human(&examined.source, &examined.diagnostics, false)
}

#[test]
fn every_code_has_a_case() {
    let found: Vec<Code> = cases()
        .iter()
        .flat_map(|case| examine(case).unwrap().diagnostics)
        .map(|diagnostic| diagnostic.code)
        .collect();
    // Tested by themselves: a file that cannot be read, a folder of another name; and a fault of our own,
    // which is not to be had.
    let elsewhere = [Code::Unreadable, Code::BadName, Code::Ours];
    let without: Vec<&str> =
        Code::ALL.iter().filter(|c| !found.contains(c) && !elsewhere.contains(c)).map(|c| c.id()).collect();
    assert!(without.is_empty(), "no case shows {}", without.join(", "));
}

#[test]
fn codes_are_told_apart() {
    let mut ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
