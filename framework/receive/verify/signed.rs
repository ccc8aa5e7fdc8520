//! Signatures and the time they were made, read from where they stand; and the messages that they sign.
//!
//! A place holds a signature, a list of them, or pairs of names and values. Members that are none of ours are
//! passed over (a vendor may sign in two ways at once); a time that stands twice and differs is refused.

use std::borrow::Cow;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::encoding::decode;
use super::failure::Failure;
use super::matter::Matter;
use super::rejection::Rejection;
use crate::connector::model::{Grammar, Signature, Signed, SignedTime, TimePlace};
use crate::connector::template::Parts;

/// Signatures that one request may bring, all of its places together: each is compared with each key.
const MOST: usize = 32;

/// What was read.
pub(super) struct Given {
    /// The signatures, decoded; never empty.
    pub signatures: Vec<Vec<u8>>,
    /// `signature` and `timestamp`, where the spec may name them.
    pub names: Vec<(&'static str, Json)>,
}

impl Given {
    /// Whether one of the signatures is this. Every one is looked at, whichever matches.
    pub(super) fn has(&self, tag: &[u8]) -> bool {
        self.signatures.iter().fold(false, |found, given| found | verify_slices_are_equal(given, tag).is_ok())
    }
}

/// Reads the signatures and the time, and holds the time against now.
pub(super) fn read(matter: &Matter<'_>, signed: &Signed) -> Result<Given, Rejection> {
    let mut read = Reader { signature: &signed.signature, signatures: Vec::new(), pairs: Map::new() };
    let mut missing = Rejection::Missing;
    for place in &signed.signature.places {
        match matter.subject.one(place) {
            Ok(value) => {
                missing = Rejection::Malformed;
                read.value(&value)?;
            }
            Err(Rejection::Missing) => {}
            Err(other) => return Err(other),
        }
    }
    let Reader { signatures, pairs, .. } = read;
    if signatures.is_empty() {
        return Err(missing);
    }
    let mut names = Vec::new();
    if let Some(time) = &signed.timestamp {
        let text = time_text(matter, time, &pairs)?;
        fresh(&text, time, matter.now)?;
        names.push(("timestamp", Json::String(text.into_owned())));
    }
    if !pairs.is_empty() {
        names.push(("signature", Json::Object(pairs)));
    }
    Ok(Given { signatures, names })
}

/// What may have been signed.
pub(super) struct Messages {
    /// Each message; never empty.
    pub all: Vec<Parts>,
    /// Why another one could not be made, where that is no fault of the sender.
    failed: Option<Failure>,
}

impl Messages {
    /// What it means that none of them is signed.
    pub(super) fn wrong(self) -> Failure {
        self.failed.unwrap_or_else(|| Rejection::Wrong.into())
    }
}

/// What may have been signed, in the newest of `generations` of the secrets first. The body is not copied.
pub(super) fn messages(
    matter: &Matter<'_>,
    signed: &Signed,
    given: &Given,
    generations: usize,
) -> Result<Messages, Failure> {
    let (mut messages, mut failed) = (Vec::new(), None);
    for scope in matter.scopes.iter().take(generations.max(1)) {
        let scope =
            given.names.iter().fold(scope.clone(), |scope, (name, value)| scope.with(name, value.clone()));
        for text in &signed.messages {
            match text.render_parts(&scope) {
                Ok(message) => messages.push(message),
                // One of several that this request lacks something for.
                Err(error) if signed.messages.len() > 1 && !text.lacks_own(&scope) => {
                    tracing::trace!(%error, "a message that this request does not have");
                    if let failure @ Failure::TooMuch(_) = matter.lacking(&[text], &error) {
                        failed = Some(failure);
                    }
                }
                Err(error) => return Err(matter.lacking(&[text], &error)),
            }
        }
    }
    if messages.is_empty() {
        return Err(failed.unwrap_or_else(|| Rejection::Malformed.into()));
    }
    Ok(Messages { all: messages, failed })
}

/// The time of signing as it is written, where it can be found: for whoever tells why it was refused.
pub(super) fn time(matter: &Matter<'_>, signed: &Signed) -> Option<String> {
    let mut read = Reader { signature: &signed.signature, signatures: Vec::new(), pairs: Map::new() };
    for place in &signed.signature.places {
        if let Ok(value) = matter.subject.one(place) {
            read.value(&value).ok()?;
        }
    }
    time_text(matter, signed.timestamp.as_ref()?, &read.pairs).ok().map(Cow::into_owned)
}

struct Reader<'a> {
    signature: &'a Signature,
    signatures: Vec<Vec<u8>>,
    pairs: Map<String, Json>,
}

impl Reader<'_> {
    fn value(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let prefix = self.signature.prefix.as_deref().unwrap_or_default().as_bytes();
        match &self.signature.grammar {
            Grammar::Plain => {
                let text = value.strip_prefix(prefix).ok_or(Rejection::Malformed)?;
                let tag = self.decoded(text).ok_or(Rejection::Malformed)?;
                self.keep(tag)
            }
            Grammar::List { separator } => {
                let text = std::str::from_utf8(value).map_err(|_| Rejection::Malformed)?;
                for member in text.split(separator.as_str()) {
                    let tag =
                        member.trim().as_bytes().strip_prefix(prefix).and_then(|text| self.decoded(text));
                    if let Some(tag) = tag {
                        self.keep(tag)?;
                    }
                }
                Ok(())
            }
            Grammar::Pairs { separator, name } => {
                let text = value.strip_prefix(prefix).and_then(|text| std::str::from_utf8(text).ok());
                self.pairs(text.ok_or(Rejection::Malformed)?, separator, name)
            }
        }
    }

    fn pairs(&mut self, text: &str, separator: &str, name: &str) -> Result<(), Rejection> {
        for pair in text.split(separator) {
            let Some((key, value)) = pair.trim().split_once('=') else { continue };
            let (key, value) = (key.trim(), unquoted(value.trim()));
            if key == name {
                if let Some(tag) = self.decoded(value.as_bytes()) {
                    self.keep(tag)?;
                }
                continue;
            }
            // Nobody can tell which one of two the sender meant.
            match self.pairs.get(key) {
                Some(known) if known.as_str() != Some(value) => return Err(Rejection::Several),
                Some(_) => {}
                None => {
                    self.pairs.insert(key.to_owned(), Json::from(value));
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, tag: Vec<u8>) -> Result<(), Rejection> {
        self.signatures.push(tag);
        if self.signatures.len() > MOST { Err(Rejection::Several) } else { Ok(()) }
    }

    fn decoded(&self, text: &[u8]) -> Option<Vec<u8>> {
        decode(self.signature.encoding, text).filter(|tag| !tag.is_empty())
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn time_text<'a>(
    matter: &Matter<'a>,
    time: &'a SignedTime,
    pairs: &'a Map<String, Json>,
) -> Result<Cow<'a, str>, Rejection> {
    match &time.place {
        TimePlace::Pair(name) => {
            pairs.get(name).and_then(Json::as_str).map(Cow::Borrowed).ok_or(Rejection::NoTime)
        }
        TimePlace::At(places) => {
            for place in places {
                match matter.subject.one(place) {
                    Ok(Cow::Borrowed(text)) => {
                        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| Rejection::NoTime);
                    }
                    Ok(Cow::Owned(text)) => {
                        return String::from_utf8(text).map(Cow::Owned).map_err(|_| Rejection::NoTime);
                    }
                    Err(Rejection::Missing) => {}
                    Err(other) => return Err(other),
                }
            }
            Err(Rejection::NoTime)
        }
    }
}

fn fresh(text: &str, time: &SignedTime, now: Timestamp) -> Result<(), Rejection> {
    let signed = time.format.read(text).ok_or(Rejection::NoTime)?;
    if now.duration_since(signed).unsigned_abs() > time.tolerance {
        return Err(Rejection::Stale);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connector::model::Encoding;
    use crate::receive::verify::published;

    fn signature(grammar: Grammar, encoding: Encoding) -> Signature {
        Signature { places: Vec::new(), grammar, prefix: Some("v1".to_owned()), encoding }
    }

    proptest! {
        /// Whatever a stranger writes into a header: it is read in every grammar, and bounded.
        #[test]
        fn no_header_breaks_a_grammar(value in prop::collection::vec(any::<u8>(), 0..200), tail in "[vt1=,; \"a-f]{0,60}") {
            let value = [b"v1".as_slice(), &value, tail.as_bytes()].concat();
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                for grammar in [
                    Grammar::Plain,
                    Grammar::List { separator: ",".to_owned() },
                    Grammar::Pairs { separator: ",".to_owned(), name: "v1".to_owned() },
                ] {
                    let signature = signature(grammar, encoding);
                    let mut reader = Reader { signature: &signature, signatures: Vec::new(), pairs: Map::new() };
                    let _ = reader.value(&value);
                    prop_assert!(reader.signatures.len() <= MOST + 1);
                    prop_assert!(reader.signatures.iter().all(|tag| !tag.is_empty() && tag.len() <= value.len()));
                }
            }
        }

        /// Whatever a server gives as a key.
        #[test]
        fn no_document_breaks_the_reading_of_keys(
            head in "(-----BEGIN (PUBLIC KEY|CERTIFICATE|RSA PUBLIC KEY)-----|\\{\"keys\":\\[\\{\"kty\":\"(RSA|EC|OKP)\",|)",
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let text = [head.as_bytes(), &tail].concat();
            for key in published::read(&text, None).unwrap_or_default() {
                prop_assert!(!key.verifies(crate::connector::model::Algorithm::Ed25519, b"message", b"tag"));
            }
        }
    }
}
