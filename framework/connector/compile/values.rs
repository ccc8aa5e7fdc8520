//! Small values with a notation of their own: picks, pointers, durations, statuses, methods.

use std::time::Duration;

use serde_json::Value as Json;

use super::at::At;
use super::compiler::Compiler;
use super::names::Here;
use super::urls::bad_header;
use crate::connector::model::{BySetting, StatusRange};
use crate::connector::pick::{Pick, Pointer, TimeFormat};
use crate::connector::template::Text;
use crate::connector::units;
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::path::Path;

impl Compiler {
    /// The text of a place: as it is written, or as a setting says. `None`: that setting was not given.
    pub fn place_text(&mut self, at: &At<'_>) -> Option<String> {
        let written = at.text()?;
        if !written.contains("{{") {
            return (!self.single_braces(at, written, 0)).then(|| written.to_owned());
        }
        let name = self.text(at, Here::Settings)?.lone_name();
        let setting = name.as_deref().and_then(|name| name.strip_prefix("settings."));
        if let Some(setting) = setting {
            let keys = at.path.0.iter().map(String::as_str).filter(|key| key.parse::<usize>().is_err());
            let key = keys.collect::<Vec<_>>().join(".");
            self.by_settings.push(BySetting { key, setting: setting.to_owned() });
        }
        let message = match setting.map(|setting| self.given.get(setting)) {
            Some(Some(Json::String(text))) => return Some(text.clone()),
            Some(None) => return None,
            Some(Some(_)) => "a place is a text, and this setting is none",
            None => "a place is written out, or left to one setting",
        };
        let mistake = Mistake::new(Code::Malformed, Place::value(&at.path), message)
            .help("`{{ settings.header }}` and nothing around it: what a place is cannot be built");
        self.report_place(at, mistake);
        None
    }

    /// Reports what is wrong with the text of a place. Where a setting's default says it, that is wrong, once for all places
    /// that it decides, and not where it has been found wrong already.
    fn report_place(&mut self, at: &At<'_>, mut mistake: Mistake) {
        if let Some(default) = self.default_behind(at) {
            if self.has_mistake_at(&default) {
                return;
            }
            mistake.related.push((mistake.place, "it says what stands here".to_owned()));
            mistake.place = Place::value(&default);
            mistake.fix = None;
        }
        self.report(mistake);
    }

    /// The default that a place's text comes from, where it does.
    fn default_behind(&self, at: &At<'_>) -> Option<Path> {
        let name = Text::compile(at.text()?).ok()?.lone_name()?;
        let setting = name.strip_prefix("settings.")?;
        let default = self.defined.kinds.get(setting)?.get("default")?;
        let told = self.given.get(setting) == Some(default);
        told.then(|| Path(["settings", setting, "default"].map(str::to_owned).to_vec()))
    }

    /// A JSON Pointer.
    pub fn pointer(&mut self, at: &At<'_>) -> Option<Pointer> {
        match Pointer::parse(&self.place_text(at)?) {
            Ok(pointer) => Some(pointer),
            Err(wrong) => {
                let message = format!("this is no JSON Pointer: {wrong}");
                let fix = at.text().and_then(|text| pointer_meant(text, Place::value(&at.path)));
                let help = "a pointer names the keys that lead to a value: `/data/date`; the whole is \"\"";
                let mistake = Mistake::new(Code::BadPointer, Place::value(&at.path), message);
                self.report_place(at, mistake.help(help).fix(fix));
                None
            }
        }
    }

    /// One pointer, or several.
    pub fn pointers(&mut self, at: &At<'_>) -> Vec<Pointer> {
        at.one_or_many().iter().filter_map(|at| self.pointer(at)).collect()
    }

    /// A pick: a pointer, or a map with one place.
    pub fn pick(&mut self, at: &At<'_>) -> Option<Pick> {
        if at.text().is_some() {
            return self.pointer(at).map(Pick::Item);
        }
        self.not_built_keys(at, &["value"]);
        self.place(at)
    }

    /// The place that a map names: `header`, `query`, `form`, `item` or `body`.
    pub fn place(&mut self, at: &At<'_>) -> Option<Pick> {
        if let Some(name) = at.get("header") {
            return self.header_name(&name).map(|name| Pick::Header(name.to_ascii_lowercase()));
        }
        if let Some(name) = at.text_of("query") {
            return Some(Pick::Query(name.to_owned()));
        }
        if let Some(name) = at.text_of("form") {
            return Some(Pick::Form(name.to_owned()));
        }
        if let Some(at) = at.get("item") {
            return self.pointer(&at).map(Pick::Item);
        }
        at.get("body").and_then(|at| self.pointer(&at)).map(Pick::Body)
    }

    /// One pick, or several.
    pub fn picks(&mut self, at: &At<'_>) -> Vec<Pick> {
        at.one_or_many().iter().filter_map(|at| self.pick(at)).collect()
    }

    /// Names and what is saved under them.
    pub fn saves(&mut self, at: &At<'_>) -> Vec<(String, Pick)> {
        at.entries().filter_map(|(name, at)| Some((name.to_owned(), self.pick(&at)?))).collect()
    }

    /// `5m`, `90s`, `250ms`, `2h`, `7d`.
    pub fn duration(&mut self, at: &At<'_>) -> Option<Duration> {
        let text = at.text()?;
        let duration = units::duration(text);
        if duration.is_none() {
            self.report(
                Mistake::new(Code::BadDuration, Place::value(&at.path), format!("`{text}` is no duration"))
                    .help("write a number and a unit: 250ms, 30s, 5m, 2h, 7d"),
            );
        }
        duration
    }

    /// A time between two tries: none at all would never rest.
    pub fn pause(&mut self, at: &At<'_>) -> Option<Duration> {
        let pause = self.duration(at)?;
        if pause.is_zero() {
            let text = at.text().unwrap_or_default();
            self.report(
                Mistake::new(Code::BadDuration, Place::value(&at.path), format!("`{text}` is no pause"))
                    .help(
                        "it is done again and again with this much time in between: 5m, or 1s at the least",
                    ),
            );
        }
        Some(pause)
    }

    /// Statuses: numbers and classes such as `2xx`.
    pub fn statuses(&mut self, at: &At<'_>) -> Vec<StatusRange> {
        at.items().filter_map(|at| self.status_range(&at)).collect()
    }

    fn status_range(&mut self, at: &At<'_>) -> Option<StatusRange> {
        let range = match at.text() {
            Some(text) => match text.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok()) {
                Some(class @ 1..=5) => Some(StatusRange(class * 100, class * 100 + 99)),
                _ => text.parse().ok().and_then(status).map(|n| StatusRange(n, n)),
            },
            None => at.value.as_u64().and_then(status).map(|n| StatusRange(n, n)),
        };
        if range.is_none() {
            self.bad_status(at);
        }
        range
    }

    /// One status of an answer.
    pub fn status(&mut self, at: &At<'_>) -> Option<u16> {
        let found = at.value.as_u64().and_then(status);
        if found.is_none() && at.value.is_u64() {
            self.bad_status(at);
        }
        found
    }

    fn bad_status(&mut self, at: &At<'_>) {
        let message = format!("{} is no HTTP status", at.value);
        self.report(
            Mistake::new(Code::BadStatus, Place::value(&at.path), message)
                .help("a status is a number from 100 to 599; a class of them is written `2xx`"),
        );
    }

    /// A regular expression under a key; it runs in linear time, or it is none.
    pub fn regex(&mut self, at: &At<'_>, key: &str) {
        let Some(at) = at.get(key) else { return };
        if let Some(mistake) = at.text().and_then(|text| bad_regex(text, Place::value(&at.path))) {
            self.report(mistake);
        }
    }

    /// The name of a header.
    pub fn header_name(&mut self, at: &At<'_>) -> Option<String> {
        let name = self.place_text(at)?;
        if http::HeaderName::from_bytes(name.as_bytes()).is_ok() {
            return Some(name);
        }
        self.report_place(at, bad_header(&name, Place::value(&at.path)));
        None
    }
}

/// The pointer that was meant: with the slash that it lacks, or, as other notations have it, from `$` with dots. A dot may
/// be part of a key, so that only the first of them is sure.
fn pointer_meant(text: &str, place: Place) -> Option<Fix> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '/');
    let keys = text.strip_prefix('$').unwrap_or(text).trim_start_matches('.');
    if keys.is_empty() || text.starts_with('/') || !keys.chars().all(|c| word(c) || c == '.') {
        return None;
    }
    let sure = text.chars().all(word);
    Some(Fix::text(place, format!("/{}", keys.replace('.', "/"))).safe_if(sure))
}

/// What is wrong with a regular expression.
pub fn bad_regex(text: &str, place: Place) -> Option<Mistake> {
    let wrong = regex::Regex::new(text).err()?.to_string();
    let last = wrong.lines().next_back().unwrap_or_default().trim_start_matches("error: ");
    let mistake = Mistake::new(Code::BadRegex, place, format!("this is no regular expression: {last}"));
    Some(mistake.help("it must run in linear time: no look-around `(?=`, no back references `\\1`"))
}

/// A status that HTTP has.
fn status(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|n| (100..600).contains(n))
}

/// The format of a time.
pub fn time_format(name: Option<&str>) -> TimeFormat {
    match name {
        Some("unix") => TimeFormat::Unix,
        Some("unix_ms") => TimeFormat::UnixMs,
        Some("unix_ns") => TimeFormat::UnixNs,
        Some("http_date") => TimeFormat::HttpDate,
        _ => TimeFormat::Rfc3339,
    }
}
