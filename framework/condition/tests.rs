//! The list of conditions: what is logged, kept, cleared and bounded.

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

/// Counts the lines that a condition writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                if matches!(field.name(), "message" | "suppressed") {
                    self.0.push_str(&format!("{value:?} "));
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0.trim().to_owned());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn condition_that_flaps_is_logged_once_a_minute_with_a_count() {
    let clock = Arc::new(Mutex::new(Timestamp::UNIX_EPOCH));
    let time = clock.clone();
    let conditions = Conditions::new(Arc::new(move || *time.lock().unwrap()));
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        for n in 0..10 {
            conditions.raise(Code::SinkRetrying, Subject::instance("acme").sink("a"), format!("try {n}"));
            conditions.clear(Code::SinkRetrying, &Subject::instance("acme").sink("a"));
            *clock.lock().unwrap() += SignedDuration::from_secs(1);
        }
        assert_eq!(*lines.0.lock().unwrap(), ["try 0", "condition resolved"]);
        conditions.raise(Code::SinkRetrying, Subject::instance("acme").sink("a"), "holds");
        conditions.flush();
        assert_eq!(lines.0.lock().unwrap().len(), 2, "not yet");
        *clock.lock().unwrap() += SignedDuration::from_secs(60);
        conditions.flush();
        conditions.flush();
    });
    assert_eq!(*lines.0.lock().unwrap(), ["try 0", "condition resolved", "holds 9"]);
}

#[test]
fn condition_names_are_unique_and_have_actions() {
    let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
    assert!(Code::ALL.iter().all(|code| !code.action().is_empty()));
}
