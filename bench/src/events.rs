//! Events as a vendor sends them, as requests that are ready to be sent.
//!
//! `load` asks for requests and gives each event an id of its own, patched in place: making a request costs the
//! machine next to nothing, since the generator shares it with what is measured.

use std::io::{self, Error};

/// 97 Auth0 log stream events of a test tenant, one a line; `@ID@` stands where the id goes.
const EVENTS: &str = include_str!("../events.jsonl");
/// What a request begins with; its path comes next.
const METHOD: &str = "POST ";
const HOLE: &str = "@ID@";
/// What a line has before its record.
const ENVELOPE: &str = r#"{"log_id":"@ID@","data":"#;
/// What every id begins with, and what is searched for in a sink's file. An id has 56 digits, as Auth0's have.
pub const ID_BEGINS: &str = "9002000000000000000000000000000000000000";
/// Digits of an id that differ.
pub const ID_ENDS: usize = 16;
/// The key that every server of the benchmark wants to see.
pub const KEY: &str = "the-key-of-the-benchmark";

/// One event: its bytes with a place for the id, twice.
#[derive(Debug)]
struct Template {
    bytes: String,
    /// Where the digits that differ begin.
    ids: Vec<usize>,
    /// Bytes of the record, which is what a sink gets.
    record: usize,
}

/// The events, read once.
#[derive(Debug)]
pub struct Events(Vec<Template>);

/// A request of so many events; only its ids and its path change.
#[derive(Debug, Clone)]
pub struct Request {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// Bytes of the body.
    pub body: usize,
    /// Bytes that a file of JSON Lines gets of it.
    pub delivered: usize,
    /// The places of each event's ids.
    ids: Vec<Vec<usize>>,
}

impl Events {
    /// Reads them.
    pub fn read() -> io::Result<Self> {
        EVENTS.lines().map(Template::read).collect::<io::Result<_>>().map(Self)
    }

    /// Requests that go through all events, `batch` at a time, for paths as long as this one.
    pub fn requests(&self, host: &str, path: &str, batch: usize) -> Vec<Request> {
        let mut events = self.0.iter().cycle();
        let requests = self.0.len().div_ceil(batch);
        (0..requests).map(|_| Request::new(host, path, events.by_ref().take(batch))).collect()
    }
}

impl Template {
    fn read(line: &str) -> io::Result<Self> {
        if !line.starts_with(ENVELOPE) || line.matches(HOLE).count() < 2 {
            return Err(Error::other(format!("no event with a log_id inside and outside: {line:.60}")));
        }
        let mut bytes = String::new();
        let mut ids = Vec::new();
        for (n, piece) in line.split(HOLE).enumerate() {
            if n > 0 {
                bytes.push_str(ID_BEGINS);
                ids.push(bytes.len());
                bytes.extend(std::iter::repeat_n('0', ID_ENDS));
            }
            bytes.push_str(piece);
        }
        let envelope = ENVELOPE.len() - HOLE.len() + ID_BEGINS.len() + ID_ENDS;
        let record = bytes.len() - envelope - 1;
        Ok(Self { bytes, ids, record })
    }
}

impl Request {
    fn new<'a>(host: &str, path: &str, events: impl Iterator<Item = &'a Template>) -> Self {
        let mut body = String::new();
        let mut ids = Vec::new();
        let mut delivered = 0;
        for event in events {
            ids.push(event.ids.iter().map(|at| at + body.len()).collect::<Vec<_>>());
            body.push_str(&event.bytes);
            body.push('\n');
            delivered += event.record + 1;
        }
        let head = head(host, path, body.len());
        for at in ids.iter_mut().flatten() {
            *at += head.len();
        }
        let size = body.len();
        Self { bytes: (head + &body).into_bytes(), body: size, delivered, ids }
    }

    /// A request of one line that is no JSON.
    pub fn broken(host: &str, path: &str) -> Self {
        let body = "{\"log_id\":\"broken\",\"data\":{\n";
        let bytes = (head(host, path, body.len()) + body).into_bytes();
        Self { bytes, body: body.len(), delivered: 0, ids: Vec::new() }
    }

    /// Gives its events the numbers from `first` on, and sends it to another path of the same length.
    pub fn stamp(&mut self, path: &str, first: u64) {
        self.bytes[METHOD.len()..METHOD.len() + path.len()].copy_from_slice(path.as_bytes());
        for (number, places) in (first..).zip(&self.ids) {
            let digits = digits(number);
            for at in places {
                self.bytes[*at..at + ID_ENDS].copy_from_slice(&digits);
            }
        }
    }
}

fn head(host: &str, path: &str, length: usize) -> String {
    format!(
        "{METHOD}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nx-api-key: {KEY}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// The last digits of the id of event `number`.
fn digits(mut number: u64) -> [u8; ID_ENDS] {
    let mut digits = [b'0'; ID_ENDS];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}
