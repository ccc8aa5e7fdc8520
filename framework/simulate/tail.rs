//! Reads a sink's file while it grows, and gives each whole line to the books.
//!
//! Called by the life of a simulation. A file that was moved away or cut is noticed: what stood in it is no
//! longer in the sink.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::ledger::Ledger;

/// The most that one look reads.
const AT_ONCE: u64 = 8 << 20;

/// A file that grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// What was in the file before the simulation is not its affair.
    from: u64,
    inode: Option<u64>,
    offset: u64,
    /// Lines read from the file as it is now.
    lines: u64,
    rest: Vec<u8>,
    /// Whether each line is an envelope with a record in it.
    enclosed: bool,
    /// The first records, to be shown.
    pub first: Vec<String>,
}

impl Tail {
    /// A tail that begins where the file ends now. `enclosed`: each line is an envelope with a record in it.
    pub fn new(path: PathBuf, enclosed: bool) -> Self {
        let before = std::fs::metadata(&path).ok();
        let from = before.as_ref().map_or(0, |m| m.len());
        let inode = before.map(|m| m.ino());
        Self { path, from, inode, offset: from, lines: 0, rest: Vec::new(), enclosed, first: Vec::new() }
    }

    /// Reads what is new; `true` when there was something.
    pub fn read(&mut self, ledger: &mut Ledger) -> std::io::Result<bool> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.begin_again(None, ledger);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let now = file.metadata()?;
        let moved = self.inode.is_some_and(|inode| inode != now.ino());
        if moved || now.len() < self.offset {
            self.begin_again(Some(now.ino()), ledger);
        }
        self.inode = Some(now.ino());
        file.seek(SeekFrom::Start(self.offset))?;
        let before = self.rest.len();
        file.take(AT_ONCE).read_to_end(&mut self.rest)?;
        let new = self.rest.len() - before;
        self.offset += new as u64;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in self.rest[..whole].split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            ledger.deliver(if self.enclosed { record_in(line) } else { line });
            self.lines += 1;
            if self.first.len() < 3 {
                self.first.push(String::from_utf8_lossy(line).into_owned());
            }
        }
        self.rest.drain(..whole);
        Ok(new > 0)
    }

    /// The file that was read is gone, and with it what stood in it.
    fn begin_again(&mut self, inode: Option<u64>, ledger: &mut Ledger) {
        ledger.counts.vanished += self.lines;
        self.lines = 0;
        self.rest.clear();
        self.offset = match self.inode {
            Some(old) if Some(old) == inode => self.from,
            Some(_) | None => 0,
        };
        self.inode = inode;
    }
}

/// The record in an envelope, byte for byte; what is no envelope is no record that anybody expects.
fn record_in(line: &[u8]) -> &[u8] {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        record: &'a serde_json::value::RawValue,
    }
    serde_json::from_slice::<Envelope<'_>>(line).map_or(line, |envelope| envelope.record.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_read_and_a_file_that_went_away_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        std::fs::write(&path, "old\n").unwrap();
        let mut tail = Tail::new(path.clone(), false);
        let mut ledger = Ledger::default();
        std::fs::write(&path, "old\none\ntw").unwrap();
        assert!(tail.read(&mut ledger).unwrap());
        assert_eq!(tail.first, ["one"]);
        std::fs::write(&path, "old\none\ntwo\n").unwrap();
        assert!(tail.read(&mut ledger).unwrap());
        assert!(!tail.read(&mut ledger).unwrap());
        assert_eq!((tail.lines, ledger.counts.vanished), (2, 0));
        std::fs::rename(&path, folder.path().join("away")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        tail.read(&mut ledger).unwrap();
        assert_eq!((tail.lines, ledger.counts.vanished), (1, 2));
    }
}
