//! A vendor that keeps accounts: what it sent, what was acked, what it must send again; and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::connector::instance::InstanceId;
use forebay::queue::local::{Beside, Filter};
use tempfile::TempDir;

use crate::main_job::{KEY, event};
use crate::support::{Running, eventually, forebay, post, root};

/// What `abort` ends a process with.
const ABORTED: i32 = 6;

/// A request: three new events, one that came before, a line that is broken.
#[derive(Clone)]
struct Request {
    ids: Vec<String>,
    again: Option<String>,
    broken: String,
}

impl Request {
    fn body(&self) -> String {
        let mut lines: Vec<String> = self.ids.iter().chain(&self.again).map(|id| long_event(id)).collect();
        lines.push(self.broken.clone());
        lines.join("\n")
    }
}

/// An event of some length, so that logs fill and files turn.
fn long_event(id: &str) -> String {
    let mut seed = id
        .bytes()
        .fold(0x9e37_79b9_7f4a_7c15_u64, |seed, b| (seed ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let fill: String = (0..100)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:08x}", seed >> 32)
        })
        .collect();
    event(id).replacen(r#""type":"s""#, &format!(r#""type":"s","fill":"{fill}""#), 1)
}

/// One data folder, its file sink, and the vendor's view of both.
pub struct Accounts {
    folder: TempDir,
    next: u64,
    acked: BTreeSet<String>,
    /// Ids that may be sent again: acked, and within the window.
    recent: Vec<String>,
    broken_acked: BTreeSet<String>,
    /// How often each broken line was sent.
    broken_sent: BTreeMap<String, usize>,
    /// Requests without an answer, or with a refusal: sent again at last.
    unanswered: Vec<Request>,
    /// Events that were there before the first run.
    begun: usize,
    /// Lines that 2xx answers spoke of, and those among them that came before.
    accepted: usize,
    duplicates: usize,
}

impl Accounts {
    pub fn new() -> Self {
        Self::with("rotate: {size: 48KiB}")
    }

    /// With this in the file sink's configuration.
    pub fn with(rotate: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let connector = root().join("connectors/auth0-log-stream");
        // A small store has its log copied into the database often.
        let text = format!(
            "data_dir: data\nreceiver: {{listen: 127.0.0.1:0}}\nqueue: {{max_bytes: 8MiB, min_free: 1MiB}}\ninstances:\n  - id: acme\n    connector: {}\n    settings: {{input_mode: manual}}\n    secrets: {{monad_api_key: {{env: KEY}}}}\n    sinks:\n      - {{name: archive, file: {{path: out.jsonl, {rotate}}}}}\n",
            connector.display(),
        );
        std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
        Self {
            folder,
            next: 0,
            acked: BTreeSet::new(),
            recent: Vec::new(),
            broken_acked: BTreeSet::new(),
            broken_sent: BTreeMap::new(),
            unanswered: Vec::new(),
            begun: 0,
            accepted: 0,
            duplicates: 0,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Events that are in the store before the first run.
    pub fn begin_with(&mut self, ids: impl IntoIterator<Item = String>) {
        self.acked.extend(ids);
        self.begun = self.acked.len();
    }

    /// The window of ids may be over for what was sent so far: it is not sent again.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    fn command(&self, points: &str) -> Command {
        let mut command = forebay();
        command.args(["run", "--config"]).arg(self.folder().join("forebay.yaml")).env("KEY", KEY);
        command.env("FAILPOINTS", points).env("RUST_BACKTRACE", "0");
        command
    }

    /// A run with these fault points.
    pub fn start(&self, points: &str) -> Running {
        Running::try_start(&mut self.command(points), 1)
    }

    fn request(&mut self) -> Request {
        let n = self.next;
        self.next += 1;
        let again = (n % 2 == 1).then(|| self.recent.get(n as usize % self.recent.len().max(1)).cloned());
        Request {
            ids: (0..3).map(|m| format!("id-{n}-{m}")).collect(),
            again: again.flatten(),
            broken: format!("broken-{n}"),
        }
    }

    /// Sends one; `None`: nobody answered.
    fn send(&mut self, url: &str, request: &Request) -> Option<bool> {
        *self.broken_sent.entry(request.broken.clone()).or_default() += 1;
        match post(url, &[("x-api-key", KEY)], request.body().as_bytes()) {
            Some((200, answer)) => {
                let count: serde_json::Value = serde_json::from_str(&answer).unwrap();
                let counted = |key: &str| count[key].as_u64().unwrap_or_default() as usize;
                let all = counted("count") + counted("dead");
                assert_eq!(all, request.body().lines().count(), "{answer}");
                self.accepted += request.body().lines().count();
                self.duplicates += usize::from(request.again.is_some());
                self.acked.extend(request.ids.iter().cloned());
                self.recent.extend(request.ids.iter().cloned());
                self.broken_acked.insert(request.broken.clone());
                Some(true)
            }
            Some((503, _)) => Some(false),
            Some((status, body)) => panic!("{status} {body}"),
            None => None,
        }
    }

    /// Sends new requests until nobody answers. Returns how many were refused.
    fn push_until_silence(&mut self, url: &str) -> usize {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut refused = 0;
        loop {
            assert!(Instant::now() < deadline, "the point is never reached");
            let request = self.request();
            match self.send(url, &request) {
                Some(true) => {}
                Some(false) => {
                    refused += 1;
                    self.unanswered.push(request);
                    std::thread::sleep(Duration::from_millis(100));
                }
                None => {
                    self.unanswered.push(request);
                    return refused;
                }
            }
        }
    }

    /// Pushes to a run with these fault points until it is killed by one. Returns how many requests it refused.
    pub fn run_until_killed(&mut self, points: &str) -> usize {
        let mut running = self.start(points);
        let refused = match running.urls.first().cloned() {
            Some(url) => self.push_until_silence(&url),
            None => 0,
        };
        let ended = running.wait();
        assert_eq!(ended.signal(), Some(ABORTED), "{points}: {ended}\n{}", running.said());
        refused
    }

    /// A run that takes a few requests and is asked to stop.
    pub fn run_and_stop(&mut self, points: &str) {
        let mut running = self.start(points);
        if let Some(url) = running.urls.first().cloned() {
            self.push(&url, 10);
            running.signal("TERM");
        }
        let ended = running.wait();
        let expected = (!points.is_empty()).then_some(ABORTED);
        assert_eq!(ended.signal(), expected, "{points}: {ended}\n{}", running.said());
    }

    /// Sends so many new requests, each until it is accepted.
    pub fn push(&mut self, url: &str, requests: usize) {
        for _ in 0..requests {
            let request = self.request();
            self.push_one(url, &request);
        }
    }

    fn push_one(&mut self, url: &str, request: &Request) {
        eventually("the request is accepted", || {
            self.send(url, request).expect("an answer") || {
                std::thread::sleep(Duration::from_millis(100));
                false
            }
        });
    }

    /// The ids in the sink's files, rotated ones included, in no order, torn lines left out.
    pub fn delivered(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let entries: Vec<_> =
            std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in &entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // A file may be compressed already and not removed yet.
            let twin = path.with_file_name(format!("{name}.gz"));
            if !name.starts_with("out.jsonl") || name.ends_with(".tmp") || entries.contains(&twin) {
                continue;
            }
            // Rotation goes on beside the reading: then the next look finds it under its new name.
            let Ok(mut bytes) = std::fs::read(path) else { return Vec::new() };
            if name.ends_with(".gz") {
                let packed = std::mem::take(&mut bytes);
                flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            }
            let text = String::from_utf8(bytes).unwrap();
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                let record: serde_json::Value = serde_json::from_str(line).expect("whole lines");
                ids.push(record["log_id"].as_str().unwrap().to_owned());
            }
        }
        ids
    }

    /// Starts once more, sends again what was not acked, accounts for everything, and lets the test look at the
    /// data folder.
    pub fn settle(mut self, what: &str, look: impl FnOnce(&Path)) {
        let running = self.start("");
        assert_eq!(running.urls.len(), 1, "{what}: it does not start again:\n{}", running.said());
        let url = running.urls[0].clone();
        for request in std::mem::take(&mut self.unanswered) {
            self.push_one(&url, &request);
        }
        self.push(&url, 3);
        let expected = self.acked.clone();
        eventually(&format!("{what}: every acked event is delivered"), || {
            let there: BTreeSet<String> = self.delivered().into_iter().collect();
            expected.is_subset(&there)
        });
        assert_eq!(running.stop().code(), Some(0), "{what}");
        self.balance(what);
        look(&self.folder().join("data"));
    }

    /// Nothing is missing, nothing is there twice, and nothing came from nowhere.
    fn balance(&self, what: &str) {
        let delivered = self.delivered();
        let distinct: BTreeSet<String> = delivered.iter().cloned().collect();
        assert_eq!(delivered.len(), distinct.len(), "{what}: an event is in the files twice");
        assert_eq!(distinct, self.acked, "{what}");
        let dead = self.dead();
        for (line, sent) in &self.broken_sent {
            let kept = dead.iter().filter(|letter| *letter == line).count();
            assert!(
                (1..=*sent).contains(&kept),
                "{what}: {line} was sent {sent} times and kept {kept} times"
            );
        }
        assert!(dead.iter().all(|line| self.broken_sent.contains_key(line)), "{what}: {dead:?}");
        assert!(self.broken_acked.iter().all(|line| dead.contains(line)), "{what}");
        let dead: BTreeSet<String> = dead.into_iter().collect();
        let sum = distinct.len() - self.begun + self.duplicates + dead.len();
        assert_eq!(self.accepted, sum, "{what}: accepted = delivered + duplicates + dead-lettered");
    }

    fn dead(&self) -> Vec<String> {
        let beside = Beside::open(&self.folder().join("data")).unwrap();
        let acme = InstanceId::parse("acme").unwrap();
        let heads = beside.letters(&acme, &Filter::default(), 0, 100_000).unwrap();
        let text = |number| {
            let letter = beside.letter(&acme, number).unwrap().unwrap().letter;
            String::from_utf8(letter.bytes.to_vec()).unwrap()
        };
        heads.iter().map(|head| text(head.number)).collect()
    }
}
