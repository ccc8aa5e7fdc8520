//! From a call of the spec to bytes on the wire, and to a curl command.

use forebay::call::curl::curl;
use forebay::call::failure::CallError;
use forebay::call::retry::Repeat;
use forebay::error::Error;
use serde_json::{Value as Json, json};

use super::server::{Seen, Server, json as reply};
use super::vendor::{Bench, KEY};

async fn sent(name: &str, settings: &[(&str, Json)]) -> Seen {
    let server = Server::start(|_, _| reply(200, r#"{"id":1}"#)).await;
    let bench = Bench::new(server.at, "none", settings);
    // Some of these calls save what this server does not give; what was sent is the question.
    let _ = bench.call(name, Repeat::Safe).await;
    server.seen()[0].clone()
}

async fn unmade(name: &str, word: &str) -> Error {
    let server = Server::start(|_, _| reply(200, "{}")).await;
    let word = word.replace("SERVER", &server.at.to_string());
    let bench = Bench::new(server.at, "none", &[("word", json!(word))]);
    match bench.call(name, Repeat::Safe).await.map(|_| ()) {
        Err(CallError::Render(error)) => {
            assert_eq!(server.opened(), 0);
            error
        }
        other => panic!("{name} with {word:?}: {other:?}"),
    }
}

#[tokio::test]
async fn parts_are_built_as_data() {
    let word = "a\"},{\"b\u{e9}&=#?/\n";
    let seen = sent("create", &[("number", json!(7))]).await;
    assert_eq!(seen.line(), "POST /things?fixed=1&list=a+b&list=2 HTTP/1.1");
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("x-fixed"), Some("yes"));
    assert_eq!(seen.header("x-word"), None, "omit leaves a header out");
    assert_eq!(seen.body, r#"{"text":"\"},{\"","number":7,"flag":true}"#);

    let seen = sent("form", &[("word", json!(word))]).await;
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    let fields: Vec<_> = url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
    let deep = json!({"deep": [word]}).to_string();
    let wanted = [("a", "x&y"), ("a", "z=1"), ("b", deep.as_str()), ("d", "true")];
    assert_eq!(fields, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));

    let seen = sent("text", &[("word", json!("1\n2"))]).await;
    assert_eq!((seen.header("content-type"), seen.body.as_str()), (Some("text/csv"), "a,1\n2"));
}

#[tokio::test]
async fn a_header_cannot_be_broken_out_of() {
    for value in ["a\r\nx-evil: 1", "a\nb", "a\0b", "a\rb"] {
        let error = unmade("create", value).await;
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("x-word") && !shown.contains("evil"), "{shown}");
    }
    let error = unmade("list_in_header", "").await;
    assert!(error.sentence.contains("x-list"), "{error}");
}

#[tokio::test]
async fn a_url_that_is_none_is_not_called() {
    for (word, part) in [
        ("no url", "is no URL"),
        ("/relative", "is no URL"),
        ("mailto:a@b.example", "is no https URL"),
        ("https://user:pass@SERVER/", "user or a password"),
    ] {
        let error = unmade("whole_url", word).await;
        assert!(error.sentence.contains(part) && !error.to_string().contains("pass@"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_does_not_get_into_a_url_by_a_value() {
    for word in
        [KEY.to_owned(), format!("x{}", KEY.replace('+', "%2B").replace(' ', "%20").replace('/', "%2F"))]
    {
        let error = unmade("word_in_url", &word).await;
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("`key`") && !shown.contains("nobody"), "{shown}");
    }
    let seen = sent("word_in_url_allowed", &[("word", json!(KEY))]).await;
    assert!(seen.line().starts_with("GET /k3y-that-nobody+may%20see/"), "{}", seen.line());
}

#[tokio::test]
async fn a_secret_in_an_allowed_url_is_in_no_error() {
    let server = Server::start(|_, _| reply(404, "{}")).await;
    let bench = Bench::new(server.at, "none", &[("word", json!(KEY))]);
    let error = bench.call("word_in_url_allowed", Repeat::Safe).await.map(|_| ()).unwrap_err();
    let shown = format!("{error:?}") + &Error::from(error).to_string();
    assert!(shown.contains("****") && !shown.contains("nobody"), "{shown}");
}

#[test]
fn a_call_is_shown_as_curl_with_its_secrets_masked() {
    let at = "127.0.0.1:1".parse().unwrap();
    let shown = |auth: &str, name: &str| {
        let bench = Bench::new(at, auth, &[("word", json!("it's"))]);
        curl(&bench.instance.connector, bench.named(name), &bench.instance.masked_scope(), "ACCESS_TOKEN")
            .unwrap()
    };
    assert_eq!(
        shown("form", "create"),
        r#"curl -L -g -X POST 'http://127.0.0.1:1/things?fixed=1&word=it%27s&list=a+b&list=2' \
  -H 'authorization: Bearer ACCESS_TOKEN' \
  -H 'content-type: application/json' \
  -H 'accept: application/json' \
  -H 'x-word: it'\''s' \
  -H 'X-Fixed: yes' \
  -d '{
  "text": "it'\''s",
  "flag": true
}'"#
    );
    for (auth, part) in [
        ("bearer", "-H 'authorization: Bearer ****'"),
        ("basic", "-u '****:****'"),
        ("headers", "-H 'x-key: ****'"),
    ] {
        let shown = shown(auth, "find");
        assert!(shown.contains(part) && !shown.contains("nobody"), "{shown}");
    }
}

#[tokio::test]
async fn a_value_in_a_url_stays_the_part_of_the_path_that_it_is() {
    for word in ["../../x?y", "..", ".", "a/../b", "%2e%2E", ".%2e/x", "a?b", "a#b", "a\\..\\b"] {
        let said = unmade("word_in_url", word).await.to_string();
        assert!(said.contains("would lead to another place") && said.contains("urlencode"), "{said}");
        assert!(!said.contains(word) || word == "." || word == "..", "{said}");
    }
    for (word, path) in
        [("lst_1", "/lst_1"), ("a..b", "/a..b"), ("v1/hooks/7", "/v1/hooks/7"), ("a b", "/a%20b")]
    {
        let seen = sent("word_in_url", &[("word", json!(word))]).await;
        assert!(seen.line().starts_with(&format!("GET {path} ")), "{}", seen.line());
    }
}
