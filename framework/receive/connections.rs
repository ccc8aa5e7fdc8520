//! Who is connected. When there is no room, connections that never showed the key go first.
//!
//! `server` asks for a seat for every connection it accepts. Nobody without a key can keep the vendor out:
//! a newcomer takes the seat of the stranger that has been here longest.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One connection, as the stages of a request see it.
#[derive(Debug)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    known: AtomicBool,
    leave: Notify,
}

impl Peer {
    /// A connection that has shown nothing yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, known: AtomicBool::new(false), leave: Notify::new() }
    }

    /// Whether a request of this connection has shown the key.
    pub(super) fn known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// A request of this connection has shown the key.
    pub(super) fn has_shown_key(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Returns when the seat is needed for somebody else. Who has shown the key meanwhile may stay.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
        if self.known() {
            std::future::pending::<()>().await;
        }
    }
}

/// The seats of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    seats: Mutex<Seats>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Arc<Peer>>,
}

impl Seats {
    fn longest_stranger(&self) -> Option<u64> {
        self.taken.iter().find(|(_, peer)| !peer.known()).map(|(number, _)| *number)
    }
}

/// A seat that is taken until this is dropped.
pub(super) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    /// Who sits there.
    pub peer: Arc<Peer>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), seats: Mutex::default(), freed: Notify::new() }
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when [`Self::seat`] will find a seat: at once, unless every seat is taken by somebody who
    /// has shown the key.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            {
                let seats = self.seats();
                if seats.taken.len() < self.most || seats.longest_stranger().is_some() {
                    return;
                }
            }
            freed.await;
        }
    }

    /// Gives a newcomer a seat. When all are taken, the stranger who came first has to leave; where there
    /// is none, the newcomer sits down all the same (one at a time: `room` is awaited before).
    pub(super) fn seat(self: &Arc<Self>, address: SocketAddr) -> Seat {
        let peer = Arc::new(Peer::new(address));
        let mut seats = self.seats();
        if seats.taken.len() >= self.most {
            self.make_room(&mut seats);
        }
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, peer.clone());
        Seat { connections: self.clone(), number, peer }
    }

    /// Sends the stranger who came first away, for the sake of a file handle; says whether there was one.
    pub(super) fn send_one_away(&self) -> bool {
        self.make_room(&mut self.seats())
    }

    fn make_room(&self, seats: &mut Seats) -> bool {
        let stranger = seats.longest_stranger().and_then(|number| seats.taken.remove(&number));
        if let Some(peer) = &stranger {
            peer.leave.notify_one();
            metrics::counter!("forebay_connections_evicted_total").increment(1);
        }
        stranger.is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.seats().taken.remove(&self.number);
        self.connections.freed.notify_one();
    }
}
