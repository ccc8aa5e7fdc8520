//! What people who write connectors run in their CI: every script of action.yml and every hook of .pre-commit-hooks.yaml,
//! run by bash in a git repository of its own with the built binary on the path, as the runner and pre-commit do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regex::Regex;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{forebay, root};

fn yaml(file: &str) -> Json {
    serde_yaml::from_str(&std::fs::read_to_string(root().join(file)).unwrap()).unwrap()
}

/// A repository of connectors with one commit, as a user has it.
struct Repository {
    folder: TempDir,
    base: String,
}

impl Repository {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let new = ["new", "acme-events", "--api", "https://api.acme.example/v1/webhooks"];
        assert!(forebay().current_dir(folder.path()).args(new).status().unwrap().success());
        let mut repository = Self { folder, base: String::new() };
        repository.git(&["init", "--quiet"]);
        repository.git(&["add", "."]);
        repository.git(&[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "commit",
            "--quiet",
            "-m",
            "first",
        ]);
        repository.base = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git").args(words).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "git {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn spec(&self) -> PathBuf {
        self.path().join("connectors/acme-events/connector.yaml")
    }

    fn edit(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.spec()).unwrap();
        assert!(text.contains(old), "{old}");
        std::fs::write(self.spec(), text.replacen(old, new, 1)).unwrap();
    }

    /// A script as a runner runs it: `bash -eo pipefail`, the binary on the path.
    fn bash(&self, script: &str, environment: &BTreeMap<String, String>) -> Output {
        let binary = Path::new(env!("CARGO_BIN_EXE_forebay")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        Command::new("bash")
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .current_dir(self.path())
            .env("PATH", path)
            .env("GITHUB_STEP_SUMMARY", self.path().join(".git/summary.md"))
            .env("RUNNER_TEMP", self.path().join(".git"))
            .envs(environment)
            .output()
            .unwrap()
    }

    /// One step of the action, with these inputs and the defaults of the others.
    fn step(&self, name: &str, inputs: &[(&str, &str)]) -> Output {
        let action = yaml("action.yml");
        let given: BTreeMap<&str, &str> = inputs.iter().copied().collect();
        let steps = action["runs"]["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["name"] == name).unwrap();
        let mut environment = BTreeMap::new();
        for (variable, text) in step["env"].as_object().into_iter().flatten() {
            let input = text.as_str().unwrap().trim_start_matches("${{ inputs.").trim_end_matches(" }}");
            let default = action["inputs"][input]["default"].as_str().unwrap();
            let value = given.get(input).map_or(default, |value| *value);
            assert!(!value.contains("${{"), "{input} has no plain default: a test gives it");
            environment.insert(variable.clone(), value.to_owned());
        }
        self.bash(step["run"].as_str().unwrap(), &environment)
    }

    fn summary(&self) -> String {
        std::fs::read_to_string(self.path().join(".git/summary.md")).unwrap_or_default()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn each_input_is_used_and_none_is_pasted_into_a_script() {
    let action = yaml("action.yml");
    let whole = action["runs"].to_string();
    for (name, input) in action["inputs"].as_object().unwrap() {
        assert!(whole.contains(&format!("inputs.{name} ")), "{name} is used by nothing");
        assert!(input["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    for step in action["runs"]["steps"].as_array().unwrap() {
        // What a pull request may say would be run.
        assert!(!step["run"].as_str().unwrap().contains("${{"), "{}", step["name"]);
        assert_eq!(step["shell"], "bash");
    }
}

#[test]
fn a_repository_that_is_in_order_passes_every_step() {
    let repository = Repository::new();
    for name in ["Install", "Validate", "Test", "Docs", "Diff"] {
        let output = repository.step(name, &[("base", &repository.base)]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
        assert!(!said(&output).contains("::error"), "{name}: {}", said(&output));
    }
    let strict = repository.step("Validate", &[("deny-warnings", "true")]);
    assert_eq!(strict.status.code(), Some(0), "{}", said(&strict));
    assert_eq!(repository.git(&["status", "--porcelain"]), "", "nothing is left behind");
    assert!(!repository.path().join(".git/forebay-base").exists());
}

#[test]
fn a_mistake_annotates_its_line_and_fails() {
    let repository = Repository::new();
    repository.edit("  decode: {format: json}", "  decode: {format: json}\n  verfy: x");
    let output = repository.step("Validate", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let line =
        std::fs::read_to_string(repository.spec()).unwrap().lines().position(|l| l == "  verfy: x").unwrap()
            + 1;
    let place = format!("::error file=connectors/acme-events/connector.yaml,line={line},");
    assert!(said(&output).contains(&place), "{}", said(&output));
    assert_ne!(repository.step("Test", &[]).status.code(), Some(0));
    assert_ne!(repository.step("Docs", &[]).status.code(), Some(0));
}

#[test]
fn a_case_that_does_not_hold_and_a_stale_page_are_annotated() {
    let repository = Repository::new();
    let case = repository.path().join("connectors/acme-events/cases/event.yaml");
    let text = std::fs::read_to_string(&case).unwrap();
    std::fs::write(&case, text.replace("reply: {status: 200}", "reply: {status: 418}")).unwrap();
    let output = repository.step("Test", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("::error title=forebay test::"), "{}", said(&output));
    let guide = repository.path().join("connectors/acme-events/guide.md");
    std::fs::write(&guide, "Something else.\n").unwrap();
    let output = repository.step("Docs", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("::error file=connectors/acme-events/README.md,"), "{}", said(&output));
    let output = repository.step("Test", &[("path", "nowhere")]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn a_change_that_breaks_instances_is_told_on_the_pull_request() {
    let repository = Repository::new();
    let base = ("base", repository.base.as_str());
    repository.edit("settings:\n", "settings:\n  region:\n    title: Region\n    type: string\n    required: true\n    description: Where the account is.\n");
    repository.edit("path: /hooks/", "path: /hooks/{{ settings.region }}/");
    let output = repository.step("Diff", &[base]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("::error title=forebay diff::"), "{}", said(&output));
    assert!(repository.summary().contains("region"), "{}", repository.summary());
    let output = repository.step("Diff", &[base, ("breaking", "warning")]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("::warning title=forebay diff::"), "{}", said(&output));
    let output = repository.step("Diff", &[("base", "0000000000000000000000000000000000000000")]);
    assert_ne!(output.status.code(), Some(0), "a base that is not there is no peace");
}

#[test]
fn the_hooks_pass_where_all_is_well_and_fail_where_it_is_not() {
    let repository = Repository::new();
    let hooks = yaml(".pre-commit-hooks.yaml");
    let run = |hook: &Json| {
        let args = hook["args"].as_array().into_iter().flatten().map(|arg| arg.as_str().unwrap());
        let words: Vec<&str> = std::iter::once(hook["entry"].as_str().unwrap()).chain(args).collect();
        repository.bash(&words.join(" "), &BTreeMap::new())
    };
    let hooks = hooks.as_array().unwrap();
    assert_eq!(hooks.len(), 3);
    for hook in hooks {
        let output = run(hook);
        assert_eq!(output.status.code(), Some(0), "{}: {}", hook["id"], said(&output));
        assert_eq!(hook["pass_filenames"], false);
        let files = Regex::new(hook["files"].as_str().unwrap()).unwrap();
        for (path, concerns) in [
            ("connectors/acme/connector.yaml", true),
            ("connectors/acme/cases/event.json", true),
            ("streams/connectors/acme/guide.md", true),
            ("schemas/event.json", true),
            ("src/main.rs", false),
        ] {
            assert_eq!(files.is_match(path), concerns, "{}: {path}", hook["id"]);
        }
    }
    repository.edit("title: Acme Events", "title: Acme Events\ntitel: Acme");
    for hook in hooks {
        let output = run(hook);
        assert_ne!(output.status.code(), Some(0), "{}: {}", hook["id"], said(&output));
    }
}
