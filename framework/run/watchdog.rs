//! The watchdog: whether the tasks of the process run, whether the thread that writes makes progress, and whether the
//! clock jumped.
//!
//! A task beats every second. A thread of its own looks at the beat, since a runtime whose threads all hang cannot look
//! at itself: what it raises reaches the log and `/healthz`, which is answered on another thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::condition::{Code, Conditions, Subject};
use crate::queue::local::{Local, WriterState};

/// How often the task beats.
const BEAT: Duration = Duration::from_secs(1);
/// How often the thread looks at the beat.
const LOOK: Duration = Duration::from_secs(5);
/// Looks in a row without a beat that are a stall. They are counted, and not timed: a process that was stopped as a
/// whole (SIGSTOP, a suspended machine) did not look either.
const MISSED: u32 = 6;
/// How long one commit may take: not even a slow disk takes so long for a few megabytes.
const STALLED: Duration = Duration::from_secs(60);
/// A difference between the wall clock and the steady one, from one beat to the next, that is a jump.
const JUMP: SignedDuration = SignedDuration::from_secs(5);
/// How long a jump is shown.
const SHOWN: Duration = Duration::from_secs(600);

/// Starts both. The task ends with the signal, and the thread with the task.
pub(super) fn start(
    conditions: Arc<Conditions>,
    store: Arc<Local>,
    shutdown: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let beats = Arc::new(AtomicU64::new(0));
    let (alive, ended) = mpsc::channel::<()>();
    let (seen, raised) = (beats.clone(), conditions.clone());
    let thread = move || look(&seen, &raised, &ended, LOOK);
    if let Err(error) = std::thread::Builder::new().name("forebay-watchdog".to_owned()).spawn(thread) {
        tracing::warn!(%error, "the watchdog cannot start: a stall of the process will not be reported");
    }
    tokio::spawn(async move {
        beat(&beats, &conditions, &store, shutdown).await;
        drop(alive);
    })
}

/// Beats until the signal.
async fn beat(
    beats: &AtomicU64,
    conditions: &Conditions,
    store: &Local,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut clock = Clocks::new(Timestamp::now(), Instant::now());
    loop {
        beats.fetch_add(1, Ordering::Relaxed);
        writer(conditions, store.writer());
        clock.look(conditions, Timestamp::now(), Instant::now());
        conditions.flush();
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(BEAT) => {}
        }
    }
}

/// Looks at the beat until the other end of `ended` is dropped.
fn look(beats: &AtomicU64, conditions: &Conditions, ended: &mpsc::Receiver<()>, every: Duration) {
    let (mut before, mut missed) = (u64::MAX, 0);
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(every) {
        let now = beats.load(Ordering::Relaxed);
        missed = if now == before { missed + 1 } else { 0 };
        before = now;
        if missed >= MISSED {
            let seconds = every.saturating_mul(missed).as_secs();
            let message = format!("no task of the process has run for {seconds} s");
            conditions.raise(Code::RuntimeStalled, Subject::process(), message);
        } else {
            conditions.clear(Code::RuntimeStalled, &Subject::process());
        }
    }
}

/// Raises and clears what the state of the writing thread means.
fn writer(conditions: &Conditions, state: WriterState) {
    let process = Subject::process;
    match state {
        WriterState::Ended => conditions.raise(
            Code::WriterStopped,
            process(),
            "the thread that writes the database has ended: nothing can be stored",
        ),
        WriterState::Working(lasted) if lasted >= STALLED => conditions.raise(
            Code::WriterStalled,
            process(),
            format!("one commit to the database takes longer than {} s", STALLED.as_secs()),
        ),
        // A check of a large database takes minutes, and would begin anew after a restart.
        WriterState::Idle | WriterState::Working(_) | WriterState::Checking(_) => {
            conditions.clear(Code::WriterStalled, &process());
        }
    }
}

/// The wall clock beside the steady one.
struct Clocks {
    wall: Timestamp,
    steady: Instant,
    jumped: Option<Instant>,
}

impl Clocks {
    fn new(wall: Timestamp, steady: Instant) -> Self {
        Self { wall, steady, jumped: None }
    }

    /// Raises a jump since the last look, and clears one that is long ago.
    fn look(&mut self, conditions: &Conditions, wall: Timestamp, steady: Instant) {
        let passed =
            SignedDuration::try_from(steady.duration_since(self.steady)).unwrap_or(SignedDuration::MAX);
        let off = wall.duration_since(self.wall).saturating_sub(passed);
        (self.wall, self.steady) = (wall, steady);
        if off.abs() >= JUMP {
            self.jumped = Some(steady);
            let (way, seconds) = (if off.is_negative() { "back" } else { "forward" }, off.abs().as_secs());
            let message = format!("the clock of the machine went {way} by {seconds} s, to {wall:.0}");
            conditions.raise(Code::ClockJumped, Subject::process(), message);
        } else if self.jumped.is_some_and(|at| steady.duration_since(at) >= SHOWN) {
            self.jumped = None;
            conditions.clear(Code::ClockJumped, &Subject::process());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(conditions: &Conditions) -> Vec<Code> {
        conditions.list().iter().map(|condition| condition.code).collect()
    }

    #[test]
    fn runtime_without_beat_is_stalled_until_it_beats() {
        let (beats, conditions) = (Arc::new(AtomicU64::new(0)), Arc::new(Conditions::default()));
        let (alive, ended) = mpsc::channel();
        let (seen, raised) = (beats.clone(), conditions.clone());
        let thread = std::thread::spawn(move || look(&seen, &raised, &ended, Duration::from_millis(2)));
        let until = |holds: bool, beating: bool| {
            let begin = Instant::now();
            while conditions.holds(Code::RuntimeStalled, &Subject::process()) != holds {
                assert!(begin.elapsed() < Duration::from_secs(20));
                if beating {
                    beats.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        until(true, false);
        until(false, true);
        drop(alive);
        thread.join().unwrap();
    }

    #[test]
    fn writer_that_hangs_or_ended_is_a_condition() {
        let conditions = Conditions::default();
        writer(&conditions, WriterState::Working(Duration::from_secs(59)));
        writer(&conditions, WriterState::Checking(Duration::from_secs(3_600)));
        assert_eq!(codes(&conditions), []);
        writer(&conditions, WriterState::Working(Duration::from_secs(60)));
        assert_eq!(codes(&conditions), [Code::WriterStalled]);
        writer(&conditions, WriterState::Idle);
        assert_eq!(codes(&conditions), []);
        writer(&conditions, WriterState::Ended);
        assert_eq!(codes(&conditions), [Code::WriterStopped]);
    }

    #[test]
    fn clock_that_jumps_is_a_condition_for_ten_minutes() {
        let conditions = Conditions::default();
        let (wall, steady) = (Timestamp::from_second(1_800_000_000).unwrap(), Instant::now());
        let mut clocks = Clocks::new(wall, steady);
        let mut look = |wall_seconds: i64, steady_seconds: u64| {
            let wall = wall + SignedDuration::from_secs(wall_seconds);
            clocks.look(&conditions, wall, steady + Duration::from_secs(steady_seconds));
            conditions.list().iter().map(|one| one.message.clone()).collect::<Vec<_>>()
        };
        assert_eq!(look(1, 1), [""; 0]);
        // A process that was stopped for an hour: both clocks went on.
        assert_eq!(look(3_601, 3_601), [""; 0]);
        assert_eq!(look(1, 3_602), ["the clock of the machine went back by 3601 s, to 2027-01-15T08:00:01Z"]);
        assert!(conditions.holds(Code::ClockJumped, &Subject::process()));
        assert_eq!(look(600, 4_201).len(), 1);
        assert_eq!(look(601, 4_202), [""; 0]);
    }
}
