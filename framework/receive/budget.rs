//! What requests may have in memory at once, and who gives way when it is used up.
//!
//! What a request may take follows from that request alone. Until it is authenticated it has a ticket, which another
//! request may take over: then it ends with 503. Bodies are kept apart by size, so that large ones never hold up small
//! ones; room for a large one is claimed before it is read, and meanwhile the sender waits, as TCP lets it. Inflated
//! bytes have pools of their own. [`pool`](super::pool) says who comes first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::client::Group;
use super::connections::Counted;
use super::holdings::{End, Owner, Policy};
use super::limits::Limits;
use super::pool::{Claim, Pool};

pub(super) use super::pool::Crowded;

/// How long a request waits for room before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes up to which a body is small.
pub(super) const SMALL: usize = 64 << 10;
/// Bytes up to which the body of an unauthenticated request is of middling size.
const MIDDLE: usize = 2 << 20;
/// Bytes that a request takes without its head and its body: tasks, buffers, the state of a stream.
const REQUEST: usize = 6 << 10;
/// Bytes that the head of a request takes at most.
const HEAD: usize = 40 << 10;
/// Bytes that small compressed bodies of authenticated requests inflate to, all together.
const INFLATED_SMALL: usize = 4 << 20;

/// The budgets of one listener.
#[derive(Debug)]
pub(super) struct Budgets {
    unauthenticated: Kind,
    authenticated: Kind,
    /// Small results of inflating, and large ones.
    pub(super) inflated: (Arc<Pool>, Arc<Pool>),
    /// The largest body.
    largest: usize,
    /// The largest that is read before it is known who sent it.
    unproven: usize,
}

/// The pools of one kind of requests, by the size of the body.
#[derive(Debug)]
struct Kind {
    small: Arc<Pool>,
    middle: Arc<Pool>,
    large: Arc<Pool>,
}

impl Budgets {
    /// Each pool has room for what is largest of its size: what is allowed can also arrive.
    /// `unproven` is the greatest body that is read before it is known who sent it.
    pub(super) fn new(limits: &Limits, unproven: usize) -> Self {
        let share = limits.in_flight_strangers;
        let authenticated = Pool::new(limits.in_flight.max(limits.body), Policy::Wait);
        Self {
            unauthenticated: Kind {
                small: Pool::new((share / 3).max(SMALL + REQUEST + HEAD), Policy::Replace),
                middle: Pool::new((share - share / 3).max(MIDDLE), Policy::Yield),
                large: Pool::new(unproven.max(MIDDLE), Policy::Yield),
            },
            authenticated: Kind {
                small: Pool::new((limits.in_flight / 8).max(SMALL), Policy::Wait),
                middle: authenticated.clone(),
                large: authenticated,
            },
            inflated: (
                Pool::new(INFLATED_SMALL, Policy::Wait),
                Pool::new(limits.in_flight.max(limits.inflated), Policy::Wait),
            ),
            largest: limits.body,
            unproven: unproven.max(MIDDLE),
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        [&self.unauthenticated, &self.authenticated]
            .into_iter()
            .flat_map(|kind| [&kind.small, &kind.middle, &kind.large])
            .chain([&self.inflated.0, &self.inflated.1])
            .map(|pool| pool.used())
            .sum()
    }
}

/// A request from its head to its answer: what it takes while it is not authenticated.
#[derive(Debug)]
pub struct Ticket {
    owner: Owner,
    claim: Mutex<Option<Claim>>,
    working: Mutex<Option<Counted>>,
}

impl Ticket {
    /// A request that takes nothing yet.
    pub(super) fn new(end: Arc<End>, client: Group, instance: usize) -> Self {
        let owner = Owner { client, instance, end };
        Self { owner, claim: Mutex::default(), working: Mutex::default() }
    }

    /// Claims what the request takes, whose head has this weight, unless it has done so or is authenticated.
    pub(super) fn claim(&self, budgets: &Budgets, weight: usize) -> Result<(), Crowded> {
        if self.is_authenticated() {
            return Ok(());
        }
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if claim.is_none() {
            *claim = Some(budgets.unauthenticated.small.claim(&self.owner, REQUEST + weight)?);
        }
        Ok(())
    }

    /// The request is authenticated: from now on it gives way to no other, but for a body that makes no progress while
    /// another instance waits.
    pub(super) fn authenticated(&self) {
        self.owner.end.secure();
        let peer = &self.owner.end.peer;
        *self.working.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer.working());
        peer.last_was(true);
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether the request is authenticated.
    pub(super) fn is_authenticated(&self) -> bool {
        self.working.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the request has no place of its own: it was refused one, or lost it to another.
    pub(super) fn is_turned_away(&self) -> bool {
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        !self.is_authenticated() && (claim.is_none() || self.owner.end.is_struck())
    }

    /// The request has its answer. What it took it gives back when this is dropped.
    pub(super) fn answered(&self) {
        drop(self.working.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.owner.end.answered();
    }

    /// Returns when another request took over what this one has.
    pub(super) async fn lost(&self) {
        self.owner.end.lost().await;
    }

    /// For whom claims of this request are made.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

/// What the body of one request takes, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    budgets: Arc<Budgets>,
    owner: Owner,
    authenticated: bool,
    claims: Vec<Claim>,
    /// Bytes that there is room for.
    room: usize,
    length: Option<usize>,
    /// While there is room for all that may come, it is read in large pieces.
    wide: Option<Counted>,
}

impl Hold {
    /// Room for nothing yet.
    pub(super) fn new(budgets: &Arc<Budgets>, ticket: &Ticket) -> Self {
        let authenticated = ticket.is_authenticated();
        let (claims, room, length, wide) = (Vec::new(), 0, None, None);
        Self {
            budgets: budgets.clone(),
            owner: ticket.owner.clone(),
            authenticated,
            claims,
            room,
            length,
            wide,
        }
    }

    fn kind(&self) -> &Kind {
        if self.authenticated { &self.budgets.authenticated } else { &self.budgets.unauthenticated }
    }

    /// Makes room for a body of an announced length (0: none was), and waits for it. The connection may read `ahead`
    /// bytes of it by itself.
    pub(super) async fn announce(&mut self, length: usize, ahead: usize) -> Result<(), Crowded> {
        self.length = Some(length).filter(|length| *length > 0);
        let small = match (length, self.authenticated) {
            (0, true) => 0,
            (0, false) => ahead,
            (length, true) if length > SMALL => 0,
            (length, true) => length,
            (length, false) if length > SMALL => ahead,
            // By what arrives, if room is scarce: a promise costs the sender nothing.
            (length, false) if self.kind().small.has_plenty() => length,
            (length, false) => length.min(ahead),
        };
        if small > 0 {
            self.small(small).await?;
        }
        if length > SMALL {
            self.large(length).await?;
        }
        self.coming(0);
        if length > 0 && self.room >= length {
            self.wide = Some(self.owner.end.peer.widen());
        }
        Ok(())
    }

    /// Whether there is room for a body of this length.
    pub(super) fn has_room_for(&self, length: usize) -> bool {
        self.room >= length
    }

    /// Makes room for `length` bytes in all, which have come.
    pub(super) async fn came(&mut self, length: usize) -> Result<(), Crowded> {
        if length > self.room {
            if length <= SMALL {
                let room = if self.authenticated { SMALL } else { length };
                self.small(room - self.room).await?;
            } else if length <= MIDDLE && !self.authenticated {
                self.large(MIDDLE).await?;
            } else {
                let most = if self.authenticated { self.budgets.largest } else { self.budgets.unproven };
                self.large(most.max(length)).await?;
            }
        }
        self.coming(length);
        Ok(())
    }

    /// So much of the body has come.
    fn coming(&mut self, length: usize) {
        for claim in &mut self.claims {
            claim.came(length, self.length);
        }
    }

    async fn small(&mut self, bytes: usize) -> Result<(), Crowded> {
        match self.claims.first_mut() {
            Some(claim) => claim.grow(bytes)?,
            None if self.authenticated => {
                let claim = self.kind().small.wait(&self.owner, bytes, PATIENCE).await?;
                self.claims.push(claim);
            }
            None => {
                let claim = self.kind().small.claim(&self.owner, bytes)?;
                self.claims.push(claim);
            }
        }
        self.room += bytes;
        Ok(())
    }

    async fn large(&mut self, bytes: usize) -> Result<(), Crowded> {
        let pool = if bytes <= MIDDLE { &self.kind().middle } else { &self.kind().large }.clone();
        let claim = pool.wait(&self.owner, bytes, PATIENCE).await?;
        self.claims.push(claim);
        self.room = bytes;
        Ok(())
    }

    /// The request is authenticated: its bytes go over to the other budget.
    pub(super) async fn authenticated(self, bytes: usize) -> Result<Self, Crowded> {
        if self.authenticated {
            return Ok(self);
        }
        let (budgets, owner) = (self.budgets.clone(), self.owner.clone());
        let (length, claims) = (self.length, Vec::new());
        let mut hold = Self { budgets, owner, authenticated: true, claims, room: 0, length, wide: None };
        if bytes > 0 && bytes <= SMALL {
            hold.small(bytes).await?;
        } else if bytes > 0 {
            hold.large(bytes).await?;
        }
        Ok(hold)
    }

    /// The body is whole: what was set aside for it beyond its length is given back.
    pub(super) fn whole(&mut self, bytes: usize) {
        self.wide = None;
        self.claims.iter_mut().for_each(Claim::whole);
        if let (None, Some(claim)) = (self.length, self.claims.last_mut()) {
            claim.shrink(bytes);
        }
    }
}

/// Room for what a body inflates to, given back when this is dropped.
pub(super) async fn inflated(budgets: &Budgets, ticket: &Ticket, bytes: usize) -> Result<Claim, Crowded> {
    budgets.inflated.1.wait(ticket.owner(), bytes, PATIENCE).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::client::Client;
    use crate::receive::connections::Peer;

    fn budgets(limits: Limits) -> Arc<Budgets> {
        Arc::new(Budgets::new(&limits, limits.body))
    }

    fn ticket(budgets: &Budgets, from: &str, weight: usize) -> Result<Ticket, Crowded> {
        let end = End::new(Arc::new(Peer::new(std::net::SocketAddr::from(([0, 0, 0, 0], 1)))));
        let ticket = Ticket::new(end, Client::direct(from.parse().unwrap()).group, 1);
        ticket.claim(budgets, weight).map(|()| ticket)
    }

    /// A body of an announced length, of which `came` bytes have come.
    async fn body(
        budgets: &Arc<Budgets>,
        ticket: &Ticket,
        length: usize,
        came: usize,
    ) -> Result<Hold, Crowded> {
        let mut hold = Hold::new(budgets, ticket);
        hold.announce(length, 0).await?;
        hold.came(came).await?;
        Ok(hold)
    }

    async fn is_lost(ticket: &Ticket) -> bool {
        tokio::time::timeout(Duration::ZERO, ticket.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn client_that_holds_much_loses_its_oldest_request() {
        let budgets = budgets(Limits { in_flight_strangers: 3 << 20, ..Limits::default() });
        let vendor = ticket(&budgets, "192.0.2.1", 1000).unwrap();
        let flood: Vec<_> = (0..2000).map(|_| ticket(&budgets, "198.51.100.1", 1000).unwrap()).collect();
        assert!(!is_lost(&vendor).await);
        assert!(is_lost(&flood[0]).await && !is_lost(&flood[1999]).await);
        drop((vendor, flood));
        assert_eq!(budgets.used(), 0);
    }

    #[tokio::test]
    async fn bodies_beyond_the_budget_wait_for_others_and_none_is_refused() {
        let budgets = budgets(Limits::default());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let budgets = budgets.clone();
            tasks.spawn(async move {
                let ticket = ticket(&budgets, "192.0.2.1", 300).unwrap();
                let mut hold = Hold::new(&budgets, &ticket);
                hold.announce(1 << 20, 0).await?;
                for n in 1..=10 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    hold.came(n * ((1 << 20) / 10)).await?;
                }
                hold.authenticated(1 << 20).await.map(drop)
            });
        }
        let ended = tasks.join_all().await;
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        assert_eq!(budgets.used(), 0);
    }

    #[tokio::test]
    async fn a_body_that_makes_no_progress_gives_way_within_a_second_or_two() {
        let budgets = budgets(Limits::default());
        let slow = ticket(&budgets, "192.0.2.1", 300).unwrap();
        let held = body(&budgets, &slow, 16 << 20, 64 << 10).await.unwrap();
        let other = ticket(&budgets, "192.0.2.1", 300).unwrap();
        let begin = tokio::time::Instant::now();
        body(&budgets, &other, 8 << 20, 1 << 20).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert!(is_lost(&slow).await && !is_lost(&other).await);
        drop(held);
    }

    #[tokio::test]
    async fn small_bodies_pass_while_large_ones_wait() {
        let budgets = budgets(Limits::default());
        let tickets: Vec<_> = (0..3).map(|_| ticket(&budgets, "192.0.2.1", 300).unwrap()).collect();
        tickets.iter().for_each(Ticket::authenticated);
        let _first = body(&budgets, &tickets[0], 16 << 20, 0).await.unwrap();
        let large = async {
            let mut held = Vec::new();
            loop {
                held.push(body(&budgets, &tickets[1], 16 << 20, 0).await.unwrap());
            }
        };
        let small = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let begin = tokio::time::Instant::now();
            body(&budgets, &tickets[2], 100, 100).await.unwrap();
            assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());
        };
        tokio::select! { never = large => never, () = small => {} }
    }

    #[tokio::test]
    async fn group_that_holds_more_gives_way_to_one_that_waits() {
        let budgets = budgets(Limits::default());
        let many: Vec<_> = (0..8).map(|_| ticket(&budgets, "198.51.100.1", 300).unwrap()).collect();
        let mut held = Vec::new();
        for ticket in &many {
            // Fast enough that none makes no progress.
            let mut hold = Hold::new(&budgets, ticket);
            hold.announce(1 << 20, 0).await.unwrap();
            hold.came(1 << 19).await.unwrap();
            held.push(hold);
        }
        let other = ticket(&budgets, "192.0.2.1", 300).unwrap();
        let begin = tokio::time::Instant::now();
        body(&budgets, &other, 1 << 20, 1).await.unwrap();
        assert!(begin.elapsed() <= Duration::from_millis(1500), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_request_that_stops_waiting_leaves_nothing_behind() {
        let budgets = budgets(Limits::default());
        let (one, two) =
            (ticket(&budgets, "192.0.2.1", 0).unwrap(), ticket(&budgets, "192.0.2.1", 0).unwrap());
        let held = body(&budgets, &one, 16 << 20, 8 << 20).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(50), body(&budgets, &two, 16 << 20, 0));
        assert!(waiting.await.is_err());
        drop((held, one, two));
        assert_eq!(budgets.used(), 0);
    }
}
