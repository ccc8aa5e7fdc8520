//! Promise: a reconcile or a destroy that is dropped at any await leaves nothing locked, nothing made twice and nothing
//! left behind: the next one, of the same process or of a new one, completes it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use forebay::provision::What;

use super::bench::{Bench, deeds};

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
