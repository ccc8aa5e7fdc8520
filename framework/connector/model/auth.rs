//! Ways to sign a call.

use std::time::Duration;

use super::call::Call;
use super::verify::JwtAlgorithm;
use crate::connector::pick::{Pick, TimeFormat};
use crate::connector::template::{Text, Tree};

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
    /// A token that is fetched or made, and kept until shortly before it expires.
    Token(Box<TokenAuth>),
}

/// A token that is fetched or made.
#[derive(Debug)]
pub struct TokenAuth {
    /// Where it comes from.
    pub source: TokenSource,
    /// The settings and secrets that it comes from, `omit` where one is not given: when one of them changes,
    /// the token and what was saved with it fall.
    pub from: Vec<Text>,
}

/// Where a token comes from.
#[derive(Debug)]
pub enum TokenSource {
    /// The token endpoint of OAuth 2.0.
    OAuth(OAuth),
    /// We sign it ourselves.
    Signed(Assertion),
    /// Any call.
    Exchange(TokenCall),
}

impl TokenSource {
    /// Whether something of it must survive a restart: the next token cannot be had without it.
    pub fn keeps(&self) -> bool {
        match self {
            Self::OAuth(oauth) => matches!(oauth.grant, Grant::Refresh { .. }),
            Self::Signed(_) => false,
            Self::Exchange(exchange) => !exchange.call.save.is_empty(),
        }
    }
}

/// A token endpoint of OAuth 2.0 (RFC 6749) and what it is asked with.
#[derive(Debug)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: Text,
    /// What entitles to a token.
    pub grant: Grant,
    /// Who asks; `None` where the grant says it.
    pub client: Option<Client>,
    /// Further parameters of the token request: audience, scope, resource. One that is named like ours stands
    /// in its place.
    pub params: Vec<(String, Text)>,
}

/// What entitles to a token.
#[derive(Debug)]
pub enum Grant {
    /// The client itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// A refresh token (section 6); one that comes with an answer takes its place.
    Refresh {
        /// The first one.
        refresh_token: Text,
    },
    /// A signed assertion (RFC 7523 section 2.1).
    JwtBearer(Assertion),
}

/// A client of a token endpoint.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: Text,
    /// How it shows that it is the one.
    pub proof: ClientProof,
}

/// How a client proves itself to a token endpoint.
#[derive(Debug)]
pub enum ClientProof {
    /// It does not: a public client.
    Public,
    /// By a secret in the form.
    Form(Text),
    /// By a secret in a JSON body.
    Json(Text),
    /// By HTTP Basic, the other parameters in a form.
    Basic(Text),
    /// By an assertion that it signs (RFC 7523 section 2.2).
    PrivateKey(Assertion),
}

/// A JSON Web Token that we sign.
#[derive(Debug)]
pub struct Assertion {
    /// How.
    pub algorithm: JwtAlgorithm,
    /// With what: a private key as PEM, or the shared secret.
    pub key: Text,
    /// What its head says beside `alg` and `typ`: `kid`, mostly.
    pub header: Tree,
    /// What it says beside `iat` and `exp`.
    pub claims: Tree,
    /// How long it is good.
    pub lifetime: Duration,
}

/// Any call that gives a token.
#[derive(Debug)]
pub struct TokenCall {
    /// The call; its `save` is what is kept as `auth.NAME`.
    pub call: Call,
    /// Where the token stands in the answer.
    pub token: Pick,
    /// How long it is good.
    pub expires: Expiry,
    /// The headers that carry it.
    pub headers: Vec<(String, Text)>,
    /// The parameters of the query that carry it.
    pub query: Vec<(String, Text)>,
}

/// How long a token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// Until a time that the answer tells.
    At(Pick, TimeFormat),
    /// For so many seconds as the answer tells.
    Seconds(Pick),
    /// Always so long.
    After(Duration),
}
