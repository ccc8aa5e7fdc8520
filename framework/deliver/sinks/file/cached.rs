//! How much of the file the kernel keeps in memory: its end, for whoever reads along, and no more.
//!
//! The file sink calls it after a sync. Without it a busy day would push everything else that the machine has cached out
//! of its memory, and each write would have to find new pages. It changes no byte, and where it fails nothing is lost.

use std::fs::File;

/// Bytes at the ends of the files of a process that stay, for a collector that tails them.
const KEPT: u64 = 64 << 20;
/// Bytes at the end of each file that stay, however many there are.
const KEPT_EACH: u64 = 2 << 20;
/// The kernel is told so many times for as many bytes as stay.
const STEPS: u64 = 8;

/// Lets go of what has left the end of the file, which grew from `length` to `end` and is synced that far. It is one of
/// so many `files`.
pub(super) fn let_go(file: &File, files: u32, length: u64, end: u64) {
    let (from, to) = (left(files, length), left(files, end));
    if to > from {
        advise(file, from, to - from);
    }
}

/// Bytes at the beginning of a file of this length that need not stay.
fn left(files: u32, length: u64) -> u64 {
    let kept = (KEPT / u64::from(files.max(1))).max(KEPT_EACH);
    let step = kept / STEPS;
    length.saturating_sub(kept) / step * step
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(file: &File, from: u64, bytes: u64) {
    let advice = rustix::fs::Advice::DontNeed;
    if let Err(error) = rustix::fs::fadvise(file, from, std::num::NonZeroU64::new(bytes), advice) {
        tracing::debug!(%error, "the kernel keeps the file in memory");
    }
}

/// Elsewhere there is no such advice.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn advise(_file: &File, _from: u64, _bytes: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_stays_and_of_many_files_a_share_of_it() {
        for (files, kept) in [(0, KEPT), (1, KEPT), (2, KEPT / 2), (100, KEPT_EACH), (u32::MAX, KEPT_EACH)] {
            for length in [0, 1, kept - 1, kept, kept + 1, kept * 9 / 8, 1 << 33, (1 << 33) + 12_345] {
                let stays = length - left(files, length);
                assert!(stays >= length.min(kept), "{files} files, {length}: {stays}");
                assert!(stays < kept * 9 / 8, "{files} files, {length}: {stays}");
            }
        }
    }
}
