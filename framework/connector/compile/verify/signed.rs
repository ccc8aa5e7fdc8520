//! What is signed, where the signature stands and when it was made: hmac and digest, and what public keys
//! share with them.

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::super::settings::encoding;
use super::super::values::time_format;
use super::names;
use crate::connector::model::{Encoding, Grammar, Hash, Proof, Signature, Signed, SignedTime, TimePlace};
use crate::connector::pick::Pick;
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// A keyed hash.
    pub(super) fn hmac(&mut self, at: &At<'_>) -> Option<Proof> {
        let hash = hash(at.text_of("hash"));
        let keys = self.shared_keys(at);
        let signed = self.signed(at);
        Some(Proof::Hmac { hash: hash?, keys: keys?, signed: signed? })
    }

    /// A plain hash.
    pub(super) fn digest(&mut self, at: &At<'_>) -> Option<Proof> {
        let hash = hash(at.text_of("hash"));
        let signed = self.signed(at);
        Some(Proof::Digest { hash: hash?, signed: signed? })
    }

    /// What is signed, and where the signature stands.
    pub(super) fn signed(&mut self, at: &At<'_>) -> Option<Signed> {
        let messages = self.some_texts(at, "message", Here::Message);
        let signature = at.get("signature").and_then(|at| self.signature(&at));
        let timestamp = at.get("timestamp");
        let pairs = signature.as_ref().is_some_and(|s| matches!(s.grammar, Grammar::Pairs { .. }));
        let time = timestamp.as_ref().map(|at| self.signed_time(at, pairs));
        for (at, message) in at.get("message").map(|at| at.one_or_many()).iter().flatten().zip(&messages) {
            self.message_says_enough(at, message, timestamp.as_ref(), pairs);
        }
        let timestamp = match time {
            None => None,
            Some(None) => return None,
            Some(found) => found,
        };
        (!messages.is_empty()).then_some(Signed { messages, signature: signature?, timestamp })
    }

    /// What is signed is the request, and the time that is checked is part of it.
    fn message_says_enough(&mut self, at: &At<'_>, message: &Text, time: Option<&At<'_>>, pairs: bool) {
        let all: Vec<String> = self
            .defined
            .through_vars(&message.names())
            .into_iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        if names(&all, "timestamp") && time.is_none() {
            self.wants(at, "timestamp", "`timestamp` is the text of the time that the key `timestamp` names");
        }
        if names(&all, "signature") && !pairs {
            self.wants(at, "signature", "`signature.NAME` is a pair of a signature of `format: pairs`");
        }
        if !["request", "item", "signature", "timestamp"].iter().any(|root| names(&all, root)) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::value(&at.path),
                    "the message has nothing of the request: every request is signed alike",
                )
                .help("most vendors sign the raw body: \"{{ request.body }}\""),
            );
            return;
        }
        let Some(time) = time else { return };
        if !names(&all, "timestamp") && !self.is_signed(time, &all) {
            self.report(
                Mistake::new(
                    Code::UnsignedTime,
                    Place::key(&time.path),
                    "the timestamp is not part of what is signed: whoever replays a request can make it new",
                )
                .help("put it into `message` as the vendor signs it, `{{ timestamp }}`; where the vendor does not sign it, leave `timestamp` out")
                .related(Place::value(&at.path), "what is signed"),
            );
        }
    }

    /// Whether the place of a time is among the names of a message.
    fn is_signed(&mut self, time: &At<'_>, all: &[String]) -> bool {
        let has = |name: &str| all.iter().any(|known| known == name);
        let signed = |kind: &str, name: &str| {
            let whole = format!("request.{kind}");
            has(&whole) || has(&format!("{whole}.{}", name.to_lowercase()))
        };
        if let Some(pair) = time.text_of("key") {
            return has("signature") || has(&format!("signature.{}", pair.to_lowercase()));
        }
        // A time that may stand in several headers is signed where each of them is.
        self.places(time).iter().all(|pick| match pick {
            Pick::Header(name) => signed("headers", name),
            Pick::Query(name) => signed("query", name) || has("request.url"),
            Pick::Form(name) => signed("form", name) || has("request.body"),
            Pick::Item(pointer) | Pick::Body(pointer) => {
                let tail = pointer.to_string().replace('/', ".").to_lowercase();
                let (body, item) = (format!("request.json{tail}"), format!("item{tail}"));
                has("request.body")
                    || all.iter().any(|name| {
                        (name.starts_with("request.json") && body.starts_with(name.as_str()))
                            || (name.starts_with("item") && item.starts_with(name.as_str()))
                    })
            }
        })
    }

    /// The place that a map names, or each of several headers.
    fn places(&mut self, at: &At<'_>) -> Vec<Pick> {
        match at.get("header") {
            Some(headers) if headers.value.is_array() => headers
                .items()
                .filter_map(|at| self.header_name(&at).map(|name| Pick::Header(name.to_ascii_lowercase())))
                .collect(),
            Some(_) | None => self.place(at).into_iter().collect(),
        }
    }

    fn signature(&mut self, at: &At<'_>) -> Option<Signature> {
        let places = self.places(at);
        let separator = || at.text_of("separator").unwrap_or(",").to_owned();
        let grammar = match at.text_of("format") {
            Some("list") => Grammar::List { separator: separator() },
            Some("pairs") => Grammar::Pairs { separator: separator(), name: at.text_of("key")?.to_owned() },
            _ => Grammar::Plain,
        };
        let prefix = at.get("prefix").and_then(|at| self.place_text(&at)).filter(|text| !text.is_empty());
        let encoding = encoding(at.text_of("encoding")).unwrap_or(Encoding::Hex);
        (!places.is_empty()).then_some(Signature { places, grammar, prefix, encoding })
    }

    fn signed_time(&mut self, at: &At<'_>, pairs: bool) -> Option<SignedTime> {
        let place = match at.text_of("key") {
            Some(key) => {
                if !pairs {
                    self.wants(
                        &at.get("key")?,
                        "key",
                        "it names a pair of the signature, whose `format` is not `pairs`: name a header",
                    );
                }
                TimePlace::Pair(key.to_owned())
            }
            None => TimePlace::At(self.places(at)),
        };
        let tolerance = at.get("tolerance").and_then(|at| self.duration(&at));
        if matches!(&place, TimePlace::At(places) if places.is_empty()) {
            return None;
        }
        Some(SignedTime { place, format: time_format(at.text_of("format")), tolerance: tolerance? })
    }
}

fn hash(name: Option<&str>) -> Option<Hash> {
    match name? {
        "sha1" => Some(Hash::Sha1),
        "sha256" => Some(Hash::Sha256),
        "sha384" => Some(Hash::Sha384),
        "sha512" => Some(Hash::Sha512),
        _ => None,
    }
}
