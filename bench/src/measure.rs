//! What the system says of a process: CPU time, memory, bytes written, file handles. Linux only.

use std::fs;
use std::io::{self, Error};
use std::time::Duration;

/// Ticks a second, as the kernel counts them for programs on every platform that Forebay runs on.
const TICKS: u64 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// User and system time of all its threads, those that ended too.
    pub cpu: Duration,
    /// Bytes that it handed to the system in writes: to files and sockets.
    pub handed: u64,
    /// Bytes that it caused to be sent to storage.
    pub stored: u64,
}

/// Looks at a process.
pub fn used(pid: u32) -> io::Result<Used> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    Ok(Used { cpu: cpu(pid)?, handed: field(&io, "wchar")?, stored: field(&io, "write_bytes")? })
}

/// Its CPU time. Two sources, each of which can only say too little: `stat` counts in hundredths of a second and cuts
/// off, `schedstat` counts in nanoseconds but forgets threads that ended. The larger one is nearer.
fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while it is looked at.
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS).max(Duration::from_nanos(nanoseconds)))
}

/// Bytes of memory that it holds now.
pub fn memory(pid: u32) -> io::Result<u64> {
    status(pid, "VmRSS")
}

/// The most memory that it ever held, in bytes.
pub fn peak(pid: u32) -> io::Result<u64> {
    status(pid, "VmHWM")
}

fn status(pid: u32, name: &str) -> io::Result<u64> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/status"))?, name)? << 10)
}

fn field(text: &str, name: &str) -> io::Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| Error::other(format!("/proc does not say {name}")))
}
