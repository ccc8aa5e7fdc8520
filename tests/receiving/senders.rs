//! Proofs of senders under attack, and at the sizes that senders send: certificates, fetches of keys that outlive the
//! request which began them, large bodies, replays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::condition::{Code, Conditions, Subject};
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::load::load;
use forebay::simulate::configure;
use forebay::simulate::sign::{Unsigned, sign};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use tokio::io::AsyncWriteExt;

use super::stage::{KEY, Stage, connector, instance};
use crate::queue::Hand;

/// A vendor that serves one document at every URL, counts, and answers only while it is not held.
pub struct Documents {
    document: Mutex<String>,
    asked: Mutex<Vec<String>>,
    hold: tokio::sync::Mutex<()>,
}

impl Documents {
    pub fn of(document: impl Into<String>) -> Arc<Self> {
        let (document, asked) = (Mutex::new(document.into()), Mutex::default());
        Arc::new(Self { document, asked, hold: tokio::sync::Mutex::default() })
    }
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
    pub fn urls(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

pub struct To(pub Arc<Documents>);

#[async_trait]
impl Transport for To {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.0.asked.lock().unwrap().push(request.url.to_string());
        let _hold = self.0.hold.lock().await;
        let body = Bytes::from(self.0.document.lock().unwrap().clone());
        Ok(Response { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body })
    }
}

/// A clock that stands at a time.
pub fn at(time: &str) -> Arc<Hand> {
    Hand::at(time.parse::<Timestamp>().unwrap().as_millisecond())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub const TOPIC: &str =
    "arn:aws:sns:us-east-2:295079676684:publish-and-verify-62674b1d-4295-426b-88e7-5fb75652a04e";
pub const URL: &str =
    "https://sns.us-east-2.amazonaws.com/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem";
const SIGNATURE: &str = "CXVqp9PfZAL+4JHS3Zxo1PFbQsvnOjvmYhtIf17TWpwc+iIVas8kZ8GopuzVzVMdatE7rCl/O4P91Zp05Dwz8lk8dLhfp8gSu3Njlzxlyrmzo9x3va3Jb7zFnedgS2GKnZWHGBdwTXho+TosNUE+3e10OMSlwN5XGDwX7+R3WL+rn+AXmFAqp3alg27sYa55h1dLE9cGszGPjScPdtF3BmZsUDMx9wSdNKsCk+vSvE8yBjnCmUl7laSFj3LzPVrlSwgNYCF3kYnNAkah7NplK4SFhJYLwS0HCVCQJKa8rVbQLf9cBTu60U402mrgy0bN8xWoyimzbYbrOMJjalqkUg==";
pub const GENUINE: &str = include_str!("../certificates/sns-2022.pem");
pub const IN_TIME: &str = "2022-07-28T21:25:00Z";

/// A genuine message (github.com/aws/aws-sdk-ruby, message_verifier_spec.rb), with its key at another URL perhaps.
pub fn message(url: &str) -> String {
    json!({"Type": "Notification", "MessageId": "17dea24b-55c2-540b-8362-f916557af765", "TopicArn": TOPIC,
        "Message": "Hello world", "Timestamp": "2022-07-28T21:24:08.324Z", "SignatureVersion": "2",
        "Signature": SIGNATURE, "SigningCertURL": url})
    .to_string()
}

async fn topic(arn: &str, documents: &Arc<Documents>, now: &str) -> (Stage, Arc<Conditions>) {
    topic_at(arn, documents, at(now)).await
}

async fn topic_at(arn: &str, documents: &Arc<Documents>, clock: Arc<Hand>) -> (Stage, Arc<Conditions>) {
    let stage = topic_asking(arn, Arc::new(To(documents.clone())), clock).await;
    let conditions = Arc::new(Conditions::default());
    stage.endpoint.reports_to(&conditions);
    (stage, conditions)
}

/// What a topic's messages are sent to.
pub async fn topic_asking(arn: &str, vendor: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Stage {
    let connector = Arc::new(load(&root().join("connectors/aws-sns")).unwrap());
    let settings: Map<String, Json> = [("topic_arn".to_owned(), json!(arn))].into_iter().collect();
    let (id, secrets) = (InstanceId::parse("probe").unwrap(), std::sync::RwLock::default());
    let instance = Arc::new(Instance { id, connector, settings, secrets, receiver_url: None });
    Stage::asking(instance, vendor, clock).await
}

/// A certificate of the attacker's own, issued by itself.
fn own_certificate(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
}

#[tokio::test]
async fn genuine_message_passes_in_the_time_of_its_certificate() {
    let documents = Documents::of(GENUINE);
    let (stage, _) = topic(TOPIC, &documents, IN_TIME).await;
    assert_eq!(stage.send(&[], message(URL)).await.status, 200);
    let (late, _) = topic(TOPIC, &Documents::of(GENUINE), "2022-08-18T00:00:00Z").await;
    assert_eq!(late.send(&[], message(URL)).await.status, 401);
}

#[tokio::test]
async fn key_url_with_a_query_or_of_another_region_is_never_fetched() {
    let documents = Documents::of(GENUINE);
    let (stage, _) = topic(TOPIC, &documents, IN_TIME).await;
    for url in [
        "https://sns.us-east-2.amazonaws.com/?Action=GetEndpointAttributes&x=.pem",
        &format!("{URL}?x"),
        &format!("{URL}#x"),
        &URL.replace("us-east-2", "us-east-1"),
        &URL.replace("amazonaws.com", "amazonaws.com.cn"),
        &URL.replace("SimpleNotificationService-", "Other-"),
        &URL.replace(".com/", ".com/x/"),
        &URL.replace("https://", "https://a@"),
        &URL.replace(".com/", ".com:444/"),
        &URL.replace("https", "http"),
    ] {
        assert_eq!(stage.send(&[], message(url)).await.status, 401, "{url}");
    }
    assert_eq!(documents.asked(), 0);
    let elsewhere = TOPIC.replace("us-east-2", "eu-west-1");
    let (stage, _) = topic(&elsewhere, &documents, IN_TIME).await;
    let moved = message(URL).replace(TOPIC, &elsewhere);
    assert_eq!(stage.send(&[], moved).await.status, 401);
    assert_eq!(documents.asked(), 0);
}

#[tokio::test]
async fn certificate_of_another_issuer_is_503_and_a_condition() {
    let documents = Documents::of(own_certificate("sns.amazonaws.com"));
    let clock = at(IN_TIME);
    let (stage, conditions) = topic_at(TOPIC, &documents, clock.clone()).await;
    assert_eq!(stage.send(&[], message(URL)).await.status, 503);
    assert!(conditions.holds(Code::SenderCertificate, &Subject::instance("probe")));
    let held = &conditions.list()[0];
    let begins = "the certificate at sns.us-east-2.amazonaws.com/";
    assert!(held.message.starts_with(begins) && held.message.contains("ends at no issuer"), "{held:?}");
    // Once the sender has one of a known issuer, the condition ends.
    *documents.document.lock().unwrap() = GENUINE.to_owned();
    clock.forward(Duration::from_secs(31));
    assert_eq!(stage.send(&[], message(URL)).await.status, 200);
    assert_eq!(conditions.list(), []);
    // A name that is not SNS's is a forgery, whoever issued it.
    let documents = Documents::of(own_certificate("evil.example"));
    let (stage, conditions) = topic(TOPIC, &documents, IN_TIME).await;
    assert_eq!(stage.send(&[], message(URL)).await.status, 401);
    assert_eq!(conditions.list(), []);
}

#[tokio::test]
async fn certificate_within_another_document_is_no_key() {
    let inside = format!("<GetEndpointAttributesResponse>{GENUINE}</GetEndpointAttributesResponse>");
    let (documents, clock) = (Documents::of(inside), at(IN_TIME));
    let stage = topic_asking(TOPIC, Arc::new(To(documents.clone())), clock.clone()).await;
    let conditions = Arc::new(Conditions::default());
    stage.endpoint.reports_to(&conditions);
    // Only URLs of the vendor's that the connector pins are asked: what it serves there may be right the next time.
    assert_eq!(stage.send(&[], message(URL)).await.status, 503);
    let said = conditions.list();
    assert!(said.len() == 1 && said[0].message.contains("not a certificate in PEM"), "{said:?}");
    assert!(conditions.holds(Code::SenderCertificate, &Subject::instance("probe")));
    *documents.document.lock().unwrap() = GENUINE.to_owned();
    clock.step(6);
    assert_eq!(stage.send(&[], message(URL)).await.status, 200);
    assert_eq!(conditions.list(), []);
    assert_eq!(documents.asked(), 2);
}

#[tokio::test]
async fn fetch_outlives_the_request_that_began_it() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let documents = Documents::of(HEXLOWER.encode(pair.public_key().as_ref()));
    let verify = "  verify:\n    kind: public_key\n    algorithm: ed25519\n    key_format: hex\n    \
                  key_url: {url: \"https://keys.vendor.example/a\", only: 'https://keys\\.vendor\\.example/a'}\n    \
                  message: \"{{ request.body }}\"\n    signature: {header: X-Sign, encoding: base64}\n";
    let tail = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";
    let instance = instance(connector(&format!("  path: /in\n{verify}{tail}")), "probe", &[("key", KEY)]);
    let stage = Stage::asking(instance, Arc::new(To(documents.clone())), Arc::new(SystemClock)).await;
    let hold = documents.hold.lock().await;
    // An attacker begins the fetch and goes away.
    let mut attacker = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    let head = "POST /in HTTP/1.1\r\nhost: x\r\nx-sign: AAAA\r\ncontent-length: 2\r\n\r\n{}";
    attacker.write_all(head.as_bytes()).await.unwrap();
    while documents.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(attacker);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let body = r#"{"id":"1"}"#;
    let tag = BASE64.encode(pair.sign(body.as_bytes()).as_ref());
    let headers = [("x-sign", tag.as_str())];
    let vendor = stage.send(&headers, body);
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(hold);
    };
    let (reply, ()) = tokio::join!(vendor, release);
    assert_eq!((reply.status, documents.asked()), (202, 1));
}

#[tokio::test(flavor = "current_thread")]
async fn large_body_with_many_signatures_holds_up_no_other_request() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = HEXLOWER.encode(pair.public_key().as_ref());
    let verify = format!(
        "  verify:\n    kind: public_key\n    algorithm: ed25519\n    key_format: hex\n    key: \"{key}\"\n    \
         message: \"{{{{ request.body }}}}\"\n    signature: {{header: X-Sign, encoding: base64, format: list, separator: ' '}}\n"
    );
    let tail = "  decode: {format: json}\n  event: {id: /id}\n  respond: {accepted: {status: 202}}\n";
    let stage = Stage::probe(&format!("  path: /in\n{verify}{tail}")).await;
    let wrong = BASE64.encode(&[7; 64]);
    let many = vec![wrong.as_str(); 32].join(" ");
    let large = format!("\"{}\"", "a".repeat(15 << 20));
    let order = Mutex::new(Vec::new());
    let (headers, gate) = ([("x-sign", many.as_str())], tokio::sync::Notify::new());
    let attack = async {
        gate.notify_one();
        let status = stage.send(&headers, &large).await.status;
        order.lock().unwrap().push("attack");
        status
    };
    let body = r#"{"id":"1"}"#;
    let tag = BASE64.encode(pair.sign(body.as_bytes()).as_ref());
    let vendor = async {
        gate.notified().await;
        let mut waits = Vec::new();
        while order.lock().unwrap().is_empty() {
            let begin = std::time::Instant::now();
            assert_eq!(stage.send(&[("x-sign", tag.as_str())], body).await.status, 202);
            waits.push(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits
    };
    let (status, waits) = tokio::join!(attack, vendor);
    assert_eq!(status, 401);
    // Requests were answered while it was looked at: many short waits and not one long one.
    assert!(waits.len() > 3, "{waits:?}");
}

/// Connectors whose senders sign the body.
fn signing() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("connectors")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|folder| {
        let Ok(connector) = load(folder) else { return false };
        connector.receiver.verify.checks().iter().any(|check| check.proof.signed().is_some())
    });
    found.sort();
    found
}

#[tokio::test]
async fn signed_body_of_15_mb_passes_for_every_connector() {
    let mut tried = Vec::new();
    for folder in signing() {
        let connector = load(&folder).unwrap();
        let name = connector.name.clone();
        let filled = configure::fill(&connector, Map::new(), BTreeMap::new(), true).unwrap();
        let id = InstanceId::parse(&name).unwrap();
        let mut instance = configure::instance(Arc::new(connector), id, filled, "the test").unwrap();
        let url: url::Url = format!("https://logs.example.com/{name}").parse().unwrap();
        instance.receiver_url = Some(url.clone());
        let mut sample = instance.connector.samples.first().cloned().unwrap_or_else(|| json!({}));
        let padding = Json::from("a".repeat(15_000_000));
        match &mut sample {
            Json::Array(items) => items.push(padding),
            other => other["padding"] = padding,
        }
        let mut headers = http::HeaderMap::new();
        // An id that is signed too.
        headers.insert("webhook-id", http::HeaderValue::from_static("msg_1"));
        let mut push =
            Unsigned { method: http::Method::POST, url, headers, body: serde_json::to_vec(&sample).unwrap() };
        let (state, now) = (saved(&instance), Timestamp::now());
        forebay::simulate::sign::trust(&instance.connector).unwrap();
        sign(&instance, &state, &mut push, now).unwrap();
        let published = {
            let host = key_place(&push);
            host.and_then(|(host, path)| {
                forebay::simulate::sign::published(&instance, &http::Method::GET, &host, &path).unwrap()
            })
        };
        let documents = Documents::of(published.unwrap_or_default());
        let endpoint = super::stage::endpoint_asking(Arc::new(instance), Arc::new(To(documents)));
        endpoint.learn(state);
        let mut request = http::Request::builder()
            .method("POST")
            .uri(push.url.path().to_owned() + &push.url.query().map(|q| format!("?{q}")).unwrap_or_default());
        *request.headers_mut().unwrap() = push.headers.clone();
        let request = request.body(Bytes::from(push.body)).unwrap();
        let proof = forebay::receive::who(&endpoint, request).await;
        assert!(proof.is_ok(), "{name}: {proof:?}");
        tried.push(name);
    }
    assert!(tried.len() >= 8 && tried.iter().any(|name| name == "standard-webhooks"), "{tried:?}");
}

/// The keys that the vendor gave when the stream was made.
fn saved(instance: &Instance) -> Json {
    let mut state = json!({});
    for check in instance.connector.receiver.verify.checks() {
        for name in check.proof.key_texts().into_iter().flat_map(|text| text.names()) {
            let parts: Vec<&str> = name.split('.').collect();
            if let ["state", resource, saved] = parts.as_slice() {
                let made = forebay::simulate::sign::made_for(&instance.connector, &name).unwrap();
                let made = made.unwrap_or_else(|| "c2VjcmV0LW9mLXRoZS10ZXN0LTAxMjM0NTY3ODk=".to_owned());
                state[*resource][*saved] = Json::from(made);
            }
        }
    }
    state
}

/// Where the key of a push stands, if the push names it.
fn key_place(push: &Unsigned) -> Option<(String, String)> {
    let body: Json = serde_json::from_slice(&push.body).ok()?;
    let url: url::Url = body.get("SigningCertURL")?.as_str()?.parse().ok()?;
    Some((url.host_str()?.to_owned(), url.path().to_owned()))
}

#[tokio::test]
async fn captured_request_under_another_unsigned_id_is_no_new_event() {
    let verify = "  verify: {kind: hmac, hash: sha256, key: \"{{ secrets.key }}\", message: \"{{ request.body }}\", \
                  signature: {header: X-Sign, encoding: hex}}\n";
    let tail = "  decode: {format: json}\n  event: {id: {header: X-Delivery}}\n  respond: {accepted: {status: 202}}\n";
    let stage = Stage::probe(&format!("  path: /in\n{verify}{tail}")).await;
    let body = r#"{"id":"1","type":"s"}"#;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, KEY.as_bytes());
    let tag = HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref());
    // The sender's own retry is answered alike.
    for delivery in ["a", "a", "b"] {
        let reply = stage.send(&[("x-sign", &tag), ("x-delivery", delivery)], body).await;
        assert_eq!(reply.status, 202);
    }
    let ids = stage.memory.ids();
    assert!(ids.len() == 1 && ids[0].starts_with("sha256:"), "{ids:?}");

    // A header that is signed is believed.
    let verify =
        verify.replace("{{ request.body }}", "{{ request.headers['x-delivery'] }}.{{ request.body }}");
    let stage = Stage::probe(&format!("  path: /in\n{verify}{tail}")).await;
    let tag = HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, format!("a.{body}").as_bytes()).as_ref());
    assert_eq!(stage.send(&[("x-sign", &tag), ("x-delivery", "a")], body).await.status, 202);
    assert_eq!(stage.memory.ids(), ["a"]);
}
