//! `forebay validate --fix`: applies the fixes that are safe, and writes the file again where fewer mistakes are left.
//!
//! Everything that no fix touches stays byte for byte. A fix that would make more mistakes than it mends is not
//! applied. The file is replaced as a whole or not at all, and a link to it stays one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::connector::load::{Examined, examine_source, spec_file};
use crate::error::{Error, Kind, Result, escaped};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::fix::{Replacement, apply};
use crate::spec::mistake::Severity;
use crate::spec::source::Source;

/// How often it is looked again for what a fix has laid open.
const ROUNDS: usize = 10;

/// A spec after its fixes.
pub struct Mended {
    /// What is left.
    pub examined: Examined,
    /// What was done, a line each.
    pub report: Vec<String>,
}

/// Applies what is safe to a spec and writes its file.
pub fn mend(examined: Examined, file: &Path) -> Result<Mended> {
    let file = spec_file(file);
    let before = examined.source.text.clone();
    let mut mended = Mended { examined, report: Vec::new() };
    for _ in 0..ROUNDS {
        if !mended.all(&file) && !mended.one(&file) {
            break;
        }
    }
    mended.refused(&file);
    if mended.examined.source.text != before {
        write(&file, &before, &mended.examined.source.text)
            .map_err(|e| Error::new(Kind::Io, "the spec cannot be written").at(shown(&file)).because(e))?;
    }
    Ok(mended)
}

impl Mended {
    /// Applies every safe fix at once.
    fn all(&mut self, file: &Path) -> bool {
        let found = self.examined.diagnostics.clone();
        self.take(&found, file)
    }

    /// Applies the first fix that lessens the mistakes by itself.
    fn one(&mut self, file: &Path) -> bool {
        let found = self.examined.diagnostics.clone();
        found.chunks(1).any(|one| self.take(one, file))
    }

    /// Applies the safe fixes of these where that leaves less to mend.
    fn take(&mut self, found: &[Diagnostic], file: &Path) -> bool {
        let fixed = apply(&self.examined.source.text, found, false);
        if fixed.applied.is_empty() {
            return false;
        }
        let source = Source::new(self.examined.source.name.clone(), &fixed.text);
        let after = examine_source(source, file);
        if !helps(&self.examined, &after, fixed.applied.len()) {
            return false;
        }
        for diagnostic in fixed.applied.iter().filter_map(|n| found.get(*n)) {
            let replacements = diagnostic.fix.iter().flat_map(|fix| &fix.replacements);
            self.report.extend(replacements.map(|one| line(&self.examined.source, diagnostic, one)));
        }
        self.examined = after;
        true
    }

    /// Says which safe fixes are left: none of them would leave less to mend.
    fn refused(&mut self, file: &Path) {
        for diagnostic in &self.examined.diagnostics {
            if diagnostic.fix.as_ref().is_some_and(|fix| fix.safe) {
                self.report.push(format!(
                    "left alone: {}:{}:{}: mending {} so would make as many mistakes as it mends",
                    shown(file),
                    diagnostic.span.line,
                    diagnostic.span.column,
                    diagnostic.code.id()
                ));
            }
        }
    }
}

/// Whether so many fixes mended as many mistakes and made none. What YAML forbids hides all else: a text that has become
/// YAML is better, whatever is found in it then.
fn helps(before: &Examined, after: &Examined, fixes: usize) -> bool {
    let count = |examined: &Examined, wanted: &dyn Fn(&Diagnostic) -> bool| {
        examined.diagnostics.iter().filter(|diagnostic| wanted(diagnostic)).count()
    };
    let yaml = |d: &Diagnostic| d.code.id().starts_with("FB1");
    let error = |d: &Diagnostic| d.severity == Severity::Error;
    let unread = (count(before, &yaml), count(after, &yaml));
    let fewer = count(after, &|_| true) + fixes <= count(before, &|_| true);
    unread.1 < unread.0 || unread.1 == unread.0 && fewer && count(after, &error) <= count(before, &error)
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
