//! Requests to another server: JSON Lines or arrays, in portions it can bear.
//!
//! The statuses decide: 2xx is done; 408, 429, 5xx and broken connections come again; 413 halves the
//! portion; 400 and 422 halve it until the one bad record stands alone and is refused for good; everything
//! else blocks the sink, which is tried again at the longest wait. So does a redirect: records are not sent to a place
//! that no configuration names.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::call::retry::{asked_wait, is_passing};
use crate::call::{Request, Response, Transport};
use crate::connector::clock::Clock;
use crate::connector::secret::SharedSecret;
use crate::deliver::config::{HttpFormat, HttpTarget};
use crate::deliver::{Outcome, Portions, Sink};
use crate::error::{Error, Kind, Result, escaped};
use crate::queue::{Chunk, Cursor, Origin, SinkKey};

/// Headers that belong to the connection or to the body, and are not the operator's to set.
const OURS: &[HeaderName] = &[
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
];

/// Another server as a sink.
pub struct HttpSink {
    target: HttpTarget,
    key: SinkKey,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    /// Bytes that a portion may have: what is configured, or less since the last 413.
    room: usize,
    /// A bad record is known to be among so many next ones; 0 when none is.
    suspect: usize,
}

/// What an answer means for the records that were sent.
enum Verdict {
    Taken,
    TooLarge(String),
    Bad(String),
    Later(Outcome),
}

impl HttpSink {
    /// A sink that posts there.
    pub fn new(
        target: HttpTarget,
        key: SinkKey,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let room = target.bytes;
        Self { target, key, transport, clock, room, suspect: 0 }
    }

    /// How many records the next request holds; at least one.
    fn portion(&self, chunk: &Chunk) -> usize {
        let most = match self.suspect {
            0 => self.target.count.max(1),
            suspect => (suspect / 2).max(1),
        };
        let mut size = 1;
        let fit = chunk.records.iter().take(most).take_while(|record| {
            size += record.len() + 1;
            size <= self.room
        });
        fit.count().max(1)
    }

    async fn send(&self, chunk: &Chunk, count: usize) -> Verdict {
        let lines = super::records(chunk).take(count);
        let plain = match self.target.format {
            HttpFormat::JsonLines => super::json_lines(lines),
            HttpFormat::Array => json_array(lines),
        };
        let request = match self.request(chunk, plain) {
            Ok(request) => request,
            Err(error) => return self.later(None, error.to_string(), true),
        };
        match self.transport.send(request).await {
            Ok(response) => self.judge(&response),
            Err(error) => self.later(None, error.sentence, !error.passing),
        }
    }

    fn request(&self, chunk: &Chunk, plain: Vec<u8>) -> Result<Request> {
        let mut headers = HeaderMap::new();
        let media = match self.target.format {
            HttpFormat::JsonLines => "application/x-ndjson",
            HttpFormat::Array => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(HeaderName::from_static("idempotency-key"), self.idempotency_key(chunk, &plain)?);
        for (name, value) in operators_headers(&self.target)? {
            headers.insert(name, value);
        }
        let body = if self.target.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            gzip(&plain)?
        } else {
            plain
        };
        let url = self.target.url.clone();
        Ok(Request { method: http::Method::POST, url, headers, body: Bytes::from(body) })
    }

    /// Returns the same key for the same records sent again, so that a server that keeps keys takes them once. The
    /// position is part of it because two records may have the same bytes. The epoch and the bytes are because a store
    /// that is new, or was restored from a copy, gives out the same positions for other records.
    fn idempotency_key(&self, chunk: &Chunk, plain: &[u8]) -> Result<HeaderValue> {
        let origin = match &chunk.origin {
            Origin::Log { from } => format!("log {}", from.0),
            Origin::Retry { letters } => format!("retry {:?}", letters.first()),
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        let (instance, sink, epoch) = (&self.key.instance, &self.key.sink, &chunk.epoch);
        hash.update(format!("{instance}\n{sink}\n{epoch}\n{origin}\n").as_bytes());
        hash.update(plain);
        let mut text = HEXLOWER.encode(hash.finish().as_ref());
        text.truncate(32);
        HeaderValue::from_str(&text)
            .map_err(|error| Error::new(Kind::Io, "no idempotency key").because(error))
    }

    fn judge(&self, response: &Response) -> Verdict {
        let status = response.status;
        match status {
            _ if status.is_success() => Verdict::Taken,
            StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge(self.sentence(response)),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                Verdict::Bad(self.sentence(response))
            }
            _ => {
                let wait = asked_wait(status, &response.headers, self.clock.now());
                self.later(wait, self.sentence(response), !is_passing(status))
            }
        }
    }

    /// What the server said, for people: it may repeat our headers, so their values are taken out.
    fn sentence(&self, response: &Response) -> String {
        let mut said =
            String::from_utf8_lossy(response.body.get(..2000).unwrap_or(&response.body)).into_owned();
        for (_, secret) in &self.target.headers {
            said = said.replace(secret.get().expose(), "****");
        }
        let host = self.target.url.host_str().unwrap_or_default();
        let status = response.status;
        match escaped(said.trim(), 300) {
            said if said.is_empty() => format!("{host} answered {status}"),
            said => format!("{host} answered {status}: {said}"),
        }
    }

    fn later(&self, wait: Option<std::time::Duration>, reason: String, blocked: bool) -> Verdict {
        Verdict::Later(Outcome::RetryAfter { wait, reason, blocked })
    }

    /// A portion was taken: a server that was too small for the last one may have room for a little more.
    fn taken(&mut self, count: usize) {
        self.suspect = self.suspect.saturating_sub(count);
        self.room = self.room.saturating_add(self.room / 16 + 1).min(self.target.bytes);
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn open(&mut self, _: &Cursor) -> Result<()> {
        operators_headers(&self.target).map(|_| ())
    }

    /// Sends a portion, and smaller ones until it knows what becomes of the first records.
    async fn deliver(&mut self, chunk: &Chunk) -> Outcome {
        let mut count = self.portion(chunk);
        loop {
            match self.send(chunk, count).await {
                Verdict::Taken => {
                    self.taken(count);
                    return Outcome::Done { done: count, note: None, refused: Vec::new() };
                }
                Verdict::TooLarge(_) if count > 1 => {
                    let bytes: usize = super::records(chunk).take(count).map(|record| record.len() + 1).sum();
                    tracing::info!(instance = %self.key.instance, sink = %self.key.sink, records = count, bytes,
                        "the server finds the request too large (413); sending half of it");
                    self.room = (bytes / 2).max(1);
                    count /= 2;
                }
                Verdict::Bad(_) if count > 1 => {
                    self.suspect = count;
                    count /= 2;
                }
                Verdict::TooLarge(why) | Verdict::Bad(why) => {
                    self.suspect = 0;
                    return Outcome::Done { done: 1, note: None, refused: vec![(0, why)] };
                }
                Verdict::Later(outcome) => return outcome,
            }
        }
    }

    fn portions(&self) -> Portions {
        let records = self.target.count.max(1);
        // Separators count too; `portion` is exact, this only keeps the rest of a chunk from being tiny.
        let bytes = self.target.bytes - (records + 1).min(self.target.bytes / 2);
        Portions { records, bytes: bytes.max(1), age: self.target.age, rest: std::time::Duration::ZERO }
    }
}

/// One JSON array made of the records as they are.
fn json_array<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut array = vec![b'['];
    for (n, record) in records.enumerate() {
        if n > 0 {
            array.push(b',');
        }
        array.extend_from_slice(record);
    }
    array.push(b']');
    array
}

fn gzip(plain: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder
        .write_all(plain)
        .and_then(|()| encoder.finish())
        .map_err(|error| Error::new(Kind::Io, "the body cannot be compressed").because(error))
}

/// The operator's headers, their values marked as secret. An error names the header, never its value.
pub(super) fn operators_headers(target: &HttpTarget) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let wrong = |name: &str, sentence: &str| {
        Error::new(Kind::Configuration, sentence).at(format!("header {}", escaped(name, 80)))
    };
    let read = |(name, secret): &(String, SharedSecret)| {
        let header: HeaderName =
            name.parse().map_err(|_| wrong(name, "this is no name of an HTTP header"))?;
        if OURS.contains(&header) {
            return Err(wrong(name, "this header is set by the sink itself").help("leave it out"));
        }
        let mut value = HeaderValue::from_str(secret.get().expose()).map_err(|_| {
            wrong(name, "its value holds characters that no header can have")
                .help("is there a line break at the end of the secret's file?")
        })?;
        value.set_sensitive(true);
        Ok((header, value))
    };
    target.headers.iter().map(read).collect()
}
