//! Events as the vendor would send them: the connector's samples with new ids and the current time.
//!
//! Called by the plan of what is pushed. Ids and times are written through the spec's own picks, inverted;
//! everything else of a sample stays as it is. The same number makes the same id.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::invert::{fresh_like, replace_equal, write, write_time};
use crate::connector::model::Connector;
use crate::connector::pick::{Pick, Pointer, TimeFormat};
use crate::error::{Error, Kind, Result};

/// One event, ready to be put into a body.
#[derive(Debug, Clone)]
pub struct Event {
    /// The item as it stands in a body: JSON without a line break.
    pub item: String,
    /// The record in it, byte for byte, as it must come out of a sink.
    pub record: Vec<u8>,
    /// Headers that carry part of the event; where there are some, an event has a request of its own.
    pub headers: Vec<(String, String)>,
}

/// Makes events from the samples of a connector.
#[derive(Debug)]
pub struct Maker {
    samples: Vec<Json>,
    id: Vec<Pick>,
    time: Vec<Pick>,
    time_format: TimeFormat,
    unwrap: Vec<Pointer>,
    /// Added to every number, so that no two runs give the same ids.
    seed: u64,
}

impl Maker {
    /// Refuses a connector without samples, and one whose events cannot be told apart.
    pub fn new(connector: &Connector, started: Timestamp) -> Result<Self> {
        let receiver = &connector.receiver;
        let place = connector.file.display().to_string();
        if connector.samples.is_empty() {
            return Err(Error::new(Kind::Finding, "there are no samples to make events from")
                .at(place)
                .help("add a file with one item as the vendor sends it, and name it under `samples:`"));
        }
        if receiver.event.id.is_empty() && receiver.event.time.is_empty() {
            return Err(Error::new(Kind::Finding, "events made from one sample could not be told apart")
                .at(place)
                .help("name `event.id` or `event.time`: the stand-in writes new values there"));
        }
        Ok(Self {
            samples: connector.samples.clone(),
            id: receiver.event.id.clone(),
            time: receiver.event.time.clone(),
            time_format: receiver.event.time_format,
            unwrap: receiver.records.unwrap.clone(),
            seed: u64::try_from(started.as_microsecond()).unwrap_or(1),
        })
    }

    /// Event number `n`, as it happens at `at`.
    pub fn make(&self, n: u64, at: Timestamp) -> Event {
        self.build(n, at, false)
    }

    /// Other bytes under the id of event `n`.
    pub fn make_reused(&self, n: u64, at: Timestamp) -> Event {
        self.build(n, at, true)
    }

    /// Whether an event must have a request of its own: part of it stands outside the item.
    pub fn is_alone(&self) -> bool {
        self.id.iter().chain(&self.time).any(|pick| !matches!(pick, Pick::Item(_)))
    }

    /// Whether events have ids of their own; without, only a whole request can come twice.
    pub fn has_ids(&self) -> bool {
        !self.id.is_empty()
    }

    fn build(&self, n: u64, at: Timestamp, reused: bool) -> Event {
        let index = usize::try_from(n).unwrap_or(0) % self.samples.len();
        let mut item = self.samples[index].clone();
        let mut headers = Vec::new();
        self.write_id(&mut item, &mut headers, self.seed.wrapping_add(n));
        // Without ids the time is all that tells two events apart.
        let at = match self.has_ids() {
            true => at,
            false => at.checked_sub(SignedDuration::from_secs(i64::try_from(n).unwrap_or(0))).unwrap_or(at),
        };
        self.write_time(&mut item, &mut headers, at);
        if reused {
            mark(&mut item, &self.unwrap);
        }
        let record = first(&self.unwrap, &item).unwrap_or(&item);
        Event { record: record.to_string().into_bytes(), item: item.to_string(), headers }
    }

    fn write_id(&self, item: &mut Json, headers: &mut Vec<(String, String)>, number: u64) {
        // The parts of a joined id belong together; the first alone makes the whole a new one.
        match self.id.first() {
            Some(Pick::Item(pointer) | Pick::Body(pointer)) => {
                let old = pointer.resolve(item).cloned();
                let new = fresh_like(old.as_ref(), number);
                if let Some(old) = old.filter(is_telling) {
                    replace_equal(item, &old, &new);
                }
                write(item, pointer, new);
            }
            Some(Pick::Header(name)) => headers.push((name.clone(), format!("{number:016}"))),
            Some(Pick::Query(_) | Pick::Form(_)) | None => {}
        }
    }

    fn write_time(&self, item: &mut Json, headers: &mut Vec<(String, String)>, at: Timestamp) {
        let there = self.time.iter().find(|pick| match pick {
            Pick::Item(pointer) | Pick::Body(pointer) => pointer.resolve(item).is_some(),
            Pick::Header(_) => true,
            Pick::Query(_) | Pick::Form(_) => false,
        });
        match there.or(self.time.first()) {
            Some(Pick::Item(pointer) | Pick::Body(pointer)) => {
                let value = write_time(self.time_format, at, pointer.resolve(item));
                write(item, pointer, value);
            }
            Some(Pick::Header(name)) => {
                let value = write_time(self.time_format, at, None);
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                headers.push((name.clone(), text));
            }
            Some(Pick::Query(_) | Pick::Form(_)) | None => {}
        }
    }
}

/// Whether a value that stands elsewhere, too, is meant to be the same: an empty text or a small number is not.
fn is_telling(id: &Json) -> bool {
    match id {
        Json::String(text) => text.len() > 3,
        Json::Number(number) => number.as_u64().is_some_and(|number| number > 999),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
    }
}

/// The first pointer that leads somewhere, followed.
fn first<'a>(pointers: &[Pointer], item: &'a Json) -> Option<&'a Json> {
    pointers.iter().find_map(|pointer| pointer.resolve(item))
}

/// Makes other bytes of a record without touching its id: a field more.
fn mark(item: &mut Json, unwrap: &[Pointer]) {
    let at = unwrap.iter().find(|pointer| pointer.resolve(item).is_some()).cloned().unwrap_or_default();
    let Some(mut record) = at.resolve(item).cloned() else { return };
    if let Json::Object(map) = &mut record {
        map.insert("x_other_bytes".to_owned(), Json::Bool(true));
    }
    write(item, &at, record);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn maker(sample: Json) -> Maker {
        let pointer = |text: &str| Pointer::parse(text).unwrap();
        Maker {
            samples: vec![sample],
            id: vec![Pick::Item(pointer("/log_id"))],
            time: vec![Pick::Item(pointer("/data/date")), Pick::Item(pointer("/date"))],
            time_format: TimeFormat::Rfc3339,
            unwrap: vec![pointer("/data"), pointer("")],
            seed: 1_000_000,
        }
    }

    #[test]
    fn an_event_keeps_everything_but_its_id_and_its_time() {
        let sample = json!({"log_id": "0000000012345", "data":
            {"date": "2023-02-11T11:15:36.961Z", "n": 1.0, "log_id": "0000000012345"}});
        let at: Timestamp = "2026-11-22T10:00:00.5Z".parse().unwrap();
        let event = maker(sample).make(7, at);
        let record = r#"{"date":"2026-11-22T10:00:00.500Z","n":1.0,"log_id":"0000001000007"}"#;
        assert_eq!(event.item, format!(r#"{{"log_id":"0000001000007","data":{record}}}"#));
        assert_eq!(event.record, record.as_bytes());
    }

    #[test]
    fn other_bytes_under_a_known_id_are_other_bytes() {
        let maker = maker(json!({"log_id": "12345", "date": "2023-02-11T11:15:36.961Z"}));
        let (one, other) =
            (maker.make(3, Timestamp::UNIX_EPOCH), maker.make_reused(3, Timestamp::UNIX_EPOCH));
        assert_ne!(one.item, other.item);
        let id = |event: &Event| serde_json::from_str::<Json>(&event.item).unwrap()["log_id"].clone();
        assert_eq!(id(&one), id(&other));
    }
}
