//! Which instance answers at which path: prefixes of the public URL, well-known paths that several serve, limits that senders
//! declare, and the log of paths that nothing is received at.

use std::sync::Arc;
use std::time::Duration;

use forebay::connector::clock::SystemClock;
use forebay::connector::instance::Instance;
use forebay::receive::{Endpoint, Limits, Router, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::stage::{self, KEY, Memory, Reply, Stage};

const VERIFY: &str = "  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
const REST: &str = "  decode: {format: json}\n  event: {id: /id}\n";

fn member(receiver: &str, id: &str, url: &str) -> Arc<Instance> {
    let made = stage::instance(stage::connector(receiver), id, &[("key", KEY)]);
    let mut made = Arc::into_inner(made).unwrap();
    made.receiver_url = Some(url.parse().unwrap());
    Arc::new(made)
}

fn endpoint(instance: Arc<Instance>, memory: &Arc<Memory>) -> Arc<Endpoint> {
    let reach = stage::nowhere();
    Endpoint::new(instance, memory.clone(), Arc::new(SystemClock), reach, &Limits::default()).unwrap()
}

/// A listener with these endpoints, which lives as long as the runtime.
async fn listening(endpoints: Vec<Arc<Endpoint>>) -> std::net::SocketAddr {
    let router = Arc::new(Router::new(endpoints).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    std::mem::forget(stop);
    tokio::spawn(serve(listener, router, Limits::default(), None, stopping));
    address
}

async fn ask(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let bytes = stage::request(method, path, &[("x-api-key", KEY)], body.as_bytes());
    stage::exchange(&mut stream, &bytes).await
}

fn challenge(id: &str, answer: &str) -> Arc<Instance> {
    let sample = match answer {
        _ if answer.contains("request.query") => format!("{{method: GET, query: {{topic: {id}}}}}"),
        _ if answer.contains("request.json") => "{method: GET, json: {a: 1}}".to_owned(),
        _ => "{method: GET}".to_owned(),
    };
    let receiver = format!(
        "  path: /in/{id}\n{VERIFY}  rules:\n    - name: challenge\n      method: GET\n      path: /.well-known/challenge\n      \
         verify: skip\n{answer}      sample: {sample}\n{REST}"
    );
    member(&receiver, id, &format!("https://h.example.com/in/{id}"))
}

#[tokio::test]
async fn shared_path_answers_with_lines_of_every_instance() {
    let memory = Arc::new(Memory::default());
    let text = "      respond: {status: 200, text: \"{{ instance.id | sha256 | hex }}\"}\n";
    let endpoints = ["b", "a", "c"].map(|id| endpoint(challenge(id, text), &memory));
    let address = listening(endpoints.to_vec()).await;
    let reply = ask(address, "GET", "/.well-known/challenge", "").await;
    let line = |id: &str| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
        data_encoding::HEXLOWER.encode(hash.as_ref())
    };
    assert_eq!((reply.status, reply.body), (200, ["a", "b", "c"].map(line).join("\n")));
    assert_eq!(ask(address, "POST", "/.well-known/challenge", "").await.status, 405);
    // Each of them goes on receiving at its own path.
    assert_eq!(ask(address, "POST", "/in/b", "{\"id\":\"1\",\"type\":\"s\"}").await.status, 200);
}

#[tokio::test]
async fn shared_path_is_dispatched_by_when() {
    let memory = Arc::new(Memory::default());
    let answer = |id: &str| {
        format!(
            "      when: request.query.topic == '{id}'\n      respond: {{status: 200, json: {{topic: {id}}}}}\n"
        )
    };
    let endpoints = ["a", "b"].map(|id| endpoint(challenge(id, &answer(id)), &memory));
    let address = listening(endpoints.to_vec()).await;
    let reply = ask(address, "GET", "/.well-known/challenge?topic=b", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"topic\":\"b\"}"));
    assert_eq!(ask(address, "GET", "/.well-known/challenge?topic=x", "").await.status, 404);
}

#[tokio::test]
async fn shared_path_that_cannot_be_told_apart_is_refused() {
    let memory = Arc::new(Memory::default());
    let refused = |answer: &str| {
        let endpoints = ["a", "b"].map(|id| endpoint(challenge(id, answer), &memory));
        Router::new(endpoints).map(drop).unwrap_err().to_string()
    };
    let json = refused("      respond: {status: 200, json: {id: \"{{ instance.id }}\"}}\n");
    assert!(json.contains("instances a and b would both receive at /.well-known/challenge"), "{json}");
    assert!(json.contains("only answers that are text can be put together"), "{json}");
    let body = refused("      when: request.json.a == 1\n      respond: {status: 200, text: a}\n");
    assert!(body.contains("the head of a request"), "{body}");
    // The receiver's own path is one instance's.
    let own = ["a", "b"].map(|id| {
        let receiver = format!("  path: /in\n{VERIFY}{REST}");
        endpoint(member(&receiver, id, "https://h.example.com/in"), &memory)
    });
    let own = Router::new(own).map(drop).unwrap_err().to_string();
    assert!(own.contains("would both receive at /in"), "{own}");
}

#[tokio::test]
async fn public_url_with_prefix_serves_both_paths() {
    let memory = Arc::new(Memory::default());
    let sent = "  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.url }}{{ request.path }}\", \
                signature: {header: x-signature, encoding: hex}}\n";
    let receiver = format!("  path: /acme/{{{{ instance.id }}}}\n{sent}{REST}");
    let one = endpoint(member(&receiver, "a", "https://h.example.com/hooks/acme/a"), &memory);
    let router = Router::new([one.clone()]).unwrap();
    assert_eq!(router.paths(), ["/acme/a", "/hooks/acme/a"]);
    let address = listening(vec![one]).await;
    // The vendor signs what it posts to, whatever a proxy hands on.
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, b"https://h.example.com/hooks/acme/a/hooks/acme/a");
    let signature = data_encoding::HEXLOWER.encode(tag.as_ref());
    for (n, path) in ["/acme/a", "/hooks/acme/a"].iter().enumerate() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = format!("{{\"id\":\"{n}\",\"type\":\"s\"}}");
        let bytes = stage::request("POST", path, &[("x-signature", &signature)], body.as_bytes());
        assert_eq!(stage::exchange(&mut stream, &bytes).await.status, 200, "{path}");
    }
    for path in ["/hooks", "/hooks/hooks/acme/a", "/acme/a/"] {
        assert_eq!(ask(address, "POST", path, "{}").await.status, 404, "{path}");
    }
}

/// A push of GitHub's may have 25 MB, and is tried once.
#[tokio::test(flavor = "multi_thread")]
async fn signed_push_of_20_mb_is_accepted_where_sender_declares_25() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/github-webhooks");
    let connector =
        Arc::new(forebay::connector::load::load(&folder).unwrap_or_else(|error| panic!("{error}")));
    let push = |size: usize| {
        let body =
            format!("{{\"ref\":\"refs/heads/main\",\"repository\":{{}},\"pad\":\"{}\"}}", "x".repeat(size));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
        (format!("sha256={}", data_encoding::HEXLOWER.encode(tag.as_ref())), body)
    };
    for (fixed, size, status) in [(false, 20_000_000, 202), (false, 25_000_001, 413), (true, 20_000_000, 413)]
    {
        let limits = Limits { body_fixed: fixed, body_time: Duration::from_secs(120), ..Limits::default() };
        let instance = stage::instance(connector.clone(), "github", &[("hook_secret", KEY)]);
        let stage = Stage::with(instance, limits, None).await;
        assert_eq!(stage.endpoint.short_of(), fixed.then_some(25_000_000));
        let (signature, body) = push(size);
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-github-event", "push"),
            ("x-github-delivery", "1"),
        ];
        assert_eq!(stage.send(&headers, &body).await.status, status, "{size} bytes, fixed: {fixed}");
        assert_eq!(stage.memory.bodies().len(), usize::from(status == 202));
    }
}

#[test]
fn unknown_path_is_logged_with_the_nearest_one() {
    let folder = tempfile::tempdir().unwrap();
    let running = crate::support::Running::start(&mut crate::main_job::manual(folder.path()), 1);
    let url = &running.urls[0];
    for wrong in [format!("{url}/?key=not-for-the-log"), format!("{url}\u{1b}[31m")] {
        assert_eq!(
            crate::support::post(&wrong, &[], b"{}").map_or(404, |(status, _)| status / 100 * 100),
            400
        );
    }
    crate::support::eventually("the line", || running.said().contains("no instance receives at"));
    let said = running.said();
    let path = url.splitn(4, '/').nth(3).unwrap();
    assert!(
        said.contains(&format!("path=/{path}/")) || said.contains(&format!("path=\"/{path}/\"")),
        "{said}"
    );
    assert!(said.contains(&format!("did you mean /{path}? receivers here: /{path}")), "{said}");
    assert!(!said.contains("not-for-the-log") && !said.contains('\u{1b}'), "{said}");
    assert_eq!(said.matches("no instance receives at").count(), 1, "{said}");
    let line = said.lines().find(|line| line.contains("no instance receives at")).unwrap();
    assert!(!line.contains("suppressed") && !line.contains("=0"), "a field that says nothing: {line}");
    running.stop();
}
