//! Nothing is silent while it runs: what the built binary says on the log, on `/readyz` and in its answers, and that
//! every condition is documented and tested.

mod conditions;
mod documented;
mod logging;
mod readiness;
mod secrets;

use std::path::{Path, PathBuf};
use std::process::Command;

use forebay::condition::{Code, Subject};
use serde_json::Value as Json;

use crate::main_job::KEY;
use crate::support::{forebay, get, root};

/// A spec without `respond`, in a folder of its own.
fn plain(folder: &Path) -> PathBuf {
    let path = folder.join("plain");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(
        path.join("connector.yaml"),
        "forebay: 1\nname: plain\ntitle: Plain\nvendor: Somebody\nsummary: Takes events.\n\
         secrets:\n  key: {title: Key, required: true, description: A key.}\n\
         receiver:\n  path: /in\n  \
         verify: {kind: token, header: x-key, equals: \"{{ secrets.key }}\"}\n  \
         decode: {format: json_lines, also: [json]}\n  event: {id: /id}\n\
         output: {schema: schema.json}\n",
    )
    .unwrap();
    std::fs::write(path.join("schema.json"), r#"{"type":"object","required":["id"]}"#).unwrap();
    path
}

fn run_plain(folder: &Path) -> Command {
    let mut command = forebay();
    command.arg("run").arg(plain(folder)).args(["--secret", "key=env:KEY", "--listen", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(folder.join("data")).env("KEY", KEY);
    command.arg("--to").arg(format!("file:{}", folder.join("out.jsonl").display()));
    command
}

/// A port that was free just now.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Status and document of an operator's question.
fn ask(port: u16, path: &str) -> (u16, Json) {
    let answer = get(&format!("http://127.0.0.1:{port}/{path}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Json::Null))
}

fn condition(document: &Json, code: &str) -> Option<Json> {
    document["conditions"].as_array().unwrap().iter().find(|one| one["code"] == code).cloned()
}

/// A configuration of one instance of the Auth0 connector in manual mode, with more on top.
fn configured(folder: &Path, port: u16, more: &str, sinks: &str) -> Command {
    let connector = root().join("connectors/auth0-log-stream");
    std::fs::write(
        folder.join("forebay.yaml"),
        format!(
            "data_dir: data\nreceiver: {{listen: 127.0.0.1:0}}\nadmin: {{listen: 127.0.0.1:{port}}}\n{more}\
             instances:\n  - id: acme\n    connector: {}\n    settings: {{input_mode: manual}}\n    \
             secrets: {{monad_api_key: {{env: KEY}}}}\n    sinks:\n      - {sinks}\n",
            connector.display()
        ),
    )
    .unwrap();
    let mut command = forebay();
    command.args(["run", "--config"]).arg(folder.join("forebay.yaml")).env("KEY", KEY);
    command
}

/// The conditions of one code on `/readyz`: what each is about, and its message.
fn held(port: u16, code: Code) -> Vec<(Subject, String)> {
    let (_, document) = ask(port, "readyz");
    let listed = document["conditions"].as_array().unwrap().iter().filter(|one| one["code"] == code.name());
    let text = |one: &Json, key: &str| one[key].as_str().map(str::to_owned);
    let about = |one: &Json| Subject {
        instance: text(one, "instance"),
        sink: text(one, "sink"),
        item: text(one, "item"),
    };
    listed.map(|one| (about(one), text(one, "message").unwrap())).collect()
}

/// A configuration of instances of the generic-http connector, each with its key in a file `k-ID` and its sink in a file
/// `ID.jsonl`, with more on top.
fn keyed(folder: &Path, port: u16, more: &str, ids: &[&str]) -> Command {
    let connector = root().join("connectors/generic-http");
    let instance = |id: &&str| {
        format!(
            "  - {{id: {id}, connector: {}, secrets: {{secret: {{file: k-{id}}}}}, sinks: [{{name: archive, file: \
             {{path: {id}.jsonl}}}}]}}\n",
            connector.display()
        )
    };
    let text = format!(
        "data_dir: data\nreceiver: {{listen: 127.0.0.1:0}}\nadmin: {{listen: 127.0.0.1:{port}}}\n{more}instances:\n{}",
        ids.iter().map(instance).collect::<String>()
    );
    std::fs::write(folder.join("forebay.yaml"), text).unwrap();
    let mut command = forebay();
    command.args(["run", "--config"]).arg(folder.join("forebay.yaml"));
    command
}
