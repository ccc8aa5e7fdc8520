//! Records out of their layers, ids of every kind, and the envelope.

use data_encoding::BASE64;
use forebay::connector::coding::Coding;
use forebay::queue::{DeadReason, DeadWhat};
use forebay::receive::{Limits, decode_again};
use serde_json::{Value as Json, json};

use super::decode::{connector, count, stage};
use super::stage::{self, KEY, Stage};

fn wrapped(layers: &[Coding], record: &str) -> String {
    let bytes = layers.iter().fold(record.as_bytes().to_vec(), |bytes, coding| coding.deflate(&bytes));
    json!({"data": BASE64.encode(&bytes), "n": 1}).to_string()
}

#[tokio::test]
async fn a_record_comes_out_of_its_layers_and_one_that_does_not_is_one_dead_letter() {
    let receiver = "  decode: {format: json}\n  \
                    records: {each: /records, unwrap: /data, layers: [base64, gzip, json, /detail]}\n  \
                    event: {id: {record: /id}, time: {record: /at, format: unix_ms}}";
    let sample: Json =
        serde_json::from_str(&wrapped(&[Coding::Gzip], r#"{"detail":{"id":"1","at":1}}"#)).unwrap();
    let stage = stage(receiver, sample).await;
    let good = wrapped(&[Coding::Gzip], "{\"detail\": {\"id\":\"a\",\r\n\"at\":5}}");
    let bad = [
        (r#"{"data":"%%%"}"#.to_owned(), "base64"),
        (wrapped(&[], "{}"), "gzip"),
        (wrapped(&[Coding::Gzip], "{"), "a name in quotes is missing"),
        (wrapped(&[Coding::Gzip], "{}"), "`/detail`"),
        (r#"{"data":5}"#.to_owned(), "no text"),
        (r#"{"other":5}"#.to_owned(), "`/data`"),
        (
            wrapped(&[Coding::Gzip], &format!("{{\"detail\":{}1{}}}", "[".repeat(5000), "]".repeat(5000))),
            "deep",
        ),
    ];
    let items: Vec<&str> = bad.iter().map(|(item, _)| item.as_str()).collect();
    let body = format!("{{\"records\":[{good},{},{}]}}", items.join(","), good.replace("\"n\":1", "\"n\":2"));
    assert_eq!(count(&stage, &[], &body).await, 9);
    assert_eq!(stage.memory.bodies(), [r#"{"id":"a","at":5}"#]);
    let letters = stage.memory.letters();
    assert_eq!(letters.len(), bad.len());
    for (letter, (item, why)) in letters.iter().zip(&bad) {
        assert_eq!(letter.bytes, item.as_str());
        assert!(letter.detail.contains(why), "{why}: {}", letter.detail);
        let again = decode_again(&stage.endpoint, letter.clone());
        assert_eq!((again.records.len(), again.dead.len()), (0, 1));
    }
    let mended = forebay::queue::DeadLetter { bytes: good.into(), ..letters[0].clone() };
    assert_eq!(decode_again(&stage.endpoint, mended).records[0].id(), "a");
}

#[tokio::test]
async fn layers_of_all_records_of_a_body_together_stay_within_the_bound() {
    let receiver = "  decode: {format: json}\n  \
                    records: {each: /records, unwrap: /data, layers: [base64, zstd, json]}";
    let sample: Json = serde_json::from_str(&wrapped(&[Coding::Zstd], "{}")).unwrap();
    let instance = stage::instance(connector(receiver, "", &sample), "probe", &[("key", KEY)]);
    let limits = Limits { inflated: 100_000, ..Limits::default() };
    let stage = Stage::with(instance, limits, None).await;
    let large = wrapped(&[Coding::Zstd], &format!("\"{}\"", "x".repeat(30_000)));
    let body = format!("{{\"records\":[{}]}}", [large.as_str(); 5].join(","));
    assert_eq!(count(&stage, &[], &body).await, 5);
    assert_eq!((stage.memory.bodies().len(), stage.memory.letters().len()), (3, 2));
    assert!(stage.memory.letters()[0].detail.contains("bound"), "{}", stage.memory.letters()[0].detail);
    let bomb = wrapped(&[Coding::Zstd], &format!("\"{}\"", "x".repeat(50_000_000)));
    assert_eq!(count(&stage, &[], format!("{{\"records\":[{bomb}]}}")).await, 1);
    assert_eq!(stage.memory.letters().len(), 3);
}

#[tokio::test]
async fn a_text_that_is_no_json_is_delivered_as_text_where_the_spec_says_so() {
    let receiver = "  decode: {format: json}\n  \
                    records: {unwrap: /Message, layers: [json], otherwise: text}\n  event: {id: /Id}";
    let stage = stage(receiver, json!({"Id": "1", "Message": "{}"})).await;
    for (n, (message, record)) in [
        (r#""{\"a\": 1}""#, r#"{"a": 1}"#),
        (r#""plain \u00e9 text""#, r#""plain \u00e9 text""#),
        (r#""""#, r#""""#),
        (r#"{"already":true}"#, r#"{"already":true}"#),
        (r#""5""#, "5"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!(r#"{{"Id":"{n}","Message":{message}}}"#);
        assert_eq!(count(&stage, &[], &body).await, 1);
        assert_eq!(stage.memory.bodies().last().map(String::as_str), Some(record), "{message}");
    }
    assert!(stage.memory.letters().is_empty());

    let receiver = "  decode: {format: json}\n  \
                    records: {unwrap: /data, layers: [base64, json], otherwise: text}\n  event: {id: /n}";
    let sample: Json = serde_json::from_str(&wrapped(&[], "{}")).unwrap();
    let stage = self::stage(receiver, sample).await;
    assert_eq!(count(&stage, &[], wrapped(&[], "say \"hi\"\n")).await, 1);
    assert_eq!(stage.memory.bodies(), [r#""say \"hi\"\n""#]);
    assert_eq!(count(&stage, &[], json!({"data": BASE64.encode(b"\xff\xfe"), "n": 2}).to_string()).await, 1);
    assert_eq!(stage.memory.letters().len(), 1, "bytes that are no text are kept whole");
}

#[tokio::test]
async fn several_records_of_one_item_are_numbered_and_what_fails_of_them_is_one_dead_letter() {
    let receiver = "  decode: {format: json}\n  \
                    records: {each: /records, unwrap: /data, layers: [base64, json_lines]}\n  \
                    event: {id: {header: X-Request}}";
    let sample: Json = serde_json::from_str(&wrapped(&[], "{\"a\":1}\n")).unwrap();
    let stage = stage(receiver, sample).await;
    let two = wrapped(&[], "{\"a\":1}\r\n\n{\"a\":2}\n");
    let torn = wrapped(&[], "{\"a\":3}\n{\"a\"\n\"never\"\n{\"a\":4}");
    let body = format!("{{\"records\":[{two},{torn},{two}]}}");
    assert_eq!(count(&stage, &[("x-request", "r#1")], &body).await, 7);
    let bodies: Vec<_> = stage.memory.bodies();
    assert_eq!(bodies, ["1", "2", "3", "4", "1", "2"].map(|n| format!("{{\"a\":{n}}}")));
    let ids = stage.memory.ids();
    assert_eq!(ids, ["r\\#1#0", "r\\#1#0#1", "r\\#1#1", "r\\#1#1#3", "r\\#1#2", "r\\#1#2#1"]);
    let letters = stage.memory.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].bytes, torn.as_str());
    // Tried again, what was accepted of it is known.
    let again = decode_again(&stage.endpoint, letters[0].clone());
    let again: Vec<_> =
        again.records.iter().map(|record| String::from_utf8_lossy(record.id()).into_owned()).collect();
    assert_eq!(again, ids[2..4]);

    let receiver = "  decode: {format: json}\n  \
                    records: {unwrap: /data, layers: [base64, gzip, json, {each: /logEvents}]}\n  \
                    event: {id: {record: /id}, type: {item: /n}}";
    let packed = wrapped(&[Coding::Gzip], r#"{"owner":"x","logEvents":[{"id":"1"}, {"id":"2"}]}"#);
    let stage = self::stage(receiver, serde_json::from_str(&packed).unwrap()).await;
    assert_eq!(count(&stage, &[], &packed).await, 2);
    assert_eq!(stage.memory.ids(), ["1", "2"]);
}

#[tokio::test]
async fn joined_parts_numbers_and_hashes_never_make_one_id_of_two() {
    let stage = stage("  decode: {format: json}\n  event: {id: [/a, /b]}", json!({"a": "1", "b": "2"})).await;
    let items = [
        r#"{"a":"a","b":"bc"}"#,
        r#"{"a":"ab","b":"c"}"#,
        r#"{"a":"a|","b":"c"}"#,
        r#"{"a":"a","b":"|c"}"#,
        r#"{"a":"a\\","b":"c"}"#,
        r#"{"a":"a","b":"\\c"}"#,
        r#"{"a":1,"b":23}"#,
        r#"{"a":12,"b":3}"#,
    ];
    assert_eq!(count(&stage, &[], format!("[{}]", items.join(","))).await, 8);
    let mut ids = stage.memory.ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8, "{ids:?}");

    let hashed = "  decode: {format: json}\n  event: {id: [/kind, {hash: /payload}]}";
    let stage = self::stage(hashed, json!({"kind": "k", "payload": 1})).await;
    let one = r#"{"kind":"k","payload":{"x":1},"try":1}"#;
    let again = r#"[{"kind":"k","payload":{"x":2}},{"kind":"k","payload":{"x":1},"try":2}]"#;
    count(&stage, &[], one).await;
    count(&stage, &[], again).await;
    // The place in the batch makes no difference: the copy is the first event again.
    assert_eq!(stage.memory.ids().len(), 2);

    let by_request = "  decode: {format: json}\n  event: {id: {query: batch}}";
    let stage = self::stage(by_request, json!({"a": 1})).await;
    for (query, body) in [("a", "[1,2]"), ("a%231", "[3]"), ("a%5C", "[4]"), ("a%5C%231", "[5]")] {
        let request =
            stage::request("POST", &format!("/in?batch={query}"), &[("x-api-key", KEY)], body.as_bytes());
        let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
        assert_eq!(stage::exchange(&mut stream, &request).await.status, 200);
    }
    assert_eq!(stage.memory.bodies(), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn an_envelope_holds_the_record_as_it_came_and_nothing_breaks_out_of_it() {
    let receiver = "  decode: {format: json}\n  records: {each: /list, unwrap: /data}\n  event: {id: /id}";
    let output =
        ", headers: [X-Kind, X-None], envelope: {note: /note, batch: {body: /batch}, who: {query: who}}";
    let sample = json!({"id": "1", "data": {}});
    let instance = stage::instance(connector(receiver, output, &sample), "in-1", &[("key", KEY)]);
    let stage = Stage::with(instance, Limits::default(), None).await;
    let body = "{\"batch\":\n{\"n\" : 1},\"list\":[{\"id\":\"\\\"x\",\"note\":\"a\\nb\",\"data\":{\"z\":1.0, \"a\":[\n]}},{\"id\":2,\"data\":7}]}";
    let headers = [("x-api-key", KEY), ("x-kind", "a\"b\\"), ("x-kind", "{c}")];
    let request = stage::request("POST", "/in?who=%22%7D", &headers, body.as_bytes());
    let mut stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    assert_eq!(stage::exchange(&mut stream, &request).await.json(), json!({"count": 2}));
    let out = stage.memory.bodies();
    let one: Json = serde_json::from_str(&out[0]).unwrap();
    let names: Vec<&String> = one.as_object().unwrap().keys().collect();
    let expected =
        ["connector", "instance", "id", "received_at", "headers", "note", "batch", "who", "record"];
    assert_eq!(names, expected);
    assert_eq!(
        (&one["connector"], &one["instance"], &one["id"]),
        (&json!("probe"), &json!("in-1"), &json!("\"x"))
    );
    assert_eq!(one["headers"], json!({"x-kind": "a\"b\\, {c}"}));
    assert_eq!((&one["note"], &one["batch"], &one["who"]), (&json!("a\nb"), &json!({"n": 1}), &json!("\"}")));
    assert!(one["received_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(out[0].ends_with(r#","record":{"z":1.0, "a":[]}}"#), "{}", out[0]);
    assert!(!out[0].contains('\n'));
    // What was held back for its id alone holds the record, and gets an envelope when it is let go.
    let letter = forebay::queue::DeadLetter {
        what: DeadWhat::Record,
        reason: DeadReason::IdReused,
        detail: String::new(),
        bytes: r#"{"z":2}"#.into(),
        id: Some("9".into()),
        sink: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    let again = decode_again(&stage.endpoint, letter);
    assert_eq!(again.records[0].record(), br#"{"z":2}"#);
    assert!(String::from_utf8_lossy(again.records[0].bytes()).contains(r#""id":"9""#));
}
