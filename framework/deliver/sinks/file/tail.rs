//! What stands in a file behind the place that the store knows: recognised, or cut where it is torn.
//!
//! The file sink calls it after a start and after a failed write or sync. A whole line that equals the next
//! record is claimed: it is not written again. A torn end is cut only when it is the beginning of what was
//! to be written; everything else belongs to somebody else and stays.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::super::{json_lines, records};
use crate::queue::Chunk;

/// What was recognised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    /// Records, from the chunk's first.
    pub(super) records: usize,
    /// Where the last of them ends in the file.
    pub(super) end: u64,
}

/// Goes over the file from `from` on. What it claims is safe on disk when it returns.
pub(super) fn settle(file: &File, from: u64, chunk: &Chunk) -> io::Result<Claimed> {
    let mut claimed = Claimed { records: 0, end: from };
    let length = file.metadata()?.len();
    let longest = chunk.records.iter().map(|record| record.len() + 1).max().unwrap_or_default();
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(from))?;
    let mut expected = records(chunk);
    let mut next = expected.next();
    let mut at = from;
    while let Some(record) = next.filter(|_| at < length) {
        let line = read_line(&mut reader, longest)?;
        if line.length == 0 {
            break;
        }
        if line.kept.strip_suffix(b"\n") == Some(record) {
            // The same bytes once more in the same place: after a failed sync the kernel may hold a page for
            // clean that never reached the disk, and only what is dirty is synced. No reader sees a change.
            file.write_all_at(&line.kept, at)?;
            claimed.records += 1;
            claimed.end = at + line.length;
            next = expected.next();
        } else if line.may_be(record) && is_ours(file, at, length, chunk, claimed.records)? {
            file.set_len(at)?;
            tracing::warn!(bytes = length - at, "a torn line at the end of the file is cut");
            break;
        }
        at += line.length;
    }
    file.sync_data()?;
    Ok(claimed)
}

/// A line of the file, or what stands behind the last one.
struct Line {
    /// In the file, its newline included.
    length: u64,
    /// Its first bytes, as many as the longest record has.
    kept: Vec<u8>,
}

impl Line {
    /// Whether it is torn and may be this record's: it has no end, or holes, since a machine that lost power
    /// may have grown the file before it wrote the bytes.
    fn may_be(&self, record: &[u8]) -> bool {
        let torn = self.kept.last() != Some(&b'\n') || self.kept.contains(&0);
        torn && agree(&self.kept, record)
    }
}

/// Whether bytes of the file are these, as far as both go, or holes.
fn agree(found: &[u8], ours: &[u8]) -> bool {
    found.iter().zip(ours).all(|(found, ours)| found == ours || *found == 0)
}

/// Reads a line of any length without holding more of it than a record can be long.
fn read_line(reader: &mut BufReader<&File>, longest: usize) -> io::Result<Line> {
    let mut line = Line { length: 0, kept: Vec::new() };
    loop {
        let bytes = reader.fill_buf()?;
        let (piece, ended) = match bytes.iter().position(|b| *b == b'\n') {
            Some(end) => (bytes.get(..=end).unwrap_or(bytes), true),
            None => (bytes, bytes.is_empty()),
        };
        let room = longest.saturating_sub(line.kept.len()).min(piece.len());
        line.kept.extend_from_slice(piece.get(..room).unwrap_or_default());
        let read = piece.len();
        line.length += read as u64;
        reader.consume(read);
        if ended {
            return Ok(line);
        }
    }
}

/// Whether everything from `at` on is the beginning of the records from number `next` on, holes allowed.
fn is_ours(file: &File, at: u64, length: u64, chunk: &Chunk, next: usize) -> io::Result<bool> {
    let expected = json_lines(records(chunk).skip(next));
    let found = usize::try_from(length - at).unwrap_or(usize::MAX);
    if found > expected.len() {
        return Ok(false);
    }
    let mut bytes = vec![0; found];
    file.read_exact_at(&mut bytes, at)?;
    Ok(agree(&bytes, &expected))
}
