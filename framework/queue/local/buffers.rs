//! Memory for blocks that are opened: what one leaves is used by the next.
//!
//! Fresh memory costs the kernel a fault for each page, and it is filled with zeros first. A hundred sinks that come for
//! their records in turn have every block of the log opened.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bytes that wait for the next blocks at most.
const KEPT: usize = 4 << 20;

/// What waits.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Vec<u8>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many bytes, which `fill` writes. `None` where it could not: it says whether it wrote all of them.
pub(super) fn filled(size: usize, fill: impl FnOnce(&mut [u8]) -> bool) -> Option<Bytes> {
    let mut buffer = Buffer { memory: spare().pop().unwrap_or_default(), size };
    if buffer.memory.len() < size {
        buffer.memory.resize(size, 0);
    }
    fill(buffer.memory.get_mut(..size)?).then(|| Bytes::from_owner(buffer))
}

/// Memory that goes back when the last record in it is dropped.
struct Buffer {
    memory: Vec<u8>,
    /// How much of it is the block.
    size: usize,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.size).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut spare = spare();
        if spare.iter().map(Vec::len).sum::<usize>() + memory.len() <= KEPT {
            spare.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(size: usize, byte: u8) -> Bytes {
        filled(size, |bytes| {
            bytes.fill(byte);
            true
        })
        .expect("it was filled")
    }

    #[test]
    fn a_block_is_as_long_as_asked_whatever_was_there_before() {
        for size in [0, 70_000, 3, 140_000, 1, KEPT + 1, 9] {
            assert_eq!(block(size, 7), vec![7; size]);
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let many: Vec<Bytes> = (0..50).map(|byte| block(KEPT / 20, byte)).collect();
        drop((many, block(3 * KEPT, 0)));
        let waits = spare().iter().map(Vec::len).sum::<usize>();
        assert!((1..=KEPT).contains(&waits), "{waits}");
    }

    #[test]
    fn what_could_not_be_written_is_not_there() {
        assert_eq!(filled(10, |_| false), None);
    }
}
