//! Every command that the docs show is run: `console` blocks of the README and of docs/, against the built
//! binary, with a strict tenant in the place of the vendor. The README's first two commands are CI's.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use tempfile::TempDir;

use crate::support::{Running, forebay, root};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Tenant};

/// The commands of one page, in order.
fn commands(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some("console") => inside = true,
            Some(_) => inside = false,
            None if inside => found.extend(line.strip_prefix("$ ").map(str::to_owned)),
            None => {}
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The command with the tenant's address in the place of the vendor's, in a folder of its own.
fn command(line: &str, tenant: &Tenant, folder: &Path) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.first(), Some(&"forebay"), "the docs show another program: {line}");
    let mut command = forebay();
    command.current_dir(folder).env("AUTH0_CLIENT_ID", CLIENT_ID);
    command.args(words.iter().skip(1).map(|word| word.replace("https://acme.us.auth0.com/", &tenant.url())));
    if matches!(words.get(1), Some(&("run" | "plan" | "destroy"))) && !words.contains(&"--simulate") {
        command.arg("--allow-loopback");
    }
    if words.get(1) == Some(&"run") && !words.contains(&"--simulate") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_docs_works() {
    let mut shown = 0;
    // That page leads through files of its own: tests/tutorial.rs follows it.
    for page in pages().into_iter().filter(|page| !page.ends_with("writing-a-connector.md")) {
        let tenant = Tenant::start().await;
        let folder = TempDir::new().unwrap();
        for name in ["connectors", "schemas", "docs"] {
            std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("client-secret"), CLIENT_SECRET).unwrap();
        std::fs::write(folder.path().join("stream-key"), "a-key-for-the-stream\n").unwrap();
        for line in commands(&page) {
            shown += 1;
            let mut command = command(&line, &tenant, folder.path());
            if line.starts_with("forebay run ") && !line.contains("--simulate") {
                let running = Running::start(&mut command, 1);
                if line.contains("automatic") {
                    crate::support::eventually("the stream of the docs is there", || {
                        !tenant.http_streams().is_empty()
                    });
                }
                assert_eq!(running.stop().code(), Some(0), "{line}");
                continue;
            }
            let output = command.output().unwrap();
            assert!(
                output.status.success(),
                "{}: {line}\n{}{}",
                page.display(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert!(shown >= 8, "the docs show hardly any command");
}

#[test]
fn the_readme_begins_with_its_two_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```").nth(1).unwrap();
    assert_eq!(block, "sh\ncargo run --release -- run connectors/auth0-log-stream --simulate\n./test.sh\n");
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("cargo run --release --quiet -- run connectors/auth0-log-stream --simulate"));
    assert!(ci.contains("./test.sh"));
}

/// Text without its figures: every run of digits is one `#`, and what is random beside them.
fn blanked(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim().lines() {
        let mut digits = false;
        for c in line.trim_end().chars() {
            match (c.is_ascii_digit(), digits) {
                (true, true) => {}
                (true, false) => out.push('#'),
                (false, _) => out.push(c),
            }
            digits = c.is_ascii_digit();
        }
        out.push('\n');
    }
    // A width that depends on the figures is no difference.
    out.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readme_shows_what_the_main_job_prints() {
    let folder = TempDir::new().unwrap();
    for name in ["connectors", "schemas"] {
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    let mut command = forebay();
    command.current_dir(folder.path()).args(["run", "connectors/auth0-log-stream", "--simulate"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(blanked(shown), blanked(&String::from_utf8(output.stderr).unwrap()));
}

#[test]
fn links_between_the_docs_lead_somewhere() {
    // Code holds no links, whatever it looks like.
    let code = Regex::new("(?s)```.*?```|``.*?``|`[^`\n]*`").unwrap();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let text = code.replace_all(&text, "");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = page.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}

/// The file that a test's path leads to: in the one test binary, or beside what it tests.
fn file_of(test: &str) -> Option<(PathBuf, &str)> {
    let (module, name) = test.rsplit_once("::")?;
    let beside =
        module.strip_suffix("::tests").map(|module| format!("framework/{}", module.replace("::", "/")));
    let inside = format!("tests/{}", module.replace("::", "/"));
    // A file of unit tests alone is a module without `tests`.
    let alone = format!("framework/{}", module.replace("::", "/"));
    let candidates = [beside, Some(inside), Some(alone)].into_iter().flatten();
    let files = candidates.flat_map(|path| [format!("{path}.rs"), format!("{path}/mod.rs")]);
    Some((files.map(|path| root().join(path)).find(|path| path.is_file())?, name))
}

/// Every test that the tables of a page name exists, and there are so many at least.
fn named_tests_exist(page: &str, least: usize) {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut named = 0;
    for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("::")) {
        for test in row.split('`').skip(1).step_by(2).filter(|word| word.contains("::")) {
            named += 1;
            let (file, name) = file_of(test).unwrap_or_else(|| panic!("{page}: {test} is in no file"));
            let text = std::fs::read_to_string(&file).unwrap();
            let before = text.split(&format!("fn {name}(")).next().unwrap();
            assert!(before.len() < text.len(), "{page}: {test} is not in {}", file.display());
            // Its attribute stands right above it.
            let above = before.trim_end().rsplit("\n\n").next().unwrap();
            assert!(above.contains("test"), "{page}: {test} is no test");
        }
    }
    assert!(named >= least, "{page} names hardly any test: {named}");
}

#[test]
fn every_test_that_the_page_on_reliability_names_exists() {
    named_tests_exist("docs/reliability.md", 70);
}

/// Each row has its figure, or an empty cell: a bound, a time, or what the test tries.
#[test]
fn threats_have_a_column_of_figures() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (mut tables, mut figures, mut columns) = (0, 0, 0);
    for line in text.lines() {
        let cells: Vec<&str> = line.strip_prefix('|').map(|row| row.split('|').collect()).unwrap_or_default();
        if line.starts_with("| threat |") {
            assert_eq!(line, "| threat | what stops it | test | figure |");
            (tables, columns) = (tables + 1, cells.len());
        } else if cells.is_empty() {
            columns = 0;
        } else if columns > 0 && !line.starts_with("|---") {
            assert_eq!(cells.len(), columns, "{line}");
            let figure = cells[3].trim();
            assert!(figure.is_empty() || figure.chars().any(|c| c.is_ascii_digit()), "{figure}");
            figures += usize::from(!figure.is_empty());
        }
    }
    assert!(tables == 4 && figures >= 36, "{tables} tables, {figures} figures");
}

#[test]
fn every_test_that_the_page_on_security_names_exists() {
    named_tests_exist("docs/security.md", 70);
    // Nothing of its first column stands without a test, or a link to where the tests are.
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| threat")) {
        let heading = ["| address |", "| who names it |"].iter().any(|start| row.starts_with(start));
        assert!(heading || row.contains("::") || row.contains("](#"), "{row}");
    }
}
