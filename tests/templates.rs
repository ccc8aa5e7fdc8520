//! Templates and conditions: what is built, what is decided, and what is refused.

mod bounds;

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
        parsed: forebay::connector::template::MAX_PARSED,
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

#[test]
fn what_is_missing_in_an_argument_is_missing_in_what_is_made() {
    for bypass in [
        "('' | join_url(item.a)) == ('' | join_url(item.b))",
        "('x' | hmac('sha256', item.a) | hex) == ('x' | hmac('sha256', item.b) | hex)",
        "item.type | regex_match(item.a)",
        "item.a | regex_match('')",
    ] {
        assert!(!holds(bypass), "{bypass}");
    }
    assert!(fault("{{ 'x' | hmac('sha256', item.a) | hex }}").contains("`item.a` is missing"));
}

#[test]
fn a_lone_null_stays_null_and_text_refuses_it() {
    assert_eq!(value("{{ item.nothing }}"), Json::Null);
    assert_eq!(value("{{ item.nothing | default('x') }}"), Json::Null);
    assert_eq!(value("{{ [item.nothing, omit, settings.on] }}"), json!([null, true]));
    assert!(fault("{{ item.nothing }}").contains("`item.nothing` is null"));
    assert!(fault("{{ [item.gone] | tojson }}").contains("`item.gone` is missing"));
}

#[test]
fn missing_data_behind_a_var_make_a_condition_false() {
    let vars = Vars::new(vec![("token".into(), Text::compile("Bearer {{ response.json.token }}").unwrap())]);
    let scope = scope().with_vars(&vars);
    let condition = Condition::compile("vars.token == item.type").unwrap();
    assert!(!condition.holds(&scope).unwrap());
    let scope = scope.with("response", json!({"json": {"token": "x"}}));
    let condition = Condition::compile("vars.token == 'Bearer x'").unwrap();
    assert!(condition.holds(&scope).unwrap());
}

#[test]
fn filters_do_what_they_are_called() {
    for (source, expected) in [
        ("{{ 'a b&c/ü' | urlencode }}", "a%20b%26c/%C3%BC"),
        ("{{ 'hi' | base64 }}", "aGk="),
        ("{{ 'hi??>' | base64url }}", "aGk_Pz4"),
        ("{{ 'hi' | hex }}", "6869"),
        ("{{ 'abc' | sha1 | hex }}", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("{{ 'abc' | sha256 | hex }}", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        // RFC 4231, test case 2.
        (
            "{{ 'what do ya want for nothing?' | hmac('sha256', 'Jefe') | hex }}",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("{{ 'hello' | crc32 }}", "907060870"),
        ("{{ ' Ab ' | trim | lower }}", "ab"),
        ("{{ 'a-b-c' | replace('-', '+') | upper }}", "A+B+C"),
        ("{{ 'a,b,c' | split(',') | last }}", "c"),
        ("{{ settings.list | join(';') }}", "x;y"),
        ("{{ settings.list | first }}{{ settings.list | length }}", "x2"),
        ("{{ [{'k': 1}, {'k': 2}] | map(attribute='k') | tojson }}", "[1,2]"),
        ("{{ [{'k': 1}] | map('tojson') | join }}", "{\"k\":1}"),
        ("{{ ('12' | int) + 1 }}", "13"),
        ("{{ 1.0 }} {{ 2.5 | string }} {{ 1635984900418 }}", "1.0 2.5 1635984900418"),
        ("{{ {'a': {'b': 1, 'c': 2}} | merge({'a': {'b': 3}}) | tojson }}", "{\"a\":{\"b\":3,\"c\":2}}"),
        ("{{ '2024-02-28T23:59:59Z' | plus('2d') | rfc3339 }}", "2024-03-01T23:59:59Z"),
        ("{{ '2024-02-28T00:00:00Z' | plus('-5m') | unix }}", "1709078100"),
        ("{{ 1709078100 | unix_ms }}", "1709078100000"),
        ("{{ {'b': '2', 'a': '1'} | form_concat }}", "a1b2"),
        ("{{ {'b': 'x y', 'a': '1'} | sorted_query }}", "a=1&b=x+y"),
        ("{{ 'x{{' }}y{{ '}}' }}", "x{{y}}"),
        ("{# text #}", "{# text #}"),
        ("{{ 'a' if settings.on else 'b' }}", "a"),
        ("{% for x in settings.list %}{{ x }}\n{% endfor %}", "x\ny\n"),
        ("{% set j = item %}{% if j.type != 'http' %}a{% else %}{{ j.type }}{% endif %}", "http"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
    assert_eq!(text("{{ uuid() }}").len(), 36);
    assert_ne!(text("{{ random(16) }}"), text("{{ random(16) }}"));
    assert!(fault("{{ 'https://a/?q' | join_url('b') }}").contains("without a query"));
}

#[test]
fn what_is_no_part_of_the_language_is_refused_with_a_hint() {
    for (source, part) in [
        ("{{ x | lowr }}", "did you mean `lower`?"),
        ("{{ x | pprint }}", "there is no filter `pprint`"),
        ("{{ range(9) }}", "there is no function `range`"),
        ("{{ x is divisibleby(2) }}", "there is no test"),
        ("{{ x.upper() }}", "no methods"),
        ("{{ x[1:] }}", "slices"),
        ("{{ 2 ** 9 }}", "`**`"),
        ("{{ __eq(1, 1) }}", "there is no function `__eq`"),
        ("{{ __own }}", "`__own` is no name"),
        ("{% include 'x' %}", "no part of the language"),
        ("{% import 'x' as y %}", "no part of the language"),
        ("{% from 'x' import y %}", "no part of the language"),
        ("{% extends 'x' %}", "no part of the language"),
        ("{% block a %}{% endblock %}", "no part of the language"),
        ("{% set settings = 1 %}", "is a name of the language"),
        ("{% for x in y recursive %}{% endfor %}", "a `for` here is plain"),
        ("{% macro a() %}{% endmacro %}", "unknown statement"),
        ("{{ settings.a ", "expected"),
    ] {
        let error = Text::compile(source).unwrap_err();
        assert!(error.to_string().contains(part), "{source}: {error}");
    }
    let error = Condition::compile("{{ a == b }}").unwrap_err();
    assert!(error.to_string().contains("no braces"));
    let error = Condition::compile("item.a = 1").unwrap_err();
    assert!(error.to_string().contains("equal is written =="), "{error}");
    let error = Text::compile("first line\nsecond {{ x | lowr }}").unwrap_err();
    assert_eq!((error.line, error.column), (2, 15));
    assert_eq!(error.offset, 25);
}

#[test]
fn names_are_told_as_far_as_they_are_fixed() {
    let names = |source: &str| Text::compile(source).unwrap().names();
    assert_eq!(
        names("{{ vars.streams }}/{{ state.log_stream.id }}"),
        ["vars.streams", "state.log_stream.id"]
    );
    assert_eq!(names("{{ settings.a | default(settings.b | join_url('x')) }}"), ["settings.a", "settings.b"]);
    assert_eq!(
        names("{{ request.headers['x-a'] ~ request.json[0].type }}"),
        ["request.headers.x-a", "request.json.0.type"]
    );
    assert_eq!(names("{{ request.headers[settings.name].x }}"), ["request.headers", "settings.name"]);
    assert_eq!(names("{{ now | rfc3339 }}{{ uuid() }}"), ["now", "uuid"]);
    assert_eq!(names("{% set j = request.json %}{{ j.a }}"), ["request.json"]);
    let condition = Condition::compile("settings.a == 'x' and 'y' == settings.b").unwrap();
    assert_eq!(
        condition.equalities().unwrap(),
        [("settings.a".to_owned(), json!("x")), ("settings.b".to_owned(), json!("y"))]
    );
    assert!(Condition::compile("settings.a == 'x' or settings.b").unwrap().equalities().is_none());
}

#[test]
fn no_error_shows_a_secret() {
    for source in [
        "{{ secrets.key | int }}",
        "{{ secrets.key | rfc3339 }}",
        "{{ secrets.key | plus('5m') }}",
        "{{ secrets.key + 1 }}",
        "{{ secrets.key * 2 }}",
        "{{ 1 - secrets.key }}",
        "{{ secrets.key | hmac(secrets.key, secrets.key) }}",
        "{{ secrets.key | join }}",
        "{{ secrets.key | merge(secrets) }}",
        "{{ secrets }}{{ item.gone }}",
        "{{ 'x' | map(secrets.key) }}",
        "{{ ['x'] | map(secrets.key) }}",
        "{{ 'x' | plus(secrets.key) }}",
        "{{ 'x' | regex_match('(' ~ secrets.key) }}",
        "{{ random(secrets.key) }}",
        "{{ -secrets.key }}",
        "{{ secrets.key.x }}",
        "{{ item.type is startingwith(secrets) }}{{ item.gone }}",
    ] {
        let Err(error) = Text::compile(source).unwrap().render(&scope()) else { continue };
        assert!(!format!("{error:?}{error}").contains("s3cret"), "{source}: {error:?}");
    }
    assert!(!format!("{:?}", scope()).contains("s3cret"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    /// Two missing values never come out equal, whatever they go through.
    #[test]
    fn missing_never_equals_missing(path in proptest::sample::select(FILTERED.to_vec())) {
        let source = format!("({}) == ({})", path.replace("M", "item.gone"), path.replace("M", "item.lost"));
        if let Ok(condition) = Condition::compile(&source) {
            proptest::prop_assert!(!condition.holds(&scope()).unwrap_or(false), "{}", source);
        }
    }
}

/// What a missing value may be put through.
const FILTERED: &[&str] = &[
    "M",
    "[M]",
    "{'a': M}",
    "M.x",
    "M[0]",
    "M | lower",
    "M | tojson",
    "[M] | tojson",
    "M | string",
    "M ~ 'x'",
    "'x' ~ M",
    "M | length",
    "[M] | first",
    "M | default(M)",
    "M if true",
    "M and true",
    "true and M",
    "M or M",
    "M | map('lower')",
    "[M] | map('lower')",
    "M | join",
    "[M] | join",
    "M | split('x')",
    "'x' | split(M)",
    "M | merge({})",
    "{} | merge(M)",
    "M | sha256",
    "M | int",
    "M | hex",
    "-M",
    "M + 1",
    "M * 2",
    "[[M]]",
    "M | sorted_query",
    "{'a': M} | form_concat",
    "M | urlencode",
    "'x' | replace(M, 'y')",
    "M[item.other]",
];

#[test]
fn signed_text_shares_the_body_also_through_vars() {
    let body = bytes::Bytes::from(vec![b'x'; 15 << 20]);
    let facts = RequestFacts {
        method: http::Method::POST,
        url: String::new(),
        path: "/in".to_owned(),
        query: String::new(),
        headers: http::HeaderMap::new(),
        body: body.clone(),
        parsed: forebay::connector::template::MAX_PARSED,
    };
    let message = Text::compile("a.{{ request.body }}").unwrap();
    let vars = Vars::new(vec![("message".to_owned(), message)]);
    let scope = Scope::default().with_vars(&vars).with_request(Arc::new(facts));
    let parts = Text::compile("{{ vars.message }}!").unwrap().render_parts(&scope).unwrap();
    let shared = parts.iter().find(|part| part.len() == body.len()).unwrap();
    assert_eq!(shared.as_ptr(), body.as_ptr());
    assert_eq!(parts.len(), body.len() + 3);
    assert!(parts.joined().starts_with(b"a.x") && parts.joined().ends_with(b"x!"));
    // What is made of the body, and the same text rendered whole, has no smaller limit.
    for (text, length) in
        [("{{ vars.message }}", body.len() + 2), ("{{ request.body | hex }}", 2 * body.len())]
    {
        assert_eq!(Text::compile(text).unwrap().render_bytes(&scope).unwrap().len(), length, "{text}");
    }
}
