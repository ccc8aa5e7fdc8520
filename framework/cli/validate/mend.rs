//! `forebay validate --fix`: applies the fixes that are safe, and writes the file again where fewer mistakes are left.
//!
//! Everything that no fix touches stays byte for byte. A fix that would leave more mistakes than there are is not
//! applied. The file is replaced as a whole or not at all, and a link to it stays one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::connector::load::Examined;
use crate::error::{Error, Kind, Result, escaped};
use crate::spec::apply::apply;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::mistake::Severity;
use crate::spec::patch::Replacement;
use crate::spec::source::Source;

/// How often it is looked again for what a fix has laid open.
const ROUNDS: usize = 10;
/// Fixes of one file that are applied, one after the other.
const MOST: usize = 500;

/// Examines another text in the place of a file's.
pub type Again<'a> = dyn Fn(Source) -> Examined + 'a;

/// A spec, or a case, after its fixes.
pub struct Mended {
    /// What is left.
    pub examined: Examined,
    /// What was done, a line each.
    pub report: Vec<String>,
}

/// Applies what is safe to a spec or a case, and writes its file.
pub fn mend(examined: Examined, file: &Path, again: &Again<'_>) -> Result<Mended> {
    let before = examined.source.text.clone();
    let mut mended = Mended { examined, report: Vec::new() };
    for _ in 0..MOST {
        let found = mended.examined.diagnostics.clone();
        // One after the other: together, a good one would hide what another breaks.
        if !found.chunks(1).any(|one| mended.take(one, again)) {
            break;
        }
    }
    mended.refused(file);
    if mended.examined.source.text != before {
        write(file, &before, &mended.examined.source.text)
            .map_err(|e| Error::new(Kind::Io, "the file cannot be written").at(shown(file)).because(e))?;
    }
    Ok(mended)
}

impl Mended {
    /// Applies the safe fix of this one, and of what that lays open, as far as that leaves least to mend; nothing where it
    /// would leave more than there is.
    fn take(&mut self, found: &[Diagnostic], again: &Again<'_>) -> bool {
        let mut steps: Vec<(Examined, Vec<String>)> = Vec::new();
        for _ in 0..ROUNDS {
            let now = steps.last().map_or(&self.examined, |(examined, _)| examined);
            let known = |new: &Diagnostic| {
                let same = |old: &Diagnostic| (old.code, &old.message) == (new.code, &new.message);
                self.examined.diagnostics.iter().any(same)
            };
            let laid_open: Vec<Diagnostic> =
                now.diagnostics.iter().filter(|new| !known(new)).cloned().collect();
            let found = if steps.is_empty() { found } else { &laid_open };
            let fixed = apply(&now.source.text, found, false);
            if fixed.applied.is_empty() {
                break;
            }
            let lines =
                fixed.applied.iter().filter_map(|n| found.get(*n)).flat_map(|d| lines(&now.source, d));
            let lines = lines.collect();
            let source = Source::new(now.source.name.clone(), &fixed.text);
            steps.push((again(source), lines));
        }
        // Of two that leave as much to mend the later one: less of that is what can be mended so.
        let least = (0..steps.len()).rev().min_by_key(|n| burden(&steps[*n].0));
        let Some(least) = least.filter(|n| burden(&steps[*n].0) <= burden(&self.examined)) else {
            return false;
        };
        for (examined, lines) in steps.into_iter().take(least + 1) {
            self.report.extend(lines);
            self.examined = examined;
        }
        true
    }

    /// Says which safe fixes are left: none of them would leave less to mend.
    fn refused(&mut self, file: &Path) {
        for diagnostic in &self.examined.diagnostics {
            if diagnostic.fix.as_ref().is_some_and(|fix| fix.safe) {
                self.report.push(format!(
                    "left alone: {}:{}:{}: mending {} so would make more mistakes than it mends",
                    shown(file),
                    diagnostic.span.line,
                    diagnostic.span.column,
                    diagnostic.code.id()
                ));
            }
        }
    }
}

/// What is left to mend: less is better. What YAML forbids hides all else, so it weighs more than that, and an error
/// more than warnings.
fn burden(examined: &Examined) -> (usize, usize, usize) {
    let count = |wanted: &dyn Fn(&Diagnostic) -> bool| {
        examined.diagnostics.iter().filter(|diagnostic| wanted(diagnostic)).count()
    };
    let error = |d: &Diagnostic| d.severity == Severity::Error;
    (count(&|d| d.code.id().starts_with("FB1")), count(&error), count(&|_| true))
}

/// What a fix does, a line for each change.
fn lines(source: &Source, diagnostic: &Diagnostic) -> Vec<String> {
    let replacements = diagnostic.fix.iter().flat_map(|fix| &fix.replacements);
    replacements.map(|one| line(source, diagnostic, one)).collect()
}

/// One change as a line: where it was, what it was, what it is.
fn line(source: &Source, diagnostic: &Diagnostic, change: &Replacement) -> String {
    let old = source.text.get(change.span.start..change.span.end).unwrap_or_default();
    let quoted = |text: &str| format!("`{}`", escaped(text.trim(), 80));
    let what = match (old.trim(), change.text.trim()) {
        ("", _) => format!("added {}", quoted(&change.text)),
        (_, "") => format!("removed {}", quoted(old)),
        _ => format!("{} → {}", quoted(old), quoted(&change.text)),
    };
    let (line, column) = (change.span.line, change.span.column);
    format!("fixed: {}:{line}:{column}: {what} ({})", source.name, diagnostic.code.id())
}

/// Replaces a file by one with another text: as a whole, with its permissions, and only while it holds what was read.
fn write(file: &Path, before: &str, after: &str) -> io::Result<()> {
    // Behind a link stands the file that is meant.
    let file = file.canonicalize()?;
    let found = fs::read_to_string(&file)?;
    let text = found.strip_prefix('\u{feff}');
    if text.unwrap_or(&found) != before {
        return Err(io::Error::other("it was changed by somebody else meanwhile"));
    }
    let fresh = fresh(&file);
    let written = (|| {
        let mut new = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        new.set_permissions(fs::metadata(&file)?.permissions())?;
        if text.is_some() {
            new.write_all("\u{feff}".as_bytes())?;
        }
        new.write_all(after.as_bytes())?;
        new.sync_all()?;
        fs::rename(&fresh, &file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
        return written;
    }
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A name beside the file that nothing else has.
fn fresh(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}
