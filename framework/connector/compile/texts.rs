//! Templates and conditions of a spec: compiled, and their names checked against the place they stand at.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;

use super::at::At;
use super::check::Checked;
use super::compiler::Compiler;
use super::names::Here;
use crate::connector::template::{Condition, SyntaxError, Text, Tree, Vars};
use crate::spec::fix::Fix;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::path::Path;

/// A name of ours with too few braces around it.
static SINGLE: LazyLock<Regex> = LazyLock::new(|| {
    let name = r"(?:settings|secrets|vars|instance|state|receiver|auth|request|response|item|current|desired|batch)\.[\w.]+";
    // A map may be among what is in the braces.
    let within = r"(?:[^{}\x22]|\{[^{}\x22]*\})*";
    Regex::new(&format!(r"(?:^|[^{{$])(\$?\{{\s*{name}[^{{}}]*\}}{{1,2}}|\{{{within}\b{name}{within}\}}\}})"))
        .expect("it is fixed")
});

impl Compiler {
    /// A text with `{{ }}`. Numbers and booleans are texts as they are written.
    pub fn text(&mut self, at: &At<'_>, here: Here) -> Option<Text> {
        self.text_within(at, 0, here)
    }

    /// A text that begins at a byte of a value.
    pub fn text_within(&mut self, at: &At<'_>, start: usize, here: Here) -> Option<Text> {
        let value = scalar(at)?;
        let source = value.get(start..)?;
        match Text::compile(source) {
            Ok(text) => {
                self.check_text(Checked { at, start, here }, &text);
                Some(text)
            }
            Err(wrong) => {
                self.syntax(Code::TemplateSyntax, &at.path, source, start, &wrong);
                None
            }
        }
    }

    /// The text under a key.
    pub fn text_of(&mut self, at: &At<'_>, key: &str, here: Here) -> Option<Text> {
        at.get(key).and_then(|at| self.text(&at, here))
    }

    /// Data with texts in its leaves.
    pub fn tree(&mut self, at: &At<'_>, here: Here) -> Option<Tree> {
        match Tree::compile(at.value) {
            Ok(tree) => {
                self.check_leaves(at, here);
                Some(tree)
            }
            Err(wrong) => {
                for (pointer, wrong) in wrong {
                    let path = Path([at.path.0.clone(), Path::from_pointer(&pointer).0].concat());
                    let source = at.value.pointer(&pointer).and_then(Json::as_str).unwrap_or_default();
                    self.syntax(Code::TemplateSyntax, &path, source, 0, &wrong);
                }
                None
            }
        }
    }

    fn check_text(&mut self, checked: Checked<'_, '_>, text: &Text) {
        self.single_braces(checked.at, text.source(), checked.start);
        self.check_names(checked, &text.names());
        self.check_literals(checked, &text.literals());
        self.check_embedded(checked, &text.embedded());
    }

    fn check_leaves(&mut self, at: &At<'_>, here: Here) {
        match at.value {
            Json::String(source) if source.contains("{{") || source.contains("{%") => {
                if let Ok(text) = Text::compile(source) {
                    self.check_text(Checked { at, start: 0, here }, &text);
                }
            }
            Json::String(source) => drop(self.single_braces(at, source, 0)),
            Json::Array(_) => at.items().for_each(|at| self.check_leaves(&at, here)),
            Json::Object(_) => at.entries().for_each(|(_, at)| self.check_leaves(&at, here)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// A name in single braces is no mistake to a template: it would be sent as it stands.
    pub fn single_braces(&mut self, at: &At<'_>, source: &str, start: usize) -> bool {
        let Some(found) = SINGLE.captures(source).and_then(|found| found.get(1)) else { return false };
        let bytes = start + found.start()..start + found.end();
        let name = found.as_str().trim_start_matches('$');
        let name = name.strip_prefix('{').unwrap_or(name);
        let name = name.strip_suffix("}}").or_else(|| name.strip_suffix('}')).unwrap_or(name).trim();
        self.report(
            Mistake::new(
                Code::TemplateSyntax,
                Place::within(&at.path, bytes),
                "single braces: this is sent as it stands",
            )
            .help(format!("write `{{{{ {name} }}}}`"))
            .fix(Fix::text(
                Place::within(&at.path, start + found.start()..start + found.end()),
                format!("{{{{ {name} }}}}"),
            )),
        );
        true
    }

    /// A bare expression.
    pub fn condition(&mut self, at: &At<'_>, here: Here) -> Option<Condition> {
        let source = scalar(at)?;
        if let Some(braces) = source.find("{{").or_else(|| source.find("{%")) {
            let end = source.rfind("}}").or_else(|| source.rfind("%}")).map_or(source.len(), |end| end + 2);
            let inner = source.replace("{{", " ").replace("}}", " ");
            let inner = inner.split_whitespace().collect::<Vec<_>>().join(" ");
            let whole = source.trim().starts_with("{{") && source.trim().ends_with("}}");
            let alone = whole && source.matches("{{").count() == 1 && Condition::compile(&inner).is_ok();
            let fix = Fix::text(Place::value(&at.path), inner.clone()).safe_if(alone);
            self.report(
                Mistake::new(
                    Code::Braces,
                    Place::within(&at.path, braces..end.max(braces)),
                    "this key decides: it takes a bare expression, without braces",
                )
                .help(format!("write it bare: `{inner}`"))
                .fix(fix),
            );
            return None;
        }
        match Condition::compile(&source) {
            Ok(condition) => {
                let text = Checked { at, start: 0, here };
                self.check_names(text, &condition.names());
                self.check_literals(text, &condition.literals());
                Some(condition)
            }
            Err(wrong) => {
                self.syntax(Code::ExpressionSyntax, &at.path, &source, 0, &wrong);
                None
            }
        }
    }

    /// The vars; a cycle among them is reported once.
    pub fn vars(&mut self, top: &At<'_>) -> Vars {
        let entries: Vec<(&str, At<'_>)> = top.get("vars").iter().flat_map(At::entries).collect();
        let mut texts = Vec::new();
        let mut cyclic = Vec::new();
        for (name, at) in &entries {
            let Some(text) = self.text(at, Here::Var) else { continue };
            let own = format!("vars.{name}");
            let around = self.defined.through_vars(&text.names());
            if around.iter().any(|(used, _)| *used == own) && !cyclic.contains(&own) {
                cyclic.extend(around.into_iter().map(|(used, _)| used));
                cyclic.push(own.clone());
                self.report(
                    Mistake::new(Code::Cycle, Place::key(&at.path), format!("`{own}` needs itself"))
                        .help("vars may use vars, as long as none of them leads back"),
                );
            }
            texts.push(((*name).to_owned(), text));
        }
        // What vars in a cycle would bring along is no mistake of whoever uses them.
        for (name, names) in self.defined.vars.iter_mut().flatten() {
            if cyclic.contains(&format!("vars.{name}")) {
                names.clear();
            }
        }
        Vars::new(texts)
    }

    /// Names and texts.
    pub fn texts(&mut self, at: &At<'_>, here: Here) -> Vec<(String, Text)> {
        at.entries().filter_map(|(name, at)| Some((name.to_owned(), self.text(&at, here)?))).collect()
    }

    fn syntax(&mut self, code: Code, path: &Path, source: &str, start: usize, wrong: &SyntaxError) {
        let operator = foreign_operator(source, wrong.offset);
        let bytes =
            operator.as_ref().map_or_else(|| around(source, wrong.offset), |(bytes, _)| bytes.clone());
        let place = Place::within(path, start + bytes.start..start + bytes.end);
        let ours = operator.map(|(_, ours)| ours);
        let fix = ours.clone().map(|ours| Fix::text(place.clone(), ours));
        let fix = fix.or_else(|| wrong.meant.map(|meant| Fix::meant(place.clone(), meant)));
        let mut mistake = Mistake::new(code, place, wrong.message.clone()).fix(fix);
        let written = ours.map(|ours| format!("write `{}`", ours.trim()));
        mistake.help = Some(written.or_else(|| wrong.help.clone()).unwrap_or_else(|| {
            match code {
                Code::ExpressionSyntax => "a condition is written like `current.status == 'active'`",
                _ => "a value is put in with `{{ settings.name }}`; filters follow a bar: `{{ x | urlencode }}`",
            }
            .to_owned()
        }));
        self.report(mistake);
    }
}

/// Operators of other languages, and how they are written here; the longer ones first.
const OPERATORS: &[(&str, &str)] =
    &[("===", "=="), ("!==", "!="), ("&&", "and"), ("||", "or"), ("<>", "!="), ("=", "=="), ("!", "not ")];

/// What another language or a word processor would write where a text could not be read on, and what is meant by it.
fn foreign_operator(source: &str, offset: usize) -> Option<(Range<usize>, String)> {
    let rest = source.get(offset..)?;
    let at = offset + rest.len() - rest.trim_start().len();
    let curly = ['\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}'];
    if let Some(inside) = source.get(at..)?.strip_prefix(curly)
        && let Some(close) = inside.find(curly)
    {
        let end = source.len() - inside.len() + close;
        let end = end + source.get(end..)?.chars().next().map_or(0, char::len_utf8);
        return Some((at..end, format!("'{}'", inside.get(..close)?)));
    }
    // What was read of it stands before the place.
    [at.saturating_sub(2), at.saturating_sub(1), at].into_iter().find_map(|at| {
        let found =
            |(theirs, _): &&(&str, &str)| source.get(at..).is_some_and(|rest| rest.starts_with(theirs));
        let (theirs, ours) = OPERATORS.iter().find(found)?;
        let whole = at + theirs.len() > offset && !matches!(*theirs, "=" | "!") || is_alone(source, at);
        whole.then(|| (at..at + theirs.len(), (*ours).to_owned()))
    })
}

/// Whether the `=` or `!` at a byte is no part of an operator that there is.
fn is_alone(source: &str, at: usize) -> bool {
    let before = source[..at].chars().next_back();
    let after = source[at + 1..].chars().next();
    !before.is_some_and(|c| "=!<>".contains(c)) && after != Some('=')
}

/// The word that begins at a byte, or the one character there.
fn around(source: &str, offset: usize) -> Range<usize> {
    let rest = source.get(offset..).unwrap_or_default();
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let one = rest.chars().next().map_or(0, char::len_utf8);
    offset..offset + word.max(one)
}

/// The text of a scalar.
pub fn scalar(at: &At<'_>) -> Option<String> {
    match at.value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
