//! The file sink: once in the file whatever happens, and nobody else's bytes touched.

mod cached;
mod rotation;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay::connector::clock::Clock;
use forebay::deliver::SinkStatus;
use forebay::deliver::config::{Rotate, Target};
use forebay::deliver::sinks::Outside;
use jiff::Timestamp;

use super::queue::MemoryQueue;
use super::{Work, lines, outside, record, sink, until};

/// A folder with one file sink in it.
struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
    rotate: Option<Rotate>,
    outside: Outside,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        Self { folder, path, rotate: None, outside: outside() }
    }

    fn start(&self, queue: &Arc<MemoryQueue>) -> Work {
        let target = Target::File { path: self.path.clone(), rotate: self.rotate };
        Work::start(sink(target, &self.outside), queue)
    }

    /// Delivers everything that the queue holds, and stops.
    async fn run(&self, queue: &Arc<MemoryQueue>, until_position: u64) {
        let work = self.start(queue);
        until("all are delivered", || queue.position() == until_position).await;
        work.stop().await.unwrap();
    }

    /// Delivers until so many advances were made; what comes next is in the file and not in the cursor, as
    /// after a kill between the two.
    async fn run_and_die(&self, queue: &Arc<MemoryQueue>, advances: usize, length: u64) {
        *queue.hanging_after.lock().unwrap() = Some(queue.advances.load(Ordering::SeqCst) + advances);
        let work = self.start(queue);
        until("the file has it", || fs::metadata(&self.path).is_ok_and(|found| found.len() >= length)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        work.task.abort();
        drop(work.task.await);
        *queue.hanging_after.lock().unwrap() = None;
    }

    fn holds(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    fn append(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
    }
}

fn same(found: &[u8], expected: &[u8]) {
    assert!(found == expected, "found:\n{}", String::from_utf8_lossy(found));
}

#[tokio::test]
async fn records_are_appended_to_a_file_of_mode_0600() {
    let place = Place::new();
    let queue = MemoryQueue::holding(0..1000);
    place.run(&queue, 1000).await;
    queue.push((1000..1500).map(record));
    place.run(&queue, 1500).await;
    same(&place.holds(), &lines(0..1500));
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(queue.cursor().note.unwrap().contains("inode"));
}

#[tokio::test]
async fn a_file_that_was_there_is_appended_to() {
    let place = Place::new();
    fs::write(&place.path, "an old line\nand one without an end").unwrap();
    place.run(&MemoryQueue::holding(0..3), 3).await;
    same(&place.holds(), &[b"an old line\nand one without an end\n", &lines(0..3)[..]].concat());
}

#[tokio::test]
async fn what_was_written_before_a_crash_is_not_written_again() {
    // Also the very first chunk, before the store knows of any record in the file.
    for (advances, chunk_after) in [(3, 10), (3, 100), (3, 3), (0, 10)] {
        let place = Place::new();
        let queue = MemoryQueue::holding(0..100);
        queue.chunk.store(10, Ordering::SeqCst);
        let written = lines(0..10 * advances + 10);
        place.run_and_die(&queue, advances, written.len() as u64).await;
        assert_eq!(queue.position(), 10 * advances as u64);
        same(&place.holds(), &written);
        queue.chunk.store(chunk_after, Ordering::SeqCst);
        place.run(&queue, 100).await;
        same(&place.holds(), &lines(0..100));
    }
}

#[tokio::test]
async fn a_torn_last_line_is_cut() {
    for torn in [1, 20, 45] {
        let place = Place::new();
        let queue = MemoryQueue::holding(0..50);
        queue.chunk.store(50, Ordering::SeqCst);
        place.run(&queue, 50).await;
        // Power went away in the middle of the next chunk: two whole lines and a part of the third.
        queue.push((50..100).map(record));
        place.append(&lines(50..52));
        place.append(&record(52)[..torn]);
        place.run(&queue, 100).await;
        same(&place.holds(), &lines(0..100));
    }
}

#[tokio::test]
async fn a_tail_with_holes_is_cut() {
    // A hole over several lines, and one inside a line.
    for hole in [100..300, 70..80] {
        let place = Place::new();
        let queue = MemoryQueue::holding(0..5);
        place.run(&queue, 5).await;
        queue.push((5..100).map(record));
        // The file grew, and a page of it never reached the disk.
        let mut tail = lines(5..40);
        tail.truncate(tail.len() - 9);
        tail[hole].fill(0);
        place.append(&tail);
        place.run(&queue, 100).await;
        same(&place.holds(), &lines(0..100));
    }
}

#[tokio::test]
async fn what_others_appended_is_never_cut() {
    let place = Place::new();
    let queue = MemoryQueue::holding(0..5);
    place.run(&queue, 5).await;
    queue.push((5..10).map(record));
    place.append(b"somebody's line\n");
    place.append(&lines(5..7));
    place.append(b"somebody's torn li");
    place.run(&queue, 10).await;
    let expected =
        [&lines(0..5)[..], b"somebody's line\n", &lines(5..7), b"somebody's torn li\n", &lines(7..10)]
            .concat();
    same(&place.holds(), &expected);
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_begun_anew() {
    let place = Place::new();
    let queue = MemoryQueue::holding(0..10);
    let work = place.start(&queue);
    until("the first are there", || queue.position() == 10).await;
    let aside = place.folder.path().join("aside");
    fs::rename(&place.path, &aside).unwrap();
    queue.push((10..20).map(record));
    until("the next are there", || queue.position() == 20).await;
    fs::remove_file(&place.path).unwrap();
    queue.push((20..30).map(record));
    until("the last are there", || queue.position() == 30).await;
    // As `copytruncate` of logrotate does it.
    OpenOptions::new().write(true).truncate(true).open(&place.path).unwrap();
    queue.push((30..40).map(record));
    until("those after them are there", || queue.position() == 40).await;
    work.stop().await.unwrap();
    same(&fs::read(&aside).unwrap(), &lines(0..10));
    same(&place.holds(), &lines(30..40));
}

#[tokio::test]
async fn a_file_that_is_moved_away_between_crash_and_start_is_found_again() {
    let place = Place::new();
    let queue = MemoryQueue::holding(0..40);
    queue.chunk.store(10, Ordering::SeqCst);
    place.run_and_die(&queue, 2, lines(0..30).len() as u64).await;
    let aside = place.folder.path().join("events.jsonl.1");
    fs::rename(&place.path, &aside).unwrap();
    place.run(&queue, 40).await;
    same(&fs::read(&aside).unwrap(), &lines(0..30));
    same(&place.holds(), &lines(30..40));
}

/// The files that were set aside in order of their names, unpacked, then the file itself.
fn all_parts(place: &Place) -> (usize, Vec<u8>) {
    all_parts_in(place.folder.path(), &place.path)
}

fn all_parts_in(folder: &Path, path: &Path) -> (usize, Vec<u8>) {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|found| found != path);
    names.sort_by_key(|path| number_of(path));
    let mut all = Vec::new();
    for name in &names {
        assert_eq!(name.extension().unwrap(), "gz", "{name:?}");
        assert_eq!(fs::metadata(name).unwrap().permissions().mode() & 0o777, 0o600);
        flate2::read::GzDecoder::new(fs::File::open(name).unwrap()).read_to_end(&mut all).unwrap();
    }
    all.extend(fs::read(path).unwrap_or_default());
    (names.len(), all)
}

/// Stamp and number of a file that was set aside.
fn number_of(path: &Path) -> (String, u32) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let stamp = name.trim_start_matches("events.jsonl.").trim_end_matches(".gz");
    let (stamp, number) = stamp.split_once('-').unwrap_or((stamp, "0"));
    (stamp.to_owned(), number.parse().unwrap())
}

fn compressed(place: &Place) -> bool {
    compressed_in(place.folder.path(), &place.path)
}

fn compressed_in(folder: &Path, path: &Path) -> bool {
    fs::read_dir(folder).unwrap().all(|entry| {
        let found = entry.unwrap().path();
        found == path || found.extension().is_some_and(|ext| ext == "gz")
    })
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_said_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later").join("events.jsonl");
    let queue = MemoryQueue::holding(0..3);
    let mut work = Work::start(sink(Target::File { path: path.clone(), rotate: None }, &outside()), &queue);
    tokio::time::timeout(
        Duration::from_secs(5),
        work.status
            .wait_for(|status| matches!(status, SinkStatus::Blocked(why) if why.contains("cannot open"))),
    )
    .await
    .expect("it says so")
    .unwrap();
    fs::create_dir(path.parent().unwrap()).unwrap();
    until("they are there", || queue.position() == 3).await;
    work.stop().await.unwrap();
    same(&fs::read(&path).unwrap(), &lines(0..3));
}

#[test]
fn a_file_that_cannot_be_one_is_a_configuration_error() {
    use forebay::deliver::config::SinkConfig;
    use forebay::deliver::sinks::check;
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("no/such"), "/dev/null".into()] {
        let config = SinkConfig { name: "archive".to_owned(), target: Target::File { path, rotate: None } };
        let error = check(&config).unwrap_err();
        assert_eq!(error.kind, forebay::error::Kind::Configuration);
        assert!(error.to_string().starts_with("sink archive: "), "{error}");
    }
}

/// This test binary again, as a child that runs one ignored test with a folder of its own.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", &format!("sinks::file::{test}")]);
    command.env("FOREBAY_TEST_FOLDER", folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn childs_folder() -> PathBuf {
    std::env::var_os("FOREBAY_TEST_FOLDER").expect("only as a child of another test").into()
}

const MANY: usize = 4000;

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_that_delivers() {
    let folder = childs_folder();
    let queue = Arc::new(MemoryQueue::kept_in(folder.join("cursor")));
    queue.chunk.store(7, Ordering::SeqCst);
    queue.push((0..MANY).map(record));
    let target = Target::File { path: folder.join("events.jsonl"), rotate: None };
    let work = Work::start(sink(target, &outside()), &queue);
    until("all are delivered", || queue.position() == MANY as u64).await;
    work.stop().await.unwrap();
}

/// Runs the child until it has delivered everything, and kills it many times on the way, once the file at
/// `path` has changed so often: somewhere between write, sync, rotation and cursor.
fn kill_often(test: &str, folder: &Path, path: &Path) {
    let length = || fs::metadata(path).map(|found| found.len()).unwrap_or_default();
    let whole = lines(0..MANY).len() as u64;
    let mut kills = 0;
    loop {
        let mut running = child(test, folder).spawn().unwrap();
        let enough = whole / 17 + u64::from(running.id() % 97);
        let (mut grown, mut last) = (0, length());
        let finished = loop {
            if let Some(status) = running.try_wait().unwrap() {
                assert!(status.success());
                break true;
            }
            let now = length();
            grown += now.saturating_sub(last);
            last = now;
            if grown >= enough {
                running.kill().unwrap();
                running.wait().unwrap();
                break false;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        if finished {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 8, "{kills}");
}

#[test]
fn killed_at_random_the_file_holds_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    kill_often("child_that_delivers", folder.path(), &path);
    same(&fs::read(&path).unwrap(), &lines(0..MANY));
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_that_rotates() {
    let folder = childs_folder();
    let queue = Arc::new(MemoryQueue::kept_in(folder.join("cursor")));
    queue.chunk.store(7, Ordering::SeqCst);
    queue.push((0..MANY).map(record));
    let rotate = Some(Rotate { size: Some(9000), every: None });
    let path = folder.join("out").join("events.jsonl");
    let work = Work::start(sink(Target::File { path, rotate }, &outside()), &queue);
    until("all are delivered", || queue.position() == MANY as u64).await;
    work.stop().await.unwrap();
}

#[tokio::test]
async fn killed_at_random_while_rotating_all_parts_hold_every_record_once() {
    let kept = tempfile::tempdir().unwrap();
    let out = kept.path().join("out");
    fs::create_dir(&out).unwrap();
    let path = out.join("events.jsonl");
    kill_often("child_that_rotates", kept.path(), &path);
    // The last start compresses what is left.
    let rotate = Some(Rotate { size: Some(9000), every: None });
    let queue = Arc::new(MemoryQueue::kept_in(kept.path().join("cursor")));
    let work = Work::start(sink(Target::File { path: path.clone(), rotate }, &outside()), &queue);
    until("all are compressed", || compressed_in(&out, &path)).await;
    work.stop().await.unwrap();
    same(&all_parts_in(&out, &path).1, &lines(0..MANY));
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_whose_files_may_not_grow() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let folder = childs_folder();
    let path = folder.join("events.jsonl");
    let queue = MemoryQueue::holding(0..MANY);
    let mut work = Work::start(sink(Target::File { path: path.clone(), rotate: None }, &outside()), &queue);
    work.status
        .wait_for(|status| matches!(status, SinkStatus::Retrying(why) if why.contains("large")))
        .await
        .unwrap();
    assert_eq!(queue.position(), 0);
    // No torn line stands there while it waits.
    until("the torn line is cut", || fs::read(&path).unwrap().ends_with(b"\n")).await;
    setrlimit(Resource::Fsize, Rlimit { current: None, maximum: getrlimit(Resource::Fsize).maximum })
        .unwrap();
    until("all are delivered", || queue.position() == MANY as u64).await;
    work.stop().await.unwrap();
    same(&fs::read(&path).unwrap(), &lines(0..MANY));
}

/// A full disk, as a limit of the size of files: a write stops in the middle of a line.
#[test]
fn a_disk_that_is_full_is_waited_for_and_nothing_is_torn_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let exe = child("child_whose_files_may_not_grow", folder.path());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(r#"trap '' XFSZ; ulimit -S -f 100; exec "$0" "$@""#);
    shell.arg(exe.get_program()).args(exe.get_args()).env("FOREBAY_TEST_FOLDER", folder.path());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn two_sinks_on_one_file_do_not_tear_each_others_lines() {
    let place = Place::new();
    let (one, other) = (MemoryQueue::holding(0..500), MemoryQueue::holding(500..1000));
    one.chunk.store(10, Ordering::SeqCst);
    other.chunk.store(10, Ordering::SeqCst);
    let works = [place.start(&one), place.start(&other)];
    until("all are there", || one.position() == 500 && other.position() == 500).await;
    for work in works {
        work.stop().await.unwrap();
    }
    let mut found: Vec<_> = place.holds().split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    found.sort();
    let mut expected: Vec<_> = (0..1000).map(|n| [record(n), b"\n".to_vec()].concat()).collect();
    expected.sort();
    assert!(found == expected);
}

#[tokio::test]
async fn the_note_names_the_file_and_where_it_ends() {
    let place = Place::new();
    let queue = MemoryQueue::holding(0..10);
    place.run(&queue, 10).await;
    let note: serde_json::Value = serde_json::from_str(&queue.cursor().note.unwrap()).unwrap();
    let found = fs::metadata(&place.path).unwrap();
    assert_eq!(note["inode"], found.ino());
    assert_eq!(note["offset"], found.len());
}
