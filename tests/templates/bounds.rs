//! What templates may cost, and that no text of a spec breaks them.

use std::sync::Arc;

use forebay::connector::template::{Condition, RequestFacts, Text, Tree, Vars};
use serde_json::json;

use super::scope;

#[test]
fn everything_is_bounded() {
    let slow = "{% for a in settings.many %}{% for b in settings.many %}{{ a }}{% endfor %}{% endfor %}";
    let many: Vec<u32> = (0..1000).collect();
    let scope = scope().with("settings", json!({"many": many, "long": "x".repeat(1 << 20)}));
    let fault = |source: &str| Text::compile(source).unwrap().render(&scope).unwrap_err().to_string();
    assert!(fault(slow).contains("too many steps"));
    assert!(fault("{{ settings.long | replace('x', settings.long) }}").contains("16 MiB"));
    let grown = "{% for a in settings.many %}{{ settings.long }}{% endfor %}";
    assert!(fault(grown).contains("16 MiB"), "{}", fault(grown));
    let doubling: Vec<(String, Text)> = (0..40)
        .map(|n| {
            let text = format!("{{{{ vars.v{} }}}}{{{{ vars.v{} }}}}", n + 1, n + 1);
            (format!("v{n}"), Text::compile(&text).unwrap())
        })
        .chain([("v40".to_owned(), Text::compile("x").unwrap())])
        .collect();
    let scope = scope.with_vars(&Vars::new(doubling));
    let error = Text::compile("{{ vars.v0 }}").unwrap().render(&scope).unwrap_err().to_string();
    assert!(error.contains("too many vars"), "{error}");
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(400), ")".repeat(400));
    assert!(Text::compile(&deep).is_err());
    let wide = format!("{{{{ {}1 }}}}", "1+".repeat(100_000));
    assert!(Text::compile(&wide).unwrap_err().to_string().contains("too long"));
}

/// A body of some kilobytes, and texts that make much of it: in a few steps, or by much work in each.
#[test]
fn what_a_text_makes_of_a_body_is_bounded() {
    let body = |bytes: String| {
        let facts = RequestFacts {
            method: http::Method::POST,
            url: "https://a.example/in".to_owned(),
            path: "/in".to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: bytes.into(),
            parsed: forebay::connector::template::MAX_PARSED,
        };
        scope().with_request(Arc::new(facts))
    };
    let (texts, list) = (body(",".repeat(600_000)), body(format!("[{}1]", "1,".repeat(100_000))));
    let hex = format!("{{{{ request.body{} }}}}", " | hex".repeat(40));
    let nested: String =
        (1..60).map(|n| format!("{{% set a{n} = [a{before}, a{before}] %}}", before = n - 1)).collect();
    let nested = format!("{{% set a0 = ['x'] %}}{nested}{{{{ a59 | tojson }}}}");
    for (source, scope, why) in [
        (hex.as_str(), &texts, "grows past 16 MiB"),
        (&nested, &texts, "past 16 MiB"),
        ("{{ request.body | split(',') | length }}", &texts, "more than 100000 pieces"),
        (
            "{{ [request.body, request.body] | map('hex') | join(request.body | hex | hex | hex | hex) }}",
            &texts,
            "past 16 MiB",
        ),
        (&"{{ request.body | hex }}".repeat(40), &texts, "past 16 MiB"),
        (
            "{% for n in request.json %}{{ 'x' if (request.body | sha256 | hex) == 'y' else '' }}{% endfor %}",
            &list,
            "too much work",
        ),
        (
            "{% for n in request.json %}{{ 'x' if 'y' in request.body else '' }}{% endfor %}",
            &list,
            "too much work",
        ),
        (
            "{% for n in request.json %}{{ 'y' | regex_match('(a{9}){9}') }}{% endfor %}",
            &list,
            "too much work",
        ),
        ("{% for n in request.json %}{{ request.json[99999] }}{% endfor %}", &list, "too much work"),
        ("{% for n in request.json %}{{ request.json | length }}{% endfor %}", &list, "too much work"),
    ] {
        let error = Text::compile(source).unwrap().render(scope).unwrap_err().to_string();
        assert!(error.contains(why), "{source}: {error}");
    }
    // A whole body is signed together with what is around it, and its hash beside it.
    let signed =
        Text::compile("{{ request.method }}.{{ request.body }}.{{ request.body | sha256 | hex }}").unwrap();
    let large = body("x".repeat(16 << 20));
    assert_eq!(signed.render_bytes(&large).unwrap().len(), (16 << 20) + 70);
    // A form may have ten thousand fields: one more is none.
    let field = Text::compile("{{ request.form.last }}").unwrap();
    assert_eq!(field.render(&body("a=1&".repeat(9_999) + "last=x")).unwrap(), "x");
    field.render(&body("a=1&".repeat(10_000) + "last=x")).unwrap_err();
}

/// Bits of template text, some of which fit each other.
fn scraps() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let scrap = prop_oneof![
        prop::sample::select(vec![
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "-",
            "if ",
            "for x in ",
            "set y = ",
            "endif",
            "endfor",
            "else",
            "item",
            "item.a",
            ".b",
            "[0]",
            "['type']",
            "settings.list",
            "secrets.key",
            "omit",
            "none",
            "==",
            "!=",
            "<",
            ">=",
            " in ",
            " not ",
            " and ",
            " or ",
            " is ",
            "defined",
            "|",
            "lower",
            "join",
            "map",
            "default",
            "hmac",
            "merge",
            "plus",
            "split",
            "int",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "'",
            "\"",
            "\\",
            "~",
            "*",
            "+",
            "-",
            "/",
            "//",
            "%",
            "9223372036854775807",
            "1e400",
            "0",
            "'5m'",
            "true",
            " ",
            "\n",
            "ü",
            "\u{0}",
            "vars.v",
            "uuid()",
            "random(3)",
            "random(-1)",
            "raw",
            "endraw",
            "filter",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,3}",
    ];
    prop::collection::vec(scrap, 0..24).prop_map(|scraps| scraps.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    /// Whatever stands in a spec, compiling and rendering it end, and end without a panic.
    #[test]
    fn no_text_panics(source in scraps(), braces in proptest::bool::ANY) {
        let vars = Vars::new(vec![("v".into(), Text::compile("{{ item.type }}").unwrap())]);
        let scope = scope().with_vars(&vars);
        let source = if braces { format!("{{{{ {source} }}}}") } else { source };
        if let Ok(text) = Text::compile(&source) {
            let _ = (text.render(&scope), text.value(&scope), text.render_bytes(&scope), text.names());
        }
        if let Ok(condition) = Condition::compile(&source) {
            let _ = (condition.holds(&scope), condition.equalities());
        }
        let _ = Tree::compile(&json!({"a": [source]})).map(|tree| tree.render(&scope));
    }
}
