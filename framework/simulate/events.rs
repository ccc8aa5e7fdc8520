//! Events as the vendor would send them: the connector's samples with new ids and the current time.
//!
//! Called by the plan of what is pushed. Ids and times are written through the spec's own picks, inverted, and
//! layers around a record are closed again; everything else of a sample stays as it is. The same number makes the
//! same id.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::invert::{fresh_like, replace_equal, write_time};
use crate::connector::believed;
use crate::connector::layers::{closed, opened};
use crate::connector::model::{Connector, Decode, Each, Layer};
use crate::connector::overlay::write;
use crate::connector::pick::{EventPick, Pick, Pointer, TimeFormat};
use crate::connector::removal::Removal;
use crate::connector::template::{Scope, Tree};
use crate::error::{Error, Kind, Result};

/// One event, ready to be put into a body.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// The item as it stands in a body: JSON without a line break.
    pub item: String,
    /// The record in it, byte for byte, as it must come out of a sink.
    pub record: Vec<u8>,
    /// What stands around the list that the item is of, where the spec goes that deep.
    pub outer: Json,
    /// Values of the body around all items.
    pub around: Vec<(Pointer, Json)>,
    /// Headers that carry part of the event; where there are some, an event has a request of its own.
    pub headers: Vec<(String, String)>,
    /// Parameters of the query that do.
    pub query: Vec<(String, String)>,
}

/// Makes events from the samples of a connector.
#[derive(Debug)]
pub struct Maker {
    samples: Vec<Json>,
    id: Vec<EventPick>,
    time: Vec<(EventPick, TimeFormat)>,
    /// What says what happened: it stays as the sample has it.
    kind: Vec<EventPick>,
    /// Headers that the vendor sends with every event, and that come out in the envelope.
    headers: Vec<String>,
    unwrap: Vec<Pointer>,
    layers: Vec<Layer>,
    /// What no record holds.
    remove: Removal,
    /// Whether the item is the whole body.
    whole: bool,
    /// Places of the request that the item is built from where no body is read.
    built: Vec<(Pointer, Pick)>,
    /// Added to every number, so that no two runs give the same ids.
    seed: u64,
}

/// An event in the making: the item, and the record once it is out of its layers.
struct Draft {
    event: Event,
    item: Json,
    /// Where the record or what holds it stands in the item.
    at: Pointer,
    record: Option<Json>,
    /// Whether the item is the whole body.
    whole: bool,
}

impl Maker {
    /// Refuses a connector without samples: there is nothing to make events from.
    pub fn new(connector: &Connector, started: Timestamp) -> Result<Self> {
        let receiver = &connector.receiver;
        if connector.samples.is_empty() {
            return Err(Error::new(Kind::Finding, "there are no samples to make events from")
                .at(connector.file.display().to_string())
                .help("add a file with one item as the vendor sends it, and name it under `samples:`"));
        }
        Ok(Self {
            samples: connector.samples.clone(),
            id: believed::ids(connector, &Scope::default()),
            time: receiver.event.time.clone(),
            kind: receiver.event.kind.clone(),
            headers: connector.output.envelope.iter().flat_map(|envelope| envelope.headers.clone()).collect(),
            unwrap: receiver.records.unwrap.clone(),
            layers: receiver.records.layers.clone(),
            remove: connector.output.remove.clone(),
            whole: receiver.records.then_each.is_empty()
                && matches!(&receiver.records.each, Each::At(each) if each.iter().any(|at| at.0.is_empty())),
            built: match &receiver.decode {
                Decode::Nothing(tree) => places(tree, &Pointer::default()),
                Decode::Json | Decode::JsonLines { .. } | Decode::JsonConcat | Decode::Form { .. } => {
                    Vec::new()
                }
            },
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

    /// What the id of event `n` is made of.
    pub fn number(&self, n: u64) -> u64 {
        self.seed.wrapping_add(n)
    }

    /// Whether an event must have a request of its own: part of it stands outside the item.
    pub fn is_alone(&self) -> bool {
        let mut picks = self.id.iter().chain(self.time.iter().map(|(pick, _)| pick));
        !self.built.is_empty()
            || picks.any(|pick| matches!(pick, EventPick::Request(_) | EventPick::Headers(_)))
    }

    /// Whether events have ids of their own; without, only a whole request can come twice.
    pub fn has_ids(&self) -> bool {
        !self.id.is_empty()
    }

    /// Whether other bytes can come under the same id.
    pub fn can_reuse(&self) -> bool {
        self.has_ids() && !self.is_hashed() && self.built.is_empty()
    }

    /// Whether the id is made of the bytes themselves.
    fn is_hashed(&self) -> bool {
        self.id.iter().any(|pick| matches!(pick, EventPick::Hash(_)))
    }

    fn build(&self, n: u64, at: Timestamp, reused: bool) -> Event {
        let index = usize::try_from(n).unwrap_or(0) % self.samples.len();
        let number = self.number(n);
        let mut draft = self.draft(self.samples[index].clone());
        let told = self.write_id(&mut draft, number);
        // Where no id tells two events apart, the time does.
        let at = match told {
            true => at,
            false => at.checked_sub(SignedDuration::from_secs(i64::try_from(n).unwrap_or(0))).unwrap_or(at),
        };
        self.write_time(&mut draft, at);
        if !told && !self.is_timed(&draft) {
            let hashed =
                self.id.iter().find_map(|pick| if let EventPick::Hash(at) = pick { Some(at) } else { None });
            draft.mark(hashed.unwrap_or(&Pointer::default()), "x_number", &number.to_string());
        }
        if reused {
            draft.mark(&Pointer::default(), "x_other_bytes", "true");
        }
        for name in &self.headers {
            if !draft.event.headers.iter().any(|(known, _)| known == name) {
                draft.event.headers.push((name.clone(), "stand-in".to_owned()));
            }
        }
        self.finished(draft)
    }

    /// Whether the time stands in the bytes of the record.
    fn is_timed(&self, draft: &Draft) -> bool {
        self.time.iter().any(|(pick, _)| match pick {
            EventPick::Record(_) => draft.old(pick).is_some(),
            EventPick::Item(at) => {
                draft.record.is_none() && at.0.starts_with(&draft.at.0) && draft.old(pick).is_some()
            }
            EventPick::Outer(_) | EventPick::Hash(_) | EventPick::Headers(_) | EventPick::Request(_) => false,
        })
    }

    fn draft(&self, item: Json) -> Draft {
        let at =
            self.unwrap.iter().find(|pointer| pointer.resolve(&item).is_some()).cloned().unwrap_or_default();
        let record = at.resolve(&item).filter(|_| !self.layers.is_empty());
        let record = record.and_then(|sample| opened(&self.layers, sample).ok());
        Draft { event: Event::default(), item, at, record, whole: self.whole }
    }

    fn finished(&self, draft: Draft) -> Event {
        let Draft { mut event, mut item, at, record, .. } = draft;
        if let (Some(record), Some(sample)) = (&record, at.resolve(&item)) {
            // What was opened can be closed.
            let wrapped = closed(&self.layers, sample, record).unwrap_or_else(|_| sample.clone());
            write(&mut item, &at, wrapped);
        }
        for (place, pick) in &self.built {
            let text = place.resolve(&item).map(plain).unwrap_or_default();
            match pick {
                Pick::Query(name) => event.query.push((name.clone(), text)),
                Pick::Header(name) => event.headers.push((name.clone(), text)),
                Pick::Item(_) | Pick::Body(_) | Pick::Form(_) => {}
            }
        }
        let record = record.or_else(|| at.resolve(&item).cloned()).unwrap_or_default();
        let mut record = record;
        self.remove.remove_from(&mut record);
        Event { record: record.to_string().into_bytes(), item: item.to_string(), ..event }
    }

    /// Writes a new id; whether it tells the event from all others.
    fn write_id(&self, draft: &mut Draft, number: u64) -> bool {
        // The parts of a joined id belong together; the first that can be written makes the whole a new one.
        let mut told = false;
        for pick in &self.id {
            match pick {
                EventPick::Item(_) | EventPick::Record(_) if told || self.is_said(pick) => continue,
                EventPick::Item(pointer) => draft.renew(pointer, number),
                EventPick::Record(pointer) => draft.renew_record(pointer, number),
                EventPick::Hash(_) => continue,
                EventPick::Outer(_) | EventPick::Headers(_) | EventPick::Request(_) => {
                    let text = if told { "stand-in".to_owned() } else { format!("{number:016}") };
                    draft.put(pick, Json::from(text));
                }
            }
            told = true;
        }
        told
    }

    /// Whether a part of the id says something else, and another part can be new in its place.
    fn is_said(&self, part: &EventPick) -> bool {
        let says =
            |part: &EventPick| self.kind.contains(part) || self.time.iter().any(|(pick, _)| pick == part);
        let is_own =
            |part: &EventPick| matches!(part, EventPick::Item(_) | EventPick::Record(_)) && !says(part);
        says(part) && self.id.iter().any(is_own)
    }

    fn write_time(&self, draft: &mut Draft, at: Timestamp) {
        let there = self.time.iter().find(|(pick, _)| match pick {
            EventPick::Item(_) | EventPick::Record(_) => draft.old(pick).is_some(),
            EventPick::Outer(_) | EventPick::Hash(_) => false,
            EventPick::Headers(_) => true,
            EventPick::Request(pick) => matches!(pick, Pick::Header(_)),
        });
        if let Some((pick, format)) = there.or(self.time.first()) {
            let value = write_time(*format, at, draft.old(pick).as_ref());
            draft.put(pick, value);
        }
    }
}

impl Draft {
    /// What stands at a place.
    fn old(&self, pick: &EventPick) -> Option<Json> {
        match pick {
            EventPick::Item(pointer) => pointer.resolve(&self.item).cloned(),
            EventPick::Record(pointer) => match &self.record {
                Some(record) => pointer.resolve(record).cloned(),
                None => self.in_item(pointer).resolve(&self.item).cloned(),
            },
            EventPick::Outer(_) | EventPick::Hash(_) | EventPick::Headers(_) | EventPick::Request(_) => None,
        }
    }

    /// Writes a value where the receiver will pick it.
    fn put(&mut self, pick: &EventPick, value: Json) {
        match pick {
            EventPick::Item(pointer) => write(&mut self.item, pointer, value),
            EventPick::Record(pointer) => match &mut self.record {
                Some(record) => write(record, pointer, value),
                None => write(&mut self.item, &self.at.clone().join(pointer), value),
            },
            EventPick::Outer(pointer) => write(&mut self.event.outer, pointer, value),
            EventPick::Hash(_) => {}
            EventPick::Headers(names) => {
                let name = names.first().cloned().unwrap_or_default();
                self.event.headers.push((name, plain(&value)));
            }
            EventPick::Request(Pick::Header(name)) => self.event.headers.push((name.clone(), plain(&value))),
            EventPick::Request(Pick::Query(name)) => self.event.query.push((name.clone(), plain(&value))),
            EventPick::Request(Pick::Body(pointer) | Pick::Item(pointer)) if self.whole => {
                write(&mut self.item, pointer, value);
            }
            EventPick::Request(Pick::Body(pointer) | Pick::Item(pointer)) => {
                self.event.around.push((pointer.clone(), value));
            }
            EventPick::Request(Pick::Form(name)) => {
                write(&mut self.item, &Pointer(vec![name.clone()]), value);
            }
        }
    }

    fn in_item(&self, pointer: &Pointer) -> Pointer {
        self.at.clone().join(pointer)
    }

    /// A new id in the item, wherever the old one stands in it.
    fn renew(&mut self, pointer: &Pointer, number: u64) {
        renew(&mut self.item, pointer, number);
    }

    fn renew_record(&mut self, pointer: &Pointer, number: u64) {
        match &mut self.record {
            Some(record) => renew(record, pointer, number),
            None => renew(&mut self.item, &self.at.clone().join(pointer), number),
        }
    }

    /// Makes other bytes of the record, at a place in it: a field more where fields are.
    fn mark(&mut self, at: &Pointer, name: &str, value: &str) {
        let Some(mut record) = self.record.clone().or_else(|| self.at.resolve(&self.item).cloned()) else {
            return;
        };
        match record.pointer_mut(&at.to_string()) {
            Some(Json::Object(map)) => drop(map.insert(name.to_owned(), Json::from(value))),
            Some(Json::String(text)) => text.push_str(value),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_)) | None => {}
        }
        match &mut self.record {
            Some(known) => *known = record,
            None => write(&mut self.item, &self.at, record),
        }
    }
}

fn renew(document: &mut Json, pointer: &Pointer, number: u64) {
    let old = pointer.resolve(document).cloned();
    let new = fresh_like(old.as_ref(), number);
    if let Some(old) = old.filter(is_telling) {
        replace_equal(document, &old, &new);
    }
    write(document, pointer, new);
}

/// Where the leaves of a built document come from, as far as each is one name of the request.
fn places(tree: &Tree, at: &Pointer) -> Vec<(Pointer, Pick)> {
    let below = |token: &str, tree| places(tree, &at.clone().join(&Pointer(vec![token.to_owned()])));
    match tree {
        Tree::Text(text) => {
            let name = text.lone_name().unwrap_or_default();
            let pick = match (name.strip_prefix("request.headers."), name.strip_prefix("request.query.")) {
                (Some(name), _) => Some(Pick::Header(name.to_owned())),
                (_, Some(name)) => Some(Pick::Query(name.to_owned())),
                (None, None) => None,
            };
            pick.into_iter().map(|pick| (at.clone(), pick)).collect()
        }
        Tree::Map(fields) => fields.iter().flat_map(|(name, tree)| below(name, tree)).collect(),
        Tree::List(items) => {
            items.iter().enumerate().flat_map(|(n, tree)| below(&n.to_string(), tree)).collect()
        }
        Tree::Value(_) => Vec::new(),
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a value that stands elsewhere, too, is meant to be the same: an empty text or a small number is not.
fn is_telling(id: &Json) -> bool {
    match id {
        Json::String(text) => text.len() > 3,
        Json::Number(number) => number.as_u64().is_some_and(|number| number > 999),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    fn maker(sample: Json) -> Maker {
        let item = |text: &str| EventPick::Item(pointer(text));
        Maker {
            samples: vec![sample],
            id: vec![item("/log_id")],
            time: vec![(item("/data/date"), TimeFormat::Rfc3339), (item("/date"), TimeFormat::Rfc3339)],
            kind: vec![item("/data/type")],
            headers: Vec::new(),
            unwrap: vec![pointer("/data"), pointer("")],
            layers: Vec::new(),
            remove: Removal::default(),
            whole: true,
            built: Vec::new(),
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
    fn of_a_joined_id_the_part_that_says_nothing_else_is_new() {
        let sample = json!({"data": {"type": "made", "n": "0001", "date": "2023-02-11T11:15:36.961Z"}});
        let item = |text: &str| EventPick::Item(pointer(text));
        let joined = vec![item("/data/type"), item("/data/date"), item("/data/n")];
        let event = Maker { id: joined, ..maker(sample) }.make(7, "2026-11-22T10:00:00.5Z".parse().unwrap());
        assert_eq!(
            event.record, br#"{"type":"made","n":"1000007","date":"2026-11-22T10:00:00.500Z"}"#,
            "{}",
            event.item
        );
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

    #[test]
    fn an_id_within_layers_and_one_beside_the_item_are_written_where_they_are_picked() {
        let sample = json!({"data": data_encoding::BASE64.encode(br#"{"id":"a-0001","at":1}"#)});
        let maker = Maker {
            id: vec![EventPick::Record(pointer("/id")), EventPick::Request(Pick::Header("x-try".to_owned()))],
            time: vec![(EventPick::Outer(pointer("/time")), TimeFormat::Unix)],
            unwrap: vec![pointer("/data")],
            layers: vec![Layer::Base64, Layer::Json],
            ..maker(sample)
        };
        let event = maker.make(7, Timestamp::from_second(5).unwrap());
        assert_eq!(event.record, br#"{"id":"a-1000007","at":1}"#);
        let item: Json = serde_json::from_str(&event.item).unwrap();
        assert_eq!(opened(&maker.layers, &item["data"]).unwrap().to_string().into_bytes(), event.record);
        assert_eq!(event.headers, [("x-try".to_owned(), "stand-in".to_owned())]);
        assert_eq!(event.outer, json!({"time": 5}));
        assert!(maker.is_alone());
    }
}
