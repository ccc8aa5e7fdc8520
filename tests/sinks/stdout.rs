//! Standard output: a reader that goes away, a disk that is full, a write that stops in the middle.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::deliver::SinkStatus;
use forebay::deliver::config::Target;
use forebay::deliver::sinks::Outside;
use forebay::error::Kind;

use super::queue::MemoryQueue;
use super::{Work, lines, outside, sink, until};

fn writing_to(out: impl Write + Send + 'static) -> Outside {
    Outside { stdout: Arc::new(Mutex::new(out)), ..outside() }
}

#[tokio::test]
async fn records_are_lines_on_standard_output() {
    let (mut reader, writer) = io::pipe().unwrap();
    let queue = MemoryQueue::holding(0..2000);
    let work = Work::start(sink(Target::Stdout, &writing_to(writer)), &queue);
    let read = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    until("all are done", || queue.position() == 2000).await;
    work.stop().await.unwrap();
    assert!(read.join().unwrap().unwrap() == lines(0..2000));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_run_and_no_cursor_moves() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let queue = MemoryQueue::holding(0..10);
    let work = Work::start(sink(Target::Stdout, &writing_to(writer)), &queue);
    let error =
        tokio::time::timeout(Duration::from_secs(5), work.task).await.expect("it ends").unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::Io);
    assert!(error.to_string().contains("closed by its reader"), "{error}");
    assert_eq!(queue.position(), 0);
}

#[tokio::test]
async fn a_full_disk_behind_standard_output_is_waited_for() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let queue = MemoryQueue::holding(0..10);
    let mut work = Work::start(sink(Target::Stdout, &writing_to(full)), &queue);
    tokio::time::timeout(
        Duration::from_secs(5),
        work.status
            .wait_for(|status| matches!(status, SinkStatus::Retrying(why) if why.contains("No space"))),
    )
    .await
    .expect("it says so")
    .unwrap();
    assert_eq!(queue.position(), 0);
    work.stop().await.unwrap();
}

/// Takes seven bytes, fails, takes seven bytes, fails.
struct Stuttering(Arc<Mutex<Vec<u8>>>, bool);

impl Write for Stuttering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(7);
        self.0.lock().unwrap().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_write_that_stops_in_the_middle_goes_on_there() {
    let out = Arc::new(Mutex::new(Vec::new()));
    let queue = MemoryQueue::holding(0..3);
    let work = Work::start(sink(Target::Stdout, &writing_to(Stuttering(out.clone(), false))), &queue);
    until("all are done", || queue.position() == 3).await;
    work.stop().await.unwrap();
    assert_eq!(*out.lock().unwrap(), lines(0..3));
}

#[tokio::test]
async fn a_reader_that_stops_reading_does_not_hold_the_end_up() {
    let (_reader, writer) = io::pipe().unwrap();
    let queue = MemoryQueue::holding(0..5000);
    let pace = forebay::deliver::backoff::Pace { drain: Duration::from_millis(50), ..super::quick() };
    let sink = sink(Target::Stdout, &writing_to(writer));
    Work::named("archive", sink, &queue, queue.cursor(), pace).stop().await.unwrap();
    assert!(queue.position() < 5000);
}
