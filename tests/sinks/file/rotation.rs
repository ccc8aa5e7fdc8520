//! Rotation: files that are full or old are set aside and compressed, whatever the clock does and wherever a crash
//! cuts it short.

use std::sync::atomic::AtomicI64;

use super::*;

/// A clock that is set by hand.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

#[tokio::test]
async fn a_full_file_is_set_aside_and_compressed() {
    let place = Place { rotate: Some(Rotate { size: Some(2000), every: None }), ..Place::new() };
    let queue = MemoryQueue::holding(0..200);
    let work = place.start(&queue);
    until("all are there and compressed", || queue.position() == 200).await;
    work.stop().await.unwrap();
    // What the last thread had no time for is finished at the next start.
    let work = place.start(&queue);
    until("all are compressed", || compressed(&place)).await;
    work.stop().await.unwrap();
    let (parts, all) = all_parts(&place);
    assert!(parts >= 9, "{parts}");
    same(&all, &lines(0..200));
    assert!(fs::metadata(&place.path).unwrap().len() <= 2000);
}

#[tokio::test]
async fn an_old_file_is_set_aside_and_its_age_outlives_a_restart() {
    let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000)));
    let outside = Outside { clock: clock.clone(), ..outside() };
    let rotate = Some(Rotate { size: None, every: Some(Duration::from_secs(3600)) });
    let place = Place { rotate, outside, ..Place::new() };
    let queue = MemoryQueue::holding(0..10);
    place.run(&queue, 10).await;
    clock.0.fetch_add(3599, Ordering::SeqCst);
    queue.push((10..20).map(record));
    place.run(&queue, 20).await;
    same(&place.holds(), &lines(0..20));
    clock.0.fetch_add(1, Ordering::SeqCst);
    queue.push((20..30).map(record));
    let work = place.start(&queue);
    until("it is compressed", || queue.position() == 30 && compressed(&place)).await;
    work.stop().await.unwrap();
    same(&place.holds(), &lines(20..30));
    let (parts, all) = all_parts(&place);
    assert_eq!(parts, 1);
    same(&all, &lines(0..30));
}

#[tokio::test]
async fn a_rotation_that_a_crash_cut_short_is_finished() {
    let place = Place { rotate: Some(Rotate { size: Some(1 << 20), every: None }), ..Place::new() };
    let aside = place.folder.path().join("events.jsonl.20261122T101500Z");
    fs::write(&aside, lines(0..10)).unwrap();
    fs::write(place.folder.path().join("events.jsonl.20261122T101500Z.gz.tmp"), "half").unwrap();
    fs::write(place.folder.path().join("events.jsonl.notes"), "not ours").unwrap();
    let queue = MemoryQueue::holding(10..20);
    let work = place.start(&queue);
    until("it is finished", || queue.position() == 10 && !aside.exists()).await;
    work.stop().await.unwrap();
    assert_eq!(fs::read(place.folder.path().join("events.jsonl.notes")).unwrap(), b"not ours");
    fs::remove_file(place.folder.path().join("events.jsonl.notes")).unwrap();
    same(&all_parts(&place).1, &lines(0..20));
}

#[tokio::test]
async fn a_file_that_was_begun_in_the_future_is_set_aside_by_the_time_that_is_right() {
    let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000 + 30 * 86_400)));
    let outside = Outside { clock: clock.clone(), ..outside() };
    let rotate = Some(Rotate { size: None, every: Some(Duration::from_secs(3600)) });
    let place = Place { rotate, outside, ..Place::new() };
    let queue = MemoryQueue::holding(0..10);
    place.run(&queue, 10).await;
    // The clock was a month ahead, and somebody put it right.
    clock.0.store(1_800_000_000, Ordering::SeqCst);
    queue.push((10..20).map(record));
    place.run(&queue, 20).await;
    same(&place.holds(), &lines(0..20));
    clock.0.fetch_add(3600, Ordering::SeqCst);
    queue.push((20..30).map(record));
    let work = place.start(&queue);
    until("it is set aside", || queue.position() == 30 && compressed(&place)).await;
    work.stop().await.unwrap();
    same(&place.holds(), &lines(20..30));
}
