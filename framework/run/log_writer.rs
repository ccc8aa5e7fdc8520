//! Writes log lines on a thread of its own, so that standard error that is not read stops nothing.
//!
//! `cli` makes one for the process; `log` and everything else that writes to standard error push whole lines. A push
//! never waits: at most [`MAX_BYTES`] are held, and what comes beyond that is dropped and counted. Lines leave in the
//! order in which they were pushed; where some were dropped, a line says how many.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::log::Format;
use crate::condition::{Code, Conditions, Subject};

/// Bytes of lines that wait to be written.
const MAX_BYTES: usize = 1 << 20;
/// How often it is looked whether lines were dropped.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks without a dropped line after which the condition ends.
const CALM_LOOKS: u32 = 60;

/// Where lines are pushed. Cloning shares it.
#[derive(Clone)]
pub struct LogWriter(Arc<Shared>);

struct Shared {
    format: Format,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines dropped since the last one that was taken.
    dropped: u64,
    /// Lines dropped since the start.
    dropped_ever: u64,
    /// Whether a line is on its way out.
    writing: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `out`. It ends with the process.
    pub fn start(mut out: impl Write + Send + 'static, format: Format) -> io::Result<Self> {
        let shared = Arc::new(Shared { format, waiting: Mutex::default(), changed: Condvar::new() });
        let writer = Self(shared.clone());
        std::thread::Builder::new().name("forebay-log".to_owned()).spawn(move || {
            loop {
                let line = shared.next();
                // There is no place left to say that the log cannot be written.
                let _ = out.write_all(&line).and_then(|()| out.flush());
                shared.lock().writing = false;
                shared.changed.notify_all();
            }
        })?;
        Ok(writer)
    }

    /// Pushes whole lines, or drops and counts them.
    pub fn push(&self, lines: &[u8]) {
        let mut waiting = self.0.lock();
        // One line larger than all the room goes out when nothing else waits.
        if waiting.bytes > 0 && waiting.bytes + lines.len() > MAX_BYTES {
            waiting.dropped += 1;
            waiting.dropped_ever += 1;
            drop(waiting);
            metrics::counter!("forebay_log_lines_dropped_total").increment(1);
            return;
        }
        if let Some(notice) = self.0.notice(&mut waiting) {
            waiting.bytes += notice.len();
            waiting.lines.push_back(notice);
        }
        waiting.bytes += lines.len();
        waiting.lines.push_back(lines.to_vec());
        self.0.changed.notify_all();
    }

    /// Raises a condition while lines are dropped, and clears it once none was for a while. Never returns.
    pub async fn watch(self, conditions: Arc<Conditions>) {
        let (mut known, mut calm) = (0, 0_u32);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let dropped = self.0.lock().dropped_ever;
            calm = if dropped == known { calm.saturating_add(1) } else { 0 };
            if dropped > known {
                let message = format!("{dropped} log lines were dropped since the start");
                conditions.raise(Code::LogLinesDropped, Subject::process(), message);
            } else if calm >= CALM_LOOKS {
                conditions.clear(Code::LogLinesDropped, &Subject::process());
            }
            known = dropped;
        }
    }

    /// Waits until everything is written, at most for so long.
    pub fn flush_within(&self, most: Duration) {
        let deadline = Instant::now() + most;
        let mut waiting = self.0.lock();
        while !waiting.lines.is_empty() || waiting.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next line and takes it. Once all are written, what was dropped after them is said.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            if let Some(notice) = self.notice(&mut waiting) {
                waiting.writing = true;
                return notice;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The line that says how many were dropped, where some were.
    fn notice(&self, waiting: &mut Waiting) -> Option<Vec<u8>> {
        let dropped = std::mem::take(&mut waiting.dropped);
        let (now, what) = (Timestamp::now(), "log lines were dropped: standard error was not read");
        let line = match self.format {
            Format::Human => format!("{now}  WARN {what} dropped={dropped}\n"),
            Format::Json => format!(
                "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"{what}\",\"dropped\":{dropped},\"target\":\"forebay::run::log_writer\"}}\n"
            ),
        };
        (dropped > 0).then(|| line.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn log_lines_that_are_dropped_are_a_condition() {
        let writer = LogWriter::start(io::sink(), Format::Human).unwrap();
        let conditions = Arc::new(Conditions::default());
        writer.0.lock().dropped_ever = 3;
        let watching = tokio::spawn(writer.clone().watch(conditions.clone()));
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(conditions.holds(Code::LogLinesDropped, &Subject::process()));
        watching.abort();
    }

    /// Takes a line whenever the test lets it.
    struct Gate {
        open: mpsc::Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The test ended: everything may go.
            let _ = self.open.recv();
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(format: Format) -> (LogWriter, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (send, open) = mpsc::channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        (LogWriter::start(Gate { open, taken: taken.clone() }, format).unwrap(), send, taken)
    }

    #[test]
    fn log_that_is_not_read_drops_lines_and_says_how_many_in_order() {
        for format in [Format::Human, Format::Json] {
            let (writer, open, taken) = gated(format);
            let line = |n: usize| format!("line {n:04} {}\n", "x".repeat(1000));
            let (began, all) = (Instant::now(), 3000);
            // The thread has the first line in hand before the others come: what it took later would make room again.
            writer.push(line(0).as_bytes());
            while !writer.0.lock().writing {
                std::thread::yield_now();
            }
            (1..all).for_each(|n| writer.push(line(n).as_bytes()));
            assert!(began.elapsed() < Duration::from_secs(10), "a push waited: {:?}", began.elapsed());
            let began = Instant::now();
            writer.flush_within(Duration::from_millis(50));
            assert!(began.elapsed() < Duration::from_secs(5), "the flush is bounded");
            drop(open);
            writer.flush_within(Duration::from_secs(30));
            writer.push(b"after\n");
            writer.flush_within(Duration::from_secs(30));
            let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
            let numbers: Vec<usize> =
                text.lines().filter_map(|line| line.strip_prefix("line ")?.get(..4)?.parse().ok()).collect();
            assert!(numbers.len() > 500 && numbers.len() < all, "{}", numbers.len());
            assert!(numbers.iter().enumerate().all(|(n, number)| n == *number), "the order is kept");
            let notice = text.lines().rev().nth(1).unwrap();
            assert!(notice.contains("dropped") && notice.contains(&(all - numbers.len()).to_string()));
            if format == Format::Json {
                let parsed: serde_json::Value = serde_json::from_str(notice).unwrap();
                assert_eq!(parsed["dropped"], all - numbers.len());
            }
            assert_eq!(text.lines().last(), Some("after"));
        }
    }
}
