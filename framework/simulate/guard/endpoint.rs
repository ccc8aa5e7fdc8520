//! The token endpoints of OAuth 2.0 as the stand-in plays them: each client, grant and parameter is checked
//! against what the spec would send, and a refresh token serves once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::assertions::{Expected, Taken};
use crate::connector::model::{Client, ClientProof, Grant, OAuth};
use crate::connector::template::{Scope, Text};
use crate::error::Result;
use crate::simulate::answer::{Answer, Incoming};
use crate::simulate::credentials::{basic, form_encoded, text_of};

/// What a grant is called in a request.
pub(super) fn grant_type(grant: &Grant) -> &'static str {
    match grant {
        Grant::ClientCredentials => "client_credentials",
        Grant::Refresh { .. } => "refresh_token",
        Grant::JwtBearer(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
    }
}

/// One request to a token endpoint, and what it is held against.
pub(super) struct Asked<'a> {
    pub(super) oauth: &'a OAuth,
    pub(super) incoming: &'a Incoming,
    /// The endpoint's URL, for whom an assertion must be made.
    pub(super) url: &'a str,
    /// The refresh token that is good now; `None`: the one that was given first.
    pub(super) refresh: Option<String>,
    pub(super) taken: &'a Taken,
    pub(super) scope: &'a Scope,
    pub(super) now: Timestamp,
}

impl Asked<'_> {
    /// Why there is no token, in the words of RFC 6749 section 5.2.
    pub(super) fn refusal(&self) -> Result<Option<Answer>> {
        if self.incoming.method != http::Method::POST {
            return Ok(Some(oauth_error(405, "invalid_request", "the token endpoint takes POST")));
        }
        let Some(sent) = self.parameters() else {
            return Ok(Some(oauth_error(
                400,
                "invalid_request",
                "the body is not of the expected content type",
            )));
        };
        let mut allowed = BTreeSet::from(["grant_type"]);
        let refused = match self.wrong_client(&sent, &mut allowed)? {
            None => match self.wrong_params(&sent, &mut allowed)? {
                None => self.wrong_grant(&sent, &mut allowed)?,
                refused => refused,
            },
            refused => refused,
        };
        let unknown = || sent.keys().find(|name| !allowed.contains(name.as_str()));
        Ok(refused.or_else(|| {
            unknown().map(|name| oauth_error(400, "invalid_request", &format!("unknown parameter `{name}`")))
        }))
    }

    /// A parameter that the spec gives a value of its own.
    fn own(&self, name: &str) -> Option<&Text> {
        self.oauth.params.iter().find(|(known, _)| known == name).map(|(_, text)| text)
    }

    fn wrong_client(
        &self,
        sent: &BTreeMap<String, String>,
        allowed: &mut BTreeSet<&str>,
    ) -> Result<Option<Answer>> {
        let Some(Client { id, proof }) = &self.oauth.client else { return Ok(None) };
        let id = id.render(self.scope)?;
        let named = sent.get("client_id") == Some(&id);
        let known = match proof {
            ClientProof::Public => {
                allowed.insert("client_id");
                named
            }
            ClientProof::Form(secret) | ClientProof::Json(secret) => {
                allowed.extend(["client_id", "client_secret"]);
                named && sent.get("client_secret") == Some(&secret.render(self.scope)?)
            }
            // RFC 6749 section 2.3.1: both are form-encoded before they are joined. Many vendors take them
            // as they stand, and so does this one.
            ClientProof::Basic(secret) => {
                let secret = secret.render(self.scope)?;
                let given = text_of(&self.incoming.headers, "authorization");
                let encoded = format!("{}:{}", form_encoded(&id), form_encoded(&secret));
                given == Some(basic(&format!("{id}:{secret}")).as_str())
                    || given == Some(basic(&encoded).as_str())
            }
            ClientProof::PrivateKey(assertion) => {
                allowed.extend(["client_id", "client_assertion_type", "client_assertion"]);
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                if !named || sent.get("client_assertion_type").map(String::as_str) != Some(kind) {
                    return Ok(Some(oauth_error(401, "invalid_client", "Client authentication failed")));
                }
                let mut added = self.audience();
                added.insert("iss".to_owned(), id.as_str().into());
                added.insert("sub".to_owned(), id.as_str().into());
                let expected = Expected { assertion, added, scope: self.scope, now: self.now };
                let token = sent.get("client_assertion").map_or("", String::as_str);
                return Ok(expected
                    .refusal(token, Some(self.taken))?
                    .map(|why| oauth_error(401, "invalid_client", &why)));
            }
        };
        Ok((!known).then(|| oauth_error(401, "invalid_client", "Client authentication failed")))
    }

    fn audience(&self) -> Map<String, Json> {
        Map::from_iter([("aud".to_owned(), Json::from(self.url))])
    }

    fn wrong_grant(
        &self,
        sent: &BTreeMap<String, String>,
        allowed: &mut BTreeSet<&str>,
    ) -> Result<Option<Answer>> {
        let wanted = match self.own("grant_type") {
            Some(own) => own.render(self.scope)?,
            None => grant_type(&self.oauth.grant).to_owned(),
        };
        if sent.get("grant_type") != Some(&wanted) {
            let why = format!("only {wanted} is known here");
            return Ok(Some(oauth_error(400, "unsupported_grant_type", &why)));
        }
        let why = match &self.oauth.grant {
            Grant::ClientCredentials => None,
            Grant::Refresh { refresh_token } => {
                allowed.insert("refresh_token");
                let good = match &self.refresh {
                    Some(newer) => newer.clone(),
                    None => refresh_token.render(self.scope)?,
                };
                let why = "the refresh token is unknown, or was used before";
                (sent.get("refresh_token") != Some(&good)).then(|| why.to_owned())
            }
            Grant::JwtBearer(assertion) => {
                allowed.insert("assertion");
                let expected =
                    Expected { assertion, added: self.audience(), scope: self.scope, now: self.now };
                expected.refusal(sent.get("assertion").map_or("", String::as_str), Some(self.taken))?
            }
        };
        Ok(why.map(|why| oauth_error(400, "invalid_grant", &why)))
    }

    fn wrong_params<'a>(
        &'a self,
        sent: &BTreeMap<String, String>,
        allowed: &mut BTreeSet<&'a str>,
    ) -> Result<Option<Answer>> {
        for (name, value) in &self.oauth.params {
            allowed.insert(name);
            let value = value.value(self.scope)?;
            let wanted = value.as_ref().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            if sent.get(name) != wanted.as_ref() {
                return Ok(Some(oauth_error(
                    403,
                    "access_denied",
                    &format!("`{name}` is not what it must be"),
                )));
            }
        }
        Ok(None)
    }

    fn parameters(&self) -> Option<BTreeMap<String, String>> {
        let json = matches!(self.oauth.client, Some(Client { proof: ClientProof::Json(_), .. }));
        if !json {
            let form = self.incoming.is_of("application/x-www-form-urlencoded");
            return form.then(|| self.incoming.form.clone());
        }
        let Some(Json::Object(map)) = &self.incoming.json else { return None };
        let text = |v: &Json| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        self.incoming
            .is_of("application/json")
            .then(|| map.iter().map(|(name, value)| (name.clone(), text(value))).collect())
    }
}

/// A refusal of a token endpoint.
pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Answer {
    Answer::json(status, serde_json::json!({"error": error, "error_description": description}))
}
