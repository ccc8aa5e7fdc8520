//! The folder of a simulation: a sub-folder of the data folder, wiped at the start, never the real state; and
//! folders for tests, which are gone afterwards.
//!
//! `cli` opens them before anything starts. What a simulation did not make itself it does not wipe.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::books::Checked;
use crate::deliver::config::{SinkConfig, Target};
use crate::error::{Error, Kind, Result};
use crate::queue::local::Beside;

/// Stands in every folder that a simulation made.
const MARK: &str = "made-by-a-simulation";
/// The file of records, where the person named no sink that keeps a file.
const RECORDS: &str = "records.jsonl";
/// The sink of that file.
const SINK: &str = "simulation";

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Wipes what the last simulation left, and makes the folder anew.
    pub fn open(data_dir: &Path, name: &str) -> Result<Self> {
        let path = data_dir.join(name);
        let place = path.display().to_string();
        let trouble = |e: std::io::Error| Error::new(Kind::Io, "cannot be made anew").at(&place).because(e);
        if path.exists() {
            let empty = std::fs::read_dir(&path).map_err(trouble)?.next().is_none();
            if !empty && !path.join(MARK).is_file() {
                return Err(Error::new(Kind::Configuration, "this folder was not made by a simulation")
                    .at(place)
                    .help("move it away, or give another --data-dir"));
            }
            let runner = Beside::open(&path).ok().and_then(|store| store.runner());
            if let Some(pid) = runner {
                return Err(Error::new(Kind::Configuration, format!("process {pid} simulates here already"))
                    .at(place)
                    .help("wait for its end, or give another --data-dir"));
            }
            std::fs::remove_dir_all(&path).map_err(trouble)?;
        }
        DirBuilder::new().mode(0o700).recursive(true).create(&path).map_err(trouble)?;
        File::create(path.join(MARK)).map_err(trouble)?;
        Ok(Self(path))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The sinks, one of which keeps a file that can be checked record by record: the first of the person's
    /// that does, else one more.
    pub fn sinks(&self, mut sinks: Vec<SinkConfig>) -> (Vec<SinkConfig>, Checked) {
        let file = sinks.iter().find_map(|sink| match &sink.target {
            Target::File { path, rotate: None } => {
                Some(Checked { sink: sink.name.clone(), path: path.clone() })
            }
            Target::File { rotate: Some(_), .. } | Target::Stdout | Target::Http(_) => None,
        });
        let checked = file.unwrap_or_else(|| {
            let path = self.0.join(RECORDS);
            let target = Target::File { path: path.clone(), rotate: None };
            sinks.push(SinkConfig { name: SINK.to_owned(), target });
            Checked { sink: SINK.to_owned(), path }
        });
        (sinks, checked)
    }

    /// Whether a file is the folder's own.
    pub fn is_own(&self, file: &Path) -> bool {
        file.starts_with(&self.0)
    }
}

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder below this one.
    pub fn new(below: &Path) -> Result<Self> {
        let mut random = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::new(Kind::Io, "there is no randomness"))?;
        let path = below.join(format!("forebay-test-{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|e| {
            Error::new(Kind::Io, "a folder for the test cannot be made")
                .at(path.display().to_string())
                .because(e)
        })?;
        Ok(Self(path))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed does no harm: no case looks into the folder of another.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
