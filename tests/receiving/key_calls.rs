//! Calls for keys that messages name: what may begin one, and whose share it takes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use forebay::call::{Request, Response, Transport, TransportError};
use http::StatusCode;
use tokio::net::TcpSocket;

use super::senders::{GENUINE, IN_TIME, TOPIC, URL, at, message, topic_asking};
use super::stage::{self, Reply, Stage};

/// A vendor that has the one certificate, and 403 at every other URL.
#[derive(Default)]
struct OneCertificate(Mutex<Vec<String>>);

#[async_trait]
impl Transport for OneCertificate {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.0.lock().unwrap().push(request.url.to_string());
        let found = request.url.as_str() == URL;
        let status = if found { StatusCode::OK } else { StatusCode::FORBIDDEN };
        let body = Bytes::from(if found { GENUINE } else { "" });
        Ok(Response { status, headers: http::HeaderMap::new(), body })
    }
}

/// Sends from an address of 127.0.0.0/8.
async fn send_from(stage: &Stage, from: &str, body: &str) -> Reply {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(stage.address).await.unwrap();
    let request = stage::request("POST", &stage.endpoint.path, &[], body.as_bytes());
    stage::exchange(&mut stream, &request).await
}

fn made_up(n: usize) -> String {
    URL.replace("SimpleNotificationService-", &format!("SimpleNotificationService-{n}x"))
}

#[tokio::test]
async fn made_up_key_names_of_few_addresses_keep_no_vendor_out() {
    let vendor = Arc::new(OneCertificate::default());
    // Nothing was fetched and nothing was proven yet.
    let stage = topic_asking(TOPIC, vendor.clone(), at(IN_TIME)).await;
    for n in 0..60 {
        let from = ["127.0.0.2", "127.0.0.3", "127.0.0.4"][n % 3];
        assert_eq!(send_from(&stage, from, &message(&made_up(n))).await.status, 503);
    }
    let calls = vendor.0.lock().unwrap().len();
    assert_eq!(calls, 15, "five for each address");
    // Who used up its share and names the vendor's own URL does not keep it from being fetched either.
    assert_eq!(send_from(&stage, "127.0.0.2", &message(URL)).await.status, 503);
    assert_eq!(send_from(&stage, "127.0.0.9", &message(URL)).await.status, 200);
    assert_eq!(vendor.0.lock().unwrap().len(), 16);
}

#[tokio::test]
async fn message_that_lacks_what_is_required_fetches_no_key() {
    let vendor = Arc::new(OneCertificate::default());
    let stage = topic_asking(TOPIC, vendor.clone(), at(IN_TIME)).await;
    let other = message(URL).replace(TOPIC, &TOPIC.replace("publish-and-verify", "another"));
    assert_eq!(send_from(&stage, "127.0.0.2", &other).await.status, 401);
    assert_eq!(*vendor.0.lock().unwrap(), Vec::<String>::new());
    assert_eq!(send_from(&stage, "127.0.0.2", &message(URL)).await.status, 200);
}
