//! JSON Web Tokens, made as the receiver checks them.

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::{keys, pairs};
use crate::connector::model::{Jwt, JwtAlgorithm, KeySource};
use crate::connector::template::{Scope, Text};
use crate::error::{Error, Kind, Result};

/// How long a token is good, in seconds.
const LIFETIME: i64 = 300;

/// A token that says what is wanted of it, and what `require` compares its claims with.
pub(super) fn made(
    jwt: &Jwt,
    defined: impl Iterator<Item = (String, Text)>,
    scope: &Scope,
    now: Timestamp,
) -> Result<String> {
    let nobody = || Error::new(Kind::Finding, "verify names no algorithm");
    let algorithm = keys::token_algorithm(jwt).ok_or_else(nobody)?;
    let seconds = now.as_second();
    let mut claims = Map::new();
    for (name, texts) in [("iss", &jwt.issuers), ("aud", &jwt.audiences)] {
        if let Some(text) = texts.first() {
            claims.insert(name.to_owned(), Json::from(text.render(scope)?));
        }
    }
    for (name, time) in [("iat", seconds), ("nbf", seconds), ("exp", seconds + LIFETIME)] {
        claims.insert(name.to_owned(), Json::from(time));
    }
    for (name, text) in defined {
        if let (Some(name), Some(value)) = (name.strip_prefix("claims."), text.value(scope)?) {
            claims.insert(name.to_owned(), value);
        }
    }
    let head = json!({"typ": "JWT", "alg": algorithm.name(), "kid": pairs::KEY_ID});
    let part = |value: &Json| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&head), part(&Json::Object(claims)));
    let tag = match (algorithm, &jwt.keys) {
        (JwtAlgorithm::Shared(hash), KeySource::Named(named)) => {
            let key = hmac::Key::new(keys::hmac_algorithm(hash), &keys::shared(named, scope)?);
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        }
        (JwtAlgorithm::Shared(_), KeySource::Fetched(_)) => return Err(nobody()),
        (JwtAlgorithm::Private(algorithm), _) => pairs::sign(algorithm, message.as_bytes())?,
    };
    Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&tag)))
}
