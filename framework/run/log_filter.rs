//! What is logged: a level for everything of Forebay's own, and other levels for single parts of it.
//!
//! `cli` reads it from `--log-level`, `-v` and FOREBAY_LOG; `log` applies it. Libraries are never logged below WARN: what
//! they write at lower levels can hold what is on the wire, keys included.

use std::str::FromStr;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The parts that a filter can name, as the modules are called.
const PARTS: &[&str] =
    &["call", "cli", "condition", "connector", "deliver", "provision", "queue", "receive", "run", "simulate"];

/// What is logged.
#[derive(Debug, Clone)]
pub struct Filter(Targets);

impl Filter {
    /// Returns the filter of this level for everything of Forebay's own.
    pub fn of(level: LevelFilter) -> Self {
        let libraries = level.min(LevelFilter::WARN);
        Self(Targets::new().with_target("forebay", level).with_default(libraries))
    }
    /// Takes only errors of one part.
    #[must_use]
    pub fn without(self, part: &str) -> Self {
        Self(self.0.with_target(format!("forebay::{part}"), LevelFilter::ERROR))
    }

    /// Returns the filter for `tracing`.
    pub(super) fn targets(&self) -> Targets {
        self.0.clone()
    }
}

impl From<Level> for Filter {
    fn from(level: Level) -> Self {
        Self::of(LevelFilter::from_level(level))
    }
}

impl FromStr for Filter {
    type Err = String;

    /// Parses `LEVEL`, `PART=LEVEL`, and both separated by commas: `warn,receive=debug`. The error is a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = LevelFilter::INFO;
        let mut parts = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                None => all = level(word)?,
                Some((part, word)) => parts.push((target(part.trim())?, level(word.trim())?)),
            }
        }
        let filter = Self::of(all);
        Ok(Self(parts.into_iter().fold(filter.0, |targets, (part, level)| targets.with_target(part, level))))
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    match word.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(format!(
            "unknown log level: expected off, error, warn, info, debug or trace, got `{}`",
            word.escape_debug()
        )),
    }
}

/// The target of a part: `receive`, `receive::verify`, or the same after `forebay::`.
fn target(part: &str) -> Result<String, String> {
    let inner = part.strip_prefix("forebay::").unwrap_or(part);
    let first = inner.split("::").next().unwrap_or_default();
    if !PARTS.contains(&first) {
        let parts = PARTS.join(", ");
        return Err(format!(
            "unknown part of the log: expected one of {parts}, got `{}`",
            part.escape_debug()
        ));
    }
    Ok(format!("forebay::{inner}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_takes_levels_and_parts_and_never_wire_data_of_libraries() {
        let enabled = |filter: &str, target: &str, level: Level| {
            filter.parse::<Filter>().unwrap().0.would_enable(target, &level)
        };
        assert!(enabled("info", "forebay::run", Level::INFO));
        assert!(!enabled("info", "forebay::run", Level::DEBUG));
        assert!(!enabled("warn", "forebay::run", Level::INFO));
        assert!(enabled("warn,receive=debug", "forebay::receive::accept", Level::DEBUG));
        assert!(!enabled("warn,receive=debug", "forebay::queue", Level::INFO));
        assert!(enabled("forebay::receive::verify=trace", "forebay::receive::verify", Level::TRACE));
        assert!(enabled("trace", "hyper::proto", Level::WARN));
        assert!(!enabled("trace", "hyper::proto", Level::INFO));
        assert!(!enabled("off", "hyper::proto", Level::ERROR));
    }

    #[test]
    fn filter_with_unknown_level_or_part_is_refused_in_words() {
        let error = |text: &str| text.parse::<Filter>().unwrap_err();
        assert_eq!(
            error("loud"),
            "unknown log level: expected off, error, warn, info, debug or trace, got `loud`"
        );
        assert!(error("hyper=trace").starts_with("unknown part of the log: expected one of call, cli"));
        assert!(error("receive=").contains("got ``"));
    }
}
