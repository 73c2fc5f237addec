//! The bodies of answers: one JSON message, or a stream of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Sleep, sleep};

use super::wire::Written;
use crate::front::message::Key;
use crate::front::outlet::{Delivery, Queued};
use crate::front::quota::Share;
use crate::front::talk::Talk;

/// A line of a stream that says nothing.
const HEARTBEAT: &[u8] = b":\n\n";

/// A body.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing more.
    Nothing,
    /// A whole message.
    Whole(Vec<u8>, Option<Delivery>, Rc<Written>),
    /// Messages as they come.
    Events(Box<Events>),
}

/// Messages as they come.
#[derive(Debug)]
pub(super) struct Events {
    first: Option<Queued>,
    queue: UnboundedReceiver<Queued>,
    heartbeat: Pin<Box<Sleep>>,
    every: Duration,
    written: Rc<Written>,
    _hanging: Option<Hanging>,
    _share: Option<Share>,
}

impl Events {
    /// What comes out of `queue`, after `first`.
    pub(super) fn new(
        first: Option<Queued>,
        queue: UnboundedReceiver<Queued>,
        every: Duration,
        written: &Rc<Written>,
    ) -> Self {
        Self {
            first,
            queue,
            heartbeat: Box::pin(sleep(every)),
            every,
            written: Rc::clone(written),
            _hanging: None,
            _share: None,
        }
    }

    /// Gives up a request where the stream ends early.
    pub(super) fn hanging(self, hanging: Option<Hanging>) -> Self {
        Self {
            _hanging: hanging,
            ..self
        }
    }

    /// Holds a share as long as the stream lasts.
    pub(super) fn holding(self, share: Share) -> Self {
        Self {
            _share: Some(share),
            ..self
        }
    }
}

/// A request whose client listens on one stream only: dropped, the client has given it up. One that
/// is answered by then is not in flight any more.
#[derive(Debug)]
pub(super) struct Hanging {
    talk: Rc<Talk>,
    key: Key,
}

impl Hanging {
    /// Of `key` in `talk`.
    pub(super) fn new(talk: &Rc<Talk>, key: Key) -> Self {
        let talk = Rc::clone(talk);
        Self { talk, key }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.talk.lose(&self.key);
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let answer = self.get_mut();
        match std::mem::replace(answer, Self::Nothing) {
            Self::Nothing => Poll::Ready(None),
            Self::Whole(line, delivery, written) => {
                written.expect(delivery);
                Poll::Ready(Some(Ok(Frame::data(line.into()))))
            }
            Self::Events(mut events) => {
                let poll = events.poll(cx);
                // Nothing stays where the stream is over, so that it is seen to be.
                if !matches!(poll, Poll::Ready(None)) {
                    *answer = Self::Events(events);
                }
                poll.map(|frame| frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        let length = match self {
            Self::Nothing => 0,
            Self::Whole(line, ..) => line.len(),
            Self::Events(_) => return SizeHint::default(),
        };
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}

impl Events {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let next = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.queue.poll_recv(cx),
        };
        match next {
            Poll::Ready(Some(queued)) => {
                self.heartbeat.as_mut().reset(Instant::now() + self.every);
                if let Some(last) = queued.last {
                    self.written.expect(last.delivery);
                }
                let event = [b"event: message\ndata: ", queued.line.as_slice(), b"\n"].concat();
                Poll::Ready(Some(Frame::data(event.into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if self.heartbeat.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.heartbeat.as_mut().reset(Instant::now() + self.every);
                Poll::Ready(Some(Frame::data(Bytes::from_static(HEARTBEAT))))
            }
        }
    }
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Nothing);
    *response.status_mut() = status;
    response
}

/// An answer of one JSON message.
pub(super) fn json(
    status: StatusCode,
    line: Vec<u8>,
    delivery: Option<Delivery>,
    written: &Rc<Written>,
) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(line, delivery, Rc::clone(written)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of messages as they come.
pub(super) fn events(events: Events) -> Response<Answer> {
    let mut response = Response::new(Answer::Events(Box::new(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies on the way should not wait for more of it.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
