//! Bodies of every format and encoding, and records in lists.

use std::sync::Arc;

use forebay::connector::coding::Coding;
use forebay::connector::model::Connector;
use forebay::queue::{DeadReason, DeadWhat};
use forebay::receive::{Limits, decode_again};
use serde_json::{Value as Json, json};

use super::stage::{self, KEY, Stage};

/// A connector whose receiver goes on like this.
pub(super) fn connector(receiver: &str, output: &str, sample: &Json) -> Arc<Connector> {
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

pub(super) async fn stage(receiver: &str, sample: Json) -> Stage {
    let instance = stage::instance(connector(receiver, "", &sample), "probe", &[("key", KEY)]);
    Stage::with(instance, Limits::default(), None).await
}

pub(super) async fn count(stage: &Stage, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> u64 {
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
