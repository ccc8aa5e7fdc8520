//! The state of the process and its instances: what `/healthz` and `/readyz` answer, and the gauges of conditions and
//! streams.
//!
//! `host` and the tasks of instances write into it; `admin` reads it. Everything that is wrong is a condition of the
//! one list, [`Health::conditions`]. It never asks for the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;

use crate::condition::{Condition, Conditions};
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
    /// It could not be looked at, and why.
    Unreachable(String),
    /// Somebody ran `destroy`.
    Destroyed,
}

impl StreamStatus {
    /// Every word that [`Self::word`] gives.
    const WORDS: [&str; 7] = ["manual", "pending", "active", "unwell", "refused", "unreachable", "destroyed"];

    /// The word for logs, metrics and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Unwell(_) => "unwell",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Destroyed => "destroyed",
        }
    }

    /// Returns what is wrong, in words; `None` if nothing is.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Manual | Self::Active | Self::Pending | Self::Destroyed => None,
            Self::Unwell(why) | Self::Refused(why) | Self::Unreachable(why) => Some(escaped(why, 300)),
        }
    }
}

/// The state of the process and its instances.
#[derive(Debug, Default)]
pub struct Health {
    /// What an operator has to know: every layer raises and clears in this one list.
    pub conditions: Arc<Conditions>,
    inner: RwLock<Inner>,
    /// The labels of `forebay_condition` that were set: those that no longer hold are set to 0.
    shown: Mutex<BTreeSet<Labels>>,
}

/// Code, severity, instance and sink of a condition, as labels.
type Labels = (&'static str, &'static str, String, String);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    instances: BTreeMap<InstanceId, InstanceHealth>,
}

/// Where the process is between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// The listener does not take connections yet.
    #[default]
    Starting,
    /// It takes connections.
    Running,
    /// The process ends.
    Stopping,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
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
    /// The listener takes connections.
    pub fn receiving(&self) {
        let mut inner = self.write();
        if inner.state == State::Starting {
            inner.state = State::Running;
        }
    }

    /// The process was told to stop.
    pub fn stopping(&self) {
        self.write().state = State::Stopping;
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

    /// Returns the answer of `/healthz`: 503 only while a condition holds that a restart cures.
    ///
    /// ```json
    /// {"status": "ok", "version": "0.1.0", "conditions": []}
    /// ```
    pub fn healthz(&self) -> Answer {
        let fatal: Vec<Json> = self
            .conditions
            .list()
            .iter()
            .filter(|condition| condition.code.restart_cures())
            .map(condition_json)
            .collect();
        let well = fatal.is_empty();
        let (status, version) = (if well { "ok" } else { "failing" }, env!("CARGO_PKG_VERSION"));
        Answer { well, document: json!({"status": status, "version": version, "conditions": fatal}) }
    }

    /// Returns the answer of `/readyz`: 503 only while no instance can take events. Every condition is listed,
    /// whatever the status.
    ///
    /// ```json
    /// {"ready": true, "state": "running", "conditions": [
    ///    {"code": "sink_blocked", "severity": "error", "instance": "acme", "sink": "siem", "item": null,
    ///     "since": "2026-11-22T11:58:00Z", "message": "siem.example.com answered 401",
    ///     "action": "correct what the message names; ..."}],
    ///  "instances": {"acme": {
    ///    "ready": true, "stream": "active", "stream_reason": null, "renewal": null, "expires": null,
    ///    "last_event": "2026-11-22T11:59:30Z", "last_event_age_seconds": 30.0,
    ///    "last_rejection": {"at": "2026-11-22T11:58:00Z", "reason": "wrong_key"},
    ///    "sinks": {"siem": {"status": "blocked", "reason": "siem.example.com answered 401"}}}}}
    /// ```
    pub fn readyz(&self, now: Timestamp) -> Answer {
        let conditions = self.conditions.list();
        let inner = self.read();
        let refusing = |id: Option<&str>| {
            conditions.iter().any(|one| one.code.refuses_events() && one.subject.instance.as_deref() == id)
        };
        let receives = inner.state == State::Running && !refusing(None);
        let instances: Map<String, Json> = inner
            .instances
            .iter()
            .map(|(id, one)| {
                let ready = receives && !refusing(Some(id.as_str()));
                (id.to_string(), one.document(now, ready))
            })
            .collect();
        let well = receives && (instances.is_empty() || instances.values().any(|one| one["ready"] == true));
        let document = json!({
            "ready": well,
            "state": inner.state.name(),
            "conditions": conditions.iter().map(condition_json).collect::<Vec<_>>(),
            "instances": instances,
        });
        Answer { well, document }
    }

    /// Sets the gauges that depend on the time of asking.
    pub fn set_gauges(&self, now: Timestamp) {
        self.set_conditions();
        metrics::gauge!("forebay_ready").set(if self.readyz(now).well { 1.0 } else { 0.0 });
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

    /// Counts the conditions that hold by code, instance and sink. What no longer holds goes to 0 and stays, so that a
    /// series does not vanish while an alert looks at it.
    fn set_conditions(&self) {
        let mut now: BTreeMap<Labels, u32> = BTreeMap::new();
        for Condition { code, subject, .. } in self.conditions.list() {
            let labels = (
                code.name(),
                code.severity().name(),
                subject.instance.unwrap_or_default(),
                subject.sink.unwrap_or_default(),
            );
            *now.entry(labels).or_default() += 1;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.extend(now.keys().cloned());
        for labels in shown.iter() {
            let (code, severity, instance, sink) = labels.clone();
            metrics::gauge!("forebay_condition", "code" => code, "severity" => severity, "instance" => instance, "sink" => sink)
                .set(f64::from(now.get(labels).copied().unwrap_or(0)));
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

    fn document(&self, now: Timestamp, ready: bool) -> Json {
        let sink = |status: &watch::Receiver<SinkStatus>| match &*status.borrow() {
            SinkStatus::Well => json!({"status": "well"}),
            SinkStatus::Retrying(why) => json!({"status": "retrying", "reason": why}),
            SinkStatus::Blocked(why) => json!({"status": "blocked", "reason": why}),
        };
        let sinks: Map<String, Json> =
            self.sinks.iter().map(|(name, status)| (name.clone(), sink(status))).collect();
        json!({
            "ready": ready,
            "stream": self.stream.word(),
            "stream_reason": self.stream.reason(),
            "renewal": self.renewal.map(|at| at.to_string()),
            "expires": self.expires.map(|at| at.to_string()),
            "last_event_age_seconds": self.age(now),
            "last_event": self.last_event.map(|at| at.to_string()),
            "last_rejection": self.last_rejection.as_ref().map(|(at, why)| json!({"at": at.to_string(), "reason": why})),
            "sinks": sinks,
        })
    }
}

fn condition_json(condition: &Condition) -> Json {
    let Condition { code, subject, since, message } = condition;
    json!({
        "code": code.name(),
        "severity": code.severity().name(),
        "instance": subject.instance,
        "sink": subject.sink,
        "item": subject.item,
        "since": since.to_string(),
        "message": message,
        "action": code.action(),
    })
}
