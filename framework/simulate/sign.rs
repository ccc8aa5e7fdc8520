//! What the receiver verifies, made: the stand-in proves who it is as the spec says the vendor does.
//!
//! Called by the sender for each attempt, since a signature may hold the time. It uses the newest secrets.

use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::guard::basic;
use super::invert::{write, write_time};
use crate::connector::instance::Instance;
use crate::connector::model::{Encoding, Hash, KeyEncoding, SignedTime, Verify};
use crate::connector::pick::Pick;
use crate::connector::template::{RequestFacts, Text};
use crate::error::{Error, Kind, Result};

/// A push before it is sent: what the signature may be made from.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// The receiver's public URL, as the vendor knows it.
    pub url: url::Url,
    /// The headers so far.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// Signs a push. `Err` where the spec verifies something that a stand-in cannot make.
pub fn sign(instance: &Instance, push: &mut Unsigned, now: Timestamp) -> Result<()> {
    match &instance.connector.receiver.verify {
        Verify::Token { place, equals } => put(push, place, &equals.render(&instance.scope())?),
        Verify::Basic { username, password } => {
            let scope = instance.scope();
            let pair = format!("{}:{}", username.render(&scope)?, password.render(&scope)?);
            set_header(&mut push.headers, "authorization", &basic(&pair))
        }
        Verify::Hmac { hash, keys, key_encoding, key_prefix, message, signature, timestamp } => {
            if let Some(SignedTime { place, format, .. }) = timestamp {
                let time = write_time(*format, now, None);
                put(push, place, &time.as_str().map_or_else(|| time.to_string(), str::to_owned))?;
            }
            let key = key(instance, keys, *key_encoding, key_prefix.as_deref())?;
            let message = message.render_bytes(&instance.scope().with_request(Arc::new(facts(push))))?;
            let mac = hmac::sign(&hmac::Key::new(algorithm(*hash), &key), &message);
            let text = encode(mac.as_ref(), signature.encoding);
            let text = format!("{}{text}", signature.prefix.as_deref().unwrap_or_default());
            put(push, &signature.place, &text)
        }
    }
}

fn algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

fn key(instance: &Instance, keys: &[Text], encoding: KeyEncoding, prefix: Option<&str>) -> Result<Vec<u8>> {
    let bad = |what: &str| Error::new(Kind::Configuration, format!("the key of the signature is no {what}"));
    let Some(key) = keys.first() else { return Err(Error::new(Kind::Finding, "verify names no key")) };
    let text = key.render(&instance.scope())?;
    let text = prefix.and_then(|prefix| text.strip_prefix(prefix)).unwrap_or(&text);
    match encoding {
        KeyEncoding::Text => Ok(text.as_bytes().to_vec()),
        KeyEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| bad("hexadecimal text")),
        KeyEncoding::Base64 => {
            BASE64_NOPAD.decode(text.trim_end_matches('=').as_bytes()).map_err(|_| bad("base64 text"))
        }
    }
}

fn encode(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => HEXLOWER.encode(bytes),
        Encoding::Base64 => BASE64.encode(bytes),
        Encoding::Base64Url => BASE64URL_NOPAD.encode(bytes),
    }
}

/// Writes a text where the receiver will pick it.
fn put(push: &mut Unsigned, place: &Pick, text: &str) -> Result<()> {
    match place {
        Pick::Header(name) => set_header(&mut push.headers, name, text),
        Pick::Query(name) => {
            push.url.query_pairs_mut().append_pair(name, text);
            Ok(())
        }
        Pick::Item(pointer) | Pick::Body(pointer) => {
            let mut body: Json = serde_json::from_slice(&push.body).map_err(|e| {
                Error::new(Kind::Finding, "the body is no single document to sign").because(e)
            })?;
            write(&mut body, pointer, Json::String(text.to_owned()));
            push.body = body.to_string().into_bytes();
            Ok(())
        }
        Pick::Form(name) => Err(Error::new(Kind::Finding, format!("the stand-in sends no forms: `{name}`"))),
    }
}

/// Sets a header, the value marked sensitive.
pub fn set_header(headers: &mut HeaderMap, name: &str, text: &str) -> Result<()> {
    let name = HeaderName::try_from(name)
        .map_err(|e| Error::new(Kind::Finding, format!("`{name}` is no header name")).because(e))?;
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::new(Kind::Configuration, format!("what `{name}` shall carry is no header value"))
    })?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// What the receiver's templates will see of the request.
fn facts(push: &Unsigned) -> RequestFacts {
    RequestFacts {
        method: http::Method::POST,
        url: push.url.to_string(),
        path: push.url.path().to_owned(),
        query: push.url.query().unwrap_or_default().to_owned(),
        headers: push.headers.clone(),
        body: Bytes::copy_from_slice(&push.body),
    }
}
