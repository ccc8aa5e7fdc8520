//! What signing does to the shape of pushes: a signature in the body changes records, and one that names the
//! body's fields takes a body with one event.
//!
//! Asked by the plan and the sender.

use serde_json::Value as Json;

use super::{place_of, played};
use crate::connector::layers::opened;
use crate::connector::model::{
    AlgorithmChoice, Connector, Demand, Each, KeySource, Proof, Records, TimePlace,
};
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::Scope;

/// Whether signing writes into the body.
pub fn in_body(connector: &Connector) -> bool {
    played(&connector.receiver.verify, &Scope::default())
        .into_iter()
        .any(|demand| places(demand).iter().any(stands_in_body))
}

/// Whether a push can hold one event alone: its fields are signed by name, or the signature is one of them.
pub fn alone(connector: &Connector) -> bool {
    let root = match &connector.receiver.records.each {
        Each::At(each) => each.iter().all(|each| each.0.is_empty()),
        Each::Built(_) => true,
    };
    root && played(&connector.receiver.verify, &Scope::default())
        .into_iter()
        .filter(|demand| demand.each.is_none())
        .any(|demand| {
            places(demand).iter().any(stands_in_body) || names(demand).iter().any(|name| is_field(name))
        })
}

/// The records of a body as they will come out, where the body is one document.
pub fn records(connector: &Connector, body: &[u8]) -> Vec<String> {
    let Records { each, then_each, unwrap, layers, .. } = &connector.receiver.records;
    let Ok(body) = serde_json::from_slice::<Json>(body) else { return Vec::new() };
    let whole = Pointer::default();
    let first = |picks: &[Pointer], value: &Json| {
        picks.iter().chain([&whole]).find_map(|at| at.resolve(value).cloned()).unwrap_or(Json::Null)
    };
    let list = |value: Json| match value {
        Json::Array(items) => items,
        item => vec![item],
    };
    let each = match each {
        Each::At(each) => each.as_slice(),
        Each::Built(_) => &[],
    };
    let elements = list(first(each, &body)).into_iter();
    let items = elements.flat_map(|element| list(first(then_each, &element)));
    let record = |item: Json| {
        let record = first(unwrap, &item);
        let mut record = opened(layers, &record).unwrap_or(record);
        connector.output.remove.remove_from(&mut record);
        record.to_string()
    };
    items.map(record).collect()
}

/// Where signing writes.
fn places(demand: &Demand) -> Vec<Pick> {
    let mut places: Vec<Pick> = match &demand.proof {
        Proof::Token { place, .. } => vec![place.clone()],
        Proof::Jwt(jwt) => vec![jwt.place.clone()],
        Proof::Basic { .. } => Vec::new(),
        Proof::Hmac { signed, .. } | Proof::Digest { signed, .. } | Proof::PublicKey { signed, .. } => {
            let time = signed.timestamp.as_ref().and_then(|time| match &time.place {
                TimePlace::At(places) => places.first().cloned(),
                TimePlace::Pair(_) => None,
            });
            signed.signature.places.first().cloned().into_iter().chain(time).collect()
        }
    };
    let defined = demand.require.iter().flat_map(|condition| condition.definitions());
    places.extend(defined.filter_map(|(name, _)| place_of(&name)));
    places
}

/// What it is made from.
fn names(demand: &Demand) -> Vec<String> {
    let mut texts: Vec<_> = demand.proof.signed().into_iter().flat_map(|signed| &signed.messages).collect();
    if let Proof::PublicKey { algorithm, keys, .. } = &demand.proof {
        if let AlgorithmChoice::By { value, .. } = algorithm {
            texts.push(value);
        }
        if let KeySource::Fetched(url) = keys {
            texts.push(&url.url);
        }
    }
    texts.into_iter().flat_map(|text| text.names()).collect()
}

fn is_field(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("request.json") else { return false };
    // `request.json.0.id` is a field of the first item of a list.
    !rest.trim_start_matches('.').starts_with(|first: char| first.is_ascii_digit())
}

fn stands_in_body(place: &Pick) -> bool {
    match place {
        Pick::Item(_) | Pick::Body(_) => true,
        Pick::Header(_) | Pick::Query(_) | Pick::Form(_) => false,
    }
}
