//! What lies in memory still: sinks that keep up, or are many, get their records without the database, and the same ones.

use super::*;

/// Records of a megabyte, none like another, that lz4 makes small.
fn megabytes() -> Vec<Bytes> {
    (0..12u8).map(|n| Bytes::from(vec![b'a' + n; 1 << 20])).collect()
}

/// Records of a megabyte that nothing makes small.
fn noise() -> Vec<Bytes> {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..12).map(|_| (0..1 << 20).map(|_| byte()).collect()).collect()
}

/// A store with sinks that got nothing yet of a first block and one for each record, all of which are spoiled in the
/// database.
async fn spoiled(folder: &Path, sinks: &[&str], records: &[Bytes]) -> Arc<Local> {
    let local = open(folder);
    register(&local, "acme", sinks).await;
    local.append(batch("acme", vec![checked("first", "first")])).await.unwrap();
    for sink in sinks {
        // From here on it is known in memory where the sink stands.
        local.read(&key("acme", sink), 1, 1).await.unwrap().unwrap();
    }
    for (n, bytes) in records.iter().enumerate() {
        local.append(batch("acme", vec![checked(&n.to_string(), bytes.clone())])).await.unwrap();
    }
    let beside = rusqlite::Connection::open(folder.join("forebay.db")).unwrap();
    assert_eq!(beside.execute("UPDATE blocks SET checksum = checksum + 1", []).unwrap(), 13);
    local
}

#[tokio::test]
async fn many_sinks_are_served_from_memory_and_get_what_was_stored() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d", "e"];
    let local = spoiled(folder.path(), &names, &megabytes()).await;
    let mut all = vec![Bytes::from("first")];
    all.extend(megabytes());
    for sink in names {
        assert_eq!(drain(&local, &key("acme", sink)).await, all, "sink {sink}");
    }
    assert_eq!(local.stats().lost, 0);
    local.close().await.unwrap();
}

#[tokio::test]
async fn a_chunk_from_memory_keeps_its_bounds_and_begins_where_the_sink_stands() {
    let folder = tempfile::tempdir().unwrap();
    let local = spoiled(folder.path(), &["a", "b", "c", "d", "e"], &megabytes()).await;
    let sink = key("acme", "a");
    let chunk = local.read(&sink, 3, 1 << 30).await.unwrap().unwrap();
    assert_eq!(chunk.records.iter().map(Bytes::len).collect::<Vec<_>>(), [5, 1 << 20, 1 << 20]);
    local.advance(&sink, &chunk, done(2)).await.unwrap();
    let chunk = local.read(&sink, 100, 5 << 19).await.unwrap().unwrap();
    assert_eq!(chunk.origin, Origin::Log { from: Position(2) });
    assert_eq!(texts(&chunk), megabytes()[1..3]);
    local.close().await.unwrap();
}

#[tokio::test]
async fn one_sink_that_is_far_behind_reads_from_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let local = spoiled(folder.path(), &["a"], &noise()).await;
    // What is older than the newest megabytes is in the database alone, where it was spoiled.
    let found = drain(&local, &key("acme", "a")).await;
    assert!(!found.contains(&noise()[0]), "{} records", found.len());
    assert!(local.stats().lost > 0);
    local.close().await.unwrap();
}
