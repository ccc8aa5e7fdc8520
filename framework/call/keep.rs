//! What an auth saved, kept where a restart finds it: refresh tokens that change with every use.
//!
//! `signer` takes a lease before it uses such a token, so that two processes never use one twice, and what the
//! answer brings is kept before anything is done with it. Who keeps it is given from above.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::token::Token;
use crate::connector::clock::Clock;
use crate::error::{Error, Kind, Result};

/// How long a renewal may take: then whoever began it is taken for dead.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// How often it is looked whether somebody else's renewal has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How often a change is tried against others' writes.
const TRIES: usize = 32;
/// How often a write that fails is tried again at once.
const WRITES: usize = 5;

/// What is kept of one auth.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What it came from, as a fingerprint: other secrets, other tokens.
    pub from: String,
    /// What was saved: `auth.NAME`.
    #[serde(default)]
    pub saved: Map<String, Json>,
    /// The token that came with it.
    #[serde(default)]
    pub token: Option<KeptToken>,
    /// The renewal under way.
    #[serde(default)]
    pub renewing: Option<Renewing>,
}

/// A token that other processes may use too.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptToken {
    /// Its text.
    pub text: String,
    /// From when on it is not used any more, in seconds since 1970.
    pub renew_at_seconds: i64,
}

/// A renewal under way.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Renewing {
    /// Who does it.
    pub by: String,
    /// Until when, in seconds since 1970.
    pub until_seconds: i64,
}

/// Where what auths save is kept: the state of the instance.
#[async_trait]
pub trait Keep: Send + Sync {
    /// What is kept of an auth.
    async fn read(&self, auth: &str) -> Result<Option<Kept>>;

    /// Replaces it if it still is what was read; it is safe on disk then. `false`: somebody else changed it.
    async fn replace(&self, auth: &str, was: Option<&Kept>, kept: &Kept) -> Result<bool>;
}

/// What may be done.
pub enum Turn {
    /// Somebody else has a token that is good.
    Use(Token),
    /// It is ours to renew, with what is saved.
    Renew(Lease),
}

/// The right to renew, until it is given back.
pub struct Lease {
    /// What is saved: `auth.NAME`.
    pub saved: Map<String, Json>,
    kept: Kept,
}

/// A place where something is kept of one auth.
pub struct Keeper<'a> {
    /// Where.
    pub keep: &'a dyn Keep,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The auth.
    pub auth: &'a str,
    /// What it is made of, as a fingerprint.
    pub from: &'a str,
    /// Who we are: another process is somebody else.
    pub me: &'a str,
}

impl Keeper<'_> {
    /// Waits for its turn: until somebody else's renewal ends, or is taken for dead.
    pub async fn turn(&self, refused: Option<&Token>) -> Result<Turn> {
        let mut lost = 0;
        loop {
            let was = self.keep.read(self.auth).await?;
            let now = self.clock.now();
            let current = was.clone().filter(|kept| kept.from == self.from).unwrap_or_default();
            if let Some(token) = current.good_token(now, refused) {
                return Ok(Turn::Use(token));
            }
            let busy = was.as_ref().and_then(|kept| kept.renewing.as_ref());
            if busy.is_some_and(|by| by.by != self.me && now.as_second() < by.until_seconds) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let until_seconds = now.saturating_add(LEASE).unwrap_or(now).as_second();
            let renewing = Some(Renewing { by: self.me.to_owned(), until_seconds });
            let kept = Kept { from: self.from.to_owned(), renewing, token: None, saved: current.saved };
            if self.keep.replace(self.auth, was.as_ref(), &kept).await? {
                return Ok(Turn::Renew(Lease { saved: kept.saved.clone(), kept }));
            }
            lost += 1;
            if lost == TRIES {
                return Err(too_many_writes());
            }
        }
    }

    /// Keeps what a renewal brought, and with that gives the turn back.
    pub async fn renewed(&self, token: &Token) -> Result<()> {
        let kept = Kept {
            from: self.from.to_owned(),
            saved: token.saved.clone(),
            token: Some(KeptToken {
                text: token.text.to_string(),
                renew_at_seconds: token.renew_at.as_second(),
            }),
            renewing: None,
        };
        let mut failed = 0;
        for _ in 0..TRIES {
            match self.write(&kept).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if failed == WRITES => return Err(error),
                Err(_) => {
                    failed += 1;
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        Err(too_many_writes())
    }

    /// Gives the turn back after a renewal that brought nothing.
    pub async fn failed(&self, lease: Lease) -> Result<()> {
        let kept = Kept { renewing: None, ..lease.kept.clone() };
        self.keep.replace(self.auth, Some(&lease.kept), &kept).await.map(|_| ())
    }

    /// Whatever stands there: the newest is the one that the vendor knows.
    async fn write(&self, kept: &Kept) -> Result<bool> {
        let was = self.keep.read(self.auth).await?;
        self.keep.replace(self.auth, was.as_ref(), kept).await
    }
}

fn too_many_writes() -> Error {
    Error::new(Kind::Passing, "what an auth saved changes faster than it can be kept")
}

impl Kept {
    fn good_token(&self, now: Timestamp, refused: Option<&Token>) -> Option<Token> {
        let kept = self.token.as_ref()?;
        let good = now.as_second() < kept.renew_at_seconds
            && refused.is_none_or(|refused| *refused.text != *kept.text);
        let renew_at = Timestamp::from_second(kept.renew_at_seconds).ok().filter(|_| good)?;
        Some(Token {
            text: kept.text.as_str().into(),
            scopes: super::token::jwt_scopes(&kept.text),
            saved: self.saved.clone(),
            renew_at,
        })
    }
}
