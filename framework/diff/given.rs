//! What a person gives: settings and secrets. One that is gone, newly needed or takes less breaks a configuration.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::finding::Findings;
use super::ranges;
use crate::connector::model::{Connector, Required, SecretSpec, Setting};
use crate::connector::template::Condition;
use crate::docs::allowed::shown;
use crate::docs::words;

const REFUSED: &str = "a configuration that gives it is refused: take it out";

/// Compares the settings.
pub fn settings(old: &Connector, new: &Connector, found: &mut Findings) {
    let before: BTreeSet<&str> = old.settings.iter().map(|setting| setting.name.as_str()).collect();
    for setting in &old.settings {
        let about = format!("settings.{}", setting.name);
        match new.settings.iter().find(|other| other.name == setting.name) {
            Some(other) => setting_changed(old, new, (setting, other), found),
            None => {
                let heir = new.settings.iter().find(|other| {
                    !before.contains(other.name.as_str()) && other.title.eq_ignore_ascii_case(&setting.title)
                });
                let heir = heir.map(|other| format!("; it seems to be `{}` now", other.name));
                found.breaks(about, "the setting is gone", format!("{REFUSED}{}", heir.unwrap_or_default()));
            }
        }
    }
    for setting in new.settings.iter().filter(|setting| !before.contains(setting.name.as_str())) {
        let about = format!("settings.{}", setting.name);
        added((old, new), about, "setting", &setting.required, found);
    }
}

/// Compares the secrets.
pub fn secrets(old: &Connector, new: &Connector, found: &mut Findings) {
    for secret in &old.secrets {
        let about = format!("secrets.{}", secret.name);
        match new.secrets.iter().find(|other| other.name == secret.name) {
            Some(other) => secret_changed((old, new), about, (secret, other), found),
            None => found.breaks(about, "the secret is gone", REFUSED),
        }
    }
    for secret in &new.secrets {
        if old.secrets.iter().all(|other| other.name != secret.name) {
            added((old, new), format!("secrets.{}", secret.name), "secret", &secret.required, found);
        }
    }
}

fn added(
    (old, new): (&Connector, &Connector),
    about: String,
    what: &str,
    required: &Required,
    found: &mut Findings,
) {
    match required {
        Required::No => found.safe(about, format!("a {what} that may be given")),
        Required::Yes => {
            found.breaks(about, format!("a {what} that must be given"), "give it before the upgrade");
        }
        Required::When(condition) => {
            let change = format!("a {what} that must be given when {}", words::condition(new, condition));
            if reachable(condition, old, new) {
                found.breaks(
                    about,
                    change,
                    "instances of which that holds have to give it before the upgrade",
                );
            } else {
                found.safe(about, change);
            }
        }
    }
}

fn setting_changed(old: &Connector, new: &Connector, (a, b): (&Setting, &Setting), found: &mut Findings) {
    let about = || format!("settings.{}", a.name);
    required((old, new), &about(), (&a.required, &b.required), found);
    let change = ranges::compare(&a.schema, &b.schema);
    for less in change.less {
        found.breaks(about(), less, "a configuration that gives such a value is refused: change the value");
    }
    for more in change.more {
        found.safe(about(), more);
    }
    if a.default != b.default {
        let said = |value: &Option<Json>| value.as_ref().map_or_else(|| "nothing".to_owned(), shown);
        let change =
            format!("where it is not given it was {}, and is {}", said(&a.default), said(&b.default));
        if a.default.is_none() {
            found.look(about(), change, "instances that do not give it run with that from now on");
        } else {
            found.breaks(about(), change, "an instance that relies on the old one has to give it");
        }
    }
}

fn secret_changed(
    both: (&Connector, &Connector),
    about: String,
    (a, b): (&SecretSpec, &SecretSpec),
    found: &mut Findings,
) {
    required(both, &about, (&a.required, &b.required), found);
    match (&a.pattern, &b.pattern) {
        (old, Some(new)) if old.as_ref() != Some(new) => {
            found.breaks(&about, format!("it must match `{new}`"), "a value that does not is refused");
        }
        (Some(old), None) => found.safe(&about, format!("it need not match `{old}` any more")),
        (_, _) => {}
    }
    match (a.generate.is_some(), b.generate.is_some()) {
        (true, false) => found.breaks(
            &about,
            "none is made any more where it is not given",
            "an instance that had its own made has to give one, at both ends",
        ),
        (false, true) => found.safe(&about, "one is made where it is not given"),
        (_, _) => {}
    }
}

/// When it must be given: what was left out before must not be missed now.
fn required(
    (old, new): (&Connector, &Connector),
    about: &str,
    (a, b): (&Required, &Required),
    found: &mut Findings,
) {
    const NEEDED: &str = "instances that leave it out are refused: give it before the upgrade";
    match (a, b) {
        (Required::No, Required::No) | (Required::Yes, Required::Yes) => {}
        (Required::No | Required::When(_), Required::Yes) => {
            found.breaks(about, "it must be given now", NEEDED);
        }
        (Required::Yes | Required::When(_), Required::No) => found.safe(about, "it may be left out now"),
        (Required::Yes, Required::When(condition)) => {
            let when = words::condition(new, condition);
            found.safe(about, format!("it must be given only when {when}"));
        }
        (Required::No, Required::When(condition)) => {
            let change = format!("it must be given when {}", words::condition(new, condition));
            if reachable(condition, old, new) {
                found.breaks(about, change, NEEDED);
            } else {
                found.safe(about, change);
            }
        }
        (Required::When(a), Required::When(b)) if a.source() != b.source() => {
            let change = format!(
                "it must be given when {}, and had to when {}",
                words::condition(new, b),
                words::condition(old, a)
            );
            if implies(b, a) || !reachable(b, old, new) {
                found.safe(about, change);
            } else {
                found.breaks(about, change, NEEDED);
            }
        }
        (Required::When(_), Required::When(_)) => {}
    }
}

/// Whether one condition holds only where the other does too, as far as both only compare.
fn implies(narrow: &Condition, wide: &Condition) -> bool {
    match (narrow.equalities(), wide.equalities()) {
        (Some(narrow), Some(wide)) => wide.iter().all(|pair| narrow.contains(pair)),
        (_, _) => false,
    }
}

/// Whether a condition of the new version can hold of a configuration that the old one took: not where it asks for a
/// value that the old one did not know.
fn reachable(condition: &Condition, old: &Connector, new: &Connector) -> bool {
    let Some(pairs) = condition.equalities() else { return true };
    pairs.iter().all(|(name, value)| {
        let Some(name) = name.strip_prefix("settings.") else { return true };
        match old.settings.iter().find(|setting| setting.name == name) {
            Some(setting) => {
                let listed = setting.schema.get("enum").and_then(Json::as_array);
                listed.is_none_or(|values| values.contains(value))
            }
            None => {
                let setting = new.settings.iter().find(|setting| setting.name == name);
                setting.and_then(|setting| setting.default.as_ref()) == Some(value)
            }
        }
    })
}
