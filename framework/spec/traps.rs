//! The places where YAML reads something else than people write: templates without quotes, brackets and quotes that are
//! not closed, a colon without its blank, a line that stands one blank too far in.
//!
//! `syntax` asks for the one that a parser's complaint is about. The text is no YAML: everything here goes by lines.

use std::ops::Range;

use serde_json::Value as Json;

use super::fix::Fix;
use super::place::Place;

/// What to do about `{{` without quotes.
pub const UNQUOTED_BRACES: &str =
    "to YAML an unquoted `{{` begins a map inside a map: write the value in quotes, \"{{ name }}\"";

/// What to do about commas and brackets in a one-line map.
pub const ONE_LINE_MAP: &str = "inside a one-line { map } YAML ends a value at `,`, `[`, `]`, `{` and `}`: write the value in \
     double quotes, or the map over several lines";

/// What was written, where, and what would mend it.
pub struct Trap {
    /// The bytes that it is about.
    pub bytes: Range<usize>,
    /// What to do.
    pub help: String,
    /// The same as a change of the file.
    pub fix: Option<Fix>,
}

impl Trap {
    fn new(bytes: Range<usize>, help: impl Into<String>) -> Self {
        Self { bytes, help: help.into(), fix: None }
    }

    /// What stands there becomes this.
    fn mended(self, yaml: impl Into<String>) -> Self {
        let bytes = self.bytes.clone();
        self.mended_at(bytes, yaml)
    }

    fn mended_at(mut self, bytes: Range<usize>, yaml: impl Into<String>) -> Self {
        self.fix = Some(Fix::yaml(Place::bytes(bytes), yaml));
        self
    }
}

/// The trap that a parser's complaint at a byte is about. The parser often stops in the line after the one that is wrong.
pub fn trap(text: &str, at: usize, why: &str) -> Option<Trap> {
    let line = line_of(text, at);
    let above = line_above(text, line.start);
    tab(text, &line, why)
        .or_else(|| [Some(&line), above.as_ref()].into_iter().flatten().find_map(|line| braces(text, line)))
        .or_else(|| odd_beginning(text, at, why))
        .or_else(|| quotes(text, at, why))
        .or_else(|| colon_in_a_text(text, at, why))
        .or_else(|| brackets(text, at, why))
        .or_else(|| [Some(&line), above.as_ref()].into_iter().flatten().find_map(|line| torn_map(text, line)))
        .or_else(|| no_key(text, at, why))
        .or_else(|| indentation(text, at, why))
}

/// A tab where YAML wants blanks.
fn tab(text: &str, line: &Range<usize>, why: &str) -> Option<Trap> {
    let next = line_of(text, (line.end + 1).min(text.len()));
    let indented = |line: &Range<usize>| {
        let words = text.get(line.clone())?;
        let indent = words.len() - words.trim_start().len();
        words.get(..indent)?.find('\t').map(|tab| line.start + tab..line.start + tab + 1)
    };
    if let Some(tab) = indented(line).or_else(|| indented(&next)) {
        return Some(Trap::new(tab, "YAML is indented with blanks, never with tabs"));
    }
    let words = text.get(line.clone())?;
    let tab = words.find('\t').filter(|tab| why.contains("whitespace") && words[..*tab].ends_with(':'))?;
    let width = words[tab..].len() - words[tab..].trim_start_matches('\t').len();
    let bytes = line.start + tab..line.start + tab + width;
    Some(Trap::new(bytes, "behind a colon stands a blank, not a tab").mended(" "))
}

/// A template that begins a value without quotes.
fn braces(text: &str, line: &Range<usize>) -> Option<Trap> {
    let words = text.get(line.clone())?;
    let begins = |at: &usize| {
        let before = words[..*at].trim_end();
        before.is_empty() || before.ends_with([':', '-', '[', '{', ','])
    };
    let found = |wanted: &str| outside_quotes(words, wanted).filter(begins);
    let at = line.start + found("{{").or_else(|| found("{%"))?;
    let mut trap = Trap::new(at..line.end, UNQUOTED_BRACES);
    trap.fix = quoted(text, at);
    Some(trap)
}

/// The value that begins with these braces, in quotes. Nothing where it does not end on its line, or is a key.
pub fn quoted(text: &str, braces: usize) -> Option<Fix> {
    let line = line_of(text, braces);
    let rest = text.get(braces..line.end).filter(|rest| rest.starts_with("{{") || rest.starts_with("{%"))?;
    let before = text.get(line.start..braces)?;
    let open = open_brackets(before);
    let value = match before.trim_end().chars().next_back()? {
        ':' | '-' | '[' => true,
        ',' => open.last().is_some_and(|(_, bracket)| *bracket == '['),
        _ => false,
    };
    let end = value.then(|| value_end(rest, !open.is_empty()))??;
    let written = rest.get(..end)?.trim_end().trim_end_matches(',');
    Some(Fix::yaml(Place::bytes(braces..braces + written.len()), in_quotes(written)))
}

/// Where a value with templates ends: at its comment, or, within brackets, at what ends it there.
fn value_end(rest: &str, bracketed: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(c) = rest.get(at..)?.chars().next() {
        if let Some(close) =
            [("{{", "}}"), ("{%", "%}")].iter().find(|(open, _)| rest[at..].starts_with(open))
        {
            at += rest[at..].find(close.1)? + 2;
        } else if bracketed && matches!(c, ',' | '}' | ']') || rest[at..].starts_with(" #") {
            break;
        } else {
            at += c.len_utf8();
        }
    }
    Some(at)
}

/// A value that begins with what YAML keeps for itself.
fn odd_beginning(text: &str, at: usize, why: &str) -> Option<Trap> {
    let c = text.get(at..)?.chars().next().filter(|_| why.contains("unexpected character"))?;
    let line = line_of(text, at);
    let before = text.get(line.start..at)?;
    let rest = text.get(at..line.end)?;
    let value = rest.get(..value_end(rest, !open_brackets(before).is_empty())?)?.trim_end();
    let trap = Trap::new(at..at + value.len(), format!("a value that begins with `{c}` wants quotes"));
    Some(if before.trim_end().ends_with([':', '-', '[']) { trap.mended(in_quotes(value)) } else { trap })
}

/// Quotes that are not closed, or that close too early.
fn quotes(text: &str, at: usize, why: &str) -> Option<Trap> {
    let line = line_of(text, at);
    if why.contains("trailing content") {
        let help =
            "the quotes are closed before this: inside '…' a quote is written twice, or take double quotes";
        return Some(Trap::new(at..line.end.max(at), help));
    }
    let quote = text.get(at..)?.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if !why.contains("quoted scalar") && !why.contains("end of stream") {
        return None;
    }
    let rest = text.get(at..line.end)?.trim_end();
    let trap = Trap::new(at..at + rest.len(), "these quotes are opened and not closed");
    let alone = !rest[1..].contains([quote, '#']) && open_brackets(text.get(line.start..at)?).is_empty();
    Some(if alone { trap.mended(format!("{rest}{quote}")) } else { trap })
}

/// A text with a colon and a blank in it.
fn colon_in_a_text(text: &str, at: usize, why: &str) -> Option<Trap> {
    if !text.get(at..)?.starts_with(": ") || !(why.contains("mapping")) {
        return None;
    }
    let line = line_of(text, at);
    let before = text.get(line.start..at)?;
    let open = open_brackets(before);
    let pair = open.last().map_or(0, |(bracket, _)| bracket + 1);
    let pair = pair.max(if open.is_empty() { 0 } else { before.rfind(',').map_or(0, |comma| comma + 1) });
    let begin = line.start + pair + before.get(pair..)?.find(": ")? + 2;
    let rest = text.get(at..line.end)?;
    let end = at + value_end(rest, !open.is_empty())?;
    let value = text.get(begin..end)?.trim_end();
    let bytes = begin..begin + value.len();
    Some(Trap::new(bytes, "a text with a colon and a blank in it wants quotes").mended(in_quotes(value)))
}

/// Brackets that are not closed, or that close nothing.
fn brackets(text: &str, at: usize, why: &str) -> Option<Trap> {
    if why.contains("misplaced bracket") {
        let help = "this bracket closes nothing";
        return Some(Trap::new(at..at + 1, help).mended("")).filter(|_| text.is_char_boundary(at + 1));
    }
    if !(why.contains("flow")
        || why == "invalid indentation"
        || why.contains("or ']'")
        || why.contains("or '}'"))
    {
        return None;
    }
    let mut line = Some(line_of(text, at));
    for _ in 0..20 {
        let here = line?;
        let words = text.get(here.clone())?;
        if let Some((bracket, open)) = open_brackets(words).last() {
            let place = here.start + bracket..here.start + bracket + 1;
            if let Some(comment) = words.find(" #").filter(|comment| comment > bracket) {
                let help = "` #` begins a comment, and what closes the bracket is in it: a text with ` #` wants quotes";
                return Some(Trap::new(here.start + comment + 1..here.end, help));
            }
            let close = if *open == '{' { '}' } else { ']' };
            let trap = Trap::new(place, format!("this `{open}` is not closed by a `{close}`"));
            let end = here.start + words.trim_end().len();
            let whole =
                open_brackets(words).len() == 1 && !words.trim_end().ends_with([',', '{', '[', '}', ']']);
            let mut trap = if whole { trap.mended_at(end..end, close.to_string()) } else { trap };
            // Where the file ends, more may be missing.
            trap.fix = trap.fix.map(|fix| fix.safe_if(line_of(text, at).end < text.trim_end().len()));
            return Some(trap);
        }
        line = line_above(text, here.start);
    }
    None
}

/// A one-line map that a bracket in it has torn.
fn torn_map(text: &str, line: &Range<usize>) -> Option<Trap> {
    let words = text.get(line.clone())?;
    let open = outside_quotes(words, "{")?;
    let inside = &words[open..];
    let colon = inside.find(": ")?;
    let torn = inside[colon..]
        .char_indices()
        .any(|(n, c)| c == '[' && inside[..colon + n].chars().next_back().is_some_and(char::is_alphanumeric));
    torn.then(|| Trap::new(line.start + open..line.end, ONE_LINE_MAP))
}

/// A line that is neither a key with its value nor an item of a list.
fn no_key(text: &str, at: usize, why: &str) -> Option<Trap> {
    if !why.contains("simple key expect") {
        return None;
    }
    let own = line_of(text, at);
    let ends = text.get(at..)?.trim().is_empty();
    let line =
        if ends && !text.get(own.clone())?.trim().is_empty() { own } else { line_above(text, own.start)? };
    let words = text.get(line.clone())?;
    let begin = line.start + words.len() - words.trim_start_matches([' ', '-']).len();
    let words = text.get(begin..line.end)?.trim_end();
    let bytes = begin..begin + words.len();
    if words.starts_with('{') {
        return Some(Trap::new(bytes, "a name is missing before the map: NAME: { … }"));
    }
    if let Some((key, value)) = words.split_once('\u{a0}') {
        let blank = begin + key.len()..begin + key.len() + '\u{a0}'.len_utf8();
        let help = "what looks like a blank here is another character (U+00A0)";
        return Some(Trap::new(blank.clone(), help).mended(if value.is_empty() { "" } else { " " }));
    }
    let is_key =
        |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    for between in [':', '='] {
        if let Some((key, value)) = words.split_once(between)
            && is_key(key.trim())
        {
            let help = "between a key and its value stand a colon and a blank";
            return Some(Trap::new(bytes, help).mended(format!("{}: {}", key.trim(), value.trim())));
        }
    }
    let shown = crate::error::escaped(words, 60);
    Some(Trap::new(bytes, format!("this is no key with a value: is a colon missing, as in `{shown}: …`?")))
}

/// A line that stands where no line above it does.
fn indentation(text: &str, at: usize, why: &str) -> Option<Trap> {
    let deeper = why.contains("mapping values are not allowed");
    if !(deeper || why.contains("did not find expected")) {
        return None;
    }
    let line = line_of(text, at);
    let indent = |line: &Range<usize>| {
        let words = text.get(line.clone()).unwrap_or_default();
        words.len() - words.trim_start_matches(' ').len()
    };
    let own = indent(&line);
    let words = line.start + own..line.start + text.get(line.clone())?.trim_end().len();
    let above = line_above(text, line.start)?;
    if deeper && own > indent(&above) {
        let help = "this line is indented deeper than the one above, which has its value already";
        let blanks = " ".repeat(indent(&above));
        return Some(Trap::new(words, help).mended_at(line.start..line.start + own, blanks));
    }
    // The blocks that are open here, from the inside out.
    let (mut open, mut next) = (Vec::new(), Some(above));
    while let Some(line) = next {
        if open.last().is_none_or(|inner| indent(&line) < *inner) {
            open.push(indent(&line));
        }
        next = line_above(text, line.start).filter(|_| open.last() != Some(&0));
    }
    if why.contains("'-' indicator") && open.contains(&own) {
        return Some(among_items(text, &line, words));
    }
    let stand = open.iter().rev().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let help = format!(
        "this line is indented by {own}, and what is open above it by {stand}: the keys of one map stand exactly below each other"
    );
    (!open.contains(&own)).then(|| Trap::new(words, help))
}

/// A line that is no item among those that are, or one item among lines that are keys.
fn among_items(text: &str, line: &Range<usize>, words: Range<usize>) -> Trap {
    let indent = words.start - line.start;
    let at_this_depth = |line: &Range<usize>| {
        let words = text.get(line.clone()).unwrap_or_default();
        (words.len() - words.trim_start_matches(' ').len() == indent)
            .then(|| words.trim_start().starts_with("- "))
    };
    let (mut items, mut next) = (Vec::new(), line_above(text, line.start));
    while let Some(above) = next {
        if at_this_depth(&above) == Some(true) {
            items.push(above.start + indent..above.end);
        }
        next =
            line_above(text, above.start).filter(|_| items.len() < 2 && at_this_depth(&above) != Some(false));
    }
    match items.as_slice() {
        [one] => {
            Trap::new(one.clone(), "this begins a list, and the lines below it are keys: leave out the `- `")
        }
        _ => Trap::new(words, "the lines above are items of a list, each behind a `- `, and this is none"),
    }
}

/// A text in quotes: in single ones where it has double quotes in it.
fn in_quotes(value: &str) -> String {
    match value.contains(['"', '\\']) && !value.contains('\'') {
        true => format!("'{value}'"),
        false => Json::from(value).to_string(),
    }
}

/// The brackets that a line has opened and not closed, outside quotes, each with its byte. One that another closes stays.
fn open_brackets(line: &str) -> Vec<(usize, char)> {
    let (mut open, mut quote): (Vec<(usize, char)>, _) = (Vec::new(), None);
    for (n, c) in line.char_indices() {
        match quote {
            Some(opened) if c == opened => quote = None,
            Some(_) => {}
            None if line[n..].starts_with(" #") => break,
            None if begins_quotes(line, n, c) => quote = Some(c),
            None if matches!(c, '{' | '[') => open.push((n, c)),
            None if matches!(c, '}' | ']') => {
                let opened = if c == '}' { '{' } else { '[' };
                if open.last().is_some_and(|(_, last)| *last == opened) {
                    open.pop();
                }
            }
            None => {}
        }
    }
    open
}

/// Whether a character begins a text in quotes: at the beginning of a value.
fn begins_quotes(line: &str, at: usize, c: char) -> bool {
    (c == '"' || c == '\'') && line[..at].trim_end().ends_with([':', '-', '{', '[', ','])
}

/// Where a text stands in a line outside quotes and comments.
fn outside_quotes(line: &str, wanted: &str) -> Option<usize> {
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

/// The nearest line with content above a byte where a line begins.
fn line_above(text: &str, start: usize) -> Option<Range<usize>> {
    let mut start = start;
    while start > 0 {
        let line = line_of(text, start - 1);
        let words = text.get(line.clone()).unwrap_or_default().trim_start();
        if !words.is_empty() && !words.starts_with('#') {
            return Some(line);
        }
        start = line.start;
    }
    None
}
