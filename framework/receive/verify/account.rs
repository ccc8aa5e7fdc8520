//! Why a request did not prove who sent it, for the person who looks on: which place is empty, how old the time of
//! signing is, what must have been signed.
//!
//! `told` asks once the verdict is there. Each check is asked again by the code that judged; what is added here is
//! words. No secret is shown, and no signature that would have been right: what is signed is shown as the spec writes it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use super::failure::Failure;
use super::head::check_by_head;
use super::matter::Matter;
use super::rejection::Rejection;
use super::subject::{Subject, after_scheme};
use super::{Prover, Told as ByHead, signed};
use crate::connector::model::{Demand, Encoding, Jwt, Proof, Signed, SignedTime, TimePlace, Verify};
use crate::connector::pick::Pick;
use crate::connector::template::{Scope, Text};
use crate::error::escaped;
use crate::receive::witness::{Outcome, Stage, Told};
use crate::spec::path::Path;

/// What is said of a check that failed: the sentence, and the keys below the check that decided.
type Why = (String, Vec<String>);

impl Prover<'_> {
    /// Tells what each check says. Without the body those alone that the head decides.
    pub(in crate::receive) fn account(&self, verify: &Verify, whole: bool, tell: &mut dyn FnMut(Told)) {
        let scopes = Scope::all_with_request(self.scopes, self.facts.clone());
        let place = Path(vec!["receiver".to_owned(), "verify".to_owned()]);
        self.checks(verify, &scopes, whole, &place, tell);
    }

    fn checks(
        &self,
        verify: &Verify,
        scopes: &[Scope],
        whole: bool,
        place: &Path,
        tell: &mut dyn FnMut(Told),
    ) {
        let check = match verify {
            Verify::One(check) => check,
            Verify::AllOf(members) | Verify::AnyOf(members) => {
                for (n, member) in members.iter().enumerate() {
                    self.checks(member, scopes, whole, &place.join("of").join(n.to_string()), tell);
                }
                return;
            }
        };
        if !whole && matches!(check_by_head(check, self.keys, self.head), Ok(ByHead::Nothing)) {
            return;
        }
        let kind = kind(&check.proof);
        let (outcome, (sentence, below), reason) = match self.check(check, scopes) {
            Ok(()) => (Outcome::Passed, (passed(check), Vec::new()), Json::Null),
            Err(Failure::Rejected(why)) => {
                let said = self.why(check, scopes, why);
                (Outcome::Refused, said, json!(why.reason()))
            }
            Err(Failure::NotReady(why)) => (Outcome::Refused, (why, Vec::new()), json!("key_unknown")),
            Err(Failure::TooMuch(why)) => (Outcome::Refused, (why, Vec::new()), json!("too_much_work")),
            Err(Failure::Wants(_)) => {
                let sentence = "the key that the vendor publishes could not be had".to_owned();
                (Outcome::Refused, (sentence, Vec::new()), json!("key_unknown"))
            }
        };
        let mut place = place.clone();
        place.0.extend(below);
        let sentence = format!("{kind}: {sentence}");
        tell(Told {
            stage: Stage::Verify,
            outcome,
            sentence,
            place,
            data: json!({"kind": kind, "reason": reason}),
        });
    }

    fn why(&self, check: &Demand, scopes: &[Scope], why: Rejection) -> Why {
        let subject = Subject { head: self.head, body: self.body, item: None };
        let matter = Matter { check, subject, scopes, now: self.now };
        match why {
            Rejection::Missing => (missing(&check.proof), below(&["signature"])),
            Rejection::Several => (format!("{} more than once", there(&check.proof)), Vec::new()),
            Rejection::Malformed => (malformed(&matter), below(&["signature"])),
            Rejection::Wrong => wrong(&matter),
            Rejection::NoTime => (no_time(&check.proof), below(&["timestamp"])),
            Rejection::Stale => (stale(&matter), below(&["timestamp"])),
            Rejection::Algorithm => {
                ("it is signed by an algorithm that the spec does not take".to_owned(), Vec::new())
            }
            Rejection::UnknownKey => {
                ("it names a key that is none of those the vendor publishes".to_owned(), Vec::new())
            }
            Rejection::KeyPlace => {
                ("it names a key at a URL that `key_url` does not take".to_owned(), below(&["key_url"]))
            }
            Rejection::Certificate(why) => (
                format!("the certificate at the URL that it names {}", why.reason()),
                below(&["key_url", "certificate"]),
            ),
            Rejection::Claims => (claims(&matter), Vec::new()),
            Rejection::Required => required(&matter),
            Rejection::NoItems => {
                let each = check.each.as_ref().map(ToString::to_string).unwrap_or_default();
                (format!("there is no list of items at `{each}`, or an empty one"), below(&["each"]))
            }
        }
    }
}

fn below(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn kind(proof: &Proof) -> &'static str {
    match proof {
        Proof::Token { .. } => "token",
        Proof::Basic { .. } => "basic",
        Proof::Hmac { .. } => "hmac",
        Proof::Digest { .. } => "digest",
        Proof::PublicKey { .. } => "public_key",
        Proof::Jwt(_) => "jwt",
    }
}

fn passed(check: &Demand) -> String {
    let items = check.each.as_ref().map(|each| format!(", of every item at `{each}`"));
    format!("{} what it should be{}", is_there(&check.proof), items.unwrap_or_default())
}

fn is_there(proof: &Proof) -> String {
    format!("what stands in {} is", places(proof))
}

fn there(proof: &Proof) -> String {
    format!("{} is there", places(proof))
}

/// Where the proof stands, in words.
fn places(proof: &Proof) -> String {
    let picks: Vec<&Pick> = match proof {
        Proof::Token { place, .. } | Proof::Jwt(Jwt { place, .. }) => vec![place],
        Proof::Basic { .. } => return "the header `authorization`".to_owned(),
        Proof::Hmac { signed, .. } | Proof::Digest { signed, .. } | Proof::PublicKey { signed, .. } => {
            signed.signature.places.iter().collect()
        }
    };
    listed(&picks)
}

fn listed(picks: &[&Pick]) -> String {
    let words: Vec<String> = picks.iter().map(|pick| word(pick)).collect();
    words.join(" or ")
}

fn word(pick: &Pick) -> String {
    match pick {
        Pick::Header(name) => format!("the header `{name}`"),
        Pick::Query(name) => format!("the query's `{name}`"),
        Pick::Form(name) => format!("the form's `{name}`"),
        Pick::Body(pointer) => format!("the body's `{pointer}`"),
        Pick::Item(pointer) => format!("the item's `{pointer}`"),
    }
}

fn missing(proof: &Proof) -> String {
    format!("the request lacks {}, or it is empty", places(proof))
}

fn malformed(matter: &Matter<'_>) -> String {
    let proof = &matter.check.proof;
    match (proof, proof.signed()) {
        (_, Some(Signed { signature, .. })) => {
            let encoding = match signature.encoding {
                Encoding::Hex => "hexadecimal",
                Encoding::Base64 => "base64",
                Encoding::Base64Url => "base64url",
            };
            let prefix = signature.prefix.as_deref().filter(|prefix| !prefix.is_empty());
            let prefix = prefix.map(|prefix| format!(" after `{}`", escaped(prefix, 40))).unwrap_or_default();
            format!(
                "what stands in {} is no signature as the spec writes them ({encoding}{prefix}), or the message lacks something of the request",
                places(proof)
            )
        }
        (Proof::Token { scheme: Some(scheme), .. } | Proof::Jwt(Jwt { scheme: Some(scheme), .. }), None) => {
            format!(
                "what stands in {} does not begin with `{scheme} `, or is not written as it should be",
                places(proof)
            )
        }
        (_, None) => format!("what stands in {} is not written as it should be", places(proof)),
    }
}

/// The secret value is another, or the signature is none of this message.
fn wrong(matter: &Matter<'_>) -> Why {
    let proof = &matter.check.proof;
    let keys: Vec<String> = proof.key_texts().iter().map(|text| format!("`{}`", text.source())).collect();
    let keys = if keys.is_empty() { "the vendor's key".to_owned() } else { keys.join(" or ") };
    let Some(signed) = proof.signed() else {
        let blanks = match proof {
            Proof::Token { place, .. } => {
                matter.subject.one(place).is_ok_and(|value| value.trim_ascii() != &*value)
            }
            Proof::Basic { .. }
            | Proof::Hmac { .. }
            | Proof::Digest { .. }
            | Proof::PublicKey { .. }
            | Proof::Jwt(_) => false,
        };
        let hint = if blanks { "; it has blanks at its ends" } else { "" };
        return (format!("{} not {keys}{hint}", is_there(proof)), below(&["equals"]));
    };
    let messages: Vec<String> = signed.messages.iter().map(|text| format!("`{}`", text.source())).collect();
    let length = signed::read(matter, signed)
        .ok()
        .and_then(|given| signed::messages(matter, signed, &given, 1).ok())
        .and_then(|messages| {
            messages.all.first().map(|message| format!(", {} bytes of this request", message.len()))
        });
    let sentence = format!(
        "{} no signature of this request: signed is {}{}, by {keys}",
        is_there(proof),
        messages.join(" or "),
        length.unwrap_or_default(),
    );
    (sentence, below(&["message"]))
}

fn no_time(proof: &Proof) -> String {
    let Some(Signed { timestamp: Some(SignedTime { place, format, .. }), .. }) = proof.signed() else {
        return "it does not say when it was issued, or when it ends".to_owned();
    };
    let place = match place {
        TimePlace::At(picks) => listed(&picks.iter().collect::<Vec<_>>()),
        TimePlace::Pair(name) => format!("the signature's `{name}`"),
    };
    format!("the time of signing is missing in {place}, or is no time as the spec writes it ({format:?})")
}

fn stale(matter: &Matter<'_>) -> String {
    match &matter.check.proof {
        Proof::Hmac { signed, .. } | Proof::Digest { signed, .. } | Proof::PublicKey { signed, .. } => {
            let Some(time) = &signed.timestamp else { return "it is too old".to_owned() };
            let at = signed::time(matter, signed).and_then(|text| time.format.read(&text));
            let tolerance = SignedDuration::try_from(time.tolerance).unwrap_or_default();
            at.map_or_else(
                || "the time of signing is too far from now".to_owned(),
                |at| {
                    format!(
                        "{}, and {tolerance:#} either way is taken",
                        apart("it was signed", at, matter.now)
                    )
                },
            )
        }
        Proof::Jwt(jwt) => {
            let said = token_claims(matter, jwt);
            let time = |name: &str| {
                let at = said.get(name).and_then(Json::as_i64).and_then(|s| Timestamp::from_second(s).ok());
                at.map(|at| apart(&format!("`{name}` is"), at, matter.now))
            };
            let times: Vec<String> = ["iat", "nbf", "exp"].into_iter().filter_map(time).collect();
            format!("the token is not good now: {}", times.join("; "))
        }
        Proof::Token { .. } | Proof::Basic { .. } => "it is too old".to_owned(),
    }
}

/// How far a time lies from now, and how to look at the request at that time.
fn apart(what: &str, at: Timestamp, now: Timestamp) -> String {
    let away = now.duration_since(at);
    let round = SignedDuration::from_secs(away.as_secs().abs());
    let side = if away.is_negative() { "after" } else { "before" };
    format!("{what} {at}, {round:#} {side} {now}")
}

fn token_claims(matter: &Matter<'_>, jwt: &Jwt) -> Json {
    let claims = matter.subject.one(&jwt.place).ok().and_then(|value| {
        let token = after_scheme(&value, jwt.scheme.as_deref()).ok()?.to_vec();
        let part = token.split(|byte| *byte == b'.').nth(1)?.to_vec();
        serde_json::from_slice(&super::encoding::decode(Encoding::Base64Url, &part)?).ok()
    });
    claims.unwrap_or_default()
}

fn claims(matter: &Matter<'_>) -> String {
    let Proof::Jwt(jwt) = &matter.check.proof else { return "it is meant for somebody else".to_owned() };
    let said = token_claims(matter, jwt);
    let against = |name: &str, wanted: &[Text]| {
        let wanted: Vec<String> = wanted.iter().map(|text| format!("`{}`", text.source())).collect();
        let value =
            said.get(name).map_or_else(|| "nothing".to_owned(), |value| escaped(&value.to_string(), 200));
        (!wanted.is_empty()).then(|| format!("`{name}` says {value}, and {} is taken", wanted.join(" or ")))
    };
    let words: Vec<String> =
        [against("iss", &jwt.issuers), against("aud", &jwt.audiences)].into_iter().flatten().collect();
    words.join("; ")
}

/// The first of the conditions that does not hold by what the request and the instance say alone.
fn required(matter: &Matter<'_>) -> Why {
    let scope = matter.scope(&[]).with_now(matter.now);
    let failed = matter.check.require.iter().position(|condition| !condition.holds(&scope).unwrap_or(false));
    match failed.and_then(|n| matter.check.require.get(n).map(|condition| (n, condition))) {
        Some((n, condition)) => (
            format!("`require` does not hold: `{}`", escaped(condition.source(), 200)),
            vec!["require".to_owned(), n.to_string()],
        ),
        None => ("what `require` demands besides does not hold".to_owned(), below(&["require"])),
    }
}
