//! Who sent a request: the checks of the spec, on the raw bytes, compared in constant time.
//!
//! `accept` asks [`by_head`] before the body is read and [`Prover::prove`] after. A kind of check is one file
//! of this folder; a check returns its reason, never a bool. The caller learns nothing of why; the log and
//! the metric do. Nothing here waits: a key that has to be fetched is a [`Failure::Wants`], which `accept`
//! fetches and asks again.

mod account;
mod digest;
mod encoding;
mod failure;
mod fetched;
mod head;
mod hmac;
mod jwk;
mod jwt;
mod keys;
mod matter;
mod public_key;
mod published;
mod rejection;
mod shelf;
mod signed;
mod subject;
mod token;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

pub(super) use failure::Failure;
pub(super) use fetched::Fetched;
pub(super) use head::{Told, by_head};
pub(super) use keys::Keys;
pub use rejection::Rejection;

use self::keys::{Expected, Material};
use self::matter::Matter;
use self::subject::Subject;
use super::request::Head;
use crate::connector::model::{Demand, KeyFormat, KeySource, Proof, Verify};
use crate::connector::pick::Pointer;
use crate::connector::scan;
use crate::connector::template::{RequestFacts, Scope};

/// A request whose sender is proven. Only [`by_head`] and [`Prover::prove`] make one.
#[derive(Debug)]
pub struct Verified(());

/// What it takes to tell who sent a request whose body is there.
pub(super) struct Prover<'a> {
    /// What requests are verified with.
    pub keys: &'a Keys,
    /// Keys that are fetched.
    pub fetched: &'a Fetched,
    /// The scopes that keys are rendered in: the newest secrets first, then those before.
    pub scopes: &'a [Scope],
    /// The request.
    pub facts: Arc<RequestFacts>,
    /// Its head.
    pub head: &'a Head,
    /// Its raw body.
    pub body: &'a Bytes,
    /// The time.
    pub now: Timestamp,
}

impl Prover<'_> {
    /// Tells who sent it. `Wants`: fetch that key, and ask again.
    pub(super) fn prove(&self, verify: &Verify) -> Result<Verified, Failure> {
        let scopes = Scope::all_with_request(self.scopes, self.facts.clone());
        self.verification(verify, &scopes).map(|()| Verified(()))
    }

    /// A rejection ends `all_of`, and a success `any_of`; failing that, what is not known yet is said before
    /// what was wrong, since it may be ours.
    fn verification(&self, verify: &Verify, scopes: &[Scope]) -> Result<(), Failure> {
        let members = match verify {
            Verify::One(check) => return self.check(check, scopes),
            Verify::AllOf(members) | Verify::AnyOf(members) => members,
        };
        let all = matches!(verify, Verify::AllOf(_));
        let mut failed: Option<Failure> = None;
        // What the settings leave out is none of several.
        let left_out = |member: &&Verify| matches!(member, Verify::One(check) if self.keys.excludes(check));
        for member in members.iter().filter(|member| all || !left_out(member)) {
            match self.verification(member, scopes) {
                Ok(()) if all => {}
                Ok(()) => return Ok(()),
                Err(Failure::Rejected(why)) if all => return Err(Failure::Rejected(why)),
                Err(Failure::Rejected(_)) if failed.is_some() => {}
                // Another key may be had, and do.
                Err(Failure::Wants(want)) => failed = Some(Failure::Wants(want)),
                Err(failure) => failed = failed.filter(|known| !is_rejection(known)).or(Some(failure)),
            }
        }
        match failed {
            None if all => Ok(()),
            None => Err(Failure::Rejected(Rejection::Required)),
            Some(failure) => Err(failure),
        }
    }

    fn check(&self, check: &Demand, scopes: &[Scope]) -> Result<(), Failure> {
        let whole = Subject { head: self.head, body: self.body, item: None };
        let Some(each) = &check.each else {
            return self.matter(&Matter { check, subject: whole, scopes, now: self.now });
        };
        let mut seen = 0;
        let items = list(self.body, each).ok_or(Rejection::NoItems)?;
        for item in scan::elements(items) {
            let item = item.map_err(|_| Rejection::NoItems)?.text;
            let scopes = with_item(check, scopes, &self.body.slice_ref(item.as_bytes()))?;
            let subject = Subject { item: Some(item), ..whole };
            self.matter(&Matter { check, subject, scopes: &scopes, now: self.now })?;
            seen += 1;
        }
        if seen == 0 { Err(Rejection::NoItems.into()) } else { Ok(()) }
    }

    fn matter(&self, matter: &Matter<'_>) -> Result<(), Failure> {
        let own;
        let expected = match self.keys.of(matter.check) {
            Material::Known(expected) => expected,
            Material::Missing(why) => return Err(Failure::NotReady(why.clone())),
            Material::Excluded => return Err(Rejection::Required.into()),
            Material::PerRequest => {
                own = Expected::new(&matter.check.proof, matter.scopes)
                    .map_err(|error| matter.lacking(&matter.check.proof.key_texts(), &error))?;
                &own
            }
        };
        let names = match &matter.check.proof {
            Proof::Token { .. } | Proof::Basic { .. } => {
                token::check(&matter.check.proof, expected, &matter.subject)?;
                Vec::new()
            }
            Proof::Hmac { signed, .. } => hmac::check(matter, signed, expected)?,
            Proof::Digest { hash, signed } => digest::check(matter, *hash, signed)?,
            Proof::PublicKey { algorithm, keys, format, signed } => {
                // What can be told without a key is told before one is fetched.
                let given = public_key::Given::read(matter, algorithm, signed)?;
                self.with_keys(matter, (keys, *format), expected, None, |expected| match expected {
                    Expected::Public(keys) => given.check(keys),
                    Expected::Texts(_) | Expected::Hashes(_) | Expected::Nothing => {
                        Err(Failure::NotReady("there is no public key".to_owned()))
                    }
                })?
            }
            Proof::Jwt(jwt) => {
                let token = jwt::Token::read(jwt, &matter.subject)?;
                let source = (&jwt.keys, jwt.format);
                let check = |expected: &Expected| token.check(matter, jwt, expected);
                vec![("claims", self.with_keys(matter, source, expected, Some(&token), check)?)]
            }
        };
        matter.required(names)
    }

    /// Checks with the keys of the spec, or with those at a URL. A token may name a key that they lack.
    fn with_keys<T>(
        &self,
        matter: &Matter<'_>,
        (source, format): (&KeySource, Option<KeyFormat>),
        expected: &Expected,
        token: Option<&jwt::Token>,
        check: impl FnOnce(&Expected) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let url = match source {
            KeySource::Named(_) => return check(expected),
            KeySource::Fetched(url) => url,
        };
        let set = self.fetched.keys(matter, url, format).map_err(|failure| wanted(matter, failure))?;
        if token.is_some_and(|token| !token.is_known_to(&set.keys)) {
            return Err(wanted(matter, set.unknown()));
        }
        let passed = check(&Expected::Public(set.keys.clone()))?;
        self.fetched.proved(&set, matter.now);
        Ok(passed)
    }
}

/// A key is fetched only for a request that meets whatever is required besides, as far as that takes no key.
fn wanted(matter: &Matter<'_>, failure: Failure) -> Failure {
    match failure {
        Failure::Wants(_) => matter.required_without_key().err().unwrap_or(failure),
        Failure::Rejected(_) | Failure::NotReady(_) | Failure::TooMuch(_) => failure,
    }
}

fn is_rejection(failure: &Failure) -> bool {
    match failure {
        Failure::Rejected(_) => true,
        Failure::NotReady(_) | Failure::Wants(_) | Failure::TooMuch(_) => false,
    }
}

/// The text of the list at a pointer.
fn list<'a>(body: &'a [u8], pointer: &Pointer) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let found = scan::find(text, pointer).ok().flatten()?.text;
    found.starts_with('[').then_some(found)
}

/// The scopes with `item`, where a text of the check may name it.
fn with_item(check: &Demand, scopes: &[Scope], item: &Bytes) -> Result<Vec<Scope>, Failure> {
    if matches!(check.proof, Proof::Token { .. }) && check.require.is_empty() {
        return Ok(scopes.to_vec());
    }
    let scopes: Option<Vec<Scope>> = scopes.iter().map(|scope| scope.with_document("item", item)).collect();
    scopes.ok_or_else(|| Rejection::NoItems.into())
}
