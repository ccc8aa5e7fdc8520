//! Budgets under floods: many clients of one instance keep no other instance's vendor out, and neither does one client
//! on many instances.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{Budgets, Crowded, Hold, Ticket};
use super::client::Client;
use super::connections::Peer;
use super::holdings::End;
use super::limits::Limits;

/// The instance that is flooded, and the one whose vendor has to get through.
const FLOODED: usize = 1;
const VENDORS: usize = 2;

/// A client of its own for each number.
fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xc633_0000 + n as u32)
}

fn budgets(limits: &Limits) -> Arc<Budgets> {
    Arc::new(Budgets::new(limits, limits.body))
}

/// A request that takes nothing yet.
fn request(from: Ipv4Addr, instance: usize) -> Ticket {
    let end = End::new(Arc::new(Peer::new(std::net::SocketAddr::from((from, 1)))));
    Ticket::new(end, Client::direct(from.into()).group, instance)
}

/// A request whose head has come.
fn begun(budgets: &Budgets, from: Ipv4Addr, instance: usize) -> Ticket {
    let ticket = request(from, instance);
    ticket.claim(budgets, 1000).unwrap();
    ticket
}

async fn is_lost(ticket: &Ticket) -> bool {
    tokio::time::timeout(Duration::ZERO, ticket.lost()).await.is_ok()
}

/// A body of an announced length that comes in ten parts over a time.
async fn body(
    budgets: &Arc<Budgets>,
    ticket: &Ticket,
    length: usize,
    time: Duration,
) -> Result<Hold, Crowded> {
    let mut hold = Hold::new(budgets, ticket);
    hold.announce(length, 0).await?;
    for n in 1..=10 {
        tokio::time::sleep(time / 10).await;
        hold.came(length / 10 * n).await?;
    }
    hold.whole(length);
    Ok(hold)
}

/// Requests of one instance, each from a client of its own, that announce a body and send none: each begins again when
/// it lost its place.
fn trickle(
    budgets: &Arc<Budgets>,
    count: usize,
    length: usize,
    authenticated: bool,
) -> tokio::task::JoinSet<()> {
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..count {
        let budgets = budgets.clone();
        flood.spawn(async move {
            for again in 0.. {
                let ticket = request(address(n + 10_000 * (again % 5)), FLOODED);
                if authenticated {
                    ticket.authenticated();
                }
                let reading = async {
                    let mut hold = Hold::new(&budgets, &ticket);
                    hold.announce(length, 0).await?;
                    std::future::pending::<Result<(), Crowded>>().await
                };
                tokio::select! { _ = reading => {}, () = ticket.lost() => {} }
            }
        });
    }
    flood
}

#[tokio::test]
async fn flood_of_one_instance_leaves_another_its_requests() {
    let budgets = budgets(&Limits { in_flight_strangers: 3 << 20, ..Limits::default() });
    let vendor = address(0);
    let first = begun(&budgets, vendor, VENDORS);
    let mut flood: Vec<Ticket> = (1..3000).map(|n| begun(&budgets, address(n), FLOODED)).collect();
    assert!(!is_lost(&first).await, "the oldest of all is the vendor's");
    assert!(is_lost(&flood[0]).await && !is_lost(&flood[2998]).await);
    // Many of the vendor's at once, each of which takes the place of one of the flood.
    let more: Vec<Ticket> = (0..40).map(|_| begun(&budgets, vendor, VENDORS)).collect();
    flood.extend((3000..6000).map(|n| begun(&budgets, address(n), FLOODED)));
    for ticket in &more {
        assert!(!is_lost(ticket).await);
    }
    drop((first, flood, more));
    assert_eq!(budgets.used(), 0);
}

#[tokio::test]
async fn floods_of_two_instances_leave_a_third_its_requests() {
    let budgets = budgets(&Limits { in_flight_strangers: 3 << 20, ..Limits::default() });
    let first = begun(&budgets, address(0), 3);
    let flood: Vec<Ticket> = (1..3000).map(|n| begun(&budgets, address(n), 1 + n % 2)).collect();
    assert!(!is_lost(&first).await);
    drop(flood);
}

#[tokio::test]
async fn one_client_on_many_instances_loses_its_own_requests() {
    let budgets = budgets(&Limits { in_flight_strangers: 3 << 20, ..Limits::default() });
    let vendor = address(0);
    let first: Vec<Ticket> = (0..4).map(|_| begun(&budgets, vendor, 500)).collect();
    let flood: Vec<Ticket> = (0..3000).map(|n| begun(&budgets, address(1), n % 100)).collect();
    for ticket in &first {
        assert!(!is_lost(ticket).await);
    }
    drop(flood);
}

#[tokio::test]
async fn middling_bodies_of_a_flood_keep_no_other_instance_out() {
    let budgets = budgets(&Limits::default());
    let flood = trickle(&budgets, 300, 66 << 10, false);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for n in 0..3 {
        let (ticket, begin) = (request(address(0), VENDORS), Instant::now());
        ticket.claim(&budgets, 300).unwrap();
        // Slow enough to be judged by its pace, and slower than most of the flood's would be.
        let time = Duration::from_millis(if n == 0 { 11_000 } else { 1500 });
        let read = tokio::select! {
            read = body(&budgets, &ticket, 2 << 20, time) => read,
            () = ticket.lost() => Err(Crowded),
        };
        assert!(read.is_ok(), "{n}: refused after {:?}", begin.elapsed());
        let waited = begin.elapsed() - time;
        assert!(waited < Duration::from_secs(4), "{n}: waited {waited:?}");
    }
    drop(flood);
}

#[tokio::test]
async fn large_bodies_of_a_flood_keep_no_other_instance_out() {
    let budgets = budgets(&Limits::default());
    let flood = trickle(&budgets, 100, 3 << 20, false);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..3 {
        let (ticket, begin) = (request(address(0), VENDORS), Instant::now());
        ticket.claim(&budgets, 300).unwrap();
        body(&budgets, &ticket, 16 << 20, Duration::from_millis(500)).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    drop(flood);
}

/// With the key of one instance: bodies whose sender is proven by the head, and which do not come.
#[tokio::test]
async fn authenticated_bodies_that_do_not_come_keep_no_other_instance_out() {
    for length in [60 << 10, 16 << 20] {
        let budgets = budgets(&Limits::default());
        let flood = trickle(&budgets, 300, length, true);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for _ in 0..3 {
            let (ticket, begin) = (request(address(0), VENDORS), Instant::now());
            ticket.authenticated();
            body(&budgets, &ticket, length, Duration::from_millis(300)).await.unwrap();
            assert!(begin.elapsed() < Duration::from_secs(4), "{length}: {:?}", begin.elapsed());
        }
        drop(flood);
    }
}

/// What is worked on, or comes as it should, ends for no other.
#[tokio::test]
async fn authenticated_bodies_that_come_end_for_no_other_instance() {
    let budgets = budgets(&Limits::default());
    let tickets: Vec<Ticket> = (0..4).map(|n| request(address(n), FLOODED)).collect();
    tickets.iter().for_each(Ticket::authenticated);
    let whole = async {
        let mut held = Vec::new();
        for ticket in &tickets[..3] {
            held.push(body(&budgets, ticket, 16 << 20, Duration::ZERO).await.unwrap());
        }
        held.push(body(&budgets, &tickets[3], 16 << 20, Duration::from_secs(4)).await.unwrap());
        held
    };
    let vendor = request(address(9), VENDORS);
    vendor.authenticated();
    let other = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        body(&budgets, &vendor, 16 << 20, Duration::ZERO).await
    };
    let (held, other) =
        tokio::join!(async { tokio::time::timeout(Duration::from_secs(8), whole).await }, async {
            tokio::time::timeout(Duration::from_secs(6), other).await
        });
    assert!(other.is_err(), "there was room for it");
    for ticket in &tickets {
        assert!(!is_lost(ticket).await);
    }
    drop(held.unwrap());
    assert_eq!(budgets.used(), 0);
}
