//! Flags, environment and file: what beats what, and that every fault is said at once.

mod bounds;
mod file;
mod settings;
mod sinks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use forebay::cli::InstanceFlags;
use forebay::cli::instance::{Ask, Purpose, configure};
use forebay::deliver::config::Target;
use forebay::error::{Kind, Result};
use forebay::run::config::Configuration;
use serde_json::json;

const AUTH0: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/auth0-log-stream");

/// The command line of an instance as `run` has it.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    flags: InstanceFlags,
    #[arg(long)]
    listen: Option<String>,
    #[arg(long)]
    admin_listen: Option<String>,
    #[arg(long)]
    to: Vec<String>,
    #[arg(long)]
    simulate: bool,
}

fn configured(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Configuration> {
    let line = Line::parse_from(std::iter::once("forebay").chain(arguments.iter().copied()));
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let ask = Ask {
        flags: &line.flags,
        listen: line.listen.as_deref(),
        admin_listen: line.admin_listen.as_deref(),
        to: &line.to,
        rotation_overlap: None,
        purpose: if line.simulate { Purpose::Simulate } else { Purpose::Run },
    };
    configure(&ask, &environment)
}

fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let Err(error) = configured(arguments, environment) else { panic!("it was accepted") };
    assert_eq!(error.kind, Kind::Configuration, "{error}");
    error.to_string()
}

/// A folder with files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn the_least_that_runs() {
    let made = configured(&[AUTH0, "--set", "input_mode=manual"], &[]).unwrap();
    assert_eq!(made.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(made.data_dir, PathBuf::from(".forebay"));
    let one = &made.instances[0];
    assert_eq!(one.instance.id.as_str(), "auth0-log-stream");
    assert_eq!(one.path, "/api/v2/http/send/auth0-log-stream");
    assert_eq!(one.instance.settings["authentication_type"], json!("client_credentials"));
    assert!(!one.automatic);
    assert!(matches!(one.sinks[0].target, Target::Stdout));
    assert!(one.instance.secrets.read().unwrap().is_empty());
}

const AUTOMATIC: &[&str] = &[
    AUTH0,
    "--set",
    "input_mode=automatic",
    "--set",
    "base_url=https://acme.us.auth0.com/",
    "--public-url",
    "https://logs.example.com/",
];
const SECRETS: &[(&str, &str)] = &[
    ("FOREBAY_SECRET_CLIENT_ID", "id"),
    ("FOREBAY_SECRET_CLIENT_SECRET", "hush-hush"),
    ("FOREBAY_SECRET_MONAD_API_KEY", "key"),
];

#[test]
fn automatic_mode_is_complete() {
    let made = configured(AUTOMATIC, SECRETS).unwrap();
    let one = &made.instances[0];
    assert!(one.automatic);
    assert_eq!(
        one.instance.receiver_url.as_ref().unwrap().as_str(),
        "https://logs.example.com/api/v2/http/send/auth0-log-stream"
    );
    assert!(!format!("{made:?}").contains("hush-hush"));
}

#[test]
fn every_fault_is_said_at_once_and_each_once() {
    let said = refused(
        &[
            AUTH0,
            "--set",
            "input_mode=automtic",
            "--set",
            "base_url=acme.us.auth0.com",
            "--set",
            "audiance=x",
            "--secret",
            "client_id=env:NOT_THERE",
            "--secret",
            "client_secrt=env:HERE",
            "--to",
            "flie:x",
            "--listen",
            "nowhere",
        ],
        &[("HERE", "hush-hush")],
    );
    for part in [
        "7 things are wrong",
        "`input_mode` is `automtic`, which is none of: manual, automatic",
        "did you mean `automatic`?",
        "`base_url` is `acme.us.auth0.com`, which is no absolute http or https URL",
        "there is no setting `audiance`",
        "did you mean `audience`?",
        "`client_id`: the variable NOT_THERE is not set",
        "there is no secret `client_secrt`",
        "did you mean `client_secret`?",
        "--to is `flie:x`",
        "--listen is `nowhere`",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert!(!said.contains("hush-hush"));
}

#[test]
fn what_is_required_depends_on_what_is_set() {
    let said = refused(&AUTOMATIC[..3], &[]);
    for name in ["base_url", "client_id", "client_secret", "monad_api_key"] {
        assert!(said.contains(&format!("`{name}` is missing")), "{name}: {said}");
    }
    assert!(!said.contains("`access_token` is missing"), "{said}");
    assert!(said.contains("public https URL"), "{said}");
    let said = refused(&[AUTH0, "--id", "Acme"], &[]);
    assert!(said.contains("`Acme` is no id"), "{said}");
    let said = refused(&[AUTH0], &[]);
    assert!(said.contains("`input_mode` is missing"), "{said}");
    assert!(!said.contains("base_url"), "{said}");
}

#[test]
fn automatic_mode_wants_a_public_https_url() {
    let without = &AUTOMATIC[..5];
    assert!(refused(without, SECRETS).contains("public https URL"));
    let plain = [without, &["--public-url", "http://logs.example.com"]].concat();
    assert!(refused(&plain, SECRETS).contains("no https address"));
    let loopback = [without, &["--public-url", "http://127.0.0.1:8080"]].concat();
    assert!(refused(&loopback, SECRETS).contains("no https address"));
    let allowed = [&loopback[..], &["--allow-loopback"]].concat();
    configured(&allowed, SECRETS).unwrap();
    let query = [without, &["--public-url", "https://logs.example.com/?a=1"]].concat();
    assert!(refused(&query, SECRETS).contains("more than a host"));
}

#[test]
fn an_empty_secret_is_refused_wherever_it_stands() {
    let folder = folder(&[("empty", "\n"), ("blank", " \t\n\n"), ("crlf", "key\r\n"), ("two", "key\n\n")]);
    let file = |name: &str| format!("monad_api_key=file:{}", folder.path().join(name).display());
    let manual = [AUTH0, "--set", "input_mode=manual"];
    let with = |secret: &str| configured(&[&manual[..], &["--secret", secret]].concat(), &[("EMPTY", "")]);
    assert!(with("monad_api_key=env:EMPTY").unwrap_err().to_string().contains("is empty"));
    assert!(with(&file("empty")).unwrap_err().to_string().contains("is empty"));
    assert!(with(&file("blank")).unwrap_err().to_string().contains("is empty"));
    assert!(with(&file("gone")).unwrap_err().to_string().contains("cannot be read"));
    let said = refused(&manual, &[("FOREBAY_SECRET_MONAD_API_KEY", "")]);
    assert!(said.contains("FOREBAY_SECRET_MONAD_API_KEY is empty"), "{said}");
    let key = |made: Configuration| {
        let secrets = made.instances[0].instance.secrets.read().unwrap().clone();
        secrets["monad_api_key"].current.expose().to_owned()
    };
    assert_eq!(key(with(&file("crlf")).unwrap()), "key");
    assert_eq!(key(with(&file("two")).unwrap()), "key\n");
    let said = with("monad_api_key=hush-hush").unwrap_err().to_string();
    assert!(said.contains("never stands on the command line") && !said.contains("hush-hush"), "{said}");
    let said = with("hush-hush").unwrap_err().to_string();
    assert!(said.contains("has no `=`") && !said.contains("hush-hush"), "{said}");
}

#[test]
fn flags_beat_the_environment_beats_the_file_beats_defaults() {
    let folder = folder(&[(
        "forebay.yaml",
        &format!(
            "data_dir: store\ninstances:\n- connector: {AUTH0}\n  settings: {{input_mode: manual, audience: file}}\n"
        ),
    )]);
    let config = folder.path().join("forebay.yaml").display().to_string();
    let audience = |arguments: &[&str], environment: &[(&str, &str)]| {
        let all = [&["--config", config.as_str()], arguments].concat();
        let made = configured(&all, environment).unwrap();
        made.instances[0].instance.settings["audience"].as_str().unwrap().to_owned()
    };
    let variable = ("FOREBAY_SETTING_AUDIENCE", "env");
    let own = ("FOREBAY_SETTING_AUTH0_LOG_STREAM_AUDIENCE", "own");
    assert_eq!(audience(&[], &[]), "file");
    assert_eq!(audience(&[], &[variable]), "env");
    assert_eq!(audience(&[], &[variable, own]), "own");
    assert_eq!(audience(&["--set", "audience=flag"], &[variable, own]), "flag");
    let made = configured(&["--config", &config], &[]).unwrap();
    assert_eq!(made.data_dir, folder.path().join("store"));
    let made = configured(&["--config", &config, "--data-dir", "here"], &[]).unwrap();
    assert_eq!(made.data_dir, PathBuf::from("here"));
}

#[test]
fn a_source_of_a_secret_that_was_beaten_is_not_looked_at() {
    let folder = folder(&[(
        "forebay.yaml",
        &format!(
            "instances:\n- connector: {AUTH0}\n  settings: {{input_mode: manual}}\n  secrets: {{monad_api_key: {{env: NOT_THERE}}}}\n"
        ),
    )]);
    let config = folder.path().join("forebay.yaml").display().to_string();
    let key = |arguments: &[&str], environment: &[(&str, &str)]| {
        let made = configured(&[&["--config", config.as_str()], arguments].concat(), environment).unwrap();
        let secrets = made.instances[0].instance.secrets.read().unwrap().clone();
        secrets["monad_api_key"].current.expose().to_owned()
    };
    let variable = ("FOREBAY_SECRET_MONAD_API_KEY", "env");
    let flag = ["--secret", "monad_api_key=env:FLAG"];
    assert!(refused(&["--config", &config], &[]).contains("NOT_THERE is not set"));
    assert_eq!(key(&[], &[variable]), "env");
    assert_eq!(key(&flag, &[variable, ("FLAG", "flag")]), "flag");
    assert_eq!(key(&flag, &[("FOREBAY_SECRET_MONAD_API_KEY", ""), ("FLAG", "flag")]), "flag");
}

#[test]
fn one_fault_is_one_message() {
    let said = |arguments: &[&str]| refused(arguments, SECRETS);
    for arguments in [
        [AUTOMATIC, &["--id", "Acme"]].concat(),
        [&AUTOMATIC[..5], &["--public-url", "https://logs.example.com/?a=1"]].concat(),
        [AUTOMATIC, &["--secret", "client_idd=env:NOT_THERE"]].concat(),
    ] {
        let said = said(&arguments);
        assert!(!said.contains("things are wrong"), "{said}");
    }
    let folder = folder(&[(
        "forebay.yaml",
        &format!("instances: [{{id: a, connector: {AUTH0}, settings: {{input_mode: manual}}}}]\n"),
    )]);
    let config = folder.path().join("forebay.yaml").display().to_string();
    let both = refused(&[AUTH0, "--config", &config], &[]);
    assert!(both.contains("both PATH and") && !both.contains("things are wrong"), "{both}");
}

#[test]
fn a_variable_that_gives_nothing_is_a_slip_of_the_pen() {
    let manual = [AUTH0, "--set", "input_mode=manual"];
    let said = refused(&manual, &[("FOREBAY_SETTING_AUDIANCE", "x")]);
    assert!(said.contains("did you mean FOREBAY_SETTING_AUDIENCE?"), "{said}");
    let said = refused(&manual, &[("FOREBAY_SETTING_CLIENT_ID", "x")]);
    assert!(said.contains("it is a secret: FOREBAY_SECRET_CLIENT_ID"), "{said}");
    // One for an instance that is not here shares the environment with this one.
    configured(&manual, &[("FOREBAY_SECRET_GLOBEX_CLIENT_ID", "x")]).unwrap();
}

#[test]
fn what_must_differ_does_and_bounds_let_something_in() {
    let instance =
        |id: &str| format!("- {{id: {id}, connector: {AUTH0}, settings: {{input_mode: manual}}}}\n");
    let same_id = format!("instances:\n{}{}", instance("acme"), instance("acme"));
    let sinks = format!(
        "instances:\n- connector: {AUTH0}\n  settings: {{input_mode: manual}}\n  sinks: [{{name: a, stdout: {{}}}}, {{name: a, file: {{path: x}}}}, {{name: b}}]\n"
    );
    let limits = format!(
        "receiver: {{limits: {{body: 100MiB, depth: 0}}}}\nqueue: {{dead_share: 101}}\ninstances:\n{}",
        instance("acme")
    );
    let bounds = vec!["in_flight is less than", "limits.depth is 0", "dead_share is more than 100"];
    for (text, parts) in [
        (limits, bounds),
        (same_id, vec!["two instances have the id `acme`"]),
        (sinks, vec!["two sinks have the name `a`", "the sink `b` has no target"]),
    ] {
        let folder = folder(&[("forebay.yaml", &text)]);
        let said = refused(&["--config", &folder.path().join("forebay.yaml").display().to_string()], &[]);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let manual = [AUTH0, "--set", "input_mode=manual"];
    let said = refused(&[&manual[..], &["--admin-listen", "127.0.0.1:8080"]].concat(), &[]);
    assert!(said.contains("another port"), "{said}");
    let said = refused(&[&manual[..], &["--to", "file:a", "--to", "file:a"]].concat(), &[]);
    assert!(said.contains("two sinks have the name `file:a`"), "{said}");
}

#[test]
fn a_simulation_makes_up_what_was_not_given() {
    let made = configured(&[AUTH0, "--simulate"], &[]).unwrap();
    let one = &made.instances[0];
    assert!(one.automatic);
    assert!(one.instance.receiver_url.is_none());
    assert_eq!(one.instance.secrets.read().unwrap().len(), 3);
    let base = url::Url::parse("http://127.0.0.1:9/").unwrap();
    let placed = one.instance.at_base(&base).unwrap();
    assert_eq!(placed.receiver_url.unwrap().path(), one.path);
}

#[test]
fn configuration_that_never_ends_is_refused_at_its_bound() {
    let said = refused(&["--config", "/dev/zero"], &[]);
    assert!(said.contains("expected a regular file or a pipe, got a device"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("forebay.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let said = refused(&["--config", &pipe.display().to_string()], &[]);
    assert!(said.contains("does not answer"), "{said}");
}
