//! The bounds of the receiver, and what they are unless the configuration says otherwise.

use std::time::Duration;

use super::client::Proxies;

/// The deepest nesting that `depth` may allow: the reader recurses.
pub const DEEPEST: usize = 256;

/// The bounds of one listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections in all.
    pub connections: usize,
    /// Bytes of a body as sent; more is 413.
    pub body: usize,
    /// Whether the configuration sets `body`: a sender that declares larger ones does not raise it then.
    pub body_fixed: bool,
    /// Bytes of a body after inflating.
    pub inflated: usize,
    /// Time for the headers of a request, and for the TLS handshake.
    pub header_time: Duration,
    /// Time for a whole body.
    pub body_time: Duration,
    /// Bytes a second that a body must come with, averaged after the first seconds.
    pub least_rate: usize,
    /// Bytes of bodies in memory at once, of all authenticated requests.
    pub in_flight: usize,
    /// The same for requests that are not authenticated yet, with their heads: a third for bodies up to 64 KiB, the
    /// rest for those up to 2 MiB. Larger ones have room for one of the greatest size.
    pub in_flight_strangers: usize,
    /// How long a connection may idle between requests.
    pub idle: Duration,
    /// Nesting of a record.
    pub depth: usize,
    /// How long a graceful stop waits for what is in flight.
    pub drain: Duration,
    /// The proxies before the listener.
    pub proxies: Proxies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            body: 16 << 20,
            body_fixed: false,
            inflated: 64 << 20,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            least_rate: 1024,
            in_flight: 64 << 20,
            in_flight_strangers: 12 << 20,
            idle: Duration::from_secs(75),
            depth: 64,
            drain: Duration::from_secs(20),
            proxies: Proxies::default(),
        }
    }
}
