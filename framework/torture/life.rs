//! The life of a torture: prepare, rounds of load and faults, a last clean run, the account.
//!
//! `cli` calls [`run`]. The world comes in as arguments: the program, the folder, the listener, the time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Map, Value as Json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::books::{Books, Injury};
use super::child::{self, Child, Start};
use super::collector::Collector;
use super::damage;
use super::load::{Load, Source};
use super::report::{self, Done, Report, SinkAccount};
use super::schedule::{Dice, Fault, Mood, Round, Schedule};
use super::subject::{HTTP, Subject};
use crate::call::Transport;
use crate::connector::clock::Clock;
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::queue::local::{Beside, Filter};
use crate::run::world::Say;
use crate::simulate::folder::Folder;
use crate::simulate::plan::Plan;

/// Events a second, at most.
const RATE: f64 = 1000.0;
/// The most events of one push: few, so that there are many requests to be caught in the middle.
const MOST_OF_A_PUSH: u64 = 20;
/// Events of one torture, at most: what ten minutes and more of it make, and what the books have memory for.
const MOST: u64 = 2_000_000;
/// Bytes beyond its database that a store gets which is to be full: little more than an empty one takes.
const ROOM: u64 = 192 << 10;
/// Starts that fail, one after the other, until the rounds are given up.
const FAILED_STARTS: u32 = 3;
/// How long nothing may happen in the last run before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(50);
/// Dead letters listed at once.
const AT_ONCE: usize = 1000;

/// What a torture needs from outside.
pub struct Torture {
    /// Whose receiver, queue and sinks.
    pub connector: Connector,
    /// Settings that are not to be made up.
    pub settings: Map<String, Json>,
    /// Files that records go to beside our own.
    pub files: Vec<PathBuf>,
    /// The folder of its own.
    pub folder: Folder,
    /// How long the rounds go on.
    pub lasts: Duration,
    /// For everything that is drawn.
    pub seed: u64,
    /// Faults that are left out.
    pub without: Vec<Fault>,
    /// The program that the child runs.
    pub program: PathBuf,
    /// Where our own sink listens.
    pub listener: TcpListener,
    /// What reaches loopback.
    pub loopback: Arc<dyn Transport>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Lines for people.
    pub say: Say,
    /// When to go on to the last run at once.
    pub shutdown: watch::Receiver<bool>,
}

/// Tortures.
///
/// # Errors
/// What kept it from its account. Losses are no error: [`Report::findings`] tells them.
pub async fn run(torture: Torture) -> Result<Report> {
    let begun = Instant::now();
    let seed = torture.seed;
    // 1. Prepare: an instance, a sink, the books.
    let mut life = Life::prepare(torture)?;
    // 2. Rounds: a child, load, a fault, the end of the child, damage.
    life.rounds().await?;
    // 3. A last run without faults: everything is answered, and drains.
    life.last_run().await?;
    // 4. The account.
    life.account(seed, begun).await
}

struct Life {
    load: Arc<Load>,
    collector: Arc<Collector>,
    serving: tokio::task::JoinHandle<()>,
    stop_serving: watch::Sender<bool>,
    start: Start,
    folder: PathBuf,
    schedule: Schedule,
    lasts: Duration,
    say: Say,
    shutdown: watch::Receiver<bool>,
    done: Done,
    /// Whether the store was damaged.
    harmed: bool,
    /// How long each sink's file was when the store was damaged.
    injured: Vec<Vec<u64>>,
    troubles: Vec<String>,
    /// Starts that failed, one after the other.
    failed_starts: u32,
}

impl Life {
    fn prepare(torture: Torture) -> Result<Self> {
        let Torture { connector, clock, folder, .. } = torture;
        let collector_at = torture
            .listener
            .local_addr()
            .map_err(|e| Error::new(Kind::Io, "a listener has no address").because(e))?;
        let plan = Plan::new(&connector, clock.now(), MOST_OF_A_PUSH)?;
        let folder = std::path::absolute(folder.path())
            .map_err(|e| Error::new(Kind::Io, "the folder's place is unknown").because(e))?;
        let subject = Subject::new(connector, torture.settings, &folder, collector_at, &torture.files)?;
        let books = Arc::new(Mutex::new(Books::default()));
        let collector = Collector::new(books.clone());
        let (stop_serving, stopped) = watch::channel(false);
        let serving = tokio::spawn(collector.clone().serve(torture.listener, stopped));
        let start = Start {
            program: torture.program,
            config: subject.config(),
            log: folder.join("child.log"),
            proxy: collector_at,
        };
        let source = Source { plan, waiting: VecDeque::new(), due: None, strays: 0 };
        let rate = RATE.min(MOST as f64 / torture.lasts.as_secs_f64().max(1.0));
        let injured = vec![Vec::new(); subject.files().len()];
        let load = Arc::new(Load {
            subject,
            transport: torture.loopback,
            clock,
            books,
            collector: collector.clone(),
            rate,
            most: MOST,
            without: torture.without.clone(),
            source: Mutex::new(source),
        });
        Ok(Self {
            load,
            collector,
            serving,
            stop_serving,
            start,
            folder,
            schedule: Schedule::new(torture.seed, torture.lasts, &torture.without),
            lasts: torture.lasts,
            say: torture.say,
            shutdown: torture.shutdown,
            done: Done::default(),
            harmed: false,
            injured,
            troubles: Vec::new(),
            failed_starts: 0,
        })
    }

    async fn rounds(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < self.lasts && !*self.shutdown.borrow() {
            let Some(round) = self.schedule.next() else { break };
            self.done.rounds += 1;
            self.round(&round).await?;
            if self.failed_starts >= FAILED_STARTS {
                self.trouble("the rounds end: the child cannot be started any more");
                break;
            }
        }
        Ok(())
    }

    /// One round, in its order.
    async fn round(&mut self, round: &Round) -> Result<()> {
        // 1. The child starts, with as much room as the round gives it.
        let room = if round.quota { Some(self.size() + ROOM) } else { None };
        self.load.subject.configure(room)?;
        let Some(mut child) = self.child().await? else { return Ok(()) };
        // 2. Load, and what happens meanwhile.
        let (stop, stopped) = watch::channel(false);
        let pouring = tokio::spawn(self.load.clone().pour(child.address, round.seed, false, stopped));
        let lived = self.suffer(round, &mut child).await;
        // 3. The child ends; the senders finish what is under way.
        stop.send_replace(true);
        let graceful = self.end(round, &mut child).await;
        self.collector.behave(Mood::Well);
        let poured =
            pouring.await.map_err(|e| Error::new(Kind::Io, "the load ended by a panic").because(e))?;
        lived?;
        self.collector.child_ended(graceful?);
        poured?;
        // 4. Damage.
        self.injure(round)
    }

    /// Starts a child. `None`: it cannot be started, which is noted.
    async fn child(&mut self) -> Result<Option<Child>> {
        match Child::start(&self.start).await {
            Ok(child) => {
                self.failed_starts = 0;
                Ok(Some(child))
            }
            Err(error) if error.kind == Kind::Finding => {
                self.failed_starts += 1;
                self.trouble(&error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn trouble(&mut self, what: &str) {
        (self.say)(&format!("round {}: {what}", self.done.rounds));
        // One that comes in every round need not be told in every one.
        if self.troubles.len() < 20 {
            self.troubles.push(format!("round {}: {what}", self.done.rounds));
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.load.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn suffer(&mut self, round: &Round, child: &mut Child) -> Result<()> {
        let begun = Instant::now();
        self.collector.behave(round.mood);
        self.done.sinks += u64::from(round.mood != Mood::Well);
        self.done.quotas += u64::from(round.quota);
        let mut told = format!("round {}: {:.1} s", self.done.rounds, round.lasts.as_secs_f64());
        if round.mood != Mood::Well {
            told.push_str(&format!(", the sink: {:?}", round.mood));
        }
        if let Some((after, long)) = round.stopped {
            self.rest(begun, after).await;
            child.signal(Signal::STOP)?;
            self.rest(Instant::now(), long).await;
            child.signal(Signal::CONT)?;
            self.done.stops += 1;
            told.push_str(", SIGSTOP");
        }
        if round.quota {
            // Full for the first half, and then what waits gets its room.
            self.rest(begun, round.lasts / 2).await;
            self.collector.behave(Mood::Well);
            told.push_str(", hardly any room");
        }
        self.rest(begun, round.lasts).await;
        told.push_str(if round.killed { ", kill -9" } else { ", SIGTERM" });
        (self.say)(&told);
        Ok(())
    }

    /// Waits until so long after `from`, or until it is to end.
    async fn rest(&mut self, from: Instant, long: Duration) {
        let rest = long.saturating_sub(from.elapsed());
        let _ = tokio::time::timeout(rest, self.shutdown.wait_for(|stop| *stop)).await;
    }

    /// Ends the child as the round wants it; whether it ended gracefully.
    async fn end(&mut self, round: &Round, child: &mut Child) -> Result<bool> {
        if let Some(status) = child.ended()? {
            self.trouble(&format!("the child ended by itself ({status})"));
            return Ok(false);
        }
        if round.killed {
            child.signal(Signal::KILL)?;
            child.end().await?;
            self.done.kills += 1;
            return Ok(false);
        }
        // A sink that hangs would hold the end up to its bound.
        if round.mood == Mood::Hangs {
            self.collector.behave(Mood::Well);
        }
        child.signal(Signal::TERM)?;
        let status = child.end().await?;
        self.done.graceful += 1;
        if !status.success() {
            self.trouble(&format!("the child did not stop gracefully ({status})"));
        }
        Ok(status.success())
    }

    /// Damages the files of the store, where the round wants it.
    fn injure(&mut self, round: &Round) -> Result<()> {
        let Some(damage) = round.damage else { return Ok(()) };
        let behind = self.behind().unwrap_or(u64::MAX);
        let lengths: Vec<u64> = self.load.subject.files().iter().map(|(_, path)| whole_lines(path)).collect();
        let Some(told) = damage::inflict(&self.folder, damage, &mut Dice(round.seed))? else {
            return Ok(());
        };
        (self.say)(&format!("round {}: {told}; {behind} records were not in every sink", self.done.rounds));
        self.done.damages += 1;
        if damage.harms() {
            self.books().injure(Injury { damage, behind });
            self.harmed = true;
            let issued = self.books().issued();
            self.collector.forgive(issued);
            for (injured, length) in self.injured.iter_mut().zip(lengths) {
                injured.push(length);
            }
        }
        Ok(())
    }

    /// Records that some sink has not got, as the store knows it.
    fn behind(&self) -> Result<u64> {
        let store = Beside::open(&self.folder)?;
        Ok(store.sinks(&self.load.subject.instance.id)?.iter().map(|sink| sink.behind).sum())
    }

    /// Bytes of the database, without its log.
    fn size(&self) -> u64 {
        std::fs::metadata(self.folder.join("forebay.db")).map_or(0, |data| data.len())
    }

    async fn last_run(&mut self) -> Result<()> {
        (self.say)("the last run: without faults, until everything is answered and delivered");
        self.load.subject.configure(None)?;
        let Some(mut child) = self.child().await? else { return Ok(()) };
        let (stop, stopped) = watch::channel(false);
        let pouring = tokio::spawn(self.load.clone().pour(child.address, 0, true, stopped));
        let drained = self.drained(&pouring).await;
        stop.send_replace(true);
        pouring.await.map_err(|e| Error::new(Kind::Io, "the load ended by a panic").because(e))??;
        child.signal(Signal::TERM)?;
        let status = child.end().await?;
        self.collector.child_ended(status.success());
        if !status.success() {
            self.trouble(&format!("the last child did not stop gracefully ({status})"));
        }
        drained
    }

    /// Waits until every push is answered and every sink has everything: for as long as something still moves.
    async fn drained<T>(&mut self, pouring: &tokio::task::JoinHandle<T>) -> Result<()> {
        let (mut last, mut moved) = ((0, 0), Instant::now());
        loop {
            // The store may be busy with another's transaction for a moment.
            let behind = self.behind().unwrap_or(u64::MAX);
            let now = (behind, self.load.waiting());
            if behind == 0 && pouring.is_finished() {
                return Ok(());
            }
            if now != last {
                (last, moved) = (now, Instant::now());
            }
            if moved.elapsed() > PATIENCE {
                self.trouble(&format!("{} pushes and {behind} records did not move any more", now.1));
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn account(mut self, seed: u64, begun: Instant) -> Result<Report> {
        self.stop_serving.send_replace(true);
        let _ = (&mut self.serving).await;
        let mut books = self.load.books.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.bury(&mut books)?;
        let mut kept = vec![(HTTP.to_owned(), self.collector.book())];
        for ((name, path), injured) in self.load.subject.files().into_iter().zip(&self.injured) {
            kept.push((name, report::read(&path, &books, injured)?));
        }
        let missing = books.missing(&kept.iter().map(|(_, book)| book).collect::<Vec<_>>());
        let sinks = kept
            .into_iter()
            .map(|(name, book)| SinkAccount { missing: books.missing(&[&book]), name, book })
            .collect();
        Ok(Report {
            seed,
            took: begun.elapsed(),
            done: self.done,
            answers: books.answers,
            events: (books.issued(), books.acknowledged()),
            stored,
            sinks,
            missing,
            in_logs: books.in_logs(),
            letters: books.letters(),
            said: child::said(BufReader::new(open(&self.start.log)?))?,
            troubles: self.troubles,
            harmed: self.harmed,
            folder: self.folder,
        })
    }

    /// Enters the dead letters into the books; gives how many records got a place in the log.
    fn bury(&self, books: &mut Books) -> Result<u64> {
        let store = Beside::open(&self.folder)?;
        let id = &self.load.subject.instance.id;
        let mut after = 0;
        loop {
            let listed = store.letters(id, &Filter::default(), after, AT_ONCE)?;
            let Some(last) = listed.last() else { break };
            after = last.number;
            for stored in &listed {
                match store.letter(id, stored.number)? {
                    Some(whole) if whole.damaged => books.damaged_letters += 1,
                    Some(whole) => books.bury(&whole.letter.bytes),
                    None => {}
                }
            }
        }
        let sinks = store.sinks(id)?;
        Ok(sinks.iter().map(|sink| sink.cursor.position.0 + sink.behind).max().unwrap_or(0))
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path)
        .map_err(|e| Error::new(Kind::Io, "cannot be read").at(path.display().to_string()).because(e))
}

/// How long a file is, to the end of its last whole line.
fn whole_lines(path: &Path) -> u64 {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = std::fs::File::open(path) else { return 0 };
    let length = file.metadata().map_or(0, |data| data.len());
    let mut end = length;
    let mut piece = [0; 4096];
    while end > 0 {
        let from = end.saturating_sub(piece.len() as u64);
        let read = usize::try_from(end - from).unwrap_or(0);
        let Some(piece) = piece.get_mut(..read) else { return 0 };
        if file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(piece)).is_err() {
            return 0;
        }
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return from + at as u64 + 1;
        }
        end = from;
    }
    0
}
