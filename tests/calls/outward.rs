//! Every URL that a message, a spec or an answer can name, led to an address inside: nothing is connected to, whoever
//! names it and however it is written, and a name is what it was when it was checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay::call::caller::Caller;
use forebay::call::retry::Repeat;
use forebay::call::transport::{HttpTransport, Names, Options};
use forebay::call::{Request, Transport, TransportError};
use forebay::connector::clock::SystemClock;
use forebay::receive::Reach;
use serde_json::json;
use url::Url;

use super::certificates::Authority;
use super::server::{Server, json as answer};
use super::vendor::{Bench, pace};
use crate::receiving::stage::{KEY, Stage, connector, instance};

/// Names that are resolved to one list of addresses after the other, and to the last one from then on.
struct Script {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Script {
    fn of(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = answers.iter().rev().map(|all| all.iter().map(|ip| ip.parse().unwrap()).collect());
        Arc::new(Self { answers: Mutex::new(parsed.collect()), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Names for Script {
    async fn addresses(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let now = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        Ok(now.unwrap_or_default().into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
    }
}

/// A transport that knows the tests' authority.
fn transport(names: Arc<Script>, authority: Option<&Authority>, allow_loopback: bool) -> HttpTransport {
    let extra_roots_pem = authority.map(|authority| authority.pem.clone().into_bytes());
    let options = Options { allow_loopback, extra_roots_pem, ..Options::default() };
    HttpTransport::with_names(options, names).unwrap()
}

async fn get(transport: &HttpTransport, url: &str) -> Result<u16, TransportError> {
    let request = Request {
        method: http::Method::GET,
        url: Url::parse(url).unwrap(),
        headers: http::HeaderMap::new(),
        body: Default::default(),
    };
    transport.send(request).await.map(|answer| answer.status.as_u16())
}

#[tokio::test]
async fn what_is_connected_to_is_what_was_checked_though_the_name_is_bound_anew() {
    let authority = Authority::new();
    let tls = || authority.server("vendor.example", 2020..2100);
    let server = Server::start_tls(tls(), |_, _| answer(200, "{}")).await;
    // Loopback is admitted here and stands for what is public; what follows it is not admitted by anything.
    let names = Script::of(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let transport = transport(names.clone(), Some(&authority), true);
    let url = format!("https://vendor.example:{}/", server.at.port());
    assert_eq!(get(&transport, &url).await.unwrap(), 200);
    assert_eq!(names.asked.load(Ordering::SeqCst), 1, "it was resolved again between check and connect");
    let error = get(&transport, &url).await.unwrap_err();
    assert!(!error.sent && !error.passing && error.sentence.contains("10.0.0.1"), "{error:?}");
    assert_eq!((names.asked.load(Ordering::SeqCst), server.opened()), (2, 1));
}

#[tokio::test]
async fn of_a_names_addresses_those_inside_are_left_out_and_alone_they_are_refused() {
    let authority = Authority::new();
    let server =
        Server::start_tls(authority.server("vendor.example", 2020..2100), |_, _| answer(200, "{}")).await;
    let url = format!("https://vendor.example:{}/", server.at.port());
    let inside = [
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "fe80::1",
        "fd00::1",
        "::10.0.0.1",
    ];
    for ip in inside {
        let strict = transport(Script::of(&[&[ip]]), Some(&authority), false);
        let error = get(&strict, &url).await.unwrap_err();
        assert!(
            !error.sent && !error.passing && error.sentence.contains("no public address"),
            "{ip}: {error:?}"
        );
    }
    assert_eq!(server.opened(), 0);
    let mut all = inside.map(|ip| if ip == "::1" { "fd00::2" } else { ip });
    all.reverse();
    let open = transport(Script::of(&[&all]), Some(&authority), true);
    assert_eq!(get(&open, &url).await.unwrap(), 200);
}

#[tokio::test]
async fn neither_a_user_nor_a_port_nor_another_notation_leads_inside() {
    let strict = transport(Script::of(&[&["10.0.0.1"]]), None, false);
    for url in [
        "https://10.0.0.1:8443/",
        "https://10.0.0.1:0/",
        "https://10.0.0.1:65535/",
        "https://user@10.0.0.1/",
        "https://public.example@10.0.0.1/",
        "https://public.example:443@10.0.0.1:22/",
        "https://public.example\\@10.0.0.1/",
        "https://10.1/",
        "https://0x0a.0.0.1/",
        "https://012.0.0.1/",
        "https://167772161/",
        "https://10.0.0.1./",
        "https://１０.0.0.1/",
        "https://%31%30.0.0.1/",
        "https://[::ffff:a00:1]:9443/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://inside.example:8443/",
        "https://inside.example./",
        "http://inside.example/",
        "ws://inside.example/",
    ] {
        let error = get(&strict, url).await.unwrap_err();
        assert!(!error.sent && !error.passing, "{url}: {error:?}");
    }
}

/// What somebody may name who wants to look inside, with a server that listens there.
fn inside(server: &Server) -> Vec<String> {
    let port = server.at.port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "inside.vendor.example",
        "INSIDE.vendor.example",
        "localhost",
    ];
    let listening = hosts.map(|host| format!("https://{host}:{port}/a"));
    let never = [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/a",
        "https://[64:ff9b::a00:1]/a",
    ];
    listening.into_iter().chain(never.map(str::to_owned)).collect()
}

/// The caller of `run`, but that names lead to this machine.
fn caller() -> Arc<Caller> {
    let names = Script::of(&[&["127.0.0.1", "::1"]]);
    Arc::new(Caller::new(Arc::new(transport(names, None, false)), Arc::new(SystemClock), pace()))
}

async fn receiver(parts: &str) -> Stage {
    let text = format!(
        "  path: /in\n{parts}  decode: {{format: json}}\n  event: {{id: /id}}\n  respond: {{accepted: {{status: 202}}}}\n"
    );
    let reach = Reach { caller: caller(), deeds: None };
    Stage::reaching(instance(connector(&text), "probe", &[("key", KEY)]), Arc::new(SystemClock), reach).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_a_rule_goes_nowhere_inside() {
    let server = Server::start(|_, _| answer(200, "{}")).await;
    let stage = receiver(
        "  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n  rules:\n    - name: confirm\n      \
         when: request.json.confirm is defined\n      run: {call: \"GET {{ request.json.confirm }}\", only: 'https://[a-z]+\\.vendor\\.example(:[0-9]+)?/.*'}\n      \
         respond: {status: 200}\n      sample: {json: {confirm: \"https://api.vendor.example/a\"}}\n",
    )
    .await;
    for url in inside(&server) {
        let status = stage.post(json!({"confirm": url}).to_string()).await.status;
        // Where `only` does not let it go it is refused before anybody looks at the address.
        let wanted = if url.to_lowercase().contains(".vendor.example") { 503 } else { 403 };
        assert_eq!(status, wanted, "{url}");
    }
    assert_eq!(server.opened(), 0);
}

#[tokio::test]
async fn a_key_is_fetched_from_nowhere_inside() {
    let server = Server::start(|_, _| answer(200, "{}")).await;
    let stage = receiver(
        "  verify:\n    kind: public_key\n    algorithm: ecdsa-p256-sha256\n    key_format: hex\n    \
         key_url: {url: \"{{ request.headers['x-key-url'] }}\", only: 'https://[a-z]+\\.vendor\\.example(:[0-9]+)?/[a-z]+'}\n    \
         message: \"{{ request.body }}\"\n    signature: {header: X-Sign, encoding: base64}\n",
    )
    .await;
    for url in inside(&server) {
        let status = stage.send(&[("x-sign", "AAAA"), ("x-key-url", &url)], "{}").await.status;
        // As it is written and as it is called: capitals are not what `only` says.
        let wanted = if url.contains("//inside.vendor.example") { 503 } else { 401 };
        assert_eq!(status, wanted, "{url}");
    }
    // One that the spec itself names, and no request.
    let url = format!("https://127.0.0.1:{}/a", server.at.port());
    let stage = receiver(&format!(
        "  verify: {{kind: public_key, algorithm: ecdsa-p256-sha256, key_format: hex, \
         key_url: {{url: \"{url}\", only: 'https://127\\.0\\.0\\.1:[0-9]+/a'}}, \
         message: \"{{{{ request.body }}}}\", signature: {{header: X-Sign, encoding: base64}}}}\n"
    ))
    .await;
    assert_eq!(stage.send(&[("x-sign", "AAAA")], "{}").await.status, 503);
    assert_eq!(server.opened(), 0);
}

#[tokio::test]
async fn a_key_set_is_fetched_from_nowhere_inside() {
    let server = Server::start(|_, _| answer(200, "{}")).await;
    let token = "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AAAA";
    for url in inside(&server).iter().filter(|url| url.starts_with("https")) {
        let stage = receiver(&format!(
            "  verify: {{kind: jwt, header: Authorization, scheme: Bearer, algorithms: [RS256], jwks_url: \"{url}\", audience: us}}\n"
        ))
        .await;
        assert_eq!(stage.send(&[("authorization", token)], "{}").await.status, 503, "{url}");
    }
    assert_eq!(server.opened(), 0);
}

#[tokio::test]
async fn neither_a_call_nor_a_token_is_asked_for_inside() {
    let server = Server::start(|_, _| answer(200, "{}")).await;
    for url in inside(&server) {
        // A URL that an answer gave or a person typed, as a call's and as that of a token.
        for (auth, call) in
            [("none", "whole_url"), ("form", "check"), ("json", "check"), ("basic_client", "check")]
        {
            let base = url.rsplit_once('/').unwrap().0;
            let mut bench = Bench::new(server.at, auth, &[("word", json!(url)), ("base_url", json!(base))]);
            bench.caller = caller();
            let error = bench.call(call, Repeat::Safe).await.err().map(|error| format!("{error:?}"));
            let error = error.unwrap_or_else(|| panic!("{auth}: {url} was called"));
            assert!(error.starts_with("Refused"), "{auth}: {url}: {error}");
        }
    }
    assert_eq!(server.opened(), 0);
}

/// Where an answer sends the caller it does not go, and the next page of a list is at the host of the first.
#[tokio::test]
async fn an_answer_that_points_inside_is_not_followed() {
    let within = Server::start(|_, _| answer(200, "{}")).await;
    let to = within.at;
    for status in [301, 302, 303, 307, 308] {
        let headers = format!("location: http://{to}/a\r\nlink: <http://{to}/a>; rel=next\r\n");
        let server = Server::start(move |_, _| super::server::answer(status, &headers, "[]")).await;
        let called = Bench::new(server.at, "none", &[]).call("find", Repeat::Safe).await;
        assert!(called.is_err(), "{status}");
        assert_eq!((server.opened(), within.opened()), (1, 0), "{status}");
    }
}
