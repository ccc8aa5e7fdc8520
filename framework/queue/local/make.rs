//! Making a store: its folder, and an empty database in it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::fault::Fault;
use super::mark::MADE;
use super::schema;

/// Makes the folder: for its owner alone, and there after a power cut too. One that is there and holds other things is
/// somebody's, and stays as it is; the files of a store are for their owner alone wherever they stand.
pub(super) fn folder(folder: &Path) -> std::io::Result<()> {
    let ours = !folder.exists() || schema::file(folder).exists() || fs::read_dir(folder)?.next().is_none();
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    if ours {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes the database if there is none.
pub(super) fn database(folder: &Path) -> Result<(), Fault> {
    let path = schema::file(folder);
    let size = |file: &Path| fs::metadata(file).map_or(0, |data| data.len());
    // SQLite takes a file without a whole page for an empty database, and would throw its log away.
    let (file, log) = (size(&path), size(&folder.join("forebay.db-wal")));
    if file < schema::PAGE && (file > 0 || log > 0) {
        return Err(Fault::damaged("its file is cut off in the first page"));
    }
    // It is there once the folder has a store: an empty database is new, or one that lost everything.
    let made = folder.join(MADE);
    if file == 0 && made.exists() {
        return Err(Fault::damaged("there was a store in this folder, and its file is empty or gone"));
    }
    // SQLite gives its other files the mode of this one. A file that is there is opened by SQLite alone: to close it here
    // would end every lock that this process has on it, and another process could take the log away under a commit.
    if !path.exists() {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let mut key = [0; 16];
    SystemRandom::new().fill(&mut key).map_err(|_| Fault::broken("the system has no random numbers"))?;
    schema::create(folder, &key)?;
    if !made.exists() {
        // Empty until the first opening writes its mark.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&made)?;
    }
    File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Locks that this process has on the database's file, as the kernel lists them.
    fn locks(folder: &Path) -> usize {
        let inode = std::fs::metadata(schema::file(folder)).unwrap().ino();
        let (process, file) = (format!(" {} ", std::process::id()), format!(":{inode} "));
        let all = std::fs::read_to_string("/proc/locks").unwrap();
        all.lines().filter(|line| line.contains(&process) && line.contains(&file)).count()
    }

    #[test]
    fn a_folder_of_somebody_elses_keeps_its_mode() {
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let outer = tempfile::tempdir().unwrap();
        let (new, empty, others) =
            (outer.path().join("new"), outer.path().join("empty"), outer.path().join("others"));
        for there in [&empty, &others] {
            fs::create_dir(there).unwrap();
            fs::set_permissions(there, Permissions::from_mode(0o1777)).unwrap();
        }
        fs::write(others.join("file"), "of somebody").unwrap();
        for path in [&new, &empty, &others] {
            folder(path).unwrap();
            database(path).unwrap();
        }
        assert_eq!([mode(&new), mode(&empty), mode(&others)], [0o700, 0o700, 0o1777]);
        assert_eq!(mode(&schema::file(&others)), 0o600);
    }

    #[test]
    fn a_store_that_is_made_sure_of_while_it_is_read_keeps_its_locks() {
        let outer = tempfile::tempdir().unwrap();
        database(outer.path()).unwrap();
        let reader = schema::connect(outer.path()).unwrap();
        let key = schema::get(&reader, "key").unwrap();
        assert_eq!(
            locks(outer.path()),
            1,
            "an open database is locked against those who would take its log away"
        );
        database(outer.path()).unwrap();
        assert_eq!(locks(outer.path()), 1);
        assert_eq!(schema::get(&reader, "key").unwrap(), key);
    }
}
