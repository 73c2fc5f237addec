//! A connection as hyper sees it: a peer that reads nothing is not waited for without end, and
//! whoever wants to know that an answer was written out learns it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::front::outlet::Delivery;

/// Answers that are in hyper's hands, until everything was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    waiting: RefCell<Vec<Delivery>>,
}

impl Written {
    /// The last bytes of an answer are about to be written.
    pub(super) fn expect(&self, delivery: Option<Delivery>) {
        self.waiting.borrow_mut().extend(delivery);
    }

    fn all(&self) {
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Delivery::confirm);
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    inner: S,
    written: Rc<Written>,
    stall: Duration,
    /// Since it could not be written, where that is so.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// Over `inner`, whose peer may read nothing for `stall` while something waits for it.
    pub(super) fn new(inner: S, stall: Duration, written: &Rc<Written>) -> Self {
        Self {
            inner,
            written: Rc::clone(written),
            stall,
            stuck: None,
        }
    }

    /// What a poll to write came to, with an end to waiting.
    fn patiently<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stuck = None;
            return poll;
        }
        let stall = self.stall;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(stuck.as_mut().poll(cx));
        stuck.as_mut().reset(Instant::now() + stall);
        let late = io::Error::new(io::ErrorKind::TimedOut, "the agent does not read on");
        Poll::Ready(Err(late))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.patiently(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.patiently(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when its own buffer is empty: then all it was given is with the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        let poll = self.patiently(cx, poll);
        if matches!(poll, Poll::Ready(Ok(()))) {
            self.written.all();
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.patiently(cx, poll)
    }
}
