//! Templates and conditions: what is built, what is decided, and what is refused.

use std::sync::Arc;

use forebay::connector::template::{Condition, RequestFacts, Scope, Text, Tree, Vars};
use serde_json::{Value as Json, json};

fn scope() -> Scope {
    Scope::default()
        .with("settings", json!({"base_url": "https://a.example/", "list": ["x", "y"], "on": true, "n": 7}))
        .with("secrets", json!({"key": "s3cret"}))
        .with("instance", json!({"id": "acme"}))
        .with("item", json!({"type": "http", "nothing": null, "sink": {"url": "https://b.example"}}))
        .with("response", json!({"status": 200}))
}

fn value(source: &str) -> Json {
    Text::compile(source).unwrap().value(&scope()).unwrap().expect("omitted")
}

fn text(source: &str) -> String {
    Text::compile(source).unwrap().render(&scope()).unwrap()
}

fn fault(source: &str) -> String {
    Text::compile(source).unwrap().render(&scope()).unwrap_err().to_string()
}

fn holds(source: &str) -> bool {
    Condition::compile(source).unwrap().holds(&scope()).unwrap()
}

#[test]
fn a_lone_expression_keeps_its_type() {
    assert_eq!(value("{{ settings.list }}"), json!(["x", "y"]));
    assert_eq!(value("{{ settings.n }}"), json!(7));
    assert_eq!(value("{{ settings.on }}"), json!(true));
    assert_eq!(value("{{ settings.n }} "), json!("7 "));
    assert_eq!(value("plain"), json!("plain"));
}

#[test]
fn booleans_are_spelled_as_json_and_newlines_are_kept() {
    assert_eq!(text("is {{ settings.on }}"), "is true");
    assert_eq!(text("a\n"), "a\n");
    assert_eq!(text("{{ settings.n }}\r\n"), "7\r\n");
}

#[test]
fn what_is_missing_fails_a_text_by_its_name() {
    assert!(fault("x {{ item.sink.method }}").contains("`item.sink.method` is missing"));
    assert!(fault("x {{ item.nothing }}").contains("`item.nothing` is null"));
    assert!(fault("x {{ settings.list }}").contains("`settings.list` is a list or a map"));
    assert_eq!(text("{{ item.a.b.c | default('d') }}"), "d");
}

#[test]
fn omit_leaves_its_key_out() {
    let tree =
        Tree::compile(&json!({"a": "{{ item.gone | default(omit) }}", "b": ["{{ omit }}", 1]})).unwrap();
    assert_eq!(tree.render(&scope()).unwrap(), Some(json!({"b": [1]})));
    let bearer = Text::compile("Bearer {{ item.gone | default(omit) }}").unwrap();
    assert_eq!(bearer.value(&scope()).unwrap(), None);
    assert!(bearer.render(&scope()).is_err());
}

#[test]
fn what_is_missing_equals_nothing() {
    for bypass in [
        "item.a == item.b",
        "item.a == item.b.c.d",
        "not item.a != item.b",
        "[item.a] == [item.b]",
        "{'k': item.a} == {'k': item.b}",
        "(item.a | lower) == (item.b | lower)",
        "(item.a | sha256 | hex) == (item.b | sha256 | hex)",
        "(item.a ~ '') == (item.b ~ '')",
        "item.a in [item.b]",
        "[item.a] in [[item.b]]",
        "item.a in item.b",
        "item.a == none",
        "item.a == ''",
        "item.a <= item.b",
        "item.a >= item.b",
        "item.a > 5",
        "item.a < 5",
        "item.a.b == item.a.b",
        "(item.a if true) == (item.b if true)",
        "(item.a | default(item.b)) == item.c",
        "(item.a | first) == (item.b | last)",
        "(item.l | map(attribute='x')) == (item.m | map(attribute='x'))",
        "item.a == item.b == item.c",
        "item.type == item.b == item.c",
    ] {
        assert!(!holds(bypass), "{bypass}");
    }
    assert!(holds("item.a != item.b"));
    assert!(holds("item.type != item.b"));
    assert!(holds("item.a not in ['x']"));
    assert!(holds("item.a is not defined"));
    assert!(holds("item.type is defined and item.type == 'http'"));
    assert!(holds("not item.a"));
}

#[test]
fn comparisons_hold_what_they_say() {
    for good in [
        "item.type == 'http'",
        "(item).type == ('http')",
        "item['type'] == 'http' and response.status < 300",
        "200 <= response.status < 300",
        "'tt' in item.type",
        "'x' in settings.list",
        "'sink' in item",
        "settings.list == ['x', 'y']",
        "settings.n * 2 == 14 and settings.n + 1 == 8",
        "item.a == 1 or item.type == 'http'",
        "item.type is startingwith('ht')",
        "7 == settings.n and 7.0 == settings.n",
    ] {
        assert!(holds(good), "{good}");
    }
    assert!(!holds("'7' == settings.n"));
    assert!(!holds("'7' > settings.n"));
}

#[test]
fn our_own_names_are_not_nothing() {
    let condition = Condition::compile("secrets.gone == item.a").unwrap();
    assert!(condition.holds(&scope()).unwrap_err().to_string().contains("`secrets.gone`"));
    assert!(holds("state.sink.id is not defined"));
}

#[test]
fn urls_are_joined_by_one_slash() {
    assert_eq!(text("{{ 'https://a/' | join_url('/b/c') }}"), "https://a/b/c");
    assert_eq!(text("{{ 'https://a' | join_url('b/c') }}"), "https://a/b/c");
    assert_eq!(text("{{ 'https://a' | join_url('api/v2/') }}"), "https://a/api/v2/");
}

#[test]
fn vars_are_worked_out_where_they_are_used() {
    let vars = Vars::new(vec![
        ("streams".into(), Text::compile("{{ settings.base_url | join_url('s') }}").unwrap()),
        ("stream".into(), Text::compile("{{ vars.streams }}/{{ state.s.id }}").unwrap()),
        ("round".into(), Text::compile("{{ vars.trip }}").unwrap()),
        ("trip".into(), Text::compile("{{ vars.round }}").unwrap()),
    ]);
    let scope = scope().with_vars(&vars);
    let stream = Text::compile("{{ vars.stream }}").unwrap();
    let error = stream.render(&scope).unwrap_err().to_string();
    assert!(error.contains("`state.s.id` is missing"), "{error}");
    let scope = scope.with("state", json!({"s": {"id": "lst_1"}}));
    assert_eq!(stream.render(&scope).unwrap(), "https://a.example/s/lst_1");
    let error = Text::compile("{{ vars.round }}").unwrap().render(&scope).unwrap_err().to_string();
    assert!(error.contains("is made of itself"), "{error}");
}

#[test]
fn the_raw_body_is_spliced_untouched() {
    let facts = Arc::new(RequestFacts {
        method: http::Method::POST,
        url: "https://a.example/in?x=1&x=2&y=3".into(),
        path: "/in".into(),
        query: "x=1&x=2&y=3".into(),
        headers: [("X-Stamp", "12"), ("X-Two", "a"), ("X-Two", "b")]
            .into_iter()
            .map(|(k, v)| (k.parse::<http::HeaderName>().unwrap(), v.parse::<http::HeaderValue>().unwrap()))
            .collect(),
        body: bytes::Bytes::from_static(b"\xff\x00{\r\n"),
    });
    let scope = scope().with_request(facts);
    let message = Text::compile("v0:{{ request.headers['X-STAMP'] }}:{{ request.body }}").unwrap();
    assert_eq!(message.render_bytes(&scope).unwrap(), b"v0:12:\xff\x00{\r\n");
    let condition = |source: &str| Condition::compile(source).unwrap().holds(&scope).unwrap();
    assert!(condition("request.query.y == '3' and request.headers['x-two'] == 'a, b'"));
    assert!(!condition("request.query.x == '1' or request.query.x == '2'"));
    assert!(!condition("request.json.type == request.headers['x-gone']"));
    assert!(condition("request.json is not defined"));
    assert!(condition("(request.body | sha256 | hex) | length == 64"));
}
