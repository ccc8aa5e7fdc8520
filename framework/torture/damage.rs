//! Damage to the files of a store, while nobody runs on it.
//!
//! Called between two runs with dice of the round. It touches the database and its log, nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::schedule::{Damage, Dice};
use crate::error::{Error, Kind, Result};

/// Bytes of a page of the database.
const PAGE: u64 = 4096;
/// Bytes of half a frame of the log.
const HALF_FRAME: usize = 2072;

/// Does it; what was done is told in a few words. `None`: there was nothing that could be damaged.
pub fn inflict(folder: &Path, damage: Damage, dice: &mut Dice) -> Result<Option<String>> {
    let name = match damage {
        Damage::FlipDatabase | Damage::CutDatabase => "forebay.db",
        Damage::FlipLog | Damage::CutLog | Damage::TornLog => "forebay.db-wal",
    };
    let path = folder.join(name);
    let trouble = |e: std::io::Error| {
        Error::new(Kind::Io, "cannot be damaged").at(path.display().to_string()).because(e)
    };
    if !path.exists() {
        return Ok(None);
    }
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(trouble)?;
    let length = file.metadata().map_err(trouble)?.len();
    if length < 2 * PAGE {
        return Ok(None);
    }
    let done = match damage {
        Damage::FlipDatabase | Damage::FlipLog => flip(&file, dice.below(length), dice),
        Damage::CutDatabase => {
            let pages = length / PAGE;
            let left = pages - 1 - dice.below((pages / 4).max(1));
            file.set_len(left * PAGE).map(|()| format!("{} of {pages} pages cut off", pages - left))
        }
        Damage::CutLog => {
            let cut = 1 + dice.below(length / 2);
            file.set_len(length - cut).map(|()| format!("{cut} of {length} bytes cut off"))
        }
        Damage::TornLog => {
            let half: Vec<u8> = (0..HALF_FRAME).map(|_| dice.below(256) as u8).collect();
            file.write_all_at(&half, length).map(|()| "half a frame added".to_owned())
        }
    };
    done.and_then(|done| file.sync_all().map(|()| Some(format!("{name}: {done}")))).map_err(trouble)
}

fn flip(file: &File, at: u64, dice: &mut Dice) -> std::io::Result<String> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    let bit = 1 << dice.below(8);
    file.write_all_at(&[byte[0] ^ bit], at)?;
    Ok(format!("a bit of byte {at} flipped"))
}
