//! Ground truth: what stands in the sinks' files, id by id, whatever any counter says.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Error};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;

use crate::events::{ID_BEGINS, ID_ENDS};

/// How long sinks may take to get the last records.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often their files are looked at.
const LOOK: Duration = Duration::from_millis(1);

/// What became of so many events.
#[derive(Debug, Default, Clone, Copy)]
pub struct Truth {
    /// Ids that are in no file.
    pub missing: u64,
    /// Records whose id came before.
    pub repeated: u64,
    /// Lines with an id that was never sent, or with none.
    pub foreign: u64,
}

/// Waits until the files have so many bytes in all.
pub fn delivered(files: &[PathBuf], bytes: u64) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let size: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len()).sum();
        if size >= bytes {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::other(format!("{size} bytes of {bytes} were delivered in {PATIENCE:?}")));
        }
        thread::sleep(LOOK);
    }
}

/// Reads the files: each id below `events` must be there once.
pub fn count(files: &[PathBuf], events: u64) -> io::Result<Truth> {
    let mut seen = vec![0_u64; (events as usize).div_ceil(64)];
    let (mut truth, mut there) = (Truth::default(), 0);
    let begins = Finder::new(ID_BEGINS);
    for file in files {
        let mut lines = BufReader::with_capacity(1 << 20, File::open(file)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            match number(&line, &begins).filter(|number| *number < events) {
                Some(number) => {
                    let (word, bit) = (&mut seen[number as usize / 64], 1 << (number % 64));
                    if *word & bit == 0 {
                        there += 1
                    } else {
                        truth.repeated += 1
                    }
                    *word |= bit;
                }
                None => truth.foreign += 1,
            }
            line.clear();
        }
    }
    truth.missing = events - there;
    Ok(truth)
}

/// The number of the event on a whole line.
pub fn number(line: &[u8], begins: &Finder<'_>) -> Option<u64> {
    let at = begins.find(line)? + ID_BEGINS.len();
    line.ends_with(b"\n").then_some(())?;
    std::str::from_utf8(line.get(at..at + ID_ENDS)?).ok()?.parse().ok()
}

impl Truth {
    /// Whether every event is there once.
    pub fn holds(&self) -> bool {
        let Self { missing, repeated, foreign } = self;
        missing + repeated + foreign == 0
    }
}
