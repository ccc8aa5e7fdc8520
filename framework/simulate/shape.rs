//! Whether a request to the stand-in has the shape that the spec gives it.
//!
//! Called by the vendor after it knows who asks. It says what is wrong in one sentence, as a strict vendor
//! does: a wrong content type, a field nobody declared, a field that is missing.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::answer::Incoming;
use crate::connector::instance::Instance;
use crate::connector::model::{Body, Call, FormField};
use crate::connector::template::Tree;
use crate::error::Result;

/// What is wrong with a request, if something is.
pub fn wrong(instance: &Instance, call: &Call, incoming: &Incoming) -> Result<Option<String>> {
    for (name, value) in &call.headers {
        let Ok(value) = value.render(&instance.scope()) else { continue };
        if incoming.headers.get(name).and_then(|v| v.to_str().ok()) != Some(value.as_str()) {
            return Ok(Some(format!("the header `{name}` is not what the API expects")));
        }
    }
    Ok(match &call.body {
        Body::Empty => (!incoming.body.is_empty()).then(|| "this call takes no body".to_owned()),
        Body::Text(_) => {
            let no_text = !incoming.is_of("text/plain") || incoming.body.is_empty();
            let given = call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            (no_text && !given).then(|| "the body must be text".to_owned())
        }
        Body::Json(tree) => wrong_json(tree, incoming),
        Body::Form(fields) => wrong_form(fields, incoming),
    })
}

fn wrong_json(tree: &Tree, incoming: &Incoming) -> Option<String> {
    if !incoming.is_of("application/json") {
        return Some("the content type must be application/json".to_owned());
    }
    match &incoming.json {
        None => Some("the body is no JSON".to_owned()),
        Some(body) => differs(tree, body, ""),
    }
}

fn wrong_form(fields: &[(String, FormField)], incoming: &Incoming) -> Option<String> {
    if !incoming.is_of("application/x-www-form-urlencoded") {
        return Some("the content type must be application/x-www-form-urlencoded".to_owned());
    }
    let unknown = incoming.form.keys().find(|name| !fields.iter().any(|(known, _)| known == *name));
    if let Some(name) = unknown {
        return Some(format!("unknown field `{name}`"));
    }
    fields.iter().find_map(|(name, field)| match (incoming.form.get(name), field) {
        (Some(text), FormField::Json(tree)) => match serde_json::from_str(text) {
            Ok(json) => differs(tree, &json, &format!("/{name}")),
            Err(_) => Some(format!("`{name}` is no JSON")),
        },
        (Some(_), FormField::Value(_) | FormField::List(_)) => None,
        (None, FormField::List(_)) => Some(format!("the field `{name}` is required")),
        (None, FormField::Json(tree)) => {
            (!may_be_left_out(tree)).then(|| format!("the field `{name}` is required"))
        }
        // A list of nothing is no field; what is worked out may be one.
        (None, FormField::Value(text)) => {
            (!text.source().contains("{{")).then(|| format!("the field `{name}` is required"))
        }
    })
}

/// Where a body is not of the shape of the tree: a key too many, or one too few that nothing lets out.
fn differs(tree: &Tree, body: &Json, at: &str) -> Option<String> {
    match tree {
        // What is worked out has no shape that is known before.
        Tree::Text(_) => None,
        Tree::Value(value) => (value != body).then(|| format!("`{at}` must be {value}")),
        Tree::List(_) => (!body.is_array()).then(|| format!("`{at}` must be a list")),
        Tree::Map(fields) => {
            let Json::Object(body) = body else { return Some(format!("`{at}` must be an object")) };
            let known: BTreeSet<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            if let Some(name) = body.keys().find(|name| !known.contains(name.as_str())) {
                return Some(format!("`{at}/{name}` is not allowed"));
            }
            fields.iter().find_map(|(name, field)| match body.get(name) {
                Some(value) => differs(field, value, &format!("{at}/{name}")),
                None if may_be_left_out(field) => None,
                None => Some(format!("`{at}/{name}` is required")),
            })
        }
    }
}

fn may_be_left_out(tree: &Tree) -> bool {
    matches!(tree, Tree::Text(text) if text.source().contains("omit"))
}
