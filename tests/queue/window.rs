//! An id is delivered once within its window, which ends by count and by age.

use super::*;

#[tokio::test]
async fn an_id_is_delivered_once_and_other_bytes_under_it_go_by_the_rule() {
    for rule in [OnReuse::DeadLetter, OnReuse::Drop, OnReuse::Deliver] {
        let folder = tempfile::tempdir().unwrap();
        let local = open(folder.path());
        register(&local, "acme", &["a"]).await;
        register(&local, "other", &["a"]).await;
        let put = |instance: &'static str, record: Checked| {
            let local = local.clone();
            async move { local.append(Batch { on_reuse: rule, ..batch(instance, vec![record]) }).await.unwrap() }
        };
        let stored = Receipt { stored: 1, duplicates: 0, dead: 0 };
        let duplicate = Receipt { stored: 0, duplicates: 1, dead: 0 };
        let dead = Receipt { stored: 0, duplicates: 0, dead: 1 };
        assert_eq!(put("acme", checked("1", "one")).await, stored);
        assert_eq!(put("acme", checked("1", "one")).await, duplicate);
        assert_eq!(put("other", checked("1", "one")).await, stored, "instances have ids of their own");
        let reused = put("acme", checked("1", "two")).await;
        assert_eq!(
            reused,
            match rule {
                OnReuse::DeadLetter => dead,
                OnReuse::Drop => duplicate,
                OnReuse::Deliver => stored,
            }
        );
        assert_eq!(put("acme", checked("1", "two")).await, duplicate, "that pair is remembered too");
        assert_eq!(put("acme", checked("1", "one")).await, duplicate);
        let expected: Vec<&str> = if rule == OnReuse::Deliver { vec!["one", "two"] } else { vec!["one"] };
        assert_eq!(drain(&local, &key("acme", "a")).await, expected);
        let dead = letters(folder.path(), "acme");
        assert_eq!(dead.len(), usize::from(rule == OnReuse::DeadLetter));
        for letter in dead {
            assert_eq!((letter.reason, &letter.bytes[..]), (DeadReason::IdReused, &b"two"[..]));
            assert_eq!(letter.id.as_deref(), Some(&b"1"[..]));
        }
        // Within one request the same holds.
        let twice = vec![checked("9", "x"), checked("9", "x"), checked("9", "y")];
        let receipt = local.append(batch("acme", twice)).await.unwrap();
        assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 1 });
    }
}

#[tokio::test]
async fn the_window_ends_by_count_and_by_age_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let limits = Limits { dedupe_count: 3, dedupe_age: Duration::from_secs(60), ..limits() };
    let mut local = Local::open(folder.path(), limits.clone(), clock.clone()).unwrap();
    register(&local, "acme", &["a"]).await;
    for n in ["1", "2", "3"] {
        local.append(batch("acme", vec![checked(n, "x")])).await.unwrap();
    }
    for restart in [false, true] {
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits.clone(), clock.clone()).unwrap();
        }
        let receipt = local.append(batch("acme", vec![checked("1", "x"), checked("3", "x")])).await.unwrap();
        assert_eq!(receipt.duplicates, 2, "restart: {restart}");
    }
    let other = local.append(batch("other", vec![checked("1", "x")])).await.unwrap();
    assert_eq!(other.stored, 1, "one budget for all instances: this pushes the oldest out");
    let receipt = local.append(batch("acme", vec![checked("1", "x"), checked("3", "x")])).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 0 }, "the oldest of four is forgotten");
    clock.forward(Duration::from_secs(61));
    // The window moves with each commit: this one makes the old ids go.
    local.append(batch("acme", vec![checked("new", "x")])).await.unwrap();
    let receipt = local.append(batch("acme", vec![checked("3", "x"), checked("new", "x")])).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 1, duplicates: 1, dead: 0 }, "60 seconds are over for `3`");
}

#[tokio::test]
async fn a_store_that_was_down_for_longer_than_the_window_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let mut local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
    register(&local, "acme", &["a"]).await;
    for n in 0..3 {
        local.append(batch("acme", vec![checked(&n.to_string(), "x")])).await.unwrap();
    }
    for days in [1, 30] {
        local.close().await.unwrap();
        clock.forward(Duration::from_secs(days * 24 * 3600 + 1));
        local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
        let receipt = local.append(batch("acme", vec![checked("0", "x")])).await.unwrap();
        assert_eq!(receipt.stored, 1, "its time is over");
        let receipt = local.append(batch("acme", vec![checked("0", "x")])).await.unwrap();
        assert_eq!(receipt.duplicates, 1);
    }
}

#[tokio::test]
async fn record_is_remembered_as_long_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let mut local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
    register(&local, "acme", &["a"]).await;
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let mut now = START;
    let steps = [
        // Minutes since the step before, what is remembered, and whether it is new.
        (0, Remember::For(minutes(10)), 1),
        (10, Remember::For(minutes(10)), 0),
        (1, Remember::For(minutes(10)), 1),
        (0, Remember::Never, 1),
        (0, Remember::Never, 1),
        (5, Remember::For(minutes(10)), 0),
        (60, Remember::Window, 0),
        (0, Remember::For(minutes(10)), 1),
    ];
    for (n, (later, remember, stored)) in steps.into_iter().enumerate() {
        if n == 4 {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
        }
        clock.forward(minutes(later));
        now += i64::try_from(later).unwrap() * 60_000;
        let record = checked_for("1", "x", remember);
        let received = Timestamp::from_millisecond(now).unwrap();
        let receipt = local.append(Batch { received, ..batch("acme", vec![record]) }).await.unwrap();
        assert_eq!(receipt.stored, stored, "step {n}: {remember:?}");
    }
}
