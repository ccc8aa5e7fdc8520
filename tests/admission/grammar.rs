//! L11: heads that could smuggle a request are 400, each over a socket of its own.

use tokio::io::AsyncWriteExt;

use super::{EVENT, closed, connect_from};
use crate::receiving::stage::{KEY, Stage};

#[tokio::test]
async fn heads_outside_of_the_grammar_are_400_and_close() {
    let stage = Stage::auth0().await;
    let path = &stage.endpoint.path;
    let chunks = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    let length = EVENT.len();
    let start = format!("POST {path} HTTP/1.1\r\nx-api-key: {KEY}\r\n");
    let cases = [
        (
            "identity, chunked",
            format!("{start}host: x\r\ntransfer-encoding: identity, chunked\r\n\r\n{chunks}"),
        ),
        ("gzip, chunked", format!("{start}host: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n{chunks}")),
        (
            "chunked, chunked",
            format!("{start}host: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n{chunks}"),
        ),
        (
            "twice",
            format!(
                "{start}host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        (
            "length before",
            format!(
                "{start}host: x\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        (
            "length after",
            format!(
                "{start}host: x\r\ntransfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{chunks}"
            ),
        ),
        ("no host", format!("{start}content-length: {length}\r\n\r\n{EVENT}")),
        ("two hosts", format!("{start}host: x\r\nhost: y\r\ncontent-length: {length}\r\n\r\n{EVENT}")),
        ("bare line feed", format!("{start}host: x\ncontent-length: {length}\r\n\r\n{EVENT}")),
        ("bare line feeds", format!("{start}host: x\r\ncontent-length: {length}\n\n{EVENT}")),
        ("bare line feed first", format!("POST {path} HTTP/1.1\nhost: x\r\n\r\n")),
        (
            "chunk with bare line feed",
            format!("{start}host: x\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\n{EVENT}\r\n0\r\n\r\n"),
        ),
        (
            "http/1.0 chunked",
            format!(
                "POST {path} HTTP/1.0\r\nx-api-key: {KEY}\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
    ];
    // The answer comes whether or not anything follows.
    for (name, bytes) in &cases {
        let mut stream = connect_from("127.0.0.1", stage.address).await;
        for part in bytes.as_bytes().chunks(70) {
            stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let said = closed(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400") || said.starts_with("HTTP/1.0 400"), "{name}: {said}");
    }
    for (name, bytes) in cases {
        let mut stream = connect_from("127.0.0.1", stage.address).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        // What would be smuggled behind it.
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let said = closed(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400") || said.starts_with("HTTP/1.0 400"), "{name}: {said}");
        assert_eq!(said.matches("HTTP/1.").count(), 1, "{name}: {said}");
    }
    assert!(stage.memory.bodies().is_empty() && stage.memory.letters().is_empty());
    let mut stream = connect_from("127.0.0.1", stage.address).await;
    let good = format!("{start}host: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let last = format!("POST {path} HTTP/1.0\r\nx-api-key: {KEY}\r\ncontent-length: {length}\r\n\r\n{EVENT}");
    stream.write_all(format!("{good}{good}\r\n{last}").as_bytes()).await.unwrap();
    assert_eq!(closed(&mut stream).await.matches(" 200 OK").count(), 3);
}
