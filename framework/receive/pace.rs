//! A connection that keeps its pace: a head comes within its time, an idle connection ends, and an answer
//! that nobody reads does not wait for ever.
//!
//! `serving` puts it between the socket (or TLS) and HTTP. Bodies have bounds of their own, in `body`. What has no
//! memory set aside is read in small pieces, so that what is read ahead on thousands of connections stays small. A
//! connection whose sender is still sending is closed only after its answer could be read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Peer;
use super::limits::Limits;
use super::meters;

/// Bytes of one read of what has no memory set aside. HTTP's buffer grows with what a read brings: after these it stays at its
/// smallest, where reads that fill it would let it double up to its bound.
const PIECE: usize = 4 << 10;
/// Bytes of HTTP/2 that are read before the requests which they began have had their turn: what those are not given
/// room for is thrown away, and does not pile up on thousands of connections.
const TURN: usize = 16 << 10;
/// How long, and how many bytes, a sender is heard out that is still sending when its connection ends.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 4 << 20);

/// How many requests of a connection are without an answer, and how many have got theirs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    open: AtomicUsize,
    answered: AtomicUsize,
    /// Whether a request was answered before its body had come.
    unread: AtomicBool,
}

/// A request of this connection is being worked on until this is dropped.
pub(super) struct Open(Arc<Progress>);

impl Progress {
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(self.clone())
    }

    /// A request is answered before its body has come.
    pub(super) fn leaves_unread(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::SeqCst);
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
}

/// A stream with a clock.
pub(super) struct Paced<S> {
    stream: S,
    progress: Arc<Progress>,
    peer: Arc<Peer>,
    waiting: Waiting,
    answered: usize,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    /// When the wait for a sender that is still sending ends, and how much of that was read.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
    /// Whether a byte of the head that is waited for has come.
    begun: bool,
    header_time: Duration,
    idle: Duration,
    write_time: Duration,
    /// HTTP/2 talks between requests too: bytes alone are no sign of a head.
    heads: bool,
    /// Bytes that were read since requests last had their turn.
    since: usize,
}

impl<S> Paced<S> {
    /// The first head has to come within its time, counted from now.
    pub(super) fn new(stream: S, progress: Arc<Progress>, peer: Arc<Peer>, limits: &Limits) -> Self {
        Self {
            stream,
            progress,
            peer,
            waiting: Waiting::Head,
            answered: 0,
            reading: Box::pin(sleep(limits.header_time)),
            writing: None,
            lingering: None,
            begun: false,
            header_time: limits.header_time,
            idle: limits.idle,
            write_time: limits.body_time,
            heads: true,
            since: 0,
        }
    }

    /// The connection turned out to speak HTTP/2.
    pub(super) fn speaks_h2(&mut self) {
        self.heads = false;
    }

    fn wait_for(&mut self, waiting: Waiting, time: Duration) {
        self.waiting = waiting;
        self.begun = waiting == Waiting::Head;
        self.reading.as_mut().reset(Instant::now() + time);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let answered = this.progress.answered.load(Ordering::SeqCst);
        if answered != this.answered {
            this.answered = answered;
            this.wait_for(Waiting::Idle, this.idle);
        }
        if !this.heads && this.since >= TURN {
            this.since = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if let Poll::Ready(result) = this.read(cx, buf) {
            this.since += buf.filled().len() - before;
            let some = buf.filled().len() > before;
            this.begun |= some;
            if this.heads && this.waiting == Waiting::Idle && some {
                this.wait_for(Waiting::Head, this.header_time);
            }
            return Poll::Ready(result);
        }
        this.since = 0;
        if this.progress.open.load(Ordering::SeqCst) > 0 {
            return Poll::Pending;
        }
        ready!(this.reading.as_mut().poll(cx));
        if this.heads && this.waiting == Waiting::Head {
            meters::head_refused("head_too_slow");
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Paced<S> {
    /// Reads what there is where memory is set aside for it, and a piece of it elsewhere.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.stream);
        if self.peer.is_wide() || buf.remaining() <= PIECE {
            return stream.poll_read(cx, buf);
        }
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(PIECE));
        ready!(stream.poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Paced<S> {
    /// Reads on and throws away until the sender closes its side too: a socket that is closed with bytes unread is
    /// reset, and the sender may never see its answer.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((end, seen)) = &mut self.lingering else { return Poll::Ready(Ok(())) };
        let mut bytes = [0; PIECE];
        loop {
            let mut piece = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() && *seen < LINGER.1 => {
                    *seen += piece.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        end.as_mut().poll(cx).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Lets a write wait, but not for ever.
    fn paced<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.writing = None;
            return poll;
        }
        let time = self.write_time;
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.paced(cx, poll)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        this.paced(cx, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            let poll = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.paced(cx, poll))?;
            // Where nothing was on its way, the connection is closed at once.
            let unread = this.progress.unread.load(Ordering::SeqCst);
            if !(this.heads && (unread || this.waiting == Waiting::Head && this.begun)) {
                return Poll::Ready(Ok(()));
            }
            this.lingering = Some((Box::pin(sleep(LINGER.0)), 0));
        }
        this.linger(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.paced(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
