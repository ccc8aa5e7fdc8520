//! How much of the file the kernel keeps in memory: its end, for whoever reads along, and no more.
//!
//! The file sink calls it after a sync. Without it a busy day would push everything else that the machine has cached out
//! of its memory, and each write would have to find new pages. It changes no byte, and where it fails nothing is lost.

use std::fs::File;

/// Bytes at the end of the file that stay, for a collector that tails it.
const KEPT: u64 = 64 << 20;
/// The kernel is told once for so many bytes.
const STEP: u64 = 8 << 20;

/// Lets go of what has left the end of the file, which grew from `length` to `end` and is synced that far.
pub(super) fn let_go(file: &File, length: u64, end: u64) {
    let before = |end: u64| end.saturating_sub(KEPT) / STEP * STEP;
    let (from, to) = (before(length), before(end));
    if to > from {
        advise(file, from, to - from);
    }
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
