//! TLS behind the PROXY protocol, and HTTP/2 over TLS whose preface comes in two pieces or is cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use forebay::receive::Limits;
use h2::client::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http2::{begin, handshake, send, status};
use super::proxies::{behind, v2};
use super::{EVENT, closed, connect_from};
use crate::receiving::stage::{self, KEY, Stage};
use crate::tls::{Pair, config};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// TLS on a stream, with one protocol to choose.
async fn encrypted<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config(trusted, &[alpn])).connect(name, stream).await
}

/// HTTP/2 over TLS.
pub(super) async fn over_tls(stage: &Stage, trusted: &CertificateDer<'static>) -> SendRequest<Bytes> {
    let stream = connect_from("127.0.0.1", stage.address).await;
    handshake(encrypted(stream, trusted, b"h2").await.unwrap()).await
}

/// A stream whose first bytes go out as one write, then a pause, then the rest. What is in `before` goes out in the first
/// write too.
struct InPieces<S> {
    stream: S,
    before: Vec<u8>,
    first: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> InPieces<S> {
    fn of(stream: S, before: &[u8], first: usize) -> Self {
        Self { stream, before: before.to_vec(), first, pause: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InPieces<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InPieces<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        if !this.before.is_empty() {
            let all = [&this.before[..], bytes].concat();
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &all))?;
            assert_eq!(written, all.len(), "the buffer of a new socket is empty");
            this.before.clear();
            return Poll::Ready(Ok(bytes.len()));
        }
        let length = if this.first > 0 { this.first.min(bytes.len()) } else { bytes.len() };
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[..length]))?;
        if this.first > 0 {
            this.first -= written;
            if this.first == 0 {
                this.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(5))));
            }
        }
        Poll::Ready(Ok(written))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn instance() -> Arc<forebay::connector::instance::Instance> {
    stage::instance(stage::auth0(), "acme", &[("monad_api_key", KEY)])
}

async fn post_over_h2(client: &mut SendRequest<Bytes>, path: &str) -> u16 {
    let (answer, mut body) = begin(client, path, &[("x-api-key", KEY)], false).await;
    send(&mut body, Bytes::from_static(EVENT.as_bytes()), true).await;
    status(answer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_header_before_tls_names_the_client() {
    let (pair, certificate) = Pair::new();
    let tls = pair.load(Duration::from_secs(60));
    let stage = Stage::with(instance(), behind(true, "127.0.0.1"), Some(tls)).await;
    stage.endpoint.admit_only(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8:5::/64".parse().unwrap()]);
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 5 443\r\n".to_vec(), 200),
        (b"PROXY TCP4 198.51.100.1 127.0.0.1 5 443\r\n".to_vec(), 403),
        (b"PROXY TCP6 2001:db8:5::1 2001:db8::2 5 443\r\n".to_vec(), 200),
        (b"PROXY TCP6 2001:db8:6::1 2001:db8::2 5 443\r\n".to_vec(), 403),
        (v2([192, 0, 2, 7]), 200),
        (v2([198, 51, 100, 7]), 403),
        // A health check of the proxy itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), 403),
    ] {
        let shown = header.escape_ascii().to_string();
        // The header in a packet of its own, and in one with the ClientHello.
        for together in [false, true] {
            let connect = async |alpn: &[u8]| {
                let mut stream = connect_from("127.0.0.1", stage.address).await;
                if !together {
                    stream.write_all(&header).await.unwrap();
                }
                let before = if together { &header[..] } else { b"" };
                encrypted(InPieces::of(stream, before, 0), &certificate, alpn).await.unwrap()
            };
            let mut http1 = connect(b"http/1.1").await;
            assert_eq!(stage::exchange(&mut http1, &request).await.status, expected, "{shown}");
            let mut http2 = handshake(connect(b"h2").await).await;
            assert_eq!(post_over_h2(&mut http2, &stage.endpoint.path).await, expected, "HTTP/2: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_without_its_proxy_header_gets_no_connection() {
    let (pair, certificate) = Pair::new();
    let tls = pair.load(Duration::from_secs(60));
    let stage = Stage::with(instance(), behind(true, "127.0.0.1"), Some(tls)).await;
    let header = v2([192, 0, 2, 7]);
    // Without one, with one that is none, and with one from elsewhere.
    for (from, header) in [
        ("127.0.0.1", &b""[..]),
        ("127.0.0.1", b"PROXY TCP4 nonsense\r\n"),
        ("127.0.0.1", &header[..header.len() - 1]),
        ("127.0.0.2", &header),
    ] {
        let mut stream = connect_from(from, stage.address).await;
        let _ = stream.write_all(header).await;
        let shaken =
            tokio::time::timeout(Duration::from_secs(15), encrypted(stream, &certificate, b"h2")).await;
        assert!(shaken.expect("it was never closed").is_err(), "{}", header.escape_ascii());
    }
    // One inside TLS is no header of the connection: behind a listener that asks for none it is a malformed request.
    let plain = Stage::with(instance(), Limits::default(), Some(pair.load(Duration::from_secs(60)))).await;
    let stream = connect_from("127.0.0.1", plain.address).await;
    let mut stream = encrypted(stream, &certificate, b"http/1.1").await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 5 443\r\n\r\n").await.unwrap();
    let said = closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn preface_over_tls_in_two_pieces_is_served() {
    let (pair, certificate) = Pair::new();
    let stage = Stage::with(instance(), Limits::default(), Some(pair.load(Duration::from_secs(60)))).await;
    for first in 1..=PREFACE.len() {
        let stream = connect_from("127.0.0.1", stage.address).await;
        let stream = encrypted(stream, &certificate, b"h2").await.unwrap();
        let mut client = handshake(InPieces::of(stream, b"", first)).await;
        assert_eq!(post_over_h2(&mut client, &stage.endpoint.path).await, 200, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preface_over_tls_cut_at_any_byte_ends_that_connection() {
    let (pair, certificate) = Pair::new();
    let limits = Limits { header_time: Duration::from_millis(500), ..Limits::default() };
    let stage = Stage::with(instance(), limits, Some(pair.load(Duration::from_secs(60)))).await;
    let connect = async || -> TlsStream<TcpStream> {
        let stream = connect_from("127.0.0.1", stage.address).await;
        encrypted(stream, &certificate, b"h2").await.unwrap()
    };
    for end in 0..=PREFACE.len() {
        // The sender closes, goes on with something else, or says nothing more.
        let mut closes = connect().await;
        closes.write_all(&PREFACE[..end]).await.unwrap();
        closes.shutdown().await.unwrap();
        assert!(!closed(&mut closes).await.contains("200"), "{end}");
        let mut other = connect().await;
        other.write_all(&PREFACE[..end]).await.unwrap();
        other.write_all(b"XX / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(!closed(&mut other).await.contains("200"), "{end}");
        if end % 8 == 0 {
            let mut silent = connect().await;
            silent.write_all(&PREFACE[..end]).await.unwrap();
            closed(&mut silent).await;
        }
    }
    let mut client = over_tls(&stage, &certificate).await;
    assert_eq!(post_over_h2(&mut client, &stage.endpoint.path).await, 200);
    assert_eq!(stage.memory.bodies().len(), 1);
}
