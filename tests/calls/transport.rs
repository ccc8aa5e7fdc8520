//! What the transport connects to, what it refuses, and what it takes from the environment: nothing.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use forebay::call::transport::{HttpTransport, Options};
use forebay::call::{Request, Response, Transport, TransportError};
use http::{HeaderMap, Method};
use url::Url;

use super::certificates::Authority;
use super::server::{Act, Proxy, Server, answer, json};

fn options() -> Options {
    Options {
        allow_loopback: true,
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
        max_answer_bytes: 1000,
        ..Options::default()
    }
}

async fn get(options: Options, url: &str) -> Result<Response, TransportError> {
    let request = Request {
        method: Method::GET,
        url: Url::parse(url).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    HttpTransport::new(options).unwrap().send(request).await
}

/// An error that nothing was sent for and that will not pass.
#[track_caller]
fn refused(answer: Result<Response, TransportError>, part: &str) {
    let error = answer.expect_err("the call was made");
    assert!(!error.sent && !error.passing, "{error:?}");
    assert!(error.sentence.contains(part), "{error:?}");
}

fn local(at: SocketAddr) -> String {
    format!("https://localhost:{}/", at.port())
}

#[tokio::test]
async fn a_server_of_an_own_authority_is_called_with_its_root() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("localhost", 2020..2100), |_, _| json(200, "{}")).await;
    let with_root = Options { extra_roots_pem: Some(authority.pem.into_bytes()), ..options() };
    let answer = get(with_root, &local(server.at)).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]));
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "GET / HTTP/1.1");
    assert_eq!(seen.header("accept-encoding"), None, "nothing here inflates an answer");
    assert!(seen.header("user-agent").unwrap().starts_with("forebay/"));
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused() {
    let authority = Authority::new();
    let root = || Some(authority.pem.clone().into_bytes());
    for (name, years, extra_roots_pem, part) in [
        ("localhost", 2020..2100, None, "--ca-file"),
        ("localhost", 2020..2100, Some(Authority::new().pem.into_bytes()), "--ca-file"),
        ("localhost", 2020..2021, root(), "has expired"),
        ("localhost", 2090..2100, root(), "is not valid yet"),
        ("elsewhere.example", 2020..2100, root(), "is for another name"),
    ] {
        let server = Server::start_tls(authority.server(name, years), |_, _| json(200, "{}")).await;
        refused(get(Options { extra_roots_pem, ..options() }, &local(server.at)).await, part);
        assert!(server.seen().is_empty(), "{part}: a request was sent");
    }
}

#[test]
fn roots_that_are_none_are_a_configuration_error() {
    for pem in ["", "no pem at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let Err(error) = HttpTransport::new(Options { extra_roots_pem: Some(pem.into()), ..options() })
        else {
            panic!("{pem:?} was taken");
        };
        assert_eq!(error.kind, forebay::error::Kind::Configuration);
        assert!(error.sentence.contains("--ca-file"), "{error}");
    }
}

#[tokio::test]
async fn plain_http_goes_to_literal_loopback_alone_and_only_when_allowed() {
    let server = Server::start(|_, _| json(200, "{}")).await;
    let port = server.at.port();
    let strict = || Options { allow_loopback: false, ..options() };
    refused(get(strict(), &format!("http://127.0.0.1:{port}/")).await, "--allow-loopback");
    refused(get(strict(), "http://vendor.example/").await, "only https");
    refused(get(options(), "http://vendor.example/").await, "only https");
    refused(get(options(), &format!("http://localhost:{port}/")).await, "only https");
    refused(get(options(), "ftp://127.0.0.1/").await, "only https");
    assert_eq!(server.opened(), 0);
    assert_eq!(get(options(), &format!("http://127.0.0.1:{port}/")).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused_after_resolving() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("localhost", 2020..2100), |_, _| json(200, "{}")).await;
    let strict = Options {
        allow_loopback: false,
        extra_roots_pem: Some(authority.pem.clone().into_bytes()),
        ..options()
    };
    refused(get(strict, &local(server.at)).await, "loopback");
    assert_eq!(server.opened(), 0, "it connected before it looked");
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_written_and_whatever_is_allowed() {
    for host in [
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "0",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "[fe80::1]",
        "[fc00::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "[::]",
    ] {
        refused(get(options(), &format!("https://{host}/")).await, "no public address");
    }
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]"] {
        let strict = Options { allow_loopback: false, ..options() };
        refused(get(strict, &format!("https://{host}/")).await, "loopback");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_dropped_with_and_without_a_length() {
    let long = "x".repeat(1001);
    let body = long.clone();
    let server = Server::start(move |_, number| match number {
        0 => answer(200, "", &body),
        _ => Act::Write(
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
            .into_bytes(),
        ),
    })
    .await;
    for _ in 0..2 {
        let error = get(options(), &format!("http://{}/", server.at)).await.unwrap_err();
        assert!(
            error.sent && !error.passing && error.sentence.contains("larger than 1000 bytes"),
            "{error:?}"
        );
    }
    let enough = Options { max_answer_bytes: 1001, ..options() };
    assert_eq!(get(enough, &format!("http://{}/", server.at)).await.unwrap().body, long.as_bytes());
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let server =
        Server::start(|_, _| answer(302, "location: /elsewhere\r\nset-cookie: a=b\r\n", "moved")).await;
    for _ in 0..2 {
        let answer = get(options(), &format!("http://{}/", server.at)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (302, &b"moved"[..]));
    }
    assert_eq!(server.lines(), ["GET / HTTP/1.1", "GET / HTTP/1.1"]);
    assert!(server.seen().iter().all(|seen| seen.header("cookie").is_none()));
}

#[tokio::test]
async fn what_broke_says_whether_anything_was_sent() {
    let closing = Server::start(|_, _| Act::Close).await;
    let error = get(options(), &format!("http://{}/secret?q=1", closing.at)).await.unwrap_err();
    assert!(error.sent && error.passing, "{error:?}");
    assert!(
        error.sentence.contains(&closing.at.to_string()) && !error.sentence.contains("secret"),
        "{error:?}"
    );

    let stalling = Server::start(|_, _| Act::Stall).await;
    let hasty = Options { total_timeout: Duration::from_millis(300), ..options() };
    let error = get(hasty, &format!("http://{}/", stalling.at)).await.unwrap_err();
    assert!(error.sent && error.passing && error.sentence.contains("in time"), "{error:?}");

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(options(), &format!("http://{nobody}/")).await.unwrap_err();
    assert!(!error.sent && error.passing, "{error:?}");
    assert!(error.sentence.contains("could not be reached"), "{error:?}");

    let error = get(options(), "https://nobody.invalid/").await.unwrap_err();
    assert!(!error.sent && error.passing && error.sentence.contains("does not resolve"), "{error:?}");
}

#[tokio::test]
async fn a_proxy_is_used_when_it_is_given_and_not_for_loopback() {
    let authority = Authority::new();
    let server =
        Server::start_tls(authority.server("vendor.example", 2020..2100), |_, _| json(200, "{}")).await;
    let proxy = Proxy::start(server.at).await;
    let through = || Options {
        proxy: Some(Url::parse(&format!("http://localhost:{}", proxy.at.port())).unwrap()),
        extra_roots_pem: Some(authority.pem.clone().into_bytes()),
        ..options()
    };
    // The proxy stands on a loopback address by the operator's own word; that admits no other.
    let strict = || Options { allow_loopback: false, ..through() };
    assert_eq!(get(strict(), "https://vendor.example/").await.unwrap().status.as_u16(), 200);
    assert_eq!(proxy.asked(), ["CONNECT vendor.example:443 HTTP/1.1"]);
    refused(get(strict(), "https://10.0.0.1/").await, "no public address");
    refused(get(strict(), "https://localhost/").await, "loopback");

    let plain = Server::start(|_, _| json(200, "{}")).await;
    assert_eq!(get(through(), &format!("http://{}/", plain.at)).await.unwrap().status.as_u16(), 200);
    assert_eq!(proxy.asked().len(), 1, "a loopback call went to the proxy");

    let Err(error) = HttpTransport::new(Options { proxy: Url::parse("socks5://p:1").ok(), ..options() })
    else {
        panic!("a proxy of another kind was taken");
    };
    assert_eq!(error.kind, forebay::error::Kind::Configuration);
}

/// Run again by the test below in a process with another environment.
#[tokio::test]
#[ignore = "run by the_environment_changes_nothing with an environment of its own"]
async fn inner_with_a_hostile_environment() {
    let pem = std::fs::read(std::env::var("SSL_CERT_FILE").unwrap()).unwrap();
    let target = std::env::var("FOREBAY_TEST_TARGET").unwrap();
    refused(get(options(), &target).await, "--ca-file");
    let answer = get(Options { extra_roots_pem: Some(pem), ..options() }, &target).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200);
}

#[tokio::test]
async fn the_environment_changes_nothing() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("localhost", 2020..2100), |_, _| json(200, "{}")).await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ca.pem");
    std::fs::write(&root, &authority.pem).unwrap();
    let target = local(server.at);
    let ran = tokio::task::spawn_blocking(move || {
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["calls::transport::inner_with_a_hostile_environment", "--exact", "--ignored"]);
        inner
            .env("SSL_CERT_FILE", &root)
            .env("SSL_CERT_DIR", folder.path())
            .env("FOREBAY_TEST_TARGET", target);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            inner.env(name, "http://127.0.0.1:9");
        }
        inner.output().unwrap()
    })
    .await
    .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_offers_it() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let authority = Authority::new();
    let mut tls = authority.server("localhost", 2020..2100);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
        let service =
            hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let said = format!("{:?}", request.version());
                Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(
                    Bytes::from(said),
                )))
            });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(TokioIo::new(stream), service).await;
    });
    let with_root = Options { extra_roots_pem: Some(authority.pem.into_bytes()), ..options() };
    assert_eq!(get(with_root, &local(at)).await.unwrap().body, "HTTP/2.0");
    server.abort();
}

#[tokio::test]
async fn proxy_with_a_new_password_is_used_from_the_next_call_on() {
    let proxy = Server::start(|_, _| answer(502, "", "")).await;
    let url = |password: &str| Url::parse(&format!("http://u:{password}@{}", proxy.at)).unwrap();
    let transport = HttpTransport::new(Options { proxy: Some(url("one")), ..options() }).unwrap();
    let call = || {
        let url = Url::parse("https://vendor.example/").unwrap();
        transport.send(Request { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() })
    };
    assert!(call().await.is_err());
    transport.set_proxy(&url("two")).unwrap();
    assert!(call().await.is_err());
    let seen = proxy.seen();
    let shown: Vec<&str> = seen.iter().flat_map(|seen| seen.head.lines()).collect();
    let shown = shown.iter().filter_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("proxy-authorization: basic ")
            .map(|_| line.rsplit(' ').next().unwrap())
    });
    assert_eq!(shown.collect::<Vec<_>>(), ["dTpvbmU=", "dTp0d28="]);
    assert!(transport.set_proxy(&Url::parse("socks5://u:two@h:1").unwrap()).is_err());
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_a_refusal_and_not_tried_for_ever() {
    let proxy = Server::start(|_, _| answer(407, "proxy-authenticate: Basic realm=x\r\n", "")).await;
    let through = Options { proxy: Url::parse(&format!("http://{}", proxy.at)).ok(), ..options() };
    let error = get(through, "https://vendor.example/").await.unwrap_err();
    assert!(!error.passing && !error.sent, "{error:?}");
    assert!(error.sentence.contains("FOREBAY_PROXY") && error.sentence.contains("407"), "{}", error.sentence);
}
