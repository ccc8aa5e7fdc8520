//! Token endpoints of OAuth 2.0: the request, and what its answer says.
//!
//! `signer` asks for one request a renewal; `stand-in` and vendors see the same. Nothing here is printed.

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use url::form_urlencoded;

use super::Request;
use super::assertion::{self, signed};
use super::mask::Mask;
use super::render::{checked_url, header, scalar};
use super::token::{LARGEST, Token, jwt_scopes, lifetime, scope_list};
use crate::connector::model::{Assertion, Client, ClientProof, Errors, Grant, OAuth};
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::{Scope, Text};
use crate::error::Result;

/// What says that a parameter is an assertion (RFC 7523).
const BY_ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// What says that a client's assertion is one.
const CLIENT_BY_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The request for a token. What is found out to be secret is added to the mask.
pub fn request(oauth: &OAuth, scope: &Scope, now: Timestamp, mask: &mut Mask) -> Result<Request> {
    let url = checked_url(&oauth.token_url.render(scope)?, Some(mask))?;
    let mut fields = Fields::default();
    match &oauth.grant {
        Grant::ClientCredentials => fields.set("grant_type", "client_credentials"),
        Grant::Refresh { refresh_token } => {
            // What is kept goes before what was given.
            let kept = Text::compile("{{ auth.refresh_token | default(omit) }}").ok();
            let kept = kept.map(|kept| kept.value(scope)).transpose()?.flatten();
            let token = match kept {
                Some(Json::String(kept)) => kept,
                _ => refresh_token.render(scope)?,
            };
            mask.add("refresh_token", &token);
            fields.set("grant_type", "refresh_token");
            fields.set("refresh_token", &token);
        }
        Grant::JwtBearer(assertion) => {
            fields.set("grant_type", BY_ASSERTION);
            fields.set("assertion", &for_endpoint(assertion, url.as_str(), None, scope, now, mask)?);
        }
    }
    let mut headers = HeaderMap::new();
    let mut as_json = false;
    if let Some(Client { id, proof }) = &oauth.client {
        let id = id.render(scope)?;
        match proof {
            ClientProof::Public => fields.set("client_id", &id),
            ClientProof::Form(secret) | ClientProof::Json(secret) => {
                let secret = secret.render(scope)?;
                mask.add("client_secret", &secret);
                fields.set("client_id", &id);
                fields.set("client_secret", &secret);
                as_json = matches!(proof, ClientProof::Json(_));
            }
            ClientProof::Basic(secret) => {
                let secret = secret.render(scope)?;
                mask.add("client_secret", &secret);
                let (name, value) = header("authorization", &basic(&id, &secret), true)?;
                headers.insert(name, value);
            }
            ClientProof::PrivateKey(assertion) => {
                fields.set("client_id", &id);
                fields.set("client_assertion_type", CLIENT_BY_ASSERTION);
                let signed = for_endpoint(assertion, url.as_str(), Some(&id), scope, now, mask)?;
                fields.set("client_assertion", &signed);
            }
        }
    }
    for (name, text) in &oauth.params {
        if let Some(value) = scalar(name, text.value(scope)?)? {
            fields.set(name, &value);
        }
    }
    let (kind, body) = fields.written(as_json);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(Request { method: Method::POST, url, headers, body: Bytes::from(body) })
}

/// An assertion for a token endpoint; a client's own says whose it is (RFC 7523 section 3).
fn for_endpoint(
    assertion: &Assertion,
    endpoint: &str,
    client: Option<&str>,
    scope: &Scope,
    now: Timestamp,
    mask: &mut Mask,
) -> Result<String> {
    let mut added = Map::new();
    for name in client.map(|_| ["iss", "sub"]).into_iter().flatten() {
        added.insert(name.to_owned(), client.into());
    }
    added.insert("aud".to_owned(), endpoint.into());
    added.insert("jti".to_owned(), assertion::fresh_id().into());
    let token = signed(assertion, added, scope, now)?;
    mask.add("assertion", &token);
    Ok(token)
}

/// Id and secret are form-encoded before they are joined (RFC 6749 section 2.3.1): they may hold a colon.
fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", BASE64.encode(format!("{}:{}", encode(id), encode(secret)).as_bytes()))
}

/// The parameters of a token request, each once.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn written(self, as_json: bool) -> (&'static str, String) {
        if as_json {
            let map = self.0.into_iter().map(|(name, value)| (name, Json::from(value)));
            return ("application/json", Json::Object(map.collect::<Map<_, _>>()).to_string());
        }
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.0).finish();
        ("application/x-www-form-urlencoded", form)
    }
}

/// Where OAuth says what went wrong (RFC 6749 section 5.2), and where others do who answer in its place.
pub fn errors() -> Errors {
    let pick = |name: &str| Pick::Body(Pointer(vec![name.to_owned()]));
    Errors { message: ["error_description", "error", "message"].map(pick).to_vec(), ..Errors::default() }
}

/// The token of an answer (RFC 6749 section 5.1), and a refresh token that comes with it.
pub fn read(json: Option<&Json>, asked_at: Timestamp) -> Result<(Token, Option<String>), &'static str> {
    let json = json.ok_or("the answer of the token endpoint is no JSON")?;
    let text_of = |name: &str| json.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
    let text = text_of("access_token").ok_or("the answer of the token endpoint has no access_token")?;
    if text.len() > LARGEST {
        return Err("the access_token is larger than 64 KiB");
    }
    let kind = json.get("token_type").and_then(Json::as_str).unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("the token_type is not Bearer, and no other can be sent");
    }
    if HeaderValue::from_bytes(text.as_bytes()).is_err() {
        return Err("the access_token holds characters that no header may hold");
    }
    let refresh = text_of("refresh_token").map(str::to_owned);
    if refresh.as_ref().is_some_and(|refresh| refresh.len() > LARGEST) {
        return Err("the refresh_token is larger than 64 KiB");
    }
    let scopes = json.get("scope").and_then(scope_list).or_else(|| jwt_scopes(text));
    Ok((Token::of(text, scopes, asked_at, lifetime(json.get("expires_in"))), refresh))
}
