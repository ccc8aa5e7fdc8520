//! What YAML does to the things people write, said in words.

use super::mistake::{Code, Mistake, Place};
use super::nearest::nearest;
use super::traps::{Trap, trap};

/// Explains why a text cannot be parsed at a byte.
pub fn explain(text: &str, at: usize, why: &str) -> Mistake {
    let at = at.min(text.len());
    if why.contains("unknown anchor") {
        return unknown_anchor(text, at);
    }
    let message = format!("this is no YAML: {why}");
    match trap(text, at, why) {
        Some(Trap { bytes, help, fix }) => {
            Mistake::new(Code::Syntax, Place::bytes(bytes), message).help(help).fix(fix)
        }
        None => Mistake::new(Code::Syntax, Place::bytes(at..at), message)
            .help("look at the indentation, and at quotes and brackets that are opened and not closed"),
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
        None => "an alias `*name` repeats what an anchor `&name` before it names; a text that begins with `*` wants quotes"
            .to_owned(),
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
