//! Whether ids tell one event from the next, held against the samples.
//!
//! Events that are taken for one are lost without a word, so what cannot tell them apart is a finding: an id that is the
//! same in every sample, one that is made of [what events share](super::shared_fields), and bytes without anything that
//! only one event has.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::at::At;
use super::compiler::Compiler;
use super::shared_fields::shared_by;
use crate::connector::layers::{all_opened, opened};
use crate::connector::model::{Layer, Output, Receiver};
use crate::connector::pick::{EventPick, TimeFormat};
use crate::connector::record::Remember;
use crate::spec::mistake::{Code, Mistake, Place};

/// Seconds since 1970 that are taken for a time: from 2001 to 2096.
const SECONDS: std::ops::Range<i128> = 1_000_000_000..4_000_000_000;

impl Compiler {
    /// Reports an id that many events have, as far as the spec and its samples show it.
    pub(super) fn tells_events_apart(
        &mut self,
        top: &At<'_>,
        receiver: &Receiver,
        output: Option<&Output>,
        samples: &[(Place, Json)],
    ) {
        let Some(at) = top.get("receiver") else { return };
        let event = at.get("event");
        let place = match event.as_ref().and_then(|at| at.get("id")).or(event) {
            Some(at) => Place::key(&at.path),
            None => Place::key(&at.path),
        };
        let event = &receiver.event;
        let seen: Vec<(&Place, Seen)> = samples
            .iter()
            .flat_map(|(place, item)| seen(receiver, item).into_iter().map(move |one| (place, one)))
            .collect();
        let known: Vec<&Vec<String>> = seen.iter().filter_map(|(_, seen)| seen.id.as_ref()).collect();
        let same = known.len() == seen.len()
            && known.len() > 1
            && known.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
        if same && event.with_id != Remember::Never {
            let message =
                "this id is the same in every sample: the second event would be taken for the first";
            self.report(Mistake::new(Code::SameForAll, place.clone(), message).help(
                "pick what only one event has, such as its own id or its time; where there is nothing of the kind, \
                 `dedupe: off`",
            ));
        }
        let asked = at.get("event").is_some_and(|at| at.has("dedupe"));
        // What the author says of it, or that nothing is taken for a duplicate.
        let settled = |remember| match remember {
            Remember::Never => true,
            Remember::For(_) => asked,
            Remember::Window => false,
        };
        let schema = output.map(|output| &output.described);
        if !same && !settled(event.with_id) && !self.by_operator(&["event", "id"]) {
            self.shared_id(&place, receiver, schema);
        }
        // An id that is a hash of the record, or of the body where none can be formed.
        let by_bytes = |seen: &Seen| match &seen.id {
            Some(_) => {
                event.id.iter().all(|pick| matches!(pick, EventPick::Hash(pointer) if pointer.0.is_empty()))
            }
            None => !event.id.iter().any(outside),
        };
        let remembered = |seen: &Seen| if seen.id.is_some() { event.with_id } else { event.without_id };
        let alike =
            seen.iter().find(|(_, seen)| by_bytes(seen) && !settled(remembered(seen)) && !seen.has_time);
        if let Some((sample, seen)) = alike {
            let message = match &seen.id {
                Some(_) => {
                    "events are told apart by their bytes, and a sample has no time or other value of its own"
                }
                None => {
                    "an event without an id is known by its bytes, and a sample has no time or other value of its own"
                }
            };
            let help = match &seen.id {
                Some(_) => {
                    "two events of the same kind have the same bytes, and the second is lost: `dedupe: off`, or a \
                            short `dedupe: {window: 2m}` for what the sender repeats"
                }
                None => {
                    "two events of the same kind have the same bytes, and the second is lost: `dedupe: off`, or \
                         `dedupe: {without_id: off}` where others have an id"
                }
            };
            self.report(
                Mistake::new(Code::SameForAll, place, message)
                    .help(help)
                    .related((*sample).clone(), "this sample"),
            );
        }
    }
}

impl Compiler {
    /// Reports an id all of whose parts are shared by many events.
    fn shared_id(&mut self, place: &Place, receiver: &Receiver, schema: Option<&Json>) {
        let picks = &receiver.event.id;
        let shared: Vec<String> = picks.iter().map_while(|pick| shared_by(pick, receiver, schema)).collect();
        if picks.is_empty() || shared.len() < picks.len() {
            return;
        }
        let message = format!("many events have the same id: {}", shared.join("; "));
        self.report(Mistake::new(Code::SameForAll, place.clone(), message).help(
            "pick what only one event has, such as its own id or its time, besides; where there is nothing of the kind, \
             `dedupe: off`, or a short `dedupe: {window: 2m}` for what the sender repeats",
        ));
    }
}

/// What a record of a sample says of itself.
struct Seen {
    /// The parts of its id; `None` where one is missing, or stands outside of the item.
    id: Option<Vec<String>>,
    /// Whether the record has a value that is a time.
    has_time: bool,
}

/// Whether a pick looks outside of an item: a sample does not show what is there.
fn outside(pick: &EventPick) -> bool {
    match pick {
        EventPick::Item(_) | EventPick::Record(_) | EventPick::Hash(_) => false,
        EventPick::Outer(_) | EventPick::Headers(_) | EventPick::Request(_) => true,
    }
}

/// What the records of an item say: all of them if they are told apart by what is in them, else the first, since the others
/// are told apart by their place.
fn seen(receiver: &Receiver, item: &Json) -> Vec<Seen> {
    let records = &receiver.records;
    let found = records.unwrap.iter().find_map(|pointer| pointer.resolve(item)).unwrap_or(item);
    let by_record =
        receiver.event.id.iter().any(|pick| matches!(pick, EventPick::Record(_) | EventPick::Hash(_)));
    let mut opened_all = Vec::new();
    if by_record && records.layers.iter().any(Layer::splits) {
        opened_all = all_opened(&records.layers, found);
    }
    if opened_all.is_empty() {
        opened_all.push(opened(&records.layers, found).unwrap_or_else(|_| found.clone()));
    }
    opened_all.iter().map(|record| seen_in(receiver, item, record)).collect()
}

fn seen_in(receiver: &Receiver, item: &Json, record: &Json) -> Seen {
    let part = |pick: &EventPick| match pick {
        EventPick::Item(pointer) => pointer.resolve(item).and_then(text),
        EventPick::Record(pointer) => pointer.resolve(record).and_then(text),
        EventPick::Hash(pointer) => pointer.resolve(record).map(Json::to_string),
        EventPick::Outer(_) | EventPick::Headers(_) | EventPick::Request(_) => None,
    };
    let id: Option<Vec<String>> = receiver.event.id.iter().map(part).collect();
    Seen { id: id.filter(|parts| !parts.is_empty()), has_time: has_time(record) }
}

fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => (!text.is_empty()).then(|| text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Whether a value, or one in it, is a time: what tells an event from another of the same kind.
fn has_time(value: &Json) -> bool {
    match value {
        Json::String(text) => is_time(text),
        Json::Number(number) => is_unix(&number.to_string()),
        Json::Array(items) => items.iter().any(has_time),
        Json::Object(map) => map.values().any(has_time),
        Json::Null | Json::Bool(_) => false,
    }
}

fn is_time(text: &str) -> bool {
    let zoned = text.parse::<Timestamp>().is_ok() || TimeFormat::HttpDate.read(text).is_some();
    // Without a zone it is no instant, and tells events apart all the same.
    zoned
        || is_unix(text)
        || text.len() > 10 && text.replacen(' ', "T", 1).parse::<jiff::civil::DateTime>().is_ok()
}

/// Whether digits are a time in seconds, or in thousandths, millionths or billionths.
fn is_unix(text: &str) -> bool {
    let Some(whole) = text.split('.').next().and_then(|digits| digits.parse::<i128>().ok()) else {
        return false;
    };
    [1, 1_000, 1_000_000, 1_000_000_000].iter().any(|unit| SECONDS.contains(&(whole / unit)))
}
