//! A connector as meant: what `compile` makes of a spec, and what every floor above works from.
//!
//! Shapes only; nothing here has behaviour, and nothing that is required is optional.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::pick::EventPick;
use super::removal::Removal;
use super::schema::RecordSchema;
use super::template::{Text, Vars};

mod auth;
mod call;
mod provision;
mod receiver;
mod settings;
mod verify;

pub use auth::*;
pub use call::*;
pub use provision::*;
pub use receiver::*;
pub use settings::*;
pub use verify::*;

/// One vendor's stream, ready to run.
#[derive(Debug)]
pub struct Connector {
    /// The folder's name, and the default id of an instance.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Who pushes.
    pub vendor: String,
    /// What it brings: everything new, as it happens.
    pub sync: Option<String>,
    /// One sentence.
    pub summary: Option<String>,
    /// Prose of the connector's page, Markdown.
    pub guide: Option<String>,
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
    /// What the stand-in sends where it cannot invert the spec by itself.
    pub simulate: Simulate,
    /// Every host that is called, by name: `api.example.com`, or the setting that says it.
    pub hosts: Vec<String>,
    /// What settings decide the places of: an instance has a connector of its own then.
    pub by_settings: Vec<BySetting>,
}

/// A place that is not written out: a setting says where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BySetting {
    /// The key whose value it is, as a path without the positions in lists.
    pub key: String,
    /// The setting.
    pub setting: String,
}

/// What the stand-in sends where it cannot invert the spec by itself.
#[derive(Debug)]
pub struct Simulate {
    /// Headers of every push.
    pub headers: Vec<(String, Text)>,
    /// Parameters of its query.
    pub query: Vec<(String, Text)>,
    /// Its body, in which `items` is the list of items.
    pub body: ReplyBody,
}

/// What a record looks like.
#[derive(Debug)]
pub struct Output {
    /// The compiled schema of one record.
    pub schema: RecordSchema,
    /// The same as written, for the connector's page.
    pub described: Json,
    /// The known types of event, with what each means; empty: not listed.
    pub known_types: BTreeMap<String, String>,
    /// What is put around a record.
    pub envelope: Option<Envelope>,
    /// What is removed from a record.
    pub remove: Removal,
}

/// What is put around a record: connector, instance, id and time of receiving always, and these.
#[derive(Debug)]
pub struct Envelope {
    /// Headers of the request, in lower case.
    pub headers: Vec<String>,
    /// Names, and the values under them.
    pub fields: Vec<(String, EventPick)>,
}
