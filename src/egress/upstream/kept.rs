//! Connections to one server of one agent that wait for its next request. Nobody else ever gets one:
//! they belong to an endpoint, and an endpoint to one upstream, which is one agent's.
//!
//! A server may close a connection at the moment at which a request is written to it, and then nobody
//! knows whether the request was read (RFC 9112, section 9.6). So only what may be made again travels
//! on a connection that has waited.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::time::Instant;

use crate::egress::exchange::Connection;

/// Connections that wait at the same time.
const KEPT_MAX: usize = 4;
/// How long one waits where its server says nothing: less than the 5 s that common servers do.
const IDLE: Duration = Duration::from_secs(4);
/// Taken off what a server says it waits, for the way there.
const MARGIN: Duration = Duration::from_secs(1);
/// How long one is used: then the name is resolved and the certificate looked at again.
const LIFE: Duration = Duration::from_secs(300);

/// A connection, and where it leads.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) connection: Connection<Full<Bytes>>,
    /// The address that was dialled.
    pub(super) address: String,
    opened: Instant,
}

impl Kept {
    /// One that was just opened.
    pub(super) fn new(connection: Connection<Full<Bytes>>, address: String) -> Self {
        Self {
            connection,
            address,
            opened: Instant::now(),
        }
    }
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Connections {
    waiting: Mutex<Vec<(Kept, Instant)>>,
}

impl Connections {
    /// The one that came last, where any is still good.
    pub(super) fn take(&self) -> Option<Kept> {
        let now = Instant::now();
        let mut waiting = self.lock();
        waiting.retain(|(kept, until)| now < *until && !kept.connection.is_closed());
        waiting.pop().map(|(kept, _)| kept)
    }

    /// Keeps one whose last answer was read to its end. `timeout`: what the server says in
    /// `Keep-Alive`, as text.
    pub(super) fn put(&self, kept: Kept, timeout: Option<&str>) {
        let now = Instant::now();
        let idle = said(timeout).map_or(IDLE, |said| said.saturating_sub(MARGIN).min(IDLE));
        let until = (now + idle).min(kept.opened + LIFE);
        let mut waiting = self.lock();
        waiting.retain(|(kept, until)| now < *until && !kept.connection.is_closed());
        if waiting.len() < KEPT_MAX && now < until {
            waiting.push((kept, until));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Kept, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seconds in `timeout=5, max=100`.
fn said(text: Option<&str>) -> Option<Duration> {
    let mut parts = text?.split(',').map(str::trim);
    let seconds = parts.find_map(|part| part.strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_its_patience_is_read() {
        assert_eq!(
            said(Some("timeout=5, max=100")),
            Some(Duration::from_secs(5))
        );
        assert_eq!(said(Some("max=1,timeout= 2")), Some(Duration::from_secs(2)));
        for text in [None, Some("max=1"), Some("timeout=x"), Some("timeout=-1")] {
            assert_eq!(said(text), None);
        }
    }
}
