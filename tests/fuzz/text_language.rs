//! Templates and conditions: made by their grammar and spoiled, then rendered against requests that a hostile sender
//! could make. What comes out is bounded, and no message holds a secret.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use forebay::connector::template::{Condition, RequestFacts, Scope, Text, Tree, Vars};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;

use super::spoil::spoiled;

const SECRET: &str = "s3cretvalue";
/// The most that a text may become, beside the raw body of a request.
const MOST: usize = 16 << 20;

/// Names that exist, and names that do not.
const NAMES: &[&str] = &[
    "request",
    "request.method",
    "request.url",
    "request.path",
    "request.query",
    "request.query.a",
    "request.headers",
    "request.headers['x-a']",
    "request.headers['']",
    "request.headers.host",
    "request.body",
    "request.json",
    "request.json.a",
    "request.json.a.b[0]",
    "request.json[0]",
    "request.json['a']['b']",
    "request.form",
    "request.form.a",
    "request.form['payload']",
    "settings.base_url",
    "settings.list",
    "settings.n",
    "settings.gone",
    "secrets.key",
    "secrets.gone",
    "vars.v",
    "vars.loop",
    "instance.id",
    "state.a.id",
    "now",
    "item",
    "item.a",
    "timestamp",
    "omit",
    "none",
    "true",
    "false",
    "nobody",
    "loop.index",
    "self",
    "super",
    "x",
];
/// Constants.
const CONSTANTS: &[&str] = &[
    "''",
    "'a'",
    "','",
    "'='",
    "'\\u0000'",
    "'ü'",
    "'5m'",
    "'-1d'",
    "'9999999d'",
    "0",
    "-1",
    "1",
    "3.5",
    "1e308",
    "9223372036854775807",
    "170141183460469231731687303715884105727",
    "[]",
    "['a', 1]",
    "{}",
    "{'a': 1}",
    "('a',)",
    "'(a*)*$'",
    "'['",
    "'sha256'",
    "'2023-11-14T22:13:20Z'",
    "1700000000",
];
/// Filters with what they may be given.
const FILTERS: &[&str] = &[
    "default",
    "join_url",
    "tojson",
    "urlencode",
    "base64",
    "base64url",
    "hex",
    "sha1",
    "sha256",
    "sha384",
    "sha512",
    "from_hex",
    "from_base64",
    "hmac",
    "crc32",
    "lower",
    "upper",
    "trim",
    "replace",
    "split",
    "join",
    "first",
    "last",
    "length",
    "map",
    "int",
    "string",
    "merge",
    "plus",
    "rfc3339",
    "unix",
    "unix_ms",
    "regex_match",
    "explicit_port",
    "without_port",
    "form_concat",
    "sorted_query",
    "safe",
    "indent",
    "format",
];
const OPERATORS: &[&str] = &[
    "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "~", "+", "-", "*", "/", "//", "%", "**",
];
const TESTS: &[&str] =
    &["defined", "none", "string", "number", "mapping", "startingwith('a')", "endingwith(x)", "odd"];

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(str::to_owned),
        2 => prop::sample::select(CONSTANTS).prop_map(str::to_owned),
        1 => Just("uuid()".to_owned()),
        1 => prop::sample::select(&["random(8)", "random(-1)", "random(99999999999)", "range(9)"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 40, 3, |inner| {
        let (one, two, three) = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            4 => (one.clone(), prop::sample::select(FILTERS), prop::collection::vec(two.clone(), 0..3))
                .prop_map(|(value, filter, arguments)| match arguments.is_empty() {
                    true => format!("({value}) | {filter}"),
                    false => format!("({value}) | {filter}({})", arguments.join(", ")),
                }),
            3 => (one.clone(), prop::sample::select(OPERATORS), two.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => (one.clone(), prop::sample::select(TESTS)).prop_map(|(a, test)| format!("({a} is {test})")),
            1 => (one.clone(), two.clone(), three.clone()).prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
            1 => (one.clone(), two.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => (one.clone(), two.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => (one, two).prop_map(|(a, b)| format!("{{'a': {a}, {b}: 1}}")),
        ]
    })
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => expression().prop_map(|expression| format!("{{{{ {expression} }}}}")),
        1 => Just("plain ".to_owned()),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("{{% if {a} %}}{{{{ {b} }}}}{{% else %}}b{{% endif %}}")),
        2 => (expression(), expression())
            .prop_map(|(list, each)| format!("{{% for x in {list} %}}{{{{ x }}}}{{{{ {each} }}}}{{% endfor %}}")),
        1 => (expression(), expression())
            .prop_map(|(a, b)| format!("{{% set x = {a} %}}{{% for y in {b} %}}{{% set x = x ~ x %}}{{% endfor %}}{{{{ x }}}}")),
    ];
    let text = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let either = prop_oneof![3 => text, 2 => expression()];
    spoiled(either.prop_map(String::into_bytes), 3)
}

fn request(query: &str, headers: &[(&'static str, Vec<u8>)], body: impl Into<Bytes>) -> RequestFacts {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    let url = format!("https://logs.example.com/in?{query}");
    RequestFacts {
        method: Method::POST,
        url,
        path: "/in".to_owned(),
        query: query.to_owned(),
        headers: map,
        body: body.into(),
        parsed: forebay::connector::template::MAX_PARSED,
    }
}

/// What a sender without the key may come with.
static REQUESTS: LazyLock<Vec<Scope>> = LazyLock::new(|| {
    let large = 300_000;
    let requests = [
        request("", &[], ""),
        request(
            "a=1&a=2&%ff=%00&=",
            &[("x-a", b"1, 2".to_vec()), ("x-a", b"\xff".to_vec())],
            "a=1&payload=%7B%22a%22%3A1%7D&a=3",
        ),
        request(
            "a",
            &[("x-a", vec![b'a'; 60_000])],
            r#"{"a": {"b": [1, "2", null, {"a": "x"}]}, "": 1e400}"#,
        ),
        request("", &[("x-a", b"170000000000000000000".to_vec())], "[".repeat(100_000)),
        request("", &[], format!("[{}1]", "1,".repeat(large))),
        request("", &[], "a=&".repeat(large)),
        request("", &[], format!("{{\"a\":\"{}\"}}", ",".repeat(large))),
        request("", &[], vec![0xff; 3 << 20]),
        request("", &[], format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120))),
    ];
    let vars = Vars::new(vec![
        ("v".into(), Text::compile("{{ request.headers['x-a'] | lower }}").unwrap()),
        ("loop".into(), Text::compile("{{ request.body | hex }}").unwrap()),
    ]);
    let scope = Scope::default()
        .with("settings", json!({"base_url": "https://a.example/", "list": ["x", "y"], "n": 7}))
        .with("secrets", json!({"key": SECRET}))
        .with("instance", json!({"id": "acme"}))
        .with("state", json!({"a": {"id": "1"}}))
        .with("item", json!({"a": "1", "b": null}))
        .with_vars(&vars)
        .with_now(jiff::Timestamp::from_second(super::NOW).unwrap());
    requests.into_iter().map(|facts| scope.with_request(Arc::new(facts))).collect()
});

/// Errors are read by strangers' victims: bounded, in one line, and without what is secret.
fn harmless(source: &str, error: &forebay::error::Error) {
    let said = format!("{error}");
    assert!(said.len() < 2000, "a message of {} bytes", said.len());
    let derived = [SECRET, "czNjcmV0dmFsdWU", "7333637265747661"];
    let told = derived.iter().any(|secret| said.contains(secret) && !source.contains(secret));
    assert!(!told, "{said} tells the secret");
}

pub fn check(input: &[u8]) {
    let source = String::from_utf8_lossy(input);
    let text = Text::compile(&source);
    let tree = Tree::compile(&json!({"a": [source], "b": "{{ request.path }}"}));
    let condition = Condition::compile(&source);
    for error in [text.as_ref().err(), condition.as_ref().err()].into_iter().flatten() {
        assert!(error.offset <= source.len() && error.message.len() < 2000, "{error:?}");
    }
    for scope in REQUESTS.iter() {
        if let Ok(text) = &text {
            let told = |outcome: Result<usize, forebay::error::Error>| match outcome {
                Ok(length) => assert!(length <= MOST + (4 << 20), "a text of {length} bytes"),
                Err(error) => harmless(&source, &error),
            };
            told(text.render_bytes(scope).map(|bytes| bytes.len()));
            told(text.value(scope).map(|value| value.map_or(0, |value| value.as_str().map_or(0, str::len))));
            let _ = (text.names(), text.lacks_own(scope), text.lone_name());
        }
        if let Ok(condition) = &condition {
            condition.holds(scope).err().iter().for_each(|error| harmless(&source, error));
            let _ = (condition.equalities(), condition.definitions());
        }
        if let Ok(tree) = &tree {
            tree.render(scope).err().iter().for_each(|error| harmless(&source, error));
        }
    }
}

#[test]
fn no_text_breaks_the_template_language() {
    super::play("templates", 300, text, check);
}
