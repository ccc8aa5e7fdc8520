//! What the binary tells a shell, a reader of manuals and an editor of itself: completions that a shell sources, pages
//! that groff sets without a warning, and the schemas that are built in.

use std::process::{Command, Output};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{forebay, root};

fn printed(words: &[&str]) -> Vec<u8> {
    let output = forebay().args(words).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    output.stdout
}

fn there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What bash offers for a line whose last word is not yet whole.
fn bash_offers(script: &std::path::Path, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let ask = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _forebay forebay '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
        words.last().unwrap(),
        words.get(words.len().wrapping_sub(2)).unwrap_or(&""),
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_their_values() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("forebay.bash");
    std::fs::write(&script, printed(&["completions", "bash"])).unwrap();
    assert_eq!(bash_offers(&script, "forebay va"), ["validate"]);
    assert!(bash_offers(&script, "forebay dead-letters ").contains(&"export".to_owned()));
    assert_eq!(bash_offers(&script, "forebay validate --for"), ["--format"]);
    assert!(bash_offers(&script, "forebay validate --format ").contains(&"github".to_owned()));
    assert!(bash_offers(&script, "forebay schema ").contains(&"case".to_owned()));
}

#[test]
fn there_are_completions_for_every_shell_that_takes_them() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        assert!(String::from_utf8(script).unwrap().contains("dead-letters"), "{shell}");
    }
    // Those that are installed read theirs without a complaint.
    let folder = TempDir::new().unwrap();
    for (shell, only_read) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let file = folder.path().join(shell);
        std::fs::write(&file, printed(&["completions", shell])).unwrap();
        if there(shell) {
            let output = Command::new(shell).arg(only_read).arg(&file).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
}

#[test]
fn the_manual_has_a_page_of_every_command() {
    let folder = TempDir::new().unwrap();
    printed(&["man", folder.path().to_str().unwrap()]);
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["forebay.1", "forebay-validate.1", "forebay-run.1", "forebay-dead-letters-retry.1"] {
        assert!(names.contains(&name.to_owned()), "{name} is missing: {names:?}");
    }
    assert!(
        printed(&["man"]) == std::fs::read(folder.path().join("forebay.1")).unwrap(),
        "two pages of one program"
    );
    // Whatever reads a page leads to another that is there.
    for name in &names {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.is_ascii(), "{name}: groff without its preprocessor knows ASCII alone");
        assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH DESCRIPTION"), "{name}");
        let plain = text.replace("\\-", "-");
        for word in
            plain.split_whitespace().filter(|word| word.starts_with("forebay-") && word.ends_with("(1)"))
        {
            let page = word.replace("(1)", ".1");
            assert!(names.contains(&page), "{name} leads to {word}");
        }
    }
    if there("groff") {
        for name in &names {
            let page = folder.path().join(name);
            let groff =
                Command::new("groff").args(["-man", "-ww", "-Tutf8", "-z"]).arg(page).output().unwrap();
            assert!(groff.status.success() && groff.stderr.is_empty(), "{name}: {groff:?}");
        }
    }
}

#[test]
fn a_folder_that_is_missing_gets_no_manual() {
    let Output { status, stderr, .. } = forebay().args(["man", "/nowhere/at/all"]).output().unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(String::from_utf8(stderr).unwrap().contains("name a folder that is there"));
}

#[test]
fn the_schemas_that_are_printed_are_those_of_the_repository() {
    let shipped = |name: &str| std::fs::read(root().join("schemas").join(name)).unwrap();
    assert!(printed(&["schema"]) == shipped("connector.json"), "the language is what is meant");
    for name in ["connector", "case", "findings", "diff"] {
        assert!(printed(&["schema", name]) == shipped(&format!("{name}.json")), "{name}");
        let schema: Json = serde_json::from_slice(&printed(&["schema", name])).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_one_that_nobody_reads_is_none() {
    let folder = TempDir::new().unwrap();
    let connector = "connectors/generic-http";
    let commands: &[&[&str]] = &[
        &["validate", connector, "--format", "json"],
        &["test", connector],
        &["docs", connector, "--check"],
        &["plan", connector, "--data-dir", folder.path().to_str().unwrap()],
        &["diff", connector, connector],
        &["explain", "FB304"],
        &["schema"],
        &["man"],
        &["completions", "bash"],
    ];
    let run = |words: &[&str], out: std::process::Stdio| {
        let output = forebay().args(words).stdout(out).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for words in commands {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, said) = run(words, full.into());
        assert_eq!(code, Some(3), "{words:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{words:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, said) = run(words, writer.into());
        assert_eq!(code, Some(0), "{words:?}: {said}");
        assert_eq!(said, "", "{words:?}");
    }
}
