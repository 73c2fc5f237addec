//! Counts what a jail's connections carry, both ways, and stops it at the limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Bytes that all connections of one ticket have left together.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    spent: Notify,
}

/// What one connection has moved.
#[derive(Debug)]
pub(super) struct Meter {
    budget: Arc<Budget>,
    moved: AtomicU64,
}

/// A stream to the jail whose bytes are counted. Nothing beyond the budget is handed on: what is
/// read beyond it is dropped, what would be written beyond it is not written.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl Budget {
    /// With so many bytes.
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(bytes),
            spent: Notify::new(),
        })
    }

    /// Waits until all is used up; for one waiter.
    pub(super) async fn spent(&self) {
        while self.left() > 0 {
            self.spent.notified().await;
        }
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `count`, or all that is left: whether it was enough.
    fn take(&self, count: u64) -> bool {
        let take = |left: u64| Some(left.saturating_sub(count));
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .unwrap_or(0);
        if before <= count {
            self.spent.notify_one();
        }
        count <= before
    }
}

impl Meter {
    /// For a connection that has moved nothing yet.
    pub(super) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            moved: AtomicU64::new(0),
        })
    }

    /// Bytes so far, both ways.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Waits until nothing has moved for `patience`, or for up to twice as long.
    pub(super) async fn idle(&self, patience: Duration) {
        loop {
            let before = self.moved();
            tokio::time::sleep(patience).await;
            if self.moved() == before {
                return;
            }
        }
    }

    fn count(&self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        match self.budget.take(bytes) {
            true => Ok(()),
            false => Err(spent()),
        }
    }
}

impl<S> Metered<S> {
    /// Counts on `meter`.
    pub(super) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let count = buffer.filled().len().saturating_sub(before);
        let counted = self.meter.count(count);
        if counted.is_err() {
            buffer.set_filled(before);
        }
        Poll::Ready(counted)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = usize::try_from(self.meter.budget.left()).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left).unwrap_or(bytes);
        if left == 0 {
            return Poll::Ready(Err(spent()));
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.meter.count(count)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn spent() -> io::Error {
    io::Error::other("the jail's bytes are used up")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn both_ways_and_all_connections_count_together() {
        let budget = Budget::new(10);
        let (mut near, far) = tokio::io::duplex(64);
        let meter = Meter::new(&budget);
        let mut far = Metered::new(far, Arc::clone(&meter));
        near.write_all(b"1234").await.unwrap();
        let mut four = [0; 4];
        far.read_exact(&mut four).await.unwrap();
        far.write_all(b"567").await.unwrap();
        assert_eq!((meter.moved(), budget.left()), (7, 3));

        let (mut other, far) = tokio::io::duplex(64);
        let mut far = Metered::new(far, Meter::new(&budget));
        assert_eq!(
            far.write_all(b"abcdef").await.unwrap_err().to_string(),
            spent().to_string()
        );
        budget.spent().await;
        drop(far);
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"abc");
    }

    #[tokio::test]
    async fn what_is_read_beyond_the_limit_is_dropped() {
        let budget = Budget::new(3);
        let (mut near, far) = tokio::io::duplex(64);
        let mut far = Metered::new(far, Meter::new(&budget));
        near.write_all(b"1234").await.unwrap();
        let mut got = Vec::new();
        assert!(far.read_to_end(&mut got).await.is_err());
        assert!(got.is_empty());
        assert!(far.write_all(b"x").await.is_err());
        budget.spent().await;
    }
}
