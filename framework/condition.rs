//! Conditions: everything about a running process that an operator has to know, in one list.
//!
//! Every layer raises and clears conditions here. The log, `/readyz`, `/healthz` and the metrics all read this one
//! list, so that they cannot disagree. A condition never holds a secret, and text from outside is escaped by
//! [`crate::error::escaped`] before it becomes part of a message.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

/// How long a raised condition stays silent in the log while its message changes.
const LOG_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// Conditions kept at once: beyond it new ones are logged and counted in `forebay_conditions_dropped_total`.
const MAX_CONDITIONS: usize = 10_000;

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing: nothing is at risk.
    Info,
    /// Something is degraded, or will be: an operator should act soon.
    Warning,
    /// Events are refused, at risk or not delivered: an operator should act now.
    Error,
}

impl Severity {
    /// Returns the name used in logs, labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Declares the closed set of codes with severity and action, so that no code lacks either.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $severity:ident, $action:literal;)+) => {
        /// What a condition is about. `docs/operating.md` has the table, and a test holds it to this list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name used in logs, labels and JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Returns how much it matters.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),+ }
            }

            /// Returns what an operator does about it.
            pub fn action(self) -> &'static str {
                match self { $(Self::$variant => $action),+ }
            }
        }
    };
}

codes! {
    /// The queue answers every request with 503: it is full, the disk is low, or a write failed.
    QueueRefuses = "queue_refuses", Error, "free disk space, repair the blocked sink, or raise the limit that the message names";
    /// The database files at the path are not the ones that are open.
    StoreReplaced = "store_replaced", Error, "put the database files back, or stop Forebay before you restore a backup";
    /// The thread that writes the database has ended.
    WriterStopped = "writer_stopped", Error, "restart the process and report the log line before this one";
}

/// Whom a condition is about. Empty for the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Subject {
    /// The instance's id.
    pub instance: Option<String>,
    /// The sink's name, where the condition is about one sink of the instance.
    pub sink: Option<String>,
    /// What else tells two conditions of one code apart: a secret's name, a file, a host.
    pub item: Option<String>,
}

impl Subject {
    /// Returns the subject for the whole process.
    pub fn process() -> Self {
        Self::default()
    }

    /// Returns the subject for one instance.
    pub fn instance(id: impl fmt::Display) -> Self {
        Self { instance: Some(id.to_string()), ..Self::default() }
    }

    /// Narrows the subject to one sink.
    #[must_use]
    pub fn sink(self, name: impl fmt::Display) -> Self {
        Self { sink: Some(name.to_string()), ..self }
    }

    /// Narrows the subject to one named item.
    #[must_use]
    pub fn item(self, name: impl fmt::Display) -> Self {
        Self { item: Some(name.to_string()), ..self }
    }
}

/// One condition that holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub code: Code,
    /// Whom it is about.
    pub subject: Subject,
    /// When it was first raised.
    pub since: Timestamp,
    /// What was observed, one sentence in lower case without a full stop.
    pub message: String,
}

/// The list of conditions of one process. Shared by reference; every method may be called from any thread.
pub struct Conditions {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    raised: RwLock<BTreeMap<(Code, Subject), Raised>>,
}

struct Raised {
    condition: Condition,
    logged: Timestamp,
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Default for Conditions {
    /// Returns an empty list that takes its times from the system clock.
    fn default() -> Self {
        Self::new(Arc::new(Timestamp::now))
    }
}

impl Conditions {
    /// Returns an empty list. `now` gives the time for `since` and for the rate limit of the log.
    pub fn new(now: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self { now, raised: RwLock::default() }
    }

    /// Raises a condition, or updates the message of one that holds already. The first occurrence is logged; later
    /// messages that differ are logged at most once a minute.
    pub fn raise(&self, code: Code, subject: Subject, message: impl Into<String>) {
        let (now, message) = ((self.now)(), message.into());
        let log = {
            let mut raised = self.raised.write().unwrap_or_else(PoisonError::into_inner);
            let full = raised.len() >= MAX_CONDITIONS;
            match raised.get_mut(&(code, subject.clone())) {
                Some(old) if old.condition.message == message => false,
                Some(old) => {
                    old.condition.message.clone_from(&message);
                    let due = now.duration_since(old.logged) >= LOG_INTERVAL;
                    if due {
                        old.logged = now;
                    }
                    due
                }
                None if full => {
                    metrics::counter!("forebay_conditions_dropped_total").increment(1);
                    true
                }
                None => {
                    let condition =
                        Condition { code, subject: subject.clone(), since: now, message: message.clone() };
                    raised.insert((code, subject.clone()), Raised { condition, logged: now });
                    true
                }
            }
        };
        if log {
            let (condition, action) = (code.name(), code.action());
            let (instance, sink, item) =
                (subject.instance.as_deref(), subject.sink.as_deref(), subject.item.as_deref());
            match code.severity() {
                Severity::Error => tracing::error!(condition, instance, sink, item, action, "{message}"),
                Severity::Warning => tracing::warn!(condition, instance, sink, item, action, "{message}"),
                Severity::Info => tracing::info!(condition, instance, sink, item, action, "{message}"),
            }
        }
    }

    /// Clears a condition, and logs that it ended. Does nothing where it does not hold.
    pub fn clear(&self, code: Code, subject: &Subject) {
        let key = (code, subject.clone());
        // The common case is that nothing is raised: a shared lock is enough to see that.
        if !self.raised.read().unwrap_or_else(PoisonError::into_inner).contains_key(&key) {
            return;
        }
        let ended = self.raised.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        if let Some(Raised { condition, .. }) = ended {
            let (instance, sink, item) =
                (subject.instance.as_deref(), subject.sink.as_deref(), subject.item.as_deref());
            let since = condition.since;
            tracing::info!(condition = code.name(), instance, sink, item, %since, "condition resolved");
        }
    }

    /// Tells whether a condition holds for this subject.
    pub fn holds(&self, code: Code, subject: &Subject) -> bool {
        self.raised.read().unwrap_or_else(PoisonError::into_inner).contains_key(&(code, subject.clone()))
    }

    /// Returns every condition that holds, by code and subject.
    pub fn list(&self) -> Vec<Condition> {
        let raised = self.raised.read().unwrap_or_else(PoisonError::into_inner);
        raised.values().map(|raised| raised.condition.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn condition_raised_twice_keeps_since_and_takes_message() {
        let clock = Arc::new(Mutex::new(Timestamp::UNIX_EPOCH));
        let time = clock.clone();
        let conditions = Conditions::new(Arc::new(move || *time.lock().unwrap()));
        let subject = Subject::instance("acme").sink("archive");
        conditions.raise(Code::QueueRefuses, subject.clone(), "full");
        *clock.lock().unwrap() = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(30);
        conditions.raise(Code::QueueRefuses, subject.clone(), "disk low");
        let listed = conditions.list();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].since, listed[0].message.as_str()), (Timestamp::UNIX_EPOCH, "disk low"));
        assert!(!conditions.holds(Code::QueueRefuses, &Subject::process()));
        conditions.clear(Code::QueueRefuses, &subject);
        assert_eq!(conditions.list(), []);
    }

    #[test]
    fn condition_names_are_unique_and_have_actions() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| !code.action().is_empty()));
    }
}
