//! Private keys that the stand-in gives a client, as a vendor's console does: a pair of its own a process.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair,
};

use crate::connector::model::{
    Assertion, Auth, ClientProof, Connector, Grant, JwtAlgorithm, KeyKind, OAuth, TokenSource,
};
use crate::error::{Error, Kind, Result};
use crate::simulate::sign::pem;

static RSA: LazyLock<Option<String>> = LazyLock::new(|| {
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).ok()?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok()?;
    Some(pem("PRIVATE KEY", der.as_ref()))
});
static ED25519: LazyLock<Option<String>> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::generate().ok()?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok()?;
    Some(pem("PRIVATE KEY", der.as_ref()))
});
static P256: LazyLock<Option<String>> = LazyLock::new(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
static P384: LazyLock<Option<String>> = LazyLock::new(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING));

fn ec(curve: &'static EcdsaSigningAlgorithm) -> Option<String> {
    let pair = EcdsaKeyPair::generate(curve).ok()?;
    let der = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&pair.private_key()).ok()?;
    Some(pem("EC PRIVATE KEY", der.as_ref()))
}

/// The private key for a name of the spec (`secrets.private_key`), where an auth signs with it.
pub fn given_for(connector: &Connector, name: &str) -> Result<Option<String>> {
    let signs = connector.auths.values().flat_map(assertions).find(|assertion| {
        let vars = connector.vars.iter().filter(|(_, text)| text.names().iter().any(|known| known == name));
        let by_var: Vec<String> = vars.map(|(var, _)| format!("vars.{var}")).collect();
        assertion.key.names().iter().any(|known| known == name || by_var.contains(known))
    });
    let Some(JwtAlgorithm::Private(algorithm)) = signs.map(|assertion| assertion.algorithm) else {
        return Ok(None);
    };
    let key = match algorithm.key_kind() {
        KeyKind::Ed25519 => &ED25519,
        KeyKind::P256 => &P256,
        KeyKind::P384 => &P384,
        KeyKind::Rsa => &RSA,
    };
    let key = LazyLock::force(key)
        .clone()
        .ok_or_else(|| Error::new(Kind::Io, "the stand-in cannot make a key pair"))?;
    Ok(Some(key))
}

/// What an auth signs.
fn assertions(auth: &Auth) -> Vec<&Assertion> {
    let Auth::Token(token) = auth else { return Vec::new() };
    match &token.source {
        TokenSource::Signed(assertion) => vec![assertion],
        TokenSource::OAuth(OAuth { grant, client, .. }) => {
            let by_grant = match grant {
                Grant::JwtBearer(assertion) => Some(assertion),
                Grant::ClientCredentials | Grant::Refresh { .. } => None,
            };
            let by_client = match client.as_ref().map(|client| &client.proof) {
                Some(ClientProof::PrivateKey(assertion)) => Some(assertion),
                Some(
                    ClientProof::Public | ClientProof::Form(_) | ClientProof::Json(_) | ClientProof::Basic(_),
                )
                | None => None,
            };
            by_grant.into_iter().chain(by_client).collect()
        }
        TokenSource::Exchange(_) => Vec::new(),
    }
}
