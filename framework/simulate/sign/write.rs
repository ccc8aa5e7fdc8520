//! Signatures and values, written where the receiver will pick them.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Map, Value as Json};

use super::unsigned::{Unsigned, set_header};
use crate::connector::model::{Encoding, Grammar, Signature};
use crate::connector::overlay::write;
use crate::connector::pick::{Pick, Pointer};
use crate::error::{Error, Kind, Result};

/// Where the items of a list in the body stand.
pub(super) fn items(body: &[u8], each: &Pointer) -> Vec<Pointer> {
    let body: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
    let count = each.resolve(&body).and_then(Json::as_array).map_or(0, Vec::len);
    let at = |n: usize| Pointer([each.0.clone(), vec![n.to_string()]].concat());
    (0..count).map(at).collect()
}

/// A signature as it stands in its place.
pub(super) fn composed(signature: &Signature, pairs: &Map<String, Json>, tag: &[u8]) -> String {
    let tag = encode(tag, signature.encoding);
    let prefix = signature.prefix.as_deref().unwrap_or_default();
    match &signature.grammar {
        Grammar::Plain | Grammar::List { .. } => format!("{prefix}{tag}"),
        Grammar::Pairs { separator, name } => {
            let before =
                pairs.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
            let all: Vec<String> = before.chain([format!("{name}={tag}")]).collect();
            format!("{prefix}{}", all.join(separator))
        }
    }
}

/// Bytes as text.
pub(super) fn encode(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => HEXLOWER.encode(bytes),
        Encoding::Base64 => BASE64.encode(bytes),
        Encoding::Base64Url => BASE64URL_NOPAD.encode(bytes),
    }
}

/// Writes a text where the receiver will pick it; picks of an item go to where the item stands.
pub(super) fn put(push: &mut Unsigned, item: Option<&Pointer>, place: &Pick, text: &str) -> Result<()> {
    match place {
        Pick::Header(name) => set_header(&mut push.headers, name, text),
        Pick::Query(name) => {
            let others: Vec<(String, String)> =
                push.url.query_pairs().into_owned().filter(|(known, _)| known != name).collect();
            push.url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, text);
            Ok(())
        }
        Pick::Item(pointer) | Pick::Body(pointer) => {
            let mut body: Json = serde_json::from_slice(&push.body).map_err(|e| {
                Error::new(Kind::Finding, "the body is no single document to sign").because(e)
            })?;
            let within = if matches!(place, Pick::Item(_)) { item } else { None };
            let path = [within.map(|item| item.0.clone()).unwrap_or_default(), pointer.0.clone()].concat();
            write(&mut body, &Pointer(path), Json::String(text.to_owned()));
            push.body = body.to_string().into_bytes();
            Ok(())
        }
        Pick::Form(name) => Err(Error::new(Kind::Finding, format!("the stand-in sends no forms: `{name}`"))),
    }
}
