//! The last stage before the answer: a batch goes to the queue, and what it brought is counted with its receipt.
//!
//! `accept` calls it. A request may end while its batch is on the way, by a reset or a lost connection: the batch is stored
//! all the same, so the counting goes on in a task of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::decode::Decoded;
use super::endpoint::Endpoint;
use super::meters::Brought;
use super::refused::Refused;
use crate::queue::{Batch, Receipt, Refusal};

/// Stores what a request brought, whole or not at all.
pub(super) async fn store(
    endpoint: &Arc<Endpoint>,
    decoded: Decoded,
    now: jiff::Timestamp,
    held: impl Send + 'static,
) -> Result<Receipt, Refused> {
    if decoded.records.is_empty() && decoded.dead.is_empty() {
        return Ok(Receipt::default());
    }
    let brought = Brought::from(&decoded);
    let batch = Batch {
        instance: endpoint.instance.id.clone(),
        received: now,
        records: decoded.records,
        dead: decoded.dead,
        on_reuse: endpoint.instance.connector.receiver.event.on_reuse,
    };
    let endpoint = endpoint.clone();
    let stored = async move {
        // What the batch takes in memory is counted until the queue has let go of it.
        let _held = held;
        let receipt = endpoint.queue.append(batch).await?;
        endpoint.meters.stored(receipt, &brought, &endpoint.types, now);
        Ok::<Receipt, Refusal>(receipt)
    };
    Ok(ToTheEnd(Some(Box::pin(stored))).await?)
}

/// Work that goes on when nobody waits for it any more.
struct ToTheEnd<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for ToTheEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = std::task::ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToTheEnd<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}
