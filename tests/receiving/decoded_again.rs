//! What was put into a body of any shape comes out of it, and spoiled bytes are read or kept.

use std::sync::Arc;

use data_encoding::BASE64;
use forebay::connector::coding::Coding;
use forebay::connector::instance::Instance;
use forebay::queue::{DeadLetter, DeadReason, DeadWhat};
use forebay::receive::decode_again;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::decode::connector;
use super::stage::{self, KEY};

/// An endpoint that nobody listens at.
fn endpoint(receiver: &str, sample: &Json) -> Arc<forebay::receive::Endpoint> {
    let instance: Arc<Instance> = stage::instance(connector(receiver, "", sample), "probe", &[("key", KEY)]);
    stage::endpoint(instance)
}

fn read(endpoint: &forebay::receive::Endpoint, body: Vec<u8>) -> forebay::queue::Batch {
    let letter = DeadLetter {
        what: DeadWhat::Body,
        reason: DeadReason::Undecodable,
        detail: String::new(),
        bytes: body.into(),
        id: None,
        sink: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    decode_again(endpoint, letter)
}

/// Every format and every layer, each with a body that holds records in it.
fn shapes(records: &[Json]) -> Vec<(&'static str, Json, Vec<u8>)> {
    let texts: Vec<String> = records.iter().map(Json::to_string).collect();
    let list = format!("[{}]", texts.join(","));
    let wrap = |bytes: Vec<u8>| json!({"data": BASE64.encode(&bytes)});
    let first = records[0].to_string();
    let lines = texts.join("\n");
    let gzip = |text: &str| Coding::Gzip.deflate(text.as_bytes());
    let zstd = |text: &str| Coding::Zstd.deflate(text.as_bytes());
    let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("f", &list).finish();
    let plain = json!({});
    vec![
        ("  decode: {format: json}", plain.clone(), list.clone().into_bytes()),
        ("  decode: {format: json_lines, also: [json]}", plain.clone(), lines.clone().into_bytes()),
        ("  decode: {format: json_concat}", plain.clone(), texts.concat().into_bytes()),
        ("  decode: {format: form, field: f}", plain.clone(), form.into_bytes()),
        (
            "  decode: {format: json}\n  records: {each: /a, then_each: /b}",
            plain,
            format!("{{\"a\":[{{\"b\":{list}}}]}}").into_bytes(),
        ),
        (
            "  decode: {format: json}\n  records: {unwrap: /data, layers: [base64, gzip, json_lines]}",
            wrap(gzip(&first)),
            wrap(gzip(&lines)).to_string().into_bytes(),
        ),
        (
            "  decode: {format: json}\n  records: {unwrap: /data, layers: [base64, zstd, json, {each: /x}]}",
            wrap(zstd(&format!("{{\"x\":[{first}]}}"))),
            wrap(zstd(&format!("{{\"x\":{list}}}"))).to_string().into_bytes(),
        ),
        (
            "  decode: {format: json}\n  records: {unwrap: /data, layers: [json, json_concat], otherwise: text}",
            json!({"data": json!(first).to_string()}),
            json!({"data": json!(texts.concat()).to_string()}).to_string().into_bytes(),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_put_into_a_body_comes_out_of_it(
        values in prop::collection::vec(("[a-z\"\\\\\u{e9}\n]{0,8}", any::<i64>(), any::<bool>()), 1..6),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let records: Vec<Json> = values
            .into_iter()
            .enumerate()
            .map(|(n, (text, number, flag))| json!({"n": n, "text": text, "list": [number, flag, null]}))
            .collect();
        let expected: Vec<String> = records.iter().map(Json::to_string).collect();
        for (receiver, sample, body) in shapes(&records) {
            let endpoint = endpoint(receiver, &sample);
            let batch = read(&endpoint, body.clone());
            let came: Vec<String> =
                batch.records.iter().map(|record| String::from_utf8_lossy(record.bytes()).into_owned()).collect();
            prop_assert_eq!(&came, &expected, "{}", receiver);
            prop_assert_eq!(batch.dead.len(), 0);
            // Spoiled, it is read or kept, and never more than it can hold.
            let mut spoiled = body;
            for (index, byte) in &spoils {
                let at = index.index(spoiled.len());
                spoiled[at] = *byte;
            }
            let batch = read(&endpoint, spoiled.clone());
            prop_assert!(batch.records.len() + batch.dead.len() <= spoiled.len());
            let kept: usize = batch.dead.iter().map(|letter| letter.bytes.len()).sum();
            prop_assert!(kept <= 2 * spoiled.len());
        }
    }
}
