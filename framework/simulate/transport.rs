//! The map of hosts: every host that the spec calls is the stand-in, and nothing leaves the machine.
//!
//! Handed to the instance under test in place of the real transport. The request goes over a real socket, by
//! the real transport, to loopback; the host it was meant for stands in the `Host` header.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;

use super::routes::authority;
use crate::call::{Request, Response, Transport, TransportError};

/// The transport of a simulation.
pub struct StandInTransport {
    /// What reaches loopback.
    pub inner: Arc<dyn Transport>,
    /// Where the stand-in listens.
    pub stand_in: SocketAddr,
}

#[async_trait]
impl Transport for StandInTransport {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        let host = authority(&request.url);
        let refused = |why: String| TransportError {
            sent: false,
            passing: false,
            sentence: format!("{host} cannot be led to the stand-in: {why}"),
        };
        let value = HeaderValue::try_from(host.as_str()).map_err(|e| refused(e.to_string()))?;
        request.url = led_to(&request.url, self.stand_in).map_err(refused)?;
        request.headers.insert(http::header::HOST, value);
        self.inner.send(request).await
    }
}

/// The same URL at a loopback address, by plain http.
pub fn led_to(url: &url::Url, address: SocketAddr) -> Result<url::Url, String> {
    let tail = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    url::Url::parse(&format!("http://{address}{tail}")).map_err(|e| e.to_string())
}
