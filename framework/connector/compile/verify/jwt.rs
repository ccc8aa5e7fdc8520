//! A JSON Web Token: its algorithms are the spec's, and what it says is bound to us.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value as Json;

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use super::keys::key_format;
use super::names;
use crate::connector::model::{Jwt, JwtAlgorithm, KeySource, Proof};
use crate::connector::template::{Condition, Text};
use crate::spec::mistake::{Code, Mistake, Place};

/// How far the clocks may lie apart, where the spec does not say.
const LEEWAY: Duration = Duration::from_secs(60);
/// Where keys stand by which anybody with an account has a token signed, for an audience of their choice.
static PUBLIC_ISSUERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let file: Json = serde_json::from_str(include_str!("../../../../schemas/public-issuers.json"))
        .expect("schemas/public-issuers.json is JSON");
    let keys = file["keys"].as_array().into_iter().flatten();
    keys.filter_map(|url| url.as_str().map(str::to_owned)).collect()
});

impl Compiler {
    /// A JSON Web Token.
    pub(super) fn jwt(&mut self, at: &At<'_>) -> Option<Proof> {
        let place = self.place(at);
        let algorithms: Vec<JwtAlgorithm> =
            at.get("algorithms")?.items().filter_map(|at| at.text().and_then(JwtAlgorithm::named)).collect();
        let keys = self.jwt_keys(at, &algorithms);
        let issuers = self.bound_texts(at, "issuer");
        let audiences = self.bound_texts(at, "audience");
        let bound = self.requires_claims(at);
        let anyones = at
            .text_of("jwks_url")
            .is_some_and(|url| PUBLIC_ISSUERS.iter().any(|known| url.starts_with(known)));
        if anyones && !bound && !audiences.is_empty() {
            self.report(
                Mistake::new(
                    Code::AnyCustomer,
                    Place::key(&at.path.join("jwks_url")),
                    "whoever has an account there gets a token for any audience, and nothing says whose token it is",
                )
                .help("hold the account against what we know, `require: [claims.email == settings.service_account, claims.email_verified == true]`"),
            );
        }
        if at.has("jwks_url") && audiences.is_empty() && !bound {
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

    /// The texts that a claim must equal. The request has no say in them, nor has a default of the spec.
    fn bound_texts(&mut self, at: &At<'_>, key: &str) -> Vec<Text> {
        let all = at.get(key).map(|at| at.one_or_many()).unwrap_or_default();
        let mut texts = Vec::new();
        for at in &all {
            let Some(text) = self.text(at, Here::Request) else { continue };
            self.not_by_request(at, &text, key);
            texts.push(text);
        }
        texts
    }

    /// Whether `require` holds a claim against what the spec or the operator says: not against itself, the request or
    /// that it is there.
    fn requires_claims(&mut self, at: &At<'_>) -> bool {
        let mut bound = false;
        for at in at.get("require").map(|at| at.one_or_many()).unwrap_or_default() {
            let Some(condition) = at.text().and_then(|text| Condition::compile(text).ok()) else { continue };
            for (name, text) in condition.pins() {
                if !names(&[name], "claims") {
                    continue;
                }
                let through = self.defined.through_vars(&text.names());
                let through: Vec<String> = through.into_iter().map(|(name, _)| name).collect();
                if ["request", "item", "claims"].iter().any(|root| names(&through, root)) {
                    continue;
                }
                self.not_by_default(&at, &text, "value");
                // A flag, `claims.email_verified == true`, is nobody's in particular.
                bound |= !through.is_empty() || text.source().contains(['\'', '"']);
            }
        }
        bound
    }
}
