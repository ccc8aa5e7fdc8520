//! The JSON reader: documents by a grammar, spoiled. It takes and refuses what another reader does, and reads it alike.

use forebay::connector::node::{Parsed, Unread};
use proptest::prelude::*;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::spoil::spoiled;

/// Tells whether two readers read the same document. Numbers need only both be numbers: the readers round differently.
fn alike(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(_), Json::Number(_)) => true,
        (Json::Array(ours), Json::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| alike(a, b))
        }
        (Json::Object(ours), Json::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, a)| theirs.get(key).is_some_and(|b| alike(a, b)))
        }
        (ours, theirs) => ours == theirs,
    }
}

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let ours = Parsed::read(text);
    if matches!(ours, Err(Unread::Deep)) {
        return;
    }
    let theirs = serde_json::from_str::<&RawValue>(text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{text:?}: {:?}", ours.err());
    // The other reader refuses half a surrogate pair and numbers beyond a double, which senders do write.
    if let (Ok(ours), Ok(theirs)) = (ours, serde_json::from_str::<Json>(text)) {
        let ours = ours.root().to_json();
        assert!(alike(&ours, &theirs), "{text:?} was read as {ours}");
    }
}

fn documents() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop::sample::select(
        &[
            "null",
            "true",
            "-0",
            "1e400",
            "18446744073709551616",
            "1.50",
            r#""""#,
            r#""\u00e9\ud83d\ude00""#,
            r#""\ud83d""#,
            r#""a\\\"\n""#,
            "\"\u{e9}\u{1f600}\"",
        ][..],
    );
    let value = leaf.prop_map(str::to_owned).prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(" ,\n"))),
            prop::collection::vec(inner, 0..4).prop_map(|all| {
                let members: Vec<String> =
                    all.iter().enumerate().map(|(n, value)| format!("\"k{}\" : {value}", n / 2)).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    spoiled(value.prop_map(String::into_bytes), 3)
}

#[test]
fn json_reader_agrees_with_serde_json() {
    super::play("json", 4000, documents, check);
}
