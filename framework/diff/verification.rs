//! How a request proves who sent it. Weaker proofs let in what was refused; other and stronger ones refuse what a
//! vendor sends that was set up for the old one.

use super::finding::Findings;
use super::meant;
use crate::connector::model::{
    AlgorithmChoice, Connector, Demand, Hash, Jwt, KeySource, Proof, Signature, Signed, SignedTime, Verify,
};
use crate::connector::pick::Pick;
use crate::connector::template::{Text, Vars};
use crate::docs::markdown::{code, joined};
use crate::docs::words;

const ABOUT: &str = "receiver.verify";
const REFUSED: &str = "requests of a stream that is set up for the old way are refused (401)";
const WEAKER: &str = "weaker: what was refused before may be taken";

/// Compares the proofs.
pub fn compare(old: &Connector, new: &Connector, found: &mut Findings) {
    verify((&old.receiver.verify, &old.vars), (&new.receiver.verify, &new.vars), found);
}

fn verify((a, old): (&Verify, &Vars), (b, new): (&Verify, &Vars), found: &mut Findings) {
    let (before, after) = (form(a, old), form(b, new));
    if before == after {
        return;
    }
    match (a, b) {
        (Verify::One(a), Verify::One(b)) => demand((a, old), (b, new), found),
        (Verify::AllOf(a), Verify::AllOf(b)) | (Verify::AnyOf(a), Verify::AnyOf(b)) if a.len() == b.len() => {
            for (a, b) in a.iter().zip(b) {
                verify((a, old), (b, new), found);
            }
        }
        (_, _) => {
            let ways = |all: &Verify, vars| -> Vec<String> {
                match all {
                    Verify::One(_) | Verify::AllOf(_) => vec![form(all, vars)],
                    Verify::AnyOf(ways) => ways.iter().map(|way| form(way, vars)).collect(),
                }
            };
            let (was, is) = (ways(a, old), ways(b, new));
            if was.iter().all(|way| is.contains(way)) {
                found.look(ABOUT, "another way to prove who sent it is enough too", WEAKER);
            } else if is.iter().all(|way| was.contains(way)) {
                found.breaks(ABOUT, "one of the ways to prove who sent it is not enough any more", REFUSED);
            } else if demands(a, old).iter().all(|demand| demands(b, new).contains(demand)) {
                found.breaks(ABOUT, "more is demanded of a request", format!("stronger: {REFUSED}"));
            } else if demands(b, new).iter().all(|demand| demands(a, old).contains(demand)) {
                found.look(ABOUT, "less is demanded of a request", WEAKER);
            } else {
                found.breaks(ABOUT, "a request proves otherwise who sent it", REFUSED);
            }
        }
    }
}

/// A proof as it is told from others; its number says nothing.
fn form(verify: &Verify, vars: &Vars) -> String {
    match verify {
        Verify::One(demand) => one(demand, vars),
        Verify::AllOf(all) => {
            format!("all of {:?}", all.iter().map(|one| form(one, vars)).collect::<Vec<_>>())
        }
        Verify::AnyOf(all) => {
            format!("any of {:?}", all.iter().map(|one| form(one, vars)).collect::<Vec<_>>())
        }
    }
}

fn one(demand: &Demand, vars: &Vars) -> String {
    meant::part(&(&demand.proof, &demand.each, &demand.require), vars)
}

/// What has to hold all at once.
fn demands(verify: &Verify, vars: &Vars) -> Vec<String> {
    match verify {
        Verify::One(_) | Verify::AnyOf(_) => vec![form(verify, vars)],
        Verify::AllOf(all) => all.iter().map(|one| form(one, vars)).collect(),
    }
}

fn demand((a, old): (&Demand, &Vars), (b, new): (&Demand, &Vars), found: &mut Findings) {
    proof((&a.proof, old), (&b.proof, new), found);
    if a.each != b.each {
        found.breaks(ABOUT, "it is not the same part of a request that must prove itself", REFUSED);
    }
    let conditions = |demand: &Demand, vars| -> Vec<(String, String)> {
        let all = demand.require.iter();
        all.map(|condition| (meant::part(condition, vars), code(condition.source()))).collect()
    };
    let (before, after) = (conditions(a, old), conditions(b, new));
    for (form, shown) in &after {
        if before.iter().all(|(other, _)| other != form) {
            found.breaks(
                ABOUT,
                format!("{shown} must hold too"),
                "stronger: requests of which it does not hold are refused (401)",
            );
        }
    }
    for (form, shown) in &before {
        if after.iter().all(|(other, _)| other != form) {
            found.look(ABOUT, format!("{shown} need not hold any more"), WEAKER);
        }
    }
}

fn proof((a, old): (&Proof, &Vars), (b, new): (&Proof, &Vars), found: &mut Findings) {
    match (a, b) {
        (Proof::Token { place, scheme, equals }, Proof::Token { place: to, scheme: with, equals: other }) => {
            places(&[place], &[to], found);
            if scheme.as_ref().map(|s| s.to_lowercase()) != with.as_ref().map(|s| s.to_lowercase()) {
                found.breaks(ABOUT, "another scheme stands before the value", REFUSED);
            }
            keys((equals, old), (other, new), found);
        }
        (Proof::Basic { username, password }, Proof::Basic { username: name, password: word }) => {
            match (username, name) {
                (Some(_), None) => found.look(ABOUT, "any user name is taken", WEAKER),
                (x, y) if meant::part(x, old) != meant::part(y, new) => {
                    found.breaks(ABOUT, "another user name is demanded", REFUSED);
                }
                (_, _) => {}
            }
            keys((std::slice::from_ref(password), old), (std::slice::from_ref(word), new), found);
        }
        (
            Proof::Hmac { hash, keys: with, signed },
            Proof::Hmac { hash: other, keys: by, signed: message },
        ) => {
            hashes(*hash, *other, found);
            keys((&with.texts, old), (&by.texts, new), found);
            if (with.encoding, &with.prefix) != (by.encoding, &by.prefix) {
                found.breaks(ABOUT, "the key is read otherwise", REFUSED);
            }
            signature((signed, old), (message, new), found);
        }
        (Proof::Digest { hash, signed }, Proof::Digest { hash: other, signed: message }) => {
            hashes(*hash, *other, found);
            signature((signed, old), (message, new), found);
        }
        (
            Proof::PublicKey { algorithm, keys: from, signed, format },
            Proof::PublicKey { algorithm: other, keys: to, signed: message, format: written },
        ) => {
            algorithms((algorithm, old), (other, new), found);
            sources((from, old), (to, new), found);
            if format != written {
                found.breaks(
                    ABOUT,
                    "the public key is written otherwise",
                    "keys that instances were given are not read",
                );
            }
            signature((signed, old), (message, new), found);
        }
        (Proof::Jwt(a), Proof::Jwt(b)) => token((a, old), (b, new), found),
        (_, _) => {
            let strength = match strength(b).cmp(&strength(a)) {
                std::cmp::Ordering::Less => "weaker, and ",
                std::cmp::Ordering::Equal => "",
                std::cmp::Ordering::Greater => "stronger, and ",
            };
            let change = format!("a request was proven by {}, and is by {}", kind(a), kind(b));
            found.breaks(ABOUT, change, format!("{strength}{REFUSED}"));
        }
    }
}

/// How much a proof proves: that somebody knew a value; that they knew it of this body; that nobody but the sender can.
fn strength(proof: &Proof) -> u8 {
    match proof {
        Proof::Token { .. } | Proof::Basic { .. } => 1,
        Proof::Jwt(_) | Proof::Digest { .. } => 2,
        Proof::Hmac { .. } => 3,
        Proof::PublicKey { .. } => 4,
    }
}

fn kind(proof: &Proof) -> &'static str {
    match proof {
        Proof::Token { .. } => "a secret value",
        Proof::Basic { .. } => "HTTP Basic",
        Proof::Hmac { .. } => "an HMAC",
        Proof::Digest { .. } => "a digest over a secret",
        Proof::PublicKey { .. } => "a signature by a private key",
        Proof::Jwt(_) => "a JSON Web Token",
    }
}

fn hashes(a: Hash, b: Hash, found: &mut Findings) {
    let bits = |hash| match hash {
        Hash::Sha1 => 160,
        Hash::Sha256 => 256,
        Hash::Sha384 => 384,
        Hash::Sha512 => 512,
    };
    if a != b {
        let word = if bits(b) < bits(a) { "weaker" } else { "stronger" };
        let change = format!("the hash was {}, and is {}", words::hash(a), words::hash(b));
        found.breaks(ABOUT, change, format!("{word}, and {REFUSED}"));
    }
}

/// Where a value or a signature is looked for.
fn places(a: &[&Pick], b: &[&Pick], found: &mut Findings) {
    let said =
        |picks: &[&Pick]| joined(&picks.iter().map(|pick| words::pick(pick)).collect::<Vec<_>>(), "or");
    if a == b {
        return;
    }
    let change = format!("it is looked for in {}, and was in {}", said(b), said(a));
    if a.iter().all(|place| b.contains(place)) {
        found.look(ABOUT, change, "the old place is taken still");
    } else {
        found.breaks(ABOUT, change, REFUSED);
    }
}

/// The values it is compared with, or the keys.
fn keys((a, old): (&[Text], &Vars), (b, new): (&[Text], &Vars), found: &mut Findings) {
    let forms =
        |texts: &[Text], vars| -> Vec<String> { texts.iter().map(|text| meant::text(text, vars)).collect() };
    let (before, after) = (forms(a, old), forms(b, new));
    let said = |forms: &[String]| joined(&forms.iter().map(|form| code(form)).collect::<Vec<_>>(), "or");
    if before == after {
        return;
    }
    let change = format!("the secret was {}, and is {}", said(&before), said(&after));
    if before.iter().all(|form| after.contains(form)) {
        found.look(ABOUT, change, "another value is good too");
    } else {
        found.breaks(ABOUT, change, REFUSED);
    }
}

fn signature((a, old): (&Signed, &Vars), (b, new): (&Signed, &Vars), found: &mut Findings) {
    let messages = |signed: &Signed, vars| -> Vec<String> {
        signed.messages.iter().map(|message| meant::text(message, vars)).collect()
    };
    let (before, after) = (messages(a, old), messages(b, new));
    if before != after {
        if before.iter().all(|message| after.contains(message)) {
            found.look(ABOUT, "another message is good too", WEAKER);
        } else {
            found.breaks(ABOUT, "what is signed is another message", REFUSED);
        }
    }
    let (x, y): (&Signature, &Signature) = (&a.signature, &b.signature);
    places(&x.places.iter().collect::<Vec<_>>(), &y.places.iter().collect::<Vec<_>>(), found);
    if (&x.grammar, &x.prefix, x.encoding) != (&y.grammar, &y.prefix, y.encoding) {
        found.breaks(ABOUT, "the signature is written otherwise", REFUSED);
    }
    match (&a.timestamp, &b.timestamp) {
        (Some(_), None) => {
            found.look(
                ABOUT,
                "the time of signing is not looked at any more",
                "weaker: a request can be sent again at any time",
            );
        }
        (None, Some(time)) => found.breaks(
            ABOUT,
            format!("the time of signing may lie {} from now at most", words::duration(time.tolerance)),
            "stronger: requests that have none, or arrive later, are refused (401)",
        ),
        (Some(x), Some(y)) => times(x, y, found),
        (None, None) => {}
    }
}

fn times(a: &SignedTime, b: &SignedTime, found: &mut Findings) {
    if meant::part(&a.place, &Vars::default()) != meant::part(&b.place, &Vars::default())
        || a.format != b.format
    {
        found.breaks(ABOUT, "the time of signing stands elsewhere, or is written otherwise", REFUSED);
    }
    if a.tolerance != b.tolerance {
        let (was, is) = (words::duration(a.tolerance), words::duration(b.tolerance));
        let change = format!("the time of signing may lie {is} from now, and could lie {was}");
        if b.tolerance > a.tolerance {
            found.look(ABOUT, change, "weaker: a request can be sent again for longer");
        } else {
            found.breaks(
                ABOUT,
                change,
                "stronger: what a vendor sends again later than that is refused (401)",
            );
        }
    }
}

fn algorithms(
    (a, old): (&AlgorithmChoice, &Vars),
    (b, new): (&AlgorithmChoice, &Vars),
    found: &mut Findings,
) {
    if meant::part(a, old) == meant::part(b, new) {
        return;
    }
    if let (AlgorithmChoice::By { map: before, value: x }, AlgorithmChoice::By { map: after, value: y }) =
        (a, b)
        && meant::text(x, old) == meant::text(y, new)
        && before.iter().all(|(word, algorithm)| after.get(word) == Some(algorithm))
    {
        found.look(ABOUT, "another algorithm is taken too", "");
        return;
    }
    found.breaks(ABOUT, "the signature is made by another algorithm", REFUSED);
}

/// Where public keys come from.
fn sources((a, old): (&KeySource, &Vars), (b, new): (&KeySource, &Vars), found: &mut Findings) {
    match (a, b) {
        (KeySource::Named(a), KeySource::Named(b)) => keys((&a.texts, old), (&b.texts, new), found),
        (KeySource::Fetched(a), KeySource::Fetched(b)) => {
            if meant::text(&a.url, old) != meant::text(&b.url, new) {
                found.look(ABOUT, "the keys are fetched from elsewhere", "see that it is the vendor's");
            }
            match (&a.only, &b.only) {
                (Some(_), None) => found.look(ABOUT, "any address may be named for the keys", WEAKER),
                (x, y) if x.as_ref().map(|r| r.as_str()) != y.as_ref().map(|r| r.as_str()) => {
                    found.look(ABOUT, "which addresses may be named for the keys is decided otherwise", "");
                }
                (_, _) => {}
            }
            if a.cache != b.cache {
                let (was, is) = (words::duration(a.cache), words::duration(b.cache));
                found.safe(ABOUT, format!("keys were kept for {was}, and are for {is}"));
            }
        }
        (KeySource::Named(_), KeySource::Fetched(_)) => found.look(ABOUT, "the keys are fetched now", ""),
        (KeySource::Fetched(_), KeySource::Named(_)) => {
            found.breaks(ABOUT, "the keys are not fetched any more", "an instance has to be given them");
        }
    }
}

fn token((a, old): (&Jwt, &Vars), (b, new): (&Jwt, &Vars), found: &mut Findings) {
    places(&[&a.place], &[&b.place], found);
    sources((&a.keys, old), (&b.keys, new), found);
    if a.algorithms != b.algorithms {
        if a.algorithms.iter().all(|algorithm| b.algorithms.contains(algorithm)) {
            found.look(ABOUT, "another algorithm is taken too", "");
        } else {
            found.breaks(ABOUT, "an algorithm is not taken any more", REFUSED);
        }
    }
    for (what, a, b) in [("issuer", &a.issuers, &b.issuers), ("audience", &a.audiences, &b.audiences)] {
        let forms = |texts: &[Text], vars| -> Vec<String> {
            texts.iter().map(|text| meant::text(text, vars)).collect()
        };
        let (before, after) = (forms(a, old), forms(b, new));
        let wider =
            after.is_empty() || (!before.is_empty() && before.iter().all(|form| after.contains(form)));
        if before != after && wider {
            found.look(ABOUT, format!("tokens of another {what} are taken too"), WEAKER);
        } else if before != after {
            found.breaks(ABOUT, format!("the {what} of a token must be another"), REFUSED);
        }
    }
    match (a.max_age, b.max_age) {
        (x, y) if x == y => {}
        (Some(_), None) => found.look(ABOUT, "a token is good until it expires", WEAKER),
        (Some(x), Some(y)) if y > x => {
            found.look(ABOUT, format!("a token may be {} old", words::duration(y)), WEAKER)
        }
        (_, _) => found.breaks(ABOUT, "a token may not be as old as before", REFUSED),
    }
    if b.leeway > a.leeway {
        found.look(ABOUT, format!("the clocks may lie {} apart", words::duration(b.leeway)), WEAKER);
    }
    if (a.scheme.as_ref(), a.format) != (b.scheme.as_ref(), b.format) {
        found.breaks(ABOUT, "the token or its key is written otherwise", REFUSED);
    }
}
