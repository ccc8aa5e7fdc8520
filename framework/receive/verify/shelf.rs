//! Documents with keys that were fetched, and who may have the vendor asked for another.
//!
//! [`fetched`](super::fetched) holds one for each instance. Requests that are not authenticated name URLs, so that calls
//! are bounded for each URL, for each client (an IPv4 address, an IPv6 /64) and in all; half of the calls are kept for
//! clients that began none yet, so that few clients cannot use up what the vendor needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use url::Url;

use super::failure::Want;
use super::public_key::PublicKey;
use crate::receive::client::Group;

/// URLs whose keys are kept.
const MOST: usize = 32;
/// How long after a call the same URL is not called again, whatever came of it.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// The same after a call that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Calls in a minute, all URLs together.
const CALLS_A_MINUTE: u32 = 30;
/// Of these, calls that only a client which made none in that minute can begin.
const FIRST_CALLS: u32 = 15;
/// Calls in a minute that requests of one client begin.
const CALLS_OF_A_CLIENT: u32 = 5;

/// What became of a fetch; none: it is under way.
pub(super) type Outcome = Option<Result<(), String>>;

/// The documents of one instance.
pub(super) struct Shelf {
    pub(super) documents: HashMap<String, Document>,
    calls: CallCount,
}

/// The calls of a minute, by the client whose request began them. At most [`CALLS_A_MINUTE`] entries.
struct CallCount {
    minute: Timestamp,
    by_client: HashMap<Group, u32>,
}

/// What stands at a URL.
#[derive(Default)]
pub(super) struct Document {
    pub(super) keys: Option<Arc<[PublicKey]>>,
    /// The certificates of the document, the sender's own first.
    pub(super) chain: Arc<[Vec<u8>]>,
    /// When they came, by the receiver's clock.
    pub(super) at: Timestamp,
    /// The names for which the chain held, and when.
    pub(super) held: Option<(Vec<String>, Timestamp)>,
    /// When they were last asked for at the vendor, and whether that failed.
    pub(super) asked: Option<(Timestamp, bool)>,
    /// When they last proved a sender; those that never did make room first.
    pub(super) proved: Option<Timestamp>,
    /// The fetch under way.
    pub(super) fetch: Option<watch::Receiver<Outcome>>,
}

/// What a request that wants a key does.
pub(super) enum Turn {
    /// It looks again: a newer document is here.
    Look,
    /// It waits for a fetch that another request began.
    Wait(watch::Receiver<Outcome>),
    /// It begins one.
    Begin(watch::Sender<Outcome>, watch::Receiver<Outcome>),
}

impl Shelf {
    /// No documents, and a minute in which nothing was called.
    pub(super) fn new(minute: Timestamp) -> Self {
        Self { documents: HashMap::new(), calls: CallCount { minute, by_client: HashMap::new() } }
    }

    /// The document of a URL; the one that proved nobody, or not for the longest time, makes room.
    pub(super) fn document(&mut self, url: &Url, now: Timestamp) -> &mut Document {
        if !self.documents.contains_key(url.as_str()) && self.documents.len() >= MOST {
            // Those under way, those that proved a sender and those that hold a key stay longest.
            let worth =
                |known: &Document| (known.fetch.is_some(), known.proved, known.keys.is_some(), known.at);
            let oldest = self.documents.iter().min_by_key(|(_, known)| worth(known));
            if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
                self.documents.remove(&oldest);
            }
        }
        self.documents
            .entry(url.as_str().to_owned())
            .or_insert_with(|| Document { at: now, ..Document::default() })
    }

    /// What a request of a client does that wants a key. The error says why the vendor is not asked. A request that begins
    /// no call leaves nothing behind: it must not keep the vendor's own from beginning one.
    pub(super) fn turn(&mut self, want: &Want, client: Group, now: Timestamp) -> Result<Turn, String> {
        let mut proved = false;
        if let Some(document) = self.documents.get(want.url.as_str()) {
            let newer = document.keys.is_some() && want.newer_than.is_none_or(|known| document.at > known);
            if newer {
                return Ok(Turn::Look);
            }
            // A fetch whose task was ended leaves a channel that is closed.
            if let Some(under_way) = document.fetch.clone().filter(|fetch| fetch.has_changed().is_ok()) {
                return Ok(Turn::Wait(under_way));
            }
            if let Some((at, failed)) = document.asked {
                let pause = if failed { PAUSE_AFTER_FAILURE } else { PAUSE };
                if since(at, now) < pause {
                    return Err(format!("{} was asked for its key just now", shown(&want.url)));
                }
            }
            proved = document.proved.is_some();
        }
        // What proved a sender is asked for whatever others use up: it is one vendor's.
        if !proved && !self.calls.begin(client, now) {
            return Err("too many keys were fetched this minute".to_owned());
        }
        let (sender, receiver) = watch::channel(None);
        let document = self.document(&want.url, now);
        document.asked = Some((now, true));
        document.fetch = Some(receiver.clone());
        Ok(Turn::Begin(sender, receiver))
    }
}

impl CallCount {
    /// Counts a call that a request of a client begins, if it may.
    fn begin(&mut self, client: Group, now: Timestamp) -> bool {
        if since(self.minute, now) >= Duration::from_secs(60) {
            (self.minute, self.by_client) = (now, HashMap::new());
        }
        let all: u32 = self.by_client.values().sum();
        let own = self.by_client.get(&client).copied().unwrap_or_default();
        // A trusted proxy's own address has no limit of its own.
        let share = if client == Group::Proxy { CALLS_A_MINUTE } else { CALLS_OF_A_CLIENT };
        let most = if own == 0 { CALLS_A_MINUTE } else { CALLS_A_MINUTE - FIRST_CALLS };
        if own >= share || all >= most {
            return false;
        }
        self.by_client.insert(client, own + 1);
        true
    }
}

/// How far apart two times lie; a clock that was set back makes what is known old, not young for long.
pub(super) fn since(at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(at).unsigned_abs()
}

/// Where a URL leads, without what may be secret.
pub(super) fn shown(url: &Url) -> String {
    crate::error::escaped(&format!("{}{}", url.host_str().unwrap_or_default(), url.path()), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(name: &str) -> Want {
        let url = Url::parse(&format!("https://keys.example.com/{name}")).unwrap();
        Want { url, format: None, newer_than: None }
    }

    fn client(number: u32) -> Group {
        Group::from(std::net::IpAddr::from(number.to_be_bytes()))
    }

    fn begins(turn: Result<Turn, String>) -> bool {
        matches!(turn, Ok(Turn::Begin(..)))
    }

    #[test]
    fn proved_key_is_fetched_whatever_others_use_up() {
        let now = Timestamp::UNIX_EPOCH;
        let mut shelf = Shelf::new(now);
        shelf.document(&want("vendor").url, now).proved = Some(now);
        let made_up = |n: &u32| begins(shelf.turn(&want(&n.to_string()), client(n % 50), now));
        assert_eq!((0..1000).filter(made_up).count(), CALLS_A_MINUTE as usize);
        let Ok(Turn::Begin(_sender, _)) = shelf.turn(&want("vendor"), client(0), now) else { panic!() };
        // Not twice at once either.
        assert!(matches!(shelf.turn(&want("vendor"), client(0), now), Ok(Turn::Wait(_))));
    }

    #[test]
    fn one_client_uses_up_its_share_of_calls_alone() {
        let now = Timestamp::UNIX_EPOCH;
        let mut shelf = Shelf::new(now);
        // Five clients take what is not kept for first calls; each further one has its first.
        let made_up = |n: &u32| begins(shelf.turn(&want(&n.to_string()), client(n % 5), now));
        assert_eq!((0..100).filter(made_up).count(), (CALLS_A_MINUTE - FIRST_CALLS) as usize);
        let mut shelf = Shelf::new(now);
        let made_up = |n: &u32| begins(shelf.turn(&want(&n.to_string()), client(1), now));
        assert_eq!((0..100).filter(made_up).count(), CALLS_OF_A_CLIENT as usize);
        // The vendor's own URL, named by who may begin no call, is asked for by who may.
        assert!(!begins(shelf.turn(&want("vendor"), client(1), now)));
        assert!(begins(shelf.turn(&want("vendor"), client(2), now)));
        let later = now + jiff::SignedDuration::from_secs(60);
        assert!(begins(shelf.turn(&want("other"), client(1), later)));
    }

    #[test]
    fn made_up_urls_push_out_no_fetch_under_way() {
        let now = Timestamp::UNIX_EPOCH;
        let mut shelf = Shelf::new(now);
        let Ok(Turn::Begin(_sender, _)) = shelf.turn(&want("vendor"), client(1), now) else { panic!() };
        for n in 0..100 {
            let later = now + jiff::SignedDuration::from_secs(n * 60);
            let turn = shelf.turn(&want(&n.to_string()), client(2), later);
            drop(turn);
            shelf.document(&want(&n.to_string()).url, later).fetch = None;
        }
        assert!(matches!(shelf.turn(&want("vendor"), client(3), now), Ok(Turn::Wait(_))));
    }
}
