//! How the process and its instances fare, in one place: what `/healthz` and `/readyz` answer and what the
//! gauges of the stream show.
//!
//! Whoever starts and stops instances writes into it; `admin` reads it. It never asks for the time.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;

use crate::condition::Conditions;
use crate::connector::instance::InstanceId;
use crate::deliver::SinkStatus;
use crate::error::escaped;

/// How the vendor's side of an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StreamStatus {
    /// A person looks after it: this instance does not provision.
    Manual,
    /// It was not looked at yet.
    #[default]
    Pending,
    /// Well when it was last looked at.
    Active,
    /// Not well, and why; it is being mended, or left alone by somebody's choice.
    Unwell(String),
    /// The vendor refused for good, and what it said.
    Refused(String),
    /// Somebody ran `destroy`.
    Destroyed,
}

impl StreamStatus {
    /// Every word that [`Self::word`] gives.
    const WORDS: [&str; 6] = ["manual", "pending", "active", "unwell", "refused", "destroyed"];

    /// The word for logs, metrics and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Unwell(_) => "unwell",
            Self::Refused(_) => "refused",
            Self::Destroyed => "destroyed",
        }
    }

    /// What is wrong; `None` where nothing is.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Manual | Self::Active => None,
            Self::Pending => Some("the vendor's side was not looked at yet".to_owned()),
            Self::Unwell(why) => Some(format!("the stream is not well: {}", escaped(why, 300))),
            Self::Refused(why) => Some(format!("the vendor refused: {}", escaped(why, 300))),
            Self::Destroyed => Some("somebody ran `destroy`".to_owned()),
        }
    }
}

/// How the process and its instances fare.
#[derive(Debug, Default)]
pub struct Health {
    /// What an operator has to know: every layer raises and clears in this one list.
    pub conditions: Arc<Conditions>,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    receiving: bool,
    stopping: bool,
    store: Option<String>,
    instances: BTreeMap<InstanceId, InstanceHealth>,
}

#[derive(Debug, Default)]
struct InstanceHealth {
    stream: StreamStatus,
    renewal: Option<Timestamp>,
    expires: Option<Timestamp>,
    last_event: Option<Timestamp>,
    last_rejection: Option<(Timestamp, String)>,
    sinks: BTreeMap<String, watch::Receiver<SinkStatus>>,
}

/// An answer: whether all is well, and the document that says why or why not.
#[derive(Debug)]
pub struct Answer {
    /// 200 or 503.
    pub well: bool,
    /// What is answered.
    pub document: Json,
}

impl Health {
    /// The listener takes connections, or does not any more.
    pub fn receiving(&self, receiving: bool) {
        self.write().receiving = receiving;
    }

    /// The process was told to stop.
    pub fn stopping(&self) {
        self.write().stopping = true;
    }

    /// What is wrong with the store; `None` when it writes and syncs.
    pub fn store(&self, trouble: Option<String>) {
        self.write().store = trouble;
    }

    /// How an instance's stream is; this also makes the instance known.
    pub fn stream(&self, instance: &InstanceId, status: StreamStatus) {
        self.write().instances.entry(instance.clone()).or_default().stream = status;
    }

    /// An event of an instance was accepted, at this time of ours.
    pub fn event(&self, instance: &InstanceId, at: Timestamp) {
        let mut inner = self.write();
        let last = &mut inner.instances.entry(instance.clone()).or_default().last_event;
        *last = (*last).max(Some(at));
    }

    /// A request for an instance was turned away.
    pub fn rejection(&self, instance: &InstanceId, at: Timestamp, reason: &str) {
        let rejection = Some((at, escaped(reason, 300)));
        self.write().instances.entry(instance.clone()).or_default().last_rejection = rejection;
    }

    /// The word for an instance's stream.
    pub fn word(&self, instance: &InstanceId) -> &'static str {
        self.read().instances.get(instance).map_or(StreamStatus::Pending.word(), |one| one.stream.word())
    }

    /// When an instance's stream is renewed and when it runs out, where it has a lifetime.
    pub fn lifetime(&self, instance: &InstanceId, renewal: Option<Timestamp>, expires: Option<Timestamp>) {
        let mut inner = self.write();
        let one = inner.instances.entry(instance.clone()).or_default();
        (one.renewal, one.expires) = (renewal, expires);
    }

    /// A sink of an instance, and where its worker says how it fares.
    pub fn sink(&self, instance: &InstanceId, name: &str, status: watch::Receiver<SinkStatus>) {
        let mut inner = self.write();
        inner.instances.entry(instance.clone()).or_default().sinks.insert(name.to_owned(), status);
    }

    /// `/healthz`: the process is alive, and its store takes what comes.
    ///
    /// ```json
    /// {"status": "ok", "version": "0.1.0", "store": "ok"}
    /// ```
    pub fn healthz(&self) -> Answer {
        let inner = self.read();
        let well = inner.store.is_none();
        let status = if well { "ok" } else { "failing" };
        let store = inner.store.as_deref().map_or_else(|| "ok".to_owned(), |why| escaped(why, 300));
        let version = env!("CARGO_PKG_VERSION");
        Answer { well, document: json!({"status": status, "version": version, "store": store}) }
    }

    /// `/readyz`: it receives, and every stream is well. `reasons` says what is not; a sink that is held is
    /// shown, and is no reason: what comes in is safe all the same.
    ///
    /// ```json
    /// {"ready": false, "reasons": ["acme: the stream is not well: suspended"], "receiving": true,
    ///  "instances": {"acme": {
    ///    "stream": "unwell", "renewal": null, "expires": null, "last_event": "2026-11-22T11:59:30Z", "last_event_age_seconds": 30.0,
    ///    "last_rejection": {"at": "2026-11-22T11:58:00Z", "reason": "wrong key"},
    ///    "sinks": {"siem": {"status": "held", "reason": "siem.example.com answered 401"}}}}}
    /// ```
    pub fn readyz(&self, now: Timestamp) -> Answer {
        let inner = self.read();
        let mut reasons = Vec::new();
        if !inner.receiving {
            reasons.push("the listener does not take connections".to_owned());
        }
        if inner.stopping {
            reasons.push("the process is stopping".to_owned());
        }
        if let Some(why) = &inner.store {
            reasons.push(format!("the store fails: {}", escaped(why, 300)));
        }
        let mut instances = Map::new();
        for (id, instance) in &inner.instances {
            reasons.extend(instance.stream.reason().map(|reason| format!("{id}: {reason}")));
            if let Some(end) = instance.expires.filter(|end| *end <= now) {
                reasons.push(format!("{id}: the stream ran out at {end} and is not renewed"));
            }
            instances.insert(id.to_string(), instance.document(now));
        }
        let well = reasons.is_empty();
        let receiving = inner.receiving && !inner.stopping;
        let document =
            json!({"ready": well, "reasons": reasons, "receiving": receiving, "instances": instances});
        Answer { well, document }
    }

    /// Sets the gauges that depend on the time of asking.
    pub fn set_gauges(&self, now: Timestamp) {
        for (id, instance) in &self.read().instances {
            for word in StreamStatus::WORDS {
                let is = if instance.stream.word() == word { 1.0 } else { 0.0 };
                metrics::gauge!("forebay_stream_status", "instance" => id.to_string(), "status" => word)
                    .set(is);
            }
            if let Some(end) = instance.expires {
                let left = end.duration_since(now).as_secs_f64();
                metrics::gauge!("forebay_stream_left_seconds", "instance" => id.to_string()).set(left);
            }
            if let Some(age) = instance.age(now) {
                metrics::gauge!("forebay_last_event_age_seconds", "instance" => id.to_string()).set(age);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Every write replaces whole values, so that one that panicked leaves nothing half done.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InstanceHealth {
    /// Seconds since the last event.
    fn age(&self, now: Timestamp) -> Option<f64> {
        self.last_event.map(|at| now.duration_since(at).as_secs_f64().max(0.0))
    }

    fn document(&self, now: Timestamp) -> Json {
        let sink = |status: &watch::Receiver<SinkStatus>| match &*status.borrow() {
            SinkStatus::Well => json!({"status": "well"}),
            SinkStatus::Retrying(why) => json!({"status": "retrying", "reason": why}),
            SinkStatus::Held(why) => json!({"status": "held", "reason": why}),
        };
        let sinks: Map<String, Json> =
            self.sinks.iter().map(|(name, status)| (name.clone(), sink(status))).collect();
        json!({
            "stream": self.stream.word(),
            "renewal": self.renewal.map(|at| at.to_string()),
            "expires": self.expires.map(|at| at.to_string()),
            "last_event_age_seconds": self.age(now),
            "last_event": self.last_event.map(|at| at.to_string()),
            "last_rejection": self.last_rejection.as_ref().map(|(at, why)| json!({"at": at.to_string(), "reason": why})),
            "sinks": sinks,
        })
    }
}
