//! How a request proves who sent it: the kinds, and what lets anybody in.
//!
//! `receiver` calls [`Compiler::verify`]. A kind is one file of this folder; what several kinds have in common
//! stands in `signed` (message, signature, time) and `keys`.

mod jwt;
mod keys;
mod public_key;
mod signed;
mod token;

pub(super) use self::keys::pins_host;

use super::at::At;
use super::compiler::Compiler;
use super::names::Here;
use crate::connector::model::{Demand, Proof, Verify};
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

impl Compiler {
    /// The verification of the receiver.
    pub fn verify(&mut self, at: &At<'_>) -> Option<Verify> {
        let verify = self.verification(at, &mut 0)?;
        if !self.proves(&verify) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::value(&at.path.join("kind")),
                    "a hash without a secret proves nothing: whoever sends a body can hash it",
                )
                .help(
                    "put the secret into `message`, or set it under `all_of` beside a check that has a secret",
                ),
            );
        }
        Some(verify)
    }

    /// One verification; its checks are numbered on.
    fn verification(&mut self, at: &At<'_>, number: &mut usize) -> Option<Verify> {
        match at.text_of("kind")? {
            "all_of" => self.members(at, number).map(Verify::AllOf),
            "any_of" => self.members(at, number).map(Verify::AnyOf),
            kind @ ("mtls_header" | "remote") => {
                self.not_built(Place::value(&at.path.join("kind")), &format!("the verify kind `{kind}`"));
                None
            }
            kind => self.demand(at, kind, number).map(|demand| Verify::One(Box::new(demand))),
        }
    }

    fn members(&mut self, at: &At<'_>, number: &mut usize) -> Option<Vec<Verify>> {
        let members: Vec<Option<Verify>> =
            at.get("of")?.items().map(|at| self.verification(&at, number)).collect();
        members.into_iter().collect()
    }

    fn demand(&mut self, at: &At<'_>, kind: &str, number: &mut usize) -> Option<Demand> {
        let own = *number;
        *number += 1;
        let each = at.get("each").and_then(|at| self.pointer(&at));
        let proof = match kind {
            "token" => self.token(at),
            "basic" => self.basic(at),
            "hmac" => self.hmac(at),
            "digest" => self.digest(at),
            "public_key" => self.public_key(at),
            "jwt" => self.jwt(at),
            _ => None,
        };
        let conditions = at.get("require").map(|at| at.one_or_many()).unwrap_or_default();
        let require = conditions.iter().filter_map(|at| self.condition_besides(at, kind)).collect();
        Some(Demand { number: own, proof: proof?, each, require })
    }

    fn condition_besides(
        &mut self,
        at: &At<'_>,
        kind: &str,
    ) -> Option<crate::connector::template::Condition> {
        let condition = self.condition(at, Here::Proof)?;
        if matches!(kind, "token" | "basic" | "hmac" | "digest" | "public_key")
            && names(&condition.names(), "claims")
        {
            self.report(
                Mistake::new(Code::NotHere, Place::value(&at.path), "`claims` does not exist here")
                    .help("`claims` are what a JSON Web Token says: they exist where the kind is `jwt`"),
            );
        }
        Some(condition)
    }

    /// Whether passing takes something that only the sender has.
    fn proves(&self, verify: &Verify) -> bool {
        match verify {
            Verify::AllOf(all) => all.iter().any(|verify| self.proves(verify)),
            Verify::AnyOf(any) => any.iter().all(|verify| self.proves(verify)),
            Verify::One(check) => match &check.proof {
                Proof::Digest { signed, .. } => signed.messages.iter().all(|text| self.is_secret(text)),
                Proof::Token { .. }
                | Proof::Basic { .. }
                | Proof::Hmac { .. }
                | Proof::PublicKey { .. }
                | Proof::Jwt(_) => true,
            },
        }
    }

    /// Whether a text names a secret, or a value that the vendor gave us.
    fn is_secret(&self, text: &Text) -> bool {
        let names = self.defined.through_vars(&text.names());
        names.iter().any(|(name, _)| name.starts_with("secrets.") || name.starts_with("state."))
    }

    /// A text that only the sender knows.
    fn guarding(&mut self, at: &At<'_>) -> Option<Text> {
        let text = self.text(at, Here::Request)?;
        if self.is_secret(&text) {
            if falls_back_on_request(text.source()) {
                self.report(
                    Mistake::new(
                        Code::OpenDoor,
                        Place::value(&at.path),
                        "where the secret is not given the request itself names the key: whoever sends it chooses it",
                    )
                    .help("leave out what is not given, `default(omit)`"),
                );
            }
            self.not_by_default(at, &text, "key");
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

    /// One such text, or several.
    fn guardings(&mut self, at: Option<At<'_>>) -> Option<Vec<Text>> {
        let texts: Option<Vec<Text>> = at?.one_or_many().iter().map(|at| self.guarding(at)).collect();
        texts.filter(|texts| !texts.is_empty())
    }

    /// One text, or several.
    fn some_texts(&mut self, at: &At<'_>, key: &str, here: Here) -> Vec<Text> {
        let all = at.get(key).map(|at| at.one_or_many()).unwrap_or_default();
        all.iter().filter_map(|at| self.text(at, here)).collect()
    }

    /// A name that exists only where another key stands.
    fn wants(&mut self, at: &At<'_>, name: &str, help: &str) {
        let message = format!("`{name}` does not exist here");
        self.report(Mistake::new(Code::NotHere, Place::value(&at.path), message).help(help));
    }
}

/// Whether a text takes something of the request where a name of ours has no value.
fn falls_back_on_request(source: &str) -> bool {
    let bare: String = source.chars().filter(|c| !c.is_whitespace()).collect();
    ["request", "item", "claims"].iter().any(|root| bare.contains(&format!("default({root}")))
}

/// Whether one of these names is this one, or part of it.
fn names(all: &[String], root: &str) -> bool {
    all.iter().any(|name| name.split('.').next() == Some(root))
}
