//! Requests that were captured and are sent again later, with a store that remembers and a clock that a test moves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use forebay::connector::instance::InstanceId;
use forebay::connector::load::load;
use forebay::connector::secret::Secret;
use forebay::receive::{Endpoint, Limits, Router, explain};
use forebay::simulate::configure;
use serde_json::{Map, Value as Json, json};

use super::stage::{KEY, nowhere};
use crate::queue::{Hand, START, local};

/// A connector that ships, over a store.
struct Kept {
    endpoint: Arc<Endpoint>,
    router: Arc<Router>,
    clock: Arc<Hand>,
    _folder: tempfile::TempDir,
}

impl Kept {
    fn of(name: &str, settings: Json) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Hand::at(START);
        let store = local(folder.path(), clock.clone());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors").join(name);
        let connector = load(&path).unwrap();
        let settings: Map<String, Json> = settings.as_object().unwrap().clone();
        let filled = configure::fill(&connector, settings, BTreeMap::new(), true).unwrap();
        let id = InstanceId::parse("probe").unwrap();
        let instance = Arc::new(configure::instance(Arc::new(connector), id, filled, "the test").unwrap());
        let names: Vec<String> =
            instance.connector.secrets.iter().map(|secret| secret.name.clone()).collect();
        for name in names {
            instance.set_secret(&name, Secret::new(KEY).unwrap());
        }
        let limits = Limits::default();
        let endpoint = Endpoint::new(instance, store, clock.clone(), nowhere(), &limits).unwrap();
        let router = Arc::new(Router::new([endpoint.clone()]).unwrap());
        Self { endpoint, router, clock, _folder: folder }
    }

    /// Sends a body, signed; how many events were stored and how many were duplicates by now.
    async fn send(&self, header: &str, body: &str, more: &[(&str, &str)]) -> (u64, u64) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
        let tag = format!("sha256={}", HEXLOWER.encode(hmac::sign(&key, body.as_bytes()).as_ref()));
        let mut request =
            http::Request::builder().method("POST").uri(self.endpoint.path.as_str()).header(header, tag);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let answer = explain(self.router.clone(), Limits::default(), request).await;
        assert!(answer.status().is_success(), "{}", answer.status());
        let tally = self.endpoint.tally();
        (tally.stored, tally.duplicates)
    }

    fn minutes_later(&self, minutes: u64) {
        self.clock.forward(Duration::from_secs(minutes * 60));
    }
}

const SIGNED: &str = "x-hub-signature-256";

#[tokio::test]
async fn captured_github_delivery_is_a_duplicate_for_a_day() {
    let kept = Kept::of("github-webhooks", json!({"scope": "orgs/acme"}));
    let push =
        r#"{"ref":"refs/heads/main","repository":{"id":186853002,"pushed_at":1780000000},"sender":{"id":1}}"#;
    let send = |delivery: &'static str| {
        let headers = [("x-github-event", "push"), ("x-github-delivery", delivery)];
        let kept = &kept;
        async move { kept.send(SIGNED, push, &headers).await }
    };
    assert_eq!(send("a").await, (1, 0));
    kept.minutes_later(11);
    assert_eq!(send("b").await, (1, 1));
    kept.minutes_later(23 * 60);
    assert_eq!(send("c").await, (1, 2));
    // Another push in the same repository is another event.
    let other = push.replace("1780000000", "1780000001");
    assert_eq!(kept.send(SIGNED, &other, &[("x-github-event", "push")]).await, (2, 2));
    // The window of the queue is over, which moves with what is stored.
    kept.minutes_later(61);
    let third = push.replace("1780000000", "1780000002");
    assert_eq!(kept.send(SIGNED, &third, &[("x-github-event", "push")]).await, (3, 2));
    assert_eq!(send("d").await, (4, 2));
}

/// Somebody is added, removed and added again: the payload of an organisation has nothing that tells the times apart.
#[tokio::test]
async fn github_event_without_a_repository_is_known_for_minutes() {
    let kept = Kept::of("github-webhooks", json!({"scope": "orgs/acme"}));
    let added = r#"{"action":"member_added","membership":{"role":"member"},"organization":{"id":4}}"#;
    let headers = [("x-github-event", "organization")];
    assert_eq!(kept.send(SIGNED, added, &headers).await, (1, 0));
    kept.minutes_later(9);
    assert_eq!(kept.send(SIGNED, added, &headers).await, (1, 1));
    kept.minutes_later(2);
    assert_eq!(kept.send(SIGNED, added, &headers).await, (2, 1));
}

#[tokio::test]
async fn captured_generic_request_is_known_by_a_signed_id_for_a_day() {
    let settings = |more: Json| {
        let mut all = json!({"authentication": "hmac", "header": "X-Sign", "signature_prefix": "sha256="});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let body = r#"{"id":"1","note":"changed"}"#;
    // An id in the body is signed.
    let kept = Kept::of("generic-http", settings(json!({"id_at": "/id"})));
    assert_eq!(kept.send("x-sign", body, &[]).await, (1, 0));
    kept.minutes_later(23 * 60);
    assert_eq!(kept.send("x-sign", body, &[]).await, (1, 1));
    // One in a header is not: the bytes count, for ten minutes, whatever the header says.
    let kept = Kept::of("generic-http", settings(json!({"id_header": "X-Id"})));
    assert_eq!(kept.send("x-sign", body, &[("x-id", "a")]).await, (1, 0));
    kept.minutes_later(9);
    assert_eq!(kept.send("x-sign", body, &[("x-id", "b")]).await, (1, 1));
    // Two notices may have the same bytes: later ones are delivered, and so is a captured one.
    kept.minutes_later(2);
    assert_eq!(kept.send("x-sign", body, &[("x-id", "c")]).await, (2, 1));
}
