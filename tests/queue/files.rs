//! The files of an open store, removed, moved, replaced and written over: nothing is acknowledged into files that the next
//! start does not find, what was acknowledged before is saved, and the store goes on once its files are back.

use std::fs::{copy, create_dir, read_dir, remove_file, rename};
use std::path::PathBuf;
use std::time::Instant;

use forebay::condition::{Code, Conditions, Subject};
use forebay::connector::clock::SystemClock;

use super::*;

const FILES: [&str; 3] = ["forebay.db", "forebay.db-wal", "forebay.db-shm"];

fn start(folder: &Path) -> (Arc<Local>, Arc<Conditions>) {
    let conditions = Arc::new(Conditions::default());
    let local = Local::open_with(folder, limits(), Arc::new(SystemClock), conditions.clone()).unwrap();
    (local, conditions)
}

async fn put(local: &Local, n: u64) -> bool {
    match local.append(batch("acme", vec![checked(&n.to_string(), n.to_string())])).await {
        Ok(receipt) => {
            assert_eq!(receipt.stored + receipt.duplicates, 1);
            true
        }
        Err(Refusal::Broken(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn filled(local: &Local, from: u64, to: u64) {
    register(local, "acme", &["a"]).await;
    for n in from..to {
        assert!(put(local, n).await);
    }
}

/// Waits without any traffic.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} does not hold");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn replaced(conditions: &Conditions) -> Option<String> {
    let held = conditions.list().into_iter().find(|held| held.code == Code::StoreReplaced)?;
    Some(held.message)
}

fn copies(folder: &Path) -> Vec<PathBuf> {
    let entries = read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("rescued-")).collect()
}

async fn numbers(local: &Local) -> Vec<u64> {
    register(local, "acme", &["a"]).await;
    let found = drain(local, &key("acme", "a")).await;
    found.iter().map(|record| std::str::from_utf8(record).unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn store_unlinked_refuses_saves_and_starts_from_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 20).await;
    for name in FILES {
        remove_file(folder.path().join(name)).unwrap();
    }
    assert!(!put(&local, 20).await, "a commit into unlinked files was acknowledged");
    assert!(replaced(&conditions).is_some());
    until("the copy", || replaced(&conditions).unwrap().contains("is saved in")).await;
    assert!(!put(&local, 21).await);
    let epoch = local.epoch();
    local.close().await.unwrap();
    let (local, conditions) = start(folder.path());
    let found = numbers(&local).await;
    // What was refused at the moment of the removal may be there: its vendor sends it again, and it is known then.
    assert!(found == (0..20).collect::<Vec<_>>() || found == (0..21).collect::<Vec<_>>(), "{found:?}");
    assert_ne!(local.epoch(), epoch, "a copy begins a new epoch");
    assert_eq!((conditions.list(), copies(folder.path())), (Vec::new(), Vec::new()));
    assert!(put(&local, 30).await);
}

#[tokio::test]
async fn folder_moved_away_and_back_goes_on_without_a_restart() {
    let outer = tempfile::tempdir().unwrap();
    let (folder, away) = (outer.path().join("data"), outer.path().join("away"));
    let (local, conditions) = start(&folder);
    filled(&local, 0, 5).await;
    rename(&folder, &away).unwrap();
    until("the condition without traffic", || replaced(&conditions).is_some()).await;
    assert!(!put(&local, 5).await);
    until("the copy", || replaced(&conditions).unwrap().contains("is saved in")).await;
    assert_eq!(copies(outer.path()).len(), 1, "the copy does not stand where the folder comes back to");
    rename(&away, &folder).unwrap();
    until("the end of the condition", || replaced(&conditions).is_none()).await;
    assert!(put(&local, 5).await);
    assert_eq!(numbers(&local).await, [0, 1, 2, 3, 4, 5]);
    assert!(copies(outer.path()).is_empty(), "the copy of a store that is back is removed");
    local.close().await.unwrap();
}

#[tokio::test]
async fn empty_folder_in_its_place_is_never_acknowledged_into() {
    let outer = tempfile::tempdir().unwrap();
    let (folder, away) = (outer.path().join("data"), outer.path().join("away"));
    let (local, conditions) = start(&folder);
    filled(&local, 0, 5).await;
    rename(&folder, &away).unwrap();
    create_dir(&folder).unwrap();
    assert!(!put(&local, 5).await);
    until("the copy", || replaced(&conditions).unwrap().contains("is saved in")).await;
    local.close().await.unwrap();
    let (local, _) = start(&folder);
    assert_eq!(numbers(&local).await[..5], [0, 1, 2, 3, 4], "what was acknowledged is there after a start");
}

#[tokio::test]
async fn copy_moved_over_the_open_store_is_noticed_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 5).await;
    let spare = tempfile::tempdir_in(folder.path().parent().unwrap()).unwrap();
    for name in FILES {
        copy(folder.path().join(name), spare.path().join(name)).unwrap();
    }
    assert!(put(&local, 5).await, "after the backup");
    for name in &FILES[..2] {
        rename(spare.path().join(name), folder.path().join(name)).unwrap();
    }
    assert!(!put(&local, 6).await);
    until("the copy", || replaced(&conditions).unwrap().contains("is saved in")).await;
    let epoch = local.epoch();
    local.close().await.unwrap();
    // The operator's backup is what runs now; what it lacks is in the copy, and a condition says so.
    let (local, conditions) = start(folder.path());
    assert_eq!(numbers(&local).await, [0, 1, 2, 3, 4]);
    assert_ne!(local.epoch(), epoch);
    let waiting = conditions.list();
    assert_eq!(waiting.iter().map(|held| held.code).collect::<Vec<_>>(), [Code::StoreCopyWaiting]);
    let saved = copies(folder.path()).pop().unwrap();
    assert!(waiting[0].message.contains(&saved.display().to_string()), "{}", waiting[0].message);
    assert_eq!(waiting[0].subject, Subject::process().item(saved.display()));
    let (other, _) = start(&saved);
    assert!(numbers(&other).await.starts_with(&[0, 1, 2, 3, 4, 5]), "the copy is a data folder of its own");
    other.close().await.unwrap();
    assert!(!conditions.list().is_empty(), "it waits until it is removed");
    std::fs::remove_dir_all(&saved).unwrap();
    until("the end of the condition without traffic", || conditions.list().is_empty()).await;
    assert!(put(&local, 7).await);
}

#[tokio::test]
async fn database_written_over_is_never_acknowledged_into() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 5).await;
    let database = folder.path().join("forebay.db");
    let before = std::fs::read(&database).unwrap();
    std::fs::write(&database, &before).unwrap();
    assert!(!put(&local, 5).await, "`cp` over the open database was not noticed");
    assert!(replaced(&conditions).is_some_and(|said| said.contains("was written by another program")));
    until("the end of the condition", || replaced(&conditions).is_none()).await;
    assert!(put(&local, 6).await);
    // What was refused may be there: its vendor sends it again.
    let found = numbers(&local).await;
    assert!(found == [0, 1, 2, 3, 4, 6] || found == [0, 1, 2, 3, 4, 5, 6], "{found:?}");
    assert_eq!(local.stats().lost, 0);
}

#[tokio::test]
async fn log_written_over_by_its_own_copy_is_noticed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 5).await;
    let log = folder.path().join("forebay.db-wal");
    let before = std::fs::read(&log).unwrap();
    for n in 5..10 {
        assert!(put(&local, n).await);
    }
    std::fs::write(&log, &before).unwrap();
    assert!(!put(&local, 10).await, "a commit behind a hole in the log was acknowledged");
    until("the end of the condition", || replaced(&conditions).is_none()).await;
    assert_eq!(local.stats().lost, 5, "records that were acknowledged and are gone are counted");
    assert_eq!(numbers(&local).await, [0, 1, 2, 3, 4]);
    assert!(put(&local, 11).await);
}

#[tokio::test]
async fn commands_that_write_meanwhile_are_no_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 5).await;
    let dead = Batch { dead: vec![letter("{", None)], ..batch("acme", Vec::new()) };
    local.append(dead).await.unwrap();
    for n in 5..10 {
        let beside = Beside::open(folder.path()).unwrap();
        beside.retry(&id("acme"), &[1]).unwrap();
        drop(beside);
        assert!(put(&local, n).await);
    }
    assert_eq!(conditions.list(), []);
}

#[tokio::test]
async fn checkpoint_of_another_program_is_no_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 5).await;
    let other = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
    for (n, mode) in (5..).zip(["PASSIVE", "FULL", "RESTART", "TRUNCATE", "PASSIVE"]) {
        let busy = other.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0));
        assert_eq!(busy.unwrap(), 0);
        assert!(put(&local, n).await, "{mode}");
    }
    assert_eq!(conditions.list(), []);
    let database = folder.path().join("forebay.db");
    std::fs::write(&database, std::fs::read(&database).unwrap()).unwrap();
    assert!(!put(&local, 10).await, "what was written over is noticed all the same");
}

#[tokio::test]
async fn missing_log_of_an_unclean_store_is_reported_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (local, _) = start(folder.path());
    filled(&local, 0, 5).await;
    for looks_first in [false, true] {
        // What a kill leaves, or a backup of the one file while Forebay runs.
        let killed = tempfile::tempdir().unwrap();
        copy(folder.path().join("forebay.db"), killed.path().join("forebay.db")).unwrap();
        if looks_first {
            drop(Beside::open(killed.path()).unwrap());
        }
        let (again, conditions) = start(killed.path());
        assert!(conditions.holds(Code::StoreLogMissing, &Subject::process()), "looks first: {looks_first}");
        assert_eq!(again.stats().logs_missing, 1);
        again.close().await.unwrap();
        let (again, conditions) = start(killed.path());
        assert_eq!((conditions.list(), again.stats().logs_missing), (Vec::new(), 0), "once");
        again.close().await.unwrap();
    }
    local.close().await.unwrap();
    let (local, conditions) = start(folder.path());
    assert_eq!((conditions.list(), local.stats().logs_missing), (Vec::new(), 0), "a clean end has no log");
}

#[tokio::test]
async fn epoch_stays_with_its_files_and_changes_with_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (local, _) = start(folder.path());
    filled(&local, 0, 2).await;
    let epoch = local.epoch();
    assert_eq!(epoch.len(), 16);
    local.close().await.unwrap();
    let backup = folder.path().join("backup.db");
    copy(folder.path().join("forebay.db"), &backup).unwrap();
    let (local, _) = start(folder.path());
    assert_eq!(local.epoch(), epoch, "a restart is no copy");
    local.close().await.unwrap();
    // A restore into the same file, a restore of another file, a copy of the whole folder.
    std::fs::write(folder.path().join("forebay.db"), std::fs::read(&backup).unwrap()).unwrap();
    let (local, _) = start(folder.path());
    let second = local.epoch();
    assert_ne!(second, epoch);
    local.close().await.unwrap();
    rename(&backup, folder.path().join("forebay.db")).unwrap();
    let (local, _) = start(folder.path());
    assert_ne!(local.epoch(), second);
    let third = local.epoch();
    local.close().await.unwrap();
    let other = tempfile::tempdir().unwrap();
    for name in ["forebay.db", "made"] {
        copy(folder.path().join(name), other.path().join(name)).unwrap();
    }
    let (local, _) = start(other.path());
    assert_ne!(local.epoch(), third);
}

#[tokio::test]
async fn store_that_lost_its_log_begins_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (local, _) = start(folder.path());
    filled(&local, 0, 5).await;
    let epoch = local.epoch();
    let kept = std::fs::read(folder.path().join("forebay.db")).unwrap();
    local.close().await.unwrap();
    // The same file as it was before the log was copied into it: its log was removed after a crash.
    std::fs::write(folder.path().join("forebay.db"), kept).unwrap();
    let (local, conditions) = start(folder.path());
    assert!(conditions.holds(Code::StoreLogMissing, &Subject::process()));
    assert_ne!(local.epoch(), epoch, "the positions of the lost events are given out again");
}

#[tokio::test]
async fn chunk_of_a_former_epoch_moves_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let (local, conditions) = start(folder.path());
    filled(&local, 0, 5).await;
    let log = folder.path().join("forebay.db-wal");
    let before = std::fs::read(&log).unwrap();
    for n in 5..10 {
        assert!(put(&local, n).await);
    }
    let sink = key("acme", "a");
    let chunk = local.read(&sink, 100, 1 << 20).await.unwrap().unwrap();
    assert_eq!((chunk.records.len(), &*chunk.epoch), (10, &*local.epoch()));
    std::fs::write(&log, &before).unwrap();
    assert!(!put(&local, 10).await);
    until("the end of the condition", || replaced(&conditions).is_none()).await;
    assert_ne!(chunk.epoch, local.epoch(), "the positions of lost events are given out again");
    // Ten records at the positions of those that were lost, and of those that are there.
    for n in 11..21 {
        assert!(put(&local, n).await);
    }
    local.advance(&sink, &chunk, done(10)).await.unwrap();
    assert_eq!(numbers(&local).await, [&[0, 1, 2, 3, 4][..], &(11..21).collect::<Vec<_>>()].concat());
}

#[tokio::test]
async fn removed_lock_file_admits_no_second_process() {
    let folder = tempfile::tempdir().unwrap();
    let (local, _) = start(folder.path());
    let lock = folder.path().join("lock");
    remove_file(&lock).unwrap();
    let refused = Local::open(folder.path(), limits(), Arc::new(SystemClock)).unwrap_err().to_string();
    assert!(refused.contains("runs on this data folder already"), "{refused}");
    let ours =
        || std::fs::read_to_string(&lock).is_ok_and(|text| text.trim() == std::process::id().to_string());
    until("the file is there again", ours).await;
    assert_eq!(Beside::open(folder.path()).unwrap().runner(), Some(std::process::id()));
    local.close().await.unwrap();
}

#[tokio::test]
async fn special_files_in_the_place_of_the_stores_are_errors() {
    for name in ["forebay.db", "forebay.db-wal", "forebay.db-shm", "lock", "made", "forebay.db.fresh"] {
        for what in ["a FIFO", "a directory", "a symbolic link"] {
            let folder = tempfile::tempdir().unwrap();
            open(folder.path()).close().await.unwrap();
            let path = folder.path().join(name);
            _ = remove_file(&path);
            match what {
                "a FIFO" => {
                    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
                    assert!(made.success());
                }
                "a directory" => create_dir(&path).unwrap(),
                _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            }
            let refused = Local::open(folder.path(), limits(), Hand::at(START)).unwrap_err().to_string();
            let said = format!("{name}: expected a regular file, got {what}");
            assert!(refused.contains(&said), "{name} {what}: {refused}");
            if name != "forebay.db" {
                assert!(
                    Beside::open(folder.path()).unwrap_err().to_string().contains(&said),
                    "{name} {what}"
                );
            }
        }
    }
}
