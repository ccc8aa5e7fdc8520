//! Ways to sign a call: the auth of the spec with the values of the moment.
//!
//! `caller` asks for [`Credentials`] and puts them on the request; where a token must be fetched first, `token`
//! does that. Values of headers made here are marked sensitive, and nothing here is printed.

use aws_lc_rs::digest;
use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value as Json};
use url::{Url, form_urlencoded};

use super::Request;
use super::mask::Mask;
use super::render::{checked_url, header, scalar};
use crate::connector::model::{Auth, Call, ClientAuth, Connector};
use crate::connector::template::{Scope, Text};
use crate::error::{Error, Kind, Result};

/// What signs a call.
pub enum Credentials {
    /// Nothing does.
    None,
    /// Headers.
    Headers(Vec<(HeaderName, HeaderValue)>),
    /// A token that the call brings along: the header, and the token to read its scopes from.
    Bearer(HeaderValue, String),
    /// A token that is fetched.
    Client(Grant),
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
pub fn credentials(auth: &Auth, scope: &Scope, mask: &mut Mask) -> Result<Credentials> {
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
        Auth::Headers { headers } => {
            let rendered = headers.iter().filter_map(|(name, text)| {
                let value = text.value(scope).and_then(|value| scalar(name, value)).transpose()?;
                Some(value.and_then(|value| header(name, &value, true)))
            });
            Credentials::Headers(rendered.collect::<Result<_>>()?)
        }
        Auth::ClientCredentials { token_url, client_auth, client_id, client_secret, params } => {
            Credentials::Client(Grant {
                token_url: checked_url(&token_url.render(scope)?, Some(mask))?,
                client_auth: *client_auth,
                client_id: client_id.render(scope)?,
                client_secret: client_secret.render(scope)?,
                params: pairs(params, scope)?,
            })
        }
    })
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

fn pairs(params: &[(String, Text)], scope: &Scope) -> Result<Vec<(String, String)>> {
    let rendered = params.iter().filter_map(|(name, text)| {
        let value = text.value(scope).and_then(|value| scalar(name, value)).transpose()?;
        Some(value.map(|value| (name.clone(), value)))
    });
    rendered.collect()
}

/// A client credentials grant (RFC 6749 section 4.4) with its values.
pub struct Grant {
    token_url: Url,
    client_auth: ClientAuth,
    client_id: String,
    client_secret: String,
    params: Vec<(String, String)>,
}

impl Grant {
    /// Tells one grant from another without holding its values: when a secret changes, so does this.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        let kind = match self.client_auth {
            ClientAuth::Form => "form",
            ClientAuth::Json => "json",
            ClientAuth::Basic => "basic",
        };
        let fixed = [self.token_url.as_str(), kind, &self.client_id, &self.client_secret];
        let params = self.params.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        for part in fixed.into_iter().chain(params) {
            // Each with its length, so that no two lists of parts run together.
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        fingerprint
    }

    /// The values that an answer must not show.
    pub fn hide_in(&self, mask: &mut Mask) {
        mask.add("client_secret", &self.client_secret);
    }

    /// The request for a token.
    pub fn request(&self) -> Result<Request> {
        let mut headers = HeaderMap::new();
        let mut fields = vec![("grant_type", "client_credentials")];
        match self.client_auth {
            ClientAuth::Form | ClientAuth::Json => {
                fields
                    .extend([("client_id", self.client_id.as_str()), ("client_secret", &self.client_secret)]);
            }
            ClientAuth::Basic => {
                let (name, value) = header("authorization", &self.basic(), true)?;
                headers.insert(name, value);
            }
        }
        fields.extend(self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (kind, body) = match self.client_auth {
            ClientAuth::Json => {
                let map = fields.into_iter().map(|(name, value)| (name.to_owned(), Json::from(value)));
                ("application/json", Json::Object(map.collect::<Map<_, _>>()).to_string())
            }
            ClientAuth::Form | ClientAuth::Basic => {
                let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                ("application/x-www-form-urlencoded", form)
            }
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Request { method: Method::POST, url: self.token_url.clone(), headers, body: Bytes::from(body) })
    }

    /// Id and secret are form-encoded before they are joined (RFC 6749 section 2.3.1): they may hold a colon.
    fn basic(&self) -> String {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(&self.client_id), encode(&self.client_secret));
        format!("Basic {}", BASE64.encode(pair.as_bytes()))
    }
}
