//! Promise: a reconcile or a destroy that is dropped at any await leaves nothing locked, nothing made twice and nothing
//! left behind: the next one, of the same process or of a new one, completes it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use forebay::provision::rotation::Terms;
use forebay::provision::{Provisioner, What};
use serde_json::json;

use super::bench::{Bench, KEY, deeds};
use super::lifetimes;

/// More awaits than either operation has: reaching it means that the loop no longer ends.
const MAX_AWAITS: usize = 200;
/// How long the operation after the dropped one may take; a lock that nobody releases shows as this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A future that is given up the n-th time it has to wait.
struct DropAt<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> DropAt<F> {
    fn new(inner: F, awaits: usize) -> Self {
        Self { inner: Box::pin(inner), left: awaits }
    }
}

impl<F: Future> Future for DropAt<F> {
    /// `None` where it was given up.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.inner.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => {
                self.left -= 1;
                Poll::Pending
            }
        }
    }
}

#[tokio::test]
async fn reconcile_dropped_at_any_await_is_completed_by_the_next() {
    for awaits in 0..MAX_AWAITS {
        let bench = Bench::start().await;
        let provisioner = bench.provisioner();
        let whole = DropAt::new(provisioner.reconcile(), awaits).await;
        bench.tenant.quiet().await;
        // While a create may still be under way, the next reconcile leaves it alone.
        *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_mins(30);
        let next = tokio::time::timeout(PATIENCE, provisioner.reconcile()).await;
        let next = next.unwrap_or_else(|_| panic!("dropped at await {awaits}: the next one hangs"));
        next.unwrap_or_else(|error| panic!("dropped at await {awaits}: {error}"));
        bench.only();
        assert_eq!(bench.pass().await, [What::Kept], "dropped at await {awaits}");
        bench.tenant.assert_no_strange_request();
        if whole.is_some() {
            assert!(awaits >= 5, "only {awaits} awaits: the drops did not reach into the operation");
            return;
        }
    }
    panic!("still not done after {MAX_AWAITS} awaits");
}

#[tokio::test]
async fn destroy_dropped_at_any_await_is_completed_by_the_next() {
    for awaits in 0..MAX_AWAITS {
        let bench = Bench::start().await;
        bench.pass().await;
        let provisioner = bench.provisioner();
        let whole = DropAt::new(provisioner.destroy(false), awaits).await;
        bench.tenant.quiet().await;
        let next = tokio::time::timeout(PATIENCE, bench.provisioner().destroy(false)).await;
        let next = next.unwrap_or_else(|_| panic!("dropped at await {awaits}: the next one hangs"));
        next.unwrap_or_else(|error| panic!("dropped at await {awaits}: {error}"));
        assert_eq!(bench.tenant.http_streams().len(), 0, "dropped at await {awaits}");
        if whole.is_some() {
            assert!(awaits >= 3, "only {awaits} awaits: the drops did not reach into the operation");
            return;
        }
    }
    panic!("still not done after {MAX_AWAITS} awaits");
}

#[tokio::test]
async fn shared_token_survives_the_caller_that_asked_for_it() {
    let bench = Bench::start().await;
    let provisioner = bench.provisioner();
    for awaits in 0..4 {
        let _ = DropAt::new(provisioner.reconcile(), awaits).await;
    }
    *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_mins(30);
    let next = tokio::time::timeout(PATIENCE, provisioner.reconcile()).await.expect("the next one hangs");
    let report = next.unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(deeds(&report)[..], [What::Created | What::Adopted | What::Kept]), "{report:?}");
    bench.only();
}

/// Drops the reconcile of a bench at each await, each time of a new one, and has the next process complete it. `prepare`
/// leads to what is to be done, and `done` looks at what it has to come to.
async fn dropped_everywhere(prepare: impl AsyncFn(&mut Bench), done: impl Fn(&Bench), least: usize) {
    for awaits in 0..MAX_AWAITS {
        let mut bench = Bench::start().await;
        assert_eq!(bench.pass().await, [What::Created]);
        prepare(&mut bench).await;
        let whole = DropAt::new(bench.provisioner().reconcile(), awaits).await;
        bench.tenant.quiet().await;
        // While an operation may still be under way, the next reconcile leaves it alone.
        *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_mins(30);
        let next = bench.provisioner();
        let next = tokio::time::timeout(PATIENCE, next.reconcile()).await;
        let next = next.unwrap_or_else(|_| panic!("dropped at await {awaits}: the next one hangs"));
        next.unwrap_or_else(|error| panic!("dropped at await {awaits}: {error}"));
        bench.only();
        done(&bench);
        assert_eq!(bench.pass().await, [What::Kept], "dropped at await {awaits}");
        bench.tenant.assert_no_strange_request();
        if whole.is_some() {
            assert!(awaits >= least, "only {awaits} awaits: the drops did not reach into the operation");
            return;
        }
    }
    panic!("still not done after {MAX_AWAITS} awaits");
}

#[tokio::test]
async fn update_dropped_at_any_await_is_completed_by_the_next() {
    let prepare = async |bench: &mut Bench| {
        bench.secrets.insert("monad_api_key", "another-key".to_owned());
    };
    let done = |bench: &Bench| {
        let shown = &bench.tenant.http_streams()[0]["sink"]["httpCustomHeaders"][0]["value"];
        assert_eq!(shown, "another-key");
    };
    dropped_everywhere(prepare, done, 3).await;
}

#[tokio::test]
async fn repair_dropped_at_any_await_is_completed_by_the_next() {
    let prepare = async |bench: &mut Bench| {
        bench.tenant.change(&bench.only(), |stream| stream["status"] = json!("suspended"));
    };
    let done = |bench: &Bench| assert_eq!(bench.tenant.http_streams()[0]["status"], "active");
    dropped_everywhere(prepare, done, 3).await;
}

#[tokio::test]
async fn recreate_dropped_at_any_await_is_completed_by_the_next() {
    let prepare = async |bench: &mut Bench| {
        *bench.state.latest.lock().unwrap() = Some("2026-11-22T11:00:00Z".parse().unwrap());
        bench.tenant.remove(&bench.only());
    };
    dropped_everywhere(prepare, |_| {}, 5).await;
}

/// A renewal in place, and one that makes a second resource and removes the first after a while.
#[tokio::test]
async fn renew_dropped_at_any_await_is_completed_by_the_next() {
    for (spec, due_ms) in [("leases", 2_500), ("relays", 3_100)] {
        for awaits in 0..=MAX_AWAITS {
            assert!(awaits < MAX_AWAITS, "still not done after {MAX_AWAITS} awaits");
            let stage = lifetimes::Stage::of(spec);
            assert_eq!(stage.pass().await, [What::Created]);
            stage.after_ms(due_ms);
            let whole = DropAt::new(stage.provisioner().reconcile(), awaits).await;
            // Until nothing is left to be done: what the dropped one began is completed, and what it made goes in time.
            let mut passes = Vec::new();
            while passes.last() != Some(&vec![What::Kept]) {
                assert!(passes.len() < 20, "{spec}, dropped at await {awaits}: it never settles: {passes:?}");
                stage.after_ms(if spec == "relays" { 400 } else { 10 });
                let (next, hangs) =
                    (stage.provisioner(), format!("{spec}, dropped at await {awaits}: it hangs"));
                match tokio::time::timeout(PATIENCE, next.reconcile()).await.expect(&hangs) {
                    Ok(report) => passes.push(deeds(&report)),
                    // A create that may still be under way is left alone, for half an hour.
                    Err(error) => {
                        assert!(error.to_string().contains("may still be under way"), "{error}");
                        passes.push(Vec::new());
                        stage.after_ms(31 * 60_000);
                    }
                }
            }
            let beside = if spec == "relays" { 2 } else { 1 };
            let count = stage.vendor().count();
            assert!(
                (1..=beside).contains(&count),
                "{spec}, dropped at await {awaits}: {count} after {passes:?}"
            );
            stage.provisioner().destroy(false).await.unwrap();
            assert_eq!(
                stage.vendor().count(),
                0,
                "{spec}, dropped at await {awaits}: something is left behind"
            );
            if whole.is_some() {
                assert!(awaits >= 6, "{spec}: only {awaits} awaits");
                break;
            }
        }
    }
}

const NEW: &str = "the-new-key-of-the-rotation";

/// The rotation of a secret: the new value is kept beside the former one, given to the vendor, and confirmed.
async fn rotate(bench: &Bench, provisioner: &Provisioner) -> forebay::error::Result<()> {
    let terms = |bench: &Bench| Terms {
        now_seconds: bench.clock.0.lock().unwrap().as_second(),
        overlap_seconds: 3600,
        automatic: true,
    };
    let (memory, given) = (provisioner.memory(), |value: &str| {
        BTreeMap::from([("monad_api_key".to_owned(), vec![value.to_owned()])])
    });
    let change = |document: &mut forebay::provision::state::Document| {
        document.rotations.give(&given(NEW), &document.secrets, terms(bench));
        Ok(())
    };
    memory.change(change).await?;
    provisioner.reconcile().await?;
    let current = BTreeMap::from([("monad_api_key".to_owned(), NEW.to_owned())]);
    let confirm = |document: &mut forebay::provision::state::Document| {
        document.rotations.confirm(&current, terms(bench));
        Ok(())
    };
    memory.change(confirm).await.map(drop)
}

#[tokio::test]
async fn rotation_dropped_at_any_await_loses_no_value_that_is_in_use() {
    for awaits in 0..MAX_AWAITS {
        let mut bench = Bench::start().await;
        assert_eq!(bench.pass().await, [What::Created]);
        let first = |document: &mut forebay::provision::state::Document| {
            let given = BTreeMap::from([("monad_api_key".to_owned(), vec![KEY.to_owned()])]);
            let terms = Terms { now_seconds: 0, overlap_seconds: 3600, automatic: true };
            document.rotations.give(&given, &document.secrets, terms);
            Ok(())
        };
        bench.provisioner().memory().change(first).await.unwrap();
        bench.secrets.insert("monad_api_key", NEW.to_owned());
        let provisioner = bench.provisioner();
        let whole = DropAt::new(rotate(&bench, &provisioner), awaits).await;
        bench.tenant.quiet().await;
        // What the vendor shows now is the newest value, or a former one that is accepted.
        let shown = bench.tenant.http_streams()[0]["sink"]["httpCustomHeaders"][0]["value"].clone();
        let rotations = provisioner.memory().read().await.unwrap().rotations;
        let former = rotations.former("monad_api_key");
        let accepted = former.iter().any(|secret| Some(secret.expose()) == shown.as_str());
        assert!(
            shown == NEW || accepted || rotations.overlaps()["monad_api_key"].former == 0 && shown == KEY
        );
        // The next one of a new process completes it, and the former value ends after the overlap.
        *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_mins(30);
        let next = bench.provisioner();
        tokio::time::timeout(PATIENCE, rotate(&bench, &next)).await.expect("the next one hangs").unwrap();
        assert_eq!(bench.tenant.http_streams()[0]["sink"]["httpCustomHeaders"][0]["value"], NEW);
        let rotations = next.memory().read().await.unwrap().rotations;
        let overlap = &rotations.overlaps()["monad_api_key"];
        assert!(overlap.former == 1 && !overlap.unconfirmed, "dropped at await {awaits}: {overlap:?}");
        bench.tenant.assert_no_strange_request();
        if whole.is_some() {
            assert!(awaits >= 3, "only {awaits} awaits: the drops did not reach into the operation");
            return;
        }
    }
    panic!("still not done after {MAX_AWAITS} awaits");
}
