//! The HTTP sink that the child posts to: it takes records, and fails as it is told.
//!
//! It holds the rule of this kind of sink: a request that was answered 2xx, and that another one of the same
//! child followed, is settled, since the child moves its cursor in between. What is settled must not come again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::books::{Books, SinkBook};
use super::schedule::Mood;
use crate::simulate::serving;

/// The most that one request may carry.
const BODY_CAP: usize = 32 << 20;
/// How late a slow answer is.
const LATE: Duration = Duration::from_millis(300);
/// How long a request hangs at most.
const HANGS: Duration = Duration::from_secs(20);

/// The sink.
pub struct Collector {
    books: Arc<Mutex<Books>>,
    mood: watch::Sender<Mood>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    book: SinkBook,
    /// What the last request that was answered 2xx carried.
    last: Vec<u32>,
    /// Children that have ended: what they sent may be noted after their end.
    children: u64,
}

impl Collector {
    /// A sink that knows records by the books.
    pub fn new(books: Arc<Mutex<Books>>) -> Arc<Self> {
        Arc::new(Self { books, mood: watch::channel(Mood::Well).0, inside: Mutex::default() })
    }

    /// From now on it behaves like this.
    pub fn behave(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// The child has ended. After a graceful end the store knows of the last request, too.
    pub fn child_ended(&self, gracefully: bool) {
        let mut inside = self.inside();
        inside.children += 1;
        let last = std::mem::take(&mut inside.last);
        if gracefully {
            last.into_iter().for_each(|number| inside.book.settle(number));
        }
    }

    /// The files of the store were damaged, when so many events were issued.
    pub fn forgive(&self, issued: u64) {
        self.inside().book.forgive_issued(issued);
    }

    /// Distinct records so far.
    pub fn delivered(&self) -> u64 {
        self.inside().book.delivered
    }

    /// What came.
    pub fn book(&self) -> SinkBook {
        self.inside().book.clone()
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until `shutdown` turns true.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: watch::Receiver<bool>) {
        let answer = move |request| {
            let collector = self.clone();
            async move { collector.answer(request).await }
        };
        serving::serve(listener, shutdown, answer).await;
    }

    /// The error breaks the connection without an answer.
    async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
    ) -> Result<Response<Answer>, Broken> {
        // What would go to the vendor ends here, since we are the child's proxy.
        if request.method() == Method::CONNECT {
            return Ok(say(StatusCode::BAD_GATEWAY, Answer::Empty));
        }
        let child = self.inside().children;
        let Ok(body) = Limited::new(request.into_body(), BODY_CAP).collect().await else {
            return Err(Broken);
        };
        let body = body.to_bytes();
        let mut mood = self.mood.subscribe();
        let now = *mood.borrow_and_update();
        let (status, answer) = match now {
            Mood::Well => (StatusCode::OK, Answer::Empty),
            Mood::Refuses => (StatusCode::INTERNAL_SERVER_ERROR, Answer::Empty),
            Mood::BreaksOff => (StatusCode::OK, Answer::BreaksOff(false)),
            Mood::Slow => {
                tokio::time::sleep(LATE).await;
                (StatusCode::OK, Answer::Empty)
            }
            Mood::Hangs => {
                let _ = tokio::time::timeout(HANGS, mood.wait_for(|mood| *mood != Mood::Hangs)).await;
                self.note(child, None, false);
                return Err(Broken);
            }
        };
        let taken = status.is_success().then_some(&body);
        self.note(child, taken, now != Mood::BreaksOff);
        Ok(say(status, answer))
    }

    /// Notes a request of a child: the records it carried, where they are taken, and whether it will know.
    fn note(&self, child: u64, taken: Option<&Bytes>, known: bool) {
        let numbers: Vec<Option<u32>> = {
            let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = taken.into_iter().flat_map(|body| body.split(|byte| *byte == b'\n'));
            lines.filter(|line| !line.is_empty()).map(|line| books.number(line)).collect()
        };
        let mut inside = self.inside();
        // A child that is dead gets no answer, and says nothing of the next one's cursor.
        let lives = child == inside.children;
        if lives {
            // The request before was answered, and the child goes on: its cursor has moved.
            let before = std::mem::take(&mut inside.last);
            before.into_iter().for_each(|number| inside.book.settle(number));
        }
        numbers.iter().for_each(|number| inside.book.take(*number));
        if lives && known {
            inside.last = numbers.into_iter().flatten().collect();
        }
    }
}

fn say(status: StatusCode, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    *response.status_mut() = status;
    if !status.is_success() {
        response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("0"));
    }
    response
}

/// The connection is to break.
#[derive(Debug, thiserror::Error)]
#[error("this connection is broken on purpose")]
pub struct Broken;

/// The body of an answer.
enum Answer {
    Empty,
    /// A few bytes, and then the connection breaks; whether they are out.
    BreaksOff(bool),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match *self {
            Self::Empty => None,
            Self::BreaksOff(true) => Some(Err(Broken)),
            Self::BreaksOff(false) => {
                *self = Self::BreaksOff(true);
                Some(Ok(Frame::data(Bytes::from_static(b"tak"))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::mark::mark_of;
    use crate::simulate::plan::Push;

    fn collector(records: &[&str]) -> Arc<Collector> {
        let mut books = Books::default();
        let good = records.iter().map(|record| mark_of(record.as_bytes())).collect();
        books.issue(Push { good, ..Push::default() });
        Collector::new(Arc::new(Mutex::new(books)))
    }

    fn post(collector: &Collector, body: &'static str, known: bool) -> (u64, u64) {
        let child = collector.inside().children;
        collector.note(child, Some(&Bytes::from_static(body.as_bytes())), known);
        let book = collector.book();
        (book.again, book.beyond)
    }

    #[test]
    fn only_what_the_child_may_not_know_to_be_taken_comes_again() {
        // The answer was lost: it may come again, and is then known.
        let one = collector(&["a", "b"]);
        assert_eq!(post(&one, "a\n", false), (0, 0));
        assert_eq!(post(&one, "a\n", true), (1, 0));
        assert_eq!(post(&one, "a\n", true), (1, 1), "the same child has moved its cursor");
        // In flight at a kill: the last request may come again, the one before may not.
        let one = collector(&["a", "b"]);
        post(&one, "a\n", true);
        post(&one, "b\n", true);
        one.child_ended(false);
        assert_eq!(post(&one, "b\n", true), (1, 0));
        assert_eq!(post(&one, "a\n", true), (1, 1));
        // So it is with a request that is noted only when its child is dead, and the next one has begun.
        let one = collector(&["a", "b"]);
        one.child_ended(false);
        post(&one, "b\n", true);
        one.note(0, Some(&Bytes::from_static(b"a\n")), true);
        assert_eq!(post(&one, "a\n", true), (1, 0));
        // After a graceful end nothing may.
        let one = collector(&["a"]);
        post(&one, "a\n", true);
        one.child_ended(true);
        assert_eq!(post(&one, "a\n", true), (0, 1));
        assert_eq!(one.book().delivered, 1);
    }
}
