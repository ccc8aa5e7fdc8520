//! Ways to sign a call: the auth of the spec with the values of the moment.
//!
//! `signer` asks for [`Credentials`] and puts them on the request. Values of headers made here are marked
//! sensitive, and nothing here is printed.

use aws_lc_rs::digest;
use data_encoding::BASE64;
use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::Request;
use super::mask::Mask;
use super::render::{header, scalar};
use super::token::Token;
use crate::connector::model::{Auth, Call, Connector, TokenAuth, TokenSource};
use crate::connector::template::{Scope, Text};
use crate::error::{Error, Kind, Result};

/// What signs a call.
pub enum Credentials<'a> {
    /// Nothing does.
    None,
    /// Headers.
    Headers(Vec<(HeaderName, HeaderValue)>),
    /// A token that the call brings along: the header, and the token to read its scopes from.
    Bearer(HeaderValue, String),
    /// A token that is fetched or made.
    Token(&'a TokenAuth),
}

/// The auth that a call names, by name; `None` where nothing signs it.
pub fn named<'a>(connector: &'a Connector, call: &Call, scope: &Scope) -> Result<Option<(String, &'a Auth)>> {
    let Some(text) = &call.auth else { return Ok(None) };
    let name = text.render(scope)?;
    if name == "none" {
        return Ok(None);
    }
    match connector.auths.get(&name) {
        Some(auth) => Ok(Some((name, auth))),
        None => {
            let known: Vec<&str> = connector.auths.keys().map(String::as_str).collect();
            Err(Error::new(Kind::Configuration, format!("there is no auth `{name}` for `{}`", text.source()))
                .help(format!("the connector has {}", known.join(", "))))
        }
    }
}

/// Renders an auth. What is found out to be secret is added to the mask.
pub fn credentials<'a>(auth: &'a Auth, scope: &Scope, mask: &mut Mask) -> Result<Credentials<'a>> {
    Ok(match auth {
        Auth::Bearer { token } => {
            let token = token.render(scope)?;
            mask.add("token", &token);
            Credentials::Bearer(bearer(&token)?, token)
        }
        Auth::Basic { username, password } => {
            let pair =
                BASE64.encode(format!("{}:{}", username.render(scope)?, password.render(scope)?).as_bytes());
            mask.add("password", &pair);
            Credentials::Headers(vec![header("authorization", &format!("Basic {pair}"), true)?])
        }
        Auth::Headers { headers } => Credentials::Headers(rendered(headers, scope)?),
        Auth::Token(token) => Credentials::Token(token),
    })
}

/// Puts a token on a request, as its auth says.
pub fn carry(auth: &TokenAuth, token: &Token, scope: &Scope, request: &mut Request) -> Result<()> {
    let TokenSource::Exchange(exchange) = &auth.source else {
        sign(request, [(http::header::AUTHORIZATION, bearer(&token.text)?)]);
        return Ok(());
    };
    let mut own = token.saved.clone();
    own.insert("token".to_owned(), json!(&*token.text));
    let scope = scope.with("auth", own.into());
    sign(request, rendered(&exchange.headers, &scope)?);
    let mut query = request.url.clone();
    for (name, text) in &exchange.query {
        if let Some(value) = scalar(name, text.value(&scope)?)? {
            query.query_pairs_mut().append_pair(name, &value);
        }
    }
    request.url = query;
    Ok(())
}

fn rendered(headers: &[(String, Text)], scope: &Scope) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let rendered = headers.iter().filter_map(|(name, text)| {
        let value = text.value(scope).and_then(|value| scalar(name, value)).transpose()?;
        Some(value.and_then(|value| header(name, &value, true)))
    });
    rendered.collect()
}

/// `Authorization: Bearer TOKEN`.
pub fn bearer(token: &str) -> Result<HeaderValue> {
    header("authorization", &format!("Bearer {token}"), true).map(|(_, value)| value)
}

/// Puts headers on a request; one that is there already is replaced.
pub fn sign(request: &mut Request, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
    for (name, value) in headers {
        request.headers.insert(name, value);
    }
}

/// Tells what a token is made of without holding it: when a secret changes, so does this.
pub fn fingerprint(auth: &TokenAuth, scope: &Scope) -> Result<[u8; 32]> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for text in &auth.from {
        let value = text.value(scope)?.map(|value| value.to_string()).unwrap_or_default();
        for part in [text.source(), &value] {
            // Each with its length, so that no two lists of parts run together.
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    Ok(fingerprint)
}
