//! Ground truth: what stands in the sinks' files, id by id, whatever any counter says.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Error, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
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

/// Ids that were seen.
#[derive(Debug, Default)]
pub struct Ids {
    bits: Vec<u64>,
    distinct: u64,
    repeated: u64,
    /// The greatest one.
    last: Option<u64>,
    without: u64,
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
    let mut ids = Ids::default();
    files.iter().try_for_each(|file| ids.read(file))?;
    Ok(ids.truth(events))
}

impl Ids {
    /// Reads a file of JSON Lines, compressed or not.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let compressed = path.extension().is_some_and(|end| end == "gz");
        let from: Box<dyn Read> =
            if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut lines = BufReader::with_capacity(1 << 20, from);
        let (mut line, begins) = (Vec::new(), Finder::new(ID_BEGINS));
        while lines.read_until(b'\n', &mut line)? > 0 {
            match number(&line, &begins) {
                Some(number) => _ = self.see(number),
                None => self.without += 1,
            }
            line.clear();
        }
        Ok(())
    }

    /// Takes note of an id; whether it is new.
    pub fn see(&mut self, number: u64) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.bits.len() {
            self.bits.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        self.last = self.last.max(Some(number));
        if new {
            self.distinct += 1
        } else {
            self.repeated += 1
        }
        new
    }

    /// What it means where the ids below `events` were sent.
    pub fn truth(&self, events: u64) -> Truth {
        let foreign = self.last.map_or(0, |last| (last + 1).saturating_sub(events));
        Truth {
            missing: (events + foreign).saturating_sub(self.distinct),
            repeated: self.repeated,
            foreign: foreign + self.without,
        }
    }
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
