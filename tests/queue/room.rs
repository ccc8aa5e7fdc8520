//! Bounds: a full store refuses, takes again once there is room, and gives space back.

use super::*;

pub fn incompressible(n: u64, size: usize) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(next).collect()
}

pub async fn full(local: &Local, instance: &str, first: u64) -> (u64, Bound, String) {
    for n in first.. {
        match local.append(batch(instance, vec![checked(&n.to_string(), incompressible(n, 50_000))])).await {
            Ok(_) => assert!(n < first + 1000, "no bound holds"),
            Err(Refusal::Full { bound, retry_after, detail }) => {
                assert!(retry_after > Duration::ZERO);
                return (n - first, bound, detail);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    unreachable!()
}

fn on_disk(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn a_full_store_refuses_and_takes_again_when_sinks_made_room_and_gives_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 8 << 20, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let (stored, bound, detail) = full(&local, "acme", 0).await;
    assert_eq!(bound, Bound::MaxBytes);
    assert!(detail.contains("may take 8 MiB (queue.max_bytes)"), "{detail}");
    assert!(local.probe(&id("acme"), 100_000).await.is_err(), "a batch of that size is not taken");
    assert_eq!(local.bound(100_000).await.unwrap().0, Bound::MaxBytes);
    assert!((40..170).contains(&stored), "{stored} batches of 50 kB in 8 MiB");
    assert!(on_disk(folder.path()) < 10 << 20, "{} bytes on disk", on_disk(folder.path()));
    assert_eq!(drain(&local, &key("acme", "a")).await.len() as u64, stored, "nothing half stored");
    local.probe(&id("acme"), 100_000).await.unwrap();
    let (again, ..) = full(&local, "acme", 10_000).await;
    assert!(again > stored / 2, "there is room again for {again}, the first time {stored}");
    drain(&local, &key("acme", "a")).await;
    crate::support::eventually("the space is given back", || on_disk(folder.path()) < 2 << 20);
    local.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_refuses_before_there_is_no_room_to_trim() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { min_free: u64::MAX / 2, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let (stored, bound, detail) = full(&local, "acme", 0).await;
    assert_eq!((stored, bound), (0, Bound::MinFree));
    assert!(detail.contains("are free on the disk, and 8 EiB must stay free (queue.min_free)"), "{detail}");
    assert!(local.save(&id("acme"), None, &json!({})).await.unwrap(), "state and cursors still move");
}

#[tokio::test]
async fn dead_letters_have_a_share_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 10 << 20, dead_share: 10, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let dead = |n: u64| {
        let dead = vec![DeadLetter { bytes: incompressible(n, 100_000).into(), ..letter("", None) }];
        Batch { dead, ..batch("acme", vec![checked(&n.to_string(), "x")]) }
    };
    let mut stored = 0;
    let bound = loop {
        match local.append(dead(stored)).await {
            Ok(_) => stored += 1,
            Err(Refusal::Full { bound, .. }) => break bound,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!((stored, bound), (10, Bound::DeadLetters));
    let receipt = local.append(batch("acme", vec![checked("good", "x")])).await.unwrap();
    assert_eq!(receipt.stored, 1, "what is well still has its room");
    let receipt = local.append(batch("acme", vec![checked(&stored.to_string(), "x")])).await.unwrap();
    assert_eq!(receipt.stored, 1, "the id of the refused batch is not burnt");
    let beside = Beside::open(folder.path()).unwrap();
    assert!(beside.drop_letters(&id("acme"), &[1, 2]).unwrap().is_empty());
    local.append(dead(99)).await.unwrap();
}

#[tokio::test]
async fn letters_of_a_sink_stop_it_when_their_share_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 20, dead_share: 1, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "acme", &["a"]).await;
    let sink = key("acme", "a");
    local.append(batch("acme", vec![checked("1", incompressible(1, 20_000))])).await.unwrap();
    let chunk = local.read(&sink, 1, 1 << 20).await.unwrap().unwrap();
    let dead = DeadLetter { bytes: incompressible(1, 20_000).into(), ..letter("", Some("a")) };
    let full =
        local.advance(&sink, &chunk, Progress { done: 1, note: None, dead: vec![dead] }).await.unwrap_err();
    assert!(full.to_string().contains("dead letters is full"), "{full}");
    assert_eq!(local.cursor(&sink).await.unwrap().unwrap().position, Position(0), "nothing moved");
}

#[tokio::test]
async fn reader_with_an_open_transaction_never_slows_commits_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let conditions = std::sync::Arc::new(forebay::condition::Conditions::default());
    let limits = Limits { max_bytes: 256 << 20, ..limits() };
    let local = Local::open_with(folder.path(), limits, Hand::at(START), conditions.clone()).unwrap();
    register(&local, "acme", &["a"]).await;
    local.append(batch("acme", vec![checked("first", "first")])).await.unwrap();
    let held = || {
        let all = conditions.list().into_iter().map(|held| held.code);
        all.filter(|code| *code == forebay::condition::Code::CheckpointBlocked).count()
    };
    let reader = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM blocks;").unwrap();
    // Twice the length from which the log should have started over: four times a sixteenth of `max_bytes`.
    let mut slowest = Duration::ZERO;
    for n in 0..64_u64 {
        let mut state = n + 1;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005_u64).wrapping_add(1);
            char::from(b'0' + (state >> 58) as u8)
        };
        let noise: String = (0..1 << 19).map(|_| letter()).collect();
        let many = (0..4).map(|part| checked(&format!("{n}-{part}"), format!("{part}{noise}"))).collect();
        let begun = std::time::Instant::now();
        local.append(batch("acme", many)).await.unwrap();
        slowest = slowest.max(begun.elapsed());
        if held() == 1 {
            break;
        }
    }
    for n in 0..20 {
        let begun = std::time::Instant::now();
        local.append(batch("acme", vec![checked(&format!("small-{n}"), n.to_string())])).await.unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    assert_eq!(held(), 1, "the condition");
    assert!(slowest < Duration::from_secs(2), "a commit took {slowest:?}");
    drop(reader);
    for n in 0..5 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        local.append(batch("acme", vec![checked(&format!("after-{n}"), n.to_string())])).await.unwrap();
    }
    assert_eq!(held(), 0, "it ends with the reader");
}
