//! What YAML does to the things people write, said in words.

use std::ops::Range;

use serde_json::Value as Json;

use super::fix::Fix;
use super::mistake::{Code, Mistake, Place};
use super::nearest::nearest;

/// Explains why a text cannot be parsed at a byte.
pub fn explain(text: &str, at: usize, why: &str) -> Mistake {
    let at = at.min(text.len());
    if why.contains("unknown anchor") {
        return unknown_anchor(text, at);
    }
    let line = line_of(text, at);
    // The parser often stops at the beginning of the line after the one that is wrong.
    let lines = [line.clone(), line_of(text, line.start.saturating_sub(1))];
    let trap = lines.iter().find_map(|line| trap(text, line.clone()));
    match trap {
        Some((bytes, help)) => {
            let fix = quoted(text, bytes.start);
            Mistake::new(Code::Syntax, Place::bytes(bytes), format!("this is no YAML: {why}"))
                .help(help)
                .fix(fix)
        }
        None => {
            let next = line_of(text, (line.end + 1).min(text.len()));
            let tab = [line, next].into_iter().find_map(|line| indent_tab(text, line));
            let help = match tab {
                Some(_) => "YAML is indented with blanks, never with tabs",
                None => "look at the indentation, and at quotes and brackets that are opened and not closed",
            };
            let bytes = tab.unwrap_or(at..at);
            Mistake::new(Code::Syntax, Place::bytes(bytes), format!("this is no YAML: {why}")).help(help)
        }
    }
}

/// An alias that names no anchor before it.
fn unknown_anchor(text: &str, at: usize) -> Mistake {
    let word = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let end =
            rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}')).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    };
    // The parser stands at the alias, or behind it.
    let star =
        text.get(..at + 1).or_else(|| text.get(..at)).and_then(|before| before.rfind('*')).unwrap_or(at);
    let alias = word(star);
    let anchors: Vec<&str> =
        text.match_indices('&').map(|(at, _)| word(at + 1)).filter(|name| !name.is_empty()).collect();
    let place = Place::bytes(star..star + alias.len());
    let help = match nearest(alias.trim_start_matches('*'), anchors.iter().copied()) {
        Some(near) => format!("did you mean `*{near}`? An anchor `&{near}` stands before its aliases"),
        None => "an alias `*name` repeats what an anchor `&name` before it names".to_owned(),
    };
    let mut mistake = Mistake::new(
        Code::Syntax,
        place,
        format!(
            "no anchor before this is called `{}`",
            crate::error::escaped(alias.trim_start_matches('*'), 60)
        ),
    );
    mistake = mistake.help(help);
    match nearest(alias.trim_start_matches('*'), anchors.iter().copied())
        .and_then(|near| text.find(&format!("&{near}")))
    {
        Some(anchor) => {
            mistake.related(Place::bytes(anchor..anchor + 1 + word(anchor + 1).len()), "this is an anchor")
        }
        None => mistake,
    }
}

/// What to do about `{{` without quotes.
pub const UNQUOTED_BRACES: &str =
    "to YAML an unquoted `{{` begins a map inside a map: write the value in quotes, \"{{ name }}\"";

/// What to do about commas and brackets in a one-line map.
pub const ONE_LINE_MAP: &str = "inside a one-line { map } YAML ends a value at `,`, `[`, `]`, `{` and `}`: write the value in \
     double quotes, or the map over several lines";

/// The value that begins with these braces, in quotes. Nothing where it does not end on its line, or is a key.
pub(super) fn quoted(text: &str, braces: usize) -> Option<Fix> {
    let line = line_of(text, braces);
    let rest = text.get(braces..line.end).filter(|rest| rest.starts_with("{{"))?;
    let before = text.get(line.start..braces)?;
    let open = open_brackets(before);
    let value = match before.trim_end().chars().next_back()? {
        ':' | '-' | '[' => true,
        ',' => open.last() == Some(&'['),
        _ => false,
    };
    let end = value.then(|| value_end(rest, !open.is_empty()))??;
    let written = rest.get(..end)?.trim_end().trim_end_matches(',');
    let quotes = written.contains(['"', '\\']) && !written.contains('\'');
    let yaml = if quotes { format!("'{written}'") } else { Json::from(written).to_string() };
    Some(Fix::yaml(Place::bytes(braces..braces + written.len()), yaml))
}

/// Where a value with templates ends: at its comment, or, within brackets, at what ends it there.
fn value_end(rest: &str, bracketed: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(c) = rest.get(at..)?.chars().next() {
        if rest[at..].starts_with("{{") {
            at += rest[at..].find("}}")? + 2;
        } else if bracketed && matches!(c, ',' | '}' | ']') || rest[at..].starts_with(" #") {
            break;
        } else {
            at += c.len_utf8();
        }
    }
    Some(at)
}

/// The brackets that a line has opened and not closed, outside quotes.
fn open_brackets(line: &str) -> Vec<char> {
    let (mut open, mut quote) = (Vec::new(), None);
    for (n, c) in line.char_indices() {
        match quote {
            Some(opened) if c == opened => quote = None,
            Some(_) => {}
            None if begins_quotes(line, n, c) => quote = Some(c),
            None if matches!(c, '{' | '[') => open.push(c),
            None if matches!(c, '}' | ']') => drop(open.pop()),
            None => {}
        }
    }
    open
}

/// Whether a character begins a text in quotes: at the beginning of a value.
fn begins_quotes(line: &str, at: usize, c: char) -> bool {
    (c == '"' || c == '\'') && line[..at].trim_end().ends_with([':', '-', '{', '[', ','])
}

/// The well-known traps in one line.
fn trap(text: &str, line: Range<usize>) -> Option<(Range<usize>, &'static str)> {
    let words = text.get(line.clone())?;
    if let Some(braces) = unquoted(words, "{{") {
        return Some((line.start + braces..line.end, UNQUOTED_BRACES));
    }
    let open = unquoted(words, "{")?;
    let inside = &words[open..];
    let bracket = inside.find(": ").and_then(|colon| {
        inside[colon..].char_indices().find(|(n, c)| {
            *c == '[' && inside[..colon + n].chars().next_back().is_some_and(char::is_alphanumeric)
        })
    });
    bracket.map(|_| (line.start + open..line.end, ONE_LINE_MAP))
}

/// A tab in the indentation of a line.
fn indent_tab(text: &str, line: Range<usize>) -> Option<Range<usize>> {
    let indent = text[line.clone()].find(|c: char| !c.is_whitespace())?;
    let tab = line.start + text[line.start..line.start + indent].find('\t')?;
    Some(tab..tab + 1)
}

/// Where a text stands in a line outside quotes and comments.
fn unquoted(line: &str, wanted: &str) -> Option<usize> {
    let mut quote = None;
    for (n, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if line[n..].starts_with(wanted) => return Some(n),
            None if c == '#' && line[..n].ends_with([' ', '\t']) => return None,
            None if begins_quotes(line, n, c) => quote = Some(c),
            None => {}
        }
    }
    None
}

fn line_of(text: &str, byte: usize) -> Range<usize> {
    let start = text[..byte].rfind('\n').map_or(0, |at| at + 1);
    let end = text[byte..].find('\n').map_or(text.len(), |at| byte + at);
    start..end
}
