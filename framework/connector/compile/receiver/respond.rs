//! What is answered: per outcome, and by rules.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};

use serde_json::json;

use crate::connector::compile::at::At;
use crate::connector::compile::compiler::Compiler;
use crate::connector::compile::names::Here;
use crate::connector::model::{Reply, ReplyBody, Respond};
use crate::connector::template::Tree;
use crate::spec::mistake::{Code, Mistake, Place};

/// Headers that belong to the server: an answer that set one would speak another HTTP than it seems to.
const RESERVED: &[HeaderName] = &[CONNECTION, CONTENT_LENGTH, DATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Returns the answer of a spec that says nothing: what was stored, known and set aside, each counted by itself, so that
/// a sender does not read a dead letter as a delivery.
fn counted() -> Reply {
    let body = json!({
        "status": "success",
        "accepted": "{{ batch.stored }}",
        "duplicates": "{{ batch.duplicates }}",
        "dead": "{{ batch.dead }}",
    });
    let body = Tree::compile(&body).map_or(ReplyBody::Empty, ReplyBody::Json);
    Reply { status: 200, headers: Vec::new(), body }
}

impl Compiler {
    pub(super) fn respond(&mut self, at: Option<At<'_>>) -> Respond {
        let mut reply =
            |key: &str| at.as_ref().and_then(|at| at.get(key)).and_then(|at| self.reply(&at, Here::Respond));
        let accepted = reply("accepted").unwrap_or_else(counted);
        Respond { accepted, rejected: reply("rejected"), ignored: reply("ignored") }
    }

    pub(super) fn reply(&mut self, at: &At<'_>, here: Here) -> Option<Reply> {
        self.not_built_keys(at, &["xml"]);
        let status = at.get("status").and_then(|at| self.status(&at));
        let headers = at.get("headers").map(|at| {
            self.reserved(&at);
            self.headers(&at, here)
        });
        let body = if let Some(at) = at.get("json") {
            ReplyBody::Json(self.tree(&at, here)?)
        } else if let Some(at) = at.get("text") {
            ReplyBody::Text(self.text(&at, here)?)
        } else {
            ReplyBody::Empty
        };
        Some(Reply { status: status?, headers: headers.unwrap_or_default(), body })
    }

    /// Reports headers of an answer that are the server's own.
    fn reserved(&mut self, at: &At<'_>) {
        for (name, at) in at.entries() {
            if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved.as_str())) {
                let message = format!("the header `{name}` is the server's own");
                self.report(
                    Mistake::new(Code::BadHeader, Place::key(&at.path), message)
                        .help("leave it out: it is set as HTTP wants it"),
                );
            }
        }
    }
}
