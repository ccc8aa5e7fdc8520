//! How an answer is read, and what is said of one that is no success.

use forebay::call::answer::Answer;
use forebay::call::failure::CallError;
use forebay::call::retry::Repeat;
use forebay::error::{Error, Kind};
use serde_json::{Value as Json, json};

use super::server::{Server, answer, json as reply};
use super::vendor::{Bench, ID, KEY};

async fn call(server: &Server, auth: &str, name: &str) -> Result<Answer, CallError> {
    Bench::new(server.at, auth, &[("word", json!("w"))]).call(name, Repeat::Safe).await
}

async fn error(server: &Server, auth: &str, name: &str) -> CallError {
    call(server, auth, name).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn an_answer_is_read_as_the_call_says() {
    let server = Server::start(|_, _| reply(200, r#"{"a":[1,2.0]}"#)).await;
    let read = call(&server, "none", "check").await.unwrap();
    assert_eq!(read.json, Some(json!({"a": [1, 2.0]})));
    assert_eq!(read.text, r#"{"a":[1,2.0]}"#);
    assert_eq!(read.response["status"], 200);
    let text = call(&server, "none", "text").await.unwrap();
    assert_eq!((text.json, text.text.as_str()), (None, r#"{"a":[1,2.0]}"#));

    let server = Server::start(|_, _| answer(204, "", "")).await;
    assert_eq!(call(&server, "none", "delete").await.unwrap().json, None);
    let server = Server::start(|_, _| answer(200, "", "<html>Sign in</html>")).await;
    let CallError::Unreadable(failure) = error(&server, "none", "find").await else { panic!() };
    assert_eq!(failure.sentence, "the answer is no JSON");
}

#[tokio::test]
async fn a_2xx_is_a_success_only_where_ok_holds() {
    let server = Server::start(|_, _| answer(200, "X-Ok: yes\r\n", r#"{"ok":true}"#)).await;
    call(&server, "none", "ok").await.unwrap();
    let server =
        Server::start(|_, _| answer(200, "X-Ok: yes\r\n", r#"{"ok":false,"message":"not today"}"#)).await;
    let CallError::Refused(failure) = error(&server, "none", "ok").await else { panic!() };
    assert_eq!(failure.sentence, "not today");
    assert!(failure.help.unwrap().contains("response.json.ok"));
    // What is missing equals nothing.
    let server = Server::start(|_, _| reply(200, "{}")).await;
    assert!(matches!(error(&server, "none", "ok").await, CallError::Refused(_)));
}

#[tokio::test]
async fn the_vendor_is_quoted_by_the_first_pick_that_is_there() {
    for (headers, body, said) in [
        ("", r#"{"message":"one","error":{"text":"two"}}"#, "one"),
        ("", r#"{"message":null,"error":{"text":"two"}}"#, "two"),
        ("", r#"{"message":"","error":{"text":["a",1]}}"#, r#"["a",1]"#),
        ("x-error: three\r\n", "{}", "three"),
        ("", "{}", "no reason was given"),
        ("", "just words\n", "just words"),
        ("", "<html>long page</html>", "no reason was given"),
        ("", "", "no reason was given"),
    ] {
        let server = Server::start(move |_, _| answer(409, headers, body)).await;
        let CallError::Refused(failure) = error(&server, "none", "find").await else { panic!() };
        assert_eq!(failure.sentence, said, "{body}");
        assert_eq!(failure.help.as_deref(), Some("Delete one and try again."));
    }
}

#[tokio::test]
async fn an_error_says_what_was_called_and_what_to_do() {
    let server = Server::start(|_, _| reply(403, r#"{"message":"Insufficient scope"}"#)).await;
    let error: Error = error(&server, "none", "delete").await.into();
    assert_eq!(error.kind, Kind::Refused);
    assert_eq!(
        error.to_string(),
        format!(
            "DELETE {}/things/1: 403 Forbidden: Insufficient scope\n  help: the call needs the scope delete:things",
            server.at
        )
    );

    let server = Server::start(|seen, _| match seen.line().contains("/oauth/token") {
        true => reply(200, r#"{"access_token":"t0ken-text","scope":"read:things \u001b[31m"}"#),
        false => reply(403, r#"{"message":"no, t0ken-text"}"#),
    })
    .await;
    let error: Error = self::error(&server, "form", "delete").await.into();
    assert_eq!(error.sentence, "403 Forbidden: no, ****");
    let help = error.help.unwrap();
    assert!(help.contains("needs the scope delete:things; the token has"), "{help}");
    assert!(help.contains("read:things") && !help.contains('\u{1b}'), "{help:?}");

    let server = Server::start(|_, _| answer(302, "location: https://elsewhere.example/\r\n", "")).await;
    let error: Error = self::error(&server, "none", "find").await.into();
    assert!(error.help.unwrap().contains("redirects are not followed"));
}

#[tokio::test]
async fn a_vendors_text_can_neither_rule_the_terminal_nor_fill_it() {
    let hostile = "a\u{1b}]0;title\u{7}\r\n\u{202e}b";
    let long = "x".repeat(100_000);
    for body in [json!({"message": hostile}), json!({"message": long})] {
        let body = body.to_string();
        let server = Server::start(move |_, _| reply(400, &body)).await;
        let shown = Error::from(error(&server, "none", "find").await).to_string();
        assert!(shown.lines().count() == 1 && shown.chars().count() < 700, "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{shown:?}");
    }
}

#[tokio::test]
async fn a_secret_is_in_no_error_whatever_the_vendor_repeats() {
    let echo = |status| {
        Server::start(move |seen, _| {
            let said = format!("{} {} {}", seen.head.replace("\r\n", " "), seen.body, seen.line());
            reply(status, &json!({"message": said, "error_description": said}).to_string())
        })
    };
    let form: String = url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect();
    for auth in ["form", "json", "basic_client", "bearer", "basic", "headers"] {
        for status in [400, 401, 403, 404, 409, 500] {
            let server = echo(status).await;
            let error = error(&server, auth, "find").await;
            let shown = format!("{error:?}") + &Error::from(error).to_string();
            for secret in [KEY, ID, form.as_str()] {
                assert!(!shown.contains(secret), "{auth} {status}: {shown}");
            }
            if auth == "basic" {
                let pair = data_encoding::BASE64.encode(format!("{ID}:{KEY}").as_bytes());
                assert!(!shown.contains(&pair), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn conditions_can_see_a_refusal_whole() {
    let server = Server::start(|_, _| reply(400, r#"{"code":"deleted"}"#)).await;
    let CallError::Refused(failure) = error(&server, "none", "find").await else { panic!() };
    let response = failure.response.unwrap();
    assert_eq!((&response["status"], &response["json"]), (&json!(400), &json!({"code": "deleted"})));
    assert_eq!(response["headers"]["content-type"], Json::from("application/json"));
}

/// A log that is kept in memory.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_has_method_path_status_and_nothing_that_was_sent() {
    let log = Log::default();
    let kept = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || kept.clone())
        .finish();
    // With a single subscriber, tracing asks the thread that meets a place first whether anybody listens there,
    // and that may be another test's.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let server = Server::start(|seen, number| match (seen.line().contains("/oauth/token"), number) {
        (true, _) => reply(200, r#"{"access_token":"t0ken-text"}"#),
        (false, 1) => reply(503, "vendor-body"),
        (false, _) => reply(201, r#"{"id":"vendor-body"}"#),
    })
    .await;
    {
        let _guard = tracing::subscriber::set_default(subscriber);
        let _ = call(&server, "form", "create").await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for part in ["/oauth/token", "POST", "/things", "status=503", "status=201", "instance=acme", "sent again"]
    {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    for part in [KEY, ID, "t0ken", "vendor-body", "fixed=1", "audience", "Bearer"] {
        assert!(!log.contains(part), "{part} is in {log}");
    }
}
