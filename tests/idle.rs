//! What a process that waits keeps of the memory that its start took. Heaps of this kind are glibc's.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use tempfile::TempDir;

use crate::main_job::manual;
use crate::support::Running;

/// Kilobytes of the main thread's heap that are in memory: the allocator's own lines of `/proc/PID/smaps`.
fn heap(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let heap = maps.split_once("[heap]").expect("glibc's heap has a name").1;
    let resident = heap.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What reading a spec takes for a moment is two megabytes, and what it leaves is two: with holes between it is four.
#[test]
fn a_start_gives_back_what_it_took() {
    let folder = TempDir::new().unwrap();
    let running = Running::start(&mut manual(folder.path()), 1);
    let heap = heap(running.pid());
    assert!((500..3000).contains(&heap), "the idle process keeps {heap} kB of its heap");
    running.stop();
}
