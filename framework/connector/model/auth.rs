//! Ways to sign a call.

use crate::connector::template::Text;

/// A way to sign a call.
#[derive(Debug)]
pub enum Auth {
    /// `Authorization: Bearer TOKEN`.
    Bearer {
        /// The token.
        token: Text,
    },
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user.
        username: Text,
        /// The password.
        password: Text,
    },
    /// Headers of any name.
    Headers {
        /// Name and value.
        headers: Vec<(String, Text)>,
    },
    /// OAuth 2.0 client credentials (RFC 6749 section 4.4).
    ClientCredentials {
        /// Where the token is fetched.
        token_url: Text,
        /// How id and secret are sent.
        client_auth: ClientAuth,
        /// The client's id.
        client_id: Text,
        /// The client's secret.
        client_secret: Text,
        /// Further parameters of the token request: audience, scope, resource.
        params: Vec<(String, Text)>,
    },
}

/// How an OAuth client proves itself to the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// In a form body.
    Form,
    /// In a JSON body.
    Json,
    /// HTTP Basic, the other parameters in a form body.
    Basic,
}
