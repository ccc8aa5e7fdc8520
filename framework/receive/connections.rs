//! Who is connected. When there is no room, whoever holds many places loses one first.
//!
//! `server` takes a place for every connection that it accepts. A newcomer takes the place of the oldest
//! unauthenticated connection of the group (an IPv4 address, an IPv6 /64) that holds the most; connections whose last
//! request was authenticated give way only where their group holds more than its share. A trusted proxy's own
//! connections have no limit and give way last. A connection that works on an authenticated request is never closed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use super::client::{Client, Group};

/// Authenticated connections that a group may keep whatever else is connected.
const SHARE: usize = 16;
/// Unauthenticated connections of a group give way first while they are this part of its authenticated ones.
const PART: usize = 8;

/// One connection, as the stages of a request see it.
#[derive(Debug)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    number: u64,
    connections: Weak<Connections>,
    /// Whether its last request that was answered was authenticated.
    good: AtomicBool,
    /// Authenticated requests that are being worked on.
    working: AtomicUsize,
    /// Requests whose body has its memory set aside.
    wide: AtomicUsize,
    leaving: AtomicBool,
    leave: Notify,
}

/// Counts until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    peer: Arc<Peer>,
    which: fn(&Peer) -> &AtomicUsize,
}

impl Peer {
    /// A connection that takes no place.
    pub fn new(address: SocketAddr) -> Self {
        Self::at(address, 0, Weak::new())
    }

    fn at(address: SocketAddr, number: u64, connections: Weak<Connections>) -> Self {
        let (good, leaving) = (AtomicBool::new(false), AtomicBool::new(false));
        let (working, wide, leave) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        Self { address, number, connections, good, working, wide, leaving, leave }
    }

    /// A request of this connection is authenticated, or ended without being so. This decides which connections give
    /// way first, and nothing of what the next request may take.
    pub(super) fn last_was(&self, authenticated: bool) {
        if self.good.load(Ordering::Relaxed) != authenticated
            && self.good.swap(authenticated, Ordering::Relaxed) != authenticated
            && let Some(connections) = self.connections.upgrade()
        {
            connections.reclass(self.number, authenticated);
        }
    }

    /// An authenticated request is being worked on until this is dropped.
    pub(super) fn working(self: &Arc<Self>) -> Counted {
        self.counted(|peer| &peer.working)
    }

    /// A request whose body has its memory set aside is being read until this is dropped.
    pub(super) fn widen(self: &Arc<Self>) -> Counted {
        self.counted(|peer| &peer.wide)
    }

    fn counted(self: &Arc<Self>, which: fn(&Self) -> &AtomicUsize) -> Counted {
        which(self).fetch_add(1, Ordering::SeqCst);
        Counted { peer: self.clone(), which }
    }

    /// Whether what comes may be read in large pieces: its memory is set aside.
    pub(super) fn is_wide(&self) -> bool {
        self.wide.load(Ordering::Relaxed) > 0
    }

    fn is_working(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
    }

    /// Asks the connection to end.
    pub(super) fn close(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.leave.notify_one();
    }

    /// Returns when the connection has to end. One that works on an authenticated request ends after it.
    pub(super) async fn has_to_end(&self) {
        loop {
            self.leave.notified().await;
            if !self.is_working() {
                return;
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.peer).fetch_sub(1, Ordering::SeqCst);
        if self.peer.leaving.load(Ordering::SeqCst) {
            self.peer.leave.notify_one();
        }
        if let Some(connections) = self.peer.connections.upgrade()
            && connections.awaited.load(Ordering::SeqCst)
        {
            connections.freed.notify_one();
        }
    }
}

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    places: Mutex<Places>,
    /// Whether somebody waits for a connection that may end.
    awaited: AtomicBool,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, (Arc<Peer>, Group)>,
    groups: HashMap<Group, Members>,
    /// The groups with the most places first; of equal ones the one with the oldest place.
    order: BTreeSet<(Reverse<usize>, u64, Group)>,
}

/// The places of a group, the oldest first.
#[derive(Debug, Default)]
struct Members {
    unauthenticated: BTreeSet<u64>,
    authenticated: BTreeSet<u64>,
}

impl Members {
    fn len(&self) -> usize {
        self.unauthenticated.len() + self.authenticated.len()
    }

    fn rank(&self, group: Group) -> Option<(Reverse<usize>, u64, Group)> {
        let first =
            [&self.unauthenticated, &self.authenticated].into_iter().filter_map(BTreeSet::first).min()?;
        // A proxy stands for all its clients: its places count for nobody's share.
        Some((Reverse(if group == Group::Proxy { 0 } else { self.len() }), *first, group))
    }
}

impl Places {
    fn change(&mut self, group: Group, change: impl FnOnce(&mut Members)) {
        let members = self.groups.entry(group).or_default();
        if let Some(rank) = members.rank(group) {
            self.order.remove(&rank);
        }
        change(members);
        match members.rank(group) {
            Some(rank) => {
                self.order.insert(rank);
            }
            None => {
                self.groups.remove(&group);
            }
        }
    }

    fn enter(&mut self, peer: Arc<Peer>, group: Group) {
        let number = peer.number;
        self.taken.insert(number, (peer, group));
        self.change(group, |members| {
            members.unauthenticated.insert(number);
        });
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Peer>> {
        let (peer, group) = self.taken.remove(&number)?;
        self.change(group, |members| {
            members.unauthenticated.remove(&number);
            members.authenticated.remove(&number);
        });
        Some(peer)
    }

    fn idle<'a>(&self, numbers: impl IntoIterator<Item = &'a u64>) -> Option<u64> {
        let idle = |number: &&u64| self.taken.get(number).is_some_and(|(peer, _)| !peer.is_working());
        numbers.into_iter().find(idle).copied()
    }

    /// The place that is given away next.
    fn victim(&self) -> Option<u64> {
        let members = |(_, _, group): &(Reverse<usize>, u64, Group)| self.groups.get(group);
        let first = self.order.iter().filter_map(members).find_map(|members| {
            let unauthenticated = || self.idle(&members.unauthenticated);
            let crowd = members.authenticated.len() > SHARE
                && members.unauthenticated.len() * PART < members.authenticated.len();
            if crowd { self.idle(&members.authenticated).or_else(unauthenticated) } else { unauthenticated() }
        });
        // Where every connection is authenticated, one that waits for its next request gives way.
        let idle =
            || self.order.iter().filter_map(members).find_map(|members| self.idle(&members.authenticated));
        first.or_else(idle)
    }
}

/// A place that is taken until this is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    /// Whose it is.
    pub peer: Arc<Peer>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let (awaited, freed) = (AtomicBool::new(false), Notify::new());
        Self { most: most.max(1), places: Mutex::default(), awaited, freed }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when [`Self::place`] will find a place: at once, unless every connection works on an authenticated
    /// request.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            self.awaited.store(true, Ordering::SeqCst);
            {
                let places = self.places();
                if places.taken.len() < self.most || places.victim().is_some() {
                    self.awaited.store(false, Ordering::SeqCst);
                    return;
                }
            }
            freed.await;
        }
    }

    /// Gives a newcomer a place. When all are taken, another connection has to end for it.
    pub(super) fn place(self: &Arc<Self>, address: SocketAddr, client: Client) -> Place {
        let mut places = self.places();
        if places.taken.len() >= self.most {
            make_room(&mut places);
        }
        let peer = Arc::new(Peer::at(address, places.next, Arc::downgrade(self)));
        places.next += 1;
        places.enter(peer.clone(), client.group);
        Place { connections: self.clone(), peer }
    }

    /// Ends a connection for the sake of a file handle; tells whether there was one that may end.
    pub(super) fn end_one(&self) -> bool {
        make_room(&mut self.places())
    }

    fn reclass(&self, number: u64, authenticated: bool) {
        let mut places = self.places();
        let Some(group) = places.taken.get(&number).map(|(_, group)| *group) else { return };
        places.change(group, |members| {
            let (from, to) = match authenticated {
                true => (&mut members.unauthenticated, &mut members.authenticated),
                false => (&mut members.authenticated, &mut members.unauthenticated),
            };
            from.remove(&number);
            to.insert(number);
        });
        drop(places);
        // Somebody may wait for a connection that may end.
        self.freed.notify_one();
    }
}

fn make_room(places: &mut Places) -> bool {
    let ended = places.victim().and_then(|number| places.remove(number));
    if let Some(peer) = &ended {
        peer.close();
        metrics::counter!("forebay_connections_evicted_total").increment(1);
    }
    ended.is_some()
}

impl Place {
    /// The connection turned out to be another client's than the one at its other end.
    pub(super) fn belongs_to(&self, client: Client) {
        let mut places = self.connections.places();
        // One that was given away meanwhile stays so.
        if let Some(peer) = places.remove(self.peer.number) {
            places.enter(peer, client.group);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.places().remove(self.peer.number);
        self.connections.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(text: &str) -> Client {
        Client::direct(text.parse::<IpAddr>().unwrap())
    }

    struct Listener {
        connections: Arc<Connections>,
        places: Vec<(String, Place)>,
    }

    impl Listener {
        fn new(most: usize) -> Self {
            Self { connections: Arc::new(Connections::new(most)), places: Vec::new() }
        }

        /// Connects, and gives the place in the list.
        fn connect(&mut self, from: &str) -> usize {
            let place = self.connections.place(SocketAddr::from(([0, 0, 0, 0], 1)), client(from));
            self.places.push((from.to_owned(), place));
            self.places.len() - 1
        }

        fn open(&self, at: usize) -> bool {
            !self.places[at].1.peer.leaving.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn group_with_the_most_places_loses_its_oldest() {
        let mut listener = Listener::new(8);
        let vendor = listener.connect("192.0.2.1");
        let flood: Vec<usize> = (0..100).map(|n| listener.connect(&format!("2001:db8::{n:x}"))).collect();
        assert!(listener.open(vendor), "a /64 is one group");
        assert_eq!(flood.iter().filter(|at| listener.open(**at)).count(), 7);
        assert!(flood.iter().rev().take(7).all(|at| listener.open(*at)), "the oldest go first");
    }

    #[test]
    fn replayed_requests_hold_no_more_than_their_share() {
        let mut listener = Listener::new(64);
        let replays: Vec<usize> = (0..64).map(|_| listener.connect("198.51.100.1")).collect();
        replays.iter().for_each(|at| listener.places[*at].1.peer.last_was(true));
        let vendor = listener.connect("192.0.2.1");
        for _ in 0..200 {
            listener.connect("198.51.100.1");
        }
        assert!(listener.open(vendor));
        assert!(!listener.open(replays[0]));
    }

    #[test]
    fn replays_from_the_vendors_own_address_leave_room_for_newcomers() {
        let mut listener = Listener::new(64);
        let replays: Vec<usize> = (0..64).map(|_| listener.connect("192.0.2.1")).collect();
        replays.iter().for_each(|at| listener.places[*at].1.peer.last_was(true));
        let vendor = listener.connect("192.0.2.1");
        for _ in 0..4 {
            listener.connect("192.0.2.1");
        }
        assert!(listener.open(vendor), "a few others come before its first request");
    }

    #[test]
    fn a_vendors_few_kept_connections_outlive_a_crowd_of_single_addresses() {
        let mut listener = Listener::new(64);
        let kept: Vec<usize> = (0..10).map(|_| listener.connect("192.0.2.1")).collect();
        kept.iter().for_each(|at| listener.places[*at].1.peer.last_was(true));
        for n in 0..500 {
            listener.connect(&format!("198.51.{}.{}", n / 256, n % 256));
        }
        assert!(kept.iter().all(|at| listener.open(*at)));
    }

    #[tokio::test]
    async fn a_connection_at_work_ends_after_its_request() {
        let mut listener = Listener::new(1);
        let busy = listener.connect("192.0.2.1");
        let peer = listener.places[busy].1.peer.clone();
        peer.last_was(true);
        let working = peer.working();
        let connections = listener.connections.clone();
        let room = tokio::spawn(async move { connections.room().await });
        tokio::task::yield_now().await;
        assert!(!room.is_finished(), "there is nobody who may end");
        peer.close();
        let ends = tokio::spawn(async move { peer.has_to_end().await });
        tokio::task::yield_now().await;
        assert!(!ends.is_finished());
        drop(working);
        ends.await.unwrap();
        listener.places.clear();
        room.await.unwrap();
    }

    #[test]
    fn a_proxys_connections_give_way_last() {
        let mut listener = Listener::new(8);
        let proxy = Client { group: Group::Proxy, ..client("10.0.0.1") };
        for _ in 0..6 {
            let place = listener.connections.place(SocketAddr::from(([0, 0, 0, 0], 1)), proxy);
            listener.places.push(("proxy".to_owned(), place));
        }
        for n in 0..20 {
            listener.connect(&format!("192.0.2.{n}"));
        }
        assert!((0..6).all(|at| listener.open(at)));
        assert_eq!(listener.connections.places().taken.len(), 8);
    }
}
