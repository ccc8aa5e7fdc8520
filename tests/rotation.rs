//! Rotation of secrets through the built binary: whatever is reloaded, restarted or changed beside it, events that carry
//! the value which the vendor still sends are accepted, and a value that leaked ends at once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::main_job::event;
use crate::support::{HealthWatch, Running, eventually, forebay, get, post, root};
use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Fault, Tenant};

/// An automatic instance whose key is in a file.
fn automatic(tenant: &Tenant, folder: &Path) -> Command {
    automatic_as("acme", tenant, folder)
}

fn automatic_as(id: &str, tenant: &Tenant, folder: &Path) -> Command {
    let mut command = forebay();
    command
        .args(["run", "connectors/auth0-log-stream", "--allow-loopback", "--listen", "127.0.0.1:0"])
        .args(["--public-url", "https://logs.example.com", "--set", "input_mode=automatic", "--id", id])
        .arg("--set")
        .arg(format!("base_url={}", tenant.url()))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--secret")
        .arg(format!("monad_api_key=file:{}", folder.join("key").display()))
        .arg("--to")
        .arg(format!("file:{}", folder.join("out.jsonl").display()))
        .env("FOREBAY_SECRET_CLIENT_ID", CLIENT_ID)
        .env("FOREBAY_SECRET_CLIENT_SECRET", CLIENT_SECRET);
    command
}

fn give(folder: &Path, key: &str) {
    std::fs::write(folder.join("key"), format!("{key}\n")).unwrap();
}

fn push(running: &Running, key: &str) -> u16 {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    post(&running.urls[0], &[("x-api-key", key)], event(&id).as_bytes()).unwrap().0
}

/// Sends SIGHUP, and waits until the secrets were read again.
fn reload(running: &Running) {
    let read = || running.said().matches("secrets read again").count();
    let before = read();
    running.signal("HUP");
    eventually("the secrets are read again", || read() > before);
}

/// Has the tenant refuse every update for as long as the test needs.
fn refuse_updates(tenant: &Tenant) {
    for _ in 0..1000 {
        let down = Fault::Answer(503, json!({"message": "maintenance"}));
        tenant.inject(Fault::On(Method::PATCH, Box::new(down)));
    }
}

fn secrets(folder: &Path, arguments: &[&str]) -> String {
    let mut command = forebay();
    let output =
        command.arg("secrets").args(arguments).arg("--data-dir").arg(folder.join("data")).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn former_key_survives_reloads_changes_and_restarts_unconfirmed() {
    let tenant = Tenant::start().await;
    let folder = TempDir::new().unwrap();
    give(folder.path(), "key-one-0123");
    let run = Running::start(&mut automatic(&tenant, folder.path()), 1);
    eventually("the create is saved", || run.said().contains("log_stream created"));
    refuse_updates(&tenant);
    give(folder.path(), "key-two-0123");
    reload(&run);
    for _ in 0..3 {
        assert_eq!((push(&run, "key-one-0123"), push(&run, "key-two-0123")), (200, 200));
        reload(&run);
    }
    // A second change before the vendor has the first.
    give(folder.path(), "key-three-0123");
    reload(&run);
    for key in ["key-one-0123", "key-two-0123", "key-three-0123"] {
        assert_eq!(push(&run, key), 200, "{key}");
    }
    assert_eq!(push(&run, "key-four-0123"), 401);
    assert!(
        run.said().contains("secret_unconfirmed") && run.said().contains("2 values valid"),
        "{}",
        run.said()
    );
    assert!(run.stop().success());
    // A restart in the middle, and one whose key changed while nothing ran.
    for key in ["key-three-0123", "key-four-0123"] {
        give(folder.path(), key);
        let run = Running::start(&mut automatic(&tenant, folder.path()), 1);
        assert_eq!((push(&run, "key-one-0123"), push(&run, key)), (200, 200), "{key}");
        assert!(run.stop().success());
    }
    let list = secrets(folder.path(), &["list"]);
    assert!(list.contains("until the vendor has confirmed"), "{list}");
    assert!(!list.contains("key-"), "{list}");
    // The vendor takes it: the former ones are accepted for the overlap, and then no more.
    tenant.forget_faults();
    let run = Running::start(automatic(&tenant, folder.path()).args(["--rotation-overlap", "4s"]), 1);
    eventually("the vendor confirmed", || run.said().contains("the vendor has the newest values"));
    assert_eq!(push(&run, "key-one-0123"), 200);
    let ended = |code: &str| {
        let code = format!("condition=\"{code}\"");
        run.said().lines().any(|line| line.contains("condition resolved") && line.contains(&code))
    };
    eventually("it is confirmed", || ended("secret_unconfirmed"));
    eventually("the overlap ends", || push(&run, "key-one-0123") == 401);
    eventually("the overlap's condition ends", || ended("secret_overlap"));
    assert_eq!(push(&run, "key-four-0123"), 200);
    assert!(run.said().contains("4 values valid until 2"), "{}", run.said());
    assert!(!run.said().contains("key-one") && !run.said().contains("key-four"), "{}", run.said());
    assert!(run.stop().success());
    tenant.assert_no_strange_request();
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_instance_keeps_its_stream_and_former_secrets() {
    let tenant = Tenant::start().await;
    let folder = TempDir::new().unwrap();
    give(folder.path(), "key-one-0123");
    let run = Running::start(&mut automatic(&tenant, folder.path()), 1);
    eventually("the create is saved", || run.said().contains("log_stream created"));
    let stream = tenant.http_streams()[0]["id"].clone();
    refuse_updates(&tenant);
    give(folder.path(), "key-two-0123");
    reload(&run);
    assert_eq!((push(&run, "key-one-0123"), push(&run, "key-two-0123")), (200, 200));
    assert!(run.stop().success());

    let mut rename = forebay();
    rename.args(["instances", "rename", "acme", "acme-eu", "--data-dir"]).arg(folder.path().join("data"));
    let output = rename.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.starts_with("renamed acme to acme-eu;"), "a free id: {said}");
    let list = secrets(folder.path(), &["list", "--id", "acme-eu"]);
    assert!(list.contains("until the vendor has confirmed"), "{list}");
    let list = secrets(folder.path(), &["list", "--id", "acme"]);
    assert!(!list.contains("until the vendor has confirmed"), "{list}");

    tenant.forget_requests();
    let run = Running::start(&mut automatic_as("acme-eu", &tenant, folder.path()), 1);
    assert_eq!(
        (push(&run, "key-one-0123"), push(&run, "key-two-0123")),
        (200, 200),
        "the vendor has the first"
    );
    assert_eq!(push(&run, "key-three-0123"), 401);
    // Its own URL has another path now: the stream that is known is updated, and no second one is made.
    tenant.forget_faults();
    give(folder.path(), "key-three-0123");
    reload(&run);
    let shown = || tenant.http_streams()[0]["sink"]["httpEndpoint"].as_str().unwrap().to_owned();
    eventually("the stream is updated", || shown().ends_with("/acme-eu"));
    let streams = tenant.http_streams();
    assert_eq!((streams.len(), &streams[0]["id"]), (1, &stream));
    assert!(tenant.writes().iter().all(|asked| asked.method == Method::PATCH), "{:?}", tenant.writes());
    assert!(run.stop().success());
}

/// Two instances in manual mode, each with a key in a file.
fn two(folder: &Path, more: &str) -> Command {
    let root = root().display();
    let instance = |id: &str| {
        format!(
            "  - {{id: {id}, connector: {root}/connectors/generic-http, secrets: {{secret: {{file: k{id}}}}}, sinks: [{{name: x, file: {{path: {id}.jsonl}}}}]}}\n"
        )
    };
    let text = format!(
        "data_dir: data\nreceiver: {{listen: 127.0.0.1:0}}\nadmin: {{listen: 127.0.0.1:{}}}\n{more}instances:\n{}{}",
        free_port(),
        instance("a"),
        instance("b")
    );
    std::fs::write(folder.join("forebay.yaml"), text).unwrap();
    let mut command = forebay();
    command.args(["run", "--config"]).arg(folder.join("forebay.yaml"));
    command
}

#[test]
fn requests_proved_by_a_former_value_are_counted_alone() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ka"), "key-a-one").unwrap();
    std::fs::write(path("kb"), "key-b-one").unwrap();
    let run = Running::start(&mut two(folder.path(), ""), 2);
    let text = std::fs::read_to_string(path("forebay.yaml")).unwrap();
    let admin = text.split("admin: {listen: ").nth(1).unwrap().split('}').next().unwrap().to_owned();
    let counted = |instance: &str| -> Option<u64> {
        let line =
            format!("forebay_former_secret_accepted_total{{instance=\"{instance}\",secret=\"secret\"}} ");
        let metrics = get(&format!("http://{admin}/metrics"));
        metrics.lines().find_map(|found| found.strip_prefix(&line)?.trim().parse().ok())
    };
    assert_eq!((token(&run, 0, "key-a-one"), counted("a")), (200, None));
    std::fs::write(path("ka"), "key-a-two").unwrap();
    reload(&run);
    assert_eq!((token(&run, 0, "key-a-two"), counted("a")), (200, None));
    for n in 1..=3 {
        assert_eq!((token(&run, 0, "key-a-one"), counted("a")), (200, Some(n)));
    }
    assert_eq!((token(&run, 0, "key-a-three"), counted("a")), (401, Some(3)));
    assert_eq!((token(&run, 1, "key-b-one"), counted("b")), (200, None));
    assert!(run.stop().success());
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn token(run: &Running, index: usize, key: &str) -> u16 {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let body = format!("{{\"id\":{id}}}");
    post(&run.urls[index], &[("x-api-key", key)], body.as_bytes()).unwrap().0
}

#[test]
fn manual_key_survives_the_change_of_another_instance_and_a_restart() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ka"), "key-a-one").unwrap();
    std::fs::write(path("kb"), "key-b-one").unwrap();
    let run = Running::start(&mut two(folder.path(), ""), 2);
    std::fs::write(path("ka"), "key-a-two").unwrap();
    reload(&run);
    std::fs::write(path("kb"), "key-b-two").unwrap();
    reload(&run);
    reload(&run);
    assert_eq!((token(&run, 0, "key-a-one"), token(&run, 0, "key-a-two")), (200, 200));
    assert_eq!((token(&run, 1, "key-b-one"), token(&run, 1, "key-b-two")), (200, 200));
    assert!(run.stop().success());
    let run = Running::start(&mut two(folder.path(), ""), 2);
    assert_eq!((token(&run, 0, "key-a-one"), token(&run, 1, "key-b-one")), (200, 200));
    // A value that leaked ends at once, of this instance alone, while it runs.
    let said = secrets(folder.path(), &["end", "secret", "--id", "a"]);
    assert!(said.contains("ended 1 former value"), "{said}");
    eventually("the leaked value ends", || token(&run, 0, "key-a-one") == 401);
    assert_eq!((token(&run, 0, "key-a-two"), token(&run, 1, "key-b-one")), (200, 200));
    let said = secrets(folder.path(), &["end", "nosuch", "--id", "a"]);
    assert!(said.contains("keeps no values of a secret `nosuch`"), "{said}");
    assert!(run.stop().success());
    // An overlap of 0 ends everything, and nothing is kept.
    let run = Running::start(&mut two(folder.path(), "rotation: {overlap: 0s}\n"), 2);
    assert_eq!((token(&run, 1, "key-b-one"), token(&run, 1, "key-b-two")), (401, 200));
    std::fs::write(path("kb"), "key-b-three").unwrap();
    reload(&run);
    eventually("the new one is taken", || token(&run, 1, "key-b-three") == 200);
    assert_eq!(token(&run, 1, "key-b-two"), 401);
    assert!(run.stop().success());
    assert!(secrets(folder.path(), &["list"]).contains("no secrets"));
}

#[test]
fn overlap_of_an_instance_goes_before_that_of_the_process() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (process, own, expected) in [("1h", "0s", (200, 401)), ("0s", "1h", (401, 200))] {
        let _ = std::fs::remove_dir_all(path("data"));
        std::fs::write(path("ka"), "key-a-one").unwrap();
        std::fs::write(path("kb"), "key-b-one").unwrap();
        let mut command = two(folder.path(), &format!("rotation: {{overlap: {process}}}\n"));
        let text = std::fs::read_to_string(path("forebay.yaml")).unwrap();
        let of_b = text.replace("{id: b,", &format!("{{id: b, rotation: {{overlap: {own}}},"));
        assert_ne!(of_b, text);
        std::fs::write(path("forebay.yaml"), of_b).unwrap();
        let run = Running::start(&mut command, 2);
        std::fs::write(path("ka"), "key-a-two").unwrap();
        std::fs::write(path("kb"), "key-b-two").unwrap();
        reload(&run);
        assert_eq!((token(&run, 0, "key-a-two"), token(&run, 1, "key-b-two")), (200, 200));
        assert_eq!(
            (token(&run, 0, "key-a-one"), token(&run, 1, "key-b-one")),
            expected,
            "process: {process}, instance b: {own}"
        );
        assert!(run.stop().success());
    }
}

#[test]
fn list_of_values_verifies_with_each_of_them() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("both"), "key-one-0123\nkey-two-0123\n").unwrap();
    let command = |secret: &str| {
        let mut command = forebay();
        command
            .args(["run", "connectors/generic-http", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--to", "stdout", "--secret"])
            .arg(format!("secret={secret}:{}", folder.path().join("both").display()));
        command
    };
    let output = command("file").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("has several lines") && said.contains("lines:PATH"), "{said}");
    let run = Running::start(&mut command("lines"), 1);
    for key in ["key-one-0123", "key-two-0123"] {
        assert_eq!(token(&run, 0, key), 200, "{key}");
    }
    assert_eq!(token(&run, 0, "key-one-0123\nkey-two-0123"), 400);
    assert_eq!(token(&run, 0, "key-three"), 401);
    assert!(run.stop().success());
    // The same by the configuration, and by two flags.
    let root = root().display();
    let text = format!(
        "data_dir: data2\nreceiver: {{listen: 127.0.0.1:0}}\ninstances:\n  - connector: {root}/connectors/generic-http\n    secrets: {{secret: [{{env: ONE}}, {{env: TWO}}]}}\n"
    );
    std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
    let mut command = forebay();
    command.args(["run", "--config"]).arg(folder.path().join("forebay.yaml"));
    let run = Running::start(command.env("ONE", "key-one-0123").env("TWO", "key-two-0123"), 1);
    assert_eq!((token(&run, 0, "key-one-0123"), token(&run, 0, "key-two-0123")), (200, 200));
    assert!(run.stop().success());
}

/// The same command, whose read(2) of one file hangs for longer than any test: what a network file system does whose
/// server is gone. A pipe would be refused before it is opened.
pub fn hanging(run: &Command, file: &Path) -> Command {
    crate::support::needs_strace();
    let mut command = Command::new("strace");
    // -D: the process that is started is forebay itself.
    command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=read", "-P"]).arg(file);
    command.args(["-e", "inject=read:delay_enter=600000000"]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(root()).env_clear();
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(std::process::Stdio::null());
    command
}

/// What makes the read of a process hang; the process can end once this is dropped.
pub struct Tracer(String);

impl Tracer {
    pub fn of(run: &Running) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t")).unwrap();
        assert_ne!(tracer, "0", "it is not traced");
        Self(tracer.to_owned())
    }

    /// Waits for the end of the process: it has exited when its first thread has. The thread whose read hangs is held by
    /// strace beyond that.
    pub fn end(self, run: &mut Running) -> std::process::ExitStatus {
        let status = || std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
        eventually("the process exits", || status().contains("State:\tZ"));
        drop(self);
        run.wait()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).status();
    }
}

fn fifo(path: &Path) {
    let _ = std::fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn secret_file_that_hangs_stops_neither_events_nor_the_end() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ka"), "key-a-one").unwrap();
    std::fs::write(path("kb"), "key-b-one").unwrap();
    let mut run = Running::start(&mut two(folder.path(), ""), 2);
    let refused = |what: &str, run: &Running| {
        reload(run);
        eventually(what, || run.said().contains("secrets_unread"));
        assert_eq!((token(run, 0, "key-a-one"), token(run, 1, "key-b-one")), (200, 200));
    };
    fifo(&path("ka"));
    refused("a pipe is no file to be read again", &run);
    assert!(run.said().contains("expected a regular file, got a pipe"), "{}", run.said());
    // The file of one instance keeps the others from nothing.
    std::fs::write(path("kb"), "key-b-two").unwrap();
    reload(&run);
    assert_eq!((token(&run, 0, "key-a-one"), token(&run, 1, "key-b-two")), (200, 200));
    run.signal("HUP");
    let began = Instant::now();
    run.signal("TERM");
    assert!(run.wait().success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn secret_whose_read_hangs_stops_neither_events_nor_the_end() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ka"), "key-a-one").unwrap();
    std::fs::write(path("kb"), "key-b-one").unwrap();
    std::fs::write(path("hangs"), "key-a-two").unwrap();
    let mut run = Running::start(&mut hanging(&two(folder.path(), ""), &path("hangs")), 2);
    let tracer = Tracer::of(&run);
    std::fs::remove_file(path("ka")).unwrap();
    std::os::unix::fs::symlink(path("hangs"), path("ka")).unwrap();
    std::fs::write(path("kb"), "key-b-two").unwrap();
    run.signal("HUP");
    // While the read hangs, and after it was given up.
    let answers = || {
        let began = Instant::now();
        assert_eq!((token(&run, 0, "key-a-one"), token(&run, 1, "key-b-one")), (200, 200));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    };
    answers();
    eventually("the file is given up", || {
        answers();
        run.said().contains("does not answer: reading it takes more than 5 s")
    });
    eventually("the other instance has its new key", || token(&run, 1, "key-b-two") == 200);
    assert_eq!((token(&run, 0, "key-a-one"), token(&run, 0, "key-a-two")), (200, 401));
    // The end comes in time though a thread is within read(2).
    run.signal("HUP");
    let began = Instant::now();
    run.signal("TERM");
    assert!(tracer.end(&mut run).success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn log_that_nobody_reads_stops_neither_events_nor_health_nor_the_end() {
    use std::io::Read;
    use std::process::Stdio;

    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("key"), "key-one-0123").unwrap();
    let (port, admin) = (free_port(), free_port());
    let mut command = forebay();
    command
        .args(["run", "connectors/generic-http", "--log-format", "json", "--to", "stdout", "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .arg("--secret")
        .arg(format!("secret=file:{}", folder.path().join("key").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/in/generic-http");
    eventually("it serves", || post(&url, &[("x-api-key", "key-one-0123")], br#"{"id":0}"#).is_some());
    // Each SIGHUP is a line: the pipe, then the room for lines, is full. Nobody reads.
    std::fs::write(folder.path().join("key"), "").unwrap();
    let pid = child.id().to_string();
    let hup = |times: usize| {
        for _ in 0..times {
            assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let health = HealthWatch::start(&format!("127.0.0.1:{admin}"));
    let began = Instant::now();
    let mut n = 0;
    while began.elapsed() < Duration::from_secs(3) {
        hup(20);
        n += 1;
        let body = format!("{{\"id\":{n}}}");
        let (status, _) = post(&url, &[("x-api-key", "key-one-0123")], body.as_bytes()).unwrap();
        assert_eq!(status, 200);
        let _ = post(&url, &[("x-api-key", "wrong")], b"{}");
    }
    health.within_a_second();
    let began = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("ready: receiving"), "{said}");
}

#[test]
fn header_of_a_sink_changes_with_its_file_on_sighup() {
    use std::io::{Read, Write};

    let folder = TempDir::new().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = listener.local_addr().unwrap();
    let (send, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut chunk = [0; 4096];
            while !head.ends_with(b"}\n") {
                let n = stream.read(&mut chunk).unwrap();
                if n == 0 {
                    break;
                }
                head.extend_from_slice(&chunk[..n]);
            }
            let text = String::from_utf8(head).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("x-token: ")).map(str::to_owned);
            let _ = send.send(line.unwrap_or_default());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    std::fs::write(folder.path().join("token"), "token-one-0123\n").unwrap();
    let root = root().display();
    let text = format!(
        "data_dir: data\nreceiver: {{listen: 127.0.0.1:0}}\ninstances:\n  - connector: {root}/connectors/generic-http\n    secrets: {{secret: {{env: KEY}}}}\n    sinks: [{{name: siem, http: {{url: {{env: SINK}}, headers: {{x-token: {{file: token}}}}, batch: {{age: 50ms}}}}}}]\n"
    );
    std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
    let mut command = forebay();
    command.args(["run", "--config"]).arg(folder.path().join("forebay.yaml"));
    command.env("KEY", "key-one-0123").env("SINK", format!("http://{sink}/in"));
    let run = Running::start(&mut command, 1);
    let next = || shown.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(token(&run, 0, "key-one-0123"), 200);
    assert_eq!(next(), "token-one-0123");
    std::fs::write(folder.path().join("token"), "token-two-0123\n").unwrap();
    reload(&run);
    assert_eq!(token(&run, 0, "key-one-0123"), 200);
    assert_eq!(next(), "token-two-0123");
    assert!(!run.said().contains("0123"), "{}", run.said());
    assert!(run.stop().success());
}

#[test]
fn former_public_url_is_accepted_for_the_overlap() {
    // A vendor that signs the URL that it posts to, as Twilio does.
    let folder = TempDir::new().unwrap();
    let connector = folder.path().join("signer");
    std::fs::create_dir(&connector).unwrap();
    let schema = r#"{"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}"#;
    std::fs::write(connector.join("record.json"), schema).unwrap();
    std::fs::write(connector.join("sample.json"), r#"{"id": "1", "type": "s"}"#).unwrap();
    let spec = "forebay: 1\nname: signer\ntitle: Signer\nvendor: Signer\nsummary: Signs URLs.\n\
        secrets: {key: {title: Key, description: The key., required: true}}\n\
        receiver:\n  path: /in\n  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.url }}\", signature: {header: x-signature, encoding: hex}}\n  \
        decode: {format: json}\n  event: {id: /id}\n\
        output: {schema: record.json}\nsamples: [sample.json]\n";
    std::fs::write(connector.join("connector.yaml"), spec).unwrap();
    let start = |url: &str| {
        let mut command = forebay();
        command
            .arg("run")
            .arg(&connector)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--to",
                "stdout",
                "--public-url",
                url,
                "--secret",
                "key=env:KEY",
            ])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .env("KEY", "key-one-0123");
        Running::start(&mut command, 1)
    };
    let send = |run: &Running, base: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key-one-0123");
        let tag = HEXLOWER.encode(hmac::sign(&key, format!("{base}/in").as_bytes()).as_ref());
        post(&run.urls[0], &[("x-signature", &tag)], br#"{"id":"1","type":"s"}"#).unwrap().0
    };
    let run = start("https://a.example.com");
    assert_eq!(send(&run, "https://a.example.com"), 200);
    assert!(run.stop().success());
    let run = start("https://b.example.com");
    assert_eq!(send(&run, "https://b.example.com"), 200);
    assert_eq!(send(&run, "https://a.example.com"), 200, "the vendor still uses the former URL");
    assert_eq!(send(&run, "https://c.example.com"), 401);
    let said = secrets(folder.path(), &["end", "receiver.url"]);
    assert!(said.contains("ended 1 former value"), "{said}");
    eventually("the former URL ends", || send(&run, "https://a.example.com") == 401);
    assert!(run.stop().success());
}

#[test]
fn process_memory_is_kept_from_core_dumps() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("key"), "key-one-0123").unwrap();
    let start = |allowed: bool| {
        let mut command = forebay();
        command
            .args([
                "run",
                "connectors/generic-http",
                "--listen",
                "127.0.0.1:0",
                "--to",
                "stdout",
                "--data-dir",
            ])
            .arg(folder.path().join("data"))
            .arg("--secret")
            .arg(format!("secret=file:{}", folder.path().join("key").display()));
        if !allowed {
            command.env_remove("FOREBAY_CORE_DUMPS");
        }
        Running::start(&mut command, 1)
    };
    let limits = |run: &Running| std::fs::read_to_string(format!("/proc/{}/limits", run.pid())).unwrap();
    let core = |limits: String| limits.lines().find(|line| line.starts_with("Max core")).unwrap().to_owned();
    let run = start(false);
    let line = core(limits(&run));
    assert_eq!(line.split_whitespace().nth(4), Some("0"), "{line}");
    assert_eq!(line.split_whitespace().nth(5), Some("0"), "{line}");
    assert!(run.stop().success());
    let run = start(true);
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(core(limits(&run)), core(own));
    assert!(run.stop().success());
}

#[test]
fn credentials_on_the_command_line_are_refused_and_never_repeated() {
    let folder = TempDir::new().unwrap();
    let key: PathBuf = folder.path().join("key");
    std::fs::write(&key, "key-one-0123").unwrap();
    let said = |more: &[&str], environment: &[(&str, &str)]| {
        let mut command = forebay();
        command
            .args(["run", "connectors/generic-http", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--secret")
            .arg(format!("secret=file:{}", key.display()))
            .args(more)
            .envs(environment.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains("pa55word"), "{said}");
        said
    };
    for (proxy, part) in [
        ("http://user:pa55word@127.0.0.1:3128", "holds a user or a password"),
        ("http://user:pa55word@127.0.0.1:99999", "http://****@127.0.0.1:99999"),
        ("socks5://user:pa55word@h:1", "socks5://****@h:1"),
        ("user:pa55word@h:3128", "****@h:3128"),
    ] {
        let said = said(&["--proxy", proxy], &[]);
        assert!(said.contains(part), "{said}");
    }
    let bad = said(&[], &[("FOREBAY_PROXY", "http://user:pa55word@127.0.0.1:99999")]);
    assert!(bad.contains("FOREBAY_PROXY is `http://****@127.0.0.1:99999`"), "{bad}");
    let token = said(&["--to", "https://siem.example.com/in?token=pa55word"], &[]);
    assert!(token.contains("--to has `?token=`") && token.contains("--to env:VAR"), "{token}");
    let wrong = said(&["--to", "env:SINK"], &[("SINK", "siem.example.com/pa55word")]);
    assert!(wrong.contains("--to env:SINK: expected an absolute URL"), "{wrong}");
}
