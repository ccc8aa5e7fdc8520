//! Workers: order, retries, stopping, and that one never waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay::deliver::backoff::Pace;
use forebay::deliver::config::Target;
use forebay::deliver::{Outcome, Portions, Sink, SinkStatus};
use forebay::error::Result;
use forebay::queue::{Chunk, Cursor, DeadReason};

use super::queue::MemoryQueue;
use super::{Work, lines, outside, quick, record, sink, until};

/// A sink that says what it is told to, in order, and then takes everything.
struct Scripted {
    says: Vec<Outcome>,
    given: Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
    tries: Arc<AtomicUsize>,
    age: Duration,
}

impl Scripted {
    fn new(says: Vec<Outcome>) -> Self {
        Self { says, given: Arc::default(), tries: Arc::default(), age: Duration::ZERO }
    }
}

#[async_trait]
impl Sink for Scripted {
    async fn open(&mut self, _: &Cursor) -> Result<()> {
        Ok(())
    }

    async fn deliver(&mut self, chunk: &Chunk) -> Outcome {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let outcome = if self.says.is_empty() {
            Outcome::Done { done: chunk.records.len(), note: None, refused: Vec::new() }
        } else {
            self.says.remove(0)
        };
        if let Outcome::Done { done, refused, .. } = &outcome {
            let taken = chunk.records.iter().take(*done).enumerate();
            let taken = taken.filter(|(n, _)| refused.iter().all(|(index, _)| index != n));
            self.given.lock().unwrap().extend(taken.map(|(_, record)| record.to_vec()));
        }
        outcome
    }

    fn portions(&self) -> Portions {
        Portions { records: 10, bytes: 1 << 20, age: self.age, rest: Duration::ZERO }
    }
}

fn retry(blocked: bool) -> Outcome {
    Outcome::RetryAfter { wait: None, reason: "not now".to_owned(), blocked }
}

#[tokio::test]
async fn what_is_done_in_part_goes_on_where_it_stopped_and_what_is_refused_becomes_a_dead_letter() {
    let queue = MemoryQueue::holding(0..25);
    let sink = Scripted::new(vec![
        Outcome::Done { done: 4, note: None, refused: vec![(2, "it has no name".to_owned())] },
        retry(false),
        Outcome::Done { done: 0, note: Some("seen".to_owned()), refused: Vec::new() },
        Outcome::Done { done: 1, note: None, refused: vec![(0, "nor has this".to_owned())] },
    ]);
    let given = sink.given.clone();
    let work = Work::start(Box::new(sink), &queue);
    until("all are done", || queue.position() == 25).await;
    work.stop().await.unwrap();
    let expected: Vec<_> = (0..25).filter(|n| *n != 2 && *n != 4).map(record).collect();
    assert_eq!(*given.lock().unwrap(), expected);
    assert_eq!(queue.cursor().note.as_deref(), Some("seen"));
    let dead = queue.dead.lock().unwrap();
    let dead: Vec<_> =
        dead.iter().map(|d| (d.bytes.to_vec(), d.reason, d.sink.clone(), d.detail.clone())).collect();
    let letter =
        |n, why: &str| (record(n), DeadReason::SinkRefused, Some("archive".to_owned()), why.to_owned());
    assert_eq!(dead, [letter(2, "it has no name"), letter(4, "nor has this")]);
}

#[tokio::test]
async fn a_cursor_that_does_not_move_is_tried_again_without_a_second_delivery() {
    let queue = MemoryQueue::holding(0..5);
    queue.failing.store(3, Ordering::SeqCst);
    let sink = Scripted::new(Vec::new());
    let tries = sink.tries.clone();
    let work = Work::start(Box::new(sink), &queue);
    until("the cursor moved", || queue.position() == 5).await;
    work.stop().await.unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_held_sink_says_so_and_goes_on_when_it_is_mended() {
    let queue = MemoryQueue::holding(0..5);
    let sink = Scripted::new((0..20).map(|_| retry(true)).collect());
    let mut work = Work::start(Box::new(sink), &queue);
    let held = SinkStatus::Blocked("not now".to_owned());
    tokio::time::timeout(Duration::from_secs(10), work.status.wait_for(|status| *status == held))
        .await
        .expect("it is held")
        .unwrap();
    until("it took them", || queue.position() == 5).await;
    assert_eq!(*work.status.borrow(), SinkStatus::Well);
    work.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_waits_stops_at_once() {
    for says in [Vec::new(), (0..1000).map(|_| retry(true)).collect()] {
        let queue = MemoryQueue::holding(0..if says.is_empty() { 0 } else { 5 });
        let tries = Arc::new(AtomicUsize::new(0));
        let idle = says.is_empty();
        let sink = Scripted { tries: tries.clone(), ..Scripted::new(says) };
        let pace = Pace { first: Duration::from_secs(600), most: Duration::from_secs(600), ..quick() };
        let work = Work::named("archive", Box::new(sink), &queue, Cursor::default(), pace);
        if !idle {
            until("it tried", || tries.load(Ordering::SeqCst) > 0).await;
        }
        let before = Instant::now();
        work.stop().await.unwrap();
        assert!(before.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_worker_that_stops_delivers_what_the_queue_holds() {
    let queue = MemoryQueue::holding(0..500);
    let sink = Scripted::new(Vec::new());
    let given = sink.given.clone();
    Work::start(Box::new(sink), &queue).stop().await.unwrap();
    assert_eq!(given.lock().unwrap().len(), 500);
}

/// Never answers.
struct Stuck;

#[async_trait]
impl Sink for Stuck {
    async fn open(&mut self, _: &Cursor) -> Result<()> {
        Ok(())
    }

    async fn deliver(&mut self, _: &Chunk) -> Outcome {
        std::future::pending().await
    }

    fn portions(&self) -> Portions {
        Portions { records: 10, bytes: 1 << 20, age: Duration::ZERO, rest: Duration::ZERO }
    }
}

#[tokio::test]
async fn a_slow_sink_never_stops_another_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let (one, other) = (MemoryQueue::holding(0..100), MemoryQueue::holding(0..100));
    let pace = Pace { drain: Duration::from_millis(50), ..quick() };
    let stuck = Work::named("stuck", Box::new(Stuck), &one, Cursor::default(), pace);
    let file = sink(Target::File { path: path.clone(), rotate: None }, &outside());
    let work = Work::named("archive", file, &other, Cursor::default(), quick());
    until("the file has them", || other.position() == 100).await;
    assert_eq!(std::fs::read(&path).unwrap(), lines(0..100));
    assert_eq!(one.position(), 0);
    work.stop().await.unwrap();
    let before = Instant::now();
    stuck.stop().await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(2), "the drain is bounded");
}

#[tokio::test]
async fn a_small_chunk_waits_for_others_and_a_full_one_does_not() {
    let queue = MemoryQueue::holding(0..1);
    let sink = Scripted { age: Duration::from_millis(300), ..Scripted::new(Vec::new()) };
    let (tries, given) = (sink.tries.clone(), sink.given.clone());
    let before = Instant::now();
    let work = Work::start(Box::new(sink), &queue);
    tokio::time::sleep(Duration::from_millis(50)).await;
    queue.push((1..4).map(record));
    until("they came together", || given.lock().unwrap().len() == 4).await;
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    assert!(before.elapsed() >= Duration::from_millis(300));
    let before = Instant::now();
    queue.push((4..14).map(record));
    until("a full chunk came", || given.lock().unwrap().len() == 14).await;
    assert!(before.elapsed() < Duration::from_millis(300));
    work.stop().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_that_is_retried_goes_to_the_sink_and_the_cursor_stays() {
    let queue = MemoryQueue::holding(0..3);
    queue.retries.lock().unwrap().push((7, record(90).into()));
    let sink = Scripted::new(Vec::new());
    let given = sink.given.clone();
    let work = Work::start(Box::new(sink), &queue);
    until("all are done", || queue.position() == 3).await;
    work.stop().await.unwrap();
    assert_eq!(*given.lock().unwrap(), [record(90), record(0), record(1), record(2)]);
}

#[tokio::test]
async fn a_worker_ends_when_the_queue_is_closed() {
    let queue = MemoryQueue::holding(0..3);
    let work = Work::start(Box::new(Scripted::new(Vec::new())), &queue);
    until("all are done", || queue.position() == 3).await;
    queue.close();
    tokio::time::timeout(Duration::from_secs(5), work.task).await.expect("it ends").unwrap().unwrap();
}
