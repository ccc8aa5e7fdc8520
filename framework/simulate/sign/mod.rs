//! What the receiver verifies, made: the stand-in proves who it is as the spec says the vendor does.
//!
//! Called by the sender for each attempt, since a signature may hold the time. It uses the newest secrets, and
//! key pairs of its own where the spec has public keys. What a spec requires besides is made true where it is a
//! comparison with a name of the request.

mod keys;
mod pairs;
pub mod shape;
mod token;
mod unsigned;
mod write;

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

pub use self::keys::{hmac_algorithm, made_for, pem, published, trust};
pub use self::unsigned::{Unsigned, set_header};
use self::write::{composed, put};
use super::credentials::basic;
use super::invert::write_time;
use crate::connector::instance::Instance;
use crate::connector::model::{
    Algorithm, AlgorithmChoice, Demand, Grammar, Hash, Proof, Signature, Signed, SignedTime, TimePlace,
    Verify,
};
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::{RequestFacts, Scope};
use crate::error::{Error, Kind, Result};

/// One thing that is signed: the push, or an item of it.
struct Matter<'a> {
    instance: &'a Instance,
    state: &'a Json,
    demand: &'a Demand,
    /// Where the item stands in the body.
    item: Option<Pointer>,
    now: Timestamp,
}

/// Signs a push; `state` is what the instance saved of the vendor's answers. `Err` where the spec verifies something that a stand-in cannot make.
pub fn sign(instance: &Instance, state: &Json, push: &mut Unsigned, now: Timestamp) -> Result<()> {
    for demand in played(&instance.connector.receiver.verify, &instance.scope()) {
        let items = match &demand.each {
            None => vec![None],
            Some(each) => write::items(&push.body, each).into_iter().map(Some).collect(),
        };
        for item in items {
            Matter { instance, state, demand, item, now }.sign(push)?;
        }
    }
    Ok(())
}

/// Whether signing takes what the instance saved.
pub fn needs_state(instance: &Instance) -> bool {
    let checks = instance.connector.receiver.verify.checks();
    let texts = checks.iter().flat_map(|demand| {
        let messages = demand.proof.signed().into_iter().flat_map(|signed| &signed.messages);
        demand.proof.key_texts().into_iter().chain(messages)
    });
    let mut names = texts.flat_map(|text| text.names());
    // A var may lead there too.
    names.any(|name| name.starts_with("state.") || name.starts_with("vars."))
}

/// The checks that a push passes: of those of which one is enough, the first that the settings leave. Hashes of the body come first,
/// since others may sign them.
fn played<'v>(verify: &'v Verify, scope: &Scope) -> Vec<&'v Demand> {
    let mut checks = match verify {
        Verify::One(check) => vec![&**check],
        Verify::AllOf(all) => all.iter().flat_map(|one| played(one, scope)).collect(),
        Verify::AnyOf(any) => {
            let left = |one: &&Verify| {
                let mut required = one.checks().into_iter().flat_map(|check| &check.require);
                !required.any(|condition| condition.is_ruled_out(scope))
            };
            any.iter().find(left).or(any.first()).map(|one| played(one, scope)).unwrap_or_default()
        }
    };
    checks.sort_by_key(|check| !matches!(check.proof, Proof::Digest { .. }));
    checks
}

impl Matter<'_> {
    fn sign(&self, push: &mut Unsigned) -> Result<()> {
        self.meet(push)?;
        match &self.demand.proof {
            Proof::Token { place, scheme, equals } => {
                let Some(text) = equals.first() else { return Ok(()) };
                let token = text.render(&self.scope(push, &[]))?;
                let scheme = scheme.as_deref().map(|scheme| format!("{scheme} ")).unwrap_or_default();
                self.put(push, place, &format!("{scheme}{token}"))
            }
            Proof::Basic { username, password } => {
                let scope = self.scope(push, &[]);
                let username = username.as_ref().map(|text| text.render(&scope)).transpose()?;
                let pair =
                    format!("{}:{}", username.as_deref().unwrap_or("stand-in"), password.render(&scope)?);
                set_header(&mut push.headers, "authorization", &basic(&pair))
            }
            Proof::Hmac { hash, keys, signed } => self.signed(push, signed, |scope, message| {
                let key = keys::shared(keys, scope)?;
                Ok(hmac::sign(&hmac::Key::new(keys::hmac_algorithm(*hash), &key), message).as_ref().to_vec())
            }),
            Proof::Digest { hash, signed } => self.signed(push, signed, |_, message| {
                Ok(digest::digest(digest_algorithm(*hash), message).as_ref().to_vec())
            }),
            Proof::PublicKey { algorithm, signed, .. } => {
                let algorithm = self.algorithm(push, algorithm)?;
                self.signed(push, signed, |_, message| pairs::sign(algorithm, message))
            }
            Proof::Jwt(jwt) => {
                let defined = self.demand.require.iter().flat_map(|condition| condition.definitions());
                let token = token::made(jwt, defined, &self.scope(push, &[]), self.now)?;
                let scheme = jwt.scheme.as_deref().map(|scheme| format!("{scheme} ")).unwrap_or_default();
                self.put(push, &jwt.place, &format!("{scheme}{token}"))
            }
        }
    }

    /// How a push is signed: as it says itself, or else as it is made to say.
    fn algorithm(&self, push: &mut Unsigned, choice: &AlgorithmChoice) -> Result<Algorithm> {
        let (value, map) = match choice {
            AlgorithmChoice::Fixed(algorithm) => return Ok(*algorithm),
            AlgorithmChoice::By { value, map } => (value, map),
        };
        let said = value.render(&self.scope(push, &[])).ok().and_then(|name| map.get(&name).copied());
        if let Some(algorithm) = said.filter(|algorithm| pairs::can_sign(*algorithm)) {
            return Ok(algorithm);
        }
        let able = map.iter().find(|(_, algorithm)| pairs::can_sign(**algorithm));
        let place = value.lone_name().as_deref().and_then(place_of);
        let (Some((name, algorithm)), Some(place)) = (able, place) else {
            return Err(Error::new(
                Kind::Finding,
                "the stand-in cannot sign in the way that the sample says",
            ));
        };
        self.put(push, &place, name)?;
        Ok(*algorithm)
    }

    /// Writes the time, builds the message, signs it and writes the signature.
    fn signed(
        &self,
        push: &mut Unsigned,
        signed: &Signed,
        tag: impl Fn(&Scope, &[u8]) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let Some(message) = signed.messages.first() else { return Ok(()) };
        let mut pairs = Map::new();
        let mut names = Vec::new();
        if let Some(SignedTime { place, format, .. }) = &signed.timestamp {
            let time = write_time(*format, self.now, None);
            let text = time.as_str().map_or_else(|| time.to_string(), str::to_owned);
            match place {
                TimePlace::Pair(name) => {
                    pairs.insert(name.clone(), Json::from(text.as_str()));
                }
                TimePlace::At(places) => {
                    if let Some(place) = places.first() {
                        self.put(push, place, &text)?;
                    }
                }
            }
            names.push(("timestamp", Json::from(text)));
        }
        self.fill(push, &message.names(), &signed.signature, &mut pairs)?;
        names.push(("signature", Json::Object(pairs.clone())));
        let scope = self.scope(push, &names);
        let tag = tag(&scope, &message.render_bytes(&scope)?)?;
        let text = composed(&signed.signature, &pairs, &tag);
        match signed.signature.places.first() {
            Some(place) => self.put(push, place, &text),
            None => Ok(()),
        }
    }

    /// Headers and pairs that the message names and nobody has written.
    fn fill(
        &self,
        push: &mut Unsigned,
        names: &[String],
        signature: &Signature,
        pairs: &mut Map<String, Json>,
    ) -> Result<()> {
        for name in names {
            if let Some(header) = name.strip_prefix("request.headers.")
                && !push.headers.contains_key(header)
            {
                set_header(&mut push.headers, header, "stand-in")?;
            }
            if let (Some(pair), Grammar::Pairs { .. }) = (name.strip_prefix("signature."), &signature.grammar)
            {
                pairs.entry(pair).or_insert_with(|| Json::from("stand-in"));
            }
        }
        Ok(())
    }

    /// Makes true what the spec requires besides, the body first and what may be worked out of it after.
    fn meet(&self, push: &mut Unsigned) -> Result<()> {
        let mut equalities = Vec::new();
        for condition in &self.demand.require {
            equalities.extend(condition.definitions());
        }
        let order = |name: &str| {
            ["request.json.", "item.", "request.query.", "request.headers."]
                .iter()
                .position(|root| name.starts_with(root))
        };
        equalities.sort_by_key(|(name, _)| order(name));
        for (name, text) in equalities {
            let Some(place) = place_of(&name) else { continue };
            let value = text.render(&self.scope(push, &[]))?;
            self.put(push, &place, &value)?;
        }
        Ok(())
    }

    fn put(&self, push: &mut Unsigned, place: &Pick, text: &str) -> Result<()> {
        put(push, self.item.as_ref(), place, text)
    }

    /// The names that the receiver's templates will see.
    fn scope(&self, push: &Unsigned, names: &[(&'static str, Json)]) -> Scope {
        let mut scope =
            self.instance.scope().with("state", self.state.clone()).with_request(Arc::new(facts(push)));
        if let Some(item) = &self.item {
            let body: Json = serde_json::from_slice(&push.body).unwrap_or(Json::Null);
            scope = scope.with("item", item.resolve(&body).cloned().unwrap_or(Json::Null));
        }
        names.iter().fold(scope, |scope, (name, value)| scope.with(name, value.clone()))
    }
}

/// The place that a name of the request stands for.
fn place_of(name: &str) -> Option<Pick> {
    let path = |path: &str| Pointer(path.split('.').map(str::to_owned).collect());
    if let Some(name) = name.strip_prefix("request.query.") {
        Some(Pick::Query(name.to_owned()))
    } else if let Some(name) = name.strip_prefix("request.headers.") {
        Some(Pick::Header(name.to_ascii_lowercase()))
    } else if let Some(name) = name.strip_prefix("request.json.") {
        Some(Pick::Body(path(name)))
    } else {
        name.strip_prefix("item.").map(|name| Pick::Item(path(name)))
    }
}

fn digest_algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}

/// What the receiver's templates will see of the request.
pub fn facts(push: &Unsigned) -> RequestFacts {
    RequestFacts {
        method: push.method.clone(),
        url: push.url.to_string(),
        path: push.url.path().to_owned(),
        query: push.url.query().unwrap_or_default().to_owned(),
        headers: push.headers.clone(),
        body: Bytes::copy_from_slice(&push.body),
        parsed: usize::MAX,
    }
}
