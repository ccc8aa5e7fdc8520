//! Opening the file, and making its name as safe as its bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens the file for appending. A new one is readable by its owner alone, and its name is synced too.
pub(super) fn open_appending(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let file = options.create(true).open(path)?;
            file.sync_all()?;
            sync_folder(path)?;
            file
        }
        opened => opened?,
    };
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// The folder that a file stands in.
pub(in crate::deliver::sinks) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Makes a file's name as safe as its bytes.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}
