//! How a body is read: its format, its items and records, and the picks into an item.

use crate::connector::compile::reader::{At, Compiler};
use crate::connector::compile::values::time_format;
use crate::connector::model::{Decode, EventPicks, OnReuse, Records};
use crate::connector::pick::Pointer;
use crate::spec::mistake::Place;

impl Compiler {
    pub(super) fn decode(&mut self, at: &At<'_>) -> Option<Decode> {
        match at.text_of("format")? {
            "json" => Some(Decode::Json),
            "json_lines" => Some(Decode::JsonLines { also_json: at.has("also") }),
            format @ ("form" | "xml" | "syslog" | "none") => {
                self.not_built(Place::value(&at.path.join("format")), &format!("the format `{format}`"));
                None
            }
            _ => None,
        }
    }

    pub(super) fn records(&mut self, at: Option<At<'_>>) -> Records {
        if let Some(at) = &at {
            self.not_built_keys(at, &["then_each", "layers", "otherwise"]);
        }
        let mut pointers = |key: &str| {
            let pointers = at.as_ref().and_then(|at| at.get(key)).map(|at| self.pointers(&at));
            pointers.unwrap_or_else(|| vec![Pointer::default()])
        };
        Records { each: pointers("each"), unwrap: pointers("unwrap") }
    }

    pub(super) fn event(&mut self, at: Option<At<'_>>) -> EventPicks {
        let part = |key: &str| at.as_ref().and_then(|at| at.get(key));
        let mut picks = |key: &str| part(key).map(|at| self.picks(&at)).unwrap_or_default();
        let (id, time, kind) = (picks("id"), picks("time"), picks("type"));
        let written = part("time").and_then(|at| at.one_or_many().into_iter().find(|at| at.has("format")));
        EventPicks {
            id,
            time,
            time_format: time_format(written.as_ref().and_then(|at| at.text_of("format"))),
            kind,
            on_reuse: match at.as_ref().and_then(|at| at.text_of("on_reuse")) {
                Some("drop") => OnReuse::Drop,
                Some("deliver") => OnReuse::Deliver,
                _ => OnReuse::DeadLetter,
            },
        }
    }
}
