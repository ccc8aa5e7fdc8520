//! Checks of which the settings leave one: the head decides as if that one stood alone.

use std::path::Path;
use std::sync::Arc;

use forebay::connector::load::load;
use forebay::receive::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stage::{self, KEY, Stage, instance};

async fn generic() -> Stage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/generic-http");
    let instance = instance(Arc::new(load(&path).unwrap()), "probe", &[("secret", KEY)]);
    Stage::with(instance, Limits::default(), None).await
}

#[tokio::test]
async fn wrong_token_is_401_before_its_body_comes() {
    let stage = generic().await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = "POST /in/probe HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\ncontent-length: 9000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(stage::read_reply(&mut stream).await.unwrap().status, 401);
}

/// M3: of two large bodies at once one was refused, since neither was known to be the vendor's before it was read.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_with_a_token_are_read_side_by_side() {
    let stage = generic().await;
    let body = format!(r#"{{"x":"{}"}}"#, "y".repeat(10 << 20));
    let request = stage::request("POST", "/in/probe", &[("x-api-key", KEY)], body.as_bytes());
    let (half, rest) = request.split_at(request.len() / 2);
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(half).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..2 {
        assert_eq!(stage.post(&body).await.status, 200);
    }
    for mut stream in slow {
        stream.write_all(rest).await.unwrap();
        assert_eq!(stage::read_reply(&mut stream).await.unwrap().status, 200);
    }
}
