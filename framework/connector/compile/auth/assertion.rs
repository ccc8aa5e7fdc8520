//! Tokens that we sign: the key is a secret, and fits the algorithm as far as the spec shows it.

use std::time::Duration;

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use crate::connector::model::{Assertion, JwtAlgorithm};
use crate::connector::template::Tree;
use crate::spec::mistake::{Code, Mistake, Place};

/// How long an assertion is good where the spec does not say.
const LIFETIME: Duration = Duration::from_secs(300);
/// Shorter, it would be over before it arrives.
const SHORTEST: Duration = Duration::from_secs(10);
/// No assertion is good for longer: what is stolen of it serves as long.
const LONGEST: Duration = Duration::from_secs(86_400);

impl Compiler {
    /// What `algorithm`, `key`, `header`, `claims` and `lifetime` say.
    pub(super) fn assertion(&mut self, at: &At<'_>) -> Option<Assertion> {
        for key in ["algorithm", "key"] {
            if !at.has(key) {
                self.missing_key(
                    at,
                    key,
                    "an assertion is signed: add `algorithm: RS256` and `key: \"{{ secrets.private_key }}\"`",
                );
            }
        }
        let key = at.get("key").and_then(|key_at| {
            let key = self.text(&key_at, Here::Auth)?;
            self.key_is_secret(&key_at, &key.names());
            Some(key)
        });
        let tree = |compiler: &mut Self, key: &str| match at.get(key) {
            Some(at) => compiler.tree(&at, Here::Auth),
            None => Some(Tree::Map(Vec::new())),
        };
        let header = tree(self, "header");
        let claims = tree(self, "claims");
        let lifetime = at.get("lifetime").map_or(Some(LIFETIME), |at| self.lifetime(&at));
        let algorithm = at.text_of("algorithm").and_then(JwtAlgorithm::named);
        Some(Assertion {
            algorithm: algorithm?,
            key: key?,
            header: header?,
            claims: claims?,
            lifetime: lifetime?,
        })
    }

    fn lifetime(&mut self, at: &At<'_>) -> Option<Duration> {
        let lifetime = self.duration(at)?;
        if lifetime < SHORTEST || lifetime > LONGEST {
            let message = format!("an assertion cannot be good for {}", at.text().unwrap_or_default());
            self.report(
                Mistake::new(Code::BadDuration, Place::value(&at.path), message)
                    .help("it is made anew whenever one is needed: from 10s to 1d, and minutes are enough"),
            );
        }
        Some(lifetime)
    }

    /// Who reads the spec must not be able to sign.
    fn key_is_secret(&mut self, at: &At<'_>, names: &[String]) {
        let used = self.defined.through_vars(names);
        if !used.iter().any(|(name, _)| name.starts_with("secrets.")) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::value(&at.path),
                    "this key is no secret: whoever reads it signs as we do",
                )
                .help("let a person give it: key: \"{{ secrets.private_key }}\""),
            );
        }
    }
}
