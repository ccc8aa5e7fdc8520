//! What is sent again and what never is, and after how long.

use std::time::{Duration, Instant};

use forebay::call::failure::CallError;
use forebay::call::retry::{Pace, Repeat};
use serde_json::json;

use super::server::{Act, Server, answer, json as reply};
use super::vendor::Bench;

async fn call(
    server: &Server,
    name: &str,
    repeat: Repeat,
) -> Result<serde_json::Map<String, serde_json::Value>, CallError> {
    Bench::new(server.at, "none", &[]).call(name, repeat).await.map(|answer| answer.saved)
}

#[tokio::test]
async fn a_passing_fault_is_tried_again_within_bounds() {
    for fault in [408, 429, 500, 502, 503] {
        let server = Server::start(move |_, n| if n < 2 { reply(fault, "") } else { reply(200, "[]") }).await;
        call(&server, "find", Repeat::Safe).await.unwrap();
        assert_eq!(server.seen().len(), 3, "{fault}");

        let server = Server::start(move |_, _| reply(fault, r#"{"message":"busy"}"#)).await;
        let error = call(&server, "find", Repeat::Safe).await.unwrap_err();
        assert!(matches!(&error, CallError::Passing(f) if f.sentence == "busy"), "{error:?}");
        assert_eq!(server.seen().len(), 3, "{fault}: as many as the pace allows");
    }
    let server = Server::start(|_, n| if n < 2 { Act::Close } else { reply(200, "[]") }).await;
    call(&server, "find", Repeat::Safe).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    for status in [400, 401, 403, 404, 409, 410, 422, 301] {
        let server = Server::start(move |_, _| reply(status, "")).await;
        let error = call(&server, "find", Repeat::Safe).await.unwrap_err();
        let gone = matches!(status, 404 | 410);
        assert!(
            matches!((&error, gone), (CallError::Gone(_), true) | (CallError::Refused(_), false)),
            "{error:?}"
        );
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_create_is_never_sent_again_once_it_may_have_worked() {
    // Accepted and closed; a server error; an answer that cannot be used: made all the same, perhaps.
    let acts: [fn() -> Act; 9] = [
        || Act::Close,
        || Act::Write(b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"id\"".to_vec()),
        || reply(500, ""),
        || answer(503, "retry-after: 0\r\n", ""),
        || reply(408, ""),
        || reply(201, "{\"id\":"),
        || answer(201, "etag: v1\r\n", "{}"),
        || answer(201, "etag: v1\r\n", r#"{"id":null}"#),
        || answer(201, "", &"x".repeat(9 << 20)),
    ];
    for (number, act) in acts.into_iter().enumerate() {
        let server = Server::start(move |_, _| act()).await;
        let error = call(&server, "create", Repeat::Never).await.unwrap_err();
        assert!(matches!(error, CallError::Unclear(_)), "{number}: {error:?}");
        assert_eq!(server.seen().len(), 1, "{number}");
    }
}

#[tokio::test]
async fn a_create_is_sent_again_where_it_surely_did_nothing() {
    let server = Server::start(|_, n| match n {
        0 => answer(429, "retry-after: 0\r\n", ""),
        _ => answer(201, "etag: v1\r\n", r#"{"id":7}"#),
    })
    .await;
    let saved = call(&server, "create", Repeat::Never).await.unwrap();
    assert_eq!(serde_json::Value::from(saved), json!({"id": 7, "etag": "v1"}));
    assert_eq!(server.seen().len(), 2);

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Bench::new(nobody, "none", &[]).call("create", Repeat::Never).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, CallError::Passing(_)), "nothing was sent: {error:?}");
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_kept() {
    // The bench's clock stands at 1800000000, Fri, 15 Jan 2027 08:00:00 GMT.
    for (status, header) in [
        (503, "retry-after: 1"),
        (429, "retry-after: Fri, 15 Jan 2027 08:00:01 GMT"),
        (429, "x-ratelimit-reset: 1800000001"),
    ] {
        let head = format!("{header}\r\n");
        let server =
            Server::start(move |_, n| if n == 0 { answer(status, &head, "") } else { reply(200, "[]") })
                .await;
        let begun = Instant::now();
        call(&server, "find", Repeat::Safe).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1), "{header}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_wait_beyond_the_bounds_is_handed_on_instead_of_slept() {
    let server = Server::start(|_, _| answer(429, "retry-after: 600\r\n", "slow down")).await;
    let begun = Instant::now();
    let error = call(&server, "create", Repeat::Never).await.unwrap_err();
    let CallError::Passing(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.wait, Some(Duration::from_secs(600)));
    assert_eq!(failure.sentence, "slow down");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(server.seen().len(), 1);
    assert!(Pace::default().total < Duration::from_secs(600));
}
