//! Decoders: bodies of every format and of every chain of layers, each spoiled and given to all of them. What comes is
//! kept or read, bounded, and the same each time.

use std::sync::{Arc, LazyLock};

use data_encoding::BASE64;
use forebay::connector::coding::Coding;
use forebay::receive::Endpoint;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::spoil::spoiled;
use super::{INFLATED, decoded, probe};

const ONE: &str = r#"{"id":"1","type":"s","n":[1.50,null,{"a":"\u00e9\ud83d\ude00"}]}"#;

/// How a body may be read.
struct Shape {
    /// The keys of the receiver.
    receiver: &'static str,
    /// A body that holds records so.
    body: Vec<u8>,
    endpoint: Arc<Endpoint>,
}

fn base64(bytes: &[u8]) -> Json {
    json!({"data": BASE64.encode(bytes)})
}

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let list = format!("[{ONE},{ONE}]");
    let lines = format!("{ONE}\n{ONE}\r\n");
    let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("f", &list).finish();
    let gzip = base64(&Coding::Gzip.deflate(lines.as_bytes()));
    let zstd = base64(&Coding::Zstd.deflate(format!("{{\"x\":{list}}}").as_bytes()));
    let deep = json!({"y": json!([ONE, ONE].concat()).to_string()}).to_string();
    let deep = base64(&Coding::Deflate.deflate(deep.as_bytes()));
    let text = json!({"data": json!([ONE, ONE].concat()).to_string()});
    let plain: Json = serde_json::from_str(ONE).unwrap();
    [
        ("decode: {format: json}", &plain, list.clone().into_bytes()),
        ("decode: {format: json_lines}", &plain, lines.clone().into_bytes()),
        ("decode: {format: json_lines, also: [json]}", &plain, format!("\u{feff}{list}").into_bytes()),
        ("decode: {format: json_concat}", &plain, [ONE, ONE].concat().into_bytes()),
        ("decode: {format: form, field: f}", &plain, form.clone().into_bytes()),
        ("decode: {format: form}", &plain, b"id=1&type=s&a=1&a=2".to_vec()),
        (
            "decode: {format: json}\n  records: {each: /a, then_each: /b}",
            &plain,
            format!("{{\"a\":[{{\"b\":{list}}}]}}").into_bytes(),
        ),
        (
            "decode: {format: json}\n  records: {unwrap: /data, layers: [base64, gzip, json_lines]}",
            &gzip,
            json!([gzip, gzip]).to_string().into_bytes(),
        ),
        (
            "decode: {format: json}\n  records: {unwrap: /data, layers: [base64, zstd, json, {each: /x}]}",
            &zstd,
            zstd.to_string().into_bytes(),
        ),
        (
            "decode: {format: json}\n  records: {unwrap: /data, layers: [base64, deflate, json, /y, json, json_concat]}",
            &deep,
            deep.to_string().into_bytes(),
        ),
        (
            "decode: {format: json}\n  records: {unwrap: /data, layers: [json, json_concat], otherwise: text}",
            &text,
            text.to_string().into_bytes(),
        ),
    ]
    .into_iter()
    .map(|(receiver, sample, body)| Shape::of(receiver, sample, body))
    .collect()
});

impl Shape {
    fn of(receiver: &'static str, sample: &Json, body: Vec<u8>) -> Self {
        let parts = format!(
            "  verify: {{kind: token, header: X-Key, equals: \"{{{{ secrets.key }}}}\"}}\n  {receiver}\n  event: {{id: {{record: /id}}}}\n"
        );
        Self { receiver, body, endpoint: probe(&parts, sample) }
    }
}

/// Layers that grow beyond the bound, in a body that is small.
static BOMBS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let many = Coding::Gzip.deflate("1\n".repeat(400_000).as_bytes());
    let wide = Coding::Zstd.deflate(format!("{{\"x\":[{}1]}}", "1,".repeat(400_000)).as_bytes());
    let large = Coding::Gzip.deflate(&vec![b' '; 8 << 20]);
    let nested = Coding::Deflate.deflate(format!("{{\"y\":\"{}\"}}", "[".repeat(400_000)).as_bytes());
    let mut bombs: Vec<_> =
        [many, wide, large, nested].iter().map(|b| base64(b).to_string().into_bytes()).collect();
    // Each within the bound, all of them far beyond it.
    let half = base64(&Coding::Gzip.deflate(format!("\"{}\"", "a".repeat(INFLATED / 2)).as_bytes()));
    bombs.push(Json::from(vec![half; 20]).to_string().into_bytes());
    bombs.push("[".repeat(100_000).into_bytes());
    bombs.push(format!("{}1{}", "[".repeat(300), "]".repeat(300)).into_bytes());
    bombs.push("a=1&".repeat(20_000).into_bytes());
    bombs
});

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let good = any::<prop::sample::Index>().prop_map(|at| at.get(&SHAPES).body.clone());
    let two = (good.clone(), good.clone(), prop::sample::select(&["", "\n", ",", "&"][..]))
        .prop_map(|(a, b, between)| [&a, between.as_bytes(), &b].concat());
    let bomb = any::<prop::sample::Index>().prop_map(|at| at.get(&BOMBS).clone());
    prop_oneof![12 => spoiled(good, 6), 5 => spoiled(two, 4), 1 => spoiled(bomb, 1)]
}

pub fn check(input: &[u8]) {
    for Shape { receiver, endpoint, .. } in SHAPES.iter() {
        let batch = decoded(endpoint, input);
        let items = batch.records.len() + batch.dead.len();
        // An item takes a byte at least, of the body or of what its layers became.
        assert!(items <= input.len() + INFLATED, "{receiver}: {items} items");
        let came: usize = batch.records.iter().map(|record| record.bytes().len()).sum();
        // A form's fields are written as JSON, where one byte may take six.
        assert!(came <= 6 * input.len() + 64 + INFLATED, "{receiver}: records of {came} bytes");
        for record in &batch.records {
            let whole = serde_json::from_slice::<&serde_json::value::RawValue>(record.bytes());
            assert!(whole.is_ok(), "{receiver}: a record that is no JSON");
            assert!(
                !record.id().is_empty() && record.id().len() <= 4096,
                "{receiver}: an id of {}",
                record.id().len()
            );
        }
        let kept: usize = batch.dead.iter().map(|letter| letter.bytes.len()).sum();
        assert!(kept <= 6 * input.len() + 64 + INFLATED, "{receiver}: dead letters of {kept} bytes");
        assert!(batch.dead.iter().all(|letter| letter.detail.len() < 2000), "{receiver}: a long reason");
        let again = decoded(endpoint, input);
        let told = |batch: &forebay::queue::Batch| {
            let ids: Vec<_> = batch.records.iter().map(|record| record.id().clone()).collect();
            (ids, batch.dead.len())
        };
        assert_eq!(told(&batch), told(&again), "{receiver}: not the same again");
    }
}

#[test]
fn no_body_breaks_a_decoder() {
    super::play("bodies", 200, bodies, check);
}

/// The inputs that are spoiled do come through as they are: the others would prove little.
#[test]
fn what_is_spoiled_was_good() {
    for Shape { receiver, body, endpoint } in SHAPES.iter() {
        let batch = decoded(endpoint, body);
        assert!(!batch.records.is_empty() && batch.dead.is_empty(), "{receiver}: {:?}", batch.dead);
    }
}
