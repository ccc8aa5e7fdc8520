//! How one event is written: a line for people, or one JSON object. Fields that are empty are left out in both.
//!
//! For people: `TIME LEVEL message key="text" number=1`. Texts are always in quotes, numbers and truth values never, so
//! that a line can be taken apart again. `log` makes the line safe for a terminal afterwards.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use tracing::field::{Field, Visit};
use tracing::subscriber::Subscriber;
use tracing::{Event, Level};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Writes events in one format.
pub(super) struct Line(pub(super) Format);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        match self.0 {
            Format::Human => writer.write_str(&human(Timestamp::now(), level, &fields))?,
            Format::Json => writer.write_str(&json(Timestamp::now(), level, target, fields))?,
        }
        writer.write_char('\n')
    }
}

/// The message and the other fields of an event, without empty ones.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Json)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Json) {
        match value {
            Json::String(text) if field.name() == "message" => self.message = text,
            Json::String(text) if text.is_empty() => {}
            value => self.others.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Json::from(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Json::from(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Json::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Json::from(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Json::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Json::from(value));
    }
}

fn human(now: Timestamp, level: Level, fields: &Fields) -> String {
    let mut line = format!("{now:.6} {level:>5} {}", fields.message);
    for (name, value) in &fields.others {
        // Writing to a String cannot fail.
        let _ = match value {
            Json::String(text) => write!(line, " {name}=\"{}\"", quoted(text)),
            other => write!(line, " {name}={other}"),
        };
    }
    line
}

/// A text between quotes: backslashes, quotes and line breaks are escaped.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn json(now: Timestamp, level: Level, target: &str, fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("timestamp".to_owned(), Json::from(format!("{now:.6}")));
    object.insert("level".to_owned(), Json::from(level.as_str()));
    object.insert("message".to_owned(), Json::from(fields.message));
    for (name, value) in fields.others {
        object.insert(name.to_owned(), value);
    }
    object.insert("target".to_owned(), Json::from(target));
    Json::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            message: "the sink failed".to_owned(),
            others: vec![
                ("sink", Json::from("file:/var/log/x")),
                ("reason", Json::from("a \"b\"\nc\\d")),
                ("count", Json::from(3)),
                ("held", Json::from(false)),
            ],
        }
    }

    #[test]
    fn line_for_people_quotes_every_text_and_no_number() {
        let now: Timestamp = "2026-12-01T10:00:00.5Z".parse().unwrap();
        assert_eq!(
            human(now, Level::WARN, &fields()),
            r#"2026-12-01T10:00:00.500000Z  WARN the sink failed sink="file:/var/log/x" reason="a \"b\"\nc\\d" count=3 held=false"#
        );
    }

    #[test]
    fn json_line_keeps_names_and_types() {
        let now: Timestamp = "2026-12-01T10:00:00.5Z".parse().unwrap();
        let line: Json = serde_json::from_str(&json(now, Level::INFO, "forebay::run", fields())).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": "2026-12-01T10:00:00.500000Z", "level": "INFO", "message": "the sink failed",
                "sink": "file:/var/log/x", "reason": "a \"b\"\nc\\d", "count": 3, "held": false,
                "target": "forebay::run",
            })
        );
    }
}
