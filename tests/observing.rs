//! Nothing is silent while it runs: what the built binary says on the log, on `/readyz` and in its answers, and that
//! every condition is documented and tested.

use std::path::{Path, PathBuf};
use std::process::Command;

use forebay::condition::Code;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::main_job::{KEY, event, manual};
use crate::support::{Running, eventually, forebay, get, post, root};

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

#[test]
fn queue_that_refuses_is_not_ready_and_says_why() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    // More than is free, and not more than there is, which would end the start.
    let disk = rustix::fs::statvfs(folder.path()).unwrap();
    let queue = format!("queue: {{min_free: {}}}\n", disk.f_blocks * disk.f_frsize - 1);
    let mut command = configured(folder.path(), port, &queue, sink);
    let running = Running::start(&mut command, 1);
    // Before the first event meets it.
    eventually("it is not ready", || ask(port, "readyz").0 == 503);
    let (_, body) = ask(port, "readyz");
    let refuses = condition(&body, "queue_refuses").unwrap();
    let message = refuses["message"].as_str().unwrap();
    assert!(message.contains("must stay free (queue.min_free)"), "{message}");
    assert_eq!((&body["ready"], &body["instances"]["acme"]["ready"]), (&json!(false), &json!(false)));
    let (status, _) = post(&running.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    assert_eq!(status, 503);
    assert_eq!(ask(port, "healthz").0, 200, "a restart cures nothing");
    let metrics = get(&format!("http://127.0.0.1:{port}/metrics"));
    let line = r#"forebay_condition{code="queue_refuses",severity="error",instance="",sink=""} 1"#;
    assert!(metrics.contains(line) && metrics.contains("forebay_ready 0"), "{metrics}");
    eventually("the refusal is shown", || {
        !ask(port, "readyz").1["instances"]["acme"]["last_rejection"].is_null()
    });
    let said = running.said();
    assert!(said.contains(r#"condition="queue_refuses""#) && said.contains("must stay free"), "{said}");
}

#[test]
fn queue_that_takes_again_is_ready_again_without_traffic() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    // A store of 1 MiB, and a sink that takes nothing until its folder can be written.
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let sink = "{name: archive, file: {path: place/out.jsonl}}";
    let mut command = configured(folder.path(), port, "queue: {max_bytes: 1MiB, min_free: 0}\n", sink);
    let running = Running::start(&mut command, 1);
    std::fs::rename(&place, folder.path().join("gone")).unwrap();
    let mut number = 0;
    let mut state = 1_u64;
    eventually("it is full", || {
        let mut pad = String::new();
        for _ in 0..3000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pad.push_str(&format!("{:016x}", state));
        }
        number += 1;
        let body =
            event(&number.to_string()).replace(r#""type":"s""#, &format!(r#""type":"s","pad":"{pad}""#));
        post(&running.urls[0], &[("x-api-key", KEY)], body.as_bytes()).unwrap().0 == 503
    });
    let (status, body) = ask(port, "readyz");
    assert_eq!(status, 503, "{body}");
    assert!(
        condition(&body, "queue_refuses").unwrap()["message"].as_str().unwrap().contains("queue.max_bytes")
    );
    let blocked = condition(&body, "sink_blocked").unwrap();
    assert_eq!((&blocked["instance"], &blocked["sink"]), (&json!("acme"), &json!("archive")));
    assert!(blocked["message"].as_str().unwrap().contains("tried again"), "{blocked}");
    assert_eq!(body["instances"]["acme"]["sinks"]["archive"]["status"], "blocked");
    std::fs::rename(folder.path().join("gone"), &place).unwrap();
    eventually("it is ready again", || ask(port, "readyz").0 == 200);
    let (_, body) = ask(port, "readyz");
    assert_eq!((condition(&body, "queue_refuses"), condition(&body, "sink_blocked")), (None, None));
    assert!(running.said().contains("condition resolved"));
}

#[test]
fn writer_thread_that_ended_fails_healthz() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    let mut command = configured(folder.path(), port, "", sink);
    // The events' own commit is the one that panics: those of the start have no plan.
    command.env("FAILPOINTS", "commit.planned=20*off->panic");
    let running = Running::start(&mut command, 1);
    assert_eq!(ask(port, "healthz").0, 200);
    let mut number = 0;
    eventually("the thread that writes has ended", || {
        number += 1;
        post(&running.urls[0], &[("x-api-key", KEY)], event(&number.to_string()).as_bytes());
        ask(port, "healthz").0 == 503
    });
    let (_, body) = ask(port, "healthz");
    assert_eq!(condition(&body, "writer_stopped").unwrap()["severity"], "error");
    let (status, body) = ask(port, "readyz");
    assert_eq!((status, condition(&body, "writer_stopped").is_some()), (503, true));
}

#[test]
fn dead_letters_that_fill_their_room_are_a_condition_and_good_events_flow() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl}}";
    let mut command =
        configured(folder.path(), port, "queue: {max_bytes: 8MiB, min_free: 0, dead_share: 1}\n", sink);
    let running = Running::start(&mut command, 1);
    let mut number = 0;
    eventually("the room of dead letters is full", || {
        number += 1;
        let body = format!(r#"{{"log_id":"{number}","data":{{"type":"s","pad":"{}"}}}}"#, "x".repeat(10_000));
        post(&running.urls[0], &[("x-api-key", KEY)], body.as_bytes()).unwrap().0 == 503
    });
    let (status, body) = ask(port, "readyz");
    assert_eq!(status, 200, "good events are taken: {body}");
    let full = condition(&body, "dead_letters_full").unwrap();
    assert_eq!(full["instance"], "acme");
    assert!(full["message"].as_str().unwrap().contains("queue.dead_share is 1 %"), "{full}");
    assert_eq!(post(&running.urls[0], &[("x-api-key", KEY)], event("good").as_bytes()).unwrap().0, 200);
    eventually("they are growing", || condition(&ask(port, "readyz").1, "dead_letters_growing").is_some());
    let metrics = get(&format!("http://127.0.0.1:{port}/metrics"));
    assert!(metrics.contains(
        r#"forebay_condition{code="dead_letters_full",severity="error",instance="acme",sink=""} 1"#
    ));
}

#[test]
fn dead_letters_are_a_warning_with_the_command_and_counted_apart() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut run_plain(folder.path()), 1);
    let send = |body: &str| post(&running.urls[0], &[("x-key", KEY)], body.as_bytes()).unwrap();
    let (status, answer) = send(r#"{"id":"1"}"#);
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer, json!({"status": "success", "accepted": 1, "duplicates": 0, "dead": 0}));
    for n in 0..3 {
        let (status, answer) = send(&format!(r#"{{"other":{n}}}"#));
        let answer: Json = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["accepted"], &answer["dead"]), (200, &json!(0), &json!(1)));
    }
    let said = running.said();
    let warned: Vec<&str> = said.lines().filter(|line| line.contains("became dead letters")).collect();
    assert_eq!(warned.len(), 1, "one line a minute: {said}");
    let show = r#"show="forebay dead-letters list --id plain""#;
    assert!(warned[0].contains("WARN") && warned[0].contains(show), "{}", warned[0]);
    assert!(warned[0].contains(r#"reason="schema""#) && warned[0].contains("count=1"), "{}", warned[0]);
    let first: Vec<&str> = said.lines().filter(|line| line.contains("first events received")).collect();
    assert_eq!(first.len(), 1, "{said}");
    assert!(first[0].contains("INFO") && first[0].contains(r#"instance="plain""#), "{}", first[0]);
}

#[test]
fn log_level_comes_from_flags_then_from_the_environment() {
    let said = |flags: &[&str], variable: Option<&str>| {
        let folder = TempDir::new().unwrap();
        let mut command = run_plain(folder.path());
        command.args(flags);
        if let Some(filter) = variable {
            command.env("FOREBAY_LOG", filter);
        }
        let mut running = Running::start(&mut command, 1);
        post(&running.urls[0], &[("x-key", KEY)], br#"{"id":"1"}"#).unwrap();
        post(&format!("{}x", running.urls[0]), &[("x-key", KEY)], b"{}").unwrap();
        // A thread of its own writes the log: it is whole once the process has ended.
        running.signal("TERM");
        assert!(running.wait().success());
        running.said()
    };
    assert!(said(&[], None).contains("INFO first events received"));
    let quiet = said(&[], Some("error"));
    assert_eq!(quiet.lines().count(), 1, "the ready line alone: {quiet}");
    assert!(said(&["--log-level", "info"], Some("error")).contains("INFO first events received"));
    assert!(said(&["-v"], Some("error")).contains("INFO first events received"));
    for (flags, variable) in [(&["--log-level", "loud"][..], None), (&[][..], Some("hyper=trace"))] {
        let folder = TempDir::new().unwrap();
        let mut command = run_plain(folder.path());
        command.args(flags).envs(variable.map(|filter| ("FOREBAY_LOG", filter)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unknown") && said.contains("expected"), "{said}");
    }
}

#[test]
fn json_log_is_json_from_the_first_line_to_the_last_error() {
    let folder = TempDir::new().unwrap();
    let mut command = run_plain(folder.path());
    command.args(["--log-format", "json", "--public-url", "https://logs.example.com"]);
    let running = Running::try_start(&mut command, 0);
    let ready = || running.said().lines().any(|line| line.contains("ready: receiving plain at http://"));
    eventually("the ready line is there", ready);
    running.signal("TERM");
    eventually("it says that it stops", || running.said().contains("stopping"));
    let said = running.said();
    let lines: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line["url"] == "https://logs.example.com/in"), "{said}");
    // An error that ends the start: no secret.
    let mut command = forebay();
    let spec = folder.path().join("plain");
    let output = command.arg("run").arg(spec).args(["--log-format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("key"), "{last}");
}

#[test]
fn changed_configuration_is_named_at_sighup_and_is_a_condition() {
    let (folder, port) = (TempDir::new().unwrap(), port());
    let sink = "{name: archive, file: {path: out.jsonl, rotate: {size: 1GiB}}}";
    let running = Running::start(&mut configured(folder.path(), port, "", sink), 1);
    running.signal("HUP");
    eventually("nothing changed", || running.said().contains("nothing changed since the start"));
    configured(folder.path(), port, "", &sink.replace("1GiB", "2GiB"));
    running.signal("HUP");
    let key = "instances[acme].sinks[archive].file.rotate.size";
    eventually("the change is named", || running.said().contains(key));
    let (status, body) = ask(port, "readyz");
    assert_eq!(status, 200);
    let restart = condition(&body, "restart_needed").unwrap();
    assert!(restart["message"].as_str().unwrap().contains(key), "{restart}");
    configured(folder.path(), port, "", sink);
    running.signal("HUP");
    eventually("it is gone", || condition(&ask(port, "readyz").1, "restart_needed").is_none());
}

#[test]
fn instructions_are_printed_once_and_by_a_command() {
    let folder = TempDir::new().unwrap();
    let start = || {
        let mut command = manual(folder.path());
        command.args(["--public-url", "https://logs.example.com"]);
        Running::start(&mut command, 1)
    };
    let first = start();
    eventually("the instructions", || first.said().contains("curl"));
    assert!(
        first.said().contains(r#"url="https://logs.example.com/api/v2/http/send/acme""#),
        "{}",
        first.said()
    );
    post(&first.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    assert!(first.stop().success());
    let second = start();
    eventually("the command is named", || second.said().contains("`forebay instructions`"));
    assert!(!second.said().contains("curl"), "{}", second.said());
    assert!(second.said().contains("https://logs.example.com/api/v2/http/send/acme"));
    let mut command = forebay();
    command
        .args(["instructions", "connectors/auth0-log-stream", "--set", "input_mode=manual", "--id", "acme"])
        .args(["--secret", "monad_api_key=env:KEY", "--public-url", "https://logs.example.com"])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .env("KEY", KEY);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("curl"), "{text}");
    assert!(!text.contains(KEY), "no terminal, no key: {text}");
}

/// A command that runs as a user without rights, where this test has those of root.
fn as_nobody(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    if rustix::process::geteuid().is_root() { command.uid(65534).gid(65534) } else { command }
}

#[test]
fn permission_denied_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("held.jsonl"), "").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The binary may be below a folder that this user cannot enter.
    let binary = folder.path().join("forebay");
    std::fs::copy(env!("CARGO_BIN_EXE_forebay"), &binary).unwrap();
    let spec = plain(folder.path());
    std::fs::set_permissions(closed.join("held.jsonl"), std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = |data: &Path, more: &[&str]| {
        let mut command = Command::new(&binary);
        command.env_clear().env("KEY", KEY).current_dir(&open).stdin(std::process::Stdio::null());
        command
            .arg("run")
            .arg(&spec)
            .args(["--secret", "key=env:KEY"])
            .arg("--data-dir")
            .arg(data)
            .args(more);
        let output = as_nobody(&mut command).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let user = if rustix::process::geteuid().is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    let any = ["--listen", "127.0.0.1:0"];
    let text = said(&closed.join("data"), &any);
    assert!(text.contains(&format!("user {user} may not create or change the data folder")), "{text}");
    assert!(text.contains("mkdir -p") && text.contains(&format!("chown {user}:")), "{text}");
    let to = |path: &Path| format!("file:{}", path.display());
    for (path, why) in [
        (closed.join("new.jsonl"), "cannot create a file in"),
        (closed.join("held.jsonl"), "cannot append to this file"),
        (closed.clone(), "this is a folder"),
        (folder.path().join("missing/new.jsonl"), "the folder of the file does not exist"),
    ] {
        let text = said(&open.join("data"), &[&any[..], &["--to", &to(&path)]].concat());
        assert!(text.contains(why) && text.contains("help:"), "{why}: {text}");
    }
    // Containers may open low ports to everybody.
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if start.trim() == "1024" {
        let text = said(&open.join("data"), &["--listen", "127.0.0.1:443"]);
        assert!(text.contains("CAP_NET_BIND_SERVICE"), "{text}");
    }
}

/// The rows of the table of conditions in docs/operating.md: code, severity, action.
fn documented() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (_, after) = text.split_once("## Conditions").expect("the section is there");
    let section = after.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.trim_end_matches(" |").split(" | ").map(|cell| cell.replace('`', "")).collect())
        .collect()
}

/// Replaces the rows of the table.
fn write_table(rows: &[Vec<String>]) {
    let path = root().join("docs/operating.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("## Conditions").unwrap();
    let (section, rest) = after.split_once("\n## ").unwrap();
    let kept: Vec<&str> = section.lines().filter(|line| !line.starts_with("| `")).collect();
    let rows = rows
        .iter()
        .map(|row| format!("| `{}` | {} | {} | {} | {} |\n", row[0], row[1], row[2], row[3], row[4]));
    let section = format!("{}\n", kept.join("\n")).replacen(
        "|---|---|---|---|---|\n",
        &format!("|---|---|---|---|---|\n{}", rows.collect::<String>()),
        1,
    );
    std::fs::write(path, format!("{before}## Conditions{}\n\n## {rest}", section.trim_end())).unwrap();
}

/// The keys of a document, down to its leaves; of a map of instances or sinks those of any.
fn keys(at: &str, document: &Json, found: &mut std::collections::BTreeSet<String>) {
    match document {
        Json::Object(map) => {
            for (key, value) in map {
                let key = if at.ends_with("instances") || at.ends_with("sinks") { "*" } else { key };
                keys(&format!("{at}.{key}"), value, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| keys(&format!("{at}[]"), item, found)),
        _ => drop(found.insert(at.to_owned())),
    }
}

#[test]
fn readyz_of_the_docs_has_the_keys_of_a_real_one() {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let example: Json = serde_json::from_str(example).unwrap();
    let (folder, port) = (TempDir::new().unwrap(), port());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let siem = format!("http://{}/in", closed.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in closed.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 65536]);
            let _ = stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let sink = format!("{{name: siem, http: {{url: '{siem}', batch: {{age: 250ms}}}}}}");
    let mut command = configured(folder.path(), port, "", &sink);
    command.arg("--allow-loopback");
    let running = Running::start(&mut command, 1);
    post(&running.urls[0], &[("x-api-key", KEY)], event("1").as_bytes()).unwrap();
    post(&running.urls[0], &[("x-api-key", "wrong")], event("1").as_bytes()).unwrap();
    eventually("the sink is blocked", || condition(&ask(port, "readyz").1, "sink_blocked").is_some());
    eventually("the rejection is shown", || {
        !ask(port, "readyz").1["instances"]["acme"]["last_rejection"].is_null()
    });
    let (status, real) = ask(port, "readyz");
    assert_eq!(status, 200);
    let (mut shown, mut there) = Default::default();
    keys("", &example, &mut shown);
    keys("", &real, &mut there);
    assert_eq!(shown, there);
    let message = condition(&real, "sink_blocked").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("answered 401 Unauthorized; they wait and are tried again"), "{message}");
    assert!(running.said().contains(Code::SinkBlocked.action()));
}

#[test]
fn every_condition_is_in_the_table_of_the_docs() {
    let shown = |text: &str| text.replace('`', "");
    let expected: Vec<Vec<String>> = Code::ALL
        .iter()
        .map(|code| {
            let effect = match (code.restart_cures(), code.refuses_events()) {
                (true, _) => "/healthz and /readyz fail",
                (false, true) => "/readyz fails",
                (false, false) => "listed",
            };
            vec![
                code.name().to_owned(),
                code.severity().name().to_owned(),
                effect.to_owned(),
                shown(code.meaning()),
                shown(code.action()),
            ]
        })
        .collect();
    if std::env::var_os("FOREBAY_UPDATE_DOCS").is_some() {
        write_table(&expected);
    }
    let rows: String = expected
        .iter()
        .map(|row| format!("| `{}` | {} | {} | {} | {} |\n", row[0], row[1], row[2], row[3], row[4]))
        .collect();
    assert_eq!(documented(), expected, "the table in docs/operating.md is to be:\n{rows}");
}

/// Conditions that no test names yet, in the order of the table. Take one out with its test; none is added.
const UNTESTED: &str = "body_limit_low secret_overlap secrets_unsaved secret_short file_blocked instance_leftover ids_forgotten_early";

#[test]
fn every_condition_is_named_in_a_test() {
    let mut texts = Vec::new();
    let mut folders = vec![root().join("tests"), root().join("framework")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let product = path.starts_with(root().join("framework")) && !path.ends_with("tests.rs");
                let tests = if product {
                    text.split_once("#[cfg(test)]").map(|(_, t)| t.to_owned())
                } else {
                    Some(text)
                };
                texts.extend(tests);
            }
        }
    }
    let named = |code: &Code| {
        let (variant, name) = (format!("Code::{code:?}"), format!("\"{}\"", code.name()));
        texts.iter().any(|text| text.contains(&variant) || text.contains(&name))
    };
    let missing: Vec<&str> = Code::ALL.iter().filter(|code| !named(code)).map(|code| code.name()).collect();
    let mut untested: Vec<&str> = UNTESTED.split(' ').collect();
    untested.retain(|name| missing.contains(name));
    assert_eq!(missing, untested, "a new condition needs a test");
}
