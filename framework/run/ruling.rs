//! What the receiver's rules change: values are kept in the instance's memory, and operations are asked for.
//!
//! The receiver gets it as [`Deeds`]; `provisioning` heeds what was asked for, seldom enough that a flood of
//! messages is one look at the vendor. Nothing is kept or asked for once the instance was destroyed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::Lifecycle;
use crate::error::{Error, Kind, Result};
use crate::provision::captures::{Arrival, Keeping};
use crate::provision::is_automatic;
use crate::provision::state::Memory;
use crate::receive::{Captured, Deeds};

/// An operation of a resource that a rule asked for.
pub type Wish = (String, Lifecycle);

/// What the rules of one instance change.
pub struct Ruling {
    instance: Arc<Instance>,
    memory: Memory,
    clock: Arc<dyn Clock>,
    /// How often the instance had been destroyed when the process began.
    began: u64,
    automatic: bool,
    /// Each at most once: as many as the spec has operations.
    wishes: Mutex<BTreeSet<Wish>>,
    wished: Notify,
}

impl Ruling {
    /// Begins with what the memory holds now.
    pub async fn new(instance: Arc<Instance>, memory: Memory, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let began = memory.read().await?.destroyed;
        let automatic = is_automatic(&instance)?;
        let (wishes, wished) = (Mutex::default(), Notify::new());
        Ok(Arc::new(Self { instance, memory, clock, began, automatic, wishes, wished }))
    }

    /// Returns when something was asked for since the wishes were last taken.
    pub async fn wished(&self) {
        self.wished.notified().await;
    }

    /// What was asked for, each operation once.
    pub fn take(&self) -> BTreeSet<Wish> {
        std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Deeds for Ruling {
    async fn capture(&self, resource: &str, values: &[(String, Json)], verified: bool) -> Result<Captured> {
        let (memory, resource, values) = (self.memory.clone(), resource.to_owned(), values.to_vec());
        let arrival = Arrival { began: self.began, at_seconds: self.clock.now().as_second(), verified };
        // What the vendor told once belongs to the instance: a request that is dropped here does not undo half of it.
        let kept = tokio::spawn(async move { memory.capture(&resource, &values, arrival).await }).await;
        let kept =
            kept.map_err(|error| Error::new(Kind::Io, "keeping a captured value failed").because(error))?;
        Ok(match kept? {
            Keeping::Saved => Captured::Saved,
            Keeping::Known => Captured::Known,
            Keeping::Refused => Captured::Refused,
            Keeping::Closed => Captured::Closed,
        })
    }

    fn run(&self, resource: &str, operation: Lifecycle) {
        let (instance, operation_name) = (&self.instance.id, operation.name());
        metrics::counter!("forebay_rule_runs_total", "instance" => instance.to_string()).increment(1);
        if !self.automatic {
            tracing::warn!(
                %instance, resource, operation = operation_name,
                "the vendor asks for this, and a person looks after the stream: do it at the vendor"
            );
            return;
        }
        let wish = (resource.to_owned(), operation);
        if self.wishes.lock().unwrap_or_else(PoisonError::into_inner).insert(wish) {
            tracing::info!(%instance, resource, operation = operation_name, "a message of the vendor asks for this");
        }
        self.wished.notify_one();
    }
}
