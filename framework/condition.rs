//! Conditions: everything about a running process that an operator has to know, in one list.
//!
//! Every layer raises and clears conditions here. The log, `/readyz`, `/healthz` and the metrics all read this one
//! list, so that they cannot disagree. A condition never holds a secret, and text from outside is escaped by
//! [`crate::error::escaped`] before it becomes part of a message.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::{SignedDuration, Timestamp};

/// How long a condition stays silent in the log while its message changes, or while it comes and goes.
const LOG_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// Conditions kept at once: beyond it new ones are logged and counted in `forebay_conditions_dropped_total`.
const MAX_CONDITIONS: usize = 10_000;
/// Conditions that ended and whose last log line is remembered: one that comes again soon is not logged again.
const MAX_ENDED: usize = 1_000;

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

            /// Returns what it means, one or two sentences.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }

            /// Returns what an operator does about it.
            pub fn action(self) -> &'static str {
                match self { $(Self::$variant => $action),+ }
            }
        }
    };
}

impl Code {
    /// Returns whether no event can be taken while it holds: for the process, or for the instance that it names.
    pub fn refuses_events(self) -> bool {
        matches!(self, Self::QueueRefuses | Self::StoreReplaced) || self.restart_cures()
    }

    /// Returns whether a restart of the process cures it. `/healthz` fails for these codes alone.
    pub fn restart_cures(self) -> bool {
        matches!(self, Self::RuntimeStalled | Self::WriterStopped | Self::WriterStalled)
    }
}

// One row a code, ordered by area: the process, the queue, sinks, dead letters, then everything else.
codes! {
    /// Tasks of the process do not run any more: a deadlock, or a processor that is taken away.
    RuntimeStalled = "runtime_stalled", Error, "restart the process and report the log line before this one";
    /// The wall clock of the machine jumped.
    ClockJumped = "clock_jumped", Warning, "check the time service of the machine (`timedatectl`, `chronyc tracking`): signatures and certificates are checked against this clock";
    /// Lines of the log were dropped because standard error was not read fast enough.
    LogLinesDropped = "log_lines_dropped", Warning, "read standard error faster, or log less with `--log-level warn`";
    /// A file of the configuration changed in a way that takes a restart.
    RestartNeeded = "restart_needed", Warning, "restart the process to apply the changes that the message names";
    /// The queue answers every request with 503: it is full, the disk is low, or a write failed.
    QueueRefuses = "queue_refuses", Error, "free disk space, repair the blocked sink, or raise the limit that the message names";
    /// The limit on bodies is below the largest body that the sender declares.
    BodyLimitLow = "body_limit_low", Warning, "remove receiver.limits.body from the configuration, or raise it to the size that the message names";
    /// The database files at the path are not the ones that are open.
    StoreReplaced = "store_replaced", Error, "put the database files back, or stop Forebay before you restore a backup";
    /// The document at the URL of a sender's certificate is not a certificate, or its issuer is not one that the connector bundles: its requests get 503.
    SenderCertificate = "sender_certificate", Error, "for an issuer update Forebay, or add it to the file that the connector names under `certificate.issuers`; else get the URL from this machine: a proxy may answer for the vendor";
    /// The store was not closed cleanly, and its write-ahead log is missing.
    StoreLogMissing = "store_log_missing", Warning, "compare what was sent with what was delivered, and back up forebay.db together with forebay.db-wal";
    /// A copy of a database that was replaced waits to be delivered.
    StoreCopyWaiting = "store_copy_waiting", Warning, "run Forebay once with the copy's folder as --data-dir to deliver what it holds, then remove it";
    /// A reader with an open transaction keeps the write-ahead log from starting over.
    CheckpointBlocked = "checkpoint_blocked", Warning, "end the program that holds a transaction on forebay.db open";
    /// The thread that writes the database has ended.
    WriterStopped = "writer_stopped", Error, "restart the process and report the log line before this one";
    /// The thread that writes the database has not finished one commit for minutes.
    WriterStalled = "writer_stalled", Error, "check the disk of the data directory (`dmesg`, `iostat`); if it is healthy, restart the process";
    /// A sink refuses records in a way that takes a change by an operator: its credentials, its path, its permissions.
    SinkBlocked = "sink_blocked", Error, "correct what the message names; records wait in the queue and are tried again by themselves";
    /// A sink failed in a way that may pass by itself.
    SinkRetrying = "sink_retrying", Warning, "check the sink if this lasts; records wait in the queue and are tried again by themselves";
    /// Dead letters take the room that they may: requests that would bring more are answered with 503.
    DeadLettersFull = "dead_letters_full", Error, "`forebay dead-letters list --id ID`, then `retry`, or `export` and `drop` them; or raise queue.dead_share";
    /// An instance got ten new dead letters or more within ten minutes.
    DeadLettersGrowing = "dead_letters_growing", Warning, "list them with `forebay dead-letters list --id ID`, repair the cause, then `retry` or `drop` them";
    /// The vendor has not confirmed the new value of a secret: former ones stay valid.
    SecretUnconfirmed = "secret_unconfirmed", Warning, "repair what keeps the vendor from taking it; `forebay secrets end NAME` ends the former values at once";
    /// Former values of a secret are accepted for the overlap.
    SecretOverlap = "secret_overlap", Info, "nothing; `forebay secrets end NAME` ends the former values at once";
    /// The secrets of an instance could not be read again.
    SecretsUnread = "secrets_unread", Warning, "correct the files that the message names, then send SIGHUP again";
    /// Changed secrets could not be saved, and are not taken yet.
    SecretsUnsaved = "secrets_unsaved", Error, "repair the store; the change is tried again by itself";
    /// A secret is too short to be masked inside other text.
    SecretShort = "secret_short", Warning, "give a longer value: it is shown in texts that hold it as part of a word";
    /// A file does not answer.
    FileBlocked = "file_blocked", Warning, "repair the file system or the pipe; the file is tried again by itself";
    /// The vendor refuses what provisioning asks for; events of a stream that exists are still received.
    StreamRefused = "stream_refused", Error, "correct what the vendor's message names (credentials, permissions, plan); Forebay tries again by itself, and at once after SIGHUP";
    /// The vendor says that the stream does not exist any more, and no new one could be created.
    StreamGone = "stream_gone", Error, "read the message: nothing is sent until a new stream exists";
    /// The vendor has suspended the stream, or it is unhealthy, and the connector does not repair it.
    StreamDegraded = "stream_degraded", Error, "look at the stream at the vendor and enable it, or run `forebay plan`";
    /// The stream differs from what the connector wants, and Forebay leaves it so.
    StreamDrifted = "stream_drifted", Warning, "run `forebay plan` and change at the vendor what it lists";
    /// The lifetime of the stream is over and it was not renewed.
    StreamExpired = "stream_expired", Error, "read the other conditions of the instance: the renewal failed";
    /// The state of the stream at the vendor could not be looked up.
    StreamUnreachable = "stream_unreachable", Warning, "check the network, the proxy and the vendor's status page; Forebay tries again by itself";
    /// Another endpoint at the vendor matches what identifies this stream.
    DuplicateEndpoint = "duplicate_endpoint", Warning, "delete the endpoint that is not in use at the vendor; `forebay plan` lists all of them";
    /// A call to a vendor had no answer, or one that says to try later.
    VendorUnreachable = "vendor_unreachable", Warning, "check name resolution, the network, the proxy and the certificate that the message names";
    /// The store holds undelivered records or dead letters of an instance that the configuration does not have.
    InstanceRemoved = "instance_removed", Warning, "configure the instance again, rename it with `forebay instances rename OLD NEW`, or drop it with `forebay instances drop ID --force`";
    /// The store holds ids, cursors or state of an instance that the configuration does not have.
    InstanceLeftover = "instance_leftover", Info, "rename it with `forebay instances rename OLD NEW`, or drop it with `forebay instances drop ID`";
    /// The store holds records for a sink that the configuration does not have.
    SinkRemoved = "sink_removed", Warning, "configure the sink again, or drop it with `forebay sinks drop NAME --id ID`";
    /// Ids are remembered for a shorter time than the sender repeats its requests.
    DedupeAgeShort = "dedupe_age_short", Warning, "raise queue.dedupe.age, or leave it out: then each instance remembers ids as long as its sender repeats them";
    /// An instance forgot ids for want of room before its sender gives up.
    IdsForgottenEarly = "ids_forgotten_early", Warning, "raise queue.dedupe.count (about 40 bytes of memory an id), or the instance's weight in queue.shares";
    /// The value of a secret looks as if something had been left on it.
    SecretSuspicious = "secret_suspicious", Warning, "write the bare value into the file or variable, then send SIGHUP or restart";
    /// A secret is so short that it can be guessed.
    SecretWeak = "secret_weak", Warning, "generate a secret of at least 32 characters at the vendor, or here";
    /// Other users of the machine can read or change the file of a secret.
    SecretFileOpen = "secret_file_open", Warning, "chmod 600 the file that the message names, then send SIGHUP or restart";
    /// Other users of the machine can write into the data directory.
    DataDirOpen = "data_dir_open", Warning, "chmod 700 the data directory, then send SIGHUP or restart";
    /// The certificate of the receiver has expired, is not valid yet, or is for other names than the public URL's.
    CertificateInvalid = "certificate_invalid", Error, "put a valid certificate for the public URL's host into the files of receiver.tls: Forebay takes it into use within seconds";
    /// The certificate of the receiver expires within 14 days.
    CertificateExpires = "certificate_expires", Warning, "renew the certificate of receiver.tls: Forebay takes it into use within seconds";
    /// The receiver listens without TLS where others than this machine can reach it.
    ListenerWithoutTls = "listener_without_tls", Warning, "configure receiver.tls, or listen on 127.0.0.1 behind a proxy that ends TLS";
    /// The admin listener can be reached from other machines.
    AdminListenerOpen = "admin_listener_open", Warning, "listen on 127.0.0.1, or let a firewall admit the monitoring alone";
}

/// What a condition is about. Empty for the process as a whole.
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
    /// The instance, sink or item.
    pub subject: Subject,
    /// When it was first raised.
    pub since: Timestamp,
    /// What was observed, one sentence in lower case without a full stop.
    pub message: String,
}

/// The list of conditions of one process. Shared by reference; every method may be called from any thread.
pub struct Conditions {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    raised: BTreeMap<(Code, Subject), Raised>,
    /// Conditions that ended, with what the log knows of them.
    ended: BTreeMap<(Code, Subject), Logged>,
}

struct Raised {
    condition: Condition,
    logged: Logged,
    /// Whether the log has its message.
    shown: bool,
    /// Whether the log knows that it holds.
    said: bool,
}

/// What the log knows of a condition.
#[derive(Clone, Copy)]
struct Logged {
    /// When it was last logged.
    at: Timestamp,
    /// How often it was raised or changed without a line since then.
    suppressed: u64,
}

impl Logged {
    fn is_due(self, now: Timestamp) -> bool {
        // A clock that went back must not silence anything.
        now.duration_since(self.at).abs() >= LOG_INTERVAL
    }
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
        Self { now, inner: RwLock::default() }
    }

    /// Returns the time by which conditions are dated.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Raises a condition, or updates the message of one that holds already. The first occurrence is logged; later
    /// messages that differ, and a condition that comes and goes, are logged at most once a minute.
    pub fn raise(&self, code: Code, subject: Subject, message: impl Into<String>) {
        let (now, message) = ((self.now)(), message.into());
        let suppressed = {
            let mut inner = self.write();
            let Inner { raised, ended } = &mut *inner;
            let full = raised.len() >= MAX_CONDITIONS;
            match raised.get_mut(&(code, subject.clone())) {
                Some(old) if old.condition.message == message => None,
                Some(old) => {
                    old.condition.message.clone_from(&message);
                    old.shown = false;
                    old.say(now)
                }
                None if full => {
                    metrics::counter!("forebay_conditions_dropped_total").increment(1);
                    Some(0)
                }
                None => {
                    let condition =
                        Condition { code, subject: subject.clone(), since: now, message: message.clone() };
                    let before = ended.remove(&(code, subject.clone()));
                    let logged = before.unwrap_or(Logged { at: Timestamp::MIN, suppressed: 0 });
                    let mut new = Raised { condition, logged, shown: false, said: false };
                    let suppressed = new.say(now);
                    raised.insert((code, subject.clone()), new);
                    suppressed
                }
            }
        };
        if let Some(suppressed) = suppressed {
            log(code, &subject, &message, suppressed);
        }
    }

    /// Logs what was kept silent by the rate limit and still holds. Called every few seconds.
    pub fn flush(&self) {
        let now = (self.now)();
        let mut due = Vec::new();
        {
            let mut inner = self.write();
            for raised in inner.raised.values_mut().filter(|raised| !raised.shown) {
                if raised.logged.is_due(now) {
                    let suppressed = raised.logged.suppressed.saturating_sub(1);
                    raised.logged = Logged { at: now, suppressed: 0 };
                    (raised.shown, raised.said) = (true, true);
                    due.push((raised.condition.clone(), suppressed));
                }
            }
            inner.ended.retain(|_, logged| !logged.is_due(now));
        }
        for (condition, suppressed) in due {
            log(condition.code, &condition.subject, &condition.message, suppressed);
        }
    }

    /// Clears a condition, and logs that it ended. Does nothing if it does not hold.
    pub fn clear(&self, code: Code, subject: &Subject) {
        let key = (code, subject.clone());
        // The common case is that nothing is raised: a shared lock is enough to see that.
        if !self.read().raised.contains_key(&key) {
            return;
        }
        let now = (self.now)();
        let ended = {
            let mut inner = self.write();
            let Some(ended) = inner.raised.remove(&key) else { return };
            if inner.ended.len() >= MAX_ENDED {
                inner.ended.retain(|_, logged| !logged.is_due(now));
            }
            if inner.ended.len() < MAX_ENDED {
                inner.ended.insert(key, ended.logged);
            }
            ended
        };
        if ended.said {
            let (instance, sink, item) =
                (subject.instance.as_deref(), subject.sink.as_deref(), subject.item.as_deref());
            let since = ended.condition.since;
            tracing::info!(condition = code.name(), instance, sink, item, %since, "condition resolved");
        }
    }

    /// Tells whether a condition holds for this subject.
    pub fn holds(&self, code: Code, subject: &Subject) -> bool {
        self.read().raised.contains_key(&(code, subject.clone()))
    }

    /// Returns every condition that holds, by code and subject.
    pub fn list(&self) -> Vec<Condition> {
        self.read().raised.values().map(|raised| raised.condition.clone()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Raised {
    /// Returns how many lines were suppressed before this one; `None` if this one is suppressed too.
    fn say(&mut self, now: Timestamp) -> Option<u64> {
        if self.logged.is_due(now) {
            let suppressed = self.logged.suppressed;
            self.logged = Logged { at: now, suppressed: 0 };
            (self.shown, self.said) = (true, true);
            return Some(suppressed);
        }
        self.logged.suppressed += 1;
        None
    }
}

fn log(code: Code, subject: &Subject, message: &str, suppressed: u64) {
    let (condition, action) = (code.name(), code.action());
    let suppressed = (suppressed > 0).then_some(suppressed);
    let (instance, sink, item) =
        (subject.instance.as_deref(), subject.sink.as_deref(), subject.item.as_deref());
    match code.severity() {
        Severity::Error => {
            tracing::error!(condition, instance, sink, item, suppressed, action, "{message}");
        }
        Severity::Warning => {
            tracing::warn!(condition, instance, sink, item, suppressed, action, "{message}");
        }
        Severity::Info => {
            tracing::info!(condition, instance, sink, item, suppressed, action, "{message}");
        }
    }
}

#[cfg(test)]
mod tests;
