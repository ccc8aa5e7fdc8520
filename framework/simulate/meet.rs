//! Answers for which a condition holds, or does not: expressions turned round as far as that can be done.
//!
//! The stand-in asks when an answer must be a success, a failure, or not yet what is waited for. It tries few
//! values at the places that the condition names: its own words, true and false, and nothing.

use serde_json::{Value as Json, json};

use crate::connector::overlay::write;
use crate::connector::pick::Pointer;
use crate::connector::template::{Condition, Scope};

/// The most places that are tried together.
const PLACES: usize = 3;
/// The most values at one place.
const VALUES: usize = 8;

/// The body changed so that the condition on `response` holds, or does not; `None` where no try does it.
pub fn meet(condition: &Condition, scope: &Scope, body: Json, wanted: bool) -> Option<Json> {
    let is_met = |body: &Json| {
        let response = json!({"status": 200, "headers": {}, "text": body.to_string(), "json": body});
        condition.holds(&scope.with("response", response)).is_ok_and(|holds| holds == wanted)
    };
    seek(condition, "response.json", body, &is_met)
}

/// The document changed so that the test is met, at the places below `root` that the condition names.
pub fn seek(
    condition: &Condition,
    root: &str,
    document: Json,
    is_met: &dyn Fn(&Json) -> bool,
) -> Option<Json> {
    if is_met(&document) {
        return Some(document);
    }
    let named = condition.names().into_iter().filter_map(|name| {
        let path = name.strip_prefix(root)?.strip_prefix('.')?.to_owned();
        Some(Pointer(path.split('.').map(str::to_owned).collect()))
    });
    let places: Vec<Pointer> = named.take(PLACES).collect();
    let values = values(condition.source());
    attempt(&places, &values, document, is_met)
}

fn attempt(
    places: &[Pointer],
    values: &[Json],
    document: Json,
    is_met: &dyn Fn(&Json) -> bool,
) -> Option<Json> {
    let (first, others) = places.split_first()?;
    values.iter().find_map(|value| {
        let mut changed = document.clone();
        write(&mut changed, first, value.clone());
        if is_met(&changed) {
            return Some(changed);
        }
        attempt(others, values, changed, is_met)
    })
}

/// The texts and numbers that a condition writes out, and what else a vendor says.
fn values(source: &str) -> Vec<Json> {
    let mut found = vec![json!(true), json!(false)];
    for quote in ['\'', '"'] {
        found.extend(source.split(quote).skip(1).step_by(2).map(|text| json!(text)));
    }
    let numbers = source.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok());
    found.extend(numbers.map(|number| json!(number)));
    found.truncate(VALUES - 2);
    found.extend([json!("another"), Json::Null]);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_for_a_condition() {
        for source in [
            "response.json.ok",
            "not response.json.ok",
            "response.json.status == 'done'",
            "response.json.errors is undefined or response.json.errors == 0",
            "response.json.a.code == 7 and response.json.b in ['x', 'y']",
            "response.json.error != 'not_found'",
        ] {
            let condition = Condition::compile(source).expect(source);
            for wanted in [true, false] {
                let met = meet(&condition, &Scope::default(), json!({"id": 1}), wanted);
                let met = met.unwrap_or_else(|| panic!("{source} {wanted}"));
                assert_eq!(met["id"], 1, "{source}: what was there stays");
            }
        }
        let status = Condition::compile("response.status == 201").expect("a condition");
        assert_eq!(meet(&status, &Scope::default(), json!({}), true), None);
    }
}
