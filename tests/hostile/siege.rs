//! Strangers of every kind at once, against the built binary in a process of its own, while a vendor with the
//! key pushes: every push is answered, and the process stays within the memory that docs/operating.md states.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::main_job::{KEY, event, manual};
use crate::receiving::stage::{read_reply, request};
use crate::support::{HealthWatch, Running, eventually, get, post, root};

/// Pushes of the vendor at least; it goes on until the strangers are through with their paths.
const PUSHES: usize = 200;
/// A push that a crowd of strangers cut off is sent again, as every vendor does; more often is starving.
const TRIES: usize = 5;
/// Different paths that are asked for while everything else goes on; a test of its own asks for a million.
const PATHS: u64 = 50_000;
/// Strangers who ask for paths, and for how many in one go.
const EXPLORERS: u64 = 4;
const AHEAD: u64 = 500;
/// Strangers' connections at once, beside those who come and go: far more than there are seats.
const IDLE: usize = 1000;
const SLOW: usize = 1000;
const ENDLESS: usize = 100;
const DEAF: usize = 40;

/// Where the strangers are sent, and until when.
struct Siege {
    address: String,
    path: String,
    over: AtomicBool,
}

impl Siege {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A connection, tried until it is there.
    async fn connect(&self) -> TcpStream {
        loop {
            match TcpStream::connect(&self.address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Says nothing, and comes back when it is sent away.
    async fn idle(self: Arc<Self>) {
        while !self.over() {
            let mut stream = self.connect().await;
            let _ = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut [0; 64])).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Begins something, goes on with `more` for ever, and comes back when it is sent away.
    async fn trickle(self: Arc<Self>, start: Vec<u8>, more: Vec<u8>) {
        while !self.over() {
            let mut stream = self.connect().await;
            let mut sent = stream.write_all(&start).await;
            while sent.is_ok() && !self.over() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                sent = stream.write_all(&more).await;
            }
        }
    }

    /// Sends something whole, closes its own side, and hears the answer.
    async fn shout(self: Arc<Self>, bytes: Vec<u8>) {
        while !self.over() {
            let mut stream = self.connect().await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut said = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut said)).await;
            assert!(!said.starts_with(b"HTTP/1.1 2"), "a stranger was let in");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends requests ahead and reads no answer.
    async fn deaf(self: Arc<Self>, bytes: Vec<u8>) {
        while !self.over() {
            let mut stream = self.connect().await;
            // The answers fill the way back until nothing more is read from it.
            let flood = async { while stream.write_all(&bytes).await.is_ok() {} };
            let _ = tokio::time::timeout(Duration::from_secs(3), flood).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }

    /// Asks for every path from `next` to `end`, many ahead on one connection; returns when all were answered.
    async fn explore(self: Arc<Self>, mut next: u64, end: u64) {
        while next < end {
            let mut stream = self.connect().await;
            let (mut read, mut write) = stream.split();
            loop {
                let wanted = AHEAD.min(end - next);
                let ask = |n| format!("GET /in/{n}?q={n} HTTP/1.1\r\nhost: h{n}\r\nx-{n}: y\r\n\r\n");
                let text: String = (next..next + wanted).map(ask).collect();
                let mut said = Vec::with_capacity(128 << 10);
                let reading = async {
                    let mut answers = 0;
                    while answers < wanted {
                        match read.read_buf(&mut said).await {
                            Ok(0) | Err(_) => break,
                            Ok(_) => answers = unknown_paths(&said),
                        }
                    }
                    answers
                };
                let (_, answers) = tokio::join!(write.write_all(text.as_bytes()), reading);
                next += answers;
                if answers < wanted || next == end {
                    break;
                }
            }
        }
    }

    /// All of them.
    fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut strangers = JoinSet::new();
        let head = format!("POST {} HTTP/1.1\r\nhost: x\r\n", self.path);
        for _ in 0..IDLE {
            strangers.spawn(self.clone().idle());
        }
        for n in 0..SLOW {
            // Some hold nearly as much of a head as is taken, some want to hold more.
            let long = [0, 15 << 10, 120 << 10][n % 3];
            let start = format!("{head}x-long: {}", "x".repeat(long));
            strangers.spawn(self.clone().trickle(start.into_bytes(), b"y".to_vec()));
        }
        for n in 0..ENDLESS {
            let (start, more) = if n % 2 == 0 {
                (
                    format!("{head}transfer-encoding: chunked\r\n\r\n"),
                    "400\r\n".to_owned() + &"x".repeat(1024) + "\r\n",
                )
            } else {
                (format!("{head}content-length: 16000000\r\n\r\n"), "x".repeat(1024))
            };
            strangers.spawn(self.clone().trickle(start.into_bytes(), more.into_bytes()));
        }
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        (0..256).for_each(|_| bomb.write_all(&[0; 1 << 20]).unwrap());
        let bomb = bomb.finish().unwrap();
        let shouts = [
            request("POST", &self.path, &[("content-encoding", "gzip"), ("x-api-key", "guess")], &bomb),
            format!("{head}big: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
            format!("{head}{}\r\n", (0..5000).map(|n| format!("a{n}: b\r\n")).collect::<String>())
                .into_bytes(),
            // Closed on its own side in the head, in the body, and after a whole request.
            head.clone().into_bytes(),
            format!("{head}content-length: 1000\r\n\r\nx").into_bytes(),
            request("POST", &self.path, &[], &vec![b'x'; 1 << 20]),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ];
        for bytes in shouts {
            for _ in 0..4 {
                strangers.spawn(self.clone().shout(bytes.clone()));
            }
        }
        let long = "y".repeat(8000);
        for n in 0..DEAF {
            let headers = [("long", long.as_str())];
            let ahead = request("GET", "/", if n == 0 { &[] } else { &headers }, b"");
            strangers.spawn(self.clone().deaf(ahead.repeat(100)));
        }
        strangers
    }
}

/// How many answers there are; each has one such line.
fn unknown_paths(said: &[u8]) -> u64 {
    String::from_utf8_lossy(said).matches("HTTP/1.1 404 ").count() as u64
}

/// The vendor: on a connection that it keeps, or on a new one each time.
async fn push(siege: &Siege, kept: &mut Option<TcpStream>, id: &str) {
    let bytes = request("POST", &siege.path, &[("x-api-key", KEY)], event(id).as_bytes());
    for _ in 0..TRIES {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => siege.connect().await,
        };
        if stream.write_all(&bytes).await.is_ok()
            && let Some(reply) = read_reply(&mut stream).await
        {
            assert_eq!(reply.status, 200, "{reply:?}");
            *kept = Some(stream);
            return;
        }
    }
    panic!("push {id} got no answer in {TRIES} tries");
}

/// A figure of the process, in bytes: `VmHWM` is the most that was ever resident.
pub(super) fn memory(running: &Running, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The bound that operators are told.
pub(super) fn stated() -> u64 {
    let text = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let rest = text.split("never take the process beyond ").nth(1).expect("the page states a bound");
    rest.split(' ').next().unwrap().parse::<u64>().unwrap() << 20
}

/// `run` with as many file handles as this takes; this process, where the strangers live, gets them too.
pub(super) fn with_handles(run: Command) -> Command {
    let most = 8192;
    let raised = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), &format!("--nofile={most}:")])
        .status()
        .expect("prlimit is part of util-linux");
    assert!(raised.success(), "this test needs {most} file handles: raise the hard limit (ulimit -Hn)");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]).arg(run.get_program());
    command.args(run.get_args()).current_dir(root()).stdin(Stdio::null());
    command.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// A receiver in a process of its own, and where its figures are.
fn besieged(folder: &TempDir) -> (Running, Arc<Siege>, String) {
    // A port that was free a moment ago: the operator's listener does not say which one it got.
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut run = manual(folder.path());
    run.args(["--admin-listen", &admin]);
    let running = Running::start(&mut with_handles(run), 1);
    let url = running.urls[0].strip_prefix("http://").unwrap();
    let (address, path) = url.split_once('/').unwrap();
    let siege = Siege { address: address.to_owned(), path: format!("/{path}"), over: AtomicBool::new(false) };
    (running, Arc::new(siege), format!("http://{admin}/metrics"))
}

fn rejected(metrics: &str, reason: &str) -> u64 {
    let line = format!("forebay_rejected_total{{instance=\"\",reason=\"{reason}\"}} ");
    let count = metrics.split(&line).nth(1).and_then(|rest| rest.lines().next());
    count.unwrap_or_else(|| panic!("{reason} is not counted:\n{metrics}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_every_kind_at_once_keep_no_vendor_out_and_take_bounded_memory() {
    let folder = TempDir::new().unwrap();
    let (running, siege, admin) = besieged(&folder);
    let health = HealthWatch::start(admin.split('/').nth(2).unwrap());
    let mut strangers = siege.begin();
    let mut explorers = JoinSet::new();
    for n in 0..EXPLORERS {
        let part = PATHS / EXPLORERS;
        explorers.spawn(siege.clone().explore(n * part, (n + 1) * part));
    }
    let (mut pushed, mut kept) = (0, None);
    while pushed < PUSHES || !explorers.is_empty() {
        push(&siege, &mut kept, &format!("kept-{pushed}")).await;
        push(&siege, &mut None, &format!("new-{pushed}")).await;
        pushed += 2;
        while explorers.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let most = memory(&running, "VmHWM");
    println!("{pushed} pushes, {} MB at most", most >> 20);
    assert!(most <= stated(), "{most} bytes were resident");
    tokio::task::spawn_blocking(|| health.within_a_second()).await.unwrap();
    siege.over.store(true, Ordering::Relaxed);
    while let Some(ended) = strangers.join_next().await {
        ended.unwrap();
    }

    let counted = get(&admin);
    assert!(rejected(&counted, "unknown_path") >= PATHS);
    assert!(rejected(&counted, "head_too_large") > 0 && rejected(&counted, "head_malformed") > 0);
    let out = folder.path().join("out.jsonl");
    let delivered = || std::fs::read_to_string(&out).unwrap_or_default().lines().count();
    eventually("every record of the vendor", || delivered() == pushed);
    assert_eq!(running.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_distinct_paths_leave_no_trace() {
    const MILLION: u64 = 1_000_000;
    let folder = TempDir::new().unwrap();
    let (running, siege, admin) = besieged(&folder);
    siege.clone().explore(0, 20_000).await;
    let (before, lines) = (memory(&running, "VmRSS"), get(&admin).lines().count());
    let mut explorers = JoinSet::new();
    for n in 0..EXPLORERS {
        let part = MILLION / EXPLORERS;
        explorers.spawn(siege.clone().explore(20_000 + n * part, 20_000 + (n + 1) * part));
    }
    explorers.join_all().await;
    push(&siege, &mut None, "after").await;
    let after = memory(&running, "VmRSS");
    println!("{} MB before, {} MB after", before >> 20, after >> 20);
    // A word of eight bytes for each of them would show.
    assert!(after < before + (8 << 20), "{before} bytes before, {after} after");
    let counted = get(&admin);
    assert!(rejected(&counted, "unknown_path") >= MILLION);
    // The push brought lines of its own.
    assert!(counted.lines().count() < lines + 100, "{counted}");
    assert!(running.said().len() < 64 << 10, "{}", running.said());
    assert_eq!(running.stop().code(), Some(0));
}

/// A rule for requests that come unsigned looks into JSON that anybody may send. As a tree, a list of half a million
/// numbers took a hundred megabytes.
#[test]
fn a_megabyte_of_numbers_in_a_request_without_the_key_takes_little_memory() {
    let folder = TempDir::new().unwrap();
    let mut run = crate::support::forebay();
    run.args([
        "run",
        "tests/handshakes/azure-event-grid",
        "--secret",
        "key=env:KEY",
        "--listen",
        "127.0.0.1:0",
    ])
    .args([Path::new("--data-dir"), &folder.path().join("data")])
    .args(["--to", &format!("file:{}", folder.path().join("out.jsonl").display())])
    .env("KEY", KEY);
    let running = Running::start(&mut run, 1);
    let ask =
        |body: &[u8]| post(&running.urls[0], &[("aeg-event-type", "SubscriptionValidation")], body).unwrap();
    assert_eq!(
        ask(br#"[{"data": {"validationCode": "abc"}}]"#),
        (200, r#"{"validationResponse":"abc"}"#.to_owned())
    );

    let before = memory(&running, "VmHWM");
    let numbers = format!("[{}0]", "0,".repeat((1 << 19) - 2));
    let last = format!(r#"[{{"data": {{"validationCode": "x"}}}}{}]"#, ",0".repeat((1 << 19) - 30));
    assert_eq!(ask(numbers.as_bytes()).0, 401);
    assert_eq!(ask(last.as_bytes()), (200, r#"{"validationResponse":"x"}"#.to_owned()));
    let after = memory(&running, "VmHWM");
    println!("{} MB before, {} MB after", before >> 20, after >> 20);
    assert!(after < before + (32 << 20), "{before} bytes before, {after} after");
    assert_eq!(running.stop().code(), Some(0));
}

/// The largest request that a sender of the catalogue declares, within the time for which that sender waits.
#[test]
fn largest_declared_body_is_stored_in_bounded_memory_and_time() {
    const MOST: usize = 64 << 20;
    const LINES: usize = 1000;
    const PARTS: usize = 66;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.jsonl");
    let mut run = crate::support::forebay();
    run.args([
        "run",
        "connectors/aws-data-firehose",
        "--secret",
        "access_key=env:KEY",
        "--listen",
        "127.0.0.1:0",
    ]);
    run.arg("--to").arg(format!("file:{}", out.display()));
    run.arg("--data-dir").arg(folder.path().join("data")).env("KEY", KEY);
    let running = Running::start(&mut run, 1);
    let before = memory(&running, "VmHWM");
    // As a producer batches them: a thousand lines in a record, a thousand kilobytes long.
    let line = |n: usize| format!("{{\"n\":\"{n:08}\",\"pad\":\"{}\"}}", "x".repeat(726));
    let part = |part: usize| {
        let lines: Vec<String> = (0..LINES).map(|n| line(part * LINES + n)).collect();
        format!("{{\"data\":\"{}\"}}", data_encoding::BASE64.encode(lines.join("\n").as_bytes()))
    };
    let parts: Vec<String> = (0..PARTS).map(part).collect();
    let body = |id: &str, length: usize| {
        let text =
            format!("{{\"requestId\":\"{id}\",\"timestamp\":1578090901599,\"records\":[{}]", parts.join(","));
        assert!(text.len() > length - (1 << 20), "it is nearly all of it: {}", text.len());
        format!("{text}{}}}", " ".repeat(length - text.len() - 1)).into_bytes()
    };
    let headers = |id: &'static str| {
        [
            ("x-amz-firehose-access-key", KEY),
            ("x-amz-firehose-request-id", id),
            ("content-type", "application/json"),
        ]
    };
    let whole = body("r-1", MOST);
    let began = Instant::now();
    let (status, answer) = post(&running.urls[0], &headers("r-1"), &whole).unwrap();
    let took = began.elapsed();
    assert!(status == 200 && answer.contains("r-1"), "{status} {answer}");
    let most = memory(&running, "VmHWM");
    println!("64 MiB: {took:?}, from {} to {} MiB", before >> 20, most >> 20);
    assert!(took < Duration::from_secs(180), "the sender waits 3 m: {took:?}");
    assert!(most - before < 6 * MOST as u64, "{} MiB", (most - before) >> 20);
    // One byte more is refused by its head.
    let host = running.urls[0].split('/').nth(2).unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let head = request(
        "POST",
        &format!("/{}", running.urls[0].splitn(4, '/').nth(3).unwrap()),
        &headers("r-2"),
        b"",
    );
    let head = String::from_utf8(head)
        .unwrap()
        .replace("content-length: 0", &format!("content-length: {}", MOST + 1));
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let lines = || std::fs::read_to_string(&out).unwrap_or_default();
    crate::support::eventually("everything is delivered", || lines().lines().count() == PARTS * LINES);
    assert!(lines().lines().enumerate().all(|(n, text)| text == line(n)), "in order, byte for byte");
    assert!(running.stop().success());
}
