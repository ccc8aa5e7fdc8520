//! Promise: acked = delivered + duplicates + dead-lettered, across kill -9 at any point, with three sinks;
//! and the file sink holds no record twice.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::main_job::{event, manual};
use crate::support::{Running, eventually, post};

const KILLS: usize = 50;

/// An HTTP server that keeps every id it took; every seventh request it answers 503 after reading it.
fn collector() -> (String, Arc<Mutex<HashMap<String, u32>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(HashMap::new()));
    let kept = taken.clone();
    std::thread::spawn(move || {
        let count = Arc::new(AtomicU64::new(0));
        for stream in listener.incoming() {
            let (Ok(mut stream), kept, count) = (stream, kept.clone(), count.clone()) else { continue };
            std::thread::spawn(move || {
                let mut buffer = Vec::new();
                let mut chunk = [0; 65536];
                loop {
                    let head = loop {
                        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                            break end + 4;
                        }
                        match stream.read(&mut chunk) {
                            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
                            _ => return,
                        }
                    };
                    let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
                    let length: usize = text
                        .lines()
                        .find_map(|l| l.strip_prefix("content-length:"))
                        .unwrap()
                        .trim()
                        .parse()
                        .unwrap();
                    while buffer.len() < head + length {
                        match stream.read(&mut chunk) {
                            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
                            _ => return,
                        }
                    }
                    let refuse = count.fetch_add(1, Ordering::Relaxed) % 7 == 6;
                    if !refuse {
                        let body = String::from_utf8_lossy(&buffer[head..head + length]).into_owned();
                        let mut kept = kept.lock().unwrap();
                        for line in body.lines() {
                            *kept.entry(id_of(line)).or_insert(0) += 1;
                        }
                    }
                    let status = if refuse { "503 Busy\r\nRetry-After: 0" } else { "200 OK" };
                    if stream
                        .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                        .is_err()
                    {
                        return;
                    }
                    buffer.drain(..head + length);
                }
            });
        }
    });
    (url, taken)
}

fn id_of(record: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(record).unwrap_or_else(|e| panic!("{e}: {record:?}"));
    value["log_id"].as_str().unwrap().to_owned()
}

#[test]
fn no_acked_event_is_lost_by_kill_at_any_point_and_the_file_holds_none_twice() {
    let folder = TempDir::new().unwrap();
    let (collector_url, collected) = collector();
    let start = || {
        let mut command = manual(folder.path());
        command.arg("--to").arg(&collector_url);
        command.arg("--to").arg(format!("file:{}", folder.path().join("second.jsonl").display()));
        Running::start(&mut command, 1)
    };
    let acked = Arc::new(Mutex::new(HashSet::new()));
    let next = Arc::new(AtomicU64::new(0));
    // A small generator: the schedule of kills differs from run to run, and is printed when something is lost.
    let mut random =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let mut schedule = Vec::new();
    for _ in 0..KILLS {
        let mut running = start();
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let (url, stop, acked, next) =
                    (running.urls[0].clone(), stop.clone(), acked.clone(), next.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let first = next.fetch_add(7, Ordering::Relaxed);
                        let ids: Vec<String> = (first..first + 7).map(|n| format!("id-{n}")).collect();
                        let mut lines: Vec<String> = ids.iter().map(|id| event(id)).collect();
                        lines.push("broken".into());
                        match post(
                            &url,
                            &[("x-api-key", "the-key-of-this-test")],
                            lines.join("\n").as_bytes(),
                        ) {
                            Some((200, _)) => acked.lock().unwrap().extend(ids),
                            Some((503, _)) | None => {}
                            Some((status, body)) => panic!("{status} {body}"),
                        }
                    }
                })
            })
            .collect();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let wait = random % 150;
        schedule.push(wait);
        std::thread::sleep(Duration::from_millis(wait));
        running.signal("KILL");
        stop.store(true, Ordering::Relaxed);
        running.wait();
        for sender in senders {
            sender.join().unwrap();
        }
    }

    let running = start();
    let acked = acked.lock().unwrap().clone();
    assert!(acked.len() > KILLS, "hardly anything was sent: {}", acked.len());
    let file = |name: &str| -> Vec<String> {
        std::fs::read_to_string(folder.path().join(name))
            .unwrap_or_default()
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| id_of(line.trim_end()))
            .collect()
    };
    for name in ["out.jsonl", "second.jsonl"] {
        eventually(&format!("every acked id in {name}, kills after {schedule:?} ms"), || {
            let there: HashSet<String> = file(name).into_iter().collect();
            acked.iter().all(|id| there.contains(id))
        });
    }
    eventually(&format!("every acked id at the HTTP sink, kills after {schedule:?} ms"), || {
        let there = collected.lock().unwrap();
        acked.iter().all(|id| there.contains_key(id))
    });
    assert_eq!(running.stop().code(), Some(0));
    for name in ["out.jsonl", "second.jsonl"] {
        let ids = file(name);
        let distinct: HashSet<&String> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "{name} holds a record twice, kills after {schedule:?} ms");
    }
}
