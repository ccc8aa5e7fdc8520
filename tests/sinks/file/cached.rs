//! A file that grows does not push what others have cached out of the machine's memory: its end stays there, no more.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use super::super::queue::MemoryQueue;
use super::Place;

const MIB: u64 = 1 << 20;

/// Bytes of a file that the kernel holds in memory.
fn held(path: &Path) -> u64 {
    let out = Command::new("fincore")
        .args(["--bytes", "--noheadings", "--output", "RES"])
        .arg(path)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn of_a_file_that_grows_the_end_stays_in_memory_and_no_more() {
    // On a disk and not on a file system that lives in memory, where there would be nothing to let go of.
    let mut place = Place::new();
    place.folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    place.path = place.folder.path().join("events.jsonl");
    let queue = MemoryQueue::holding(0..0);
    queue.push((0..160).map(|_| vec![b'x'; MIB as usize - 1]));
    place.run(&queue, 160).await;
    let (length, held) = (std::fs::metadata(&place.path).unwrap().len(), held(&place.path));
    assert_eq!(length, 160 * MIB);
    assert!((32 * MIB..=80 * MIB).contains(&held), "{held} bytes of {length}");
}
