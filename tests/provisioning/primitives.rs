//! Every primitive of provisioning, in small specs of vendors that are nobody: their cases hold, and their lives
//! run against the stand-in, through the built binary.

use std::path::PathBuf;

use crate::support::{forebay, root};

fn specs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/provisioning/specs")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 5, "{found:?}");
    found
}

#[test]
fn specs_of_every_primitive_hold_their_cases_and_live_their_lives() {
    let output = forebay().arg("validate").args(specs()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let output = forebay().arg("test").args(specs()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("its whole life").count(), specs().len(), "{said}");
}

#[test]
fn a_person_is_told_what_to_do_where_there_is_no_api() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = forebay();
    command.args(["plan", "tests/provisioning/specs/register", "--public-url", "https://in.example.com"]);
    let output = command.arg("--data-dir").arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Sign in to https://north.register.example"), "{said}");
    assert!(said.contains("address  https://in.example.com/register/register"), "{said}");
}
