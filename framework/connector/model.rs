//! A connector as meant: what `compile` makes of a spec, and what every floor above works from.
//!
//! Shapes only; nothing here has behaviour, and nothing that is required is optional.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::pick::{Pick, Pointer, TimeFormat};
use super::schema::RecordSchema;
use super::template::{Condition, Text, Tree, Vars};

/// One vendor's stream, ready to run.
#[derive(Debug)]
pub struct Connector {
    /// The folder's name, and the default id of an instance.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Who pushes.
    pub vendor: String,
    /// One sentence.
    pub summary: Option<String>,
    /// The folder the spec stands in; other files of the connector are named from here.
    pub folder: PathBuf,
    /// The spec's file as it was given on the command line or in the configuration.
    pub file: PathBuf,
    /// What a person fills in, in the order of the spec.
    pub settings: Vec<Setting>,
    /// What a person fills in and nobody prints.
    pub secrets: Vec<SecretSpec>,
    /// Names for what is said more than once.
    pub vars: Vars,
    /// Ways to sign a call, by name.
    pub auths: BTreeMap<String, Auth>,
    /// The vendor's side.
    pub provision: Option<Provision>,
    /// Our side.
    pub receiver: Receiver,
    /// What a record looks like.
    pub output: Output,
    /// Items as the vendor sends them.
    pub samples: Vec<Json>,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in `settings.NAME`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// One or two sentences.
    pub description: String,
    /// Its JSON Schema: type, format, pattern, enum, items.
    pub schema: Json,
    /// The value where none was given.
    pub default: Option<Json>,
    /// An example for the docs.
    pub example: Option<Json>,
    /// What stands in the docs and in the curl of manual mode where nothing was given.
    pub placeholder: Option<String>,
    /// When it must be given.
    pub required: Required,
    /// What the docs say of it being required, where that is less than the rule.
    pub required_note: Option<String>,
}

/// When a setting or a secret must be given.
#[derive(Debug)]
pub enum Required {
    /// Never.
    No,
    /// Always.
    Yes,
    /// When this holds of the settings.
    When(Condition),
}

/// One secret.
#[derive(Debug)]
pub struct SecretSpec {
    /// Its name in `secrets.NAME`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// One or two sentences.
    pub description: String,
    /// The pattern its text must match (linear-time regex), anchored by the spec's author.
    pub pattern: Option<String>,
    /// What stands where nothing was given.
    pub placeholder: Option<String>,
    /// When it must be given.
    pub required: Required,
    /// What the docs say of it being required.
    pub required_note: Option<String>,
    /// How it is made where it is neither required nor given.
    pub generate: Option<Generate>,
}

/// How a secret is made.
#[derive(Debug, Clone, Copy)]
pub struct Generate {
    /// Bytes of randomness.
    pub bytes: usize,
    /// How they are written.
    pub encoding: Encoding,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal; read in any case, written in lower case.
    Hex,
    /// Base64 with padding (RFC 4648 section 4); read without it too.
    Base64,
    /// URL-safe base64 without padding (RFC 4648 section 5); read with it too.
    Base64Url,
}

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

/// The vendor's side of the stream.
#[derive(Debug)]
pub struct Provision {
    /// When this instance provisions at all; `None` is always.
    pub when: Option<Condition>,
    /// What we own at the vendor, in order of making.
    pub resources: Vec<Resource>,
}

/// Where the vendor says what went wrong.
#[derive(Debug, Default)]
pub struct Errors {
    /// Picks into the answer's body; the first that is there is the vendor's sentence.
    pub message: Vec<Pick>,
    /// What to do about a status.
    pub advice: BTreeMap<u16, String>,
}

/// Something we own at the vendor.
#[derive(Debug)]
pub struct Resource {
    /// Its name in `state.NAME`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// How it should be, in the shape of the vendor's answer.
    pub desired: Tree,
    /// There is always one, without an id: checked and updated, never created.
    pub singleton: bool,
    /// Places of `desired` that no update can change.
    pub immutable: Vec<Pointer>,
    /// Places of `desired` that the vendor never shows.
    pub write_only: Vec<Pointer>,
    /// What the vendor adds when all is well.
    pub healthy_example: Json,
    /// What differs from that when it is not.
    pub unhealthy_example: Option<Json>,
    /// How it is found without an id.
    pub find: Option<Find>,
    /// How it is made.
    pub create: Vec<Step>,
    /// What is done once to one that was found.
    pub adopt: Vec<Step>,
    /// How drift is mended; empty: by making a new one.
    pub update: Vec<Step>,
    /// How it is looked at.
    pub check: Option<Check>,
    /// How it is made healthy again.
    pub repair: Vec<Step>,
    /// How it is removed.
    pub delete: Vec<Step>,
}

/// How a resource is found without an id.
#[derive(Debug)]
pub struct Find {
    /// The call that lists.
    pub call: Call,
    /// Where in the answer the list stands.
    pub items: Pointer,
    /// Which item is ours.
    pub condition: Condition,
    /// What is kept of it: picks into the item.
    pub save: Vec<(String, Pick)>,
}

/// How a resource is looked at.
#[derive(Debug)]
pub struct Check {
    /// The call that reads it.
    pub call: Call,
    /// Where in the answer it stands.
    pub current: Pointer,
    /// How often.
    pub every: Duration,
    /// When it is well; `None`: whenever it is there.
    pub healthy: Option<Condition>,
    /// When it is gone, beside 404 and 410.
    pub gone: Option<Condition>,
}

/// One step of an operation.
#[derive(Debug)]
pub struct Step {
    /// What it is called in messages.
    pub name: Option<String>,
    /// Whether it is taken.
    pub when: Option<Condition>,
    /// What is sent; a step without one waits.
    pub call: Option<Call>,
    /// What it waits for.
    pub until: Option<Until>,
}

/// What a step waits for.
#[derive(Debug)]
pub struct Until {
    /// The condition.
    pub condition: Condition,
    /// How often it is tried.
    pub every: Duration,
    /// How long at most.
    pub at_most: Duration,
}

/// One outgoing call, with what `provision` says for all of them folded in.
#[derive(Debug)]
pub struct Call {
    /// GET, POST and so on.
    pub method: http::Method,
    /// The whole URL.
    pub url: Text,
    /// The name of the auth; `None`, and the text `none`, sign nothing.
    pub auth: Option<Text>,
    /// The permission it takes.
    pub scope: Option<String>,
    /// Name and value.
    pub headers: Vec<(String, Text)>,
    /// Name and value, added to the URL's query.
    pub query: Vec<(String, Text)>,
    /// What is sent.
    pub body: Body,
    /// How the answer is read.
    pub response: ResponseFormat,
    /// Whether a 2xx answer is a success.
    pub ok: Option<Condition>,
    /// What is kept of the answer.
    pub save: Vec<(String, Pick)>,
    /// Where the vendor says what went wrong.
    pub errors: Arc<Errors>,
    /// Whether the spec lets a secret into the URL.
    pub secret_in_url: bool,
}

/// The body of a call.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// JSON, built as data.
    Json(Tree),
    /// application/x-www-form-urlencoded. A list is a repeated field; `{json: …}` is JSON text.
    Form(Vec<(String, FormField)>),
    /// Text as it stands.
    Text(Text),
}

/// A field of a form.
#[derive(Debug)]
pub enum FormField {
    /// A value, or a list of them.
    Value(Text),
    /// Data, sent as JSON text.
    Json(Tree),
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseFormat {
    /// JSON.
    #[default]
    Json,
    /// Text.
    Text,
}

/// Our side of the stream.
#[derive(Debug)]
pub struct Receiver {
    /// The path that the vendor posts to.
    pub path: Text,
    /// How a request proves who sent it.
    pub verify: Verify,
    /// What happens to requests that are no events.
    pub rules: Vec<Rule>,
    /// How a body is read.
    pub decode: Decode,
    /// Body to items to records.
    pub records: Records,
    /// Picks into the item.
    pub event: EventPicks,
    /// The answers.
    pub respond: Respond,
    /// How the vendor behaves.
    pub sender: Sender,
}

/// How a request proves who sent it.
#[derive(Debug)]
pub enum Verify {
    /// A secret value at a place. Told from the headers where the place is a header or the query.
    Token {
        /// Where it stands.
        place: Pick,
        /// What it must equal.
        equals: Text,
    },
    /// HTTP Basic.
    Basic {
        /// The user.
        username: Text,
        /// The password.
        password: Text,
    },
    /// A keyed hash of a message made from the request.
    Hmac {
        /// The hash.
        hash: Hash,
        /// Keys; any of them accepts.
        keys: Vec<Text>,
        /// How a key is written.
        key_encoding: KeyEncoding,
        /// What stands before the key and is cut off (`whsec_`).
        key_prefix: Option<String>,
        /// What is signed.
        message: Text,
        /// Where the signature stands.
        signature: Signature,
        /// When it was signed.
        timestamp: Option<SignedTime>,
    },
}

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for vendors that know nothing newer.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyEncoding {
    /// Its bytes are the text's.
    #[default]
    Text,
    /// Hexadecimal.
    Hex,
    /// Base64.
    Base64,
}

/// Where a signature stands.
#[derive(Debug)]
pub struct Signature {
    /// The place.
    pub place: Pick,
    /// What stands before it: `sha256=`.
    pub prefix: Option<String>,
    /// How it is written.
    pub encoding: Encoding,
}

/// When a request was signed.
#[derive(Debug)]
pub struct SignedTime {
    /// The place.
    pub place: Pick,
    /// How it is written.
    pub format: TimeFormat,
    /// How far it may lie from now, either way.
    pub tolerance: Duration,
}

/// What happens to a request that is no event.
#[derive(Debug)]
pub struct Rule {
    /// What it is called in logs.
    pub name: String,
    /// The method it is routed by; `None` is the receiver's own.
    pub method: Option<http::Method>,
    /// When it applies.
    pub when: Option<Condition>,
    /// Whether the request must be verified first.
    pub verified: bool,
    /// The answer; `None` lets the request go on.
    pub respond: Option<Reply>,
    /// A request it applies to.
    pub sample: Json,
}

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// One JSON document.
    Json,
    /// One JSON document a line.
    JsonLines {
        /// Whether one document for the whole body is taken too.
        also_json: bool,
    },
}

/// Body to items to records.
#[derive(Debug)]
pub struct Records {
    /// Where the list of items stands: the first that is there. An item that is no list is a list of one.
    pub each: Vec<Pointer>,
    /// The part of an item that is the record: the first that is there.
    pub unwrap: Vec<Pointer>,
}

/// Picks into the item.
#[derive(Debug)]
pub struct EventPicks {
    /// Joined; empty: a hash of the request body and the record's index.
    pub id: Vec<Pick>,
    /// The first that is there.
    pub time: Vec<Pick>,
    /// How the time is written.
    pub time_format: TimeFormat,
    /// The first that is there.
    pub kind: Vec<Pick>,
    /// What becomes of other bytes under an id that is known.
    pub on_reuse: OnReuse,
}

/// What becomes of other bytes under an id that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReuse {
    /// Kept as a dead letter.
    #[default]
    DeadLetter,
    /// Dropped and counted.
    Drop,
    /// Delivered like a new one.
    Deliver,
}

/// The answers, per outcome.
#[derive(Debug)]
pub struct Respond {
    /// The records are safe.
    pub accepted: Reply,
    /// The request did not prove who sent it.
    pub rejected: Option<Reply>,
    /// A rule swallowed it.
    pub ignored: Option<Reply>,
}

/// One answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(String, Text)>,
    /// The body.
    pub body: ReplyBody,
}

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// None.
    Empty,
    /// JSON, built as data.
    Json(Tree),
    /// Text.
    Text(Text),
}

/// How the vendor behaves; the stand-in plays it.
#[derive(Debug)]
pub struct Sender {
    /// Statuses that are a success to it: `2xx` or single ones.
    pub success: Vec<StatusRange>,
    /// How long it waits for an answer.
    pub timeout: Option<Duration>,
    /// How often it tries.
    pub attempts: Option<u32>,
    /// Statuses after which it stops for good.
    pub stops_on: Vec<StatusRange>,
    /// How long it goes on failing before it gives the stream up.
    pub gives_up_after: Option<Duration>,
    /// Whether it keeps order.
    pub ordered: bool,
}

/// Statuses from first to last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

/// What a record looks like.
#[derive(Debug)]
pub struct Output {
    /// The compiled schema of one record.
    pub schema: RecordSchema,
    /// The known types of event, with what each means; empty: not listed.
    pub known_types: BTreeMap<String, String>,
}
