//! Keys that the vendor publishes at a URL: fetched by the call floor's transport, checked against the spec's
//! list, kept for a while.
//!
//! A stranger can make requests that name a key nobody has; so a URL is asked again only after a while, all
//! URLs together only so often, and requests that wait for the same key share one call. While a key cannot be
//! had, the answer is 503: never 401, and never open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use url::Url;

use super::failure::{Failure, Want};
use super::matter::Matter;
use super::public_key::PublicKey;
use super::published;
use super::rejection::Rejection;
use crate::call::{Request, Transport};
use crate::connector::model::{KeyFormat, KeyUrl};

/// URLs whose keys are kept.
const MOST: usize = 32;
/// How long after a call the same URL is not called again, whatever came of it.
const PAUSE: Duration = Duration::from_secs(30);
/// The same after a call that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Calls in a minute, all URLs together.
const CALLS_A_MINUTE: u32 = 30;
/// How long a request waits for a key.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys of one instance that are fetched.
pub(in crate::receive) struct Fetched {
    transport: Arc<dyn Transport>,
    shelf: Mutex<Shelf>,
}

struct Shelf {
    documents: HashMap<String, Document>,
    /// The minute that is counted, and the calls in it.
    minute: Timestamp,
    calls: u32,
}

#[derive(Clone)]
struct Document {
    keys: Option<Arc<[PublicKey]>>,
    /// When they came, by the receiver's clock.
    at: Timestamp,
    /// When they were last asked for at the vendor, and whether that failed.
    asked: Option<(Timestamp, bool)>,
    /// When they last proved a sender; those that never did make room first.
    proved: Option<Timestamp>,
    /// Held by whoever asks the vendor.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Keys of a URL.
pub(super) struct Set {
    /// The keys.
    pub keys: Arc<[PublicKey]>,
    want: Want,
    age: Duration,
}

impl Set {
    /// What it means that a key is not among them: nothing, where they were asked for just now.
    pub(super) fn unknown(self) -> Failure {
        match self.age < PAUSE {
            true => Failure::Rejected(Rejection::UnknownKey),
            false => Failure::Wants(self.want),
        }
    }
}

impl Fetched {
    /// Nothing is fetched yet.
    pub(in crate::receive) fn new(transport: Arc<dyn Transport>) -> Self {
        let shelf = Shelf { documents: HashMap::new(), minute: Timestamp::UNIX_EPOCH, calls: 0 };
        Self { transport, shelf: Mutex::new(shelf) }
    }

    /// The keys at the URL that a check names, as far as they are here. Those that are too old are taken for
    /// as long again while the vendor cannot be asked.
    pub(super) fn keys(
        &self,
        matter: &Matter<'_>,
        at: &KeyUrl,
        format: Option<KeyFormat>,
    ) -> Result<Set, Failure> {
        let text = at.url.render(&matter.scope(&[])).map_err(|error| matter.lacking(&[&at.url], &error))?;
        let url = Url::parse(&text).map_err(|_| Rejection::KeyPlace)?;
        // As it is written, and as it will be called: a backslash, say, is a slash to whoever reads URLs.
        let led = |only: &regex::Regex| only.is_match(&text) && only.is_match(url.as_str());
        if at.only.as_ref().is_some_and(|only| !led(only)) {
            return Err(Rejection::KeyPlace.into());
        }
        let mut shelf = self.shelf();
        let Some(document) = shelf.documents.get_mut(url.as_str()) else {
            return Err(Failure::Wants(Want { url, format, newer_than: None }));
        };
        let Some(keys) = document.keys.clone() else {
            return Err(Failure::Wants(Want { url, format, newer_than: None }));
        };
        let want = Want { url, format, newer_than: Some(document.at) };
        let now = matter.now;
        let age = since(document.at, now);
        let failing = document.asked.is_some_and(|(at, failed)| failed && since(at, now) < PAUSE);
        if age > at.cache && !(failing && age < at.cache * 2) {
            return Err(Failure::Wants(want));
        }
        Ok(Set { keys, want, age })
    }

    /// Notes that a set proved a sender: what strangers make up does not push it out.
    pub(super) fn proved(&self, set: &Set, now: Timestamp) {
        if let Some(document) = self.shelf().documents.get_mut(set.want.url.as_str()) {
            document.proved = Some(now);
        }
    }

    /// Fetches a key. The error says why it is not to be had now.
    pub(in crate::receive) async fn fetch(&self, want: &Want, now: Timestamp) -> Result<(), String> {
        let turn = self.shelf().document(&want.url, now).turn.clone();
        let _turn = tokio::time::timeout(PATIENCE, turn.lock())
            .await
            .map_err(|_| "it is being fetched".to_owned())?;
        if !self.shelf().may_ask(want, now)? {
            return Ok(());
        }
        let found = tokio::time::timeout(PATIENCE, self.ask(want)).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let mut shelf = self.shelf();
        let document = shelf.document(&want.url, now);
        match found {
            Ok(keys) => {
                document.keys = Some(keys.into());
                document.at = now;
                document.asked = Some((document.at, false));
                Ok(())
            }
            Err(why) => {
                document.asked = Some((now, true));
                let old = document.keys.is_some();
                tracing::warn!(url = %shown(&want.url), why, old, "the vendor's key cannot be fetched");
                // Old keys are looked at once more: they may do.
                if old {
                    Ok(())
                } else {
                    Err(format!("the key at {} cannot be had: {why}", shown(&want.url)))
                }
            }
        }
    }

    async fn ask(&self, want: &Want) -> Result<Vec<PublicKey>, String> {
        metrics::counter!("forebay_key_fetches_total").increment(1);
        let request = Request {
            method: Method::GET,
            url: want.url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = self.transport.send(request).await.map_err(|error| error.sentence)?;
        if answer.status != http::StatusCode::OK {
            return Err(format!("the answer is {}", answer.status));
        }
        published::read(&answer.body, want.format).map_err(|why| format!("what is there is {why}"))
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// The document of a URL; the one that proved nobody, or not for the longest time, makes room.
    fn document(&mut self, url: &Url, now: Timestamp) -> &mut Document {
        if !self.documents.contains_key(url.as_str()) && self.documents.len() >= MOST {
            let oldest = self.documents.iter().min_by_key(|(_, known)| (known.proved, known.at));
            if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
                self.documents.remove(&oldest);
            }
        }
        self.documents.entry(url.as_str().to_owned()).or_insert_with(|| Document {
            keys: None,
            at: now,
            asked: None,
            proved: None,
            turn: Arc::default(),
        })
    }

    /// Whether the vendor is to be asked; `false`: somebody else just did. The error says why it is not.
    fn may_ask(&mut self, want: &Want, now: Timestamp) -> Result<bool, String> {
        let document = self.document(&want.url, now);
        let newer = document.keys.is_some() && want.newer_than.is_none_or(|known| document.at > known);
        if newer {
            return Ok(false);
        }
        if let Some((at, failed)) = document.asked {
            let pause = if failed { PAUSE_AFTER_FAILURE } else { PAUSE };
            if since(at, now) < pause {
                return Err(format!("{} was asked for its key just now", shown(&want.url)));
            }
        }
        // Said before it is done: a request that is given up in the middle counts too.
        document.asked = Some((now, true));
        // Strangers can use up the calls of a minute. What proved a sender is asked for all the same: it is one vendor's.
        if document.proved.is_some() {
            return Ok(true);
        }
        if since(self.minute, now) >= Duration::from_secs(60) {
            (self.minute, self.calls) = (now, 0);
        }
        self.calls += 1;
        if self.calls > CALLS_A_MINUTE {
            Err("too many keys were fetched this minute".to_owned())
        } else {
            Ok(true)
        }
    }
}

/// How far apart two times lie; a clock that was set back makes what is known old, not young for long.
fn since(at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(at).unsigned_abs()
}

/// Where a URL leads, without what may be secret.
fn shown(url: &Url) -> String {
    crate::error::escaped(&format!("{}{}", url.host_str().unwrap_or_default(), url.path()), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_strangers_make_up_keep_no_vendors_key_from_being_fetched_again() {
        let now = Timestamp::UNIX_EPOCH;
        let want = |name: &str| Want {
            url: Url::parse(&format!("https://keys.example.com/{name}")).unwrap(),
            format: None,
            newer_than: None,
        };
        let mut shelf = Shelf { documents: HashMap::new(), minute: now, calls: 0 };
        shelf.document(&want("vendor").url, now).proved = Some(now);
        let made_up = (0..100).filter(|n| shelf.may_ask(&want(&n.to_string()), now).is_ok()).count();
        assert_eq!(made_up, CALLS_A_MINUTE as usize);
        assert_eq!(shelf.may_ask(&want("vendor"), now), Ok(true));
        // Not twice at once either.
        assert!(shelf.may_ask(&want("vendor"), now).is_err());
    }
}
