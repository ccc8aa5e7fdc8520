//! What every measurement needs: the binary, the events, how often and how much, a folder on the disk.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::events::Events;

/// The benchmark as it was asked for.
#[derive(Debug)]
pub struct Bench {
    /// The binary that is measured.
    pub binary: PathBuf,
    /// Another build, measured in the same runs.
    pub against: Option<PathBuf>,
    /// Forebay alone, without those it is compared with.
    pub only: bool,
    /// How often; medians are printed.
    pub runs: u32,
    /// What is sent.
    pub events: Events,
    /// Where stores and files are.
    pub scratch: Scratch,
}

impl Bench {
    /// Says what is going on, to a person who watches.
    pub fn note(&self, what: &str) {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = writeln!(stderr, "{what}");
        }
    }
}

/// A folder on the disk that the program is built on, gone at the end.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    next: AtomicU32,
}

/// A folder for one measurement, gone when it is over.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Scratch {
    /// Makes it beside this program.
    pub fn new() -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let path = own.with_file_name(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, next: AtomicU32::new(0) })
    }

    /// A new folder in it.
    pub fn folder(&self) -> io::Result<Folder> {
        let path = self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is removed with the whole.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
