//! Warnings that an author accepts, in the spec itself: `# forebay: allow FB504 the vendor signs no time`.
//!
//! Such a comment is about the line it stands on, or, alone on a line, about the next one with content. It takes
//! warnings alone, never errors, and says why. One that says nothing or allows nothing is itself a finding.

use std::ops::Range;

use super::diagnostic::{Diagnostic, in_order, placed};
use super::document::Document;
use super::fix::Fix;
use super::mistake::{Code, Mistake, Place, Severity};
use super::nearest::nearest;

/// A warning that a comment allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// The warning.
    pub diagnostic: Diagnostic,
    /// Why it is accepted, in the author's words.
    pub reason: String,
}

/// How such a comment is written.
const WRITTEN: &str = "write `# forebay: allow CODE REASON`, on the line of the warning or above it";

/// One comment that allows something.
struct Allowance {
    /// The codes that it names, and where.
    codes: Vec<(String, Range<usize>)>,
    reason: String,
    /// The whole comment.
    comment: Range<usize>,
    /// The line that it is about.
    line: usize,
}

/// Takes the warnings out that comments allow, and adds what is wrong with these comments.
pub fn settle(document: &Document, diagnostics: Vec<Diagnostic>) -> (Vec<Diagnostic>, Vec<Allowed>) {
    let (allowances, mut mistakes) = allowances(document);
    if allowances.is_empty() && mistakes.is_empty() {
        return (diagnostics, Vec::new());
    }
    let (mut left, mut allowed) = (Vec::new(), Vec::new());
    for diagnostic in diagnostics {
        let about = |one: &&Allowance| {
            one.line == diagnostic.span.line && one.codes.iter().any(|(id, _)| id == diagnostic.code.id())
        };
        match allowances.iter().find(about).filter(|_| diagnostic.severity == Severity::Warning) {
            Some(one) => allowed.push(Allowed { diagnostic, reason: one.reason.clone() }),
            None => left.push(diagnostic),
        }
    }
    // What is wrong may hide a warning: nothing is called needless before it is mended.
    let sound = left.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
    for allowance in &allowances {
        mistakes.extend(allowance.mistakes(document, &allowed, sound));
    }
    left.extend(placed(document, mistakes));
    in_order(&mut left);
    (left, allowed)
}

impl Allowance {
    fn mistakes(&self, document: &Document, allowed: &[Allowed], sound: bool) -> Vec<Mistake> {
        let mut found = Vec::new();
        for (id, bytes) in &self.codes {
            let place = Place::bytes(bytes.clone());
            let used =
                |one: &Allowed| one.diagnostic.code.id() == id && one.diagnostic.span.line == self.line;
            match Code::from_id(id) {
                None => found.push(unknown(id, place)),
                Some(code) if code.severity() == Severity::Error => found.push(
                    Mistake::new(
                        Code::AllowedError,
                        place,
                        format!("{id} is an error, and cannot be allowed"),
                    )
                    .help("an error is mended, and this comment removed: what has one is not played and does not run"),
                ),
                Some(_) if !sound || allowed.iter().any(used) => {}
                Some(_) => found.push(
                    Mistake::new(
                        Code::AllowedNothing,
                        place,
                        format!("line {} has no {id} that could be allowed", self.line),
                    )
                    .help("remove what allows nothing: it would hide the next one")
                    .fix(self.without(document, bytes)),
                ),
            }
        }
        if self.reason.is_empty() {
            let comment = Place::bytes(self.comment.clone());
            found.push(
                Mistake::new(
                    Code::AllowedUnsaid,
                    comment,
                    "this comment allows a warning and does not say why",
                )
                .help("write the reason behind the code: `# forebay: allow FB504 the vendor signs no time`"),
            );
        }
        found
    }

    /// The comment without one of its codes; without the last one there is no comment.
    fn without(&self, document: &Document, code: &Range<usize>) -> Fix {
        let text = &document.source.text;
        let bytes = if self.codes.len() > 1 {
            let behind = &text[code.end..self.comment.end];
            code.start..self.comment.end - behind.trim_start_matches([',', ' ']).len()
        } else {
            let line = document.source.line_of(self.comment.start);
            let content = text[line.start..self.comment.start].trim_end().len();
            match (content, text[line.end..].find('\n')) {
                (0, Some(end)) => line.start..line.end + end + 1,
                _ => line.start + content..self.comment.end,
            }
        };
        Fix::remove_bytes(bytes)
    }
}

fn unknown(id: &str, place: Place) -> Mistake {
    let near = nearest_code(id);
    let help = near.map_or_else(
        || "`forebay explain` lists the codes".to_owned(),
        |near| format!("did you mean {}? `forebay explain` lists the codes", near.id()),
    );
    let fix = near.map(|near| Fix::text(place.clone(), near.id()).suggested());
    Mistake::new(Code::AllowedUnknown, place, format!("there is no code {id}")).help(help).fix(fix)
}

/// The code that was probably meant.
pub fn nearest_code(id: &str) -> Option<Code> {
    nearest(id, Code::ALL.iter().map(|code| code.id())).and_then(Code::from_id)
}

/// The comments that allow something, and what cannot be read of them.
fn allowances(document: &Document) -> (Vec<Allowance>, Vec<Mistake>) {
    let (mut found, mut mistakes) = (Vec::new(), Vec::new());
    for comment in document.comments_to_us() {
        match read(document, comment) {
            Some(Ok(allowance)) => found.push(allowance),
            Some(Err(mistake)) => mistakes.push(*mistake),
            None => {}
        }
    }
    (found, mistakes)
}

/// One comment. What does not look like one that allows something is prose.
fn read(document: &Document, comment: Range<usize>) -> Option<Result<Allowance, Box<Mistake>>> {
    let text = document.source.text.get(comment.clone())?;
    let mut words = words(text, comment.start).skip_while(|(word, _)| matches!(*word, "#" | "#forebay:"));
    let (mut verb, mut at) = words.next()?;
    if verb == "forebay:" {
        (verb, at) = words.next()?;
    }
    if verb != "allow" {
        let meant = nearest(verb, ["allow"]).is_some() || matches!(verb, "ignore" | "disable" | "suppress");
        let place = Place::bytes(at);
        let wrong =
            Mistake::new(Code::AllowedUnsaid, place.clone(), format!("`{verb}` is nothing to say here"));
        return meant.then(|| Err(Box::new(wrong.help(WRITTEN).fix(Fix::text(place, "allow")))));
    }
    let codes: Vec<(String, Range<usize>)> = words
        .map(|(word, at)| (word.trim_end_matches([',', ':']).to_owned(), at))
        .take_while(|(word, _)| looks_like_a_code(word))
        .map(|(word, at)| (word.to_uppercase(), at.start..at.start + word.len()))
        .collect();
    let Some((_, last)) = codes.last() else {
        let wrong = Mistake::new(Code::AllowedUnsaid, Place::bytes(comment), "this comment allows no code");
        return Some(Err(Box::new(wrong.help(WRITTEN))));
    };
    let reason =
        document.source.text[last.end..comment.end].trim_start_matches([',', ':', '-', '–', '—', ' ']);
    let line = document.line_meant_by(comment.start);
    Some(Ok(Allowance { reason: reason.trim().to_owned(), codes, comment, line }))
}

/// The words of a text, each with its bytes in the file.
fn words(text: &str, start: usize) -> impl Iterator<Item = (&str, Range<usize>)> {
    text.split([' ', '\t'])
        .scan(start, |at, word| {
            let bytes = *at..*at + word.len();
            *at = bytes.end + 1;
            Some((word, bytes))
        })
        .filter(|(word, _)| !word.is_empty())
}

/// Two or more letters and figures behind them: FB504, and what was meant to be one.
fn looks_like_a_code(word: &str) -> bool {
    let letters = word.chars().take_while(char::is_ascii_alphabetic).count();
    let figures = &word[letters..];
    (1..=3).contains(&letters) && !figures.is_empty() && figures.bytes().all(|b| b.is_ascii_digit())
}

impl Document {
    /// The comments that begin with `forebay:`, each to the end of its line. What stands in a text is none.
    fn comments_to_us(&self) -> Vec<Range<usize>> {
        let text = &self.source.text;
        let ours = |at: &usize| text[at + 1..].trim_start_matches([' ', '\t']).starts_with("forebay:");
        let alone = |at: &usize| text[..*at].chars().next_back().is_none_or(char::is_whitespace);
        text.match_indices('#')
            .map(|(at, _)| at)
            .filter(|at| ours(at) && alone(at) && !self.is_in_a_text(*at))
            .map(|at| at..self.source.line_of(at).end)
            .collect()
    }

    /// The line that a comment is about: its own where that has content, else the next that has.
    fn line_meant_by(&self, comment: usize) -> usize {
        let own = self.source.line_of(comment);
        let line = self.source.span(comment..comment).line;
        if !self.source.text[own.start..comment].trim().is_empty() {
            return line;
        }
        let content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let below = self.source.text.lines().enumerate().skip(line).find(|(_, text)| content(text));
        below.map_or(line, |(n, _)| n + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::source::Source;

    fn comments(text: &str) -> Vec<String> {
        let (document, mistakes) = Document::parse(Source::new("x.yaml", text));
        assert_eq!(mistakes, []);
        document.comments_to_us().into_iter().map(|at| document.source.text[at].to_owned()).collect()
    }

    #[test]
    fn a_comment_is_no_text_and_a_text_no_comment() {
        let text = "a: 1 # forebay: allow FB504 one\n#forebay: allow FB504 two\nb: '# forebay: allow FB504'\n\
                    c: \"x # forebay: allow FB504\"\nd: |\n  # forebay: allow FB504 text\n\n# forebay: allow FB504 three\n\
                    e: x#forebay:allow\nf: >\n  text\n  # forebay: allow\n   # forebay: allow FB504\n # forebay: allow FB504 four\n";
        let found = comments(text);
        let last: Vec<&str> = found.iter().filter_map(|comment| comment.rsplit(' ').next()).collect();
        assert_eq!(last, ["one", "two", "three", "four"], "{found:?}");
    }

    #[test]
    fn codes_and_reason_are_told_apart() {
        let text = "# forebay: allow FB504, fb508: FB is ours\na: 1\n";
        let (document, _) = Document::parse(Source::new("x.yaml", text));
        let one = read(&document, 0..text.find('\n').unwrap()).unwrap().unwrap();
        let ids: Vec<&str> = one.codes.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((ids, one.reason.as_str(), one.line), (vec!["FB504", "FB508"], "FB is ours", 2));
        assert_eq!(&text[one.codes[1].1.clone()], "fb508");
    }
}
