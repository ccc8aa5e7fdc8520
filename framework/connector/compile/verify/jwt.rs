//! A JSON Web Token: its algorithms are the spec's, and what it says is bound to us.

use std::time::Duration;

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::keys::key_format;
use super::names;
use crate::connector::model::{Jwt, JwtAlgorithm, KeySource, Proof};
use crate::spec::mistake::{Code, Mistake, Place};

/// How far the clocks may lie apart, where the spec does not say.
const LEEWAY: Duration = Duration::from_secs(60);

impl Compiler {
    /// A JSON Web Token.
    pub(super) fn jwt(&mut self, at: &At<'_>) -> Option<Proof> {
        let place = self.place(at);
        let algorithms: Vec<JwtAlgorithm> =
            at.get("algorithms")?.items().filter_map(|at| at.text().and_then(JwtAlgorithm::named)).collect();
        let keys = self.jwt_keys(at, &algorithms);
        let issuers = self.some_texts(at, "issuer", Here::Request);
        let audiences = self.some_texts(at, "audience", Here::Request);
        if at.has("jwks_url") && audiences.is_empty() && !self.requires_claims(at) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::key(&at.path.join("jwks_url")),
                    "whoever these keys sign for gets in: a token made for somebody else is taken too",
                )
                .help(
                    "say for whom a token must be made, `audience: \"{{ receiver.url }}\"`, or name what tells \
                     the vendor's own tokens in `require`, `claims.NAME == …`",
                ),
            );
        }
        let max_age = at.get("max_age").map(|at| self.duration(&at));
        let leeway = at.get("leeway").and_then(|at| self.duration(&at)).unwrap_or(LEEWAY);
        Some(Proof::Jwt(Jwt {
            place: place?,
            scheme: at.text_of("scheme").map(str::to_owned),
            algorithms,
            keys: keys?,
            format: key_format(at),
            issuers,
            audiences,
            max_age: max_age.flatten(),
            leeway,
        }))
    }

    /// Keys of the one kind that the algorithms take: a public key must never serve as a shared secret.
    fn jwt_keys(&mut self, at: &At<'_>, algorithms: &[JwtAlgorithm]) -> Option<KeySource> {
        let shared = algorithms.iter().filter(|known| matches!(known, JwtAlgorithm::Shared(_))).count();
        let mixed = shared > 0 && shared < algorithms.len();
        if mixed || (shared > 0 && at.has("jwks_url")) {
            self.report(
                Mistake::new(
                    Code::OpenDoor,
                    Place::value(&at.path.join("algorithms")),
                    "HS algorithms and public keys do not go together: who knows the public key could sign with it",
                )
                .help("list the algorithms that the vendor uses: HS… with a shared `key`, the others with `jwks_url` or a public `key`"),
            );
        }
        if at.has("jwks_url") {
            return self.jwks_url(at);
        }
        if shared > 0 { self.shared_keys(at) } else { self.public_keys(at) }.map(KeySource::Named)
    }

    fn requires_claims(&self, at: &At<'_>) -> bool {
        at.get("require")
            .iter()
            .flat_map(|at| at.items())
            .filter_map(|at| crate::connector::template::Condition::compile(at.text()?).ok())
            .any(|condition| names(&condition.names(), "claims"))
    }
}
