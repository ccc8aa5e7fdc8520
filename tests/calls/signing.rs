//! Every kind of auth, byte for byte, and the life of a fetched token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use forebay::call::failure::CallError;
use forebay::call::retry::Repeat;
use serde_json::json;

use super::server::{Act, Seen, Server, json as answer};
use super::vendor::{Bench, ID, KEY};

/// A vendor whose token endpoint gives `token-0`, `token-1` and so on, and whose things are there.
async fn vendor(expires_in: &'static str) -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |seen, _| match seen.line() {
        "POST /oauth/token HTTP/1.1" => {
            let number = given.fetch_add(1, Ordering::SeqCst);
            answer(
                200,
                &format!(r#"{{"access_token":"token-{number}"{expires_in},"scope":"read:things x"}}"#),
            )
        }
        _ => answer(200, "[]"),
    })
    .await
}

fn tokens(server: &Server) -> usize {
    server.seen().iter().filter(|seen| is_token(seen)).count()
}

fn is_token(seen: &Seen) -> bool {
    seen.line().contains("/oauth/token")
}

#[tokio::test]
async fn a_token_is_asked_for_by_form_json_or_basic() {
    let form = "grant_type=client_credentials&client_id=client%3A1%26x&client_secret=k3y-that-nobody%2Bmay+see%2F&audience=https%3A%2F%2Fapi.example%2F+v2";
    let json = r#"{"grant_type":"client_credentials","client_id":"client:1&x","client_secret":"k3y-that-nobody+may see/","audience":"https://api.example/ v2"}"#;
    let rest = "grant_type=client_credentials&audience=https%3A%2F%2Fapi.example%2F+v2";
    let basic = format!("Basic {}", BASE64.encode(b"client%3A1%26x:k3y-that-nobody%2Bmay+see%2F"));
    let urlencoded = "application/x-www-form-urlencoded";
    for (auth, kind, header, body) in [
        ("form", urlencoded, None, form),
        ("json", "application/json", None, json),
        ("basic_client", urlencoded, Some(basic.as_str()), rest),
    ] {
        let server = vendor(r#","expires_in":86400,"token_type":"bearer""#).await;
        Bench::new(server.at, auth, &[]).call("find", Repeat::Safe).await.unwrap();
        let [token, call] = &server.seen()[..] else { panic!("{:?}", server.lines()) };
        assert_eq!(token.line(), "POST /oauth/token HTTP/1.1");
        assert_eq!(token.header("content-type"), Some(kind), "{auth}");
        assert_eq!(token.header("accept"), Some("application/json"));
        assert_eq!(token.header("authorization"), header, "{auth}");
        assert_eq!(token.body, body, "{auth}");
        assert_eq!(call.line(), "GET /things HTTP/1.1");
        assert_eq!(call.header("authorization"), Some("Bearer token-0"));
    }
}

#[tokio::test]
async fn the_other_kinds_sign_with_what_is_there() {
    let basic = format!("Basic {}", BASE64.encode(format!("{ID}:{KEY}").as_bytes()));
    let bearer = format!("Bearer {KEY}");
    for (auth, headers) in [
        ("none", [("authorization", None), ("x-key", None)]),
        ("bearer", [("authorization", Some(bearer.as_str())), ("x-key", None)]),
        ("basic", [("authorization", Some(basic.as_str())), ("x-key", None)]),
        ("headers", [("x-key", Some(KEY)), ("x-id", Some(ID))]),
    ] {
        let server = vendor("").await;
        Bench::new(server.at, auth, &[]).call("find", Repeat::Safe).await.unwrap();
        let [call] = &server.seen()[..] else { panic!("{:?}", server.lines()) };
        for (name, value) in headers {
            assert_eq!(call.header(name), value, "{auth}");
        }
    }
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_it_expires() {
    let server = vendor(r#","expires_in":1000"#).await;
    let bench = Bench::new(server.at, "form", &[]);
    for (forward, fetched) in [(0, 1), (899, 1), (2, 2), (10, 2), (900, 3)] {
        bench.clock.forward(forward);
        bench.call("find", Repeat::Safe).await.unwrap();
        assert_eq!(tokens(&server), fetched, "after {forward} s more");
    }
    assert_eq!(server.seen().last().unwrap().header("authorization"), Some("Bearer token-2"));
}

#[tokio::test]
async fn a_lifetime_that_is_missing_or_absurd_is_bounded() {
    for (told, kept, not_kept) in [
        ("", 200, 150),
        (r#","expires_in":"1000""#, 800, 200),
        (r#","expires_in":null"#, 200, 150),
        (r#","expires_in":1e300"#, 29 * 86_400, 86_400),
    ] {
        let server = vendor(told).await;
        let bench = Bench::new(server.at, "form", &[]);
        bench.call("find", Repeat::Safe).await.unwrap();
        bench.clock.forward(kept);
        bench.call("find", Repeat::Safe).await.unwrap();
        assert_eq!(tokens(&server), 1, "{told}");
        bench.clock.forward(not_kept);
        bench.call("find", Repeat::Safe).await.unwrap();
        assert_eq!(tokens(&server), 2, "{told}");
    }
    for told in [r#","expires_in":0"#, r#","expires_in":-5"#] {
        let server = vendor(told).await;
        let bench = Bench::new(server.at, "form", &[]);
        for fetched in 1..3 {
            bench.call("find", Repeat::Safe).await.unwrap();
            assert_eq!(tokens(&server), fetched, "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_callers_share_one_fetch() {
    let server = vendor(r#","expires_in":1000"#).await;
    let bench = Bench::new(server.at, "form", &[]);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (caller, instance) = (bench.caller.clone(), bench.instance.clone());
            tokio::spawn(async move {
                let provision = instance.connector.provision.as_ref().unwrap();
                let find = &provision.resources[0].find.as_ref().unwrap().call;
                caller.call(&instance, find, &instance.scope(), Repeat::Safe).await.map(|_| ())
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((tokens(&server), server.seen().len()), (1, 21));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_for_a_fetch_that_failed_shares_its_failure() {
    let server = Server::start(|_, _| answer(403, r#"{"error":"access_denied"}"#)).await;
    let bench = Bench::new(server.at, "form", &[]);
    let all = futures(&bench, 20).await;
    assert!(all.iter().all(|outcome| matches!(outcome, Err(CallError::Refused(_)))), "{all:?}");
    let asked = server.seen().len();
    assert!(asked < 20, "each of the callers asked on its own ({asked})");
    // Nobody is refused for what was answered before it asked, but for a while after several failures.
    bench.clock.forward(61);
    bench.call("find", Repeat::Safe).await.map(|_| ()).unwrap_err();
    assert_eq!(server.seen().len(), asked + 1);
}

async fn futures(bench: &Bench, count: usize) -> Vec<Result<(), CallError>> {
    let mut tasks = Vec::new();
    for _ in 0..count {
        let (caller, instance) = (bench.caller.clone(), bench.instance.clone());
        tasks.push(tokio::spawn(async move {
            let provision = instance.connector.provision.as_ref().unwrap();
            let find = &provision.resources[0].find.as_ref().unwrap().call;
            caller.call(&instance, find, &instance.scope(), Repeat::Safe).await.map(|_| ())
        }));
    }
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// Refuses the tokens that `bad` names with a 401, in calls.
async fn picky(bad: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |seen, _| {
        if is_token(seen) {
            let number = given.fetch_add(1, Ordering::SeqCst);
            return answer(200, &format!(r#"{{"access_token":"token-{number}","expires_in":1000}}"#));
        }
        match bad(seen.header("authorization").unwrap()) {
            true => answer(401, r#"{"message":"Expired token"}"#),
            false => answer(201, r#"{"id":"1"}"#),
        }
    })
    .await
}

#[tokio::test]
async fn after_a_401_the_token_is_fetched_anew_once() {
    let server = picky(|token| token == "Bearer token-0").await;
    let bench = Bench::new(server.at, "form", &[]);
    // A 401 is a clear refusal: also a create goes out again.
    bench.call("find", Repeat::Never).await.unwrap();
    bench.call("find", Repeat::Safe).await.unwrap();
    let tokens: Vec<_> =
        server.seen().iter().filter_map(|s| s.header("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens, ["Bearer token-0", "Bearer token-1", "Bearer token-1"]);

    let server = picky(|_| true).await;
    let bench = Bench::new(server.at, "form", &[]);
    let error = bench.call("find", Repeat::Safe).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, CallError::Refused(f) if f.sentence == "Expired token"), "{error:?}");
    assert_eq!(server.lines().len(), 4, "token, call, token, call: {:?}", server.lines());
}

#[tokio::test]
async fn a_clock_that_jumps_costs_at_most_one_more_token() {
    let expired = Arc::new(AtomicBool::new(false));
    let old = expired.clone();
    let server = picky(move |token| old.load(Ordering::SeqCst) && token != "Bearer token-2").await;
    let bench = Bench::new(server.at, "form", &[]);
    const MONTH: i64 = 30 * 86_400;
    for (step, fetched) in [(0, 1), (-3600, 1), (MONTH, 2), (-MONTH, 2)] {
        bench.clock.forward(step);
        bench.call("find", Repeat::Safe).await.unwrap();
        assert_eq!(tokens(&server), fetched, "after {step} s");
    }
    // By our clock the token is good for a month; the vendor knows better, and is believed.
    expired.store(true, Ordering::SeqCst);
    bench.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(tokens(&server), 3);
}

#[tokio::test]
async fn a_401_is_final_where_nothing_can_be_fetched() {
    let server = Server::start(|_, _| answer(401, "")).await;
    let error =
        Bench::new(server.at, "bearer", &[]).call("find", Repeat::Safe).await.map(|_| ()).unwrap_err();
    let CallError::Refused(failure) = error else { panic!("{error:?}") };
    assert!(failure.help.unwrap().contains("`bearer`"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_changed_secret_drops_the_token() {
    let server = vendor(r#","expires_in":1000"#).await;
    let bench = Bench::new(server.at, "form", &[]);
    bench.call("find", Repeat::Safe).await.unwrap();
    bench.change_key("another key");
    bench.call("find", Repeat::Safe).await.unwrap();
    bench.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(tokens(&server), 2);
    assert!(server.seen()[2].body.contains("client_secret=another+key"));
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_quoted() {
    for (status, body, said) in [
        (401, r#"{"error":"access_denied","error_description":"Unauthorized"}"#, "Unauthorized"),
        (403, r#"{"error":"unauthorized_client"}"#, "unauthorized_client"),
        (400, "plain words", "plain words"),
        // A wrong base URL, and not a resource that is gone.
        (404, "<html>Not here</html>", "no token, and no reason given"),
        (302, "", "no token, and no reason given"),
        (200, "<html>Hello</html>", "is no JSON"),
        (200, r#"{"token":"x"}"#, "no access_token"),
        (200, r#"{"access_token":"x","token_type":"mac"}"#, "token_type"),
        (200, r#"{"access_token":"x\r\nset-cookie: y"}"#, "no header may hold"),
    ] {
        let server = Server::start(move |_, _| answer(status, body)).await;
        let error =
            Bench::new(server.at, "form", &[]).call("create", Repeat::Never).await.map(|_| ()).unwrap_err();
        let CallError::Refused(failure) = error else { panic!("{status} {body}: {error:?}") };
        assert_eq!(failure.path, "/oauth/token");
        assert!(failure.sentence.contains(said), "{failure:?}");
        assert!(failure.help.is_some());
        assert_eq!(server.seen().len(), 1, "{status} {body}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_is_busy_is_asked_again() {
    let server = Server::start(|seen, number| match (is_token(seen), number) {
        (true, 0) => answer(429, "{}"),
        (true, 1) => Act::Close,
        (true, _) => answer(200, r#"{"access_token":"x"}"#),
        (false, _) => answer(200, "[]"),
    })
    .await;
    Bench::new(server.at, "form", &[]).call("find", Repeat::Safe).await.unwrap();
    assert_eq!(server.seen().len(), 4);

    // Nothing was created, whatever became of the token.
    let server = Server::start(|_, _| answer(503, "")).await;
    let error =
        Bench::new(server.at, "form", &[]).call("create", Repeat::Never).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, CallError::Passing(_)), "{error:?}");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn the_scopes_of_a_token_can_be_told() {
    let server = vendor("").await;
    let bench = Bench::new(server.at, "form", &[]);
    let scopes = |bench: Bench| async move {
        let scope = bench.instance.scope();
        let told = bench.caller.token_scopes(&bench.instance, bench.named("find"), &scope).await.unwrap();
        told.map(|scopes| scopes.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(scopes(bench).await, Some(vec!["read:things".to_owned(), "x".to_owned()]));

    let jwt = |claims: serde_json::Value| {
        format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()))
    };
    for (token, told) in [
        (jwt(json!({"scope": "b a"})), Some(vec!["a", "b"])),
        (jwt(json!({"scope": "a", "permissions": ["c", 7]})), Some(vec!["a", "c"])),
        (jwt(json!({"sub": "x"})), None),
        ("opaque".to_owned(), None),
        ("a.b.c".to_owned(), None),
    ] {
        let bench = Bench::new(server.at, "bearer", &[]);
        bench.change_key(&token);
        let told = told.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(scopes(bench).await, told, "{token}");
    }
}
