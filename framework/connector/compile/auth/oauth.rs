//! The token endpoints of OAuth 2.0: who asks, and with what.

use super::super::at::At;
use super::super::compiler::Compiler;
use super::super::names::Here;
use crate::connector::model::{Client, ClientProof, Grant, OAuth, TokenSource};

impl Compiler {
    /// A client that asks for itself.
    pub(super) fn client_credentials(&mut self, at: &At<'_>) -> Option<OAuth> {
        let client = self.client(at);
        self.oauth(at, Grant::ClientCredentials, Some(client?))
    }

    /// A refresh token; the client may be a public one.
    pub(super) fn refresh(&mut self, at: &At<'_>) -> Option<OAuth> {
        self.credential(at, "refresh_token");
        let refresh_token = self.text_of(at, "refresh_token", Here::Auth);
        let client = if at.has("client_id") || at.has("client_secret") || at.has("client_auth") {
            Some(self.client(at)?)
        } else {
            None
        };
        self.oauth(at, Grant::Refresh { refresh_token: refresh_token? }, client)
    }

    /// An assertion: exchanged for a token, or itself the token.
    pub(super) fn jwt_bearer(&mut self, at: &At<'_>) -> Option<TokenSource> {
        let assertion = self.assertion(at);
        if !at.has("token_url") {
            if let Some(params) = at.get("params") {
                self.missing_key(
                    at,
                    "token_url",
                    "`params` go to a token endpoint: say which, or leave them out",
                );
                self.texts(&params, Here::Auth);
            }
            return assertion.map(TokenSource::Signed);
        }
        if at.get("claims").is_some_and(|claims| !claims.has("iss")) {
            let claims = at.get("claims")?;
            self.missing_key(
                &claims,
                "iss",
                "a token endpoint asks who signed: iss: \"{{ secrets.client_id }}\"",
            );
        }
        self.oauth(at, Grant::JwtBearer(assertion?), None).map(TokenSource::OAuth)
    }

    fn oauth(&mut self, at: &At<'_>, grant: Grant, client: Option<Client>) -> Option<OAuth> {
        let token_url = at.get("token_url").and_then(|at| self.url(&at, Here::Auth, false));
        let params = at.get("params").map(|at| self.texts(&at, Here::Auth)).unwrap_or_default();
        Some(OAuth { token_url: token_url?, grant, client, params })
    }

    fn client(&mut self, at: &At<'_>) -> Option<Client> {
        let id = self.text_of(at, "client_id", Here::Auth);
        self.credential(at, "client_secret");
        let secret = self.text_of(at, "client_secret", Here::Auth);
        let how =
            at.text_of("client_auth").unwrap_or(if at.has("client_secret") { "form" } else { "public" });
        let proof = match (how, secret) {
            ("private_key_jwt", _) => ClientProof::PrivateKey(self.assertion(at)?),
            ("form", Some(secret)) => ClientProof::Form(secret),
            ("json", Some(secret)) => ClientProof::Json(secret),
            ("basic", Some(secret)) => ClientProof::Basic(secret),
            ("public", _) => ClientProof::Public,
            _ => {
                if !at.has("client_secret") {
                    let help = "add `client_secret:`, for example \"{{ secrets.client_secret }}\"";
                    self.missing_key(at, "client_secret", help);
                }
                return None;
            }
        };
        if !at.has("client_id") {
            self.missing_key(at, "client_id", "add `client_id:`, for example \"{{ secrets.client_id }}\"");
        }
        Some(Client { id: id?, proof })
    }
}
