//! Refusals, limits, broken connections: nothing is made twice, and a person learns what to do.

use std::time::Duration;

use forebay::error::Kind;
use forebay::provision::What;
use serde_json::json;

use super::bench::{Bench, deeds};
use crate::tenant::{Fault, eventbridge};

#[tokio::test]
async fn a_create_that_was_cut_after_making_is_found_and_made_once() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::CutAfterCreate);
    assert_eq!(bench.pass().await, [What::Created]);
    assert_eq!(bench.written(), ["POST"]);
    assert_eq!(bench.tenant.http_streams().len(), 1);
    assert_eq!(bench.pass().await, [What::Kept]);
    let report = bench.provisioner().destroy(false).await.unwrap();
    assert_eq!(deeds(&report), [What::Deleted], "it is ours, not adopted");
}

#[tokio::test]
async fn a_create_that_timed_out_after_making_is_found_and_made_once() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::SlowCreate(Duration::from_secs(3)));
    assert_eq!(bench.pass().await, [What::Created]);
    assert_eq!(bench.written(), ["POST"]);
    assert_eq!(bench.tenant.http_streams().len(), 1);
}

#[tokio::test]
async fn a_create_that_made_nothing_is_looked_for_and_then_made() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::CutBeforeCreate);
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Passing, "{error}");
    bench.tenant.forget_requests();
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert!(error.to_string().contains("may still be under way"), "{error}");
    assert_eq!(bench.written(), [""; 0], "what was sent may take its time");
    *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_secs(30);
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Created]);
    let asked: Vec<String> = bench.tenant.requests().iter().map(|a| a.method.to_string()).collect();
    assert_eq!(asked, ["POST", "GET", "POST"], "token, find, create");
}

#[tokio::test]
async fn a_killed_process_looks_before_it_creates_again() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::SlowCreate(Duration::from_secs(1)));
    let run = bench.provisioner();
    let killed = tokio::time::timeout(Duration::from_millis(400), run.reconcile()).await;
    assert!(killed.is_err(), "the create is on its way");
    assert_eq!(bench.tenant.http_streams().len(), 1);
    assert_eq!(bench.pass().await, [What::Created]);
    assert_eq!(bench.tenant.http_streams().len(), 1);
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted]);
}

#[tokio::test]
async fn the_limit_of_the_tenant_is_said_with_what_to_do() {
    let bench = Bench::start().await;
    bench.tenant.add(eventbridge());
    bench.tenant.add(eventbridge());
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    let said = error.to_string();
    assert!(said.contains("You have reached the maximum number of log streams for your account."), "{said}");
    assert!(said.contains("Delete one under Monitoring > Log Streams."), "{said}");
    // Once there is room it goes on, and what somebody else makes meanwhile is not taken for ours.
    let id = bench.tenant.streams()[0]["id"].as_str().unwrap().to_owned();
    bench.tenant.remove(&id);
    assert_eq!(bench.pass().await, [What::Created]);
}

#[tokio::test]
async fn a_missing_scope_is_said_in_the_vendors_words_with_all_that_are_needed() {
    let bench = Bench::start().await;
    bench.tenant.grant(&["read:log_streams"]);
    let provisioner = bench.provisioner();
    let error = provisioner.reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    let said = error.to_string();
    for part in [
        "Insufficient scope, expected any of: create:log_streams",
        "read:log_streams create:log_streams update:log_streams delete:log_streams",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(provisioner.status().borrow().refusal.as_ref().unwrap().contains("Insufficient scope"));
    assert!(bench.state.document.lock().unwrap().as_ref().unwrap()["refusal"]["sentence"].is_string());
    bench.tenant.grant(&crate::tenant::SCOPES);
    assert_eq!(bench.pass().await, [What::Created]);
    assert!(bench.state.document.lock().unwrap().as_ref().unwrap()["refusal"].is_null());
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_never_shown() {
    let mut bench = Bench::start().await;
    bench.secrets.insert("client_secret", "not-the-secret-at-all".to_owned());
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
    let said = error.to_string();
    assert!(said.contains("Unauthorized") && !said.contains("not-the-secret-at-all"), "{said}");
}

#[tokio::test]
async fn too_many_requests_pass() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::TooMany(0));
    bench.tenant.inject(Fault::TooMany(0));
    assert_eq!(bench.pass().await, [What::Created]);
    for _ in 0..3 {
        bench.tenant.inject(Fault::Answer(503, json!({"message": "later"})));
    }
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Passing, "{error}");
}
