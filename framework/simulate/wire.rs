//! The wire between the vendor and the receiver: what the vendor sends goes to where the receiver really listens, and
//! looks as if it had come to the public URL.
//!
//! The sender pushes over it, the handshakes are performed over it; the torture makes its requests by [`to`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::routes::authority;
use super::sign::{Unsigned, set_header};
use super::transport::led_to;
use crate::call::{Request, Response, Transport};
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::error::{Error, Kind, Result};
use crate::provision::state::Memory;

/// How long a vendor waits for an answer that does not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// The vendor's end of it.
pub struct Wire {
    /// Whose stream it is.
    pub instance: Arc<Instance>,
    /// What reaches loopback.
    pub transport: Arc<dyn Transport>,
    /// Where the receiver really listens.
    pub receiver: SocketAddr,
    /// The receiver's URL as the vendor knows it.
    pub public_url: url::Url,
    /// The time, for signatures and events.
    pub clock: Arc<dyn Clock>,
    /// What the instance saved of the vendor's answers: a key may be among it.
    pub memory: Memory,
}

impl Wire {
    /// Sends one request, with the vendor's patience. The error says why there is no answer.
    pub async fn send(&self, request: Request) -> Result<Response, String> {
        let patience = self.instance.connector.receiver.sender.timeout.unwrap_or(PATIENCE);
        match tokio::time::timeout(patience, self.transport.send(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.sentence),
            Err(_) => Err(format!("no answer within {patience:?}")),
        }
    }
}

/// A request of the vendor's, led to where the receiver listens.
pub fn to(receiver: SocketAddr, mut sent: Unsigned) -> Result<Request> {
    set_header(&mut sent.headers, "host", &authority(&sent.url))?;
    let url = led_to(&sent.url, receiver)
        .map_err(|e| Error::new(Kind::Finding, "the receiver's URL cannot be called").because(e))?;
    Ok(Request { method: sent.method, url, headers: sent.headers, body: Bytes::from(sent.body) })
}
