//! Plays steps on a real store and on the model, and compares the two.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay::queue::limits::Limits;
use forebay::queue::local::{Beside, Filter, Local, Stored};
use forebay::queue::{Batch, DeadReason, Origin, Position, Progress, Queue, State};
use serde_json::json;
use tempfile::TempDir;

use super::model::{Cursor, Fate, Instance, WINDOW, receipt};
use super::{Op, Record, Step};
use crate::queue::{Hand, START, batch, checked, id, key, letter, limits, texts};

const NAMES: [&str; 2] = ["acme", "other"];
const SINKS: [&str; 3] = ["a", "b", "c"];
/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store, its model, and how many of everything there was.
pub struct Play {
    place: TempDir,
    local: Arc<Local>,
    clock: Arc<Hand>,
    now: i64,
    models: [Instance; 2],
    count: usize,
}

fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

fn open(folder: &Path, clock: &Arc<Hand>) -> Arc<Local> {
    let limits = Limits { dedupe_age: Duration::from_secs(WINDOW.unsigned_abs()), ..limits() };
    Local::open(folder, limits, clock.clone()).unwrap()
}

fn of(instance: &str, records: &[Record]) -> Batch {
    batch(instance, records.iter().map(|record| checked(&record.id.to_string(), record.text())).collect())
}

/// The files of a store as they are at one moment. The store may be at work: then it is looked at again.
fn copy(from: &Path, to: &Path) {
    let read = |name: &str| std::fs::read(from.join(name)).unwrap_or_default();
    let both = || (read("forebay.db-wal"), read("forebay.db"));
    let mut found = both();
    loop {
        let again = both();
        if again == found {
            break;
        }
        found = again;
    }
    std::fs::write(to.join("forebay.db-wal"), found.0).unwrap();
    std::fs::write(to.join("forebay.db"), found.1).unwrap();
}

impl Play {
    pub async fn new() -> Self {
        let (place, clock) = (place(), Hand::at(START));
        let local = open(place.path(), &clock);
        let models = [Instance::default(), Instance::default()];
        let mut play = Self { place, local, clock, now: START / 1000, models, count: 0 };
        for of in 0..2 {
            play.register(of, [true, true, false]).await;
        }
        play
    }

    pub async fn step(&mut self, Step { other, op }: Step) {
        let of = usize::from(other);
        self.count += 1;
        match op {
            Op::Append { records, broken } => self.append(of, &records, broken).await,
            Op::Unheard { records } => self.unheard(of, &records).await,
            Op::Deliver { sink, most, part, refuse, note } => {
                let note = note.then(|| format!("note {}", self.count));
                self.deliver(of, SINKS[sink], most, part, refuse, note).await;
            }
            Op::Register { sinks } => self.register(of, sinks).await,
            Op::DropSink { sink } => self.drop_sink(of, SINKS[sink]),
            Op::Retry { pick } => self.each_letter(of, pick, false),
            Op::DropLetter { pick } => self.each_letter(of, pick, true),
            Op::Settle => self.settle(of).await,
            Op::Save { beside, stale } => self.save(of, beside, stale).await,
            Op::Clock(seconds) => {
                self.clock.step(seconds);
                self.now += seconds;
                self.models.iter_mut().for_each(|model| model.passes(self.now));
            }
            Op::Reopen => {
                self.local.close().await.unwrap();
                self.local = open(self.place.path(), &self.clock);
                self.compare().await;
            }
            Op::Crash => self.crash().await,
        }
    }

    async fn crash(&mut self) {
        let elsewhere = place();
        copy(self.place.path(), elsewhere.path());
        self.local = open(elsewhere.path(), &self.clock);
        self.place = elsewhere;
        self.compare().await;
    }

    fn beside(&self) -> Beside {
        Beside::open(self.place.path()).unwrap()
    }

    /// Those whose fate is certain in one request, the others one by one.
    async fn append(&mut self, of: usize, records: &[Record], broken: bool) {
        let (certain, fates, rest) = self.certain(of, records);
        let mut request = self::of(NAMES[of], &certain);
        // Its letter comes before those of the request's records.
        let line = format!("broken {}", self.count);
        if broken {
            request.dead.push(letter(&line, None));
            let at = self.models[of].letters.len() - fates.iter().filter(|fate| **fate == Fate::Dead).count();
            let tail = self.models[of].letters.split_off(at);
            self.models[of].letter(&line, DeadReason::Undecodable, None);
            self.models[of].letters.extend(tail);
        }
        let found = self.local.append(request).await.unwrap();
        assert_eq!(found, receipt(&fates, usize::from(broken)), "{certain:?}");
        for record in rest {
            let found = self.local.append(self::of(NAMES[of], &[record])).await.unwrap();
            let fates = self.models[of].fates(record);
            let fate = fates.iter().find(|fate| receipt(&[**fate], 0) == found);
            let fate = *fate.unwrap_or_else(|| panic!("{record:?}: {found:?} is none of {fates:?}"));
            self.models[of].befell(record, fate, self.now);
        }
    }

    /// Tells the records whose fate is certain from the others, and has them befall the model.
    fn certain(&mut self, of: usize, records: &[Record]) -> (Vec<Record>, Vec<Fate>, Vec<Record>) {
        let (mut certain, mut fates, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match self.models[of].fates(*record)[..] {
                [fate] => {
                    self.models[of].befell(*record, fate, self.now);
                    certain.push(*record);
                    fates.push(fate);
                }
                _ => rest.push(*record),
            }
        }
        (certain, fates, rest)
    }

    /// Whole or not at all: sent again it is either all new, as it was, or all known.
    async fn unheard(&mut self, of: usize, records: &[Record]) {
        let before = self.models[of].clone();
        let (certain, fates, _) = self.certain(of, records);
        let after = std::mem::replace(&mut self.models[of], before);
        let (local, request) = (self.local.clone(), self::of(NAMES[of], &certain));
        let task = tokio::spawn(async move { local.append(request).await });
        tokio::task::yield_now().await;
        task.abort();
        let elsewhere = place();
        copy(self.place.path(), elsewhere.path());
        self.local = open(elsewhere.path(), &self.clock);
        self.place = elsewhere;
        let found = self.local.append(self::of(NAMES[of], &certain)).await.unwrap();
        let known = receipt(&vec![Fate::Duplicate; certain.len()], 0);
        assert!(found == receipt(&fates, 0) || found == known, "{found:?} of {fates:?}");
        self.models[of] = after;
        self.compare().await;
    }

    async fn deliver(
        &mut self,
        of: usize,
        sink: &str,
        most: usize,
        part: usize,
        refuse: bool,
        note: Option<String>,
    ) {
        let model = &mut self.models[of];
        let Some(cursor) = model.cursors.get(sink).filter(|cursor| cursor.registered).cloned() else {
            return;
        };
        let again: Vec<String> =
            model.to_retry(Some(sink)).iter().map(|letter| letter.bytes.clone()).collect();
        let left = &model.log[cursor.at..];
        if left.is_empty() && again.is_empty() {
            return;
        }
        let key = key(NAMES[of], sink);
        let chunk = tokio::time::timeout(PATIENCE, self.local.read(&key, most, 1 << 20)).await;
        let chunk = chunk.expect("there is something to read").unwrap().expect("it is open");
        let found: Vec<String> =
            texts(&chunk).iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect();
        assert!((1..=most).contains(&found.len()), "{} of {most}", found.len());
        let expected = match &chunk.origin {
            Origin::Log { from } => {
                assert_eq!(*from, Position(cursor.at as u64));
                left
            }
            Origin::Retry { .. } => &again[..],
        };
        assert!(expected.starts_with(&found), "{found:?} is not what comes next");
        let done = part.min(found.len());
        let refused = found.first().filter(|_| refuse && done > 0);
        let dead = refused.map(|bytes| letter(bytes, Some(sink))).into_iter().collect();
        self.local.advance(&key, &chunk, Progress { done, note: note.clone(), dead }).await.unwrap();
        if matches!(chunk.origin, Origin::Retry { .. }) {
            model.retried(Some(sink), done);
        }
        if let Some(bytes) = refused {
            model.letter(bytes, DeadReason::SinkRefused, Some(sink));
        }
        let moved = model.cursors.get_mut(sink).unwrap();
        moved.note = note.or(cursor.note);
        if matches!(chunk.origin, Origin::Log { .. }) {
            moved.at += done;
        }
        model.trims();
    }

    async fn register(&mut self, of: usize, sinks: [bool; 3]) {
        let names: Vec<String> =
            SINKS.iter().zip(sinks).filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect();
        let found = self.local.register_sinks(&id(NAMES[of]), &names).await.unwrap();
        let model = &mut self.models[of];
        model.cursors.values_mut().for_each(|cursor| cursor.registered = false);
        for name in names {
            let at = found.iter().find(|state| state.sink == name).unwrap().cursor.position.0;
            let at = usize::try_from(at).unwrap();
            // A new sink begins with the oldest record kept: all that some sink lacked.
            let trimmed = model.trimmed;
            let cursor = model.cursors.entry(name).or_insert_with(|| {
                assert!(at <= trimmed, "it begins at {at}, and only {trimmed} were had by all");
                Cursor { at, ..Cursor::default() }
            });
            cursor.registered = true;
        }
    }

    fn drop_sink(&mut self, of: usize, sink: &str) {
        let model = &mut self.models[of];
        if model.cursors.get(sink).is_some_and(|cursor| cursor.registered) {
            return;
        }
        let there = model.cursors.remove(sink).is_some();
        if there && model.cursors.is_empty() {
            // The last one: no sink needs what is kept.
            model.trimmed = model.log.len();
        }
        model.trims();
        assert_eq!(self.beside().drop_sink(&id(NAMES[of]), sink).unwrap(), there);
    }

    /// The letters as a second process lists them.
    fn listed(&self, of: usize) -> Vec<Stored> {
        self.beside().letters(&id(NAMES[of]), &Filter::default(), 0, 10_000).unwrap()
    }

    fn each_letter(&mut self, of: usize, pick: usize, away: bool) {
        let heads = self.listed(of);
        if heads.is_empty() {
            return;
        }
        let at = pick % heads.len();
        let numbers = [heads[at].number, i64::MAX];
        let missing = if away {
            self.models[of].letters.remove(at);
            self.beside().drop_letters(&id(NAMES[of]), &numbers)
        } else {
            self.models[of].letters[at].retry = true;
            self.beside().retry(&id(NAMES[of]), &numbers)
        };
        assert_eq!(missing.unwrap(), [i64::MAX]);
    }

    async fn settle(&mut self, of: usize) {
        let asked = self.local.take_retries(&id(NAMES[of])).await.unwrap();
        let expected = self.models[of].to_retry(None);
        let bytes = |stored: &Stored| String::from_utf8(stored.letter.bytes.to_vec()).unwrap();
        assert!(asked.iter().map(bytes).eq(expected.iter().map(|letter| letter.bytes.clone())));
        for stored in asked {
            // Whatever it was, today's spec makes one record of it.
            let text = match stored.letter.reason {
                DeadReason::IdReused => bytes(&stored),
                _ => format!("mended {}", bytes(&stored)),
            };
            let name =
                stored.letter.id.as_deref().map_or(text.clone(), |id| String::from_utf8_lossy(id).into());
            let request = batch(NAMES[of], vec![checked(&name, text.clone())]);
            let found = self.local.settle_retry(stored.number, request).await.unwrap();
            assert_eq!(found, receipt(&[Fate::Stored], 0));
            self.models[of].retried(None, 1);
            self.models[of].log.push(text);
        }
    }

    async fn save(&mut self, of: usize, beside: bool, stale: bool) {
        let instance = id(NAMES[of]);
        let document = json!({ "step": self.count });
        let was = if stale { Some(json!("stale")) } else { self.models[of].document.clone() };
        let saved = if beside {
            self.beside().save(&instance, was.as_ref(), &document).await.unwrap()
        } else {
            self.local.save(&instance, was.as_ref(), &document).await.unwrap()
        };
        assert_eq!(saved, !stale);
        if saved {
            self.models[of].document = Some(document);
        }
    }

    /// Everything that can be seen from outside is as in the model.
    async fn compare(&self) {
        for (of, model) in self.models.iter().enumerate() {
            let instance = id(NAMES[of]);
            let found = self.local.sinks(&instance).await.unwrap();
            assert_eq!(found.len(), model.cursors.len(), "{found:?}");
            for state in found {
                let expected = &model.cursors[&state.sink];
                assert_eq!(
                    (state.cursor.position.0, state.registered, &state.cursor.note, state.behind),
                    (
                        expected.at as u64,
                        expected.registered,
                        &expected.note,
                        (model.log.len() - expected.at) as u64
                    ),
                    "{}",
                    state.sink
                );
            }
            let heads = self.listed(of);
            assert_eq!(heads.len(), model.letters.len());
            let beside = self.beside();
            for (head, expected) in heads.iter().zip(&model.letters) {
                let whole = beside.letter(&instance, head.number).unwrap().unwrap();
                let bytes = String::from_utf8(whole.letter.bytes.to_vec()).unwrap();
                assert_eq!(
                    (&bytes, whole.letter.reason, &whole.letter.sink, whole.retry),
                    (&expected.bytes, expected.reason, &expected.sink, expected.retry)
                );
            }
            assert_eq!(self.local.load(&instance).await.unwrap(), model.document);
            assert_eq!(beside.load(&instance).await.unwrap(), model.document);
            assert_eq!(self.local.stats().lost, 0);
        }
    }

    /// Every sink gets all that is left for it.
    pub async fn end(mut self) {
        self.compare().await;
        for of in 0..2 {
            for sink in SINKS {
                let behind = |model: &Instance| {
                    let cursor = model.cursors.get(sink).filter(|cursor| cursor.registered);
                    cursor.is_some_and(|cursor| cursor.at < model.log.len())
                        || (cursor.is_some() && !model.to_retry(Some(sink)).is_empty())
                };
                while behind(&self.models[of]) {
                    self.deliver(of, sink, 500, 500, false, None).await;
                }
            }
        }
        self.compare().await;
        self.local.close().await.unwrap();
    }
}
