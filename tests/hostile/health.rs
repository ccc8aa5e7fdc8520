//! Health of the built binary under each attack of the security report: `/healthz` is asked ten times a second, and every
//! answer comes within a second.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use flate2::Compression;
use flate2::write::GzEncoder;
use h2::Reason;
use tempfile::TempDir;

use crate::admission::http2::{begin, handshake, send};
use crate::main_job::KEY;
use crate::support::{HealthWatch, Running, eventually, forebay, post, root};
use crate::tls::Pair;

/// How long each attack goes on.
const ATTACK: Duration = Duration::from_secs(4);

/// The binary with one instance `a`, in a folder of its own.
struct Attacked {
    running: Running,
    folder: TempDir,
    admin: String,
}

impl Attacked {
    /// `receiver` and `top` are more of the configuration.
    fn start(folder: TempDir, connector: &Path, (receiver, top): (&str, &str), secret: &str) -> Self {
        // A port that was free a moment ago: the operator's listener does not say which one it got.
        let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let text = format!(
            "data_dir: data\nreceiver: {{listen: 127.0.0.1:0{receiver}}}\nadmin: {{listen: '{admin}'}}\n{top}instances:\n  \
             - {{id: a, connector: {}, secrets: {{{secret}: {{file: key}}}}, sinks: [{{name: x, file: {{path: out.jsonl}}}}]}}\n",
            connector.display()
        );
        std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        let mut command = forebay();
        command.args(["run", "--config"]).arg(folder.path().join("forebay.yaml"));
        Self { running: Running::start(&mut command, 1), folder, admin }
    }

    /// The connector for anything that sends JSON with the key in a header.
    fn generic(top: &str) -> Self {
        let folder = TempDir::new().unwrap();
        Self::start(folder, &root().join("connectors/generic-http"), ("", top), "secret")
    }

    /// A connector with this receiver and this schema.
    fn of(receiver: &str, schema: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let connector = folder.path().join("probe");
        std::fs::create_dir(&connector).unwrap();
        let spec = format!(
            "forebay: 1\nname: probe\ntitle: Probe\nvendor: Probe\nsummary: Probes.\n\
             secrets: {{key: {{title: Key, description: The key.}}}}\nreceiver:\n  path: /in\n{receiver}  \
             decode: {{format: json}}\n  event: {{id: /id}}\noutput: {{schema: record.json}}\nsamples: [sample.json]\n"
        );
        std::fs::write(connector.join("connector.yaml"), spec).unwrap();
        std::fs::write(connector.join("record.json"), schema).unwrap();
        std::fs::write(connector.join("sample.json"), r#"{"id": "1"}"#).unwrap();
        Self::start(folder, &connector, ("", ""), "key")
    }

    fn url(&self) -> &str {
        &self.running.urls[0]
    }

    fn address(&self) -> &str {
        self.url().split('/').nth(2).unwrap()
    }

    fn watch(&self) -> HealthWatch {
        HealthWatch::start(&self.admin)
    }

    /// Does something again and again on so many threads at once, for as long as an attack lasts; gives how often.
    fn attack(&self, threads: usize, act: impl Fn(usize) + Sync) -> usize {
        let (watch, begun) = (self.watch(), Instant::now());
        let times = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while begun.elapsed() < ATTACK {
                        act(times.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
        watch.within_a_second();
        times.into_inner()
    }
}

/// H3.
#[test]
fn connects_of_one_address_do_not_delay_health() {
    let attacked = Attacked::generic("");
    let address = attacked.address();
    let times = attacked.attack(32, |_| {
        let held: Vec<_> = (0..20).filter_map(|_| std::net::TcpStream::connect(address).ok()).collect();
        drop(held);
    });
    assert!(times * 20 > 1000, "{times}");
}

/// Requests sent ahead on many connections that read no answer.
#[test]
fn requests_sent_ahead_do_not_delay_health() {
    let attacked = Attacked::generic("");
    let address = attacked.address();
    let head = format!("GET /nowhere HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "y".repeat(8000)).repeat(50);
    let times = attacked.attack(100, |_| {
        let Ok(mut stream) = std::net::TcpStream::connect(address) else { return };
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < ATTACK / 4 && stream.write_all(head.as_bytes()).is_ok() {}
    });
    assert!(times >= 100, "{times}");
}

/// L9.
#[test]
fn many_signatures_over_large_bodies_do_not_delay_health() {
    let key = HEXLOWER.encode(Ed25519KeyPair::generate().unwrap().public_key().as_ref());
    let verify = format!(
        "  verify:\n    kind: public_key\n    algorithm: ed25519\n    key_format: hex\n    key: \"{key}\"\n    \
         message: \"{{{{ request.body }}}}\"\n    signature: {{header: X-Sign, encoding: base64, format: list, separator: ' '}}\n"
    );
    let attacked = Attacked::of(&verify, r#"{"type": "object"}"#);
    let wrong = vec![BASE64.encode(&[7; 64]); 32].join(" ");
    let large = format!("\"{}\"", "a".repeat(15 << 20));
    attacked.attack(4, |_| {
        let _ = post(attacked.url(), &[("x-sign", &wrong)], large.as_bytes());
    });
    let small = "\"a\"";
    let times = attacked.attack(8, |_| {
        let _ = post(attacked.url(), &[("x-sign", &wrong)], small.as_bytes());
    });
    assert!(times > 8, "{times}");
}

/// M6 and L10: records that a schema takes long to check, large ones and small ones.
#[test]
fn records_that_take_many_steps_do_not_delay_health() {
    let patterns: Vec<String> =
        (0..300).map(|n| format!(r#""^[a-z]*{n}[a-z]*$": {{"type": "integer"}}"#)).collect();
    let schema = format!(r#"{{"type": "object", "patternProperties": {{{}}}}}"#, patterns.join(","));
    let verify = "  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
    let attacked = Attacked::of(verify, &schema);
    for (threads, keys) in [(4, 3000), (8, 200)] {
        let members: String = (0..keys).map(|n| format!(r#","{}{n}":{n}"#, "abcdefgh".repeat(20))).collect();
        let times = attacked.attack(threads, |n| {
            let body = format!(r#"{{"id":"{n}"{members}}}"#);
            let answer = post(attacked.url(), &[("x-api-key", KEY)], body.as_bytes());
            assert_eq!(answer.unwrap().0, 200);
        });
        assert!(times > 1, "{times}");
    }
}

/// M8.
#[test]
fn reader_with_an_open_transaction_does_not_delay_health() {
    let attacked = Attacked::generic("queue: {max_bytes: 256MiB}\n");
    let noise = || {
        let mut bytes = vec![0; 1 << 20];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        BASE64.encode(&bytes)
    };
    let deliver = |n: usize| {
        let body = format!(r#"{{"id":{n},"x":"{}"}}"#, noise());
        let answer = post(attacked.url(), &[("x-api-key", KEY)], body.as_bytes()).unwrap();
        assert_eq!(answer.0, 200, "{answer:?}");
    };
    deliver(1_000_000);
    let reader = rusqlite::Connection::open(attacked.folder.path().join("data/forebay.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM blocks;").unwrap();
    let watch = attacked.watch();
    let mut n = 0;
    // Until the log should have started over long ago, and for a while after that.
    while !attacked.running.said().contains("checkpoint_blocked") {
        assert!(n < 200, "the reader keeps the log from nothing: {}", attacked.running.said());
        deliver(n);
        n += 1;
    }
    for more in 0..20 {
        deliver(n + more);
    }
    watch.within_a_second();
    drop(reader);
}

/// M1: verified bodies that inflate to nearly what is allowed, whose streams are reset once they are sent.
#[tokio::test(flavor = "multi_thread")]
async fn reset_streams_do_not_delay_health() {
    let attacked = Attacked::generic("");
    let body = Bytes::from(gzip(format!(r#"{{"id":"g","a":"{}"}}"#, "x".repeat(63 << 20)).as_bytes()));
    let stream = tokio::net::TcpStream::connect(attacked.address()).await.unwrap();
    let mut client = handshake(stream).await;
    let (path, watch, begun) = (
        format!("/{}", attacked.url().split('/').skip(3).collect::<Vec<_>>().join("/")),
        attacked.watch(),
        Instant::now(),
    );
    let mut reset = 0;
    while begun.elapsed() < ATTACK * 2 {
        let headers = [("x-api-key", KEY), ("content-encoding", "gzip")];
        let (answer, mut stream) = begin(&mut client, &path, &headers, false).await;
        send(&mut stream, body.clone(), true).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.send_reset(Reason::CANCEL);
        drop(answer);
        reset += 1;
    }
    tokio::task::spawn_blocking(|| watch.within_a_second()).await.unwrap();
    assert!(reset > 20, "{reset}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// M2.
#[test]
fn large_compressed_bodies_do_not_delay_health() {
    let attacked = Attacked::generic("");
    let line = |n: usize| {
        let mut noise = vec![0; 3000];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        format!(r#"{{"id":"{n}","x":"{}{}"}}"#, BASE64.encode(&noise), "a".repeat(8000))
    };
    let lines: Vec<String> = (0..4000).map(line).collect();
    let body = gzip(format!("[{}]", lines.join(",")).as_bytes());
    assert!(body.len() > 8 << 20, "{}", body.len());
    let headers = [("x-api-key", KEY), ("content-encoding", "gzip")];
    let times = attacked.attack(6, |_| {
        let (status, _) = post(attacked.url(), &headers, &body).unwrap();
        assert!(status == 200 || status == 503, "{status}");
    });
    assert!(times >= 6, "{times}");
}

/// L2: the certificate, its key and a secret are on a file system that does not answer.
#[test]
fn files_that_hang_do_not_delay_health() {
    let folder = TempDir::new().unwrap();
    let (pair, _) = Pair::new();
    let tls =
        format!(", tls: {{certificate: {}, key: {}}}", pair.certificate().display(), pair.key().display());
    let generic = root().join("connectors/generic-http");
    let attacked = Attacked::start(folder, &generic, (&tls, ""), "secret");
    let watch = attacked.watch();
    for path in [pair.certificate(), pair.key(), attacked.folder.path().join("key")] {
        std::fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    }
    attacked.running.signal("HUP");
    eventually("the secret is not read", || attacked.running.said().contains("secrets_unread"));
    eventually("the certificate is not read", || attacked.running.said().contains("cert.pem"));
    watch.within_a_second();
}

/// That these tests can fail.
#[test]
fn health_watch_notices_an_answer_that_is_late_or_none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let answering = std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if n == 5 {
                std::thread::sleep(Duration::from_millis(1100));
            }
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let watch = HealthWatch::start(&admin);
    std::thread::sleep(Duration::from_secs(3));
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch.within_a_second()));
    let noticed = *noticed.unwrap_err().downcast::<String>().unwrap();
    assert!(noticed.contains("200 OK") && noticed.contains("after 1.1"), "{noticed}");
    over.store(true, Ordering::Relaxed);
    let _ = std::net::TcpStream::connect(&admin);
    answering.join().unwrap();
}
