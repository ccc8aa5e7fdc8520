//! Damage to what the store had synced: a page, a row, a byte, a whole file. What it hit is lost or said, and nothing gets stuck.

use super::*;

#[tokio::test]
async fn a_sink_whose_cursor_was_lost_with_its_page_goes_on_while_the_process_runs() {
    let outer = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() };
    let local = Local::open(outer.path(), limits, Arc::new(SystemClock)).unwrap();
    let (well, late) = (key("acme", "well"), key("acme", "late"));
    local.register_sinks(&well.instance, &["well".to_owned(), "late".to_owned()]).await.unwrap();
    let records = |range: std::ops::Range<u64>| range.map(|n| checked(&n.to_string(), record(n))).collect();
    local.append(batch("acme", records(0..10))).await.unwrap();
    assert_eq!(drain(&local, &well).await.len(), 10);
    // The page of the cursors, damaged under the running process. What it has of it in memory is outdated first.
    let file = outer.path().join("forebay.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("UPDATE about SET value = value").unwrap();
    let _: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 'cursors'";
    let page: u64 = db.query_row(root, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    let disk = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, &[0xff; 4096], (page - 1) * 4096).unwrap();
    local.append(batch("acme", records(10..20))).await.unwrap();
    let got = |found: Vec<Bytes>| found.iter().map(number).collect::<BTreeSet<u64>>();
    assert_eq!(got(drain(&local, &late).await), (0..20).collect());
    assert!(got(drain(&local, &well).await).is_superset(&(10..20).collect()));
    local.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_row_of_a_letter_that_is_sent_again_stands_in_nobodys_way() {
    let outer = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() };
    let local = Local::open(outer.path(), limits, Arc::new(SystemClock)).unwrap();
    let sink = key("acme", "a");
    local.register_sinks(&sink.instance, &["a".to_owned()]).await.unwrap();
    let mut with_letters = batch("acme", vec![checked("1", record(1))]);
    with_letters.dead = vec![letter("first", Some("a")), letter("second", Some("a"))];
    local.append(with_letters).await.unwrap();
    let db = rusqlite::Connection::open(outer.path().join("forebay.db")).unwrap();
    db.execute_batch("UPDATE letters SET retry = 1; UPDATE letters SET reason = 'schemb', detail = CAST(x'ff41' AS TEXT) WHERE number = 1").unwrap();
    let chunk = local.read(&sink, 10, 1 << 20).await.unwrap().unwrap();
    assert_eq!(texts(&chunk), ["second"]);
    let progress = Progress { done: 1, note: None, dead: Vec::new() };
    local.advance(&sink, &chunk, progress).await.unwrap();
    assert_eq!(drain(&local, &sink).await.len(), 1);
    local.close().await.unwrap();
    let beside = Beside::open(outer.path()).unwrap();
    let listed = beside.letters(&sink.instance, &Filter::default(), 0, 10).unwrap();
    assert_eq!(listed.iter().map(|stored| (stored.number, stored.damaged)).collect::<Vec<_>>(), [(1, true)]);
    let aside = std::fs::read_dir(outer.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged"));
    assert_eq!(aside.count(), 0, "the store was taken for damaged");
}

/// Opens a store with this database, takes everything out, goes on with it, and accounts for every record.
async fn endure(bytes: &[u8], what: &str) -> u64 {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path();
    std::fs::write(folder.join("forebay.db"), bytes).unwrap();
    let limits = Limits { max_bytes: 1 << 30, min_free: 0, ..Limits::default() };
    let local = Local::open(folder, limits.clone(), Arc::new(SystemClock)).unwrap();
    let sink = key("acme", "a");
    local.register_sinks(&sink.instance, &["a".to_owned()]).await.unwrap();
    let mut found = BTreeSet::new();
    for record in drain(&local, &sink).await {
        assert!(found.insert(number(&record)), "{what}: a record came twice");
    }
    let lost = local.stats().lost;
    let expected: BTreeSet<u64> = (50..200).collect();
    assert!(found.is_subset(&expected), "{what}");
    assert_eq!(found.len() as u64 + lost, 150, "{what}: what is not delivered is counted");
    // It goes on: nothing is stuck, and a restart finds it in order.
    let stored = loop {
        let more = (1000..1010).map(|n| checked(&n.to_string(), record(n))).collect();
        match local.append(batch("acme", more)).await {
            Ok(receipt) => break receipt.stored,
            // Damage that a write meets is mended before the vendor tries again.
            Err(Refusal::Broken(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(other) => panic!("{what}: {other:?}"),
        }
    };
    assert_eq!(stored, 10, "{what}");
    assert_eq!(drain(&local, &sink).await.len(), 10, "{what}");
    local.close().await.unwrap();
    drop(local);
    let local = Local::open(folder, limits, Arc::new(SystemClock)).unwrap();
    assert_eq!(local.stats().lost, 0, "{what}");
    assert!(drain(&local, &sink).await.is_empty(), "{what}");
    local.close().await.unwrap();
    lost
}

#[tokio::test]
async fn a_flipped_byte_anywhere_costs_at_most_what_it_hit_and_nothing_gets_stuck() {
    for clean in [true, false] {
        let outer = tempfile::tempdir().unwrap();
        let whole = stored(outer.path(), clean).await;
        assert_eq!(endure(&whole, "undamaged").await, 0);
        let pages = whole.len() / 4096;
        // A few bytes of every page: its header, its cells' pointers, and somewhere in its content.
        let mut offsets: Vec<usize> = vec![0, 16, 18, 20, 21, 24, 28, 40, 52, 56, 60, 100, 105];
        offsets.extend(
            (0..pages)
                .flat_map(|page| [[0, 3, 9][page % 3], 700 + page * 131 % 3000].map(|at| page * 4096 + at)),
        );
        let mut worst = 0;
        for offset in offsets.into_iter().skip(usize::from(clean)).step_by(3) {
            let mut bytes = whole.clone();
            bytes[offset] ^= 0x55;
            let lost = endure(&bytes, &format!("clean={clean}, byte {offset} of {}", whole.len())).await;
            worst = worst.max(lost);
        }
        assert!(worst > 0, "no block was hit: the test looks at the wrong bytes");
        assert!(worst <= 150, "{worst}");
    }
}

#[test]
fn a_database_that_is_cut_to_nothing_or_gone_is_said_and_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/forebay.db");
    for round in 0..3 {
        let running = crate::support::Running::start(&mut crate::main_job::manual(folder.path()), 1);
        let event = crate::main_job::event(&round.to_string());
        let headers = [("x-api-key", crate::main_job::KEY)];
        let (status, _) = crate::support::post(&running.urls[0], &headers, event.as_bytes()).unwrap();
        assert_eq!(status, 200, "round {round}");
        // The first start finds nothing, and that is how it is.
        assert_eq!(running.said().contains("its file is empty or gone"), round > 0, "{}", running.said());
        assert!(running.stop().success());
        assert!(!folder.path().join("data/forebay.db-wal").exists(), "a log would tell more");
        match round {
            0 => drop(std::fs::File::create(&file).unwrap()),
            _ => std::fs::remove_file(&file).unwrap(),
        }
    }
}
