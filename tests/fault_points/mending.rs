//! Kills between the steps of mending a damaged store: each start ends what the last one began.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay::connector::clock::SystemClock;
use forebay::queue::Queue;
use forebay::queue::local::Local;

use super::accounts::Accounts;
use crate::queue::{batch, checked, id, limits};

const SALVAGE: &[&str] = &[
    "salvage.aside",
    "rescue.copied",
    "salvage.built",
    "salvage.fresh",
    "salvage.unlogged",
    "salvage.placed",
];

pub const POINTS: &[&str] = &[
    "salvage.aside",
    "rescue.copied",
    "salvage.built",
    "salvage.fresh",
    "salvage.unlogged",
    "salvage.placed",
    "log.kept",
    "block.kept",
];

fn names(word: &str, from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("{word}-{n}")).collect()
}

async fn opened(folder: &Path) -> Arc<Local> {
    let local = Local::open(folder, limits(), Arc::new(SystemClock)).unwrap();
    local.register_sinks(&id("acme"), &["archive".to_owned()]).await.unwrap();
    local
}

async fn append(local: &Local, ids: &[String]) {
    let records = ids.iter().map(|id| checked(id, format!(r#"{{"log_id":"{id}"}}"#))).collect();
    assert_eq!(local.append(batch("acme", records)).await.unwrap().stored as usize, ids.len());
}

/// A store of six blocks of ten records that no sink has got.
async fn stored(folder: &Path) {
    let local = opened(folder).await;
    for from in (0..60).step_by(10) {
        append(&local, &names("old", from, from + 10)).await;
    }
    local.close().await.unwrap();
}

/// What was kept aside under this name, in all folders for it.
fn kept(data: &Path, name: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let aside = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"));
    aside.filter_map(|entry| std::fs::read(entry.path().join(name)).ok()).collect()
}

fn flip(path: &PathBuf, at: usize) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x55;
    std::fs::write(path, &bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_kill_between_the_steps_of_a_salvage_loses_nothing_that_can_be_read() {
    for point in SALVAGE {
        let mut accounts = Accounts::new();
        let data = accounts.folder().join("data");
        stored(&data).await;
        accounts.begin_with(names("old", 0, 60));
        // The kind of the first page: nothing of the database can be opened.
        let damaged = flip(&data.join("forebay.db"), 100);
        accounts.run_until_killed(&format!("{point}=return"));
        accounts.settle(&format!("killed at {point}"), |data| {
            assert!(kept(data, "forebay.db").contains(&damaged), "{point}: the damaged store is kept whole");
            let left: Vec<_> =
                std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(!left.iter().any(|name| name == "salvage" || name == "forebay.db.fresh"), "{left:?}");
        });
    }
}

#[tokio::test]
async fn a_kill_after_a_damaged_log_was_kept_keeps_it_still() {
    let mut accounts = Accounts::new();
    let data = accounts.folder().join("data");
    stored(&data).await;
    accounts.begin_with(names("old", 0, 60));
    // A log that a crash left, damaged from its first byte on: what it alone holds is lost.
    let other = tempfile::tempdir().unwrap();
    let crashed = other.path().join("data");
    std::fs::rename(&data, &crashed).unwrap();
    let local = opened(&crashed).await;
    append(&local, &names("lost", 0, 10)).await;
    std::fs::create_dir(&data).unwrap();
    for file in ["forebay.db-wal", "forebay.db"] {
        std::fs::copy(crashed.join(file), data.join(file)).unwrap();
    }
    local.close().await.unwrap();
    let damaged = flip(&data.join("forebay.db-wal"), 9);
    accounts.run_until_killed("log.kept=return");
    accounts.settle("killed at log.kept", |data| {
        assert!(kept(data, "forebay.db-wal").contains(&damaged), "the damaged log is kept whole");
    });
}

#[tokio::test]
async fn a_kill_after_a_damaged_block_was_kept_loses_that_block_alone() {
    let mut accounts = Accounts::new();
    let data = accounts.folder().join("data");
    stored(&data).await;
    let db = rusqlite::Connection::open(data.join("forebay.db")).unwrap();
    let changed = db
        .execute("UPDATE blocks SET checksum = checksum + 1 WHERE key = (SELECT key FROM blocks ORDER BY key LIMIT 1 OFFSET 2)", [])
        .unwrap();
    assert_eq!(changed, 1);
    drop(db);
    accounts.begin_with(names("old", 0, 20).into_iter().chain(names("old", 30, 60)));
    accounts.run_until_killed("block.kept=return");
    accounts.settle("killed at block.kept", |data| {
        assert!(data.join("damaged-blocks/acme-20.block").is_file(), "the damaged block is kept");
    });
}
