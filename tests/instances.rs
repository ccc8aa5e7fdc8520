//! Many instances in one process: what removed and renamed ones leave, and what a thousand cost.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use crate::support::{Running, eventually, forebay, get, post, root};

const SECRET: &str = "s3cr3t-of-the-test-0123456789";
/// A sink that nobody answers.
const DOWN: &str = "{name: x, http: {url: 'http://127.0.0.1:1/'}}";

/// Writes a configuration of generic-http instances, each with its sink.
fn configure(folder: &Path, more: &str, instances: &[(&str, String)]) {
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    private(&folder.join("secret"), 0o600);
    let connector = root().join("connectors/generic-http");
    let mut text = format!("data_dir: data\nreceiver: {{listen: '127.0.0.1:0'}}\n{more}instances:\n");
    for (id, sink) in instances {
        let _ = writeln!(
            text,
            "- {{id: {id}, connector: {}, settings: {{id_at: /id}}, secrets: {{secret: {{file: secret}}}}, sinks: [{sink}]}}",
            connector.display()
        );
    }
    std::fs::write(folder.join("forebay.yaml"), text).unwrap();
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn start(folder: &Path, instances: usize) -> Running {
    Running::start(forebay().args(["run", "--config"]).arg(folder.join("forebay.yaml")), instances)
}

fn send(running: &Running, index: usize, body: &Json) -> u16 {
    post(&running.urls[index], &[("x-api-key", SECRET)], body.to_string().as_bytes()).unwrap().0
}

fn ask(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        forebay().args(arguments).arg("--data-dir").arg(folder.join("data")).output().unwrap();
    let text = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn ids(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["id"].clone()).collect()
}

/// A free port of this machine.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The conditions of `/readyz`: code, instance and item.
fn conditions(port: u16) -> Vec<(String, String, String)> {
    let answer = get(&format!("http://127.0.0.1:{port}/readyz"));
    let document: Json = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let text = |condition: &Json, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    let listed = document["conditions"].as_array().unwrap().iter();
    listed.map(|one| (text(one, "code"), text(one, "instance"), text(one, "item"))).collect()
}

fn blocks(folder: &Path) -> i64 {
    let db = Connection::open(folder.join("data/forebay.db")).unwrap();
    db.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0)).unwrap()
}

#[test]
fn removed_instance_is_reported_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    configure(folder, "", &[("a", DOWN.to_owned()), ("b", DOWN.to_owned())]);
    let running = start(folder, 2);
    for id in 0..10 {
        assert_eq!(send(&running, 0, &json!({"id": id})), 200);
    }
    assert_eq!(send(&running, 1, &json!({"id": 0})), 200);
    let (code, said) = ask(folder, &["instances", "drop", "a", "--force"]);
    assert!(code == 2 && said.contains("runs with the instance `a`"), "{said}");
    let (code, said) = ask(folder, &["instances", "rename", "a", "c"]);
    assert!(code == 2 && said.contains("runs with the instance `a`"), "{said}");
    running.stop();
    std::fs::write(folder.join("data/a-secret.key"), "key").unwrap();

    let admin = port();
    configure(folder, &format!("admin: {{listen: '127.0.0.1:{admin}'}}\n"), &[("b", DOWN.to_owned())]);
    let running = start(folder, 1);
    let removed = ("instance_removed".to_owned(), "a".to_owned(), String::new());
    eventually("the removed instance is reported", || conditions(admin).contains(&removed));
    let expected = "the configuration has no instance `a`, and the store holds 10 undelivered records and 0 dead letters";
    assert!(running.said().contains(expected), "{}", running.said());
    let (_, listed) = ask(folder, &["instances", "list"]);
    assert!(listed.lines().any(|line| line.starts_with("a ") && line.contains("(removed)")), "{listed}");
    let (_, listed) = ask(folder, &["instances", "list", "--format", "json"]);
    let listed: Json = serde_json::from_str(&listed).unwrap();
    let a = &listed["instances"][0];
    assert_eq!((&a["instance"], &a["undelivered"], &a["removed"]), (&json!("a"), &json!(10), &json!(true)));
    let (code, said) = ask(folder, &["instances", "drop", "a"]);
    assert!(
        code == 2 && said.contains("`a` has 10 undelivered records") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(blocks(folder), 11);
    // Beside the process that runs with `b`.
    let (code, said) = ask(folder, &["instances", "drop", "a", "--force"]);
    assert_eq!((code, said.as_str()), (0, "dropped a; it had 10 undelivered records and 0 dead letters\n"));
    assert_eq!(blocks(folder), 1);
    assert!(!folder.join("data/a-secret.key").exists());
    eventually("the condition ends", || !conditions(admin).contains(&removed));
    assert_eq!(send(&running, 0, &json!({"id": 1})), 200);
    running.stop();
    let (code, said) = ask(folder, &["instances", "drop", "a"]);
    assert!(code == 2 && said.contains("knows no instance `a`") && said.contains("it has: b"), "{said}");
}

#[test]
fn renamed_instance_keeps_cursor_ids_letters_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    configure(folder, "", &[("old", DOWN.to_owned())]);
    let running = start(folder, 1);
    for id in 0..5 {
        assert_eq!(send(&running, 0, &json!({"id": id})), 200);
    }
    assert_eq!(post(&running.urls[0], &[("x-api-key", SECRET)], b"{broken").unwrap().0, 200);
    running.stop();
    std::fs::write(folder.join("data/old-secret.key"), "key").unwrap();
    std::fs::write(folder.join("data/old-other-secret.key"), "key of old-other").unwrap();

    // The new id was started first, and has records of its own.
    let sink = format!("{{name: x, file: {{path: {}/out.jsonl}}}}", folder.display());
    configure(folder, "", &[("new", sink.clone())]);
    let running = start(folder, 1);
    assert_eq!(send(&running, 0, &json!({"id": "of new"})), 200);
    let (code, said) = ask(folder, &["instances", "rename", "old", "new"]);
    assert!(code == 2 && said.contains("runs with the instance `new`"), "{said}");
    eventually("it is delivered", || ids(&folder.join("out.jsonl")).len() == 1);
    running.stop();
    let (code, said) = ask(folder, &["instances", "rename", "old", "new"]);
    assert!(
        code == 2 && said.contains("has an instance `new` already") && said.contains("--force"),
        "{said}"
    );
    let (code, said) = ask(folder, &["instances", "rename", "old", "Not an id"]);
    assert!(code == 2 && said.contains("is no id of an instance"), "{said}");
    let (code, said) = ask(folder, &["instances", "rename", "old", "new", "--force"]);
    assert_eq!(
        (code, said.as_str()),
        (0, "renamed old to new; it has 5 undelivered records and 1 dead letters\n")
    );
    assert!(folder.join("data/new-secret.key").exists() && !folder.join("data/old-secret.key").exists());
    assert!(folder.join("data/old-other-secret.key").exists(), "that is the key of another instance");
    std::fs::remove_file(folder.join("out.jsonl")).unwrap();

    let running = start(folder, 1);
    assert_eq!(send(&running, 0, &json!({"id": 3})), 200);
    assert_eq!(send(&running, 0, &json!({"id": "later"})), 200);
    let expected = [json!(0), json!(1), json!(2), json!(3), json!(4), json!("later")];
    eventually("everything is delivered once", || ids(&folder.join("out.jsonl")).len() >= 6);
    assert_eq!(ids(&folder.join("out.jsonl")), expected);
    running.stop();
    let (_, letters) = ask(folder, &["dead-letters", "list", "--id", "new"]);
    assert!(letters.contains("undecodable"), "{letters}");

    // An instance of the former name begins with nothing, and its ids are its own.
    configure(
        folder,
        "",
        &[("new", sink), ("old", format!("{{name: x, file: {{path: {}/old.jsonl}}}}", folder.display()))],
    );
    let running = start(folder, 2);
    assert_eq!(send(&running, 1, &json!({"id": 3})), 200);
    assert_eq!(send(&running, 0, &json!({"id": 4})), 200);
    eventually("it is delivered", || ids(&folder.join("old.jsonl")) == [json!(3)]);
    running.stop();
    assert_eq!(ids(&folder.join("out.jsonl")), expected);
}

#[test]
fn dropped_sink_frees_records_that_nobody_needs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    configure(folder, "", &[("a", DOWN.to_owned())]);
    let running = start(folder, 1);
    for id in 0..10 {
        assert_eq!(send(&running, 0, &json!({"id": id})), 200);
    }
    running.stop();
    assert_eq!(blocks(folder), 10);
    let (code, said) = ask(folder, &["sinks", "drop", "x", "--id", "a"]);
    assert!(code == 0 && said.contains("10 records behind"), "{said}");
    assert_eq!(blocks(folder), 0);
}

#[test]
fn removed_sink_is_reported_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let other = "{name: y, http: {url: 'http://127.0.0.1:1/'}}";
    configure(folder, "", &[("a", format!("{DOWN}, {other}"))]);
    let running = start(folder, 1);
    assert_eq!(send(&running, 0, &json!({"id": 1})), 200);
    running.stop();
    let admin = port();
    configure(folder, &format!("admin: {{listen: '127.0.0.1:{admin}'}}\n"), &[("a", DOWN.to_owned())]);
    let running = start(folder, 1);
    let holds =
        || conditions(admin).iter().any(|(code, instance, _)| code == "sink_removed" && instance == "a");
    eventually("the removed sink is reported", holds);
    assert_eq!(ask(folder, &["sinks", "drop", "y"]).0, 0);
    eventually("the condition ends", || !holds());
    running.stop();
}

#[test]
fn suspicious_files_secrets_and_listeners_are_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let admin = port();
    let more = format!("admin: {{listen: '0.0.0.0:{admin}'}}\nqueue: {{dedupe: {{age: 1m}}}}\n");
    let header = "{name: x, http: {url: 'http://127.0.0.1:1/', headers: {authorization: {env: HEADER}}}}";
    configure(folder, &more, &[("a", header.to_owned()), ("b", DOWN.to_owned())]);
    let text = std::fs::read_to_string(folder.join("forebay.yaml")).unwrap();
    let stripe = format!(
        "- {{id: c, connector: {}, settings: {{input_mode: manual}}, secrets: {{signing_secret: {{env: STRIPE}}}}}}\n",
        root().join("connectors/stripe-events").display()
    );
    let text = text.replace("listen: '127.0.0.1:0'", "listen: '0.0.0.0:0'") + &stripe;
    std::fs::write(folder.join("forebay.yaml"), text).unwrap();
    std::fs::write(folder.join("secret"), "\"x\" \n\n").unwrap();
    private(&folder.join("secret"), 0o666);
    std::fs::create_dir(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/of-somebody"), "").unwrap();
    private(&folder.join("data"), 0o777);
    let mut command = forebay();
    command.args(["run", "--config"]).arg(folder.join("forebay.yaml"));
    command
        .env("HEADER", "Bearer abc ")
        .env("STRIPE", "STRIPE_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let running = Running::start(&mut command, 3);
    let holds = |code: &str, instance: &str, item: &str| {
        conditions(admin).contains(&(code.to_owned(), instance.to_owned(), item.to_owned()))
    };
    for (code, instance, item) in [
        ("listener_without_tls", "", ""),
        ("admin_listener_open", "", ""),
        ("data_dir_open", "", ""),
        ("secret_file_open", "a", "secret"),
        ("secret_suspicious", "a", "secret"),
        ("secret_suspicious", "b", "secret"),
        ("secret_suspicious", "c", "signing_secret"),
        ("secret_suspicious", "a", "authorization"),
        ("secret_weak", "a", "secret"),
        ("dedupe_age_short", "c", ""),
    ] {
        eventually(code, || holds(code, instance, item));
    }
    let said = running.said();
    assert!(said.contains("the secret `secret` ends with a line break, and is in quotes"), "{said}");
    assert!(!said.contains("whsec_MfKQ") && !said.contains("abc"), "{said}");
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    running.signal("HUP");
    eventually("the better secret is noticed", || !holds("secret_suspicious", "a", "secret"));
    assert!(!holds("secret_weak", "a", "secret"));
    assert!(holds("secret_file_open", "a", "secret") && holds("data_dir_open", "", ""));
    private(&folder.join("secret"), 0o600);
    private(&folder.join("data"), 0o700);
    running.signal("HUP");
    eventually("the file is closed", || !holds("secret_file_open", "a", "secret"));
    eventually("the folder is closed", || !holds("data_dir_open", "", ""));
    running.stop();
}

#[test]
fn plan_names_instances_whose_ids_are_forgotten_too_early() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plan = |more: &str| {
        configure(folder, more, &[("a", DOWN.to_owned())]);
        let text = std::fs::read_to_string(folder.join("forebay.yaml")).unwrap();
        let stripe = format!(
            "- {{id: c, connector: {}, settings: {{input_mode: manual}}, secrets: {{signing_secret: {{env: STRIPE}}}}}}\n",
            root().join("connectors/stripe-events").display()
        );
        std::fs::write(folder.join("forebay.yaml"), text + &stripe).unwrap();
        let mut command = forebay();
        command
            .args(["plan", "--config"])
            .arg(folder.join("forebay.yaml"))
            .env("STRIPE", "whsec_MfKQ9r8GKYqrTwjU");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let line = "c: ids are forgotten after 1m, and its sender repeats a request for up to 3d: raise queue.dedupe.age";
    let said = plan("queue: {dedupe: {age: 1m}}\n");
    assert_eq!(said.lines().filter(|said| said.contains("forgotten")).collect::<Vec<_>>(), [line]);
    // Where the file says nothing, ids are remembered as long as the sender repeats; an age that is long enough is no news.
    for more in ["", "queue: {dedupe: {age: 3d}}\n"] {
        assert!(!plan(more).contains("forgotten"), "{more}");
    }
}

/// Processor time that a process took, in clock ticks, and its commits.
fn cost(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn commits(port: u16) -> u64 {
    let metrics = get(&format!("http://127.0.0.1:{port}/metrics"));
    let line = metrics.lines().find(|line| line.starts_with("forebay_sync_seconds_count")).unwrap_or(" 0");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Twenty times the instances take at most twenty-four times the start's processor time, no commit more, and at most
/// three times the processor time of idling.
#[test]
fn many_instances_start_and_idle_cheaply() {
    let mut measured = Vec::new();
    for n in [15, 300] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let admin = port();
        let sink = |k: usize| format!("{{name: x, file: {{path: {}/o{k}.jsonl}}}}", folder.display());
        let names: Vec<String> = (0..n).map(|k| format!("i{k}")).collect();
        let instances: Vec<(&str, String)> =
            names.iter().enumerate().map(|(k, name)| (name.as_str(), sink(k))).collect();
        configure(folder, &format!("admin: {{listen: '127.0.0.1:{admin}'}}\n"), &instances);
        let running = start(folder, n);
        let started = cost(running.pid());
        std::thread::sleep(Duration::from_secs(2));
        let commits = commits(admin);
        let before = cost(running.pid());
        std::thread::sleep(Duration::from_secs(6));
        let idle = cost(running.pid()) - before;
        assert_eq!(send(&running, n - 1, &json!({"id": 1})), 200);
        running.stop();
        measured.push((started, commits, idle));
    }
    println!("start (ticks), commits, idle for 6 s (ticks): {measured:?}");
    let [few, many] = measured[..] else { panic!() };
    assert!(many.0 <= few.0.max(5) * 24, "start: {measured:?}");
    assert!(many.1 <= few.1 + 2, "commits: {measured:?}");
    assert!(many.2 <= few.2.max(5) * 3, "idle: {measured:?}");
}
