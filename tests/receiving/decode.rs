//! Bodies of every format and encoding, records in lists and layers, ids of every kind, and the envelope.

use std::sync::Arc;

use data_encoding::BASE64;
use forebay::connector::coding::Coding;
use forebay::connector::model::Connector;
use forebay::queue::{DeadReason, DeadWhat};
use forebay::receive::{Limits, decode_again};
use serde_json::{Value as Json, json};

use super::stage::{self, KEY, Stage};

/// A connector whose receiver goes on like this.
fn connector(receiver: &str, output: &str, sample: &Json) -> Arc<Connector> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("record.json"), r#"{"not": {"const": "never"}}"#).unwrap();
    std::fs::write(path.join("sample.json"), sample.to_string()).unwrap();
    let spec = format!(
        "forebay: 1\nname: probe\ntitle: Probe\nvendor: Nobody\nsummary: Probes.\n\
         secrets: {{key: {{title: Key, description: The key.}}}}\n\
         receiver:\n  path: /in\n  verify: {{kind: token, header: x-api-key, equals: \"{{{{ secrets.key }}}}\"}}\n  \
         respond: {{accepted: {{status: 200, json: {{count: \"{{{{ batch.accepted }}}}\"}}}}}}\n{receiver}\n\
         output: {{schema: record.json{output}}}\nsamples: [sample.json]\n"
    );
    std::fs::write(path.join("connector.yaml"), &spec).unwrap();
    match forebay::connector::load::load(&path) {
        Ok(connector) => Arc::new(connector),
        Err(error) => panic!("{error}\n{spec}"),
    }
}

async fn stage(receiver: &str, sample: Json) -> Stage {
    let instance = stage::instance(connector(receiver, "", &sample), "probe", &[("key", KEY)]);
    Stage::with(instance, Limits::default(), None).await
}

async fn count(stage: &Stage, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> u64 {
    let headers = [&[("x-api-key", KEY)], headers].concat();
    let reply = stage.send(&headers, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["count"].as_u64().unwrap()
}

#[tokio::test]
async fn every_encoding_is_undone_alike_and_stacked_ones_are_refused() {
    let stage = stage("  decode: {format: json_lines}\n  event: {id: /id}", json!({"id": "1"})).await;
    for (n, (name, coding)) in [
        ("gzip", Coding::Gzip),
        ("x-gzip", Coding::Gzip),
        ("deflate", Coding::Deflate),
        ("ZSTD", Coding::Zstd),
        ("identity, zstd", Coding::Zstd),
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("{{\"id\":{n}}}\nbroken\n{{\"id\":1{n}}}\n");
        let body = coding.deflate(body.as_bytes());
        assert_eq!(count(&stage, &[("content-encoding", name)], &body).await, 3, "{name}");
        assert_eq!(count(&stage, &[("content-encoding", name)], &body[..body.len() - 3]).await, 1, "{name}");
    }
    assert_eq!(stage.memory.bodies().len(), 10);
    let twice = Coding::Gzip.deflate(&Coding::Gzip.deflate(b"{}"));
    for stacked in ["gzip, gzip", "gzip, zstd", "br", "compress"] {
        let reply = stage.send(&[("x-api-key", KEY), ("content-encoding", stacked)], &twice).await;
        assert_eq!(reply.status, 415, "{stacked}");
    }
}

#[tokio::test]
async fn no_encoding_brings_more_than_the_bound() {
    let receiver = "  decode: {format: json_lines}\n  event: {id: /id}";
    let instance = stage::instance(connector(receiver, "", &json!({"id": "1"})), "probe", &[("key", KEY)]);
    let limits = Limits { inflated: 100_000, ..Limits::default() };
    let stage = Stage::with(instance, limits, None).await;
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        let headers = [("x-api-key", KEY), ("content-encoding", coding.name())];
        let bomb = coding.deflate(&vec![b' '; 10_000_000]);
        assert_eq!(stage.send(&headers, &bomb).await.status, 413, "{coding:?}");
        // Nobody without the key gets that far.
        assert_eq!(stage.send(&headers[1..], &bomb).await.status, 401, "{coding:?}");
    }
}

#[tokio::test]
async fn documents_one_after_the_other_are_told_apart_and_a_bad_one_costs_itself() {
    let stage = stage("  decode: {format: json_concat}\n  event: {id: /id}", json!({"id": "1"})).await;
    let whole = "\u{feff}{\"id\":1}{\"id\":2} \r\n[{\"id\":3},{\"id\":4}]\n{\n \"id\": 5\n}";
    assert_eq!(count(&stage, &[], whole).await, 5);
    assert_eq!(stage.memory.ids(), ["1", "2", "3", "4", "5"]);
    for (n, bad) in
        ["nul", "{\"id\":}", "{\"a\":\"x", "{\"a\":[1}", "}", "\"x", "{\"a\":1", "\u{0}"].iter().enumerate()
    {
        let before = stage.memory.letters().len();
        let body = format!("{{\"id\":\"a{n}\"}}\n{bad}\n{{\"id\":\"b{n}\"}}{{\"id\":\"c{n}\"}}");
        count(&stage, &[], &body).await;
        let ids = stage.memory.ids();
        let letters = &stage.memory.letters()[before..];
        assert!(ids.contains(&format!("a{n}")), "{bad}: {ids:?}");
        let lost: Vec<_> = letters.iter().map(|letter| String::from_utf8_lossy(&letter.bytes)).collect();
        assert!(lost.iter().any(|lost| lost.contains(bad)), "{bad}: {lost:?}");
        if bad.starts_with('{') {
            assert_eq!((lost.len(), lost[0].trim()), (1, *bad), "{bad}");
            assert!(ids.contains(&format!("b{n}")) && ids.contains(&format!("c{n}")), "{bad}: {ids:?}");
        }
    }
    // Bytes that are no UTF-8 cost their document alone.
    let torn = [&b"{\"id\":\"x\"}{\"id\":\"\xff\"}"[..], b"{\"id\":\"y\"}"].concat();
    assert_eq!(count(&stage, &[], &torn).await, 3);
    assert!(stage.memory.ids().ends_with(&["x".to_owned(), "y".to_owned()]));
}

#[tokio::test]
async fn a_body_of_beginnings_ends() {
    let stage = stage("  decode: {format: json_concat}\n  event: {id: /id}", json!({"id": "1"})).await;
    let body = "{\"a\":\n".repeat(50_000);
    let accepted = count(&stage, &[], &body).await;
    assert!((2..=40).contains(&accepted), "{accepted}");
    let kept: usize = stage.memory.letters().iter().map(|letter| letter.bytes.len()).sum();
    assert!(body.len() - kept < 300, "{kept} of {}", body.len());
}

#[tokio::test]
async fn the_fields_of_a_form_are_an_object_and_a_field_that_repeats_is_a_list() {
    let stage = stage("  decode: {format: form}\n  event: {id: {form: Sid}}", json!({"Sid": "1"})).await;
    let kind = ("content-type", "text/html");
    assert_eq!(count(&stage, &[kind], "Sid=SM1&Body=a+b%22%0A&To=x&To=y&To=&e").await, 1);
    assert_eq!(stage.memory.bodies(), [r#"{"Sid":"SM1","Body":"a b\"\n","To":["x","y",""],"e":""}"#]);
    assert_eq!(stage.memory.ids(), ["SM1"]);
    assert_eq!(count(&stage, &[], "").await, 0);
    assert_eq!(count(&stage, &[], "a&".repeat(10_001)).await, 1);
    assert_eq!(stage.memory.letters().len(), 1);
    assert!(stage.memory.letters()[0].detail.contains("10000 fields"));
}

#[tokio::test]
async fn a_field_of_a_form_may_hold_the_document() {
    let receiver = "  decode: {format: form, field: events}\n  event: {id: /_id}";
    let stage = stage(receiver, json!({"_id": "1"})).await;
    let form = |text: &str| {
        url::form_urlencoded::Serializer::new(String::new()).append_pair("events", text).finish()
    };
    assert_eq!(count(&stage, &[], form(r#"[{"_id": "a"},{"_id": "b" }]"#)).await, 2);
    assert_eq!(stage.memory.bodies(), [r#"{"_id": "a"}"#, r#"{"_id": "b" }"#]);
    assert_eq!(count(&stage, &[], form("[]")).await, 0);
    for bad in [form("[{"), "other=1".to_owned(), format!("{0}&{0}", form("{}"))] {
        let before = stage.memory.letters().len();
        assert_eq!(count(&stage, &[], &bad).await, 1, "{bad}");
        let letters = &stage.memory.letters()[before..];
        assert_eq!((letters[0].what, &letters[0].bytes[..]), (DeadWhat::Body, bad.as_bytes()));
        assert!(letters[0].detail.contains("events") || bad.contains('%'), "{}", letters[0].detail);
    }
}

#[tokio::test]
async fn a_notice_without_a_body_is_built_from_its_head() {
    let receiver = "  decode:\n    format: none\n    record: {channel: \"{{ request.headers['x-channel'] }}\", \
                    n: \"{{ request.headers['x-number'] | int }}\", \
                    state: \"{{ request.query.state | default(omit) }}\"}\n  \
                    event: {id: [/channel, /n], type: {header: X-State}}";
    let stage = stage(receiver, json!({"channel": "a", "n": 1})).await;
    let head = [("x-channel", "c\"1"), ("x-number", "7")];
    assert_eq!(count(&stage, &head, "").await, 1);
    assert_eq!(count(&stage, &head, "whatever").await, 1, "no body is read");
    assert_eq!(stage.memory.bodies(), [r#"{"channel":"c\"1","n":7}"#]);
    let get = format!(
        "GET /in?state=s HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nx-channel: b\r\nx-number: 8\r\nconnection: close\r\n\r\n"
    );
    assert!(stage.raw(get).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stage.memory.bodies()[1], r#"{"channel":"b","n":8,"state":"s"}"#);
    // What is missing is named, and nothing is lost.
    assert_eq!(count(&stage, &head[1..], "").await, 1);
    let letters = stage.memory.letters();
    assert!(letters[0].detail.contains("x-channel"), "{}", letters[0].detail);
}

#[tokio::test]
async fn lists_within_lists_hold_the_items_and_the_element_around_them_says_more() {
    let receiver = "  decode: {format: json}\n  \
                    records: {each: /entry, then_each: [/changes, /messaging]}\n  \
                    event: {id: [{outer: /id}, {outer: /time}, {hash: /value}], \
                    time: {outer: /time, format: unix}, type: /field}";
    let stage = stage(receiver, json!({"field": "f", "value": 1})).await;
    let body = r#"{"object":"page","entry":[
        {"id":"1","time":5,"changes":[{"field":"f","value": {"a":1}},{"field":"f","value":2}]},
        {"id":"2","time":6,"messaging":[{"field":"f","value":3}]},
        {"id":"3","time":7},
        {"id":"4","time":8,"changes":{"field":"f","value":4}}]}"#;
    assert_eq!(count(&stage, &[], body).await, 5);
    assert_eq!(stage.memory.bodies()[0], r#"{"field":"f","value": {"a":1}}"#);
    assert_eq!(stage.memory.bodies().len(), 4);
    let ids = stage.memory.ids();
    assert!(ids[0].starts_with("1|5|") && ids[3].starts_with("4|8|"), "{ids:?}");
    let letters = stage.memory.letters();
    assert_eq!((letters[0].what, letters[0].reason), (DeadWhat::Record, DeadReason::Undecodable));
    assert_eq!(letters[0].bytes, r#"{"id":"3","time":7}"#);
    assert!(letters[0].detail.contains("`/changes` or `/messaging`"), "{}", letters[0].detail);
    // As deep as a body may nest and deeper, one element at a time.
    let deep = |n: usize| {
        format!("{{\"id\":\"d{n}\",\"time\":1,\"changes\":[{}1{}]}}", "[".repeat(n), "]".repeat(n))
    };
    assert_eq!(count(&stage, &[], format!("{{\"entry\":[{},{}]}}", deep(3), deep(100_000))).await, 2);
    assert_eq!(stage.memory.letters()[1].reason, DeadReason::TooDeep);
    // Tried again, an inner item is known for what it is.
    let inner =
        forebay::queue::DeadLetter { bytes: r#"{"field":"f","value":9}"#.into(), ..letters[0].clone() };
    assert_eq!(decode_again(&stage.endpoint, inner).records.len(), 1);
}

#[tokio::test]
async fn a_list_that_no_pointer_reaches_is_built() {
    let receiver = "  decode: {format: json}\n  \
                    records: {each: {value: \"{{ request.json.opened + request.json.closed }}\"}}\n  \
                    event: {id: /id}\nsimulate: {json: {opened: \"{{ items }}\", closed: []}}";
    let stage = stage(receiver, json!({"id": "1"})).await;
    let body = br#"{"opened":[{"id":1,"f":1.0}],"closed":[{"id":2},{"id":18446744073709551615}]}"#;
    let packed = Coding::Gzip.deflate(body);
    assert_eq!(count(&stage, &[("content-encoding", "gzip")], &packed).await, 3);
    assert_eq!(
        stage.memory.bodies(),
        [r#"{"id":1,"f":1.0}"#, r#"{"id":2}"#, r#"{"id":18446744073709551615}"#]
    );
    assert_eq!(count(&stage, &[], r#"{"opened":[]}"#).await, 1);
    assert!(stage.memory.letters()[0].detail.contains("closed"), "{}", stage.memory.letters()[0].detail);
}

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

mod properties {
    use forebay::connector::instance::Instance;
    use forebay::queue::DeadLetter;
    use proptest::prelude::*;

    use super::*;

    /// An endpoint that nobody listens at.
    fn endpoint(receiver: &str, sample: &Json) -> Arc<forebay::receive::Endpoint> {
        let instance: Arc<Instance> =
            stage::instance(connector(receiver, "", sample), "probe", &[("key", KEY)]);
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
}
