//! docs/writing-a-connector.md, followed as its reader would: every file it shows is written, every command is run in
//! the order of the page, and what it says they print, they print. The pages on the language that it leads to are held
//! to the language.

use std::process::{Command, Output};

use forebay::connector::template::Text;
use regex::Regex;
use tempfile::TempDir;

use crate::support::{forebay, root};

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a page shows: a fenced block, with its language and the comment before it.
struct Block {
    before: String,
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut before) = (Vec::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = format!("{}\n", text.join("\n"));
            found.push(Block { before: std::mem::take(&mut before), language: language.to_owned(), text });
        } else if line.starts_with("<!-- ") {
            before = line.trim_start_matches("<!-- ").trim_end_matches(" -->").to_owned();
        }
    }
    found
}

/// Runs a line as a shell would, with the built binary for `forebay`.
fn run(line: &str, folder: &TempDir) -> Output {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_forebay")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    assert!(line.starts_with("forebay "), "the page shows another program: {line}");
    Command::new("bash").args(["-c", line]).current_dir(folder.path()).env("PATH", path).output().unwrap()
}

#[test]
fn from_nothing_to_a_connector_that_passes() {
    let folder = TempDir::new().unwrap();
    let (mut told, mut files, mut commands) = (String::new(), 0, 0);
    for Block { before, language, text } in blocks(&page("writing-a-connector.md")) {
        if let Some(file) = before.strip_prefix("file: ") {
            let file = folder.path().join(file);
            std::fs::write(&file, text).unwrap();
            files += 1;
        } else if language == "text" {
            for line in text.lines() {
                assert!(told.contains(line), "the page shows `{line}`, and the commands printed:\n{told}");
            }
        } else if language == "console" {
            let spec = folder.path().join("connectors/tidewatch-alerts/connector.yaml");
            let whole = std::fs::read_to_string(&spec).ok();
            let mistake = before.strip_prefix("mistake: ").and_then(|edit| edit.split_once(" | "));
            if let (Some((old, new)), Some(whole)) = (mistake, &whole) {
                assert!(whole.contains(old), "{old}");
                std::fs::write(&spec, whole.replace(old, new)).unwrap();
            }
            told.clear();
            for line in text.lines().filter_map(|line| line.strip_prefix("$ ")) {
                let output = run(line, &folder);
                commands += 1;
                let wanted = if mistake.is_some() { 1 } else { 0 };
                assert_eq!(output.status.code(), Some(wanted), "{line}\n{}", said(&output));
                told.push_str(&said(&output));
            }
            if let (Some((_, new)), Some(whole)) = (mistake, whole) {
                assert!(told.contains(new.split(':').next().unwrap()), "{told}");
                assert!(!told.contains("warning"), "{told}");
                std::fs::write(&spec, whole).unwrap();
            } else {
                assert!(!told.contains("warning"), "{told}");
            }
        }
    }
    assert!(
        files >= 6 && commands >= 10,
        "the page shows hardly anything: {files} files, {commands} commands"
    );
}

#[test]
fn the_action_and_the_hooks_that_the_page_shows_are_those_of_the_repository() {
    let page = page("writing-a-connector.md");
    let hooks = std::fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    for id in Regex::new(r"\{id: ([a-z-]+)\}").unwrap().captures_iter(&page) {
        assert!(hooks.contains(&format!("- id: {}\n", &id[1])), "there is no hook {}", &id[1]);
    }
    let action: serde_json::Value =
        serde_yaml::from_str(&std::fs::read_to_string(root().join("action.yml")).unwrap()).unwrap();
    assert!(page.contains("with: {path: connectors}") && action["inputs"]["path"].is_object());
}

#[test]
fn the_page_on_notations_has_every_filter_and_no_other() {
    let page = page("language/notations.md");
    let table = page.split("## Filters").nth(1).unwrap();
    let source = std::fs::read_to_string(root().join("framework/connector/template/filters.rs")).unwrap();
    let list = source.split("const FILTERS").nth(1).unwrap().split("\n];").next().unwrap();
    let known: Vec<&str> =
        list.split("\n    (\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(known.len() > 30, "{known:?}");
    for name in &known {
        let shown = Regex::new(&format!(r"`{name}[`(]")).unwrap();
        assert!(shown.is_match(table), "the page does not have {name}");
    }
    let call_of = Regex::new(r"`([a-z_0-9]+)(\(.*?\))?`").unwrap();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        for shown in call_of.captures_iter(row.split('|').nth(1).unwrap()) {
            let call = shown.get(2).map_or("", |arguments| arguments.as_str());
            let call = call.replace("(x)", "(1)").replace("(path)", "('a')").replace("(a, b)", "('a', 'b')");
            let call = call.replace("separator", "','").replace("key", "'k'").replace("'filter'", "'upper'");
            let call = call.replace("other", "desired");
            let text = format!("{{{{ request.json.a | {}{call} }}}}", &shown[1]);
            Text::compile(&text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
        }
    }
}

/// A spec in which a fragment of a page can stand.
fn around(fragment: &str) -> String {
    let under = |key: &str, indent: &str| {
        let lines: Vec<String> = fragment.lines().map(|line| format!("{indent}{line}\n")).collect();
        format!("{key}{}", lines.concat())
    };
    let receiver = under("receiver:\n  path: /in\n", "  ");
    format!(
        "forebay: 1\nname: shown\ntitle: Shown\nvendor: Shown\n\
         settings:\n  public_key: {{title: Key, type: string, required: true, description: The key.}}\n  \
         proof: {{title: Proof, type: string, enum: [token, hmac], required: true, description: Which.}}\n  \
         service_account: {{title: Account, type: string, required: true, description: Who.}}\n\
         secrets:\n  key: {{title: Key, required: true, description: The key.}}\n  \
         signing_key: {{title: Key, required: true, description: The key.}}\n  \
         password: {{title: Password, required: true, description: The password.}}\n\
         {receiver}  decode: {{format: json}}\n  event: {{id: /id}}\noutput: {{schema: record.json}}\n\
         samples: [event.json]\n"
    )
}

#[test]
fn what_the_page_on_verify_shows_can_be_used() {
    let folder = TempDir::new().unwrap();
    let shown = folder.path().join("shown");
    std::fs::create_dir(&shown).unwrap();
    std::fs::write(shown.join("record.json"), "{\"type\": \"object\"}").unwrap();
    std::fs::write(shown.join("event.json"), "{\"id\": \"e1\"}").unwrap();
    let mut tried = 0;
    for block in blocks(&page("language/verify.md")) {
        if block.language != "yaml" || !block.text.starts_with("verify:") {
            continue;
        }
        std::fs::write(shown.join("connector.yaml"), around(&block.text)).unwrap();
        let output = forebay().current_dir(folder.path()).args(["validate", "shown"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}\n{}", block.text, said(&output));
        tried += 1;
    }
    assert!(tried >= 6, "{tried}");
}

#[test]
fn the_case_that_the_page_on_cases_shows_holds() {
    let folder = TempDir::new().unwrap();
    let run = |words: &[&str]| forebay().current_dir(folder.path()).args(words).output().unwrap();
    let new =
        ["new", "shown", "--api", "https://api.example.com/v1/hooks", "--auth", "none", "--verify", "token"];
    assert_eq!(run(&new).status.code(), Some(0));
    let spec = folder.path().join("connectors/shown/connector.yaml");
    let text = std::fs::read_to_string(&spec).unwrap();
    // The page leaves out what is beside its point.
    let text = text.replace("        events: \"{{ settings.events }}\"\n", "").replace("/hooks/{{", "/in/{{");
    let text =
        text.replace("        secret: \"{{ secrets.webhook_key }}\"\n      write_only: [/secret]", "     ");
    let text =
        text.replace("secrets:\n", "secrets:\n  api_token: {title: Token, required: true, description: x}\n");
    std::fs::write(&spec, text).unwrap();
    let schema = folder.path().join("connectors/shown/record.json");
    std::fs::write(schema, "{\"type\": \"object\"}").unwrap();
    let case = &blocks(&page("language/cases.md"))[0].text;
    let case = case.replace(
        "secrets: {api_token: token-of-this-case}",
        "secrets: {api_token: t, webhook_key: key-of-this-case}",
    );
    let case = case.replace("{hook: null}", "{webhook: null}");
    let file = folder.path().join("connectors/shown/cases/shown.yaml");
    std::fs::write(&file, case).unwrap();
    let output = run(&["test", "connectors/shown/cases/shown.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// tests/written has connectors that somebody wrote with these pages, `forebay new` and the messages alone, for vendors
/// that are not in the catalogue.
#[test]
fn connectors_that_were_written_by_the_docs_alone_hold() {
    for words in [
        vec!["validate", "tests/written"],
        vec!["test", "tests/written"],
        vec!["docs", "tests/written", "--check"],
    ] {
        let output = forebay().args(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
        assert!(!said(&output).contains("warning"), "{words:?}: {}", said(&output));
    }
}
