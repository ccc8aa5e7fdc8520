//! Plays one case: an instance with a store of its own, recorded exchanges for its calls, a real receiver.
//!
//! Called by `forebay test` and by the tests. Everything is as in production but for the transport, the clock
//! and the data folder, which are arguments.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::compare::{differences, text_difference};
use super::receiver::Receiver;
use super::script::Script;
use crate::call::Transport;
use crate::call::caller::Caller;
use crate::call::retry::Pace;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::Lifecycle;
use crate::error::{Error, Kind, Result, escaped};
use crate::provision::report::Report;
use crate::provision::state::Memory;
use crate::provision::{Provisioner, secrets};
use crate::queue::limits::Limits;
use crate::queue::local::{Filter, Local, reason_name};
use crate::queue::{Queue, SinkKey};
use crate::receive::Reach;
use crate::run::ruling::Ruling;
use crate::spec::case::{Case, DeadLetter, Provisioning, Records, Step};

/// The sink whose records the case looks at.
const SINK: &str = "case";

/// The world of a case.
pub struct World<'a> {
    /// The instance, configured as the case says.
    pub instance: Arc<Instance>,
    /// The case's folder, which its files are named from.
    pub folder: &'a Path,
    /// An empty folder for the store.
    pub data: &'a Path,
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
    wrong: Vec<String>,
}

/// Plays a case; what comes back is what went otherwise, a key and what differs in each. An error is the
/// case's own mistake or this machine's trouble.
pub async fn play(case: &Case, world: &World<'_>) -> Result<Vec<String>> {
    let start = case.clock.as_deref().unwrap_or("2026-01-01T00:00:00Z");
    let clock = Arc::new(CaseClock(Mutex::new(time("clock", start)?)));
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

impl Player<'_> {
    async fn step(&mut self, n: usize, step: &Step) -> Result<()> {
        match step {
            Step::Clock(text) => {
                let now = time(&format!("steps[{n}].clock"), text)?;
                *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            Step::Reconcile(wanted) => {
                let key = format!("steps[{n}].reconcile");
                self.script.begin(&key, &wanted.exchanges);
                let outcome = self.provisioner.reconcile().await;
                self.check_outcome(&key, wanted, outcome);
                let saved = self.provisioner.saved().borrow().clone();
                self.receiver.learn(saved);
            }
            Step::Destroy(wanted) => {
                let key = format!("steps[{n}].destroy");
                self.script.begin(&key, &wanted.exchanges);
                let outcome = self.provisioner.destroy(false).await;
                self.check_outcome(&key, wanted, outcome);
            }
            Step::Receive(request) => {
                let key = format!("steps[{n}].receive");
                self.script.begin(&key, &request.exchanges);
                let reply = self.receiver.door.send(&key, request).await?;
                self.wrong.extend(self.script.end());
                let mut asked = Vec::new();
                for (resource, operation) in self.ruling.take() {
                    if operation == Lifecycle::Renew {
                        self.provisioner.ask_renewal(&resource);
                    }
                    asked.push(format!("{resource}.{}", operation.name()));
                }
                if asked != request.runs {
                    self.wrong.push(format!("{key}.runs: - {:?} + {asked:?}", request.runs));
                }
                if let Some(wanted) = &request.reply {
                    self.wrong.extend(reply.differences(&format!("{key}.reply"), wanted));
                }
            }
        }
        Ok(())
    }

    fn check_outcome(&mut self, key: &str, wanted: &Provisioning, outcome: Result<Report>) {
        let wrong = self.script.end();
        if !wrong.is_empty() {
            self.wrong.extend(wrong);
            return;
        }
        match (outcome, &wanted.error) {
            (Ok(report), None) => {
                let Some(wanted) = &wanted.outcome else { return };
                let did: Vec<&str> = report.deeds.iter().map(|deed| deed.what.word()).collect();
                if *wanted != did {
                    self.wrong.push(format!("{key}.outcome: - {wanted:?} + {did:?}"));
                }
            }
            (Ok(_), Some(_)) => self.wrong.push(format!("{key}.error: it did not fail")),
            (Err(error), None) => self.wrong.push(format!("{key}: {error}")),
            (Err(error), Some(texts)) => {
                let said = error.to_string();
                for text in texts.iter().filter(|text| !said.contains(text.as_str())) {
                    self.wrong.push(format!("{key}.error: {text:?} is not in what it said:\n      {said}"));
                }
            }
        }
    }

    async fn check_records(&mut self, wanted: Option<&Records>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let came = self.records().await?;
        match wanted {
            Records::Count(count) if *count == came.len() as u64 => {}
            Records::Count(count) => {
                self.wrong.push(format!("records: - {count} + {}", came.len()));
            }
            Records::These(records) => {
                if records.len() != came.len() {
                    self.wrong.push(format!("records: - {} of them + {}", records.len(), came.len()));
                }
                for (n, (wanted, came)) in records.iter().zip(&came).enumerate() {
                    let found = match wanted {
                        Json::String(text) => text_difference("bytes", text, came).unwrap_or_default(),
                        value => differences(value, &serde_json::from_str(came).unwrap_or(Json::Null)),
                    };
                    self.differ(&format!("records[{n}]"), found);
                }
            }
        }
        Ok(())
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
        let store = crate::queue::local::Beside::open(self.world.data)?;
        let id = &self.world.instance.id;
        let listed = store.letters(id, &Filter::default(), 0, wanted.len() + 100)?;
        if listed.len() != wanted.len() {
            let came: Vec<String> = listed
                .iter()
                .map(|stored| format!("{}: {}", reason_name(stored.letter.reason), stored.letter.detail))
                .collect();
            self.wrong.push(format!("dead_letters: - {} of them + {}: {came:?}", wanted.len(), listed.len()));
        }
        for (n, (wanted, stored)) in wanted.iter().zip(&listed).enumerate() {
            let Some(stored) = store.letter(id, stored.number)? else { continue };
            let letter = stored.letter;
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
            self.differ(&format!("dead_letters[{n}]"), found);
        }
        Ok(())
    }

    async fn check_state(&mut self, case: &Case) -> Result<()> {
        let names = self.memory().read().await?.names();
        for (resource, wanted) in &case.state {
            let came = names.get(resource).unwrap_or(&Json::Null);
            let found = match (wanted, came) {
                (Json::Object(wanted), Json::Object(came)) => {
                    let same = came.iter().filter(|(name, _)| wanted.contains_key(*name));
                    let same = same.map(|(name, value)| (name.clone(), value.clone())).collect();
                    differences(&Json::Object(wanted.clone()), &Json::Object(same))
                }
                (wanted, came) => differences(wanted, came),
            };
            self.differ(&format!("state.{resource}"), found);
        }
        Ok(())
    }

    fn differ(&mut self, key: &str, found: Vec<String>) {
        if !found.is_empty() {
            self.wrong.push(format!("{key} differs (- expected, + came):\n      {}", found.join("\n      ")));
        }
    }

    fn memory(&self) -> Memory {
        self.provisioner.memory()
    }
}

fn time(key: &str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| Error::new(Kind::Finding, format!("`{text}` is no time of RFC 3339")).at(key))
}
