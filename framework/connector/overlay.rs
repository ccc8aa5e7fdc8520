//! JSON that is laid over JSON, and values that are put where a pointer leads.
//!
//! The stand-in makes its answers so, and the pages of connectors what they show as one. Nothing here is on the way of a
//! record.

use serde_json::{Map, Value as Json};

use super::pick::Pointer;

/// Writes a value at a pointer; maps on the way are made, a list is kept where the index is in it.
pub fn write(document: &mut Json, pointer: &Pointer, value: Json) {
    let mut at = document;
    for token in &pointer.0 {
        at = step(at, token);
    }
    *at = value;
}

fn step<'a>(at: &'a mut Json, token: &str) -> &'a mut Json {
    if at.is_null() && token == "0" {
        *at = Json::Array(vec![Json::Null]);
    }
    let in_list = matches!((&*at, token.parse::<usize>()), (Json::Array(list), Ok(n)) if n < list.len());
    if !in_list && !at.is_object() {
        *at = Json::Object(Map::new());
    }
    match at {
        Json::Array(list) => {
            let index = token.parse::<usize>().unwrap_or(0);
            &mut list[index]
        }
        Json::Object(map) => map.entry(token).or_insert(Json::Null),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => at,
    }
}

/// Lays `above` over `below`, maps merged at the top level only, as a vendor's PATCH does.
pub fn merge_top(below: &mut Json, above: &Json) {
    match (below, above) {
        (Json::Object(below), Json::Object(above)) => {
            for (key, value) in above {
                below.insert(key.clone(), value.clone());
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// Lays `above` over `below`, maps merged all the way down: an example over what was sent.
pub fn merge_deep(below: &mut Json, above: &Json) {
    match (below, above) {
        (Json::Object(below), Json::Object(above)) => {
            for (key, value) in above {
                merge_deep(below.entry(key).or_insert(Json::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_written_value_is_found_again() {
        for (before, at) in [
            (json!({}), "/a/b"),
            (json!(null), "/0/data/id"),
            (json!({"list": [{"id": 1}]}), "/list/0/id"),
            (json!({"text": "x"}), "/text/deeper"),
            (json!(null), ""),
        ] {
            let pointer = Pointer::parse(at).unwrap();
            let mut document = before;
            write(&mut document, &pointer, json!("new"));
            assert_eq!(pointer.resolve(&document), Some(&json!("new")), "{at}");
        }
    }
}
