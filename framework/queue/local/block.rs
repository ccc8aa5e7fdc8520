//! A block: a run of records of one instance, compressed, with a checksum of its own.
//!
//! The writer makes them, readers cut them up. The checksum covers the key and the count too, so that a block
//! under a wrong name is found as surely as one with a flipped byte.

use std::cell::RefCell;

use bytes::Bytes;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size, uncompressed_size,
};

use super::buffers;

/// Raw bytes after which a block is full. A single larger record has a block to itself.
pub(super) const FULL: usize = 1 << 20;

/// Bytes of a body before its LZ4 block: the size of the payload.
const PREFIX: usize = 4;
/// Bytes that one byte of an LZ4 block stands for at most: each byte of a length adds that much.
const EXPANDS: usize = 255;

/// A block as stored.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) key: i64,
    pub(super) count: u32,
    pub(super) checksum: u32,
    /// The size of the payload in four bytes, then the payload as one LZ4 block.
    pub(super) body: Bytes,
}

/// A block as read.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The first record's position.
    pub(super) first: u64,
    /// All records, one after the other.
    pub(super) bytes: Bytes,
    /// Where each record ends in `bytes`.
    pub(super) ends: Vec<usize>,
}

/// Records, compressed. Where in the log they will stand is not known yet.
#[derive(Debug)]
pub(super) struct Packed {
    body: Bytes,
    bytes: Bytes,
    ends: Vec<usize>,
}

/// Compresses records.
pub(super) fn pack<'a>(records: impl Iterator<Item = &'a Bytes> + Clone) -> Packed {
    let raw: usize = records.clone().map(|record| 4 + record.len()).sum();
    let mut payload = Vec::with_capacity(raw);
    for record in records.clone() {
        payload.extend_from_slice(&length(record).to_le_bytes());
    }
    let lengths = payload.len();
    let mut ends = Vec::with_capacity(lengths / 4);
    for record in records {
        payload.extend_from_slice(record);
        ends.push(payload.len() - lengths);
    }
    Packed { body: compressed(&payload).into(), bytes: Bytes::from(payload).slice(lengths..), ends }
}

thread_local! {
    /// What compressing takes: the table that finds repetitions, and room for what comes out. Used again by the next
    /// block of the thread.
    static PRESS: RefCell<(CompressTable, Vec<u8>)> = RefCell::new((CompressTable::large(), Vec::new()));
}

/// The size of the payload in four bytes, then the payload as one LZ4 block.
fn compressed(payload: &[u8]) -> Vec<u8> {
    // A record may be larger than a block. Room for that is not kept.
    if payload.len() > 2 * FULL {
        return lz4_flex::compress_prepend_size(payload);
    }
    PRESS.with_borrow_mut(|(table, room)| {
        let most = get_maximum_output_size(payload.len());
        if room.len() < most {
            room.resize(most, 0);
        }
        let size = compress_into_with_table(payload, room, table).expect("there is room for the worst case");
        let raw = u32::try_from(payload.len()).expect("it is shorter than two blocks");
        [&raw.to_le_bytes()[..], room.get(..size).unwrap_or_default()].concat()
    })
}

impl Sealed {
    /// How many bytes it is when it is read, by its own word. `None` where its body cannot stand for so many.
    pub(super) fn raw(&self) -> Option<usize> {
        let (size, body) = uncompressed_size(&self.body).ok()?;
        (size <= body.len().saturating_mul(EXPANDS)).then_some(size)
    }
}

impl Packed {
    /// Makes it the block that begins there: as it is stored, and as it would be read.
    pub(super) fn seal(self, key: i64, first: u64) -> (Sealed, Block) {
        let Self { body, bytes, ends } = self;
        let count =
            u32::try_from(ends.len()).expect("a block is bounded by its bytes, and so in its records");
        (Sealed { key, count, checksum: checksum(key, count, &body), body }, Block { first, bytes, ends })
    }
}

fn length(record: &Bytes) -> u32 {
    u32::try_from(record.len()).expect("a record is bounded by the size of an inflated body, far below 4 GiB")
}

fn checksum(key: i64, count: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Reads a block; `None` when it is damaged.
pub(super) fn unseal(sealed: &Sealed, first: u64) -> Option<Block> {
    if checksum(sealed.key, sealed.count, &sealed.body) != sealed.checksum {
        return None;
    }
    let (raw, body) = (sealed.raw()?, sealed.body.get(PREFIX..)?);
    let payload = buffers::filled(raw, |into| decompress_into(body, into).is_ok_and(|size| size == raw))?;
    let lengths = usize::try_from(sealed.count).ok()?.checked_mul(4)?;
    let bytes = payload.get(lengths..).map(|_| payload.slice(lengths..))?;
    let mut end = 0usize;
    let mut ends = Vec::with_capacity(lengths / 4);
    for length in payload.get(..lengths)?.chunks_exact(4) {
        end = end.checked_add(usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?)?;
        ends.push(end);
    }
    (end == bytes.len()).then_some(Block { first, bytes, ends })
}

impl Block {
    /// The position after its last record.
    pub(super) fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Where the record of this index begins.
    pub(super) fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }
}

/// The checksum of bytes that stand alone: ids of a commit, dead letters, cursors.
pub(super) fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::keys::key;
    use super::*;

    fn sealed(record: Vec<u8>) -> Sealed {
        pack([Bytes::from(record)].iter()).seal(key(1, 0), 0).0
    }

    #[test]
    fn what_shrinks_most_is_read_as_it_was() {
        let record = vec![0; FULL];
        let sealed = sealed(record.clone());
        assert!(sealed.body.len() < FULL / 250, "{}", sealed.body.len());
        assert_eq!(unseal(&sealed, 0).map(|block| block.bytes), Some(record.into()));
    }

    #[test]
    fn a_size_that_its_bytes_cannot_stand_for_takes_no_memory() {
        let mut lies = sealed(b"{}".to_vec());
        let mut body = lies.body.to_vec();
        body.splice(..PREFIX, u32::MAX.to_le_bytes());
        lies.body = body.into();
        lies.checksum = checksum(lies.key, lies.count, &lies.body);
        assert_eq!(lies.raw(), None);
        assert!(unseal(&lies, 0).is_none());
    }
}
