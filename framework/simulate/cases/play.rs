//! Plays one case: an instance with a store of its own, recorded exchanges for its calls, a real receiver.
//!
//! Called by `forebay test` and by the tests. Everything is as in production but for the transport, the clock
//! and the data folder, which are arguments.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::compare::{differences, text_difference};
use super::receiver::Receiver;
use super::script::{NO_ANSWER, Script};
use super::wrong::Wrong;
use crate::call::Transport;
use crate::call::caller::Caller;
use crate::call::retry::Pace;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::Connector;
use crate::connector::model::Lifecycle;
use crate::connector::units::duration;
use crate::error::{Error, Kind, Result, escaped};
use crate::provision::report::Report;
use crate::provision::state::{Memory, Window};
use crate::provision::{Provisioner, secrets};
use crate::queue::limits::Limits;
use crate::queue::local::{Filter, Local, reason_name};
use crate::queue::{self, Queue, SinkKey};
use crate::receive::Reach;
use crate::run::ruling::Ruling;
use crate::spec::case::{Case, DeadLetter, Provisioning, Receive, Records, Step};
use crate::spec::path::Path;

/// The sink whose records the case looks at.
const SINK: &str = "case";

/// The world of a case.
pub struct World<'a> {
    /// The instance, configured as the case says.
    pub instance: Arc<Instance>,
    /// The case's folder, which its files are named from.
    pub folder: &'a std::path::Path,
    /// An empty folder for the store.
    pub data: &'a std::path::Path,
    /// What reaches loopback.
    pub loopback: Arc<dyn Transport>,
}

/// A clock that stands where the case puts it.
struct CaseClock(Mutex<Timestamp>);

impl Clock for CaseClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A case at play.
struct Player<'a> {
    world: &'a World<'a>,
    clock: Arc<CaseClock>,
    script: Arc<Script>,
    queue: Arc<Local>,
    provisioner: Provisioner,
    ruling: Arc<Ruling>,
    receiver: Receiver,
    wrong: Vec<Wrong>,
}

/// Plays a case; what comes back is what went otherwise. An error is the
/// case's own mistake or this machine's trouble.
pub async fn play(case: &Case, world: &World<'_>) -> Result<Vec<Wrong>> {
    let start = case.clock.as_deref().unwrap_or("2026-01-01T00:00:00Z");
    let clock = Arc::new(CaseClock(Mutex::new(time("clock", start)?)));
    trusts(case, &world.instance.connector)?;
    let script = Arc::new(Script::default());
    let limits = Limits { min_free: 0, ..Limits::default() };
    let queue = Local::open(world.data, limits, clock.clone())?;
    let id = &world.instance.id;
    queue.register_sinks(id, &[SINK.to_owned()]).await?;
    secrets::ensure(&world.instance, queue.clone()).await?;
    // The waits of a case are the vendor's own, and a case says `retry-after: 0`.
    let pace = Pace { first: Duration::from_millis(1), longest: Duration::from_millis(1), ..Pace::default() };
    let caller = Arc::new(Caller::new(script.clone(), clock.clone(), pace));
    let provisioner = Provisioner::new(world.instance.clone(), caller.clone(), queue.clone(), clock.clone());
    let memory = provisioner.memory();
    let ruling = Ruling::new(world.instance.clone(), memory.clone(), clock.clone()).await?;
    let reach = (Reach { caller, deeds: Some(ruling.clone()) }, memory.saved());
    let loopback = (world.loopback.clone(), world.folder);
    let receiver = Receiver::start(&world.instance, queue.clone(), clock.clone(), reach, loopback).await?;
    script.knocks_at(receiver.door.clone());
    let mut player = Player { world, clock, script, queue, provisioner, ruling, receiver, wrong: Vec::new() };
    for (n, step) in case.steps.iter().enumerate() {
        player.step(n, step).await?;
    }
    player.receiver.stop().await;
    player.check_records(case.records.as_ref()).await?;
    player.check_dead(case.dead_letters.as_deref())?;
    player.check_state(case).await?;
    player.queue.close().await?;
    Ok(player.wrong)
}

/// Has the connector trust what the case says.
fn trusts(case: &Case, connector: &Connector) -> Result<()> {
    let Some(roots) = &case.issuers else { return Ok(()) };
    for demand in connector.receiver.verify.checks() {
        if let Some(rules) = demand.proof.certificate() {
            let bad = |why| Error::new(Kind::Finding, format!("`issuers` of the case: {why}"));
            rules.issuers.rehearse(roots.as_bytes()).map_err(bad)?;
        }
    }
    Ok(())
}

impl Player<'_> {
    async fn step(&mut self, n: usize, step: &Step) -> Result<()> {
        let at = at(&["steps", &n.to_string()]);
        match step {
            Step::Clock(text) => {
                let now = time(&format!("steps[{n}].clock"), text)?;
                *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            Step::Capture(text) => {
                let place = format!("steps[{n}].capture");
                let wrong = || Error::new(Kind::Finding, format!("`{text}` is no duration")).at(&place);
                let length =
                    i64::try_from(duration(text).ok_or_else(wrong)?.as_secs()).map_err(|_| wrong())?;
                let from_seconds = self.clock.now().as_second();
                let window = Window { from_seconds, until_seconds: from_seconds.saturating_add(length) };
                self.memory().open_captures(Some(window)).await?;
            }
            Step::Reconcile(wanted) => {
                let at = at.join("reconcile");
                self.script.begin(&at, &wanted.exchanges);
                let outcome = self.provisioner.reconcile().await;
                self.check_outcome(&at, wanted, outcome);
                let saved = self.provisioner.saved().borrow().clone();
                self.receiver.learn(saved);
            }
            Step::Destroy(wanted) => {
                let at = at.join("destroy");
                self.script.begin(&at, &wanted.exchanges);
                let outcome = self.provisioner.destroy(false).await;
                self.check_outcome(&at, wanted, outcome);
            }
            Step::Receive(request) => {
                let at = at.join("receive");
                self.script.begin(&at, &request.exchanges);
                let reply = self.receiver.door.send(&at, request).await?;
                self.wrong.extend(self.script.end(true).wrong);
                self.check_runs(&at, request);
                self.wrong.extend(reply.differences(&at.join("reply"), request.reply.as_ref()));
            }
        }
        Ok(())
    }

    fn check_runs(&mut self, at: &Path, request: &Receive) {
        let mut asked = Vec::new();
        for (resource, operation) in self.ruling.take() {
            if operation == Lifecycle::Renew {
                self.provisioner.ask_renewal(&resource);
            }
            asked.push(format!("{resource}.{}", operation.name()));
        }
        if asked != request.runs {
            let wrong = Wrong::says(&at.join("runs"), format!("- {:?} + {asked:?}", request.runs));
            self.wrong.push(wrong.fixed(at.join("runs"), Json::from(asked)));
        }
    }

    fn check_outcome(&mut self, at: &Path, wanted: &Provisioning, outcome: Result<Report>) {
        let script = self.script.end(outcome.is_ok() && wanted.error.is_none());
        self.wrong.extend(script.wrong);
        if script.broken {
            // What failed before the case had no answer is the cause; that it had none is said already.
            let cause = outcome.err().map(|error| error.to_string());
            let cause = cause.filter(|cause| !cause.contains(NO_ANSWER));
            self.wrong.extend(cause.map(|cause| Wrong::says(at, cause)));
            return;
        }
        match (outcome, &wanted.error) {
            (Ok(report), None) => {
                let Some(wanted) = &wanted.outcome else { return };
                let did: Vec<&str> = report.deeds.iter().map(|deed| deed.what.word()).collect();
                if *wanted != did {
                    let wrong = Wrong::says(&at.join("outcome"), format!("- {wanted:?} + {did:?}"));
                    self.wrong.push(wrong.fixed(at.join("outcome"), Json::from(did)));
                }
            }
            (Ok(_), Some(_)) => self.wrong.push(Wrong::says(&at.join("error"), "it did not fail")),
            (Err(error), None) => self.wrong.push(Wrong::says(at, error.to_string())),
            (Err(error), Some(texts)) => {
                let said = error.to_string();
                for text in texts.iter().filter(|text| !said.contains(text.as_str())) {
                    let sentence = format!("{text:?} is not in what it said:\n  {said}");
                    self.wrong.push(Wrong::says(&at.join("error"), sentence));
                }
            }
        }
    }

    async fn check_records(&mut self, wanted: Option<&Records>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let came = self.records().await?;
        let place = at(&["records"]);
        match wanted {
            Records::Count(count) if *count == came.len() as u64 => {}
            Records::Count(count) => {
                let wrong = Wrong::says(&place, format!("- {count} + {}", came.len()));
                self.wrong.push(wrong.fixed(place, Json::from(came.len())));
            }
            Records::These(records) => self.compare_records(records, &came, &place),
        }
        Ok(())
    }

    fn compare_records(&mut self, records: &[Json], came: &[String], place: &Path) {
        if records.len() != came.len() {
            let mut wrong = Wrong::says(place, format!("- {} of them + {}", records.len(), came.len()));
            wrong.lines =
                came.iter().skip(records.len()).map(|more| format!("+ {}", escaped(more, 300))).collect();
            let all = came
                .iter()
                .enumerate()
                .map(|(n, came)| in_the_way_of(records.get(n).or(records.last()), came));
            self.wrong.push(wrong.fixed(place.clone(), Json::Array(all.collect())));
        }
        for (n, (wanted, came)) in records.iter().zip(came).enumerate() {
            let found = match wanted {
                Json::String(text) => text_difference("bytes", text, came).unwrap_or_default(),
                value => differences(value, &serde_json::from_str(came).unwrap_or(Json::Null)),
            };
            let place = place.join(n.to_string());
            let wrong = Wrong::differs(&place, found);
            self.wrong.extend(wrong.map(|wrong| wrong.fixed(place, in_the_way_of(Some(wanted), came))));
        }
    }

    /// Every record that the queue holds for the sinks.
    async fn records(&self) -> Result<Vec<String>> {
        let key = SinkKey { instance: self.world.instance.id.clone(), sink: SINK.to_owned() };
        let behind = self.queue.sinks(&key.instance).await?.iter().map(|sink| sink.behind).sum::<u64>();
        let most = usize::try_from(behind).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        while records.len() < most {
            let Some(chunk) = self.queue.read(&key, most, usize::MAX).await? else { break };
            for bytes in &chunk.records {
                records.push(String::from_utf8_lossy(bytes).into_owned());
            }
            let progress = crate::queue::Progress { done: chunk.records.len(), note: None, dead: Vec::new() };
            self.queue.advance(&key, &chunk, progress).await?;
        }
        Ok(records)
    }

    fn check_dead(&mut self, wanted: Option<&[DeadLetter]>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let place = at(&["dead_letters"]);
        let store = crate::queue::local::Beside::open(self.world.data)?;
        let id = &self.world.instance.id;
        let mut came = Vec::new();
        for stored in store.letters(id, &Filter::default(), 0, wanted.len() + 100)? {
            came.extend(store.letter(id, stored.number)?.map(|stored| stored.letter));
        }
        if came.len() != wanted.len() {
            let all = came.iter().enumerate().map(|(n, letter)| noted(wanted.get(n), letter)).collect();
            let mut wrong = Wrong::says(&place, format!("- {} of them + {}", wanted.len(), came.len()));
            let more = came.iter().skip(wanted.len());
            wrong.lines =
                more.map(|letter| format!("+ {}: {}", reason_name(letter.reason), letter.detail)).collect();
            self.wrong.push(wrong.fixed(place.clone(), Json::Array(all)));
        }
        for (n, (wanted, letter)) in wanted.iter().zip(&came).enumerate() {
            let mut found =
                text_difference("reason", &wanted.reason, reason_name(letter.reason)).unwrap_or_default();
            if let Some(holds) = &wanted.holds {
                let came = String::from_utf8_lossy(&letter.bytes);
                found.extend(text_difference("holds", holds, &came).unwrap_or_default());
            }
            if let Some(detail) = wanted.detail.as_ref().filter(|detail| !letter.detail.contains(*detail)) {
                found.push(format!("- detail: {}", escaped(detail, 200)));
                found.push(format!("+ detail: {}", letter.detail));
            }
            let place = place.join(n.to_string());
            let wrong = Wrong::differs(&place, found);
            self.wrong.extend(wrong.map(|wrong| wrong.fixed(place, noted(Some(wanted), letter))));
        }
        Ok(())
    }

    async fn check_state(&mut self, case: &Case) -> Result<()> {
        let names = self.memory().read().await?.names();
        for (resource, wanted) in &case.state {
            let came = names.get(resource).unwrap_or(&Json::Null);
            let came = match (wanted, came) {
                (Json::Object(wanted), Json::Object(came)) => {
                    let same = came.iter().filter(|(name, _)| wanted.contains_key(*name));
                    Json::Object(same.map(|(name, value)| (name.clone(), value.clone())).collect())
                }
                (_, came) => came.clone(),
            };
            let place = at(&["state", resource]);
            let wrong = Wrong::differs(&place, differences(wanted, &came));
            self.wrong.extend(wrong.map(|wrong| wrong.fixed(place, came)));
        }
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.provisioner.memory()
    }
}

/// A place of the case.
fn at(keys: &[&str]) -> Path {
    Path(keys.iter().map(|key| (*key).to_owned()).collect())
}

/// A record in the notation of another: text byte for byte, or a value.
fn in_the_way_of(other: Option<&Json>, came: &str) -> Json {
    match other {
        Some(Json::String(_)) => Json::from(came),
        Some(_) | None => serde_json::from_str(came).unwrap_or_else(|_| Json::from(came)),
    }
}

/// A dead letter as a case notes it: what was stated before is stated again.
fn noted(before: Option<&DeadLetter>, letter: &queue::DeadLetter) -> Json {
    let mut noted = Map::new();
    noted.insert("reason".to_owned(), Json::from(reason_name(letter.reason)));
    if before.is_none_or(|before| before.holds.is_some()) {
        noted.insert("holds".to_owned(), Json::from(String::from_utf8_lossy(&letter.bytes)));
    }
    if let Some(detail) = before.and_then(|before| before.detail.as_ref()) {
        let same = letter.detail.contains(detail);
        noted.insert("detail".to_owned(), Json::from(if same { detail.as_str() } else { &letter.detail }));
    }
    Json::Object(noted)
}

fn time(key: &str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| Error::new(Kind::Finding, format!("`{text}` is no time of RFC 3339")).at(key))
}
