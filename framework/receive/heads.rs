//! Holds HTTP/1 to its grammar where the parser below is lenient and the difference could smuggle a request.
//!
//! `serving` puts it between a connection and hyper, and it sees every byte once. What makes no sense is made plainly
//! invalid: the line feed that ends it becomes a NUL byte, and an end of the head follows, at which hyper answers 400 and
//! closes. Refused are a line that
//! ends without CR, a `Transfer-Encoding` that is anything but one `chunked`, one beside a `Content-Length`, two
//! lengths, a request of HTTP/1.1 without `Host` or any with two, and a chunk whose size is not plain hexadecimal.
//!
//! It follows requests only as far as it must to know where the next head begins, and keeps one line at most.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a line that are kept: hyper refuses a head that is longer in all.
const LINE: usize = 16 << 10;
/// How a head ends.
const END: &[u8] = b"\r\n\r\n";
/// Digits of the size of a chunk.
const DIGITS: usize = 16;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A line of a head.
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// The line with the size of a chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of the line after a chunk.
    ChunkEnd,
    /// A line after the last chunk.
    Trailer,
    /// Something that hyper refuses: nothing more counts.
    Over,
}

/// What a head said so far.
#[derive(Debug, Default)]
struct Said {
    begun: bool,
    old: bool,
    hosts: u32,
    length: Option<u64>,
    chunked: u32,
    wrong: bool,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Heads {
    at: At,
    said: Said,
    line: Vec<u8>,
    spoilt: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self { at: At::Head, said: Said::default(), line: Vec::new(), spoilt: false }
    }
}

impl Heads {
    /// Looks at what was read, in order, and makes what is wrong invalid.
    pub(super) fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Over => return,
                At::Body(left) | At::Chunk(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - taken as u64;
                    self.at = match (self.at, left) {
                        (At::Body(_), 0) => At::Head,
                        (At::Body(_), left) => At::Body(left),
                        (_, 0) => At::ChunkEnd,
                        (_, left) => At::Chunk(left),
                    };
                    taken
                }
                At::Head | At::Size | At::ChunkEnd | At::Trailer => self.line(bytes),
            };
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// Takes a line, or the part of one that is there; gives how many bytes that was.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            if self.line.len() + bytes.len() > LINE {
                self.over();
            } else {
                self.line.extend_from_slice(bytes);
            }
            return bytes.len();
        };
        let part = bytes.get(..end).unwrap_or_default();
        // Nearly always a line comes in one piece, which is not copied.
        let right = if self.line.is_empty() {
            part.strip_suffix(b"\r").is_some_and(|line| take(&mut self.at, &mut self.said, line))
        } else {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(part);
            whole.strip_suffix(b"\r").is_some_and(|line| take(&mut self.at, &mut self.said, line))
        };
        if !right {
            self.over();
            self.spoilt = true;
            if let Some(feed) = bytes.get_mut(end) {
                *feed = 0;
            }
        }
        end + 1
    }

    fn over(&mut self) {
        *self = Self { at: At::Over, ..Self::default() };
    }
}

/// A line without its end. `false`: it is wrong.
fn take(at: &mut At, said: &mut Said, line: &[u8]) -> bool {
    match at {
        At::Head if line.is_empty() && !said.begun => true,
        At::Head if line.is_empty() => match said.end() {
            Some(next) => {
                (*at, *said) = (next, Said::default());
                true
            }
            None => false,
        },
        At::Head => {
            said.line(line);
            true
        }
        At::Size => {
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let text = Some(digits).filter(|digits| !digits.is_empty() && digits.len() <= DIGITS);
            let text = text.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let size = text.and_then(|digits| std::str::from_utf8(digits).ok());
            match size.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                None => return false,
                Some(0) => *at = At::Trailer,
                Some(size) => *at = At::Chunk(size),
            }
            true
        }
        At::ChunkEnd => {
            *at = At::Size;
            line.is_empty()
        }
        At::Trailer => {
            if line.is_empty() {
                *at = At::Head;
            }
            true
        }
        At::Body(_) | At::Chunk(_) | At::Over => true,
    }
}

impl Said {
    fn line(&mut self, line: &[u8]) {
        if !self.begun {
            self.begun = true;
            self.old = line.ends_with(b" HTTP/1.0");
            return;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.and_then(|colon| Some((line.get(..colon)?, line.get(colon + 1..)?)))
        else {
            return;
        };
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked += 1;
            self.wrong |= !value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.wrong |= !digits || length.is_none() || self.length.is_some();
            self.length = length;
        }
    }

    /// What follows the head; `None` for one that is wrong.
    fn end(&self) -> Option<At> {
        let hosts = self.hosts == 1 || self.old && self.hosts == 0;
        let framed = self.chunked == 0 || self.chunked == 1 && self.length.is_none() && !self.old;
        if self.wrong || !hosts || !framed {
            return None;
        }
        Some(match (self.chunked, self.length) {
            (1, _) => At::Size,
            (_, None | Some(0)) => At::Head,
            (_, Some(length)) => At::Body(length),
        })
    }
}

/// A connection whose first bytes were read already, with its heads held to the grammar if it speaks HTTP/1.
pub(super) struct Held<S> {
    ahead: Bytes,
    stream: S,
    heads: Option<Heads>,
}

impl<S> Held<S> {
    /// `ahead` was read off the stream.
    pub(super) fn new(ahead: Bytes, stream: S, heads: Option<Heads>) -> Self {
        Self { ahead, stream, heads }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        // hyper looks at a head only once it has an end, and the sender may send no more.
        if let Some(heads) = this.heads.as_mut().filter(|heads| heads.spoilt)
            && buf.remaining() >= END.len()
        {
            heads.spoilt = false;
            buf.put_slice(END);
            return Poll::Ready(Ok(()));
        }
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let taken = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..taken).unwrap_or_default());
            this.ahead.advance(taken);
        }
        if let Some(heads) = &mut this.heads {
            heads.look(buf.filled_mut().get_mut(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether the bytes pass unchanged, read in pieces of `size`.
    fn passes(bytes: &[u8], size: usize) -> bool {
        let mut heads = Heads::default();
        let mut read = bytes.to_vec();
        read.chunks_mut(size).for_each(|piece| heads.look(piece));
        read == bytes
    }

    const RIGHT: &[&str] = &[
        "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na\nbPOST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\n\n\n\n\r\n0\r\na: b\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    ];
    const WRONG: &[&str] = &[
        "POST / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\n\n",
        "\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\nHost: x\r\n\r\n",
    ];

    #[test]
    fn heads_of_the_grammar_pass_unchanged_and_others_are_spoilt() {
        for size in [1, 2, 3, 7, 1000] {
            for text in RIGHT {
                assert!(passes(text.as_bytes(), size), "{text:?} in pieces of {size}");
            }
            for text in WRONG {
                assert!(!passes(text.as_bytes(), size), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut heads = Heads::default();
        (0..100).for_each(|_| heads.look(&mut [b'x'; 1000]));
        assert!(heads.line.capacity() <= 2 * LINE);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic_and_pieces_make_no_difference(
            start in prop::sample::select([RIGHT, WRONG].concat()),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            size in 1..40_usize,
        ) {
            let mut bytes = start.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert_eq!(passes(&bytes, size), passes(&bytes, 1));
        }
    }
}
