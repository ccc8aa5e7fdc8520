//! Making a store: its folder, and an empty database in it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::fault::Fault;
use super::schema;

/// Stands in a folder once it has a store: an empty database is new, or one that lost everything.
const MADE: &str = "made";

/// Makes the folder: for its owner alone, and there after a power cut too.
pub(super) fn folder(folder: &Path) -> Result<(), Fault> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    Ok(())
}

/// Makes the database if there is none.
pub(super) fn database(folder: &Path) -> Result<(), Fault> {
    let path = schema::file(folder);
    let size = |file: &Path| std::fs::metadata(file).map_or(0, |data| data.len());
    // SQLite takes a file without a whole page for an empty database, and would throw its log away.
    let (file, log) = (size(&path), size(&folder.join("forebay.db-wal")));
    if file < schema::PAGE && (file > 0 || log > 0) {
        return Err(Fault::damaged("its file is cut off in the first page"));
    }
    let made = folder.join(MADE);
    if file == 0 && made.exists() {
        return Err(Fault::damaged("there was a store in this folder, and its file is empty or gone"));
    }
    // SQLite gives its other files the mode of this one.
    drop(OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?);
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let mut key = [0; 16];
    SystemRandom::new().fill(&mut key).map_err(|_| Fault::broken("the system has no random numbers"))?;
    schema::create(folder, &key)?;
    if !made.exists() {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&made)?;
    }
    File::open(folder)?.sync_all()?;
    Ok(())
}
