//! Conditions and health of the streams at vendors, from what provisioning reports.
//!
//! `provisioning` starts [`watch`] for each instance that provisions. Nothing here calls a vendor or changes anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::health::{Health, StreamStatus};
use crate::condition::{Code, Conditions, Subject};
use crate::connector::instance::InstanceId;
use crate::provision::Status;

/// How often the end of a lifetime is compared with the clock.
const EXPIRY: Duration = Duration::from_secs(30);

/// How long after a failure the next try is decided, at the latest.
const PLANNING: Duration = Duration::from_millis(250);

/// Keeps health and conditions of one instance's stream current, until the process stops.
pub(super) async fn watch(
    id: InstanceId,
    mut status: watch::Receiver<Status>,
    health: Arc<Health>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        // The next try is decided just after a failure, and belongs into its first message.
        let is_planned =
            |status: &Status| status.failing.as_ref().is_none_or(|failing| failing.next.is_some());
        if !is_planned(&status.borrow()) {
            let _ = tokio::time::timeout(PLANNING, status.wait_for(is_planned)).await;
        }
        {
            let status = status.borrow_and_update();
            health.stream(&id, word(&status));
            health.lifetime(&id, status.lifetimes.renewal, status.lifetimes.expires);
            report(&health.conditions, &id, &status);
        }
        let stop = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => true,
            changed = status.changed() => changed.is_err(),
            () = tokio::time::sleep(EXPIRY) => false,
        };
        if stop {
            return;
        }
    }
}

/// Raises what holds of a stream, and clears what does not.
fn report(conditions: &Conditions, id: &InstanceId, status: &Status) {
    let subject = Subject::instance(id);
    let set = |code: Code, message: Option<String>| match message {
        Some(message) => conditions.raise(code, subject.clone(), message),
        None => conditions.clear(code, &subject),
    };
    // After `destroy` nothing is expected of the stream.
    let failing = status.failing.as_ref().filter(|_| !status.destroyed);
    let unwell = status.unwell.as_ref().filter(|_| !status.destroyed);
    let gone = (!status.gone.is_empty() && !status.destroyed).then(|| {
        let why = failing.map(|failing| format!(": {failing}")).unwrap_or_default();
        format!(
            "the vendor says that {} does not exist, and it is not created again{why}",
            status.gone.join(", ")
        )
    });
    set(Code::StreamGone, gone);
    set(Code::StreamRefused, failing.filter(|failing| failing.refused).map(ToString::to_string));
    set(Code::StreamUnreachable, failing.filter(|failing| !failing.refused).map(ToString::to_string));
    set(Code::StreamDegraded, unwell.filter(|_| status.unhealthy).cloned());
    set(Code::StreamDrifted, unwell.filter(|_| !status.unhealthy).cloned());
    let expired = status.lifetimes.expires.filter(|end| *end <= conditions.now() && !status.destroyed);
    set(Code::StreamExpired, expired.map(|end| format!("the stream expired at {end} and is not renewed")));
    let duplicates = (!status.duplicates.is_empty() && !status.destroyed).then(|| {
        let each = status.duplicates.iter().map(|(resource, others)| format!("{resource}: {others}"));
        format!("another endpoint at the vendor matches `find`: {}", each.collect::<Vec<_>>().join("; "))
    });
    set(Code::DuplicateEndpoint, duplicates);
}

fn word(status: &Status) -> StreamStatus {
    match status {
        Status { destroyed: true, .. } => StreamStatus::Destroyed,
        Status { refusal: Some(why), .. } => StreamStatus::Refused(why.clone()),
        Status { failing: Some(failing), .. } if failing.refused => {
            StreamStatus::Refused(failing.to_string())
        }
        Status { failing: Some(failing), .. } => StreamStatus::Unreachable(failing.to_string()),
        Status { unwell: Some(why), .. } => StreamStatus::Unwell(why.clone()),
        Status { checked: Some(_), .. } => StreamStatus::Active,
        Status { .. } => StreamStatus::Pending,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::provision::{Failing, Lifetimes};

    fn codes(status: &Status) -> Vec<(Code, String)> {
        let conditions = Conditions::new(Arc::new(|| Timestamp::UNIX_EPOCH));
        report(&conditions, &InstanceId::parse("acme").unwrap(), status);
        conditions.list().into_iter().map(|condition| (condition.code, condition.message)).collect()
    }

    fn failing(refused: bool) -> Option<Failing> {
        let next = Some(Timestamp::from_second(60).unwrap());
        Some(Failing { sentence: "401: no access".to_owned(), refused, tries: 2, next })
    }

    #[test]
    fn stream_refused_names_sentence_and_next_try() {
        let status = Status { failing: failing(true), ..Status::default() };
        let message = "401: no access (2 tries); next try at 1970-01-01T00:01:00Z".to_owned();
        assert_eq!(codes(&status), [(Code::StreamRefused, message)]);
    }

    #[test]
    fn stream_states_raise_their_conditions() {
        let only = |status: Status| codes(&status).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
        assert_eq!(only(Status::default()), []);
        assert_eq!(only(Status { failing: failing(false), ..Status::default() }), [Code::StreamUnreachable]);
        let gone = vec!["hook".to_owned()];
        let status = Status { failing: failing(true), gone, ..Status::default() };
        assert_eq!(only(status.clone()), [Code::StreamRefused, Code::StreamGone]);
        assert_eq!(only(Status { destroyed: true, ..status }), []);
        let unwell = Some("hook left alone".to_owned());
        let status = Status { unwell, ..Status::default() };
        assert_eq!(only(status.clone()), [Code::StreamDrifted]);
        assert_eq!(only(Status { unhealthy: true, ..status }), [Code::StreamDegraded]);
        let lifetimes = Lifetimes { expires: Some(Timestamp::UNIX_EPOCH), ..Lifetimes::default() };
        assert_eq!(only(Status { lifetimes, ..Status::default() }), [Code::StreamExpired]);
        let duplicates = vec![("hook".to_owned(), "{\"id\":\"2\"}".to_owned())];
        assert_eq!(only(Status { duplicates, ..Status::default() }), [Code::DuplicateEndpoint]);
    }

    #[test]
    fn condition_clears_when_the_stream_is_well() {
        let conditions = Conditions::default();
        let id = InstanceId::parse("acme").unwrap();
        report(&conditions, &id, &Status { failing: failing(true), ..Status::default() });
        assert_eq!(conditions.list().len(), 1);
        report(&conditions, &id, &Status::default());
        assert_eq!(conditions.list(), []);
    }
}
