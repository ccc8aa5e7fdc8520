//! One request proves its sender, again and again, in each of the ways that a spec can ask for. Signed by the stand-in,
//! checked by the receiver's own code.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Error};
use std::path::Path;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use forebay::connector::clock::{Clock, SystemClock};
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::load::load;
use forebay::connector::secret::{LiveSecret, Secret};
use forebay::queue::Queue;
use forebay::receive::{Endpoint, Limits, Reach, who};
use forebay::simulate::sign::{Unsigned, made_for, sign};

const URL: &str = "https://logs.example.com/in";
/// What a signature stands over and where it stands.
const SIGNED: &str = "message: \"{{ request.body }}\", signature: {header: X-Sign, encoding: base64}";

/// How a sender proves itself, as `verify` has it; `None` where nothing of that name is measured.
fn verify(step: &str) -> Option<String> {
    let public = |algorithm: &str, format: &str| {
        format!(
            "{{kind: public_key, algorithm: {algorithm}, key: \"{{{{ secrets.key }}}}\", key_format: {format}, {SIGNED}}}"
        )
    };
    Some(match step {
        // The request is made, and nothing is checked.
        "request" | "token" => "{kind: token, header: X-Key, equals: \"{{ secrets.key }}\"}".to_owned(),
        "hmac" => format!("{{kind: hmac, hash: sha256, key: \"{{{{ secrets.key }}}}\", {SIGNED}}}"),
        "ed25519" => public("ed25519", "base64"),
        "ecdsa" => public("ecdsa-p256-sha256", "pem"),
        "rsa" => public("rsa-pkcs1-sha256", "pem"),
        "jwt" => "{kind: jwt, header: Authorization, scheme: Bearer, algorithms: [RS256], key: \"{{ secrets.key }}\", \
                  key_format: pem, issuer: them, audience: us}"
            .to_owned(),
        _ => return None,
    })
}

/// A request that proves itself, and whom it convinces.
pub struct Proof {
    endpoint: Arc<Endpoint>,
    request: http::Request<Bytes>,
    check: bool,
}

impl Proof {
    /// Of a step, where it is one; the spec is written into `folder`.
    pub fn of(
        step: &str,
        event: Bytes,
        folder: &Path,
        (reach, queue): (Reach, Arc<dyn Queue>),
    ) -> io::Result<Option<Self>> {
        let Some(verify) = verify(step) else { return Ok(None) };
        let spec = format!(
            "forebay: 1\nname: proof\ntitle: Proof\nvendor: Nobody\nsummary: Proves one request.\n\
             secrets: {{key: {{title: Key, description: Proves the sender.}}}}\n\
             receiver:\n  path: /in\n  verify: {verify}\n  decode: {{format: json}}\n  event: {{id: /log_id}}\n  \
             respond: {{accepted: {{status: 200}}}}\n\
             output: {{schema: record.json}}\nsamples: [sample.json]\n"
        );
        fs::write(folder.join("proof.yaml"), spec)?;
        fs::write(folder.join("record.json"), r#"{"type": "object"}"#)?;
        fs::write(folder.join("sample.json"), &event)?;
        let connector = Arc::new(load(&folder.join("proof.yaml")).map_err(Error::other)?);
        let shared = || "a secret that the bench shares with itself".to_owned();
        let key = made_for(&connector, "secrets.key").map_err(Error::other)?.unwrap_or_else(shared);
        let current = Secret::new(&key).ok_or_else(|| Error::other("the key is empty"))?;
        let secrets = BTreeMap::from([("key".to_owned(), LiveSecret::new(current))]);
        let instance = Arc::new(Instance {
            id: InstanceId::parse("proof").ok_or_else(|| Error::other("no id"))?,
            connector,
            settings: Default::default(),
            secrets: RwLock::new(Arc::new(secrets)),
            receiver_url: URL.parse().ok(),
        });
        let mut push = Unsigned {
            method: http::Method::POST,
            url: URL.parse().map_err(Error::other)?,
            headers: http::HeaderMap::new(),
            body: event.to_vec(),
        };
        let clock = Arc::new(SystemClock);
        sign(&instance, &Default::default(), &mut push, clock.now()).map_err(Error::other)?;
        let mut request = http::Request::post("/in").body(event).map_err(Error::other)?;
        *request.headers_mut() = push.headers;
        let endpoint =
            Endpoint::new(instance, queue, clock, reach, &Limits::default()).map_err(Error::other)?;
        Ok(Some(Self { endpoint, request, check: step != "request" }))
    }

    /// One request comes.
    pub async fn round(&self) -> io::Result<()> {
        let request = self.request.clone();
        if self.check {
            who(&self.endpoint, request).await.map_err(Error::other)?;
        }
        Ok(())
    }
}
