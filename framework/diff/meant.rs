//! What a part of a connector means, in a form that two versions are compared by: with its vars worked in, and
//! without the blanks that mean nothing.
//!
//! Two parts that have the same form mean the same. Two that differ in it may still do the same; that is said as a
//! change, and never the other way round.

use std::fmt::Debug;

use serde_json::Value as Json;

use crate::connector::template::{Text, Tree, Vars};

/// How often vars are worked into vars.
const DEPTH: usize = 8;

/// Any part of the model.
pub fn part(part: &impl Debug, vars: &Vars) -> String {
    worked_in(format!("{part:?}"), vars, |source| format!("{source:?}").trim_matches('"').to_owned())
}

/// A text.
pub fn text(text: &Text, vars: &Vars) -> String {
    worked_in(text.source().to_owned(), vars, str::to_owned)
}

/// Data; the order of its keys means nothing.
pub fn tree(tree: &Tree, vars: &Vars) -> Json {
    match tree {
        Tree::Value(value) => value.clone(),
        Tree::Text(text) => Json::from(self::text(text, vars)),
        Tree::List(items) => items.iter().map(|item| self::tree(item, vars)).collect(),
        Tree::Map(entries) => {
            let entries = entries.iter().map(|(key, tree)| (key.clone(), self::tree(tree, vars)));
            Json::Object(entries.collect())
        }
    }
}

/// The text with what its vars say in their places; of those that stand inside an expression, what they say behind it.
fn worked_in(source: String, vars: &Vars, written: fn(&str) -> String) -> String {
    let mut form = tight(&source);
    for _ in 0..DEPTH {
        let before = form.len();
        for (name, text) in vars.iter() {
            form = form.replace(&format!("{{{{vars.{name}}}}}"), &tight(&written(text.source())));
        }
        if form.len() == before {
            break;
        }
    }
    for _ in 0..DEPTH {
        let behind = |name: &str| format!(" where {name} = ");
        let named = vars.iter().filter(|(name, _)| names(&form, name) && !form.contains(&behind(name)));
        let more: String = named.map(|(name, text)| behind(name) + &tight(&written(text.source()))).collect();
        if more.is_empty() {
            break;
        }
        form.push_str(&more);
    }
    form
}

/// Whether a text names a var.
fn names(text: &str, name: &str) -> bool {
    let name = format!("vars.{name}");
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(&name).any(|(at, _)| !text[at + name.len()..].starts_with(goes_on))
}

/// Without the blanks inside the braces' edges.
fn tight(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, behind) = after.split_once("}}").unwrap_or((after, ""));
        let inside = inside.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = if after.contains("}}") { "}}" } else { "" };
        out.extend([before, "{{", &inside, end]);
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars(all: &[(&str, &str)]) -> Vars {
        Vars::new(all.iter().map(|(name, text)| ((*name).to_owned(), compiled(text))).collect())
    }

    fn compiled(source: &str) -> Text {
        Text::compile(source).unwrap()
    }

    #[test]
    fn vars_are_worked_in_wherever_they_stand() {
        let with = vars(&[("api", "https://{{ settings.host }}/v2"), ("hooks", "{{ vars.api }}/hooks")]);
        let form = |source: &str, vars: &Vars| text(&compiled(source), vars);
        assert_eq!(
            form("{{ vars.hooks }}/1", &with),
            form("https://{{settings.host}}/v2/hooks/1", &vars(&[]))
        );
        let inside = "{{ vars.hooks | replace('a', 'b') }}";
        let other = vars(&[("api", "https://other.example/v2"), ("hooks", "{{ vars.api }}/hooks")]);
        assert_ne!(form(inside, &with), form(inside, &other));
        assert_eq!(form(inside, &with), form("{{  vars.hooks | replace('a', 'b')}}", &with));
        assert!(!names("vars.apis", "api") && names("x.vars.api | y", "api"));
    }

    #[test]
    fn the_order_of_keys_means_nothing() {
        let data = |data: Json| tree(&Tree::compile(&data).unwrap(), &vars(&[]));
        assert_eq!(data(json!({"a": 1, "b": ["{{ now }}"]})), data(json!({"b": ["{{now}}"], "a": 1})));
        assert_ne!(data(json!({"b": [1, 2]})), data(json!({"b": [2, 1]})));
    }
}
