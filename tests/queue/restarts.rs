//! What outlives the process, and who may open it: cursors, state, sinks that come and go, one run at a time.

use super::*;

#[tokio::test]
async fn everything_is_there_after_a_restart_and_every_sink_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["fast", "slow"]).await;
    let records = (0..100).map(|n| checked(&n.to_string(), n.to_string())).collect();
    let dead = vec![letter("{broken", None)];
    local.append(Batch { dead, ..batch("acme", records) }).await.unwrap();
    let chunk = local.read(&key("acme", "fast"), 60, 1 << 20).await.unwrap().unwrap();
    let progress = Progress { done: 60, note: Some("inode 7".to_owned()), dead: Vec::new() };
    local.advance(&key("acme", "fast"), &chunk, progress).await.unwrap();
    assert!(local.save(&id("acme"), None, &json!({"resource": "lst_1"})).await.unwrap());
    local.close().await.unwrap();
    assert!(local.append(batch("acme", vec![checked("x", "x")])).await.is_err(), "closed is closed");
    drop(local);

    let local = open(folder.path());
    let cursor = local.cursor(&key("acme", "fast")).await.unwrap().unwrap();
    assert_eq!((cursor.position, cursor.note.as_deref()), (Position(60), Some("inode 7")));
    assert_eq!(drain(&local, &key("acme", "fast")).await.len(), 40);
    assert_eq!(drain(&local, &key("acme", "slow")).await.len(), 100);
    assert_eq!(local.load(&id("acme")).await.unwrap(), Some(json!({"resource": "lst_1"})));
    assert_eq!(letters(folder.path(), "acme").len(), 1);
    let again = local.append(batch("acme", vec![checked("99", "99")])).await.unwrap();
    assert_eq!(again.duplicates, 1);
}

#[tokio::test]
async fn state_is_saved_against_what_was_loaded_and_knows_the_latest_event() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let acme = id("acme");
    assert_eq!(local.load(&acme).await.unwrap(), None);
    assert!(local.save(&acme, None, &json!({"a": 1})).await.unwrap());
    let beside = Beside::open(folder.path()).unwrap();
    assert_eq!(beside.load(&acme).await.unwrap(), Some(json!({"a": 1})));
    assert!(beside.save(&acme, Some(&json!({"a": 1})), &json!({"a": 2})).await.unwrap());
    assert!(
        !local.save(&acme, Some(&json!({"a": 1})), &json!({"a": 3})).await.unwrap(),
        "destroy was faster"
    );
    assert_eq!(local.load(&acme).await.unwrap(), Some(json!({"a": 2})));
    assert_eq!(local.latest_event_time(&acme).await.unwrap(), None);
    let schema = RecordSchema::compile(&json!(true)).unwrap();
    let parsed = Parsed::read("{}").unwrap();
    let timed = |id: &'static str, ms| {
        let time = Some(Timestamp::from_millisecond(ms).unwrap());
        schema
            .check(Record {
                bytes: Bytes::from_static(b"{}"),
                tree: parsed.root(),
                id: id.into(),
                remember: Remember::Window,
                time,
            })
            .unwrap()
    };
    local.append(batch("acme", vec![timed("1", 2000), timed("2", 1000)])).await.unwrap();
    assert_eq!(
        local.latest_event_time(&acme).await.unwrap(),
        Some(Timestamp::from_millisecond(2000).unwrap())
    );
    assert_eq!(
        beside.latest_event_time(&acme).await.unwrap(),
        Some(Timestamp::from_millisecond(2000).unwrap())
    );
}

#[tokio::test]
async fn a_second_run_is_refused_with_the_others_pid_and_another_format_too() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let refused = Local::open(folder.path(), limits(), Hand::at(START)).unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    assert_eq!(Beside::open(folder.path()).unwrap().runner(), Some(std::process::id()));
    local.close().await.unwrap();
    assert_eq!(Beside::open(folder.path()).unwrap().runner(), None);
    for version in [1, 99] {
        let db = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
        db.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
        drop(db);
        let other = Local::open(folder.path(), limits(), Hand::at(START)).unwrap_err();
        assert_eq!(other.kind, forebay::error::Kind::Configuration);
        let said = format!("another version of forebay wrote this store: it has format version {version}");
        assert!(other.to_string().contains(&said), "{other}");
        assert!(Beside::open(folder.path()).unwrap_err().to_string().contains(&said));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_folder_and_its_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("data");
    let local = open(&folder);
    register(&local, "acme", &["a"]).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_removed_sink_holds_its_records_until_it_is_dropped_and_a_new_one_starts_at_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a", "old"]).await;
    for n in 0..5 {
        local.append(batch("acme", vec![checked(&n.to_string(), n.to_string())])).await.unwrap();
    }
    let chunk = local.read(&key("acme", "old"), 2, 1 << 20).await.unwrap().unwrap();
    local.advance(&key("acme", "old"), &chunk, done(2)).await.unwrap();
    assert_eq!(drain(&local, &key("acme", "a")).await.len(), 5);
    local.close().await.unwrap();

    let local = open(folder.path());
    let sinks = local.register_sinks(&id("acme"), &["a".to_owned(), "new".to_owned()]).await.unwrap();
    let seen: Vec<_> = sinks.iter().map(|s| (s.sink.as_str(), s.registered, s.behind)).collect();
    assert_eq!(seen, [("a", true, 0), ("new", true, 3), ("old", false, 3)]);
    assert_eq!(
        drain(&local, &key("acme", "new")).await,
        ["2", "3", "4"],
        "0 and 1 were trimmed: all had them"
    );
    let blocks = || -> i64 {
        let db = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
        db.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(blocks(), 3, "the removed sink holds them");
    let beside = Beside::open(folder.path()).unwrap();
    assert!(beside.drop_sink(&id("acme"), "old").unwrap());
    assert!(!beside.drop_sink(&id("acme"), "old").unwrap());
    assert_eq!(blocks(), 0);
    let error = local.read(&key("acme", "old"), 1, 1).await.unwrap_err().to_string();
    assert!(error.contains("`old`"), "{error}");
}
