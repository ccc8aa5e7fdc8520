//! How a request proves who sent it.

use super::names::Here;
use super::reader::{At, Compiler};
use super::settings::encoding;
use super::values::time_format;
use crate::connector::model::{Encoding, Hash, KeyEncoding, Signature, SignedTime, Verify};
use crate::spec::mistake::Place;

impl Compiler {
    /// The verification of the receiver.
    pub fn verify(&mut self, at: &At<'_>) -> Option<Verify> {
        self.not_built_keys(at, &["each", "require"]);
        match at.text_of("kind")? {
            "token" => {
                let place = self.place(at);
                let equals = self.text_of(at, "equals", Here::Request);
                Some(Verify::Token { place: place?, equals: equals? })
            }
            "basic" => {
                let username = self.text_of(at, "username", Here::Request);
                let password = self.text_of(at, "password", Here::Request);
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
            at.one_or_many().iter().filter_map(|at| self.text(at, Here::Request)).collect::<Vec<_>>()
        });
        let key_encoding = match at.text_of("key_encoding") {
            Some("hex") => KeyEncoding::Hex,
            Some("base64") => KeyEncoding::Base64,
            _ => KeyEncoding::Text,
        };
        let message = self.text_of(at, "message", Here::Request);
        let signature = at.get("signature").and_then(|at| self.signature(&at));
        let timestamp = at.get("timestamp").and_then(|at| self.signed_time(&at));
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
