//! Whether the constants of a text fit what they stand beside: a setting's own values, a status, a pattern.
//!
//! `texts` calls it for everything that it compiles. What cannot be known here, the values of a vendor, is not judged.

use serde_json::Value as Json;

use super::check::Checked;
use super::compiler::Compiler;
use crate::connector::template::{Beside, Literal};
use crate::connector::units;
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::nearest::{Meant, listed, meant};

/// The hashes that the filter `hmac` knows.
const HASHES: &[&str] = &["sha1", "sha256", "sha384", "sha512"];

impl Compiler {
    /// Reports every constant that can never be what it stands beside.
    pub fn check_literals(&mut self, text: Checked<'_, '_>, literals: &[Literal]) {
        for literal in literals {
            let bytes = text.start + literal.bytes.start..text.start + literal.bytes.end;
            let place = Place::within(&text.at.path, bytes);
            let wrong = match &literal.beside {
                Beside::Name(name) => self.never(name, &literal.value, &place),
                Beside::Filter(filter) => {
                    literal.value.as_str().and_then(|value| argument(filter, value, &place))
                }
            };
            if let Some(mistake) = wrong {
                self.report(mistake);
            }
        }
    }

    /// Reports settings that are lists or maps in the midst of a text.
    pub fn check_embedded(&mut self, text: Checked<'_, '_>, embedded: &[String]) {
        for name in embedded {
            let Some(setting) = name.strip_prefix("settings.") else { continue };
            let kinds = self.defined.kinds.get(setting).map(|kind| types(kind)).unwrap_or_default();
            if kinds.is_empty() || !kinds.iter().all(|kind| matches!(*kind, "array" | "object")) {
                continue;
            }
            let what = if kinds.contains(&"array") { "list" } else { "map" };
            let place = self.place_of_name(text, name);
            self.report(
                Mistake::new(
                    Code::WrongKind,
                    place,
                    format!("`{name}` is a {what}, and stands in the midst of a text"),
                )
                .help(format!("join it, `{name} | join(',')`, or write it as JSON, `{name} | tojson`")),
            );
        }
    }

    /// A comparison that is never true.
    fn never(&self, name: &str, value: &Json, place: &Place) -> Option<Mistake> {
        let wrong = |message: String| Mistake::new(Code::WrongKind, place.clone(), message);
        if name == "response.status" && value.is_string() {
            let number = value.as_str().and_then(|text| text.parse::<u16>().ok());
            let fix = number.map(|number| Fix::yaml(place.clone(), number.to_string()));
            let fix = fix.or_else(|| Some(Fix::yaml(place.clone(), "200").suggested()));
            return Some(
                wrong(format!("`response.status` is a number, and is never the text {value}"))
                    .help("write the number without quotes: response.status == 404")
                    .fix(fix),
            );
        }
        if name == "request.method"
            && let Some(method) =
                value.as_str().filter(|method| method.chars().any(|c| c.is_ascii_lowercase()))
        {
            return Some(
                wrong(format!("`request.method` is written in capitals, and is never `{method}`"))
                    .help(format!("write '{}'", method.to_uppercase())),
            );
        }
        let setting = name.strip_prefix("settings.")?;
        let kind = self.defined.kinds.get(setting)?;
        if let Some(choices) = kind.get("enum").and_then(Json::as_array) {
            // A default outside the list is said there, once.
            if choices.contains(value) || value.is_null() || kind.get("default") == Some(value) {
                return None;
            }
            let choices: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
            let near = value.as_str().and_then(|value| meant(value, choices.iter().copied()));
            let help = match near {
                Some(Meant { name, .. }) => format!("did you mean '{name}'?"),
                None => format!("its `enum` has {}", listed(choices.iter().copied())),
            };
            let fix = near.map(|near| constant(place.clone(), near));
            return Some(wrong(format!("`{name}` is never {value}")).help(help).fix(fix));
        }
        let kinds = types(kind);
        let fits = kinds.iter().any(|kind| match *kind {
            "string" => value.is_string(),
            "integer" | "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => true,
        });
        // A list is asked for what it holds.
        (!kinds.is_empty() && !fits && !value.is_null()).then(|| {
            wrong(format!("`{name}` is of the type {}, and is never {value}", kinds.join(" or ")))
                .help("compare it with a value of its type: 'text', 5, true")
        })
    }
}

/// The constant that was meant, in the quotes of the language.
fn constant(place: Place, Meant { name, sure }: Meant<'_>) -> Fix {
    Fix::text(place, format!("'{name}'")).safe_if(sure)
}

/// The types of a setting.
fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        Some(_) | None => Vec::new(),
    }
}

/// An argument that its filter cannot take.
fn argument(filter: &str, value: &str, place: &Place) -> Option<Mistake> {
    match filter {
        "regex_match" => super::values::bad_regex(value, place.clone()),
        "plus" if units::duration(value.trim_start_matches('-')).is_none() => Some(
            Mistake::new(Code::BadDuration, place.clone(), format!("`{value}` is no duration"))
                .help("write a number and a unit: 250ms, 30s, 5m, 2h, 7d"),
        ),
        "hmac" if !HASHES.contains(&value) => {
            let near = meant(value, HASHES.iter().copied());
            let help = format!("there are {}", listed(HASHES.iter().copied()));
            let fix = near.map(|near| constant(place.clone(), near));
            Some(
                Mistake::new(Code::WrongKind, place.clone(), format!("`hmac` knows no hash `{value}`"))
                    .help(help)
                    .fix(fix),
            )
        }
        _ => None,
    }
}
