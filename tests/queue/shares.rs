//! Each instance can rely on its share: of the store, of the dead letters, of the remembered ids.

use forebay::queue::shares::{Member, Shares};

use super::room::incompressible;
use super::*;

fn shared(members: &[(&str, u32)]) -> Shares {
    let member = |weight| Member { weight, ..Member::default() };
    let members = members.iter().map(|(name, weight)| (id(name), member(*weight))).collect();
    Shares { members, ..Shares::default() }
}

/// Stores records of 50 kB until they are refused: how many, and by which bound.
async fn fill(local: &Local, instance: &str, first: u64) -> (u64, Bound) {
    let (stored, bound, _) = super::room::full(local, instance, first).await;
    (stored, bound)
}

#[tokio::test]
async fn instance_without_a_sink_that_works_leaves_others_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 16 << 20, shares: shared(&[("a", 1), ("b", 1)]), ..limits() };
    let mut local = Local::open(folder.path(), limits.clone(), Hand::at(START)).unwrap();
    register(&local, "a", &["x"]).await;
    register(&local, "b", &["x"]).await;
    let (stored, bound) = fill(&local, "a", 0).await;
    assert_eq!(bound, Bound::Share);
    assert!((180..250).contains(&stored), "{stored} of 50 kB are about three quarters of 16 MiB");
    for (n, restart) in [(0, false), (10, true)] {
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits.clone(), Hand::at(START)).unwrap();
        }
        for n in n..n + 10 {
            let record = checked(&format!("b{n}"), incompressible(n, 50_000));
            assert_eq!(local.append(batch("b", vec![record])).await.unwrap().stored, 1);
        }
        // What is counted of b is rounded up: some of the rounding becomes free for a.
        let (more, bound) = fill(&local, "a", 1000 + n * 10).await;
        assert!(more <= 2 && bound == Bound::Share, "what is reserved for b stays b's: {more}, {bound:?}");
    }
    // A process that is killed counts again.
    drop(local);
    // Its thread lets go of the lock when it has ended.
    let mut opened = Local::open(folder.path(), limits.clone(), Hand::at(START));
    for _ in 0..1000 {
        if opened.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        opened = Local::open(folder.path(), limits.clone(), Hand::at(START));
    }
    let local = opened.unwrap();
    let (more, bound) = fill(&local, "a", 1500).await;
    assert!(more <= 2 && bound == Bound::Share, "{more}, {bound:?}");
    // A quarter of 16 MiB are 78 of them, and b has 20.
    assert!(fill(&local, "b", 100).await.0 > 50, "b gets all that is reserved for it");
    drain(&local, &key("a", "x")).await;
    assert!(fill(&local, "a", 2000).await.0 > 100, "what its sink has is room again");
}

#[tokio::test]
async fn weights_and_reserve_of_shares_are_set() {
    let folder = tempfile::tempdir().unwrap();
    let shares = Shares { reserved: 100, ..shared(&[("a", 1), ("b", 3)]) };
    let limits = Limits { max_bytes: 16 << 20, shares, ..limits() };
    let local = Local::open(folder.path(), limits, Hand::at(START)).unwrap();
    register(&local, "a", &["x"]).await;
    let (stored, bound) = fill(&local, "a", 0).await;
    assert_eq!(bound, Bound::Share);
    assert!((60..90).contains(&stored), "{stored} of 50 kB are about a quarter of 16 MiB");
}

#[tokio::test]
async fn broken_lines_of_one_instance_leave_others_their_letters() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 16 << 20, shares: shared(&[("a", 1), ("b", 1)]), ..limits() };
    let mut local = Local::open(folder.path(), limits.clone(), Hand::at(START)).unwrap();
    let dead = |instance: &str, n: u64, size: usize| {
        let dead = vec![DeadLetter { bytes: incompressible(n, size).into(), ..letter("", None) }];
        Batch { dead, ..batch(instance, vec![checked(&n.to_string(), "x")]) }
    };
    for size in [20_000, 2000, 20] {
        for n in 0.. {
            match local.append(dead("a", n, size)).await {
                Ok(_) => {}
                Err(Refusal::Full { bound, detail, .. }) => {
                    assert_eq!(bound, Bound::DeadLetters);
                    assert!(detail.contains("reserved for other instances"), "{detail}");
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    for restart in [false, true] {
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits.clone(), Hand::at(START)).unwrap();
        }
        let receipt = local.append(dead("b", 1 + u64::from(restart), 2000)).await.unwrap();
        assert_eq!((receipt.stored, receipt.dead), (1, 1));
        assert!(matches!(local.append(dead("a", 9999, 2000)).await, Err(Refusal::Full { .. })));
    }
    // What is refused by a sink has the same shares.
    register(&local, "a", &["x"]).await;
    let sink = key("a", "x");
    let chunk = local.read(&sink, 1, 1 << 20).await.unwrap().unwrap();
    let refused = vec![DeadLetter { bytes: incompressible(1, 20_000).into(), ..letter("", Some("x")) }];
    let full =
        local.advance(&sink, &chunk, Progress { done: 1, note: None, dead: refused }).await.unwrap_err();
    assert!(full.to_string().contains("reserved for other instances"), "{full}");
}

#[tokio::test]
async fn ids_of_one_instance_do_not_push_out_those_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { dedupe_count: 200, shares: shared(&[("a", 1), ("b", 1)]), ..limits() };
    let mut local = Local::open(folder.path(), limits.clone(), Hand::at(START)).unwrap();
    local.append(batch("b", vec![checked("pay-1", "x")])).await.unwrap();
    for round in 0..3 {
        let records = (0..1000).map(|n| checked(&format!("a{round}-{n}"), "x")).collect();
        local.append(batch("a", records)).await.unwrap();
    }
    for restart in [false, true] {
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits.clone(), Hand::at(START)).unwrap();
        }
        let receipt = local.append(batch("b", vec![checked("pay-1", "x")])).await.unwrap();
        assert_eq!((receipt.stored, receipt.duplicates), (0, 1), "restart: {restart}");
        // Another one each time: it is remembered from now on.
        let oldest = if restart { "a2-1" } else { "a2-0" };
        let receipt =
            local.append(batch("a", vec![checked("a2-999", "x"), checked(oldest, "x")])).await.unwrap();
        assert_eq!(
            (receipt.stored, receipt.duplicates),
            (1, 1),
            "the newest are remembered, the oldest are not"
        );
    }
}

#[tokio::test]
async fn ids_are_remembered_as_long_as_each_sender_repeats_them() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let mut shares = shared(&[("a", 1), ("b", 1)]);
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    shares.members.get_mut(&id("b")).unwrap().dedupe_age = Some(days(5));
    let limits = Limits { shares, ..limits() };
    let mut local = Local::open(folder.path(), limits.clone(), clock.clone()).unwrap();
    for instance in ["a", "b"] {
        local.append(batch(instance, vec![checked("1", "x")])).await.unwrap();
    }
    for restart in [false, true] {
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits.clone(), clock.clone()).unwrap();
        }
        clock.forward(days(2));
        local.append(batch("a", vec![checked(&format!("new{restart}"), "x")])).await.unwrap();
        let receipt = local.append(batch("b", vec![checked("1", "x")])).await.unwrap();
        assert_eq!(receipt.duplicates, 1, "restart: {restart}");
    }
    let receipt = local.append(batch("a", vec![checked("1", "x")])).await.unwrap();
    assert_eq!(receipt.stored, 1);
}

#[tokio::test]
async fn store_of_an_earlier_version_is_completed_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    let dead = |bytes: &str| Batch { dead: vec![letter(bytes, None)], ..batch("a", Vec::new()) };
    local.append(dead("one")).await.unwrap();
    local.close().await.unwrap();
    let db = rusqlite::Connection::open(folder.path().join("forebay.db")).unwrap();
    db.execute_batch("DROP TRIGGER letters_of_in; DROP TRIGGER letters_of_out; DROP TABLE letter_totals;")
        .unwrap();
    drop(db);
    for _ in 0..2 {
        let local = open(folder.path());
        local.append(dead("two")).await.unwrap();
        local.close().await.unwrap();
    }
    let beside = Beside::open(folder.path()).unwrap();
    assert_eq!(beside.holdings().unwrap()[0].letters, 3);
    beside.drop_letters(&id("a"), &[1]).unwrap();
    assert_eq!(beside.holdings().unwrap()[0].letters, 2);
}
