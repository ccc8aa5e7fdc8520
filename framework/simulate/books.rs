//! Who keeps the books while a simulation lives: a reader of the checked sink's file, and of the dead letters.
//!
//! Started and closed by the life of a simulation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ledger::Ledger;
use super::summary::Bar;
use super::tail::Tail;
use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result};
use crate::queue::local::{Beside, Filter};

/// How long the reader rests when there is nothing new.
const REST: Duration = Duration::from_millis(20);
/// Dead letters listed at once.
const AT_ONCE: usize = 1000;

/// The sink whose file is checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Its name.
    pub sink: String,
    /// Its file.
    pub path: PathBuf,
}

/// The reader of the checked file.
pub struct Books {
    reading: JoinHandle<Result<Vec<String>>>,
    close: watch::Sender<bool>,
    idle: Arc<AtomicBool>,
}

impl Books {
    /// Begins to read the file, from where it ends now. `enclosed`: its records are in envelopes.
    pub fn keep(checked: Checked, enclosed: bool, ledger: Arc<Mutex<Ledger>>, bar: Bar) -> Self {
        let (close, closing) = watch::channel(false);
        let idle = Arc::new(AtomicBool::new(false));
        let resting = idle.clone();
        let mut tail = Tail::new(checked.path.clone(), enclosed);
        let reading = tokio::spawn(async move {
            loop {
                // Looked at before reading: what was written before the end is read.
                let last = *closing.borrow();
                let (new, delivered) = {
                    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    let new = tail.read(&mut ledger).map_err(|e| {
                        Error::new(Kind::Io, "the records cannot be read")
                            .at(checked.path.display().to_string())
                            .because(e)
                    })?;
                    (new, ledger.counts.delivered)
                };
                bar.at(delivered);
                resting.store(!new, Ordering::Relaxed);
                match new {
                    true => tokio::task::yield_now().await,
                    false if last => return Ok(std::mem::take(&mut tail.first)),
                    false => tokio::time::sleep(REST).await,
                }
            }
        });
        Self { reading, close, idle }
    }

    /// Whether the reader found nothing new when it last looked.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Reads to the end; gives the first records.
    pub async fn close(self) -> Result<Vec<String>> {
        self.close.send_replace(true);
        self.reading.await.map_err(|e| Error::new(Kind::Io, "the reader ended by a panic").because(e))?
    }
}

/// Enters every dead letter of the store into the books. What another sink refused or has not got is no part of
/// their sums; it is told, a sentence each.
pub fn bury(folder: &Path, instance: &InstanceId, sink: &str, ledger: &Mutex<Ledger>) -> Result<Vec<String>> {
    let store = Beside::open(folder)?;
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = 0;
    loop {
        let listed = store.letters(instance, &Filter::default(), after, AT_ONCE)?;
        let Some(last) = listed.last() else { break };
        after = last.number;
        for stored in &listed {
            if let Some(other) = stored.letter.sink.as_deref().filter(|refused| *refused != sink) {
                *others.entry(other.to_owned()).or_default() += 1;
            } else if let Some(whole) = store.letter(instance, stored.number)? {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                ledger.bury(&whole.letter.bytes, whole.letter.sink.is_some());
            }
        }
    }
    for state in store.sinks(instance)?.into_iter().filter(|state| state.sink != sink) {
        *others.entry(state.sink).or_default() += state.behind;
    }
    others.retain(|_, missed| *missed > 0);
    Ok(others.into_iter().map(|(sink, n)| format!("{n} records did not get to the sink `{sink}`")).collect())
}
