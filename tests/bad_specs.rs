//! Every wrong spec in tests/bad-specs gets the diagnostics that its snapshot shows: the right mistakes, once
//! each, at the right place, with help. A new case is a new file.

use std::path::{Path, PathBuf};

use forebay::connector::load::{examine, examine_source};
use forebay::spec::apply::apply;
use forebay::spec::diagnostic::Diagnostic;
use forebay::spec::mistake::Code;
use forebay::spec::render;
use forebay::spec::source::Source;

fn cases() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/bad-specs")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn wrong_specs_get_their_diagnostics() {
    let cases = cases();
    assert!(cases.len() >= 25, "{} cases", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = show(case);
        // Every case is compared before the first difference fails the test.
        let compared = std::panic::catch_unwind(|| insta::assert_snapshot!(name.clone(), shown));
        failed.extend(compared.err().map(|_| name));
    }
    assert!(failed.is_empty(), "these differ from their snapshots: {}", failed.join(", "));
}

fn show(case: &Path) -> String {
    let examined = examine(case).unwrap();
    assert!(!examined.diagnostics.is_empty(), "{} is not wrong", case.display());
    for diagnostic in &examined.diagnostics {
        assert!(diagnostic.help.is_some(), "{}: no help for `{}`", case.display(), diagnostic.message);
    }
    render::human(&examined.source, &examined.diagnostics, false)
}

#[test]
fn every_code_has_a_case() {
    let found: Vec<Code> = cases()
        .iter()
        .flat_map(|case| examine(case).unwrap().diagnostics)
        .map(|diagnostic| diagnostic.code)
        .collect();
    // Tested by themselves: a file that cannot be read, a folder of another name, a case; and a fault of our own,
    // which is not to be had.
    let elsewhere = [Code::Unreadable, Code::BadName, Code::BadCase, Code::Ours];
    let without: Vec<&str> =
        Code::ALL.iter().filter(|c| !found.contains(c) && !elsewhere.contains(c)).map(|c| c.id()).collect();
    assert!(without.is_empty(), "no case shows {}", without.join(", "));
}

#[test]
fn codes_are_told_apart() {
    let mut ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

/// What a person changes to mend a spec: `mended/NAME.diff`, as `diff -U0` writes it.
struct Mend {
    /// First line, how many are taken out (of none: behind that line), and what comes in.
    hunks: Vec<(usize, usize, Vec<String>)>,
}

impl Mend {
    fn of(case: &Path) -> Option<Self> {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        let diff = std::fs::read_to_string(format!("tests/bad-specs/mended/{name}.diff")).ok()?;
        let mut hunks: Vec<(usize, usize, Vec<String>)> = Vec::new();
        for line in diff.lines().skip(2) {
            if let Some(header) = line.strip_prefix("@@ -") {
                let taken = header.split(' ').next().unwrap();
                let (first, count) = taken.split_once(',').unwrap_or((taken, "1"));
                hunks.push((first.parse().unwrap(), count.parse().unwrap(), Vec::new()));
            } else if let Some(new) = line.strip_prefix('+') {
                hunks.last_mut().unwrap().2.push(new.to_owned());
            }
        }
        Some(Self { hunks })
    }

    fn on(&self, text: &str) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (first, count, new) in self.hunks.iter().rev() {
            let start = if *count == 0 { *first } else { first - 1 };
            lines.splice(start..start + count, new.iter().cloned());
        }
        lines.join("\n") + "\n"
    }

    /// Whether it is about a line that the diagnostic shows, or adds what it says is missing.
    fn is_what_was_said(&self, diagnostic: &Diagnostic) -> bool {
        let related = diagnostic.related.iter().map(|(span, _)| span);
        let mut shown = std::iter::once(&diagnostic.span).chain(related);
        let touches = |line: usize, end: usize| {
            self.hunks.iter().any(|(first, count, _)| {
                // What comes in stands between two lines.
                let last = first + count.saturating_sub(1).max(usize::from(*count == 0));
                *first <= end && line <= last
            })
        };
        let mut named = diagnostic.message.split('`').skip(1).step_by(2);
        let added: Vec<&String> = self.hunks.iter().flat_map(|(_, _, new)| new).collect();
        let adds = |name: &str| {
            let key = format!("{}:", name.rsplit('.').next().unwrap());
            added.iter().any(|line| line.contains(&key))
        };
        shown.any(|span| touches(span.line, span.end_line)) || named.any(adds)
    }
}

/// One mistake gives one diagnostic; whoever changes what it shows has a spec without any.
#[test]
fn mending_what_is_shown_makes_it_valid() {
    let (mut wrong, mut mended, mut mutated) = (Vec::new(), 0, 0);
    for case in cases() {
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        let diagnostics = examine(&case).unwrap().diagnostics;
        let Some(mend) = Mend::of(&case) else {
            // A file of nothing at all would have to be written first.
            if diagnostics.len() == 1 && name != "null-document" {
                wrong.push(format!("{name}: one mistake, and no mend"));
            }
            continue;
        };
        mended += 1;
        let text = std::fs::read_to_string(&case).unwrap();
        mutated += usize::from(text.starts_with("# Mutation of "));
        let said: Vec<String> = diagnostics
            .iter()
            .map(|d| format!("{} line {}: {}", d.code.id(), d.span.line, d.message))
            .collect();
        if diagnostics.len() != 1 {
            wrong.push(format!("{name}: {said:#?}"));
            continue;
        }
        if !mend.is_what_was_said(&diagnostics[0]) {
            wrong.push(format!("{name}: the mend is elsewhere than {}", said[0]));
        }
        let good = examine_source(Source::new(case.display().to_string(), &mend.on(&text)), &case);
        if !good.diagnostics.is_empty() || good.connector.is_none() {
            let left: Vec<&str> = good.diagnostics.iter().map(|d| d.message.as_str()).collect();
            wrong.push(format!("{name}, mended: {left:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(mended >= 190, "only {mended} kinds of mistakes have a mend");
    assert!(mutated >= 20, "only {mutated} of them are mutations of specs that were good");
}

/// What `--fix` puts there without asking is what was meant: where it is the one mistake, none is left.
#[test]
fn what_is_mended_without_asking_is_right() {
    let (mut wrong, mut mended) = (Vec::new(), 0);
    for case in cases() {
        let examined = examine(&case).unwrap();
        let [one] = examined.diagnostics.as_slice() else { continue };
        if !one.fix.as_ref().is_some_and(|fix| fix.safe) {
            continue;
        }
        mended += 1;
        // What YAML could not read may lay open one thing more that is sure.
        let mut good = examine(&case).unwrap();
        for _ in 0..3 {
            let fixed = apply(&good.source.text, &good.diagnostics, false).text;
            good = examine_source(Source::new(case.display().to_string(), &fixed), &case);
        }
        if !good.diagnostics.is_empty() || good.connector.is_none() {
            let left: Vec<&str> = good.diagnostics.iter().map(|d| d.message.as_str()).collect();
            wrong.push(format!("{}: {left:#?}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(mended >= 25, "only {mended} are mended without asking");
}

/// Cases that do not fit: each gets what its snapshot shows, and nothing else is said of the connector.
#[test]
fn wrong_cases_get_their_diagnostics() {
    let spec = examine(Path::new("tests/bad-specs/with-cases/connector.yaml")).unwrap();
    assert_eq!(spec.diagnostics, []);
    let found = forebay::connector::cases::examine_cases(&spec.connector.unwrap());
    let shown: Vec<String> =
        found.iter().map(|case| render::human(&case.source, &case.diagnostics, false)).collect();
    insta::assert_snapshot!("wrong_cases", shown.join("\n\n"));
    for case in &found {
        let name = &case.source.name;
        assert_eq!(case.diagnostics.len(), 1, "{name}");
        assert_eq!(case.diagnostics[0].code, Code::BadCase, "{name}");
    }
    assert_eq!(found.len(), 7, "one of the cases is right");
}

/// The cases of the connectors of this repository fit.
#[test]
fn the_cases_of_the_connectors_are_without_mistakes() {
    for folder in std::fs::read_dir("connectors").unwrap() {
        let connector = examine(&folder.unwrap().path()).unwrap().connector.unwrap();
        let found = forebay::connector::cases::examine_cases(&connector);
        let wrong: Vec<_> = found.iter().flat_map(|case| &case.diagnostics).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
