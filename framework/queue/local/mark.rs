//! The mark of a store, outside of its database: which file it was when it was last opened.
//!
//! It stands in `made`, as lines of `name value`. A database that is not the file of the mark, or has another
//! generation, was copied or restored: positions may be given out a second time, so that it gets a new epoch. The
//! epoch is part of what sinks send as idempotency keys.
//!
//! Each opening raises the generation in three steps: the mark admits the old and the next one, the database takes the
//! next one, the mark admits that one alone. A crash between two of them leaves a mark that admits what the database
//! says. An empty `made` is of a version without a mark. The device's number is no part of the mark: it may change with
//! every mount.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;

use super::fault::Fault;
use super::{files, schema};

/// The file's name.
pub(super) const MADE: &str = "made";
/// Bytes that it may have.
const MOST: u64 = 4096;

/// What the mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    inode: u64,
    /// When the file came into being, in nanoseconds; 0 where the file system does not say.
    born: u64,
    /// Generations that the database may have.
    generations: Vec<u64>,
}

impl Mark {
    /// The mark of the database of a folder with these generations.
    pub(super) fn of(folder: &Path, generations: Vec<u64>) -> Result<Self, Fault> {
        let found = std::fs::symlink_metadata(schema::file(folder))?;
        Ok(Self { inode: found.ino(), born: born(&found), generations })
    }

    /// Reads it. `None`: there is none, or it cannot be understood.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(MADE);
        files::regular(&path)?;
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text)?;
        Ok(std::str::from_utf8(&text).ok().and_then(Self::parse))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let generations = value("generations")?.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { inode: value("inode")?.parse().ok()?, born: value("born")?.parse().ok()?, generations })
    }

    /// Whether the database of this mark, in this generation, is the one that was opened last.
    pub(super) fn admits(&self, folder: &Path, generation: u64) -> Result<bool, Fault> {
        let found = Self::of(folder, Vec::new())?;
        Ok((self.inode, self.born) == (found.inode, found.born) && self.generations.contains(&generation))
    }

    /// Writes it, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Fault> {
        let (path, new) = (folder.join(MADE), new(folder));
        let generations: Vec<String> = self.generations.iter().map(u64::to_string).collect();
        let text =
            format!("inode {}\nborn {}\ngenerations {}\n", self.inode, self.born, generations.join(" "));
        files::regular(&new)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        Ok(File::open(folder)?.sync_all()?)
    }
}

fn new(folder: &Path) -> PathBuf {
    folder.join("made.new")
}

fn born(found: &Metadata) -> u64 {
    let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    born.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_reads_what_it_wrote_and_ignores_what_is_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(schema::file(folder.path()), "").unwrap();
        assert_eq!(Mark::read(folder.path()).unwrap(), None);
        let mark = Mark::of(folder.path(), vec![3, 4]).unwrap();
        mark.write(folder.path()).unwrap();
        assert_eq!(Mark::read(folder.path()).unwrap().as_ref(), Some(&mark));
        assert!(mark.admits(folder.path(), 4).unwrap() && !mark.admits(folder.path(), 5).unwrap());
        for other in ["", "inode x\nborn 1\ngenerations 1\n", "inode 1\nborn 1\ngenerations \n"] {
            std::fs::write(folder.path().join(MADE), other).unwrap();
            assert_eq!(Mark::read(folder.path()).unwrap(), None, "{other:?}");
        }
    }
}
