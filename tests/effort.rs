//! What `validate` takes: fifty connectors with their cases in under a second, said as a ratio that no busy machine
//! changes. Work is counted in time on a processor, against the work of reading the same files as plain YAML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay::connector::cases::examine_cases;
use forebay::connector::load::examine;
use forebay::spec::document::Document;
use forebay::spec::source::Source;

/// Examining a connector may take so many times the work of reading its files as YAML. Read so, fifty connectors take
/// about 20 ms in a build for release, and all of it is done in half a second.
const MOST: f64 = 25.0;

/// Time that this thread has had on a processor; `None` where the system does not count it.
fn worked() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn yaml(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            yaml(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "yaml") {
            found.push(entry);
        }
    }
}

#[test]
fn fifty_connectors_are_examined_with_the_work_of_reading_them_a_few_times() {
    let Some(begun) = worked() else { return };
    let mut files = Vec::new();
    yaml(Path::new("connectors"), &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    for file in &files {
        let (_, mistakes) = Document::parse(Source::read(file).unwrap());
        assert!(mistakes.is_empty());
    }
    let read = worked().unwrap() - begun;
    let begun = worked().unwrap();
    for folder in std::fs::read_dir("connectors").unwrap() {
        let examined = examine(&folder.unwrap().path()).unwrap();
        assert_eq!(examine_cases(&examined.connector.unwrap()).len(), 0);
    }
    let all = worked().unwrap() - begun;
    let ratio = all.as_secs_f64() / read.as_secs_f64();
    assert!(ratio < MOST, "examining took {all:?}, reading {read:?}: {ratio:.1} times");
}
