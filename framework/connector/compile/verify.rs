//! How a request proves who sent it.

use super::names::Here;
use super::reader::{At, Compiler};
use super::settings::encoding;
use super::values::time_format;
use crate::connector::model::{Encoding, Hash, KeyEncoding, Signature, SignedTime, Verify};
use crate::connector::pick::Pick;
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// The verification of the receiver.
    pub fn verify(&mut self, at: &At<'_>) -> Option<Verify> {
        self.not_built_keys(at, &["each", "require"]);
        match at.text_of("kind")? {
            "token" => {
                let place = self.place(at);
                let equals = self.guarding(at.get("equals"));
                Some(Verify::Token { place: place?, equals: equals? })
            }
            "basic" => {
                let username = self.text_of(at, "username", Here::Request);
                let password = self.guarding(at.get("password"));
                Some(Verify::Basic { username: username?, password: password? })
            }
            "hmac" => self.hmac(at),
            kind @ ("public_key" | "jwt" | "all_of" | "any_of") => {
                self.not_built(Place::value(&at.path.join("kind")), &format!("the verify kind `{kind}`"));
                None
            }
            _ => None,
        }
    }

    fn hmac(&mut self, at: &At<'_>) -> Option<Verify> {
        let hash = match at.text_of("hash")? {
            "sha1" => Hash::Sha1,
            "sha256" => Hash::Sha256,
            "sha512" => Hash::Sha512,
            _ => return None,
        };
        let keys = at.get("key").map(|at| {
            at.one_or_many().into_iter().filter_map(|at| self.guarding(Some(at))).collect::<Vec<_>>()
        });
        let key_encoding = match at.text_of("key_encoding") {
            Some("hex") => KeyEncoding::Hex,
            Some("base64") => KeyEncoding::Base64,
            _ => KeyEncoding::Text,
        };
        let message = self.text_of(at, "message", Here::Request);
        let signature = at.get("signature").and_then(|at| self.signature(&at));
        let timestamp = at.get("timestamp").and_then(|at| self.signed_time(&at));
        if let Some(message) = &message {
            self.message_says_enough(at, message);
        }
        Some(Verify::Hmac {
            hash,
            keys: keys.filter(|keys| !keys.is_empty())?,
            key_encoding,
            key_prefix: at.text_of("key_prefix").map(str::to_owned),
            message: message?,
            signature: signature?,
            timestamp,
        })
    }

    /// A text that only the sender knows: it names a secret, or a value that the vendor gave us.
    fn guarding(&mut self, at: Option<At<'_>>) -> Option<Text> {
        let at = at?;
        let text = self.text(&at, Here::Request)?;
        let names = self.defined.through_vars(&text.names());
        if names.iter().any(|(name, _)| name.starts_with("secrets.") || name.starts_with("state.")) {
            return Some(text);
        }
        let empty = text.source().trim().is_empty();
        let message = if empty {
            "an empty key lets anybody in"
        } else {
            "this is no secret: whoever knows it gets in"
        };
        self.report(Mistake::new(Code::OpenDoor, Place::value(&at.path), message).help(
            "name a secret, \"{{ secrets.api_key }}\"; `generate` makes one where nobody has to choose it",
        ));
        Some(text)
    }

    /// What is signed is the request, and the time that is checked is part of it.
    fn message_says_enough(&mut self, at: &At<'_>, message: &Text) {
        let names: Vec<String> = self
            .defined
            .through_vars(&message.names())
            .into_iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        let place = Place::value(&at.path.join("message"));
        if !names.iter().any(|name| name.starts_with("request")) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    place,
                    "the message has nothing of the request: every request is signed alike",
                )
                .help("most vendors sign the raw body: \"{{ request.body }}\""),
            );
            return;
        }
        let Some(time) = at.get("timestamp") else { return };
        let signed = |kind: &str, name: &str| {
            let whole = format!("request.{kind}");
            names.contains(&whole) || names.contains(&format!("{whole}.{}", name.to_lowercase()))
        };
        let covered = match self.place(&time) {
            Some(Pick::Header(name)) => signed("headers", &name),
            Some(Pick::Query(name)) => {
                signed("query", &name) || names.iter().any(|name| name == "request.url")
            }
            Some(Pick::Form(name)) => {
                signed("form", &name) || names.iter().any(|name| name == "request.body")
            }
            Some(Pick::Item(pointer) | Pick::Body(pointer)) => {
                let path = format!("request.json{}", pointer.to_string().replace('/', ".")).to_lowercase();
                names.iter().any(|name| name == "request.body" || path.starts_with(name.as_str()))
            }
            None => true,
        };
        if !covered {
            self.report(
                Mistake::new(
                    Code::UnsignedTime,
                    Place::key(&time.path),
                    "the timestamp is not part of what is signed: whoever replays a request can make it new",
                )
                .help("put it into `message`, as the vendor signs it; where the vendor does not sign it, leave `timestamp` out"),
            );
        }
    }

    fn signature(&mut self, at: &At<'_>) -> Option<Signature> {
        self.not_built_keys(at, &["format", "separator", "key"]);
        Some(Signature {
            place: self.place(at)?,
            prefix: at.text_of("prefix").map(str::to_owned),
            encoding: encoding(at.text_of("encoding")).unwrap_or(Encoding::Hex),
        })
    }

    fn signed_time(&mut self, at: &At<'_>) -> Option<SignedTime> {
        let place = self.place(at);
        let tolerance = at.get("tolerance").and_then(|at| self.duration(&at));
        Some(SignedTime { place: place?, format: time_format(at.text_of("format")), tolerance: tolerance? })
    }
}
