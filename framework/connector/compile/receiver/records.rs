//! How a body is read: its format, its items and records, and the picks into an item.

use std::time::Duration;

use crate::connector::coding::Coding;
use crate::connector::compile::at::At;
use crate::connector::compile::compiler::Compiler;
use crate::connector::compile::names::Here;
use crate::connector::compile::values::time_format;
use crate::connector::model::{Decode, Each, EventPicks, Layer, OnReuse, Otherwise, Records};
use crate::connector::pick::{EventPick, Pointer, TimeFormat};
use crate::connector::record::Remember;
use crate::spec::mistake::{Code, Mistake, Place};

/// How long equal bytes without an id are one event: most senders try again within minutes, and a notice that says
/// nothing of its own comes again with the same bytes for another event.
const WITHOUT_ID: Duration = Duration::from_secs(600);

impl Compiler {
    pub(super) fn decode(&mut self, at: &At<'_>) -> Option<Decode> {
        match at.text_of("format")? {
            "json" => Some(Decode::Json),
            "json_lines" => Some(Decode::JsonLines { also_json: at.has("also") }),
            "json_concat" => Some(Decode::JsonConcat),
            "form" => Some(Decode::Form { field: at.text_of("field").map(str::to_owned) }),
            "none" => {
                let record = at.get("record")?;
                self.tree(&record, Here::Record).map(Decode::Nothing)
            }
            format @ ("xml" | "syslog") => {
                self.not_built(Place::value(&at.path.join("format")), &format!("the format `{format}`"));
                None
            }
            _ => None,
        }
    }

    pub(super) fn records(&mut self, at: Option<At<'_>>) -> Option<Records> {
        let part = |key: &str| at.as_ref().and_then(|at| at.get(key));
        let each = match part("each") {
            Some(at) => self.each(&at)?,
            None => Each::At(vec![Pointer::default()]),
        };
        let unwrap = part("unwrap").map(|at| self.pointers(&at));
        let layers = part("layers").map(|at| self.layers(&at)).unwrap_or_default();
        if let (Some(otherwise), true) = (part("otherwise"), layers.is_empty()) {
            self.report(
                Mistake::new(
                    Code::Contradiction,
                    Place::key(&otherwise.path),
                    "there are no layers that could stay closed",
                )
                .help("`otherwise` says what becomes of a record whose `layers` do not open: name them, or leave it out"),
            );
        }
        Some(Records {
            each,
            then_each: part("then_each").map(|at| self.pointers(&at)).unwrap_or_default(),
            unwrap: unwrap.unwrap_or_else(|| vec![Pointer::default()]),
            layers,
            otherwise: match part("otherwise").as_ref().and_then(At::text) {
                Some("text") => Otherwise::Text,
                _ => Otherwise::DeadLetter,
            },
        })
    }

    fn each(&mut self, at: &At<'_>) -> Option<Each> {
        match at.get("value") {
            Some(value) => self.text(&value, Here::Record).map(Each::Built),
            None => Some(Each::At(self.pointers(at))),
        }
    }

    /// The layers, each of which must be able to stand on the one around it.
    fn layers(&mut self, at: &At<'_>) -> Vec<Layer> {
        let mut layers = Vec::new();
        // Whether a value, or bytes, come out of what was opened so far; a value that is a text is both.
        let mut bytes_before: Option<String> = None;
        for at in at.items() {
            let Some(layer) = self.layer(&at) else { continue };
            let name = at.text().unwrap_or("each").to_owned();
            match (&layer, &bytes_before) {
                (Layer::At(_) | Layer::Each(_), Some(before)) => self.report(
                    Mistake::new(
                        Code::Contradiction,
                        Place::value(&at.path),
                        format!("a pointer leads nowhere in what comes out of `{before}`"),
                    )
                    .help("put `json` before it: pointers lead into JSON alone"),
                ),
                (Layer::Inflate(_) | Layer::MayInflate(_), None) => self.report(
                    Mistake::new(
                        Code::Contradiction,
                        Place::value(&at.path),
                        format!(
                            "compressed bytes cannot stand in JSON as they are: nothing opens for `{name}`"
                        ),
                    )
                    .help("put `base64` before it"),
                ),
                _ => {}
            }
            bytes_before = match layer {
                Layer::Base64 | Layer::Inflate(_) | Layer::MayInflate(_) => Some(name),
                Layer::Json | Layer::JsonLines | Layer::JsonConcat | Layer::At(_) | Layer::Each(_) => None,
            };
            layers.push(layer);
        }
        layers
    }

    fn layer(&mut self, at: &At<'_>) -> Option<Layer> {
        if let Some(each) = at.get("each") {
            return self.pointer(&each).map(Layer::Each);
        }
        Some(match at.text()? {
            "base64" => Layer::Base64,
            "json" => Layer::Json,
            "json_lines" => Layer::JsonLines,
            "json_concat" => Layer::JsonConcat,
            "gzip?" => Layer::MayInflate(Coding::Gzip),
            "zstd?" => Layer::MayInflate(Coding::Zstd),
            name => match Coding::named(name) {
                Some(coding) => Layer::Inflate(coding),
                None => return self.pointer(at).map(Layer::At),
            },
        })
    }

    /// Picks into the element around a list take a list within elements.
    fn no_outer(&mut self, at: &At<'_>, key: &str) {
        for at in at.get(key).iter().flat_map(At::one_or_many) {
            if let Some(outer) = at.get("outer") {
                self.report(
                    Mistake::new(Code::Contradiction, Place::key(&outer.path), "there is nothing around the list")
                        .help("`outer` leads into an element whose list `records.then_each` opens: without one, use `body`"),
                );
            }
        }
    }

    /// The picks of an event; `nested`: items stand in lists within elements.
    pub(super) fn event(&mut self, at: Option<At<'_>>, nested: bool) -> EventPicks {
        if let (Some(at), false) = (&at, nested) {
            ["id", "time", "type"].iter().for_each(|key| self.no_outer(at, key));
        }
        let (with_id, without_id) = self.dedupe(at.as_ref().and_then(|at| at.get("dedupe")));
        let mut picks = |key: &str| {
            let at = at.as_ref().and_then(|at| at.get(key));
            at.map(|at| self.event_picks(&at)).unwrap_or_default()
        };
        let without = |picks: Vec<(EventPick, TimeFormat)>| picks.into_iter().map(|(pick, _)| pick).collect();
        EventPicks {
            id: without(picks("id")),
            time: picks("time"),
            kind: without(picks("type")),
            on_reuse: match at.as_ref().and_then(|at| at.text_of("on_reuse")) {
                Some("drop") => OnReuse::Drop,
                Some("deliver") => OnReuse::Deliver,
                _ => OnReuse::DeadLetter,
            },
            with_id,
            without_id,
        }
    }

    /// How long the ids of events are remembered: of those with an id, and of those without.
    fn dedupe(&mut self, at: Option<At<'_>>) -> (Remember, Remember) {
        let Some(at) = at else { return (Remember::Window, Remember::For(WITHOUT_ID)) };
        if at.text() == Some("off") {
            return (Remember::Never, Remember::Never);
        }
        let window = at.get("window").and_then(|at| self.pause(&at)).map(Remember::For);
        let without_id = at.get("without_id").and_then(|at| match at.text() {
            Some("off") => Some(Remember::Never),
            _ => self.pause(&at).map(Remember::For),
        });
        // A window that is shorter than ten minutes holds for events without an id too.
        let default = match window {
            Some(Remember::For(window)) => Remember::For(window.min(WITHOUT_ID)),
            Some(Remember::Window | Remember::Never) | None => Remember::For(WITHOUT_ID),
        };
        (window.unwrap_or_default(), without_id.unwrap_or(default))
    }

    fn event_picks(&mut self, at: &At<'_>) -> Vec<(EventPick, TimeFormat)> {
        let all = at.one_or_many();
        all.iter().filter_map(|at| Some((self.event_pick(at)?, time_format(at.text_of("format"))))).collect()
    }

    /// A pick of an event: a pointer into the item, or a map with one place.
    pub fn event_pick(&mut self, at: &At<'_>) -> Option<EventPick> {
        if at.text().is_some() {
            return self.pointer(at).map(EventPick::Item);
        }
        let pointer = |key: &str, compiler: &mut Self| at.get(key).map(|at| compiler.pointer(&at));
        if let Some(pointer) = pointer("item", self) {
            return pointer.map(EventPick::Item);
        }
        if let Some(pointer) = pointer("outer", self) {
            return pointer.map(EventPick::Outer);
        }
        if let Some(pointer) = pointer("record", self) {
            return pointer.map(EventPick::Record);
        }
        if let Some(pointer) = pointer("hash", self) {
            return pointer.map(EventPick::Hash);
        }
        if let Some(at) = at.get("header").filter(|at| at.value.is_array()) {
            let names = at.items().filter_map(|at| self.header_name(&at));
            return Some(EventPick::Headers(names.map(|name| name.to_ascii_lowercase()).collect()));
        }
        self.place(at).map(EventPick::Request)
    }
}
